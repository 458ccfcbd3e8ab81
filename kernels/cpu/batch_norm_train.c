/* batch_norm_train and its gradient, plainly or in channel blocks.
 *
 * x is read as [outer, groups, inner, lanes]: a group is one channel (plain; its lanes are eight
 * neighbouring places) or a block of channels (a lane each). First every (outer, group) sums its own
 * plane, in double, then the planes' sums are added in order: neither depends on how the work was
 * cut. Variance is E[x^2] - E[x]^2 in double, of floats whose squares a double holds exactly; what
 * cancels is lost only where the mean is 1e7 deviations. */
#include "cpu.h"
#include "ranks.h"

#include <math.h>

enum { MOST_LANES = 16, PLAIN_LANES = 8 };

struct norm {
  const float *x, *dy, *scale, *bias, *mean, *var;
  float *y;         /* or dx */
  double *sums;     /* [outer, channels, 2]: of x and x^2, or of dy and dy (x - mean) */
  float *a, *b, *c; /* [channels]: y = a x + b, dx = a dy + b x + c */
  int64_t outer, channels, groups, inner, lanes;
};

static void describe(const struct fg_tensor *x, struct norm *n) {
  int block = fg_cpu_block();
  n->lanes = x->layout == FG_BLOCKED && block ? block : 1;
  n->outer = x->dim[0];
  n->channels = x->dim[1];
  n->groups = x->dim[1] / n->lanes;
  n->inner = fg_cpu_span(x, 2, x->rank);
}

/* Sums of f and of g over a plane: with dy of dy and dy (x - mean), else of x and x^2. */
FG_INLINE void plane(const float *x, const float *dy, const float *mean, int64_t inner, int lanes,
                     double *first, double *second) {
  double s[MOST_LANES] = {0}, t[MOST_LANES] = {0};
  for (int64_t i = 0; i < inner; i++)
#pragma omp simd
    for (int l = 0; l < lanes; l++) {
      double v = x[i * lanes + l], d = dy ? dy[i * lanes + l] : v;
      s[l] += d;
      t[l] += dy ? d * (v - mean[l]) : v * v;
    }
  for (int l = 0; l < lanes; l++) {
    first[l] = s[l];
    second[l] = t[l];
  }
}

FG_CLONES static void batch_norm_blocks(const struct norm *n, int64_t begin, int64_t end) {
  int lanes = (int)n->lanes;
  for (int64_t p = begin; p < end; p++) {
    int64_t c = p % n->groups * lanes, at = p * n->inner * lanes;
    double first[MOST_LANES], second[MOST_LANES];
    const float *dy = n->dy ? n->dy + at : NULL, *mean = n->dy ? n->mean + c : NULL;
    if (lanes == 16)
      plane(n->x + at, dy, mean, n->inner, 16, first, second);
    else
      plane(n->x + at, dy, mean, n->inner, 8, first, second);
    double *to = n->sums + (p / n->groups * n->channels + c) * 2;
    for (int l = 0; l < lanes; l++) {
      to[2 * l] = first[l];
      to[2 * l + 1] = second[l];
    }
  }
}

FG_CLONES static void batch_norm_planes(const struct norm *n, int64_t begin, int64_t end) {
  int64_t whole = n->inner / PLAIN_LANES;
  for (int64_t p = begin; p < end; p++) {
    float mean[PLAIN_LANES];
    double first[PLAIN_LANES], second[PLAIN_LANES], s = 0, t = 0;
    const float *x = n->x + p * n->inner, *dy = n->dy ? n->dy + p * n->inner : NULL;
    for (int l = 0; l < PLAIN_LANES; l++)
      mean[l] = n->dy ? n->mean[p % n->groups] : 0;
    plane(x, dy, mean, whole, PLAIN_LANES, first, second);
    for (int l = 0; l < PLAIN_LANES; l++) {
      s += first[l];
      t += second[l];
    }
    for (int64_t i = whole * PLAIN_LANES; i < n->inner; i++) {
      double v = x[i], d = dy ? dy[i] : v;
      s += d;
      t += dy ? d * (v - mean[0]) : v * v;
    }
    n->sums[2 * p] = s;
    n->sums[2 * p + 1] = t;
  }
}

static void sum_body(const void *ctx, int64_t begin, int64_t end) {
  const struct norm *n = ctx;
  if (n->lanes > 1)
    batch_norm_blocks(n, begin, end);
  else
    batch_norm_planes(n, begin, end);
}

/* The two sums of every channel over the whole batch, into those of the first outer. */
static void total(const struct norm *n) {
  for (int64_t i = 0; n->outer == 0 && i < 2 * n->channels; i++)
    n->sums[i] = 0;
  for (int64_t o = 1; o < n->outer; o++)
    for (int64_t i = 0; i < 2 * n->channels; i++)
      n->sums[i] += n->sums[o * n->channels * 2 + i];
}

/* y = a x + b, or dx = a dy + b x + c. */
FG_CLONES static void batch_norm_apply(const struct norm *n, int64_t begin, int64_t end) {
  int64_t lanes = n->lanes, width = n->inner * lanes;
  for (int64_t p = begin; p < end; p++) {
    int64_t from = p % n->groups * lanes;
    const float *x = n->x + p * width, *dy = n->dy ? n->dy + p * width : NULL;
    const float *a = n->a + from, *b = n->b + from, *c = n->c + from;
    float *y = n->y + p * width;
    if (lanes == 1) {
#pragma omp simd
      for (int64_t i = 0; i < width; i++)
        y[i] = dy ? a[0] * dy[i] + (b[0] * x[i] + c[0]) : a[0] * x[i] + b[0];
    } else {
      for (int64_t i = 0; i < n->inner; i++)
#pragma omp simd
        for (int64_t l = 0; l < lanes; l++) {
          int64_t at = i * lanes + l;
          y[at] = dy ? a[l] * dy[at] + (b[l] * x[at] + c[l]) : a[l] * x[at] + b[l];
        }
    }
  }
}

static void apply_body(const void *ctx, int64_t begin, int64_t end) {
  batch_norm_apply(ctx, begin, end);
}

/* Two doubles a plane, a channel's at least, and three floats a channel. */
static size_t scratch_bytes(const struct fg_tensor *x) {
  size_t channels = (size_t)x->dim[1], outer = x->dim[0] ? (size_t)x->dim[0] : 1;
  return 2 * channels * outer * sizeof(double) + 3 * channels * sizeof(float);
}

static void use_scratch(struct norm *n, void *scratch) {
  n->sums = scratch;
  n->a = (float *)(n->sums + 2 * n->channels * (n->outer ? n->outer : 1));
  n->b = n->a + n->channels;
  n->c = n->b + n->channels;
}

static fgsm_status check(struct fg_call *call, int x, int n_in, int n_out) {
  FG_TRY(fg_cpu_need_f32(call, n_in, n_out));
  for (int i = 0; i < call->n_in + call->n_out; i++) {
    const struct fg_tensor *t = i < call->n_in ? &call->in[i] : &call->out[i - call->n_in];
    if (fg_cpu_present(t) && t->rank == call->in[x].rank && t->layout != call->in[x].layout)
      return FG_FAIL(UNSUPPORTED, "cpu: %s needs one layout for all of its tensors",
                     fg_op_name(call->op));
  }
  call->scratch_bytes = scratch_bytes(&call->in[x]);
  return FGSM_OK;
}

/* The ranks that the statistics are taken over, NULL for this one alone, are the state. */
static void choose_ranks(struct fg_call *call, const struct fg_device *device) {
  call->state = call->attrs->batch_norm.across ? device->ranks : NULL;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  choose_ranks(call, device);
  return check(call, 0, 3, 3);
}

static const float *floats(const struct fg_call *call, int i) {
  return i < call->n_in && fg_cpu_present(&call->in[i]) ? call->in[i].data : NULL;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  struct norm n = {.x = floats(call, 0),
                   .scale = floats(call, 1),
                   .bias = floats(call, 2),
                   .y = call->out[0].data};
  describe(&call->in[0], &n);
  use_scratch(&n, scratch);
  float *mean = fg_cpu_present(&call->out[1]) ? call->out[1].data : NULL;
  float *var = fg_cpu_present(&call->out[2]) ? call->out[2].data : NULL;
  double cost = (double)(n.inner * n.lanes);
  double count = (double)(n.outer * n.inner * fg_ranks_size(call->state));
  fg_cpu_parallel(n.outer * n.groups, 1, 0.3 * cost, sum_body, &n);
  total(&n);
  FG_TRY(fg_ranks_sum(call->state, FG_F64, 2 * n.channels, n.sums));
  for (int64_t c = 0; c < n.channels; c++) {
    double sum = n.sums[2 * c], squares = n.sums[2 * c + 1];
    double m = sum / count, v = squares / count - m * m;
    v = v < 0 ? 0 : v;
    double a = (n.scale ? n.scale[c] : 1) / sqrt(v + call->attrs->batch_norm.epsilon);
    n.a[c] = (float)a;
    n.b[c] = (float)((n.bias ? n.bias[c] : 0) - m * a);
    if (mean)
      mean[c] = (float)m;
    if (var)
      var[c] = (float)v;
  }
  fg_cpu_parallel(n.outer * n.groups, 1, 0.3 * cost, apply_body, &n);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_batch_norm_train = {prepare, run, NULL};

enum { DY, X, SCALE, MEAN, VAR };
enum { DX, DSCALE, DBIAS };

static fgsm_status prepare_grad(struct fg_call *call, struct fg_device *device) {
  choose_ranks(call, device);
  return check(call, X, 5, 3);
}

static fgsm_status run_grad(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  struct norm n = {
    .x = floats(call, X),
    .dy = floats(call, DY),
    .scale = floats(call, SCALE),
    .mean = floats(call, MEAN),
    .var = floats(call, VAR),
    .y = fg_cpu_present(&call->out[DX]) ? call->out[DX].data : NULL
  };
  describe(&call->in[X], &n);
  use_scratch(&n, scratch);
  float *dscale = fg_cpu_present(&call->out[DSCALE]) ? call->out[DSCALE].data : NULL;
  float *dbias = fg_cpu_present(&call->out[DBIAS]) ? call->out[DBIAS].data : NULL;
  double cost = (double)(n.inner * n.lanes);
  double count = (double)(n.outer * n.inner * fg_ranks_size(call->state));
  fg_cpu_parallel(n.outer * n.groups, 1, 0.4 * cost, sum_body, &n);
  total(&n);
  for (int64_t c = 0; c < n.channels; c++) {
    if (dscale)
      dscale[c] =
          (float)(n.sums[2 * c + 1] / sqrt((double)n.var[c] + call->attrs->batch_norm.epsilon));
    if (dbias)
      dbias[c] = (float)n.sums[2 * c];
  }
  FG_TRY(fg_ranks_sum(call->state, FG_F64, 2 * n.channels, n.sums));
  for (int64_t c = 0; c < n.channels; c++) {
    double of_dy = n.sums[2 * c], along = n.sums[2 * c + 1];
    double rstd = 1 / sqrt((double)n.var[c] + call->attrs->batch_norm.epsilon);
    double a = (n.scale ? n.scale[c] : 1) * rstd, b = -a * rstd * rstd * along / count;
    n.a[c] = (float)a;
    n.b[c] = (float)b;
    n.c[c] = (float)(-a * of_dy / count - b * n.mean[c]);
  }
  if (n.y)
    fg_cpu_parallel(n.outer * n.groups, 1, 0.4 * cost, apply_body, &n);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_batch_norm_train_grad = {prepare_grad, run_grad, NULL};
