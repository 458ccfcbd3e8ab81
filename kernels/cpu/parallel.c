/* Threads and the small checks that every kernel makes. The one OpenMP region for our own loops is
 * here: a piece per thread, cut at fixed places, so nothing depends on scheduling. */
#include "cpu.h"

#include <dnnl.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

/* Below this many nanoseconds of work per thread, waking another thread costs more than it saves.
 */
#define PIECE_NS 8000.0

int64_t fg_cpu_second_level_bytes(void) {
  long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? bytes : 512 << 10;
}

int fg_cpu_threads(void) {
#ifdef _OPENMP
  return omp_in_parallel() ? 1 : omp_get_max_threads();
#else
  return 1;
#endif
}

void fg_cpu_set_threads(int threads) {
#ifdef _OPENMP
  omp_set_num_threads(threads);
#else
  (void)threads;
#endif
}

void fg_cpu_parallel(int64_t n, int64_t align, double cost, fg_cpu_body body, const void *ctx) {
  if (n <= 0)
    return;
  int64_t blocks = (n + align - 1) / align;
  double worth = (double)n * cost / PIECE_NS;
  int64_t pieces = fg_cpu_threads();
  if (worth < (double)pieces)
    pieces = (int64_t)worth;
  if (blocks < pieces)
    pieces = blocks;
  if (pieces <= 1) {
    body(ctx, 0, n);
    return;
  }
#pragma omp parallel for num_threads((int)pieces) schedule(static, 1)
  for (int64_t i = 0; i < pieces; i++) {
    int64_t begin = blocks * i / pieces * align, end = blocks * (i + 1) / pieces * align;
    body(ctx, begin, end < n ? end : n);
  }
}

int fg_cpu_block(void) {
  unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
  unsigned avx2 = dnnl_cpu_isa_avx2, avx512 = dnnl_cpu_isa_avx512_core;
  if ((isa & avx512) == avx512)
    return 16;
  return (isa & avx2) == avx2 ? 8 : 0;
}

struct fg_cpu_planes fg_cpu_planes(const struct fg_tensor *t) {
  int block = fg_cpu_block(); /* 0 where nothing is ever blocked */
  int64_t lanes = t->layout == FG_BLOCKED && block ? block : 1;
  struct fg_cpu_planes p = {t->dim[0] * (t->dim[1] / lanes), fg_cpu_span(t, 2, t->rank), lanes};
  return p;
}

fgsm_status fg_cpu_need_f32(const struct fg_call *call, int n_in, int n_out) {
  for (int i = 0; i < n_in + n_out; i++) {
    const struct fg_tensor *t = i < n_in ? &call->in[i] : &call->out[i - n_in];
    if (t->type != FG_NONE && t->type != FG_F32)
      return FG_FAIL(UNSUPPORTED, "cpu: %s works in float32, not %s", fg_op_name(call->op),
                     fg_type_name(t->type));
  }
  return FGSM_OK;
}

fgsm_status fg_cpu_need_plain(const struct fg_call *call) {
  for (int i = 0; i < call->n_in + call->n_out; i++) {
    const struct fg_tensor *t = i < call->n_in ? &call->in[i] : &call->out[i - call->n_in];
    if (t->type != FG_NONE && t->layout != FG_PLAIN)
      return FG_FAIL(UNSUPPORTED, "cpu: %s takes plain tensors only", fg_op_name(call->op));
  }
  return FGSM_OK;
}

fgsm_status fg_cpu_need_same_layout(const struct fg_call *call) {
  const struct fg_tensor *first = NULL;
  for (int i = 0; i < call->n_in + call->n_out; i++) {
    const struct fg_tensor *t = i < call->n_in ? &call->in[i] : &call->out[i - call->n_in];
    if (t->type == FG_NONE)
      continue;
    if (first && t->layout != first->layout)
      return FG_FAIL(UNSUPPORTED, "cpu: %s needs one layout for all of its tensors",
                     fg_op_name(call->op));
    first = t;
  }
  return FGSM_OK;
}
