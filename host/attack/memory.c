/* How much memory an attack takes, and what follows where that is more than option max-memory allows:
 * it is refused before it is taken, or a smaller batch is chosen. What is counted: the file as read,
 * the graph that the passes share (weights, folded) and that of each, weights that kernels hold in their own order,
 * the arena, wires, staging, and what the caller takes besides. A device with memory of its own is asked
 * how much of that is free, and what lies there is held against it instead. */
#include <string.h>

#include "attacker.h"

void fg_attacker_passes(struct fg_attacker *a, struct fg_pass *list[FG_ATTACK_PASSES]) {
  struct fg_pass *all[FG_ATTACK_PASSES] = {&a->dequantize, &a->start,    &a->gradient,
                                           &a->step,       &a->rest,     &a->search,
                                           &a->settle,     &a->quantize, &a->evaluate};
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
  size_t iterate = (size_t)(a->info.strip * a->count) * fg_type_size(a->real);
  bytes[FG_WIRE_x0] = bytes[FG_WIRE_x] = bytes[FG_WIRE_next] = iterate;
  bytes[FG_WIRE_params] = FG_PARAM_COUNT * sizeof(double);
}

size_t fg_memory_need(struct fg_attacker *a, const struct fg_coming *coming) {
  struct fg_pass *passes[FG_ATTACK_PASSES];
  size_t bytes[FG_WIRE_COUNT], batch = (size_t)a->info.strip, arena = coming->arena;
  size_t sum = a->memory.model + a->memory.besides + coming->graph;
  sum += a->net.graph ? a->net.graph->arena.total_bytes : 0;
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
  sum += a->device->backend->host_memory ? bytes[FG_WIRE_m] : 0; /* zeros */
  /* staging: a sample in double and as it is written, and rows of class scores */
  sum += batch * ((size_t)a->count * (sizeof(double) + fg_type_size(a->info.out_type)) +
                  (size_t)a->info.classes * sizeof(double) + 64);
  if (a->info.spec.halvings)
    sum += batch * (FG_PARAM_COUNT * sizeof *a->rows + sizeof *a->bounds);
  return sum + (a->device->backend->host_memory ? arena : 0);
}

size_t fg_memory_on_card(struct fg_attacker *a, const struct fg_coming *coming) {
  struct fg_pass *passes[FG_ATTACK_PASSES];
  size_t bytes[FG_WIRE_COUNT], sum = coming->constants, arena = coming->arena;
  fg_attacker_passes(a, passes);
  for (int i = 0; i < FG_ATTACK_PASSES; i++)
    if (passes[i]->plan) {
      const struct fg_plan_info *info = fg_plan_info(passes[i]->plan);
      sum += info->constant_bytes + info->state_bytes;
      arena = info->arena_bytes > arena ? info->arena_bytes : arena;
    }
  fg_memory_wires(a, bytes);
  sum += bytes[FG_WIRE_m]; /* zeros */
  for (int w = 0; w < FG_WIRE_COUNT; w++)
    sum += bytes[w];
  return sum + arena;
}

fgsm_status fg_memory_ask_card(struct fg_attacker *a) {
  const struct fg_backend *backend = a->device->backend;
  size_t free, total, sharers = a->memory.sharers > 1 ? (size_t)a->memory.sharers : 1;
  if (backend->host_memory)
    return FGSM_OK;
  FG_TRY(backend->memory(a->device, &free, &total));
  a->memory.card = free / sharers > 0 ? free / sharers : 1;
  return FGSM_OK;
}

static fgsm_status check_card(struct fg_attacker *a, const struct fg_coming *coming) {
  char need[32], have[32];
  size_t bytes = a->memory.card ? fg_memory_on_card(a, coming) : 0;
  if (bytes <= a->memory.card)
    return FGSM_OK;
  a->memory.shortage = (struct fg_shortage){true, true, bytes, a->memory.card};
  return FG_FAIL(MEMORY,
                 "the attack needs %s%s of the memory of %s at batch %lld, and %s of it are free%s",
                 coming->graph ? "at least " : "", fg_memory_text(bytes, need), a->info.device,
                 (long long)a->info.batch, fg_memory_text(a->memory.card, have),
                 a->memory.sharers > 1 ? " for each of its lanes" : "");
}

fgsm_status fg_memory_check(struct fg_attacker *a, const struct fg_coming *coming) {
  char need[32], limit[32];
  size_t all = fg_memory_need(a, coming);
  if (all <= a->memory.limit)
    return check_card(a, coming);
  a->memory.shortage = (struct fg_shortage){true, false, all, a->memory.limit};
  return FG_FAIL(UNSUPPORTED,
                 "the attack needs %s%s of memory at batch %lld, more than the %s of --max-memory",
                 coming->graph ? "at least " : "", fg_memory_text(all, need),
                 (long long)a->info.batch, fg_memory_text(a->memory.limit, limit));
}

/* ---- a batch that fits */

static const struct fg_coming nothing;

struct trial {
  const struct fg_onnx *onnx;
  const struct fgsm_options *options;
  const struct fg_device_opener *opener;
  const struct fg_sample_shape *shape;
  const struct fg_attack_arrays *arrays;
  const struct fg_attack_besides *besides;
  struct fg_attacker *made; /* the last one tried, if it fitted */
  int64_t batch;            /* its batch */
  bool of_card;             /* it is the card's memory that is short */
  fgsm_status refused;      /* what the last refusal for want of memory said */
};

/* Tries a batch. *shortage says whether memory is too short for it; where it is not, *need is what the
 * attack takes of the memory that is searched for. Other failures are the attack's own. */
static fgsm_status try_batch(struct trial *t, int64_t batch, struct fg_shortage *shortage,
                             size_t *need) {
  struct fg_attacker *a = NULL;
  struct fg_device *device = NULL;
  fg_attacker_destroy(t->made); /* two at once could take twice what is allowed */
  t->made = NULL;
  FG_TRY(t->opener->open(t->opener->user, &device));
  fgsm_status status = fg_attacker_try(t->onnx, t->options, device, t->shape, t->arrays, t->besides,
                                       batch, &a, shortage);
  *need = shortage->need;
  if (shortage->any) {
    t->refused = status;
    return FGSM_OK;
  }
  if (status != FGSM_OK)
    return status;
  *need = t->of_card ? fg_memory_on_card(a, &nothing) : fg_attacker_info(a)->memory_bytes;
  t->made = a;
  t->batch = batch;
  return FGSM_OK;
}

/* About the largest batch below `most`, which was refused for `first`, that fits. Memory grows by
 * about the same for each sample, so two needs give a good guess; where that fails, the truth lies
 * between what fitted and what did not, and is looked for until more than one sample fits. */
static fgsm_status search(struct trial *t, int64_t most, const struct fg_shortage *first) {
  enum { TRIES = 4 };
  struct fg_shortage shortage;
  size_t limit = first->have, need = first->need, one = 0, got = 0;
  int64_t fitted = 1, failed = most;
  t->of_card = first->of_card;
  FG_TRY(try_batch(t, 1, &shortage, &one));
  if (shortage.any)
    return FGSM_OK;
  int64_t guess = most / 2;
  if (need > one && limit > one)
    guess = 1 + (int64_t)((double)(limit - one) / (double)(need - one) * (double)(most - 1));
  guess = guess < most ? guess : most - 1;
  for (int i = 0; (i < TRIES || fitted == 1) && failed - fitted > 1; i++) {
    guess = guess > fitted && guess < failed ? guess : (fitted + failed) / 2;
    FG_TRY(try_batch(t, guess, &shortage, &got));
    *(shortage.any ? &failed : &fitted) = guess;
    if (shortage.any || got <= one || got > limit)
      continue;
    double sample = (double)(got - one) / (double)(guess - 1);
    int64_t more = (int64_t)((double)(limit - got) / sample);
    if (more < 1)
      break;
    guess += more;
  }
  return t->made ? FGSM_OK : try_batch(t, fitted, &shortage, &got);
}

/* That the batch is another than the usual one, and why. */
static void note_batch(const struct trial *t, const struct fg_shortage *shortage) {
  char need[32], have[32];
  fg_note_add(
      t->made->info.notes, sizeof t->made->info.notes,
      shortage->of_card
          ? "the batch is %lld, because %lld would need %s%s of the card's memory, of which "
            "%s are free for it"
          : "the batch is %lld, because %lld would need %s%s and --max-memory is %s",
      (long long)t->batch, (long long)t->options->batch, shortage->need ? "" : "more than ",
      fg_memory_text(shortage->need ? shortage->need : shortage->have, need),
      fg_memory_text(shortage->of_card ? shortage->have : fg_options_memory(t->options), have));
}

fgsm_status fg_attacker_fit(const struct fg_onnx *onnx, const struct fgsm_options *options,
                            const struct fg_device_opener *opener,
                            const struct fg_sample_shape *shape,
                            const struct fg_attack_arrays *arrays,
                            const struct fg_attack_besides *besides, int64_t *batch,
                            struct fg_attacker **out) {
  struct trial t = {.onnx = onnx,
                    .options = options,
                    .opener = opener,
                    .shape = shape,
                    .arrays = arrays,
                    .besides = besides};
  struct fg_shortage shortage;
  size_t need = 0;
  char why[400], text[32];
  *out = NULL;
  FG_TRY(try_batch(&t, options->batch, &shortage, &need));
  if (shortage.any) {
    fgsm_status refused = t.refused;
    fg_error_copy(why, sizeof why);
    fgsm_status status = options->batch > 1 ? search(&t, options->batch, &shortage) : FGSM_OK;
    if (status != FGSM_OK || !t.made)
      return status != FGSM_OK ? status : fg_fail(refused, __FILE__, __LINE__, "%s", why);
    if (options->batch_given) {
      size_t less =
          shortage.of_card ? fg_memory_on_card(t.made, &nothing) : t.made->info.memory_bytes;
      fg_attacker_destroy(t.made);
      return fg_fail(refused, __FILE__, __LINE__, "%s; --batch %lld would fit, with %s", why,
                     (long long)t.batch, fg_memory_text(less, text));
    }
    note_batch(&t, &shortage);
  }
  *out = t.made;
  *batch = t.batch;
  return FGSM_OK;
}
