/* See feature.h. */
#include "feature.h"

static bool is_sample_shaped(const struct fg_tensor *t, const struct fg_tensor *x) {
  if (!t)
    return true;
  if (t->rank != x->rank - 1)
    return false;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] != x->dim[i + 1])
      return false;
  return true;
}

fgsm_status fg_cpu_check_features(const struct fg_call *call, const struct fg_tensor *x,
                                  int eps_map, int mask) {
  const struct fg_tensor *e = fg_cpu_optional(call, eps_map), *m = fg_cpu_optional(call, mask);
  if (x->rank < 1 || !is_sample_shaped(e, x) || !is_sample_shaped(m, x))
    return FG_FAIL(UNSUPPORTED, "cpu: %s: eps_map or mask has another shape than a sample",
                   fg_op_name(call->op));
  if ((e && e->type != FG_F32) ||
      (m && m->type != FG_F32 && m->type != FG_U8 && m->type != FG_BOOL))
    return FG_FAIL(UNSUPPORTED, "cpu: %s: eps_map of %s, mask of %s", fg_op_name(call->op),
                   fg_type_name(e ? e->type : FG_NONE), fg_type_name(m ? m->type : FG_NONE));
  return fg_cpu_need_plain(call);
}

fgsm_status fg_cpu_check_params(const struct fg_call *call, int i, int64_t rows) {
  const struct fg_tensor *p = fg_cpu_optional(call, i);
  bool vector = p && p->rank == 1 && p->dim[0] == FG_PARAM_COUNT;
  bool matrix = p && p->rank == 2 && p->dim[0] == rows && p->dim[1] == FG_PARAM_COUNT;
  if ((!vector && !matrix) || p->type != FG_F64)
    return FG_FAIL(UNSUPPORTED, "cpu: %s: params are not float64 [%d]", fg_op_name(call->op),
                   (int)FG_PARAM_COUNT);
  return FGSM_OK;
}

void fg_cpu_load_mask(const struct fg_tensor *mask, int64_t from, int64_t n, float *to) {
  if (!mask) {
    for (int64_t i = 0; i < n; i++)
      to[i] = 1;
  } else if (mask->type == FG_F32) {
    const float *m = (const float *)mask->data + from;
    for (int64_t i = 0; i < n; i++)
      to[i] = m[i] != 0 ? 1.0f : 0.0f;
  } else {
    const uint8_t *m = (const uint8_t *)mask->data + from;
    for (int64_t i = 0; i < n; i++)
      to[i] = m[i] != 0 ? 1.0f : 0.0f;
  }
}

void fg_cpu_load_eps(const struct fg_tensor *map, double eps, int64_t from, int64_t n, double *to) {
  const float *m = map ? (const float *)map->data + from : NULL;
  for (int64_t i = 0; i < n; i++)
    to[i] = m ? m[i] : eps;
}

void fg_cpu_load_scaled(const struct fg_tensor *map, double t, int64_t n, float *to) {
  for (int64_t i = 0; i < n; i++)
    to[i] = (float)(((const float *)map->data)[i] * t);
}
