/* How much memory an attack takes, and what follows where that is more than option max-memory allows:
 * it is refused before it is taken, or a smaller batch is chosen. What is counted: the file as read,
 * the graph of each pass (weights, folded ones too), weights that kernels hold in their own order,
 * the arena, wires, staging, and what the caller takes besides. Of a device with memory of its own,
 * what lies there is not counted: it says itself when that is short. */
#include <string.h>

#include "attacker.h"

void fg_attacker_passes(struct fg_attacker *a, struct fg_pass *list[FG_ATTACK_PASSES]) {
  struct fg_pass *all[FG_ATTACK_PASSES] = {&a->dequantize, &a->start,    &a->gradient, &a->step,
                                           &a->settle,     &a->evaluate, &a->quantize, &a->keep,
                                           &a->rest,       &a->search,   &a->exact};
  memcpy(list, all, sizeof all);
}

void fg_memory_wires(struct fg_attacker *a, size_t bytes[FG_WIRE_COUNT]) {
  struct fg_pass *passes[FG_ATTACK_PASSES];
  fg_attacker_passes(a, passes);
  memset(bytes, 0, FG_WIRE_COUNT * sizeof *bytes);
  for (int i = 0; i < FG_ATTACK_PASSES; i++)
    for (int w = 0; passes[i]->plan && w < FG_WIRE_COUNT; w++)
      if (passes[i]->wire[w] != FG_ABSENT) {
        size_t wants = fg_value_bytes(fg_plan_graph(passes[i]->plan), passes[i]->wire[w]);
        bytes[w] = wants > bytes[w] ? wants : bytes[w];
      }
  size_t iterate = (size_t)(a->info.batch * a->count) * fg_type_size(a->real);
  bytes[FG_WIRE_x0] = bytes[FG_WIRE_x] = bytes[FG_WIRE_next] = iterate;
  bytes[FG_WIRE_params] = FG_PARAM_COUNT * sizeof(double);
}

size_t fg_memory_need(struct fg_attacker *a, size_t arena) {
  struct fg_pass *passes[FG_ATTACK_PASSES];
  size_t bytes[FG_WIRE_COUNT], batch = (size_t)a->info.batch;
  size_t sum = a->memory.model + a->memory.besides;
  fg_attacker_passes(a, passes);
  for (int i = 0; i < FG_ATTACK_PASSES; i++) {
    if (!passes[i]->plan)
      continue;
    const struct fg_plan_info *info = fg_plan_info(passes[i]->plan);
    sum += fg_plan_graph(passes[i]->plan)->arena.total_bytes + info->state_bytes;
    arena = info->arena_bytes > arena ? info->arena_bytes : arena;
  }
  fg_memory_wires(a, bytes);
  for (int w = 0; w < FG_WIRE_COUNT && a->device->backend->host_memory; w++)
    sum += bytes[w];
  /* staging: a sample in double and as it is written, and rows of class scores */
  sum += batch * ((size_t)a->count * (sizeof(double) + fg_type_size(a->info.out_type)) +
                  (size_t)a->info.classes * sizeof(double) + 64);
  return sum + (a->device->backend->host_memory ? arena : 0);
}

fgsm_status fg_memory_check(struct fg_attacker *a, size_t bytes, size_t arena) {
  char need[32], limit[32];
  a->memory.need = fg_memory_need(a, arena) + bytes;
  if (a->memory.need <= a->memory.limit)
    return FGSM_OK;
  a->memory.short_of = true;
  return FG_FAIL(UNSUPPORTED,
                 "the attack needs %s%s of memory at batch %lld, more than the %s of --max-memory",
                 bytes || arena ? "at least " : "", fg_memory_text(a->memory.need, need),
                 (long long)a->info.batch, fg_memory_text(a->memory.limit, limit));
}

/* ---- a batch that fits */

struct trial {
  const struct fg_onnx *onnx;
  const struct fgsm_options *options;
  const struct fg_device_opener *opener;
  const struct fg_sample_shape *shape;
  const struct fg_attack_arrays *arrays;
  const struct fg_attack_besides *besides;
  struct fg_attacker *made; /* the last one tried, if it fitted */
  int64_t batch;            /* its batch */
};

/* Tries a batch. *fits false, and *need, where memory is too short for it; other failures are the
 * attack's own. */
static fgsm_status try_batch(struct trial *t, int64_t batch, bool *fits, size_t *need) {
  struct fg_attacker *a = NULL;
  struct fg_device *device = NULL;
  bool short_of = false;
  fg_attacker_destroy(t->made); /* two at once could take twice what is allowed */
  t->made = NULL;
  FG_TRY(t->opener->open(t->opener->user, &device));
  fgsm_status status = fg_attacker_try(t->onnx, t->options, device, t->shape, t->arrays, t->besides,
                                       batch, &a, need, &short_of);
  *fits = status == FGSM_OK;
  if (short_of)
    return FGSM_OK;
  if (status != FGSM_OK)
    return status;
  *need = fg_attacker_info(a)->memory_bytes;
  t->made = a;
  t->batch = batch;
  return FGSM_OK;
}

/* About the largest batch below `most`, which needs `need` (0: not known), that fits. Memory grows by
 * about the same for each sample, so two needs give a good guess; where that fails, the truth lies
 * between what fitted and what did not. */
static fgsm_status search(struct trial *t, int64_t most, size_t need) {
  enum { TRIES = 4 };
  int share = t->besides && t->besides->attackers > 1 ? t->besides->attackers : 1;
  size_t limit = fg_options_memory(t->options) / (size_t)share, one = 0, got = 0;
  int64_t fitted = 1, failed = most;
  bool fits = false;
  FG_TRY(try_batch(t, 1, &fits, &one));
  if (!fits)
    return FGSM_OK;
  int64_t guess = most / 2;
  if (need > one)
    guess = 1 + (int64_t)((double)(limit - one) / (double)(need - one) * (double)(most - 1));
  guess = guess < most ? guess : most - 1;
  for (int i = 0; i < TRIES && failed - fitted > 1; i++) {
    guess = guess > fitted && guess < failed ? guess : (fitted + failed) / 2;
    FG_TRY(try_batch(t, guess, &fits, &got));
    *(fits ? &fitted : &failed) = guess;
    if (!fits || got <= one)
      continue;
    double sample = (double)(got - one) / (double)(guess - 1);
    int64_t more = (int64_t)((double)(limit - got) / sample);
    if (more < 1)
      break;
    guess += more;
  }
  return t->made ? FGSM_OK : try_batch(t, fitted, &fits, &got);
}

fgsm_status fg_attacker_fit(const struct fg_onnx *onnx, const struct fgsm_options *options,
                            const struct fg_device_opener *opener,
                            const struct fg_sample_shape *shape,
                            const struct fg_attack_arrays *arrays,
                            const struct fg_attack_besides *besides, int64_t *batch,
                            struct fg_attacker **out) {
  struct trial t = {onnx, options, opener, shape, arrays, besides, NULL, 0};
  bool fits = false;
  size_t need = 0;
  char why[400], text[32], limit[32];
  *out = NULL;
  FG_TRY(try_batch(&t, options->batch, &fits, &need));
  if (!fits) {
    fg_error_copy(why, sizeof why);
    fgsm_status status = options->batch > 1 ? search(&t, options->batch, need) : FGSM_OK;
    if (status != FGSM_OK || !t.made)
      return status != FGSM_OK ? status : fg_fail(FGSM_UNSUPPORTED, __FILE__, __LINE__, "%s", why);
    if (options->batch_given) {
      size_t less = t.made->info.memory_bytes;
      fg_attacker_destroy(t.made);
      return FG_FAIL(UNSUPPORTED, "%s; --batch %lld would fit, with %s", why, (long long)t.batch,
                     fg_memory_text(less, text));
    }
    fg_note_add(t.made->info.notes, sizeof t.made->info.notes,
                "the batch is %lld, because %lld would need %s%s and --max-memory is %s",
                (long long)t.batch, (long long)options->batch, need ? "" : "more than ",
                fg_memory_text(need ? need : fg_options_memory(options), text),
                fg_memory_text(fg_options_memory(options), limit));
  }
  *out = t.made;
  *batch = t.batch;
  return FGSM_OK;
}
