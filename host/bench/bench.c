/* Measures batch sizes one beside the other: in every round each of them does each measurement once,
 * so that whatever else the machine does falls on all alike; what is told are medians. The ceilings
 * are looked for before and after. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "job.h"

enum { LEAST_ROUNDS = 5, MOST_ROUNDS = 1000, PIPED_ROUNDS = 3 };
enum { LEAST_PIPED_BATCHES = 4, MOST_PIPED_BATCHES = 16 };
static const double ENERGY_SECONDS = 0.05;
static const int64_t MOST_DATA_BYTES = 64 << 20;
/* By then what a pipe begins with (memory touched for the first time, a first batch that is read while
 * nothing is computed) is a small part. */
static const double PIPED_SECONDS = 1;
static const double LEAST_BURST_SECONDS = 5e-4, MOST_BURST_SECONDS = 0.02;

/* The timings of one row, while they are gathered. */
struct samples {
  double attack[MOST_ROUNDS], climb[MOST_ROUNDS], whole[MOST_ROUNDS], piped[PIPED_ROUNDS];
  double multiply_adds[MOST_ROUNDS];
  double stage[FG_STAGES][MOST_ROUNDS];
  double *calls; /* n_calls times MOST_ROUNDS */
  int n_piped;
  double joules;
  int64_t images; /* that the joules were spent on */
};

/* ---- what is measured */

/* The options with what bench settles by itself. Texts stay the caller's. */
static fgsm_status settle_options(const fgsm_options *options, fgsm_options *own) {
  *own = *options;
  if (own->n_eps == 0) {
    FG_TRY(fg_ratio_parse("8/255", &own->eps[0]));
    own->n_eps = 1;
  }
  if (own->n_eps > 1)
    return FG_FAIL(USAGE, "option 'eps': bench measures one");
  if (fg_job_target_file(own))
    return FG_FAIL(USAGE, "option 'target': bench makes its own samples; give a class or "
                          "least-likely");
  own->labels = NULL;
  return FGSM_OK;
}

static fgsm_status describe_calls(struct fg_bench_row *row) {
  const struct fg_plan *plan = fg_measure_plan(row->m);
  const struct fg_graph *g = fg_plan_graph(plan);
  row->plan = *fg_plan_info(plan);
  struct fg_plan_call *costs = calloc((size_t)row->plan.n_calls + 1, sizeof *costs);
  row->calls = calloc((size_t)row->plan.n_calls + 1, sizeof *row->calls);
  fgsm_status status = costs && row->calls ? fg_plan_calls(plan, costs)
                                           : FG_FAIL(MEMORY, "no memory for a plan's calls");
  for (int i = 0; i < row->plan.n_calls && status == FGSM_OK; i++) {
    struct fg_bench_call *call = &row->calls[i];
    int64_t n;
    call->cost = costs[i];
    call->node = &g->nodes[costs[i].node];
    fg_node_what(call->node, call->what, sizeof call->what);
    const fg_id *sources = fg_lists_at(&g->source_lists, call->node->from.sources, &n);
    fg_clean_text(n ? g->sources[sources[0]].name : call->node->name, false, call->name,
                  sizeof call->name);
  }
  free(costs);
  return status;
}

static fgsm_status open_device(void *user, struct fg_device **out) {
  const struct fg_bench *b = user;
  return fg_device_open(&b->choice, 0, b->options, out);
}

/* What less than exact arithmetic costs this row. */
static fgsm_status agree(const struct fg_bench *b, struct fg_bench_row *row,
                         const struct fg_attack_arrays *arrays) {
  const struct fg_attacker_info *info = fg_measure_info(row->m);
  row->approximates = info->spec.steps > 0 && fg_agree_wanted(b->options, &info->gradient);
  return row->approximates ? fg_agree_generated(b->onnx, b->options, &b->choice, arrays,
                                                info->batch, info->strip, &row->agreement)
                           : FGSM_OK;
}

static fgsm_status open_row(struct fg_bench *b, struct fg_bench_row *row,
                            const struct fg_sample_shape *shape,
                            const struct fg_attack_arrays *arrays) {
  struct fg_device *device;
  FG_TRY(open_device(b, &device));
  FG_TRY(fg_measure_create(b->onnx, b->options, device, shape, arrays, row->asked, &row->m));
  FG_TRY(fg_measure_warm_up(row->m));
  row->buffer_bytes = fg_measure_buffer_bytes(row->m);
  row->joules_per_image = -1;
  FG_TRY(agree(b, row, arrays));
  return describe_calls(row);
}

/* ---- rounds */

static fgsm_status make_samples(const struct fg_bench_row *row, struct samples *s) {
  s->calls = calloc(((size_t)row->plan.n_calls + 1) * MOST_ROUNDS, sizeof *s->calls);
  return s->calls ? FGSM_OK : FG_FAIL(MEMORY, "no memory for timings");
}

/* Batches, each of which takes the attack so many seconds: but no more data than is reasonable. */
static int64_t piped_samples(const struct fg_bench_row *row, const struct fg_sample_shape *shape,
                             double seconds) {
  int64_t batch = fg_measure_info(row->m)->batch;
  int64_t bytes = fg_sample_count(shape) * (int64_t)fg_type_size(shape->type);
  int64_t n = row->asked > batch ? row->asked : batch, most = MOST_DATA_BYTES / (bytes * n);
  double enough = PIPED_SECONDS / seconds * (double)batch / (double)n;
  int64_t batches = enough < MOST_PIPED_BATCHES ? (int64_t)enough : MOST_PIPED_BATCHES;
  batches = batches < LEAST_PIPED_BATCHES ? LEAST_PIPED_BATCHES : batches;
  batches = batches < most ? batches : most;
  return n * (batches < 1 ? 1 : batches);
}

static fgsm_status pipe_once(struct fg_bench *b, struct fg_bench_row *row,
                             const struct fg_sample_shape *shape, struct samples *s) {
  const struct fg_attacker_info *info = fg_measure_info(row->m);
  fgsm_options own = *b->options;
  own.batch = row->asked;
  own.batch_auto = false;
  FG_TRY(fg_bench_end_to_end(b->onnx, b->path, &own, shape, info->classes,
                             piped_samples(row, shape, s->attack[0]), &row->end_to_end));
  if (row->end_to_end.images_per_second > 0)
    s->piped[s->n_piped++] = (double)info->batch / row->end_to_end.images_per_second;
  return FGSM_OK;
}

/* Energy: meters move in steps of a millisecond, so many of them. */
static fgsm_status spend(struct fg_bench *b, struct fg_bench_row *row, struct samples *s) {
  double began = fg_now(), before = b->energy.joules, seconds;
  fg_energy_start(&b->energy);
  do {
    FG_TRY(fg_measure_climb(row->m, &seconds));
    s->images += fg_measure_info(row->m)->batch * fg_measure_climb_repeats(row->m);
  } while (fg_now() - began < ENERGY_SECONDS);
  fg_energy_stop(&b->energy);
  s->joules += b->energy.joules - before;
  return FGSM_OK;
}

/* A run of the plan between two bursts of multiply-adds about as long, so that what the machine allows at
 * that moment is what it is held against. */
static fgsm_status run_whole(struct fg_bench *b, struct fg_bench_row *row, struct samples *s,
                             int round) {
  struct fg_device *device = fg_measure_device(row->m);
  double before, after, *whole = &s->whole[round];
  double seconds = fmin(fmax(s->climb[round], LEAST_BURST_SECONDS), MOST_BURST_SECONDS);
  if (!b->ceilings.known)
    return fg_measure_whole(row->m, whole);
  FG_TRY(fg_ceilings_multiply_adds(device, seconds, &before));
  FG_TRY(fg_measure_whole(row->m, whole));
  FG_TRY(fg_ceilings_multiply_adds(device, seconds, &after));
  s->multiply_adds[round] = row->plan.flops / *whole * (1 / before + 1 / after) / 2;
  return FGSM_OK;
}

static fgsm_status measure_round(struct fg_bench *b, struct fg_bench_row *row,
                                 const struct fg_sample_shape *shape, struct samples *s,
                                 int round) {
  double stage[FG_STAGES];
  FG_TRY(fg_measure_climb(row->m, &s->climb[round]));
  if (b->energy.available)
    FG_TRY(spend(b, row, s));
  FG_TRY(run_whole(b, row, s, round));
  double *calls = s->calls + (size_t)round * (size_t)row->plan.n_calls;
  FG_TRY(fg_measure_calls(row->m, calls));
  FG_TRY(fg_measure_attack(row->m, &s->attack[round], stage));
  for (int i = 0; i < FG_STAGES; i++)
    s->stage[i][round] = stage[i];
  return round < PIPED_ROUNDS ? pipe_once(b, row, shape, s) : FGSM_OK;
}

static fgsm_status run_rounds(struct fg_bench *b, const struct fg_sample_shape *shape,
                              struct samples *samples) {
  const fgsm_options *o = b->options;
  double began = fg_now();
  int most = o->runs && o->runs < MOST_ROUNDS ? o->runs : MOST_ROUNDS;
  for (b->rounds = 0; b->rounds < most; b->rounds++) {
    if (!o->runs && b->rounds >= LEAST_ROUNDS && fg_now() - began > o->seconds * b->n_rows)
      break;
    for (int i = 0; i < b->n_rows; i++)
      FG_TRY(measure_round(b, &b->rows[i], shape, &samples[i], b->rounds));
  }
  return FGSM_OK;
}

/* ---- what came of it */

static void sum_up(const struct fg_bench *b, struct fg_bench_row *row, struct samples *s) {
  double one[MOST_ROUNDS];
  int n = b->rounds;
  row->attack = fg_spread_of(s->attack, n);
  row->climb = fg_spread_of(s->climb, n);
  row->whole = fg_spread_of(s->whole, n);
  row->piped = fg_spread_of(s->piped, s->n_piped);
  if (b->ceilings.known)
    row->multiply_adds = fg_spread_of(s->multiply_adds, n);
  for (int i = 0; i < FG_STAGES; i++)
    if (s->stage[i][0] >= 0)
      row->stage[i] = fg_spread_of(s->stage[i], n);
  for (int i = 0; i < row->plan.n_calls; i++) {
    struct fg_bench_call *call = &row->calls[i];
    for (int r = 0; r < n; r++)
      one[r] = s->calls[(size_t)r * (size_t)row->plan.n_calls + (size_t)i];
    call->seconds = fg_spread_of(one, n);
    call->floor = fg_ceilings_floor(&b->ceilings, call->cost.flops,
                                    call->cost.read_bytes + call->cost.written_bytes);
    row->calls_seconds += call->seconds.median;
    row->floor += call->floor;
  }
  if (b->energy.available && s->images)
    row->joules_per_image = s->joules / (double)s->images;
}

static double largest_call(const struct fg_bench *b) {
  double most = 0;
  for (int i = 0; i < b->n_rows; i++)
    for (int k = 0; k < b->rows[i].plan.n_calls; k++) {
      const struct fg_plan_call *c = &b->rows[i].calls[k].cost;
      most = c->read_bytes + c->written_bytes > most ? c->read_bytes + c->written_bytes : most;
    }
  return most;
}

static fgsm_status open_meters(struct fg_bench *b, struct fg_device *device) {
  char card[32];
  bool on_bus = device->backend->bus_id != NULL;
  if (on_bus)
    FG_TRY(device->backend->bus_id(device, card, sizeof card));
  fg_energy_open(&b->energy, "/sys/class/powercap", "libnvidia-ml.so.1", on_bus ? card : NULL);
  return FGSM_OK;
}

static fgsm_status measure(struct fg_bench *b, const struct fg_sample_shape *shape,
                           struct samples *samples) {
  struct fg_device *device = fg_measure_device(b->rows[0].m);
  struct rusage usage;
  for (int i = 0; i < b->n_rows; i++)
    FG_TRY(make_samples(&b->rows[i], &samples[i]));
  FG_TRY(device->backend->describe(device, b->device_text, sizeof b->device_text));
  FG_TRY(open_meters(b, device));
  getrusage(RUSAGE_SELF, &usage); /* before the ceilings' own memory */
  FG_TRY(fg_ceilings_measure(device, largest_call(b), &b->ceilings));
  FG_TRY(run_rounds(b, shape, samples));
  FG_TRY(fg_ceilings_measure(device, largest_call(b), &b->ceilings));
  b->peak_process_bytes = (size_t)usage.ru_maxrss << 10;
  for (int i = 0; i < b->n_rows; i++)
    sum_up(b, &b->rows[i], &samples[i]);
  return FGSM_OK;
}

static fgsm_status bench(struct fg_bench *b, fgsm_format format, struct samples *samples,
                         char **text) {
  struct fg_sample_shape shape;
  struct fg_extras extras;
  FG_TRY(fg_measure_shape(b->onnx, b->options, &shape));
  FG_TRY(fg_device_choose(b->options->device, &b->choice));
  if (b->choice.n > 1)
    return FG_FAIL(USAGE, "option 'device': bench measures one device, not %d", b->choice.n);
  FG_TRY(fg_extras_load(b->options, &extras));
  fgsm_status status = FGSM_OK;
  if (b->options->batch_auto)
    status = fg_attack_tune_batch(b->onnx, b->options, &(struct fg_device_opener){open_device, b},
                                  &shape, &extras.arrays, INT64_MAX, &b->rows[0].asked);
  for (int i = 0; i < b->n_rows && status == FGSM_OK; i++)
    status = open_row(b, &b->rows[i], &shape, &extras.arrays);
  fg_extras_free(&extras);
  if (status == FGSM_OK)
    status = measure(b, &shape, samples);
  if (status != FGSM_OK)
    return status;
  return format == FGSM_FORMAT_JSON  ? fg_bench_json(b, text)
         : format == FGSM_FORMAT_CSV ? fg_bench_csv(b, text)
                                     : fg_bench_text(b, text);
}

fgsm_status fg_bench(const struct fg_onnx *onnx, const char *path, const fgsm_options *options,
                     fgsm_format format, char **text) {
  fgsm_options own;
  struct fg_bench_row rows[FG_MAX_BATCHES] = {{0}};
  *text = NULL;
  FG_TRY(settle_options(options, &own));
  struct samples *samples = calloc(FG_MAX_BATCHES, sizeof *samples);
  if (!samples)
    return FG_FAIL(MEMORY, "no memory for timings");
  struct fg_bench b = {
      .path = path, .onnx = onnx, .options = &own, .n_rows = own.n_batches, .rows = rows};
  for (int i = 0; i < b.n_rows; i++)
    rows[i].asked = own.batches[i];
  fgsm_status status = bench(&b, format, samples, text);
  for (int i = 0; i < b.n_rows; i++) {
    free(samples[i].calls);
    free(rows[i].calls);
    fg_measure_destroy(rows[i].m);
  }
  free(samples);
  fg_energy_close(&b.energy);
  return status;
}
