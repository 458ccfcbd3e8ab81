/* attention and its gradient, a block of query rows at a time: its scores z lie in a worker's scratch,
 * which L2 holds, and never reach memory. Products are dnnl_sgemm's, one thread each; what lies
 * between them is vectorised here. Whole rows of z are kept, so the softmax is the plain one.
 *
 * Forward, a piece of work is a block of rows; backward it is a head, whose dk and dv are sums over
 * its blocks in order. dbias is a sum over heads as well, so then one worker takes them all. */
#include "dnnl_shim.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "vmath.h"

/* Bytes of one matrix of scores that a worker keeps: two of them and the operands fit L2. */
#define BLOCK_BYTES (160 << 10)

struct attention {
  const float *q, *k, *v, *bias, *dy, *y;
  float *lse; /* read by the gradient */
  float *out, *dq, *dk, *dv, *dbias;
  int64_t n_heads, heads, s, t, d, e; /* n_heads: B H; heads: H */
  int64_t step[4];                    /* of the bias; 0 where it is broadcast */
  float scale;
  int64_t rows, blocks; /* a head's rows are cut into */
  int64_t pieces;       /* of work, dealt out to */
  int workers;
  float *scratch;
  size_t each; /* floats of it a worker has */
  atomic_int *failed;
};

/* c = alpha op(a) op(b) + beta c, row-major, no padding. */
static void product(const struct attention *c, char trans_a, char trans_b, int64_t m, int64_t n,
                    int64_t k, float alpha, const float *a, const float *b, float beta, float *to) {
  dnnl_status_t status = dnnl_sgemm(trans_a, trans_b, m, n, k, alpha, a, trans_a == 'T' ? m : k, b,
                                    trans_b == 'T' ? k : n, beta, to, n);
  if (status != dnnl_success)
    atomic_store(c->failed, (int)status);
}

FG_CLONES static void add_bias(float *z, const float *bias, int64_t step, int64_t n) {
  if (step == 0) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      z[i] += bias[0];
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      z[i] += bias[i];
  }
}

/* Where the bias of row `row` (of all heads) lies. */
static int64_t bias_at(const struct attention *c, int64_t row) {
  int64_t head = row / c->s;
  return head / c->heads * c->step[0] + head % c->heads * c->step[1] + row % c->s * c->step[2];
}

/* z of rows [first, first + n). */
static void scores(const struct attention *c, int64_t first, int64_t n, float *z) {
  product(c, 'N', 'T', n, c->t, c->d, c->scale, c->q + first * c->d,
          c->k + first / c->s * c->t * c->d, 0, z);
  for (int64_t i = 0; c->bias && i < n; i++)
    add_bias(z + i * c->t, c->bias + bias_at(c, first + i), c->step[3], c->t);
}

/* z -> exp(z - top) in place; its sum and lse. */
FG_CLONES static float attention_row(float *z, int64_t n, float *lse) {
  float top = fg_vtopf(z, n, 1), sum = fg_vexp_row(z, z, n, top);
  *lse = top + logf(sum);
  return sum;
}

FG_CLONES static void attention_scale(float *y, float factor, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    y[i] *= factor;
}

/* The rows of piece `at`: its first, and how many. */
static int64_t block_of(const struct attention *c, int64_t head, int64_t block, int64_t *n) {
  int64_t from = block * c->rows;
  *n = c->s - from < c->rows ? c->s - from : c->rows;
  return head * c->s + from;
}

static void attend(const struct attention *c, int64_t piece, float *z) {
  int64_t n, head = piece / c->blocks, first = block_of(c, head, piece % c->blocks, &n);
  float *sum = z + c->rows * c->t, *y = c->out + first * c->e, lse;
  scores(c, first, n, z);
  for (int64_t i = 0; i < n; i++) {
    sum[i] = attention_row(z + i * c->t, c->t, &lse);
    if (c->lse)
      c->lse[first + i] = lse;
  }
  product(c, 'N', 'N', n, c->e, c->t, 1, z, c->v + head * c->t * c->e, 0, y);
  for (int64_t i = 0; i < n; i++)
    attention_scale(y + i * c->e, 1.0f / sum[i], c->e);
}

/* z -> p = exp(z - lse); dp -> dz = p (dp - sum dy y). */
FG_CLONES static void attention_row_grad(float *z, float *dp, int64_t n, float lse, const float *dy,
                                         const float *y, int64_t e) {
  float along = 0;
#pragma omp simd reduction(+ : along)
  for (int64_t i = 0; i < e; i++)
    along += dy[i] * y[i];
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float p = fg_vexpf(z[i] - lse);
    z[i] = p;
    dp[i] = p * (dp[i] - along);
  }
}

static void gather_bias(const struct attention *c, int64_t row, const float *dz) {
  float *to = c->dbias + bias_at(c, row);
  for (int64_t i = 0; i < c->t; i++)
    to[i * c->step[3]] += dz[i];
}

static void attend_grad(const struct attention *c, int64_t head, float *z) {
  float *dp = z + c->rows * c->t;
  const float *k = c->k + head * c->t * c->d, *v = c->v + head * c->t * c->e;
  for (int64_t b = 0; b < c->blocks; b++) {
    int64_t n, first = block_of(c, head, b, &n);
    const float *q = c->q + first * c->d, *dy = c->dy + first * c->e, *y = c->y + first * c->e;
    float keep = b > 0;
    scores(c, first, n, z);
    product(c, 'N', 'T', n, c->t, c->e, 1, dy, v, 0, dp);
    for (int64_t i = 0; i < n; i++) {
      attention_row_grad(z + i * c->t, dp + i * c->t, c->t, c->lse[first + i], dy + i * c->e,
                         y + i * c->e, c->e);
      if (c->dbias)
        gather_bias(c, first + i, dp + i * c->t);
    }
    if (c->dv)
      product(c, 'T', 'N', c->t, c->e, n, 1, z, dy, keep, c->dv + head * c->t * c->e);
    if (c->dq)
      product(c, 'N', 'N', n, c->d, c->t, c->scale, dp, k, 0, c->dq + first * c->d);
    if (c->dk)
      product(c, 'T', 'N', c->t, c->d, n, c->scale, dp, q, keep, c->dk + head * c->t * c->d);
  }
}

/* Workers [begin, end), each its share of the pieces. */
static void work(const void *ctx, int64_t begin, int64_t end) {
  const struct attention *c = ctx;
  for (int64_t w = begin; w < end; w++)
    for (int64_t i = c->pieces * w / c->workers; i < c->pieces * (w + 1) / c->workers; i++)
      if (c->dy)
        attend_grad(c, i, c->scratch + (size_t)w * c->each);
      else
        attend(c, i, c->scratch + (size_t)w * c->each);
}

/* ---- the kernels */

static bool broadcasts(const struct fg_tensor *bias, const int64_t *z) {
  for (int i = 0; i < bias->rank; i++)
    if (bias->dim[i] != 1 && bias->dim[i] != z[4 - bias->rank + i])
      return false;
  return bias->rank <= 4;
}

/* Shapes, from q, k, v at inputs `at` .. at + 2, and the cut. */
static fgsm_status plan(const struct fg_call *call, const struct fg_device *device, int at,
                        const struct fg_tensor *bias, struct attention *c) {
  const struct fg_tensor *q = &call->in[at], *k = &call->in[at + 1], *v = &call->in[at + 2];
  if (q->rank != 4 || k->rank != 4 || v->rank != 4)
    return FG_FAIL(UNSUPPORTED, "cpu: %s of rank 4 only", fg_op_name(call->op));
  *c = (struct attention){.n_heads = q->dim[0] * q->dim[1],
                          .heads = q->dim[1],
                          .s = q->dim[2],
                          .t = k->dim[2],
                          .d = q->dim[3],
                          .e = v->dim[3],
                          .scale = (float)call->attrs->attention.scale};
  int64_t z[4] = {q->dim[0], q->dim[1], c->s, c->t}, next = 1;
  if (c->t < 1 || (bias && !broadcasts(bias, z)))
    return FG_FAIL(UNSUPPORTED, "cpu: %s: operands do not fit each other", fg_op_name(call->op));
  for (int i = 3; bias && i >= 4 - bias->rank; i--) {
    int64_t dim = bias->dim[i - 4 + bias->rank];
    c->step[i] = dim == 1 ? 0 : next;
    next *= dim;
  }
  int64_t most = BLOCK_BYTES / (c->t * (int64_t)sizeof(float));
  most = most < 8 ? 8 : most;
  c->blocks = c->s > 0 ? (c->s + most - 1) / most : 1;
  c->rows = (c->s + c->blocks - 1) / c->blocks;
  bool grad = call->op == FG_OP_attention_grad;
  c->pieces = grad ? c->n_heads : c->n_heads * c->blocks;
  c->workers = c->pieces < device->threads ? (int)c->pieces : device->threads;
  if (grad && call->n_out > 3 && fg_cpu_present(&call->out[3]))
    c->workers = 1;
  c->workers = c->workers < 1 ? 1 : c->workers;
  c->each = (size_t)((grad ? 2 * c->t : c->t + 1) * c->rows + 15) / 16 * 16;
  return FGSM_OK;
}

static const struct fg_tensor *optional(const struct fg_tensor *t, int i, int n) {
  return i < n && fg_cpu_present(&t[i]) ? &t[i] : NULL;
}

static void *data(const struct fg_tensor *t) {
  return t ? t->data : NULL;
}

/* The number of workers is the scratch's, so run knows it from there. */
static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  struct attention c;
  bool grad = call->op == FG_OP_attention_grad;
  FG_TRY(fg_cpu_need_f32(call, call->n_in, call->n_out));
  FG_TRY(fg_cpu_need_plain(call));
  FG_TRY(plan(call, device, grad, optional(call->in, grad ? 6 : 3, call->n_in), &c));
  call->scratch_bytes = (size_t)c.workers * c.each * sizeof(float);
  return FGSM_OK;
}

static fgsm_status start(struct attention *c, const struct fg_call *call, void *scratch,
                         double products) {
  atomic_int failed = dnnl_success;
  c->workers = (int)(call->scratch_bytes / (c->each * sizeof(float)));
  c->scratch = scratch;
  c->failed = &failed;
  double z = (double)c->n_heads * (double)c->s * (double)c->t;
  double cost = z * ((double)(c->d + c->e) * products / 32 + 1) / c->workers; /* ns, about */
  fg_cpu_parallel(c->workers, 1, cost, work, c);
  return fg_dnnl_status((dnnl_status_t)atomic_load(&failed), "dnnl_sgemm");
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  struct attention c;
  const struct fg_tensor *bias = optional(call->in, 3, call->n_in);
  struct fg_device one = {.threads = 1};
  FG_TRY(plan(call, &one, 0, bias, &c));
  if (c.pieces == 0 || c.s == 0)
    return FGSM_OK;
  c.q = call->in[0].data;
  c.k = call->in[1].data;
  c.v = call->in[2].data;
  c.bias = data(bias);
  c.out = call->out[0].data;
  c.lse = data(optional(call->out, 1, call->n_out));
  return start(&c, call, scratch, 1);
}

const struct fg_kernel fg_cpu_attention = {prepare, run, NULL};

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  struct attention c;
  const struct fg_tensor *bias = optional(call->in, 6, call->n_in);
  const struct fg_tensor *dbias = optional(call->out, 3, call->n_out);
  struct fg_device one = {.threads = 1};
  FG_TRY(plan(call, &one, 1, bias, &c));
  if (dbias)
    memset(dbias->data, 0, fg_bytes(dbias));
  if (c.pieces == 0)
    return FGSM_OK;
  c.dy = call->in[0].data;
  c.q = call->in[1].data;
  c.k = call->in[2].data;
  c.v = call->in[3].data;
  c.y = call->in[4].data;
  c.lse = call->in[5].data;
  c.bias = data(bias);
  c.dq = data(optional(call->out, 0, call->n_out));
  c.dk = data(optional(call->out, 1, call->n_out));
  c.dv = data(optional(call->out, 2, call->n_out));
  c.dbias = data(dbias);
  return start(&c, call, scratch, 2.5);
}

const struct fg_kernel fg_cpu_attention_grad = {prepare, run_grad, NULL};
