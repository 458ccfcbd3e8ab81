/* step: one step of the attack and back into what is allowed (attrs.h has the formulas).
 *
 * What it promises: x' lies in the box, and for linf |x' - x0| <= eps in real arithmetic; the box
 * wins over the ball where x0 itself lies outside of it by more than eps. Both are made true by
 * moving to a neighbouring float, never by a tolerance. Arithmetic is in double. A sample is walked
 * in tiles, more than once: to measure g, to find the length of the step and of what must be
 * projected, to move; the numbers between are worked out again rather than stored. */
#include "step.h"

#include <math.h>

enum { X0, X, G, M, EPS_MAP, MASK, PARAMS };
enum { NEXT, M_NEXT, STATS };

/* What is known of one sample after it was measured. */
struct sample {
  const struct fg_cpu_step *c;
  const double *params;
  const float *x0, *x, *g, *m;
  double sum, mean; /* of |g| */
  int64_t zeros, free, broken;
  double most, length;      /* of |g'|: the largest; the l2 norm over the largest */
  int64_t top;              /* where the largest is, first */
  double shrink, threshold; /* projection: l2 scales by the first, l1 cuts by the second */
};

struct tile {
  float free[FG_CPU_TILE];
  double g[FG_CPU_TILE]; /* masked; then with momentum; then the direction */
  double eps[FG_CPU_TILE], alpha[FG_CPU_TILE], d[FG_CPU_TILE];
};

static int64_t tile_size(const struct fg_cpu_step *c, int64_t from) {
  return c->n - from < FG_CPU_TILE ? c->n - from : FG_CPU_TILE;
}

/* ---- measuring */

FG_CLONES static void measure_all(const float *g, int64_t n, struct sample *s) {
  double sum = 0;
  int32_t zeros = 0, broken = 0;
#pragma omp simd reduction(+ : sum, zeros, broken)
  for (int64_t i = 0; i < n; i++) {
    float size = fabsf(g[i]);
    sum += size;
    zeros += size == 0;
    broken += !(size <= 0x1.fffffep127f);
  }
  s->sum += sum;
  s->zeros += zeros;
  s->free += n;
  s->broken += broken;
}

FG_CLONES static void measure_free(const float *g, const float *free_places, int64_t n,
                                   struct sample *s) {
  double sum = 0;
  int32_t zeros = 0, count = 0, broken = 0;
#pragma omp simd reduction(+ : sum, zeros, count, broken)
  for (int64_t i = 0; i < n; i++) {
    bool is_free = free_places[i] != 0;
    float v = is_free ? g[i] : 0.0f, size = fabsf(v);
    sum += size;
    count += is_free;
    zeros += is_free & (v == 0);
    broken += !(size <= 0x1.fffffep127f);
  }
  s->sum += sum;
  s->zeros += zeros;
  s->free += count;
  s->broken += broken;
}

static void measure(struct sample *s, struct tile *t) {
  const struct fg_cpu_step *c = s->c;
  for (int64_t from = 0; from < c->n; from += FG_CPU_TILE) {
    int64_t n = tile_size(c, from);
    if (c->mask) {
      fg_cpu_load_mask(c->mask, from, n, t->free);
      measure_free(s->g + from, t->free, n, s);
    } else {
      measure_all(s->g + from, n, s);
    }
  }
  s->mean = c->n > 0 ? s->sum / (double)c->n : 0;
}

/* ---- g with mask and momentum */

FG_CLONES static void blend(const float *g, const float *m, const float *free_places, double decay,
                            double mean, double *to, int64_t n) {
  if (!m) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      to[i] = free_places[i] != 0 ? g[i] : 0.0f;
    return;
  }
  double divisor = mean > 0 ? mean : 1;
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    to[i] = decay * m[i] + (free_places[i] != 0 ? (double)g[i] : 0.0) / divisor;
}

static void load_gradient(const struct sample *s, int64_t from, int64_t n, struct tile *t) {
  const struct fg_cpu_step *c = s->c;
  fg_cpu_load_mask(c->mask, from, n, t->free);
  blend(s->g + from, s->m ? s->m + from : NULL, t->free, s->params[FG_PARAM_decay], s->mean, t->g,
        n);
}

/* The largest |g'| and its place; then the l2 norm in units of it, which cannot overflow. */
static void find_length(struct sample *s, struct tile *t) {
  const struct fg_cpu_step *c = s->c;
  for (int64_t from = 0; from < c->n; from += FG_CPU_TILE) {
    int64_t n = tile_size(c, from);
    load_gradient(s, from, n, t);
    for (int64_t i = 0; i < n; i++)
      if (fabs(t->g[i]) > s->most) {
        s->most = fabs(t->g[i]);
        s->top = from + i;
      }
  }
  double squares = 0;
  for (int64_t from = 0; s->most > 0 && from < c->n; from += FG_CPU_TILE) {
    int64_t n = tile_size(c, from);
    load_gradient(s, from, n, t);
    for (int64_t i = 0; i < n; i++)
      squares += t->g[i] / s->most * (t->g[i] / s->most);
  }
  s->length = sqrt(squares);
}

/* ---- directions and projections; t->d becomes x + alpha * direction - x0 */

/* t->eps and t->alpha of each feature. */
static void load_lengths(const struct sample *s, int64_t from, int64_t n, struct tile *t) {
  const struct fg_cpu_step *c = s->c;
  double eps = s->params[FG_PARAM_eps], alpha = s->params[FG_PARAM_alpha];
  fg_cpu_load_eps(c->eps_map, eps, from, n, t->eps);
  for (int64_t i = 0; i < n; i++)
    t->alpha[i] = !c->eps_map ? alpha : eps > 0 ? alpha * (t->eps[i] / eps) : 0;
}

static void load_move(const struct sample *s, int64_t from, int64_t n, struct tile *t) {
  const struct fg_cpu_step *c = s->c;
  load_gradient(s, from, n, t);
  load_lengths(s, from, n, t);
  for (int64_t i = 0; i < n; i++) {
    double direction;
    if (c->attrs.norm == FG_NORM_l2)
      direction = s->most > 0 ? t->g[i] / s->most / s->length : 0;
    else
      direction = from + i != s->top ? 0 : t->g[i] > 0 ? 1 : t->g[i] < 0 ? -1 : 0;
    double moved = s->x[from + i] + (direction == 0 ? 0 : t->alpha[i] * direction);
    t->d[i] = moved - s->x0[from + i];
  }
}

static void find_shrink(struct sample *s, struct tile *t) {
  const struct fg_cpu_step *c = s->c;
  double squares = 0, eps = s->params[FG_PARAM_eps];
  for (int64_t from = 0; from < c->n; from += FG_CPU_TILE) {
    int64_t n = tile_size(c, from);
    load_move(s, from, n, t);
    for (int64_t i = 0; i < n; i++)
      squares += t->d[i] * t->d[i];
  }
  double length = sqrt(squares);
  s->shrink = length > eps ? eps / length : 1;
}

/* Duchi et al. 2008: the theta for which sum max(|d| - theta, 0) = eps, found by Michelot's
 * iteration (1986): theta over those still above it only grows, and stands still after finitely
 * many turns. */
static void find_threshold(struct sample *s, struct tile *t) {
  const struct fg_cpu_step *c = s->c;
  double eps = s->params[FG_PARAM_eps], theta = 0;
  for (int64_t above = -1;;) {
    double sum = 0;
    int64_t count = 0;
    for (int64_t from = 0; from < c->n; from += FG_CPU_TILE) {
      int64_t n = tile_size(c, from);
      load_move(s, from, n, t);
      for (int64_t i = 0; i < n; i++)
        if (fabs(t->d[i]) > theta) {
          sum += fabs(t->d[i]);
          count++;
        }
    }
    if (count == 0 || count == above || (above < 0 && sum <= eps))
      break;
    theta = (sum - eps) / (double)count;
    above = count;
  }
  s->threshold = theta;
}

/* ---- moving */

/* Three loops rather than one: each is of a shape that compilers vectorise. */
FG_CLONES static void move_linf(const float *x0, const float *x, struct tile *t, bool project,
                                double lo, double hi, float *next, int64_t n) {
  const double *g = t->g, *radius = t->eps, *alpha = t->alpha;
  double *v = t->d;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    double sign = (g[i] > 0 ? 1.0 : 0.0) - (g[i] < 0 ? 1.0 : 0.0);
    v[i] = x[i] + sign * alpha[i];
  }
  if (project)
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
      v[i] = fg_cpu_hold(v[i], x0[i], radius[i]);
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    next[i] = fg_cpu_into_box(v[i], lo, hi);
}

static void move_other(const struct sample *s, const struct tile *t, int64_t from, int64_t n) {
  const struct fg_cpu_step *c = s->c;
  const float *x0 = s->x0 + from;
  float *next = c->next + (x0 - c->x0);
  double lo = s->params[FG_PARAM_lo], hi = s->params[FG_PARAM_hi];
  for (int64_t i = 0; i < n; i++) {
    double d = t->d[i];
    if (c->attrs.project && c->attrs.norm == FG_NORM_l2)
      d *= s->shrink;
    else if (c->attrs.project)
      d = copysign(fmax(fabs(d) - s->threshold, 0), d);
    next[i] = fg_cpu_into_box(x0[i] + d, lo, hi);
  }
}

static void move(const struct sample *s, struct tile *t) {
  const struct fg_cpu_step *c = s->c;
  bool plain = fg_cpu_step_is_plain(c);
  for (int64_t from = 0; from < c->n; from += FG_CPU_TILE) {
    int64_t n = tile_size(c, from);
    float *next = c->next + (s->x0 - c->x0) + from;
    if (plain) {
      fg_cpu_step_plainly(s->params, s->x0 + from, s->x + from, s->g + from, next, n);
    } else if (c->attrs.norm == FG_NORM_linf) {
      load_gradient(s, from, n, t);
      load_lengths(s, from, n, t);
      move_linf(s->x0 + from, s->x + from, t, c->attrs.project, s->params[FG_PARAM_lo],
                s->params[FG_PARAM_hi], next, n);
    } else {
      load_move(s, from, n, t);
      move_other(s, t, from, n);
    }
    for (int64_t i = 0; c->m_next && i < n; i++)
      c->m_next[(s->x0 - c->x0) + from + i] = (float)t->g[i];
  }
}

/* ---- the kernel */

void fg_cpu_step_sample(const struct fg_cpu_step *c, int64_t i) {
  struct tile t;
  int64_t at = i * c->n;
  struct sample s = {.c = c,
                     .params = c->params + i * c->param_step,
                     .x0 = c->x0 + at,
                     .x = c->x + at,
                     .g = c->g + at,
                     .m = c->m ? c->m + at : NULL,
                     .shrink = 1};
  measure(&s, &t);
  if (c->stats) {
    c->stats[i * 3] = (float)s.sum;
    c->stats[i * 3 + 1] = s.free ? (float)((double)s.zeros / (double)s.free) : 1.0f;
    c->stats[i * 3 + 2] = (float)s.broken;
  }
  if (s.broken) {
    for (int64_t j = at; j < at + c->n; j++) {
      c->next[j] = c->x0[j];
      if (c->m_next)
        c->m_next[j] = 0;
    }
    return;
  }
  if (c->attrs.norm != FG_NORM_linf)
    find_length(&s, &t);
  if (c->attrs.norm == FG_NORM_l2 && c->attrs.project)
    find_shrink(&s, &t);
  if (c->attrs.norm == FG_NORM_l1 && c->attrs.project)
    find_threshold(&s, &t);
  move(&s, &t);
}

static void samples(const void *ctx, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++)
    fg_cpu_step_sample(ctx, i);
}

void fg_cpu_step_samples(const struct fg_cpu_step *c, int64_t n) {
  double each = c->attrs.norm == FG_NORM_linf ? 3 : 15;
  fg_cpu_parallel(n, 1, 50 + each * (double)c->n, samples, c);
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  const struct fg_tensor *x0 = &call->in[X0];
  FG_TRY(fg_cpu_need_f32(call, 4, call->n_out));
  FG_TRY(fg_cpu_check_features(call, x0, EPS_MAP, MASK));
  FG_TRY(fg_cpu_check_params(call, PARAMS, x0->dim[0]));
  for (int i = X; i <= M; i++)
    if (fg_cpu_present(&call->in[i]) && !fg_same_shape(x0, &call->in[i]))
      return FG_FAIL(UNSUPPORTED, "cpu: step: input %d has another shape than x0", i);
  if (call->n_out > M_NEXT && fg_cpu_present(&call->out[M_NEXT]) && !fg_cpu_present(&call->in[M]))
    return FG_FAIL(UNSUPPORTED, "cpu: step: no momentum to continue");
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x0 = &call->in[X0];
  struct fg_cpu_step c = {
    .eps_map = fg_cpu_optional(call, EPS_MAP),
    .mask = fg_cpu_optional(call, MASK),
    .params = call->in[PARAMS].data,
    .param_step = call->in[PARAMS].rank == 2 ? FG_PARAM_COUNT : 0,
    .x0 = x0->data,
    .x = call->in[X].data,
    .g = call->in[G].data,
    .m = fg_cpu_present(&call->in[M]) ? call->in[M].data : NULL,
    .next = fg_cpu_output(call, NEXT),
    .m_next = fg_cpu_output(call, M_NEXT),
    .stats = fg_cpu_output(call, STATS),
    .n = fg_cpu_features(x0),
    .attrs = call->attrs->step
  };
  fg_cpu_step_samples(&c, x0->dim[0]);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_step = {prepare, run, NULL};
