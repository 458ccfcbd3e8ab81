/* What a library computes on a card, for the harness: the oracle's convolutions, with as much of their
 * tails as is fused by turns, those of one place by turns as the products that they are, and column-major products from the very numbers that cuBLASLt is given
 * (kernels/cuda/gemm.c), bare; what then follows is the kernel's that does on a card too (epilogue.cu). Sums over
 * ranks are made by the ranks themselves, whose memory the harness's is. */
#include <cstddef>
#include <cstring>
#include <vector>

#include "attention_own.h"
#include "conv_product.h"
#include "conv_tail.h"
#include "epilogue.h"
#include "gemm.h"
#include "layer_norm_own.h"
#include "synchronous.h"
#include "half.h"

extern "C" {
#define OP(name, max_in, n_out, trait) extern const struct fg_kernel fg_ref_##name;
#include "ops.def"
#undef OP
}

namespace {
const struct fg_kernel *oracle_of(const struct fg_call *call) {
  return call->op == FG_OP_conv              ? &fg_ref_conv
         : call->op == FG_OP_conv_grad_input ? &fg_ref_conv_grad_input
                                             : &fg_ref_conv_grad_weight;
}

/* How many links of the tail are fused: by shape, so that a call is always computed in one way. */
int fused(const struct fg_call *call) {
  const struct fg_tensor &y = call->out[0];
  return (int)((y.dim[1] + y.dim[2]) % (fg_cuda_conv_tail(call).n + 1));
}

bool by_product(const struct fg_call *call) {
  return fg_conv_is_product(call) && (fg_cuda_conv_has_bits(call) || call->out[0].dim[2] % 2);
}

fgsm_status prepare_conv(struct fg_call *call, struct fg_device *device) {
  union fg_attrs attrs;
  struct fg_call head;
  FG_TRY(fg_cuda_check(call, 3, 1));
  FG_TRY(fg_cuda_check_real(call, call->op == FG_OP_conv_grad_input ? 11 : 15, 1));
  FG_TRY(fg_cuda_conv_tail_check(call));
  if (by_product(call)) {
    fg_conv_as_product(call, &head, &attrs);
    return fg_cuda_matmul.prepare(&head, device);
  }
  fg_cuda_conv_head(call, fused(call), &head, &attrs);
  for (int i = 0; i < head.n_in; i++)
    head.in[i].layout = FG_PLAIN;
  head.out[0].layout = head.out[1].layout = FG_PLAIN;
  FG_TRY(oracle_of(call)->prepare(&head, device));
  call->scratch_bytes = head.scratch_bytes;
  return FGSM_OK;
}

/* A tensor's elements in the other order of channels. */
void turn(const struct fg_tensor &t, bool to_last, const void *from, void *to) {
  const int64_t n = t.dim[0], c = t.dim[1], area = t.dim[2] * t.dim[3];
  const size_t size = fg_type_size(t.type);
  for (int64_t i = 0; i < n * c * area; i++) {
    const int64_t image = i / (c * area), channel = i / area % c, at = i % area;
    const int64_t last = (image * area + at) * c + channel;
    std::memcpy((char *)to + (size_t)(to_last ? last : i) * size,
                (const char *)from + (size_t)(to_last ? i : last) * size, size);
  }
}

/* The oracle knows no layout: what lies channels last goes through copies. */
struct copies {
  std::vector<char> of[FG_MAX_IN + 2];
  void put(struct fg_tensor *t, int i, bool read) {
    if (t->type == FG_NONE || t->layout != FG_NHWC)
      return;
    of[i].resize(fg_bytes(t));
    if (read)
      turn(*t, false, t->data, of[i].data());
    t->data = of[i].data();
    t->layout = FG_PLAIN;
  }
};

fgsm_status run_conv(const struct fg_call *call, void *scratch, void *stream) {
  union fg_attrs attrs;
  struct fg_call head;
  struct copies copies;
  if (by_product(call)) {
    fg_conv_as_product(call, &head, &attrs);
    return fg_cuda_matmul.run(&head, scratch, stream);
  }
  fg_cuda_conv_head(call, fused(call), &head, &attrs);
  for (int i = 0; i < head.n_in; i++)
    copies.put(&head.in[i], i, true);
  copies.put(&head.out[0], FG_MAX_IN, false);
  copies.put(&head.out[1], FG_MAX_IN + 1, false);
  FG_TRY(oracle_of(call)->run(&head, scratch, stream));
  if (call->out[0].layout == FG_NHWC)
    turn(call->out[0], true, head.out[0].data, call->out[0].data);
  if (fg_cuda_out(&head, 1) && call->out[1].layout == FG_NHWC)
    turn(call->out[1], true, head.out[1].data, call->out[1].data);
  return fg_cuda_conv_rest(call, fused(call), stream);
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
  if (fg_cuda_in(call, 4))
    return fg_cuda_epilogue_grad(call, &a->act, &call->in[4], fg_cuda_in(call, 3), stream);
  if (fg_cuda_has_epilogue(call, &a->act))
    FG_TRY(fg_cuda_epilogue(call, &a->act, call->out[0].rank - 1, stream));
  return fg_cuda_out(call, 1) ? fg_cuda_epilogue_mask(call, stream) : FGSM_OK;
}
} // namespace

const struct fg_kernel fg_cuda_conv = {prepare_conv, run_conv, NULL};
const struct fg_kernel fg_cuda_conv_grad_input = {prepare_conv, run_conv, NULL};
const struct fg_kernel fg_cuda_conv_grad_weight = {prepare_conv, run_conv, NULL};
const struct fg_kernel fg_cuda_matmul = {prepare_matmul, run_matmul, NULL};
const struct fg_kernel fg_cuda_attention = fg_cuda_own_attention;
const struct fg_kernel fg_cuda_attention_grad = fg_cuda_own_attention_grad;
const struct fg_kernel fg_cuda_layer_norm = fg_cuda_own_layer_norm;
const struct fg_kernel fg_cuda_layer_norm_grad = fg_cuda_own_layer_norm_grad;
const struct fg_kernel fg_cuda_all_reduce = FG_SYNCHRONOUS_ALL_REDUCE;
