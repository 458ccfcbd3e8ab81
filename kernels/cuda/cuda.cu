/* Checks, strides and launch results for the CUDA files: host code alone. */
#include "cuda.h"

#include <stdarg.h>
#include <stdio.h>

fgsm_status fg_cuda_decline(const struct fg_call *call, const char *file, int line,
                            const char *format, ...) {
  char reason[256];
  va_list args;
  va_start(args, format);
  vsnprintf(reason, sizeof reason, format, args);
  va_end(args);
  return fg_fail(FGSM_UNSUPPORTED, file, line, "cuda: %s: %s", fg_op_name(call->op), reason);
}

fgsm_status fg_cuda_launched(const struct fg_call *call, cudaError_t error) {
  if (error == cudaSuccess)
    return FGSM_OK;
  return FG_FAIL(DEVICE, "cuda: %s: %s", fg_op_name(call->op), cudaGetErrorString(error));
}

static fgsm_status check_tensor(const struct fg_call *call, const struct fg_tensor *t,
                                const char *side, int i) {
  FG_CUDA_NEED(call, t->type > FG_NONE && t->type < FG_TYPE_COUNT, "%s %d has no known type", side,
               i);
  FG_CUDA_NEED(call, t->layout == FG_PLAIN || fg_cuda_knows_nhwc(call->op),
               "%s %d lies in another layout than the plain one", side, i);
  FG_CUDA_NEED(call, t->rank >= 0 && t->rank <= FG_MAX_RANK, "%s %d has rank %d", side, i, t->rank);
  for (int d = 0; d < t->rank; d++)
    FG_CUDA_NEED(call, t->dim[d] >= 0, "%s %d has a negative dim", side, i);
  /* A grid has 2^31 - 1 blocks along x, of which none owns less than an element. */
  FG_CUDA_NEED(call, fg_count(t) <= INT32_MAX * (int64_t)64, "%s %d has too many elements", side,
               i);
  return FGSM_OK;
}

fgsm_status fg_cuda_check(const struct fg_call *call, uint32_t need_in, uint32_t need_out) {
  FG_CUDA_NEED(call, call->n_in <= FG_MAX_IN && call->n_out <= FG_MAX_OUT, "too many tensors");
  for (int i = 0; i < FG_MAX_IN; i++) {
    FG_CUDA_NEED(call, !(need_in >> i & 1) || fg_cuda_in(call, i), "input %d is missing", i);
    if (fg_cuda_in(call, i))
      FG_TRY(check_tensor(call, &call->in[i], "input", i));
  }
  for (int i = 0; i < FG_MAX_OUT; i++) {
    FG_CUDA_NEED(call, !(need_out >> i & 1) || fg_cuda_out(call, i), "output %d is missing", i);
    if (fg_cuda_out(call, i))
      FG_TRY(check_tensor(call, &call->out[i], "output", i));
  }
  FG_CUDA_NEED(call, !fg_cuda_lies(call) || fg_cuda_takes_nhwc(call),
               "not all of it lies channels last");
  return FGSM_OK;
}

static bool is_stored(const struct fg_tensor *t, uint32_t may_be_half) {
  return t->type == FG_F32 || (may_be_half & 1 && fg_type_is_half(t->type));
}

fgsm_status fg_cuda_check_real(const struct fg_call *call, uint32_t in, uint32_t out) {
  const struct fg_half_slots slots = fg_half_slots(call->op);
  for (int i = 0; i < FG_MAX_IN; i++)
    FG_CUDA_NEED(call,
                 !(in >> i & 1) || !fg_cuda_in(call, i) || is_stored(&call->in[i], slots.in >> i),
                 "input %d is %s, not float32", i, fg_type_name(call->in[i].type));
  for (int i = 0; i < FG_MAX_OUT; i++)
    FG_CUDA_NEED(
        call, !(out >> i & 1) || !fg_cuda_out(call, i) || is_stored(&call->out[i], slots.out >> i),
        "output %d is %s, not float32", i, fg_type_name(call->out[i].type));
  return FGSM_OK;
}

fgsm_status fg_cuda_check_mask(const struct fg_call *call, const struct fg_tensor *mask,
                               const struct fg_unary_attrs *act) {
  FG_CUDA_NEED(call,
               !mask || (fg_mask_fits(call->op, mask, &call->out[0]) && act->kind == FG_UNARY_relu),
               "a mask of another shape, or of no relu");
  return FGSM_OK;
}

fgsm_status fg_cuda_check_slope(const struct fg_call *call, int v,
                                const struct fg_unary_attrs *act) {
  const struct fg_tensor *of = fg_cuda_in(call, v), *y = &call->out[0];
  if (of && fg_is_mask(of))
    return fg_cuda_check_mask(call, of, act);
  FG_TRY(fg_cuda_check_real(call, 1u << v, 1));
  FG_CUDA_NEED(call, !of || (fg_same_shape(of, y) && of->layout == y->layout),
               "the shape of what the slope is of");
  return FGSM_OK;
}

bool fg_cuda_is_feature(const struct fg_tensor *t, const struct fg_tensor *x) {
  if (!t)
    return true;
  if (t->rank != x->rank - 1 || (t->type != FG_F32 && t->type != FG_U8 && t->type != FG_BOOL))
    return false;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] != x->dim[i + 1])
      return false;
  return true;
}

bool fg_cuda_is_params(const struct fg_tensor *t) {
  return t && t->type == FG_F64 && fg_count(t) == FG_PARAM_COUNT;
}

bool fg_cuda_are_params(const struct fg_tensor *t, int64_t n) {
  return t && t->type == FG_F64 &&
         ((t->rank == 1 && t->dim[0] == FG_PARAM_COUNT) ||
          (t->rank == 2 && t->dim[0] == n && t->dim[1] == FG_PARAM_COUNT));
}

fgsm_status fg_cuda_check_functional(const struct fg_call *call, const struct fg_loss_attrs *a,
                                     int i, int64_t classes) {
  const struct fg_tensor *c = fg_cuda_in(call, i);
  FG_CUDA_NEED(call, (c != NULL) == (a->kind == FG_LOSS_linear),
               "a linear loss, and no other, has coefficients");
  FG_CUDA_NEED(call, !c || (c->type == FG_F32 && c->rank == 1 && c->dim[0] == classes),
               "coefficients are not float32 [%lld]", (long long)classes);
  return FGSM_OK;
}

void fg_cuda_strides(int rank, const int64_t *dim, int64_t *stride) {
  int64_t n = 1;
  for (int i = rank - 1; i >= 0; i--) {
    stride[i] = n;
    n *= dim[i];
  }
}

void fg_cuda_broadcast(const struct fg_tensor *t, int rank, int64_t *stride) {
  int64_t own[FG_MAX_RANK];
  int lead = rank - t->rank;
  fg_cuda_strides(t->rank, t->dim, own);
  for (int i = 0; i < rank; i++)
    stride[i] = i < lead || t->dim[i - lead] == 1 ? 0 : own[i - lead];
}

bool fg_cuda_broadcasts(const struct fg_tensor *t, const struct fg_tensor *to) {
  int lead = to->rank - t->rank;
  if (lead < 0)
    return false;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i] != 1 && t->dim[i] != to->dim[i + lead])
      return false;
  return true;
}

void fg_cuda_merge(int rank, const int64_t *dim, int operands, const int64_t (*stride)[FG_MAX_RANK],
                   struct fg_cuda_walk *walk) {
  walk->rank = 0;
  for (int d = 0; d < rank; d++) {
    int last = walk->rank - 1;
    bool merges = last >= 0;
    if (dim[d] == 1)
      continue;
    for (int k = 0; k < operands && merges; k++)
      merges = walk->stride[k][last] == stride[k][d] * dim[d];
    if (!merges)
      last = walk->rank++;
    walk->dim[last] = merges ? walk->dim[last] * dim[d] : dim[d];
    for (int k = 0; k < operands; k++)
      walk->stride[k][last] = stride[k][d];
  }
}
