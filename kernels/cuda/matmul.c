/* matmul: cuBLASLt's, strided batches in one call, with bias and activation in its epilogue where it
 * has them; what it lacks is done by epilogue.cu. cuBLASLt's GELU is the tanh form; it has no exact
 * one. A residual is C with beta 1, which is added before bias and activation, as attrs.h wants. Masks of
 * bits are RELU_AUX's and DRELU's, where those are what attrs.h states (mask_check.c). */
#include <stdlib.h>
#include <string.h>

#include "epilogue.h"
#include "half.h"
#include "matmul.h"

enum { BUFFER_ALIGN = 64 };

#define LT_TRY(call, what)                                                                         \
  do {                                                                                             \
    cublasStatus_t lt_status_ = (call);                                                            \
    if (lt_status_ != CUBLAS_STATUS_SUCCESS)                                                       \
      return fg_cublas_failed(lt_status_, what);                                                   \
  } while (0)

static void release(struct fg_call *call) {
  struct fg_matmul *m = call->state;
  if (!m)
    return;
  if (m->result)
    (void)fg_nv.cublasLtMatrixLayoutDestroy(m->result);
  if (m->second)
    (void)fg_nv.cublasLtMatrixLayoutDestroy(m->second);
  if (m->first)
    (void)fg_nv.cublasLtMatrixLayoutDestroy(m->first);
  if (m->product)
    (void)fg_nv.cublasLtMatmulDescDestroy(m->product);
  free(m);
  call->state = NULL;
}

static bool is_bits(const struct fg_tensor *t) {
  return t && t->type == FG_U8;
}

/* Of a gradient: the slope, or nothing but what is added. */
static cublasLtEpilogue_t choose_slope(const struct fg_call *call, struct fg_matmul *m) {
  const struct fg_tensor *residual = fg_cuda_in(call, 3);
  bool alike = !residual || residual->type == call->out[0].type;
  m->adds_residual = residual && alike;
  m->keeps_bits = alike && is_bits(fg_cuda_in(call, 4));
  m->finishes = !m->keeps_bits;
  return m->keeps_bits ? CUBLASLT_EPILOGUE_DRELU : CUBLASLT_EPILOGUE_DEFAULT;
}

/* What happens within the product: everything, or nothing but the residual. */
static cublasLtEpilogue_t choose_epilogue(const struct fg_call *call, struct fg_matmul *m) {
  const struct fg_unary_attrs *act = &call->attrs->matmul.act;
  const struct fg_tensor *given = fg_cuda_in(call, 2), *residual = fg_cuda_in(call, 3);
  enum fg_type type = call->out[0].type;
  bool bias = given != NULL;
  if (fg_cuda_in(call, 4))
    return choose_slope(call, m);
  m->adds_residual = residual != NULL;
  m->adds_bias = bias;
  /* Within the product both are of the result's type. */
  bool alike = (!given || given->type == type) && (!residual || residual->type == type);
  switch (alike ? act->kind : FG_UNARY_COUNT) {
  case FG_UNARY_identity:
    return bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  case FG_UNARY_relu:
    m->keeps_bits = is_bits(fg_cuda_out(call, 1));
    if (m->keeps_bits)
      return bias ? CUBLASLT_EPILOGUE_RELU_AUX_BIAS : CUBLASLT_EPILOGUE_RELU_AUX;
    return bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
  case FG_UNARY_gelu_tanh:
    return bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
  default:
    m->adds_bias = m->adds_residual = false;
    m->finishes = true;
    return CUBLASLT_EPILOGUE_DEFAULT;
  }
}

static void *bits_of(const struct fg_call *call) {
  return fg_cuda_in(call, 4) ? call->in[4].data : fg_cuda_out(call, 1) ? call->out[1].data : NULL;
}

/* An address that the epilogue wants. It is copied by a run, so one description serves one run after
 * another. */
static fgsm_status point(struct fg_matmul *m, cublasLtMatmulDescAttributes_t name, bool wanted,
                         const void *address) {
  if (!address)
    address = (const void *)(uintptr_t)BUFFER_ALIGN;
  if (wanted)
    LT_TRY(fg_nv.cublasLtMatmulDescSetAttribute(m->product, name, &address, sizeof address),
           "an address");
  return FGSM_OK;
}

static fgsm_status describe(const struct fg_call *call, const struct fg_device *device,
                            struct fg_matmul *m) {
  bool exact = device->precision == FG_PRECISION_fp32 || fg_type_is_half(call->in[0].type);
  cublasComputeType_t compute = exact ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_FAST_TF32;
  cublasOperation_t first = m->gemm.trans_first ? CUBLAS_OP_T : CUBLAS_OP_N;
  cublasOperation_t second = m->gemm.trans_second ? CUBLAS_OP_T : CUBLAS_OP_N;
  LT_TRY(fg_nv.cublasLtMatmulDescCreate(&m->product, compute, CUDA_R_32F), "a product");
  LT_TRY(fg_nv.cublasLtMatmulDescSetAttribute(m->product, CUBLASLT_MATMUL_DESC_TRANSA, &first,
                                              sizeof first),
         "a product");
  LT_TRY(fg_nv.cublasLtMatmulDescSetAttribute(m->product, CUBLASLT_MATMUL_DESC_TRANSB, &second,
                                              sizeof second),
         "a product");
  LT_TRY(fg_nv.cublasLtMatmulDescSetAttribute(m->product, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                              &m->epilogue, sizeof m->epilogue),
         "a product");
  /* An algorithm is chosen before there is an address; any that is aligned as those will be. */
  FG_TRY(point(m, CUBLASLT_MATMUL_DESC_BIAS_POINTER, m->adds_bias, call->in[2].data));
  FG_TRY(point(m, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, m->keeps_bits, bits_of(call)));
  if (m->keeps_bits)
    LT_TRY(fg_nv.cublasLtMatmulDescSetAttribute(m->product, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD,
                                                &m->gemm.m, sizeof m->gemm.m),
           "a mask");
  return FGSM_OK;
}

static cudaDataType_t stored(enum fg_type type) {
  return type == FG_F16 ? CUDA_R_16F : type == FG_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static fgsm_status lay_out(const struct fg_gemm *g, enum fg_type type, int64_t rows,
                           int64_t columns, int64_t ld, int64_t step, cublasLtMatrixLayout_t *out) {
  int32_t batch = (int32_t)g->batch;
  LT_TRY(fg_nv.cublasLtMatrixLayoutCreate(out, stored(type), (uint64_t)rows, (uint64_t)columns, ld),
         "a matrix");
  LT_TRY(fg_nv.cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch,
                                                sizeof batch),
         "a matrix");
  LT_TRY(fg_nv.cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                                &step, sizeof step),
         "a matrix");
  return FGSM_OK;
}

static fgsm_status make(struct fg_call *call, struct fg_device *base, struct fg_matmul *m) {
  const struct fg_gemm *g = &m->gemm;
  FG_TRY(fg_cuda_gemm(call, &m->gemm));
  if (fg_count(&call->out[0]) == 0)
    return FGSM_OK; /* and run does nothing */
  FG_CUDA_NEED(call,
               g->batch <= INT32_MAX && g->m <= INT32_MAX && g->n <= INT32_MAX && g->k <= INT32_MAX,
               "a product of more than 2^31 rows or columns");
  m->alpha = (float)call->attrs->matmul.alpha;
  FG_TRY(fg_cuda_cublas(fg_cuda_device(base), &m->handle));
  m->epilogue = choose_epilogue(call, m);
  FG_CUDA_NEED(call, !m->keeps_bits || (g->batch == 1 && g->loops == 0),
               "bits of a batch of products");
  FG_CUDA_NEED(call,
               !m->keeps_bits || fg_matmul_keeps_bits(fg_cuda_device(base), call->out[0].type),
               "cuBLASLt's masks are of another kind");
  FG_TRY(describe(call, base, m));
  m->type_first = call->in[1].type;
  m->type_second = call->in[0].type;
  m->type_result = call->out[0].type;
  FG_TRY(lay_out(g, m->type_first, g->trans_first ? g->k : g->m, g->trans_first ? g->m : g->k,
                 g->ld_first, g->step_first, &m->first));
  FG_TRY(lay_out(g, m->type_second, g->trans_second ? g->n : g->k, g->trans_second ? g->k : g->n,
                 g->ld_second, g->step_second, &m->second));
  FG_TRY(lay_out(g, m->type_result, g->m, g->n, g->ld_result, g->step_result, &m->result));
  return fg_matmul_choose(fg_cuda_device(base), call, m);
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  struct fg_matmul *m = calloc(1, sizeof *m);
  if (!m)
    return FG_FAIL(MEMORY, "no memory for a product");
  call->state = m;
  fgsm_status status = make(call, device, m);
  if (status != FGSM_OK)
    release(call);
  return status;
}

/* What the product left. */
static fgsm_status finish(const struct fg_call *call, const struct fg_matmul *m, void *stream) {
  const struct fg_unary_attrs *act = &call->attrs->matmul.act;
  if (m->finishes && fg_cuda_in(call, 4))
    return fg_cuda_epilogue_grad(call, act, &call->in[4],
                                 m->adds_residual ? NULL : fg_cuda_in(call, 3), stream);
  if (m->finishes)
    FG_TRY(fg_cuda_epilogue(call, act, call->out[0].rank - 1, stream));
  return fg_cuda_out(call, 1) && !m->keeps_bits ? fg_cuda_epilogue_mask(call, stream) : FGSM_OK;
}

fgsm_status fg_matmul_run(const struct fg_call *call, void *scratch, void *stream) {
  struct fg_matmul *m = call->state;
  if (fg_count(&call->out[0]) == 0)
    return FGSM_OK;
  const char *a = call->in[0].data, *b = call->in[1].data;
  char *y = call->out[0].data;
  const char *residual = m->adds_residual ? call->in[3].data : y;
  const float beta = m->adds_residual ? 1 : 0;
  void *workspace =
      (void *)(((uintptr_t)scratch + FG_MATMUL_ALIGN - 1) / FG_MATMUL_ALIGN * FG_MATMUL_ALIGN);
  FG_TRY(point(m, CUBLASLT_MATMUL_DESC_BIAS_POINTER, m->adds_bias, call->in[2].data));
  FG_TRY(point(m, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, m->keeps_bits, bits_of(call)));
  for (int64_t i = 0; i < fg_cuda_gemm_calls(&m->gemm); i++) {
    int64_t first, second, result;
    fg_cuda_gemm_offsets(&m->gemm, i, &first, &second, &result);
    first *= (int64_t)fg_type_size(m->type_first);
    second *= (int64_t)fg_type_size(m->type_second);
    result *= (int64_t)fg_type_size(m->type_result);
    LT_TRY(fg_nv.cublasLtMatmul(m->handle, m->product, &m->alpha, b + first, m->first, a + second,
                                m->second, &beta, residual + result, m->result, y + result,
                                m->result, &m->algorithm, workspace,
                                call->scratch_bytes - FG_MATMUL_ALIGN, (cudaStream_t)stream),
           "matmul");
  }
  return finish(call, m, stream);
}

fgsm_status fg_cuda_matmul_time(struct fg_device *device, const struct fg_call *call,
                                float *milliseconds) {
  struct fg_call timed = *call;
  FG_TRY(prepare(&timed, device));
  fgsm_status status = fg_matmul_time(fg_cuda_device(device), &timed, timed.state, milliseconds);
  release(&timed);
  return status;
}

const struct fg_kernel fg_cuda_matmul = {prepare, fg_matmul_run, release};
