/* See dnnl_shim.h. What differs between oneDNN 2 and 3 stands in this file alone. */
#include "dnnl_shim.h"

#include <stdlib.h>
#include <string.h>

#include "kept.h"

static const char *words(dnnl_status_t status) {
  switch (status) {
  case dnnl_success:
    return "success";
  case dnnl_out_of_memory:
    return "out of memory";
  case dnnl_invalid_arguments:
    return "invalid arguments";
  case dnnl_unimplemented:
    return "not implemented";
  case dnnl_not_required:
    return "not required";
  case dnnl_runtime_error:
    return "runtime error";
  default:
    return "unknown status";
  }
}

fgsm_status fg_dnnl_status(dnnl_status_t status, const char *what) {
  if (status == dnnl_success)
    return FGSM_OK;
  if (status == dnnl_unimplemented)
    return FG_FAIL(UNSUPPORTED, "oneDNN: %s: %s", what, words(status));
  if (status == dnnl_out_of_memory)
    return FG_FAIL(MEMORY, "oneDNN: %s: %s", what, words(status));
  return FG_FAIL(DEVICE, "oneDNN: %s: %s (%d)", what, words(status), (int)status);
}

fgsm_status fg_dnnl_md_create(int rank, const int64_t *dim, dnnl_format_tag_t tag,
                              fg_dnnl_md *out) {
  dnnl_dims_t dims = {0};
  for (int i = 0; i < rank; i++)
    dims[i] = dim[i];
#if DNNL_VERSION_MAJOR >= 3
  dnnl_memory_desc_t md = NULL;
  FG_DNNL_TRY(dnnl_memory_desc_create_with_tag(&md, rank, dims, dnnl_f32, tag));
#else
  dnnl_memory_desc_t *md = malloc(sizeof *md);
  if (!md)
    return FG_FAIL(MEMORY, "no memory for a descriptor");
  dnnl_status_t status = dnnl_memory_desc_init_by_tag(md, rank, dims, dnnl_f32, tag);
  if (status != dnnl_success) {
    free(md);
    return fg_dnnl_status(status, "dnnl_memory_desc_init_by_tag");
  }
#endif
  *out = md;
  return FGSM_OK;
}

fgsm_status fg_dnnl_md_copy(fg_dnnl_md md, fg_dnnl_md *out) {
#if DNNL_VERSION_MAJOR >= 3
  dnnl_memory_desc_t copy;
  FG_DNNL_TRY(dnnl_memory_desc_clone(&copy, md));
#else
  dnnl_memory_desc_t *copy = malloc(sizeof *copy);
  if (!copy)
    return FG_FAIL(MEMORY, "no memory for a memory descriptor");
  *copy = *md;
#endif
  *out = copy;
  return FGSM_OK;
}

void fg_dnnl_md_destroy(fg_dnnl_md md) {
  if (!md)
    return;
#if DNNL_VERSION_MAJOR >= 3
  dnnl_memory_desc_destroy((dnnl_memory_desc_t)md);
#else
  free((void *)md);
#endif
}

/* The activation as oneDNN's eltwise. Kinds whose NaN or edge rules differ beyond "NaN becomes 0 in
 * relu and clip" are left out. */
static bool eltwise(const struct fg_unary_attrs *act, dnnl_alg_kind_t *kind, float *alpha,
                    float *beta) {
  *alpha = (float)act->alpha;
  *beta = (float)act->beta;
  switch (act->kind) {
  case FG_UNARY_relu:
    *kind = dnnl_eltwise_relu;
    *alpha = 0;
    return true;
  case FG_UNARY_leaky_relu:
    *kind = dnnl_eltwise_relu;
    return true;
  case FG_UNARY_relu6:
    *kind = dnnl_eltwise_clip;
    *alpha = 0;
    *beta = 6;
    return true;
  case FG_UNARY_clip:
    *kind = dnnl_eltwise_clip;
    return true;
  case FG_UNARY_sigmoid:
    *kind = dnnl_eltwise_logistic;
    return true;
  case FG_UNARY_tanh:
    *kind = dnnl_eltwise_tanh;
    return true;
  case FG_UNARY_gelu:
    *kind = dnnl_eltwise_gelu_erf;
    return true;
  case FG_UNARY_gelu_tanh:
    *kind = dnnl_eltwise_gelu_tanh;
    return true;
  case FG_UNARY_silu:
    *kind = dnnl_eltwise_swish;
    return true;
  case FG_UNARY_hard_swish: /* before oneDNN 3 it has no parameters */
    *kind = dnnl_eltwise_hardswish;
    *alpha = 1.0f / 6;
    *beta = 0.5f;
    return true;
  default:
    return false;
  }
}

static fgsm_status append(dnnl_post_ops_t ops, enum fg_dnnl_residual residual,
                          fg_dnnl_md residual_md, const struct fg_unary_attrs *act) {
  if (residual == FG_DNNL_ADD_TENSOR)
    FG_DNNL_TRY(dnnl_post_ops_append_binary(ops, dnnl_binary_add, residual_md));
#if DNNL_VERSION_MAJOR >= 3
  if (residual == FG_DNNL_ADD_DST)
    FG_DNNL_TRY(dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef));
#else
  if (residual == FG_DNNL_ADD_DST)
    FG_DNNL_TRY(dnnl_post_ops_append_sum(ops, 1.0f));
#endif
  if (!act || act->kind == FG_UNARY_identity)
    return FGSM_OK;
  dnnl_alg_kind_t kind;
  float alpha, beta;
  if (!eltwise(act, &kind, &alpha, &beta))
    return FG_FAIL(UNSUPPORTED, "cpu: no fused activation %s", fg_unary_name(act->kind));
#if DNNL_VERSION_MAJOR >= 3
  return fg_dnnl_status(dnnl_post_ops_append_eltwise(ops, kind, alpha, beta),
                        "dnnl_post_ops_append_eltwise");
#else
  return fg_dnnl_status(dnnl_post_ops_append_eltwise(ops, 1.0f, kind, alpha, beta),
                        "dnnl_post_ops_append_eltwise");
#endif
}

fgsm_status fg_dnnl_attr_create(enum fg_dnnl_residual residual, fg_dnnl_md residual_md,
                                const struct fg_unary_attrs *act, dnnl_primitive_attr_t *out) {
  dnnl_primitive_attr_t attr = NULL;
  dnnl_post_ops_t ops = NULL;
  FG_DNNL_TRY(dnnl_primitive_attr_create(&attr));
  fgsm_status status =
      fg_dnnl_status(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user),
                     "dnnl_primitive_attr_set_scratchpad_mode");
  if (status == FGSM_OK)
    status = fg_dnnl_status(dnnl_post_ops_create(&ops), "dnnl_post_ops_create");
  if (status == FGSM_OK)
    status = append(ops, residual, residual_md, act);
  if (status == FGSM_OK)
    status = fg_dnnl_status(dnnl_primitive_attr_set_post_ops(attr, ops),
                            "dnnl_primitive_attr_set_post_ops");
  dnnl_post_ops_destroy(ops);
  if (status != FGSM_OK)
    dnnl_primitive_attr_destroy(attr);
  else
    *out = attr;
  return status;
}

static fgsm_status conv_create(dnnl_engine_t engine, const struct fg_dnnl_conv *c,
                               dnnl_primitive_attr_t attr, dnnl_primitive_desc_t hint,
                               dnnl_primitive_desc_t *out) {
  dnnl_dims_t stride = {0}, dilation = {0}, lo = {0}, hi = {0};
  for (int i = 0; i < c->attrs->spatial; i++) {
    stride[i] = c->attrs->stride[i];
    dilation[i] = c->attrs->dilation[i] - 1;
    lo[i] = c->attrs->pad_lo[i];
    hi[i] = c->attrs->pad_hi[i];
  }
#if DNNL_VERSION_MAJOR >= 3
  const dnnl_alg_kind_t direct = dnnl_convolution_direct;
  switch (c->direction) {
  case FG_DNNL_FORWARD:
    return fg_dnnl_status(dnnl_convolution_forward_primitive_desc_create(
                              out, engine, dnnl_forward_training, direct, c->x, c->w, c->bias, c->y,
                              stride, dilation, lo, hi, attr),
                          "convolution forward");
  case FG_DNNL_GRAD_INPUT:
    return fg_dnnl_status(
        dnnl_convolution_backward_data_primitive_desc_create(out, engine, direct, c->x, c->w, c->y,
                                                             stride, dilation, lo, hi, hint, attr),
        "convolution backward data");
  default:
    return fg_dnnl_status(
        dnnl_convolution_backward_weights_primitive_desc_create(
            out, engine, direct, c->x, c->w, c->bias, c->y, stride, dilation, lo, hi, hint, attr),
        "convolution backward weights");
  }
#else
  const dnnl_alg_kind_t direct = dnnl_convolution_direct;
  dnnl_convolution_desc_t desc;
  if (c->direction == FG_DNNL_FORWARD)
    FG_DNNL_TRY(dnnl_dilated_convolution_forward_desc_init(
        &desc, dnnl_forward_training, direct, c->x, c->w, c->bias, c->y, stride, dilation, lo, hi));
  else if (c->direction == FG_DNNL_GRAD_INPUT)
    FG_DNNL_TRY(dnnl_dilated_convolution_backward_data_desc_init(&desc, direct, c->x, c->w, c->y,
                                                                 stride, dilation, lo, hi));
  else
    FG_DNNL_TRY(dnnl_dilated_convolution_backward_weights_desc_init(
        &desc, direct, c->x, c->w, c->bias, c->y, stride, dilation, lo, hi));
  return fg_dnnl_status(dnnl_primitive_desc_create(out, &desc, attr, engine, hint), "convolution");
#endif
}

fgsm_status fg_dnnl_conv_create(dnnl_engine_t engine, const struct fg_dnnl_conv *conv,
                                dnnl_primitive_attr_t attr, dnnl_primitive_desc_t hint,
                                dnnl_primitive_desc_t *out) {
  return conv_create(engine, conv, attr, hint, out);
}

const char *fg_dnnl_name(dnnl_primitive_desc_t pd) {
  const char *name = NULL;
  if (dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) != dnnl_success || !name)
    return "?";
  return name;
}

bool fg_dnnl_is_slow(dnnl_primitive_desc_t pd) {
  const char *name = fg_dnnl_name(pd);
  return strncmp(name, "ref", 3) == 0 || strstr(name, ":ref") != NULL;
}

static fgsm_status reserve_scratchpad(struct fg_dnnl_primitive *p, dnnl_primitive_desc_t pd) {
  fg_dnnl_md md = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  size_t bytes = md ? dnnl_memory_desc_get_size(md) : 0;
  if (bytes == 0)
    return FGSM_OK;
  p->scratchpad_offset = p->scratch_bytes;
  p->scratch_bytes += (bytes + 63) / 64 * 64;
  FG_DNNL_TRY(dnnl_memory_create(&p->scratchpad, md, p->device->engine, DNNL_MEMORY_NONE));
  return FGSM_OK;
}

fgsm_status fg_dnnl_primitive_create(struct fg_dnnl_primitive *p, struct fg_cpu_device *device,
                                     dnnl_primitive_desc_t pd, dnnl_primitive_desc_t hint) {
  p->device = device;
  p->pd = pd;
  p->hint = hint;
  FG_DNNL_TRY(dnnl_stream_create(&p->stream, device->engine, dnnl_stream_default_flags));
  FG_DNNL_TRY(dnnl_primitive_create(&p->primitive, pd));
  return reserve_scratchpad(p, pd);
}

static fgsm_status create_reorder(dnnl_engine_t engine, fg_dnnl_md from, fg_dnnl_md to,
                                  dnnl_primitive_t *out) {
  dnnl_primitive_desc_t pd = NULL;
  FG_DNNL_TRY(dnnl_reorder_primitive_desc_create(&pd, from, engine, to, engine, NULL));
  fgsm_status status = fg_dnnl_status(dnnl_primitive_create(out, pd), "reorder");
  dnnl_primitive_desc_destroy(pd);
  return status;
}

static fgsm_status execute(dnnl_stream_t stream, dnnl_primitive_t primitive, int n,
                           const dnnl_exec_arg_t *args) {
  FG_DNNL_TRY(dnnl_primitive_execute(primitive, stream, n, args));
  FG_DNNL_TRY(dnnl_stream_wait(stream));
  return FGSM_OK;
}

static fgsm_status run_reorder(dnnl_stream_t stream, dnnl_primitive_t reorder, dnnl_memory_t from,
                               dnnl_memory_t to) {
  dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
  return execute(stream, reorder, 2, args);
}

fgsm_status fg_dnnl_operand_add(struct fg_dnnl_primitive *p, int arg, bool is_output,
                                fg_dnnl_md user, fg_dnnl_md wanted, void *constant) {
  struct fg_dnnl_operand *o = &p->operand[p->n++];
  *o = (struct fg_dnnl_operand){.arg = arg, .is_output = is_output};
  FG_DNNL_TRY(dnnl_memory_create(&o->user, user, p->device->engine, DNNL_MEMORY_NONE));
  if (dnnl_memory_desc_equal(user, wanted)) {
    o->inner = o->user;
    return FGSM_OK;
  }
  FG_DNNL_TRY(dnnl_memory_create(&o->inner, wanted, p->device->engine, DNNL_MEMORY_NONE));
  FG_TRY(create_reorder(p->device->engine, is_output ? wanted : user, is_output ? user : wanted,
                        &o->reorder));
  size_t bytes = (dnnl_memory_desc_get_size(wanted) + 63) / 64 * 64;
  if (!constant) {
    o->offset = p->scratch_bytes;
    p->scratch_bytes += bytes;
    return FGSM_OK;
  }
  bool fresh;
  FG_TRY(fg_cpu_kept_take(constant, wanted, &o->kept, &fresh));
  FG_DNNL_TRY(dnnl_memory_set_data_handle(o->inner, o->kept));
  if (!fresh)
    return FGSM_OK;
  p->kept_bytes += bytes;
  FG_DNNL_TRY(dnnl_memory_set_data_handle(o->user, constant));
  return run_reorder(p->stream, o->reorder, o->user, o->inner);
}

fgsm_status fg_dnnl_primitive_run(const struct fg_dnnl_primitive *p, void *const *data,
                                  void *scratch) {
  dnnl_exec_arg_t args[FG_DNNL_MAX_OPERANDS + 1];
  char *at = scratch;
  for (int i = 0; i < p->n; i++) {
    const struct fg_dnnl_operand *o = &p->operand[i];
    args[i] = (dnnl_exec_arg_t){o->arg, o->inner};
    if (o->kept)
      continue;
    FG_DNNL_TRY(dnnl_memory_set_data_handle(o->user, data[i]));
    if (!o->reorder)
      continue;
    FG_DNNL_TRY(dnnl_memory_set_data_handle(o->inner, at + o->offset));
    if (!o->is_output)
      FG_TRY(run_reorder(p->stream, o->reorder, o->user, o->inner));
  }
  int n = p->n;
  if (p->scratchpad) {
    FG_DNNL_TRY(dnnl_memory_set_data_handle(p->scratchpad, at + p->scratchpad_offset));
    args[n++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, p->scratchpad};
  }
  FG_TRY(execute(p->stream, p->primitive, n, args));
  for (int i = 0; i < p->n; i++) {
    const struct fg_dnnl_operand *o = &p->operand[i];
    if (o->reorder && o->is_output)
      FG_TRY(run_reorder(p->stream, o->reorder, o->inner, o->user));
  }
  return FGSM_OK;
}

void fg_dnnl_primitive_destroy(struct fg_dnnl_primitive *p) {
  for (int i = 0; i < p->n; i++) {
    struct fg_dnnl_operand *o = &p->operand[i];
    if (o->inner != o->user)
      dnnl_memory_destroy(o->inner);
    dnnl_memory_destroy(o->user);
    dnnl_primitive_destroy(o->reorder);
    fg_cpu_kept_give_back(o->kept);
  }
  dnnl_memory_destroy(p->scratchpad);
  dnnl_primitive_destroy(p->primitive);
  dnnl_primitive_desc_destroy(p->pd);
  dnnl_primitive_desc_destroy(p->hint);
  dnnl_stream_destroy(p->stream);
  *p = (struct fg_dnnl_primitive){0};
}
