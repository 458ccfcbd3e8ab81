/* ONNX's description of windows, for convolutions and pools: kernel_shape, strides, dilations,
 * pads, auto_pad and ceil_mode become explicit padding. */
#include <string.h>

#include "rules.h"

/* n ints of an attribute, or `initial` where it is absent. */
static fgsm_status each(const struct fg_import *im, const char *name, int n, int64_t initial,
                        int64_t *out) {
  int found;
  FG_TRY(fg_attr_ints(im, name, n, out, &found));
  if (found >= 0 && found != n)
    return FG_FAIL(MODEL, "%s has %d numbers, not %d", name, found, n);
  for (int i = 0; found < 0 && i < n; i++)
    out[i] = initial;
  return FGSM_OK;
}

/* Padding such that an axis gives ceil(in / stride) places; the odd one at the end, or the start.
 */
static void pad_same(struct fg_window *w, int i, int64_t in, bool upper) {
  int64_t places = (in + w->stride[i] - 1) / w->stride[i];
  int64_t reach = (w->window[i] - 1) * w->dilation[i] + 1;
  int64_t total = (places - 1) * w->stride[i] + reach - in;
  total = total > 0 ? total : 0;
  w->lo[i] = upper ? total / 2 : total - total / 2;
  w->hi[i] = total - w->lo[i];
}

static fgsm_status read_padding(const struct fg_import *im, int spatial, const int64_t *in,
                                struct fg_window *w, bool *automatic) {
  const char *mode;
  int64_t pads[6];
  FG_TRY(fg_attr_text(im, "auto_pad", "NOTSET", &mode));
  *automatic = strcmp(mode, "NOTSET") && *mode;
  if (!*automatic) {
    FG_TRY(each(im, "pads", 2 * spatial, 0, pads));
    for (int i = 0; i < spatial; i++) {
      w->lo[i] = pads[i];
      w->hi[i] = pads[i + spatial];
    }
    return FGSM_OK;
  }
  if (!strcmp(mode, "VALID"))
    return FGSM_OK;
  if (strcmp(mode, "SAME_UPPER") && strcmp(mode, "SAME_LOWER"))
    return FG_FAIL(MODEL, "there is no auto_pad '%.60s'", mode);
  for (int i = 0; i < spatial; i++) {
    FG_TRY(fg_window_check(w->window[i], w->stride[i], w->dilation[i], 0, 0));
    pad_same(w, i, in[i], !strcmp(mode, "SAME_UPPER"));
  }
  return FGSM_OK;
}

/* ceil_mode counts a last window that hangs over the end, unless it would begin past the data. */
static void hang_over(struct fg_window *w, int i, int64_t in) {
  int64_t reach = (w->window[i] - 1) * w->dilation[i] + 1, padded = in + w->lo[i] + w->hi[i];
  int64_t places = (padded - reach + w->stride[i] - 1) / w->stride[i] + 1;
  if ((places - 1) * w->stride[i] >= in + w->lo[i])
    places--;
  int64_t extra = (places - 1) * w->stride[i] + reach - padded;
  w->extra[i] = extra > 0 ? extra : 0;
  w->hi[i] += w->extra[i];
}

/* kernel_shape, strides, dilations. */
static fgsm_status read_steps(const struct fg_import *im, int spatial, const int64_t *window,
                              struct fg_window *out) {
  memset(out, 0, sizeof *out);
  if (!window && !fg_attr_find(im, "kernel_shape"))
    return FG_FAIL(MODEL, "attribute kernel_shape is missing");
  FG_TRY(each(im, "kernel_shape", spatial, 0, out->window));
  for (int i = 0; window && i < spatial; i++) {
    if (out->window[i] && out->window[i] != window[i])
      return FG_FAIL(MODEL, "kernel_shape says %lld where the weight has %lld",
                     (long long)out->window[i], (long long)window[i]);
    out->window[i] = window[i];
  }
  FG_TRY(each(im, "strides", spatial, 1, out->stride));
  return each(im, "dilations", spatial, 1, out->dilation);
}

fgsm_status fg_import_strides(const struct fg_import *im, int spatial, const int64_t *window,
                              const int64_t *in, struct fg_window *out) {
  bool automatic;
  FG_TRY(read_steps(im, spatial, window, out));
  FG_TRY(read_padding(im, spatial, in, out, &automatic));
  for (int i = 0; i < spatial; i++) {
    if (automatic)
      out->lo[i] = out->hi[i] = 0;
    FG_TRY(
        fg_window_check(out->window[i], out->stride[i], out->dilation[i], out->lo[i], out->hi[i]));
  }
  return FGSM_OK;
}

fgsm_status fg_import_window(const struct fg_import *im, int spatial, const int64_t *window,
                             const int64_t *in, struct fg_window *out) {
  int64_t ceil_mode, places;
  bool automatic;
  FG_TRY(read_steps(im, spatial, window, out));
  FG_TRY(fg_attr_int(im, "ceil_mode", 0, &ceil_mode));
  FG_TRY(read_padding(im, spatial, in, out, &automatic));
  for (int i = 0; i < spatial; i++) {
    FG_TRY(fg_window_places(in[i], out->window[i], out->stride[i], out->dilation[i], out->lo[i],
                            out->hi[i], &places));
    if (ceil_mode && !automatic)
      hang_over(out, i, in[i]);
  }
  return FGSM_OK;
}

fgsm_status fg_import_to_2d(struct fg_graph *g, fg_id x, fg_id *out) {
  const struct fg_value *v = fg_value(g, x);
  return fg_reshape(g, x, 4, (int64_t[]){v->dim[0], v->dim[1], 1, v->dim[2]}, out);
}

fgsm_status fg_import_to_1d(struct fg_graph *g, fg_id x, fg_id *out) {
  const struct fg_value *v = fg_value(g, x);
  return fg_reshape(g, x, 3, (int64_t[]){v->dim[0], v->dim[1], v->dim[3]}, out);
}
