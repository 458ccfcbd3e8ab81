/* What a library computes on a card, for the harness: the oracle's convolutions, and column-major
 * products from the very numbers that cuBLASLt is given (kernels/cuda/gemm.c). Bare, both of them;
 * bias, residual and activation are then the kernel's that follows on a card too (epilogue.cu). Sums over
 * ranks are made by the ranks themselves, whose memory the harness's is. */
#include <cstddef>

#include "attention_own.h"
#include "epilogue.h"
#include "gemm.h"
#include "synchronous.h"
#include "half.h"

extern "C" {
#define OP(name, max_in, n_out, trait) extern const struct fg_kernel fg_ref_##name;
#include "ops.def"
#undef OP
}

namespace {
/* The call without what follows the product. */
struct fg_call bare(const struct fg_call *call, union fg_attrs *attrs) {
  struct fg_call c = *call;
  *attrs = *call->attrs;
  if (call->op == FG_OP_conv) {
    attrs->conv.act = {FG_UNARY_identity, 0, 0};
    c.n_in = 2;
  }
  c.attrs = attrs;
  return c;
}

const struct fg_kernel *oracle_of(const struct fg_call *call) {
  return call->op == FG_OP_conv              ? &fg_ref_conv
         : call->op == FG_OP_conv_grad_input ? &fg_ref_conv_grad_input
                                             : &fg_ref_conv_grad_weight;
}

fgsm_status prepare_conv(struct fg_call *call, struct fg_device *device) {
  union fg_attrs attrs;
  FG_TRY(fg_cuda_check(call, 3, 1));
  FG_TRY(fg_cuda_check_real(call, 15, 1));
  FG_TRY(oracle_of(call)->prepare(call, device)); /* checks bias and residual too */
  struct fg_call c = bare(call, &attrs);
  FG_TRY(oracle_of(call)->prepare(&c, device));
  call->scratch_bytes = c.scratch_bytes;
  return FGSM_OK;
}

fgsm_status run_conv(const struct fg_call *call, void *scratch, void *stream) {
  union fg_attrs attrs;
  struct fg_call c = bare(call, &attrs);
  FG_TRY(oracle_of(call)->run(&c, scratch, stream));
  if (call->op != FG_OP_conv || !fg_cuda_has_epilogue(call, &call->attrs->conv.act))
    return FGSM_OK;
  return fg_cuda_epilogue(call, &call->attrs->conv.act, 1, stream);
}

/* Element i of a matrix of any stored type. */
double get(const struct fg_tensor &t, int64_t i) {
  return t.type == FG_F32 ? ((const float *)t.data)[i] : fg_half_get(t.type, t.data, i);
}
void put(const struct fg_tensor &t, int64_t i, double v) {
  if (t.type == FG_F32)
    ((float *)t.data)[i] = (float)v;
  else
    fg_half_put(t.type, t.data, i, (float)v);
}

/* result = alpha first second, column-major, from those elements on. */
void product(const struct fg_gemm &g, double alpha, const struct fg_tensor &b, int64_t first,
             const struct fg_tensor &a, int64_t second, const struct fg_tensor &y, int64_t result) {
  for (int64_t j = 0; j < g.n; j++)
    for (int64_t i = 0; i < g.m; i++) {
      double sum = 0;
      for (int64_t k = 0; k < g.k; k++)
        sum += get(b, first + (g.trans_first ? k + i * g.ld_first : i + k * g.ld_first)) *
               get(a, second + (g.trans_second ? j + k * g.ld_second : k + j * g.ld_second));
      put(y, result + i + j * g.ld_result, alpha * sum);
    }
}

fgsm_status prepare_matmul(struct fg_call *call, struct fg_device *) {
  struct fg_gemm g;
  return fg_cuda_gemm(call, &g);
}

fgsm_status run_matmul(const struct fg_call *call, void *, void *stream) {
  const struct fg_matmul_attrs *a = &call->attrs->matmul;
  struct fg_gemm g;
  FG_TRY(fg_cuda_gemm(call, &g));
  for (int64_t c = 0; c < fg_cuda_gemm_calls(&g); c++) {
    int64_t first, second, result;
    fg_cuda_gemm_offsets(&g, c, &first, &second, &result);
    for (int64_t i = 0; i < g.batch; i++)
      product(g, a->alpha, call->in[1], first + i * g.step_first, call->in[0],
              second + i * g.step_second, call->out[0], result + i * g.step_result);
  }
  if (!fg_cuda_has_epilogue(call, &a->act))
    return FGSM_OK;
  return fg_cuda_epilogue(call, &a->act, call->out[0].rank - 1, stream);
}
} // namespace

const struct fg_kernel fg_cuda_conv = {prepare_conv, run_conv, NULL};
const struct fg_kernel fg_cuda_conv_grad_input = {prepare_conv, run_conv, NULL};
const struct fg_kernel fg_cuda_conv_grad_weight = {prepare_conv, run_conv, NULL};
const struct fg_kernel fg_cuda_matmul = {prepare_matmul, run_matmul, NULL};
const struct fg_kernel fg_cuda_attention = fg_cuda_own_attention;
const struct fg_kernel fg_cuda_attention_grad = fg_cuda_own_attention_grad;
const struct fg_kernel fg_cuda_all_reduce = FG_SYNCHRONOUS_ALL_REDUCE;
