/* The kernels, and what prepare checks of a call: for the CUDA files and the C files alike. */
#ifndef FG_CUDA_CALL_H
#define FG_CUDA_CALL_H

#include "kernel.h"
#include "mask.h"

#ifdef __cplusplus
extern "C" {
#endif

#define OP(name, max_in, n_out, trait) extern const struct fg_kernel fg_cuda_##name;
#include "ops.def"
#undef OP

#define FG_CUDA_NEED(call, condition, ...)                                                         \
  do {                                                                                             \
    if (!(condition))                                                                              \
      return fg_cuda_decline(call, __FILE__, __LINE__, __VA_ARGS__);                               \
  } while (0)
fgsm_status fg_cuda_decline(const struct fg_call *call, const char *file, int line,
                            const char *format, ...) __attribute__((format(printf, 4, 5)));

static inline const struct fg_tensor *fg_cuda_in(const struct fg_call *call, int i) {
  return i < call->n_in && call->in[i].type != FG_NONE ? &call->in[i] : NULL;
}
static inline const struct fg_tensor *fg_cuda_out(const struct fg_call *call, int i) {
  return i < call->n_out && call->out[i].type != FG_NONE ? &call->out[i] : NULL;
}

/* The inputs and outputs in the masks are there; every tensor is plain, of sane rank and dims. */
fgsm_status fg_cuda_check(const struct fg_call *call, uint32_t need_in, uint32_t need_out);
/* A mask that the call makes of out[0] with `act`, if any, is one (attrs.h); and so is what a slope is
 * computed from, input v, or else a real of out[0]'s shape that lies as it does. */
fgsm_status fg_cuda_check_mask(const struct fg_call *call, const struct fg_tensor *mask,
                               const struct fg_unary_attrs *act);
fgsm_status fg_cuda_check_slope(const struct fg_call *call, int v,
                                const struct fg_unary_attrs *act);
/* The present tensors in the masks are F32, or of half precision where half.h lets them be. */
fgsm_status fg_cuda_check_real(const struct fg_call *call, uint32_t in, uint32_t out);

#ifdef __cplusplus
}
#endif
#endif
