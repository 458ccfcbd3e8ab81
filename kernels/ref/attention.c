/* attention, attention_grad, one row of z after the other. A head's q, k, v and dy are loaded into
 * doubles first, so that the inner loops see no types. */
#include "ref.h"

struct sizes {
  int64_t heads, s, t, d, e; /* heads: B H */
};

static struct sizes sizes_of(const struct fg_tensor *q, const struct fg_tensor *v) {
  return (struct sizes){q->dim[0] * q->dim[1], q->dim[2], v->dim[2], q->dim[3], v->dim[3]};
}

static bool has_shape(const struct fg_tensor *t, int rank, const int64_t *dim) {
  struct fg_tensor want = {.rank = rank};
  memcpy(want.dim, dim, (size_t)rank * sizeof *dim);
  return !t || fg_same_shape(t, &want);
}

/* q, k, v at inputs `at` .. at + 2, whose shapes must fit, and a bias. */
static fgsm_status check(const struct fg_call *call, int at, const struct fg_tensor *bias) {
  const struct fg_tensor *q = &call->in[at], *k = &call->in[at + 1], *v = &call->in[at + 2];
  FG_REF_NEED(call, q->rank == 4 && k->rank == 4 && v->rank == 4, "q, k or v is not of rank 4");
  const int64_t *b = q->dim;
  FG_REF_NEED(call,
              has_shape(k, 4, (int64_t[]){b[0], b[1], k->dim[2], b[3]}) &&
                  has_shape(v, 4, (int64_t[]){b[0], b[1], k->dim[2], v->dim[3]}),
              "q, k and v do not fit each other");
  FG_REF_NEED(call, k->dim[2] >= 1, "nothing to attend to");
  struct fg_tensor z = {.rank = 4, .dim = {b[0], b[1], b[2], k->dim[2]}};
  FG_REF_NEED(call, !bias || fg_ref_broadcasts(bias, &z), "bias does not broadcast");
  return FGSM_OK;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 7, 1));
  FG_TRY(fg_ref_check_real(call, 15, 3));
  FG_TRY(check(call, 0, fg_ref_in(call, 3)));
  struct sizes n = sizes_of(&call->in[0], &call->in[2]);
  const int64_t *b = call->in[0].dim;
  FG_REF_NEED(call,
              has_shape(&call->out[0], 4, (int64_t[]){b[0], b[1], n.s, n.e}) &&
                  has_shape(fg_ref_out(call, 1), 3, b),
              "y or lse has another shape");
  call->scratch_bytes = (size_t)(n.d + n.t * (n.d + n.e + 1) + n.e) * sizeof(double);
  return FGSM_OK;
}

static double dot(const double *a, const double *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += a[i] * b[i];
  return sum;
}

static void add_scaled(double *to, double factor, const double *x, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    to[i] += factor * x[i];
}

/* Where row `row` of z finds its bias, and how far its elements are apart. */
static int64_t bias_at(const struct fg_tensor *bias, const struct fg_tensor *q, int64_t row,
                       int64_t *step) {
  int64_t stride[4];
  fg_ref_broadcast(bias, 4, stride);
  *step = stride[3];
  int64_t s = row % q->dim[2], head = row / q->dim[2];
  return head / q->dim[1] * stride[0] + head % q->dim[1] * stride[1] + s * stride[2];
}

/* z of one row. */
static void scores(const struct fg_tensor *q_of, const struct fg_tensor *bias, double scale,
                   int64_t row, struct sizes n, const double *q, const double *k, double *z) {
  int64_t step = 0, at = bias ? bias_at(bias, q_of, row, &step) : 0;
  for (int64_t t = 0; t < n.t; t++) {
    z[t] = scale * dot(q, k + t * n.d, n.d);
    if (bias)
      z[t] += fg_ref_get(bias, at + t * step);
  }
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct fg_tensor *q_of = &call->in[0], *bias = fg_ref_in(call, 3);
  struct sizes n = sizes_of(q_of, &call->in[2]);
  double *q = scratch, *k = q + n.d, *v = k + n.t * n.d, *z = v + n.t * n.e, *y = z + n.t;
  for (int64_t row = 0; row < n.heads * n.s; row++) {
    int64_t head = row / n.s;
    if (row % n.s == 0) {
      fg_ref_load(&call->in[1], head * n.t * n.d, n.t * n.d, k);
      fg_ref_load(&call->in[2], head * n.t * n.e, n.t * n.e, v);
    }
    fg_ref_load(q_of, row * n.d, n.d, q);
    scores(q_of, bias, call->attrs->attention.scale, row, n, q, k, z);
    double top = -INFINITY, sum = 0;
    for (int64_t t = 0; t < n.t; t++)
      top = fmax(top, z[t]);
    memset(y, 0, (size_t)n.e * sizeof *y);
    for (int64_t t = 0; t < n.t; t++) {
      double p = exp(z[t] - top);
      sum += p;
      add_scaled(y, p, v + t * n.e, n.e);
    }
    for (int64_t e = 0; e < n.e; e++)
      fg_ref_put(&call->out[0], row * n.e + e, y[e] / sum);
    if (fg_ref_out(call, 1))
      fg_ref_put(&call->out[1], row, top + log(sum));
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_attention = {prepare, run, NULL};

enum { DY, Q, K, V, Y, LSE, BIAS };
enum { DQ, DK, DV, DBIAS };

static fgsm_status prepare_grad(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, (1 << BIAS) - 1, 0));
  FG_TRY(fg_ref_check_real(call, 127, 15));
  const struct fg_tensor *bias = fg_ref_in(call, BIAS), *dbias = fg_ref_out(call, DBIAS);
  FG_TRY(check(call, Q, bias));
  struct sizes n = sizes_of(&call->in[Q], &call->in[V]);
  const int64_t *b = call->in[Q].dim;
  int64_t of_y[] = {b[0], b[1], n.s, n.e};
  FG_REF_NEED(call,
              has_shape(&call->in[DY], 4, of_y) && has_shape(&call->in[Y], 4, of_y) &&
                  has_shape(&call->in[LSE], 3, b),
              "dy, y or lse has another shape");
  for (int i = DQ; i < DBIAS; i++)
    FG_REF_NEED(call, has_shape(fg_ref_out(call, i), 4, call->in[Q + i].dim),
                "result %d has another shape", i);
  FG_REF_NEED(call, !dbias || (bias && fg_same_shape(bias, dbias)), "dbias has another shape");
  int64_t bias_count = dbias ? fg_count(dbias) : 0;
  call->scratch_bytes =
      (size_t)(2 * n.d + 2 * n.e + 2 * n.t * (n.d + n.e) + n.t + bias_count) * sizeof(double);
  return FGSM_OK;
}

/* A head's k and v in doubles, the sums of their gradients, and one row's numbers. */
struct head {
  double *q, *dq, *dy, *y, *k, *v, *dk, *dv, *z, *dbias;
};

static struct head head_in(double *at, struct sizes n) {
  struct head h = {.q = at};
  h.dq = h.q + n.d;
  h.dy = h.dq + n.d;
  h.y = h.dy + n.e;
  h.k = h.y + n.e;
  h.v = h.k + n.t * n.d;
  h.dk = h.v + n.t * n.e;
  h.dv = h.dk + n.t * n.d;
  h.z = h.dv + n.t * n.e;
  h.dbias = h.z + n.t;
  return h;
}

static void row_grad(const struct fg_call *call, int64_t row, struct sizes n, struct head *h) {
  const struct fg_tensor *bias = fg_ref_in(call, BIAS);
  double scale = call->attrs->attention.scale, lse = fg_ref_get(&call->in[LSE], row);
  int64_t step = 0, at = fg_ref_out(call, DBIAS) ? bias_at(bias, &call->in[Q], row, &step) : -1;
  fg_ref_load(&call->in[Q], row * n.d, n.d, h->q);
  fg_ref_load(&call->in[DY], row * n.e, n.e, h->dy);
  fg_ref_load(&call->in[Y], row * n.e, n.e, h->y);
  scores(&call->in[Q], bias, scale, row, n, h->q, h->k, h->z);
  double along = dot(h->dy, h->y, n.e);
  memset(h->dq, 0, (size_t)n.d * sizeof *h->dq);
  for (int64_t t = 0; t < n.t; t++) {
    double p = exp(h->z[t] - lse), dz = p * (dot(h->dy, h->v + t * n.e, n.e) - along);
    add_scaled(h->dv + t * n.e, p, h->dy, n.e);
    add_scaled(h->dq, scale * dz, h->k + t * n.d, n.d);
    add_scaled(h->dk + t * n.d, scale * dz, h->q, n.d);
    if (at >= 0)
      h->dbias[at + t * step] += dz;
  }
  if (fg_ref_out(call, DQ))
    fg_ref_store(&call->out[DQ], row * n.d, n.d, h->dq);
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  struct sizes n = sizes_of(&call->in[Q], &call->in[V]);
  const struct fg_tensor *dbias = fg_ref_out(call, DBIAS);
  struct head h = head_in(scratch, n);
  int64_t bias_count = dbias ? fg_count(dbias) : 0;
  for (int64_t i = 0; i < bias_count; i++)
    h.dbias[i] = 0;
  for (int64_t head = 0; head < n.heads; head++) {
    fg_ref_load(&call->in[K], head * n.t * n.d, n.t * n.d, h.k);
    fg_ref_load(&call->in[V], head * n.t * n.e, n.t * n.e, h.v);
    memset(h.dk, 0, (size_t)(n.t * (n.d + n.e)) * sizeof *h.dk);
    for (int64_t s = 0; s < n.s; s++)
      row_grad(call, head * n.s + s, n, &h);
    if (fg_ref_out(call, DK))
      fg_ref_store(&call->out[DK], head * n.t * n.d, n.t * n.d, h.dk);
    if (fg_ref_out(call, DV))
      fg_ref_store(&call->out[DV], head * n.t * n.e, n.t * n.e, h.dv);
  }
  if (dbias)
    fg_ref_store(dbias, 0, bias_count, h.dbias);
  return FGSM_OK;
}

const struct fg_kernel fg_ref_attention_grad = {prepare_grad, run_grad, NULL};
