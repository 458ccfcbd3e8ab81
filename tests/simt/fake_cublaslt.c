/* A cuBLASLt that needs no card, for kernels/cuda/matmul.c under the case tables: products as its manual
 * states them, D = epilogue(alpha op(A) op(B) + beta C) in column-major order, batches at strides, from
 * the descriptors alone. What a description gets wrong shows as a wrong product or is said.
 *
 * CUBLASLT_MASKS makes its masks of another kind than attrs.h's: zero-is-one, high-bit-first, or passes-zeros
 * (backward). Then only small products on the stream of trials may have any.
 *
 * Its heuristic names four algorithms: the second fails, the third is the fastest. Trials are on a stream,
 * the harness's runs on none, which is how they are told apart: those must be by the third, and the
 * heuristic is asked once for each product, because what was chosen is kept. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_card.h"
#include "half.h"

enum { FIRST = 11, BROKEN = 12, FASTEST = 13, SLOW = 14, WORKSPACE = 4096, MOST_ASKED = 4096 };

/* ---- descriptors: all of one kind each, so that NULL and the wrong kind are all that can be mixed up */

struct product {
  cublasOperation_t op[2];
  cublasLtEpilogue_t epilogue;
  const void *bias;
  unsigned char *aux;
  int64_t aux_ld; /* in bits */
};

struct layout {
  cudaDataType_t type;
  int64_t rows, columns, ld, step;
  int32_t batch;
};

struct preference {
  size_t workspace;
  uint32_t alignment[4];
};
static struct preference asked_with; /* the last one */

#define FAKE_DESTROY(name, descriptor)                                                             \
  static cublasStatus_t name(descriptor object) {                                                  \
    free(object);                                                                                  \
    return CUBLAS_STATUS_SUCCESS;                                                                  \
  }
FAKE_DESTROY(product_destroy, cublasLtMatmulDesc_t)
FAKE_DESTROY(layout_destroy, cublasLtMatrixLayout_t)
FAKE_DESTROY(preference_destroy, cublasLtMatmulPreference_t)

static cublasStatus_t product_create(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                     cudaDataType_t scale) {
  if ((compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_FAST_TF32) ||
      scale != CUDA_R_32F)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  *out = calloc(1, sizeof **out);
  ((struct product *)*out)->epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t product_set(cublasLtMatmulDesc_t object, cublasLtMatmulDescAttributes_t name,
                                  const void *value, size_t bytes) {
  struct product *p = (struct product *)object;
  void *to = name == CUBLASLT_MATMUL_DESC_TRANSA                 ? (void *)&p->op[0]
             : name == CUBLASLT_MATMUL_DESC_TRANSB               ? (void *)&p->op[1]
             : name == CUBLASLT_MATMUL_DESC_EPILOGUE             ? (void *)&p->epilogue
             : name == CUBLASLT_MATMUL_DESC_BIAS_POINTER         ? (void *)&p->bias
             : name == CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER ? (void *)&p->aux
             : name == CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD      ? (void *)&p->aux_ld
                                                                 : NULL;
  size_t want = to == &p->op[0] || to == &p->op[1] || to == &p->epilogue ? sizeof(int32_t) : 8;
  if (!to || bytes != want)
    return CUBLAS_STATUS_INVALID_VALUE;
  memcpy(to, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t layout_create(cublasLtMatrixLayout_t *out, cudaDataType_t type, uint64_t rows,
                                    uint64_t columns, int64_t ld) {
  *out = calloc(1, sizeof **out);
  _Static_assert(sizeof **out >= sizeof(struct layout), "a layout fits cuBLASLt's");
  *(struct layout *)*out =
      (struct layout){.type = type, .rows = (int64_t)rows, .columns = (int64_t)columns, .ld = ld};
  return (int64_t)rows <= ld ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

static cublasStatus_t layout_set(cublasLtMatrixLayout_t object,
                                 cublasLtMatrixLayoutAttribute_t name, const void *value,
                                 size_t bytes) {
  struct layout *l = (struct layout *)object;
  if (name == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT && bytes == sizeof l->batch)
    memcpy(&l->batch, value, bytes);
  else if (name == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET && bytes == sizeof l->step)
    memcpy(&l->step, value, bytes);
  else
    return CUBLAS_STATUS_INVALID_VALUE;
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t preference_create(cublasLtMatmulPreference_t *out) {
  *out = calloc(1, sizeof **out);
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t preference_set(cublasLtMatmulPreference_t object,
                                     cublasLtMatmulPreferenceAttributes_t name, const void *value,
                                     size_t bytes) {
  struct preference *p = (struct preference *)object;
  int aligned = (int)name - (int)CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
  if (name == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
    memcpy(&p->workspace, value, bytes);
  else if (aligned >= 0 && aligned < 4)
    memcpy(&p->alignment[aligned], value, bytes);
  else if (name != CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
    return CUBLAS_STATUS_INVALID_VALUE;
  return CUBLAS_STATUS_SUCCESS;
}

/* ---- algorithms */

static uint64_t mix(uint64_t h, const void *data, size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    h = (h ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
  return h;
}

/* Whether that was asked before. */
static bool asked_again(const struct product *p, const struct layout *const l[4],
                        const struct preference *preference) {
  static uint64_t asked[MOST_ASKED];
  static int n;
  uint64_t h = mix(0xcbf29ce484222325u, p->op, sizeof p->op);
  h = mix(h, &p->epilogue, sizeof p->epilogue);
  h = mix(h, preference, sizeof *preference);
  for (int i = 0; i < 4; i++) {
    const int64_t numbers[] = {l[i]->type, l[i]->rows, l[i]->columns,
                               l[i]->ld,   l[i]->step, l[i]->batch};
    h = mix(h, numbers, sizeof numbers);
  }
  for (int i = 0; i < n; i++)
    if (asked[i] == h)
      return true;
  if (n < MOST_ASKED)
    asked[n++] = h;
  return false;
}

static cublasStatus_t heuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                cublasLtMatmulPreference_t preference, int most,
                                cublasLtMatmulHeuristicResult_t found[], int *n) {
  const struct layout *const l[4] = {(struct layout *)a, (struct layout *)b, (struct layout *)c,
                                     (struct layout *)d};
  static const int named[] = {FIRST, BROKEN, FASTEST, SLOW};
  asked_with = *(struct preference *)preference;
  if (handle != FAKE_CUBLAS || asked_with.workspace < WORKSPACE)
    fake_wrong("cuBLASLt: asked without a handle or a workspace");
  if (asked_again((struct product *)product, l, &asked_with))
    fake_wrong("cuBLASLt: asked for the same product twice");
  for (*n = 0; *n < most && *n < 4; ++*n) {
    found[*n] = (cublasLtMatmulHeuristicResult_t){.workspaceSize = WORKSPACE};
    found[*n].algo.data[0] = (uint64_t)named[*n];
    found[*n].algo.data[7] = UINT64_MAX; /* every word is kept */
  }
  return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t check_algorithm(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                      cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                      cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                      const cublasLtMatmulAlgo_t *algorithm,
                                      cublasLtMatmulHeuristicResult_t *result) {
  (void)handle, (void)product, (void)a, (void)b, (void)c, (void)d;
  result->workspaceSize = WORKSPACE;
  return algorithm->data[0] == FASTEST && algorithm->data[7] == UINT64_MAX
             ? CUBLAS_STATUS_SUCCESS
             : CUBLAS_STATUS_NOT_SUPPORTED;
}

/* ---- products */

static double get(const struct layout *l, const void *data, int64_t i) {
  return l->type == CUDA_R_32F ? ((const float *)data)[i]
                               : fg_half_get(l->type == CUDA_R_16F ? FG_F16 : FG_BF16, data, i);
}

static void put(const struct layout *l, void *data, int64_t i, double v) {
  if (l->type == CUDA_R_32F)
    ((float *)data)[i] = (float)v;
  else
    fg_half_put(l->type == CUDA_R_16F ? FG_F16 : FG_BF16, data, i, (float)v);
}

/* Element (row, column) of op(a matrix), of that many rows and columns; where it is stored. */
static int64_t place(const struct layout *l, cublasOperation_t op, int64_t item, int64_t row,
                     int64_t column) {
  bool turned = op != CUBLAS_OP_N;
  return item * l->step + (turned ? column + row * l->ld : row + column * l->ld);
}

/* op(a matrix) as doubles, row after row or, `turned`, column after column. */
static double *gathered(const struct layout *l, const void *data, cublasOperation_t op,
                        int64_t item, int64_t sums, int64_t terms, bool turned) {
  double *to = malloc((size_t)(sums * terms + 1) * sizeof *to);
  if (!to) {
    puts("fake card: no memory for a product");
    exit(1);
  }
  for (int64_t i = 0; i < sums; i++)
    for (int64_t x = 0; x < terms; x++)
      to[i * terms + x] = get(l, data, place(l, op, item, turned ? x : i, turned ? i : x));
  return to;
}

static double dot(const double *a, const double *b, int64_t terms) {
  double sum = 0;
  for (int64_t x = 0; x < terms; x++)
    sum += a[x] * b[x];
  return sum;
}

/* ---- masks */

static bool has_kind(const char *kind) {
  const char *kinds = getenv("CUBLASLT_MASKS");
  return kinds && strcmp(kinds, kind) == 0;
}

static bool writes_mask(const struct product *p) {
  return p->epilogue == CUBLASLT_EPILOGUE_RELU_AUX ||
         p->epilogue == CUBLASLT_EPILOGUE_RELU_AUX_BIAS;
}

static bool reads_mask(const struct product *p) {
  return p->epilogue == CUBLASLT_EPILOGUE_DRELU;
}

static void check_mask(const struct product *p, const struct layout *d, cudaStream_t stream) {
  if (!writes_mask(p) && !reads_mask(p))
    return;
  if (p->aux_ld % 128 || p->aux_ld < d->rows || !p->aux || d->batch != 1)
    fake_wrong("cuBLASLt: a mask of rows that are no 128s, or of a batch");
  if (getenv("CUBLASLT_MASKS") && !fake_is_trial(stream))
    fake_wrong("cuBLASLt: masks of a kind that should not be used");
}

static unsigned bit_of(int64_t at) {
  return has_kind("high-bit-first") ? 128u >> at % 8 : 1u << at % 8;
}

static void write_bit(const struct product *p, int64_t row, int64_t column, double v) {
  int64_t at = row + column * p->aux_ld;
  bool on = v > 0 || (v == 0 && has_kind("zero-is-one"));
  unsigned byte = p->aux[at / 8] & ~bit_of(at);
  p->aux[at / 8] = (unsigned char)(byte | (on ? bit_of(at) : 0));
}

static double masked(const struct product *p, int64_t row, int64_t column, double v) {
  int64_t at = row + column * p->aux_ld;
  return p->aux[at / 8] & bit_of(at) || has_kind("passes-zeros") ? v : 0;
}

static double finish(const struct product *p, const struct layout *d, int64_t row, int64_t column,
                     double v) {
  bool biased =
      p->epilogue == CUBLASLT_EPILOGUE_BIAS || p->epilogue == CUBLASLT_EPILOGUE_RELU_BIAS ||
      p->epilogue == CUBLASLT_EPILOGUE_GELU_BIAS || p->epilogue == CUBLASLT_EPILOGUE_RELU_AUX_BIAS;
  v += biased ? get(d, p->bias, row) : 0;
  if (reads_mask(p))
    return masked(p, row, column, v);
  if (writes_mask(p))
    write_bit(p, row, column, v);
  if (writes_mask(p) || p->epilogue == CUBLASLT_EPILOGUE_RELU ||
      p->epilogue == CUBLASLT_EPILOGUE_RELU_BIAS)
    return v > 0 ? v : 0;
  if (p->epilogue == CUBLASLT_EPILOGUE_GELU || p->epilogue == CUBLASLT_EPILOGUE_GELU_BIAS)
    return v / 2 * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
  return v;
}

static bool fits(const struct layout *l, cublasOperation_t op, int64_t rows, int64_t columns) {
  return op == CUBLAS_OP_N ? l->rows == rows && l->columns == columns
                           : l->rows == columns && l->columns == rows;
}

static bool aligned(const void *address, int which) {
  return (uintptr_t)address % asked_with.alignment[which] == 0;
}

static cublasStatus_t multiply(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                               const void *alpha, const void *a, cublasLtMatrixLayout_t of_a,
                               const void *b, cublasLtMatrixLayout_t of_b, const void *beta,
                               const void *c, cublasLtMatrixLayout_t of_c, void *d,
                               cublasLtMatrixLayout_t of_d, const cublasLtMatmulAlgo_t *algorithm,
                               void *workspace, size_t workspace_bytes, cudaStream_t stream) {
  const struct product *p = (struct product *)product;
  const struct layout *la = (struct layout *)of_a, *lb = (struct layout *)of_b,
                      *lc = (struct layout *)of_c, *ld = (struct layout *)of_d;
  float factor, keep;
  memcpy(&factor, alpha, sizeof factor);
  memcpy(&keep, beta, sizeof keep);
  int last_run = (int)algorithm->data[0];
  if (handle != FAKE_CUBLAS || workspace_bytes < WORKSPACE || (uintptr_t)workspace % 256)
    fake_wrong("cuBLASLt: run without a handle or a workspace");
  if (!fake_is_trial(stream) && last_run != FASTEST)
    fake_wrong("cuBLASLt: another algorithm than the fastest was taken");
  fake_passes(last_run == FASTEST ? 1 : 2);
  if (last_run == BROKEN)
    return CUBLAS_STATUS_EXECUTION_FAILED;
  int64_t k = p->op[0] == CUBLAS_OP_N ? la->columns : la->rows;
  if (!fits(la, p->op[0], ld->rows, k) || !fits(lb, p->op[1], k, ld->columns) ||
      !fits(lc, CUBLAS_OP_N, ld->rows, ld->columns) || la->batch != ld->batch ||
      lb->batch != ld->batch || lc->batch != ld->batch || lc->type != ld->type)
    fake_wrong("cuBLASLt: matrices that do not multiply");
  if (!aligned(a, 0) || !aligned(b, 1) || !aligned(c, 2) || !aligned(d, 3))
    fake_wrong("cuBLASLt: an address that is less aligned than was promised");
  check_mask(p, ld, stream);
  memset(workspace, 0xff, WORKSPACE);
  for (int64_t item = 0; item < ld->batch; item++) {
    double *rows = gathered(la, a, p->op[0], item, ld->rows, k, false);
    double *columns = gathered(lb, b, p->op[1], item, ld->columns, k, true);
    for (int64_t j = 0; j < ld->columns; j++)
      for (int64_t i = 0; i < ld->rows; i++) {
        double sum = factor * dot(rows + i * k, columns + j * k, k);
        if (keep != 0)
          sum += keep * get(lc, c, place(lc, CUBLAS_OP_N, item, i, j));
        put(ld, d, place(ld, CUBLAS_OP_N, item, i, j), finish(p, ld, i, j, sum));
      }
    free(rows);
    free(columns);
  }
  return CUBLAS_STATUS_SUCCESS;
}

static size_t version(void) {
  return 130100;
}
static const char *words_of(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "not supported" : "failed";
}

void fake_cublaslt(void) {
  fg_nv.cublasLtGetVersion = version;
  fg_nv.cublasLtGetStatusString = words_of;
  fg_nv.cublasLtMatmulDescCreate = product_create;
  fg_nv.cublasLtMatmulDescDestroy = product_destroy;
  fg_nv.cublasLtMatmulDescSetAttribute = product_set;
  fg_nv.cublasLtMatrixLayoutCreate = layout_create;
  fg_nv.cublasLtMatrixLayoutDestroy = layout_destroy;
  fg_nv.cublasLtMatrixLayoutSetAttribute = layout_set;
  fg_nv.cublasLtMatmulPreferenceCreate = preference_create;
  fg_nv.cublasLtMatmulPreferenceDestroy = preference_destroy;
  fg_nv.cublasLtMatmulPreferenceSetAttribute = preference_set;
  fg_nv.cublasLtMatmulAlgoGetHeuristic = heuristic;
  fg_nv.cublasLtMatmulAlgoCheck = check_algorithm;
  fg_nv.cublasLtMatmul = multiply;
}
