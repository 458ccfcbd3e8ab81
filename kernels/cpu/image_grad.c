/* See image_grad.h: which taps reach where, and windows in the order in which rows read them. */
#include "image_grad.h"

/* Taps whose dy is within [begin, end) for this place. */
static void find(int64_t place, int64_t window, int64_t stride, int64_t dilation, int64_t pad,
                 int64_t begin, int64_t end, struct fg_image_taps *to) {
  to->n = 0;
  for (int64_t i = 0; i < window; i++) {
    int64_t v = place + pad - i * dilation, at = v / stride;
    if (v % stride != 0 || at < begin || at >= end)
      continue;
    to->at[to->n] = at;
    to->tap[to->n++] = i;
  }
}

void fg_image_rows(const struct fg_image_shape *t, int64_t y, struct fg_image_taps *to) {
  find(y, t->r, t->stride[0], t->dilation[0], t->pad[0], 0, t->p, to);
}

void fg_image_columns(const struct fg_image_shape *t, int64_t residue, struct fg_image_taps *to) {
  find(residue, t->s, t->stride[1], t->dilation[1], t->pad[1], INT64_MIN, INT64_MAX, to);
}

void fg_image_pack(const struct fg_image_shape *t, int lanes, const float *w, float *to) {
  int64_t window = t->r * t->s;
  for (int64_t k = 0; k < t->k; k++)
    for (int64_t c = 0; c < t->c; c++)
      for (int64_t i = 0; i < window; i++)
        to[((k / lanes * window + i) * t->c + c) * lanes + k % lanes] =
            w[(k * t->c + c) * window + i];
}
