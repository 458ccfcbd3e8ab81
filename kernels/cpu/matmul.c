/* matmul: y = act(alpha op(a) op(b) + bias + residual). Rows by a constant b go by
 * matmul_packed.h where that is faster. All else is dnnl_sgemm's, which is row-major, takes transposes and alpha, and costs well
 * under a microsecond for a tiny product.
 *
 * Leading axes that b does not have are folded into M, so that a layer over a sequence is one
 * product. Otherwise the products of a batch are shared out, each run by one thread when there are
 * enough of them; and so are the rows of a tall product. The residual is copied to y first and
 * accumulated upon; bias and activation follow on rows that are still in cache. */
#include <stdatomic.h>
#include <string.h>

#include "matmul_packed.h"
#include "unary.h"

struct product {
  bool trans_a, trans_b;
  int64_t m, n, k, lda, ldb;
  float alpha;
  const float *a, *b, *bias, *residual;
  float *y;
  const struct fg_unary_attrs *act;
  int64_t batch;
  int64_t chunks;           /* that rows are cut into; 0: none */
  int rank;                 /* of the leading axes */
  int64_t dim[FG_MAX_RANK]; /* y's                 */
  int64_t step_a[FG_MAX_RANK], step_b[FG_MAX_RANK];
  atomic_int *failed; /* a dnnl_status_t     */
};

/* ---- what follows the product */

static void finish_rows(const void *ctx, int64_t begin, int64_t end) {
  const struct product *p = ctx;
  for (int64_t i = begin; i < end; i++) {
    float *y = p->y + i * p->n;
    if (p->bias)
      fg_cpu_add(y, p->bias, p->n);
    fg_cpu_act(p->act, y, p->n);
  }
}

/* ---- the products */

static void multiply(const struct product *p, int64_t i) {
  int64_t at_a = 0, at_b = 0, rest = i;
  for (int d = p->rank - 1; d >= 0; d--) {
    at_a += rest % p->dim[d] * p->step_a[d];
    at_b += rest % p->dim[d] * p->step_b[d];
    rest /= p->dim[d];
  }
  float *y = p->y + i * p->m * p->n;
  dnnl_status_t status =
      dnnl_sgemm(p->trans_a ? 'T' : 'N', p->trans_b ? 'T' : 'N', p->m, p->n, p->k, p->alpha,
                 p->a + at_a, p->lda, p->b + at_b, p->ldb, p->residual ? 1.0f : 0.0f, y, p->n);
  if (status != dnnl_success)
    atomic_store(p->failed, (int)status);
}

static void multiply_range(const void *ctx, int64_t begin, int64_t end) {
  const struct product *p = ctx;
  for (int64_t i = begin; i < end; i++) {
    multiply(p, i);
    struct product one = *p;
    one.y = p->y + i * p->m * p->n;
    finish_rows(&one, 0, p->m);
  }
}

/* Chunks [begin, end) of a tall product's rows, with all that comes before and after. */
static void multiply_chunks(const void *ctx, int64_t begin, int64_t end) {
  const struct product *p = ctx;
  for (int64_t i = begin; i < end; i++) {
    int64_t first = p->m * i / p->chunks, rows = p->m * (i + 1) / p->chunks - first;
    struct product one = *p;
    one.m = rows;
    one.a += first * (p->trans_a ? 1 : p->lda);
    one.y += first * p->n;
    if (p->residual && p->residual != p->y)
      memcpy(one.y, p->residual + first * p->n, (size_t)(rows * p->n) * sizeof *one.y);
    multiply(&one, 0);
    finish_rows(&one, 0, rows);
  }
}

/* Rows of a chunk: enough to be worth packing b for, and few enough that the second-level cache has
 * them yet when what follows the product goes over them. */
#define CHUNK_ROWS 192

/* Each thread's chunks are as many as the others'; 0: not tall enough. */
static int64_t chunks_of(const struct product *p) {
  int64_t threads = fg_cpu_threads(), each = p->m / (CHUNK_ROWS * threads);
  return p->batch == 1 && each >= 2 ? each * threads : 0;
}

/* Element strides of t's leading axes, right-aligned under y's; 0 where broadcast. */
static void leading(const struct fg_tensor *t, int rank, int64_t *step) {
  int64_t next = t->dim[t->rank - 1] * t->dim[t->rank - 2];
  for (int i = rank - 1; i >= 0; i--) {
    int axis = i - (rank - (t->rank - 2));
    int64_t dim = axis >= 0 ? t->dim[axis] : 1;
    step[i] = dim == 1 ? 0 : next;
    next *= dim;
  }
}

static void shape(const struct fg_call *call, struct product *p) {
  const struct fg_tensor *a = &call->in[0], *b = &call->in[1], *y = &call->out[0];
  p->trans_a = call->attrs->matmul.trans_a;
  p->trans_b = call->attrs->matmul.trans_b;
  p->m = y->dim[y->rank - 2];
  p->n = y->dim[y->rank - 1];
  p->k = a->dim[a->rank - (p->trans_a ? 2 : 1)];
  p->lda = a->dim[a->rank - 1] > 0 ? a->dim[a->rank - 1] : 1;
  p->ldb = b->dim[b->rank - 1] > 0 ? b->dim[b->rank - 1] : 1;
  p->rank = y->rank - 2;
  p->batch = 1;
  for (int i = 0; i < p->rank; i++)
    p->batch *= p->dim[i] = y->dim[i];
  leading(a, p->rank, p->step_a);
  leading(b, p->rank, p->step_b);
  bool one_b = fg_cpu_span(b, 0, b->rank - 2) == 1;
  bool all_a = fg_cpu_span(a, 0, a->rank - 2) == p->batch;
  if (one_b && all_a && !p->trans_a) {
    p->m *= p->batch;
    p->batch = 1;
    p->rank = 0;
  }
}

/* ---- the kernel */

static bool broadcasts(const struct fg_tensor *t, const struct fg_tensor *y) {
  if (t->rank < 2 || t->rank > y->rank)
    return false;
  for (int i = 0; i < t->rank - 2; i++) {
    int64_t dim = t->dim[i];
    if (dim != 1 && dim != y->dim[i + y->rank - t->rank])
      return false;
  }
  return true;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  FG_TRY(fg_cpu_need_f32(call, call->n_in, 1));
  FG_TRY(fg_cpu_need_plain(call));
  const struct fg_tensor *y = &call->out[0];
  if ((call->n_in > 4 && fg_cpu_present(&call->in[4])) ||
      (call->n_out > 1 && fg_cpu_present(&call->out[1])))
    return FG_FAIL(UNSUPPORTED, "cpu: matmul without slope and mask only");
  if (!broadcasts(&call->in[0], y) || !broadcasts(&call->in[1], y))
    return FG_FAIL(UNSUPPORTED, "cpu: matmul's operands do not broadcast to its result");
  if (call->n_in > 3 && fg_cpu_present(&call->in[3]) && !fg_same_shape(&call->in[3], y))
    return FG_FAIL(UNSUPPORTED, "cpu: a fused residual has the result's shape");
  struct fg_cpu_device *cpu = (struct fg_cpu_device *)device;
  if (call->trial || !fg_matmul_packed_fits(cpu, call))
    return FGSM_OK;
  struct fg_matmul_packed *packed;
  FG_TRY(fg_matmul_packed_create(cpu, call, &packed));
  call->state = packed;
  return FGSM_OK;
}

static const float *optional(const struct fg_call *call, int i) {
  return i < call->n_in && fg_cpu_present(&call->in[i]) ? call->in[i].data : NULL;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  if (call->state) {
    fg_matmul_packed_run(call->state, call, scratch);
    return FGSM_OK;
  }
  const struct fg_matmul_attrs *attrs = &call->attrs->matmul;
  const struct fg_tensor *y = &call->out[0];
  atomic_int failed = dnnl_success;
  struct product p = {.alpha = (float)attrs->alpha,
                      .a = call->in[0].data,
                      .b = call->in[1].data,
                      .bias = optional(call, 2),
                      .residual = optional(call, 3),
                      .y = y->data,
                      .act = &attrs->act,
                      .failed = &failed};
  if (fg_count(y) == 0)
    return FGSM_OK;
  shape(call, &p);
  p.chunks = p.k == 0 ? 0 : chunks_of(&p);
  if (p.residual && p.residual != p.y && !p.chunks)
    memcpy(p.y, p.residual, fg_bytes(y));
  else if (!p.residual && p.k == 0)
    memset(p.y, 0, fg_bytes(y));
  bool finishes = p.bias || p.act->kind != FG_UNARY_identity;
  double each = (double)p.m * (double)p.n * (double)p.k / 16; /* nanoseconds, about */
  if (p.k == 0) {
    fg_cpu_parallel(p.batch * p.m, 1, (double)p.n, finish_rows, &p);
  } else if (p.chunks) {
    fg_cpu_parallel(p.chunks, 1, each / (double)p.chunks, multiply_chunks, &p);
  } else if (p.batch >= fg_cpu_threads() && p.batch > 1) {
    fg_cpu_parallel(p.batch, 1, each + 300, multiply_range, &p);
  } else {
    for (int64_t i = 0; i < p.batch; i++)
      multiply(&p, i);
    if (finishes)
      fg_cpu_parallel(p.batch * p.m, 1, 2 + 0.5 * (double)p.n, finish_rows, &p);
  }
  return fg_dnnl_status((dnnl_status_t)atomic_load(&failed), "dnnl_sgemm");
}

static void release(struct fg_call *call) {
  fg_matmul_packed_destroy(call->state);
  call->state = NULL;
}

const struct fg_kernel fg_cpu_matmul = {prepare, run, release};
