/* Timings of one attacker. See measure.h. */
#include "measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attacker.h"

/* A timing shorter than this is repeated, and its share taken: long for the clock, and short beside
 * the times for which other work takes a processor away. */
static const double SENSIBLE_SECONDS = 1e-4;
/* One batch after another, as an attack on a dataset would have it if nothing else was to be done: so
 * long that what caches and sleeping threads cost at its beginning does not count. */
static const double STEADY_SECONDS = 0.02;
enum { MOST_REPEATS = 10000 };

struct fg_measure {
  struct fg_attacker *a;
  void *x, *x_adv[FG_MAX_EPS];
  /* The device's, of a batch in several strips: iterates to climb from, and to; or NULL. */
  void *clean, *made;
  int64_t *labels, *targets, *index;
  fgsm_result *results[FG_MAX_EPS];
  int climb_repeats, whole_repeats;
};

/* ---- spreads */

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The value at a share of the way through n sorted ones. */
static double quantile(const double *sorted, int n, double share) {
  double at = share * (n - 1);
  int low = (int)at, high = low + 1 < n ? low + 1 : low;
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

struct fg_spread fg_spread_of(double *values, int n) {
  if (n == 0)
    return (struct fg_spread){0};
  qsort(values, (size_t)n, sizeof *values, ascending);
  return (struct fg_spread){quantile(values, n, 0.5), quantile(values, n, 0.25),
                            quantile(values, n, 0.75), n};
}

/* ---- making */

fgsm_status fg_measure_shape(const struct fg_onnx *onnx, const fgsm_options *options,
                             struct fg_sample_shape *shape) {
  int which;
  FG_TRY(fg_attack_input(onnx, options, &which));
  const struct fg_onnx_port *port = fg_onnx_input(onnx, which);
  int skip = port->rank > 1; /* the batch */
  if (port->rank < 1)
    return FG_FAIL(UNSUPPORTED, "the shape of the input '%s' is not in the file", port->name);
  *shape = (struct fg_sample_shape){.type = FG_F32, .rank = port->rank - skip};
  for (int i = 0; i < shape->rank; i++) {
    shape->dim[i] = port->dim[i + skip];
    if (shape->dim[i] < 1)
      return FG_FAIL(UNSUPPORTED, "dimension %d of the input '%s' is open: samples cannot be made",
                     i + skip, port->name);
  }
  int64_t first = shape->dim[0], last = shape->dim[shape->rank - 1];
  if (shape->rank == 3 && (first == 1 || first == 3 || last == 1 || last == 3))
    shape->type = FG_U8;
  return FGSM_OK;
}

void fg_measure_fill(const struct fg_sample_shape *shape, const struct fgsm_options *options,
                     int64_t n, int64_t first, void *x) {
  double lo = options->clip_none ? 0 : options->clip_lo;
  double hi = options->clip_none ? 1 : options->clip_hi;
  int64_t count = n * fg_sample_count(shape);
  if (shape->type == FG_U8) {
    lo = ceil(255 * lo - 1e-6);
    hi = fmax(lo, floor(255 * hi + 1e-6));
  }
  uint64_t state = 0x9E3779B97F4A7C15u * (uint64_t)(first + 1);
  for (int64_t i = 0; i < count; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    double u = lo + (hi - lo) * ((double)(state >> 40) * 0x1p-24);
    if (shape->type == FG_U8)
      ((uint8_t *)x)[i] = (uint8_t)(u + 0.5);
    else
      ((float *)x)[i] = (float)u;
  }
}

static fgsm_status make_samples(struct fg_measure *m, const struct fgsm_options *options,
                                const struct fg_sample_shape *shape) {
  const struct fg_attacker_info *info = &m->a->info;
  size_t n = (size_t)info->batch, count = (size_t)m->a->count;
  bool whole = (m->x = malloc(n * count * fg_type_size(shape->type))) &&
               (m->labels = calloc(n, sizeof *m->labels)) &&
               (m->targets = calloc(n, sizeof *m->targets)) &&
               (m->index = calloc(n, sizeof *m->index));
  for (int e = 0; e < info->n_eps && whole; e++)
    whole = (m->x_adv[e] = malloc(n * count * fg_type_size(info->out_type))) &&
            (m->results[e] = calloc(n, sizeof *m->results[e]));
  if (!whole)
    return FG_FAIL(MEMORY, "no memory for a batch of %zu samples; choose a smaller batch", n);
  fg_measure_fill(shape, options, info->batch, 0, m->x);
  for (size_t i = 0; i < n; i++) {
    m->index[i] = (int64_t)i;
    m->labels[i] = m->targets[i] = (int64_t)i % info->classes;
  }
  return FGSM_OK;
}

static int repeats(double seconds, double least) {
  double n = seconds > 0 ? least / seconds + 1 : MOST_REPEATS;
  return n < MOST_REPEATS ? (int)n : MOST_REPEATS;
}

static int64_t strips_of(const struct fg_measure *m) {
  const struct fg_attacker_info *info = &m->a->info;
  return (info->batch + info->strip - 1) / info->strip;
}

/* Where a batch is one strip, its own iterates serve. Every strip climbs from what the last one loaded:
 * how long that takes does not depend on what it is. */
static fgsm_status spread_strips(struct fg_measure *m) {
  struct fg_attacker *a = m->a;
  const struct fg_backend *backend = a->device->backend;
  size_t bytes = (size_t)(a->info.strip * a->count) * fg_type_size(a->real);
  int64_t strips = strips_of(m);
  if (strips == 1 || m->clean)
    return FGSM_OK;
  FG_TRY(backend->alloc(a->device, (size_t)strips * bytes, &m->clean));
  FG_TRY(backend->alloc(a->device, (size_t)strips * bytes, &m->made));
  for (int64_t i = 0; i < strips; i++)
    FG_TRY(fg_upload(a, (char *)m->clean + (size_t)i * bytes, a->wire[FG_WIRE_x0], bytes));
  return FGSM_OK;
}

fgsm_status fg_measure_warm_up(struct fg_measure *m) {
  double seconds, stage[FG_STAGES];
  FG_TRY(fg_measure_attack(m, &seconds, stage));
  FG_TRY(spread_strips(m));
  for (int i = 0; i < 2; i++)
    FG_TRY(fg_measure_climb(m, &seconds));
  m->climb_repeats = repeats(seconds, STEADY_SECONDS);
  for (int i = 0; i < 2; i++)
    FG_TRY(fg_measure_whole(m, &seconds));
  m->whole_repeats = repeats(seconds, SENSIBLE_SECONDS);
  return FGSM_OK;
}

fgsm_status fg_measure_create(const struct fg_onnx *onnx, const struct fgsm_options *options,
                              struct fg_device *device, const struct fg_sample_shape *shape,
                              const struct fg_attack_arrays *arrays, int64_t batch,
                              struct fg_measure **out) {
  struct fg_measure *m = calloc(1, sizeof *m);
  if (!m) {
    device->backend->close(device);
    return FG_FAIL(MEMORY, "no memory to measure an attack");
  }
  fgsm_status status = fg_attacker_create(onnx, options, device, shape, arrays, batch, &m->a);
  if (status == FGSM_OK)
    status = make_samples(m, options, shape);
  if (status != FGSM_OK) {
    fg_measure_destroy(m);
    return status;
  }
  m->climb_repeats = m->whole_repeats = 1;
  *out = m;
  return FGSM_OK;
}

void fg_measure_destroy(struct fg_measure *m) {
  if (!m)
    return;
  for (int e = 0; e < FG_MAX_EPS; e++) {
    free(m->results[e]);
    free(m->x_adv[e]);
  }
  free(m->index);
  free(m->targets);
  free(m->labels);
  free(m->x);
  if (m->a) {
    m->a->device->backend->free(m->a->device, m->clean);
    m->a->device->backend->free(m->a->device, m->made);
  }
  fg_attacker_destroy(m->a);
  free(m);
}

/* ---- looking */

const struct fg_attacker_info *fg_measure_info(const struct fg_measure *m) {
  return &m->a->info;
}

struct fg_device *fg_measure_device(const struct fg_measure *m) {
  return m->a->device;
}

static struct fg_pass *main_pass(const struct fg_measure *m) {
  return m->a->gradient.plan   ? &m->a->gradient
         : m->a->search.plan   ? &m->a->search
         : m->a->evaluate.plan ? &m->a->evaluate
                               : &m->a->settle;
}

const struct fg_plan *fg_measure_plan(const struct fg_measure *m) {
  return main_pass(m)->plan;
}

_Static_assert((int)FG_STAGES == (int)FG_ATTACK_PASSES, "a stage is a pass");

static struct fg_pass *stage_at(const struct fg_measure *m, int i) {
  struct fg_pass *passes[FG_ATTACK_PASSES];
  fg_attacker_passes(m->a, passes);
  return passes[i];
}

const char *fg_stage_name(int stage) {
  static const char *const names[FG_STAGES] = {"dequantize", "start",    "gradient",
                                               "step",       "rest",     "search",
                                               "settle",     "quantize", "evaluate"};
  return names[stage];
}

size_t fg_measure_buffer_bytes(const struct fg_measure *m) {
  size_t bytes[FG_WIRE_COUNT], sum = 0;
  fg_memory_wires(m->a, bytes);
  for (int w = 0; w < FG_WIRE_COUNT; w++)
    sum += bytes[w];
  return sum;
}

/* ---- measuring */

fgsm_status fg_measure_attack(struct fg_measure *m, double *seconds, double *stage) {
  for (int i = 0; i < FG_STAGES; i++)
    stage_at(m, i)->seconds = 0;
  m->a->timed = true;
  double began = fg_now();
  fgsm_status status = fg_attacker_run(m->a, m->a->info.batch, m->x, m->labels, m->targets,
                                       m->index, m->x_adv, m->results);
  *seconds = fg_now() - began;
  m->a->timed = false;
  for (int i = 0; i < FG_STAGES; i++)
    stage[i] = stage_at(m, i)->plan ? stage_at(m, i)->seconds : -1;
  return status;
}

static fgsm_status settle(struct fg_measure *m) {
  return m->a->device->backend->sync(m->a->device, m->a->stream[FG_TRAFFIC_compute]);
}

/* All strips of a batch. */
static fgsm_status replay(struct fg_measure *m) {
  struct fg_attacker *a = m->a;
  size_t bytes = (size_t)(a->info.strip * a->count) * fg_type_size(a->real);
  for (size_t at = 0; at < (size_t)strips_of(m) * bytes; at += bytes)
    FG_TRY(fg_attacker_replay(a, m->clean ? (char *)m->clean + at : NULL,
                              m->made ? (char *)m->made + at : NULL));
  return settle(m);
}

fgsm_status fg_measure_climb(struct fg_measure *m, double *seconds) {
  FG_TRY(settle(m));
  FG_TRY(replay(m));
  double began = fg_now();
  for (int i = 0; i < m->climb_repeats; i++)
    FG_TRY(replay(m));
  *seconds = (fg_now() - began) / m->climb_repeats;
  return FGSM_OK;
}

int fg_measure_climb_repeats(const struct fg_measure *m) {
  return m->climb_repeats + 1;
}

/* The wires are bound as the last run left them. */
fgsm_status fg_measure_whole(struct fg_measure *m, double *seconds) {
  struct fg_plan *plan = main_pass(m)->plan;
  FG_TRY(settle(m));
  double began = fg_now();
  for (int i = 0; i < m->whole_repeats; i++) {
    FG_TRY(fg_check_interrupt());
    FG_TRY(fg_plan_run(plan, m->a->stream[FG_TRAFFIC_compute]));
    FG_TRY(settle(m));
  }
  *seconds = (fg_now() - began) / m->whole_repeats;
  return FGSM_OK;
}

fgsm_status fg_measure_calls(struct fg_measure *m, double *call) {
  FG_TRY(fg_check_interrupt());
  return fg_plan_run_timed(main_pass(m)->plan, m->a->stream[FG_TRAFFIC_compute], call);
}
