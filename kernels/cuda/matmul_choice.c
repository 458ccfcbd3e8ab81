/* Choosing among cuBLASLt's algorithms by time. One that is chosen is written down as the words that it
 * consists of: cuBLASLt takes them back, in the same version. */
#include "matmul.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choice_cache.h"
#include "plugin.h"
#include "trial.h"

enum { MOST_TRIED = 8, KEY_SIZE = 1024, TEXT_SIZE = 256, BUFFER_ALIGN = 64 };
enum { WORDS = sizeof(cublasLtMatmulAlgo_t) / sizeof(uint64_t) };

/* Bytes that every address of a matrix is a multiple of: buffers' own alignment, unless a loop steps
 * by less. cuBLASLt would take 256 for granted. */
static uint32_t alignment(const struct fg_gemm *g, const int64_t *steps, enum fg_type type) {
  uint32_t bytes = BUFFER_ALIGN;
  for (int i = 0; i < g->loops; i++)
    while ((size_t)steps[i] * fg_type_size(type) % bytes)
      bytes /= 2;
  return bytes;
}

static cublasStatus_t set_alignment(const struct fg_matmul *m,
                                    cublasLtMatmulPreference_t preference) {
  const struct fg_gemm *g = &m->gemm;
  const struct {
    cublasLtMatmulPreferenceAttributes_t name;
    uint32_t bytes;
  } of[] = {
      {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(g, g->loop_first, m->type_first)},
      {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(g, g->loop_second, m->type_second)},
      {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(g, g->loop_result, m->type_result)},
      {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(g, g->loop_result, m->type_result)}};
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  for (size_t i = 0; i < sizeof of / sizeof *of && status == CUBLAS_STATUS_SUCCESS; i++)
    status = fg_nv.cublasLtMatmulPreferenceSetAttribute(preference, of[i].name, &of[i].bytes,
                                                        sizeof of[i].bytes);
  return status;
}

/* Partial sums are added in float and in an order of their own, so that runs repeat. */
static cublasStatus_t ask(struct fg_matmul *m, cublasLtMatmulPreference_t preference,
                          cublasLtMatmulHeuristicResult_t found[MOST_TRIED], int *n) {
  size_t workspace = FG_MATMUL_WORKSPACE;
  uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  cublasStatus_t status = fg_nv.cublasLtMatmulPreferenceSetAttribute(
      preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
  if (status == CUBLAS_STATUS_SUCCESS)
    status = fg_nv.cublasLtMatmulPreferenceSetAttribute(
        preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction, sizeof reduction);
  if (status == CUBLAS_STATUS_SUCCESS)
    status = set_alignment(m, preference);
  if (status == CUBLAS_STATUS_SUCCESS)
    status =
        fg_nv.cublasLtMatmulAlgoGetHeuristic(m->handle, m->product, m->first, m->second, m->result,
                                             m->result, preference, MOST_TRIED, found, n);
  return status;
}

/* What the heuristic names, its favourite first. */
static fgsm_status list(struct fg_call *call, struct fg_matmul *m,
                        cublasLtMatmulHeuristicResult_t found[MOST_TRIED], int *n) {
  cublasLtMatmulPreference_t preference;
  cublasStatus_t status = fg_nv.cublasLtMatmulPreferenceCreate(&preference);
  *n = 0;
  if (status != CUBLAS_STATUS_SUCCESS)
    return fg_cublas_failed(status, "a preference");
  status = ask(m, preference, found, n);
  (void)fg_nv.cublasLtMatmulPreferenceDestroy(preference);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && *n == 0))
    return fg_cuda_decline(call, __FILE__, __LINE__, "cuBLASLt has no algorithm for it");
  return status == CUBLAS_STATUS_SUCCESS ? FGSM_OK
                                         : fg_cublas_failed(status, "choosing an algorithm");
}

static void take(struct fg_call *call, struct fg_matmul *m,
                 const cublasLtMatmulHeuristicResult_t *way) {
  m->algorithm = way->algo;
  call->scratch_bytes = way->workspaceSize + FG_MATMUL_ALIGN;
}

/* The fastest of several. One that fails is passed over, a card that fails is not. */
static fgsm_status try_all(struct fg_cuda_device *device, struct fg_call *call, struct fg_matmul *m,
                           const cublasLtMatmulHeuristicResult_t *found, int n, int *best) {
  struct fg_trial t;
  float least = 0;
  fgsm_status status = fg_trial_begin(&t, device, call, FG_MATMUL_WORKSPACE + FG_MATMUL_ALIGN);
  *best = -1;
  for (int i = 0; i < n && status == FGSM_OK; i++) {
    float time;
    if (found[i].state != CUBLAS_STATUS_SUCCESS)
      continue;
    take(&t.call, m, &found[i]);
    bool timed = fg_trial_time(&t, fg_matmul_run, &time) == FGSM_OK;
    status = fg_cuda_alive(device);
    if (timed && (*best < 0 || time < least)) {
      *best = i;
      least = time;
    }
  }
  fg_trial_end(&t);
  if (status == FGSM_OK && *best < 0)
    return fg_cuda_decline(call, __FILE__, __LINE__, "none of cuBLASLt's algorithms computes it");
  return status;
}

/* ---- keeping */

/* Everything that a choice depends on. */
static void key_of(const struct fg_cuda_device *device, const struct fg_matmul *m, char *key) {
  const struct fg_gemm *g = &m->gemm;
  int n =
      snprintf(key, KEY_SIZE, "matmul %s cublaslt %zu %s %s%s %s%s %s epilogue %d",
               fg_precision_name(device->base.precision), fg_nv.cublasLtGetVersion(), device->card,
               fg_type_name(m->type_first), g->trans_first ? "'" : "", fg_type_name(m->type_second),
               g->trans_second ? "'" : "", fg_type_name(m->type_result), (int)m->epilogue);
  const int64_t numbers[] = {g->m,           g->n,         g->k,          g->ld_first,
                             g->ld_second,   g->ld_result, g->step_first, g->step_second,
                             g->step_result, g->batch};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers && n < KEY_SIZE; i++)
    n += snprintf(key + n, (size_t)(KEY_SIZE - n), " %lld", (long long)numbers[i]);
  for (int i = 0; i < g->loops && n < KEY_SIZE; i++)
    n += snprintf(key + n, (size_t)(KEY_SIZE - n), " loop %lld %lld %lld %lld",
                  (long long)g->count[i], (long long)g->loop_first[i], (long long)g->loop_second[i],
                  (long long)g->loop_result[i]);
}

/* A kept choice that cuBLASLt no longer takes is made anew. */
static bool recall(const char *key, struct fg_call *call, struct fg_matmul *m) {
  cublasLtMatmulHeuristicResult_t checked = {.workspaceSize = 0};
  cublasLtMatmulAlgo_t kept;
  char *text = fg_choice_find(key), *at = text, *end;
  bool found = text != NULL;
  for (int i = 0; i < WORDS && found; i++, at = end) {
    kept.data[i] = strtoull(at, &end, 16);
    found = end != at;
  }
  free(text);
  if (!found ||
      fg_nv.cublasLtMatmulAlgoCheck(m->handle, m->product, m->first, m->second, m->result,
                                    m->result, &kept, &checked) != CUBLAS_STATUS_SUCCESS ||
      checked.workspaceSize > FG_MATMUL_WORKSPACE)
    return false;
  checked.algo = kept;
  take(call, m, &checked);
  return true;
}

static void keep(const char *key, const struct fg_matmul *m) {
  char text[TEXT_SIZE];
  int n = 0;
  for (int i = 0; i < WORDS; i++)
    n += snprintf(text + n, (size_t)(TEXT_SIZE - n), "%llx ",
                  (unsigned long long)m->algorithm.data[i]);
  if (!fg_choice_keep(key, text))
    fg_plugin_log(FGSM_LOG_INFO, "the choice of an algorithm is kept for this process alone: %s",
                  strerror(errno));
}

/* ---- times */

static const char *type_of(const struct fg_tensor *t) {
  return t ? fg_type_name(t->type) : "none";
}

/* Kept like a choice, because choices follow from it; of all that the call does. */
fgsm_status fg_matmul_time(struct fg_cuda_device *device, const struct fg_call *call,
                           const struct fg_matmul *m, float *milliseconds) {
  char key[KEY_SIZE + TEXT_SIZE], text[TEXT_SIZE];
  struct fg_trial t;
  key_of(device, m, key);
  snprintf(key + strlen(key), TEXT_SIZE, " residual %s act %d slope of %s mask %s: time",
           type_of(fg_cuda_in(call, 3)), (int)call->attrs->matmul.act.kind,
           type_of(fg_cuda_in(call, 4)), type_of(fg_cuda_out(call, 1)));
  char *kept = fg_choice_find(key);
  bool found = kept && sscanf(kept, "%f", milliseconds) == 1;
  free(kept);
  if (found)
    return FGSM_OK;
  fgsm_status status = fg_trial_begin(&t, device, call, call->scratch_bytes);
  if (status == FGSM_OK)
    status = fg_trial_time(&t, fg_matmul_run, milliseconds);
  fg_trial_end(&t);
  FG_TRY(status);
  snprintf(text, sizeof text, "%.6g", (double)*milliseconds);
  (void)fg_choice_keep(key, text);
  return FGSM_OK;
}

fgsm_status fg_matmul_choose(struct fg_cuda_device *device, struct fg_call *call,
                             struct fg_matmul *m) {
  cublasLtMatmulHeuristicResult_t found[MOST_TRIED];
  char key[KEY_SIZE];
  int n, best = 0;
  key_of(device, m, key);
  if (recall(key, call, m))
    return FGSM_OK;
  FG_TRY(list(call, m, found, &n));
  if (call->trial)
    return FGSM_OK;
  if (n > 1 || found[0].state != CUBLAS_STATUS_SUCCESS)
    FG_TRY(try_all(device, call, m, found, n, &best));
  take(call, m, &found[best]);
  keep(key, m);
  return FGSM_OK;
}
