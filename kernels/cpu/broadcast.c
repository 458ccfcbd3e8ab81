/* See broadcast.h. */
#include "broadcast.h"

#include <string.h>

#define CHUNK 8192

/* Element strides of t, right-aligned to `rank` axes; 0 where it is broadcast. */
static void strides(const struct fg_tensor *t, int rank, int64_t *out) {
  int64_t step = 1;
  for (int i = rank - 1; i >= 0; i--) {
    int axis = i - (rank - t->rank);
    int64_t dim = axis >= 0 ? t->dim[axis] : 1;
    out[i] = dim == 1 ? 0 : step;
    step *= dim;
  }
}

void fg_cpu_broadcast_plan(const struct fg_tensor *y, const struct fg_tensor *const *operand, int n,
                           struct fg_cpu_broadcast *out) {
  int64_t stride[FG_CPU_OPERANDS][FG_MAX_RANK], dim[FG_MAX_RANK + 1];
  memset(out, 0, sizeof *out);
  for (int k = 0; k < n; k++)
    strides(operand[k], y->rank, stride[k]);
  int rank = 0;
  for (int i = 0; i < y->rank; i++) {
    if (y->dim[i] == 1)
      continue;
    bool merges = rank > 0;
    for (int k = 0; k < n && merges; k++)
      merges = out->stride[k][rank - 1] == stride[k][i] * y->dim[i];
    int at = merges ? rank - 1 : rank++;
    dim[at] = merges ? dim[at] * y->dim[i] : y->dim[i];
    for (int k = 0; k < n; k++)
      out->stride[k][at] = stride[k][i];
  }
  out->row = rank > 0 ? dim[rank - 1] : 1;
  for (int k = 0; k < n; k++)
    out->moves[k] = rank > 0 && out->stride[k][rank - 1] != 0;
  out->rank = rank > 0 ? rank - 1 : 0;
  out->rows = 1;
  for (int i = 0; i < out->rank; i++)
    out->rows *= out->dim[i] = dim[i];
  out->chunk = out->row < CHUNK ? out->row : CHUNK;
  out->chunks = out->chunk > 0 ? (out->row + out->chunk - 1) / out->chunk : 0;
}

static void place(const struct fg_cpu_broadcast *b, struct fg_cpu_walk *w) {
  int64_t at = w->chunk * b->chunk, left = b->row - at;
  w->n = left < b->chunk ? left : b->chunk;
  w->y = w->row * b->row + at;
  for (int k = 0; k < FG_CPU_OPERANDS; k++)
    w->offset[k] = w->row_offset[k] + (b->moves[k] ? at : 0);
}

void fg_cpu_walk_start(const struct fg_cpu_broadcast *b, int64_t begin, struct fg_cpu_walk *w) {
  memset(w, 0, sizeof *w);
  w->row = begin / b->chunks;
  w->chunk = begin % b->chunks;
  int64_t rest = w->row;
  for (int i = b->rank - 1; i >= 0; i--) {
    w->index[i] = rest % b->dim[i];
    rest /= b->dim[i];
    for (int k = 0; k < FG_CPU_OPERANDS; k++)
      w->row_offset[k] += w->index[i] * b->stride[k][i];
  }
  place(b, w);
}

void fg_cpu_walk_next(const struct fg_cpu_broadcast *b, struct fg_cpu_walk *w) {
  if (++w->chunk == b->chunks) {
    w->chunk = 0;
    w->row++;
    for (int i = b->rank - 1; i >= 0; i--) {
      for (int k = 0; k < FG_CPU_OPERANDS; k++)
        w->row_offset[k] += b->stride[k][i];
      if (++w->index[i] < b->dim[i])
        break;
      for (int k = 0; k < FG_CPU_OPERANDS; k++)
        w->row_offset[k] -= b->dim[i] * b->stride[k][i];
      w->index[i] = 0;
    }
  }
  place(b, w);
}
