/* Windows of 1 x 1 and, of many channels, any go by the processor's tiles where it has them (conv_split.h). Else plain
 * sums, those tiles and Winograd's way are chosen between by timing them, once, but where the last is sure to win: the
 * choice is kept on disk (choice_cache.h), for it decides how results round, and the same machine shall go on giving the same bytes. What is timed is one thread's
 * processor time, which other work on the machine changes little and the number of threads not at all.
 * Trials are of the bare convolution in channel blocks, whatever the call's tail and layout, so that a call
 * that is asked for while graphs are being fused, and again when its layouts are settled, is answered alike. */
#include "conv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "choice_cache.h"
#include "conv_split.h"
#include "conv_winograd.h"
#include "kept.h"

/* Below, no trial is worth its time; from there on, so much work is enough for one, and so many tiles,
 * by which Winograd's weights are read as often as in the whole. */
#define LEAST_FLOPS 4e6
#define TRIAL_FLOPS 6e8
#define TRIAL_TILES 84
#define TRIAL_SECONDS 0.04
#define ALL_TRIALS_SECONDS 1.0 /* a file may hold many shapes; the rest is plain sums, for good */
/* By how much Winograd's way must be faster to be worth its rounding. */
#define WORTH 0.95
/* Who is so many times as slow as the fastest is out, from FIRST_ROUNDS and so many seconds on, by when caches
 * are warm. On the machine of bench/RESULTS.md no way's two directions differ by as much (remember_turned). */
#define CLEARLY 1.3
#define CLEAR_SECONDS 0.01
/* Of plain sums, in the time that a byte of weights takes from memory at least. */
#define FLOPS_A_BYTE 4

enum {
  FIRST_ROUNDS = 2,
  LEAST_ROUNDS = 3,
  MOST_ROUNDS = 10,
  FEW_CHANNELS = 8,
  MANY_CHANNELS = 128,
  MANY_OF_POINTS = 32,
  SURE_CHANNELS = 64,
  SURE_TILES = 16,
  WAYS = 4
};
static const int way[WAYS] = {FG_CONV_PLAIN_WAY, FG_CONV_SPLIT_WAY, 4, 2};

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void *fg_conv_zeros(size_t bytes) {
  void *memory = aligned_alloc(64, (bytes + 64) / 64 * 64);
  if (memory)
    memset(memory, 0, (bytes + 64) / 64 * 64);
  return memory;
}

/* ---- what is kept */

/* The processor, as it calls itself. */
static void name_processor(char name[64]) {
  unsigned words[13] = {0};
#if defined(__x86_64__)
  unsigned b, c, d;
  for (unsigned i = 0; i < 3; i++)
    (void)__get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                      &words[4 * i + 3]);
  (void)__get_cpuid(1, &words[12], &b, &c, &d);
#endif
  snprintf(name, 64, "%.48s %x", (const char *)words, words[12]);
}

void fg_conv_key(const char *what, const struct fg_call *call, char key[FG_CONV_KEY_SIZE]) {
  const struct fg_conv_attrs *a = &call->attrs->conv;
  const dnnl_version_t *v = dnnl_version();
  const struct fg_tensor *tensors[] = {&call->in[0], &call->in[1], &call->out[0]};
  char processor[64];
  name_processor(processor);
  int n =
      snprintf(key, FG_CONV_KEY_SIZE, "%s of %s, fgsm %s, %s, oneDNN %d.%d.%d, block %d, group %d",
               what, fg_op_name(call->op), FGSM_VERSION, processor, v->major, v->minor, v->patch,
               fg_cpu_block(), a->group);
  for (int i = 0; i < a->spatial && n < FG_CONV_KEY_SIZE; i++)
    n += snprintf(key + n, (size_t)(FG_CONV_KEY_SIZE - n), " window %d %d %d %d", a->stride[i],
                  a->dilation[i], a->pad_lo[i], a->pad_hi[i]);
  for (int k = 0; k < 3 && n < FG_CONV_KEY_SIZE; k++) {
    n += snprintf(key + n, (size_t)(FG_CONV_KEY_SIZE - n), " %c", "pb"[tensors[k]->layout]);
    for (int d = 0; d < tensors[k]->rank && n < FG_CONV_KEY_SIZE; d++)
      n +=
          snprintf(key + n, (size_t)(FG_CONV_KEY_SIZE - n), ",%lld", (long long)tensors[k]->dim[d]);
  }
}

int fg_conv_recall(const char *key) {
  char *text = fg_choice_find(key);
  int choice = text && *text >= '0' && *text <= '9' && !text[1] ? *text - '0' : -1;
  free(text);
  return choice;
}

void fg_conv_remember(const char *key, int choice) {
  char text[2] = {(char)('0' + choice), 0};
  (void)fg_choice_keep(key, text); /* not on disk: the next process will try again */
}

/* ---- trials */

/* Of a gradient as of the convolution that it is of, whose result is the smaller where that goes in steps. */
static double flops_of(const struct fg_call *call) {
  bool gradient = call->op == FG_OP_conv_grad_input;
  const struct fg_tensor *x = gradient ? &call->out[0] : &call->in[0],
                         *y = gradient ? &call->in[0] : &call->out[0];
  return 2.0 * (double)fg_count(y) * (double)x->dim[1] * (double)fg_cpu_span(&call->in[1], 2, 4);
}

/* The bare convolution, of as many samples as a trial needs. */
static struct fg_call bare(const struct fg_cpu_device *device, const struct fg_call *call,
                           union fg_attrs *attrs) {
  struct fg_call trial = *call;
  int block = device->base.channel_block;
  int64_t samples = call->in[0].dim[0];
  double enough = ceil(TRIAL_FLOPS / (flops_of(call) / (double)samples));
  int64_t tiles = (call->out[0].dim[2] + 3) / 4 * ((call->out[0].dim[3] + 3) / 4);
  enough = fmax(enough, ceil(TRIAL_TILES / (double)tiles));
  samples = enough < (double)samples ? (int64_t)enough : samples;
  *attrs = *call->attrs;
  attrs->conv.act = (struct fg_unary_attrs){.kind = FG_UNARY_identity};
  trial.attrs = attrs;
  trial.trial = false; /* it is run */
  trial.n_in = 2;
  bool blocks = block && call->in[0].dim[1] % block == 0 && call->out[0].dim[1] % block == 0;
  struct fg_tensor *lying[] = {&trial.in[0], &trial.out[0]};
  for (int i = 0; i < 2; i++) {
    lying[i]->layout = blocks ? FG_BLOCKED : FG_PLAIN;
    lying[i]->dim[0] = samples;
  }
  return trial;
}

/* One of the ways, ready to run. */
struct contender {
  struct fg_dnnl_primitive primitive;
  struct fg_conv_split *split;
  struct fg_winograd plan;
  float *u;
  void *scratch; /* NULL: out of the contest */
  double best;
};

/* Numbers of no meaning: of zeros a processor computes faster than of others. They lie as weights do that are kept. */
static float *noise(size_t bytes) {
  enum { LIKE = 4096 };
  float *memory = fg_cpu_kept_room(bytes);
  uint32_t word = 1;
  size_t n = bytes / sizeof(float);
  if (!memory)
    return NULL;
  for (size_t i = 0; i < n && i < LIKE; i++) {
    word = word * 1664525u + 1013904223u;
    memory[i] = (float)(int32_t)word * 0x1p-31f;
  }
  for (size_t i = LIKE; i < n; i += LIKE)
    memcpy(memory + i, memory, (n - i < LIKE ? n - i : LIKE) * sizeof(float));
  return memory;
}

/* Wider windows have the small tile alone, those of stride 2 the large one. */
static bool has_tile(const struct fg_call *call, int m) {
  return m == 4 ? call->in[1].dim[2] == 3 : call->attrs->conv.stride[0] == 1;
}

static bool fits(const struct fg_call *call, int m) {
  if (m == FG_CONV_PLAIN_WAY)
    return true;
  if (m == FG_CONV_SPLIT_WAY)
    return fg_conv_split_fits(call);
  return fg_conv_winograd_fits(call) && has_tile(call, m);
}

static bool enter(struct fg_cpu_device *device, struct fg_call *trial, int m, struct contender *c) {
  size_t scratch, kept;
  c->best = INFINITY;
  if (!fits(trial, m))
    return false;
  if (m == FG_CONV_PLAIN_WAY) {
    if (fg_conv_direct(device, trial, &c->primitive) != FGSM_OK)
      return false;
    scratch = c->primitive.scratch_bytes;
  } else if (m == FG_CONV_SPLIT_WAY) {
    if (fg_conv_split_create(device, trial, &c->split, &kept) != FGSM_OK)
      return false;
    scratch = fg_conv_split_scratch_bytes(c->split);
  } else {
    fg_conv_winograd_cut(trial, m, 1, &c->plan);
    if ((double)fg_winograd_weight_bytes(&c->plan) * FLOPS_A_BYTE > flops_of(trial))
      return false; /* of few samples */
    c->u = noise(fg_winograd_weight_bytes(&c->plan));
    scratch = fg_winograd_scratch_bytes(&c->plan);
    if (!c->u)
      return false;
  }
  c->scratch = fg_conv_zeros(scratch);
  return c->scratch != NULL;
}

static void compete(struct contender *c, const struct fg_call *trial) {
  float *x = trial->in[0].data, *w = trial->in[1].data, *y = trial->out[0].data;
  double start = seconds();
  if (c->split) {
    fg_conv_split_run(c->split, trial, c->scratch);
  } else if (c->u) {
    struct fg_winograd_operands o = {.x = x, .y = y};
    fg_winograd_run(&c->plan, c->u, &o, c->scratch);
  } else {
    void *data[] = {x, w, y};
    if (fg_dnnl_primitive_run(&c->primitive, data, c->scratch) != FGSM_OK)
      return;
  }
  c->best = fmin(c->best, seconds() - start);
}

static void leave(struct contender *c) {
  fg_dnnl_primitive_destroy(&c->primitive);
  fg_conv_split_destroy(c->split);
  free(c->u);
  free(c->scratch);
  c->split = NULL;
  c->u = c->scratch = NULL;
}

/* Lets go who is clearly beaten; true once one alone is left. */
static bool decided(struct contender c[WAYS]) {
  double best = INFINITY;
  int left = 0;
  for (int i = 0; i < WAYS; i++)
    best = fmin(best, c[i].best);
  for (int i = 0; i < WAYS; i++)
    if (c[i].scratch && c[i].best > CLEARLY * best)
      leave(&c[i]);
  for (int i = 0; i < WAYS; i++)
    left += c[i].scratch != NULL;
  return left == 1;
}

/* The fastest way: rounds in turn, so that whatever else the machine does falls on all. *clear: whether
 * none of the others came near it. */
static int fastest(struct fg_cpu_device *device, struct fg_call *trial, bool *clear) {
  struct contender c[WAYS] = {0};
  float *x = noise(fg_bytes(&trial->in[0])), *y = fg_conv_zeros(fg_bytes(&trial->out[0]));
  int choice = 0;
  fg_cpu_set_threads(1);
  for (int i = 0; i < WAYS; i++)
    if (!enter(device, trial, way[i], &c[i]) && i == 0)
      c[0].best = 0; /* nothing to compare with: whatever is wrong will be said where it is built */
  double began = seconds();
  *clear = false;
  trial->in[0].data = x;
  trial->out[0].data = y;
  for (int round = 0; x && y && !*clear && round < MOST_ROUNDS &&
                      (round < LEAST_ROUNDS || seconds() - began < TRIAL_SECONDS);
       round++) {
    for (int i = 0; i < WAYS; i++)
      if (c[i].scratch)
        compete(&c[i], trial);
    *clear = round + 1 >= FIRST_ROUNDS && seconds() - began >= CLEAR_SECONDS && decided(c);
  }
  device->trial_seconds += seconds() - began;
  for (int i = 1; i < WAYS; i++)
    if (c[i].best < c[choice].best * (choice == 0 ? WORTH : 1))
      choice = i;
  for (int i = 0; i < WAYS; i++)
    leave(&c[i]);
  fg_cpu_set_threads(device->base.threads);
  free(x);
  free(y);
  return way[choice];
}

/* The call of a batch so many times as large. */
static struct fg_call times(const struct fg_call *call, int64_t n) {
  struct fg_call larger = *call;
  larger.in[0].dim[0] *= n;
  larger.out[0].dim[0] *= n;
  return larger;
}

/* What is contested depends on whether there are tiles, and on how Winograd's are taken: choices that were
 * kept from a slower way of taking them are not to last. */
static void key_of_way(const struct fg_call *call, char key[FG_CONV_KEY_SIZE]) {
  const char *of_vectors = fg_cpu_block() == 8 ? "way in strips" : "way";
  fg_conv_key(fg_split_runs() ? "way with tiles" : of_vectors, call, key);
}

/* What is clear of a convolution is so of its gradient, and the other way round, where that is the same sums:
 * of windows in steps of one, and as many channels in as out. */
static void remember_turned(const struct fg_call *call, int m) {
  struct fg_call turned = *call;
  char key[FG_CONV_KEY_SIZE];
  const struct fg_conv_attrs *a = &call->attrs->conv;
  if (call->in[0].dim[1] != call->out[0].dim[1] || a->stride[0] != 1 || a->stride[1] != 1)
    return;
  turned.op = call->op == FG_OP_conv ? FG_OP_conv_grad_input : FG_OP_conv;
  turned.in[0] = call->out[0];
  turned.out[0] = call->in[0];
  key_of_way(&turned, key);
  if (fg_conv_recall(key) < 0)
    fg_conv_remember(key, m);
}

/* Multiplications for each channel by each: of tiles of m x m, or of plain sums. */
static int64_t multiplications(const struct fg_call *call, int m) {
  const int64_t *y = call->out[0].dim;
  int64_t edge = m + 2;
  return m == FG_CONV_PLAIN_WAY ? y[0] * y[2] * y[3] * 9
                                : y[0] * fg_up(y[2], m) * fg_up(y[3], m) * edge * edge;
}

/* Whether tiles of 4 x 4 save so much that a trial is not worth its time: under AVX2 they won all, of the nets of
 * bench/RESULTS.md, of so many channels in steps of one. */
static bool surely_winograd(const struct fg_call *call) {
  if (fg_cpu_block() != 8 || !fg_conv_winograd_fits(call) || call->in[1].dim[2] != 3 ||
      call->attrs->conv.stride[0] != 1)
    return false;
  int64_t large = multiplications(call, 4);
  return call->in[0].dim[1] >= SURE_CHANNELS && call->out[0].dim[1] >= SURE_CHANNELS &&
         large >= SURE_TILES * 36 && 4 * large <= 3 * multiplications(call, 2) &&
         5 * large <= 2 * multiplications(call, FG_CONV_PLAIN_WAY);
}

int fg_conv_choose(struct fg_cpu_device *device, const struct fg_call *asked) {
  enum fg_convolutions how = device->base.convolutions;
  const struct fg_call larger = times(asked, device->base.chosen_for ? device->base.chosen_for : 1);
  const struct fg_call *call = &larger;
  if (how == FG_CONV_DIRECT)
    return FG_CONV_PLAIN_WAY;
  if (how == FG_CONV_WINOGRAD_2 || how == FG_CONV_WINOGRAD_4) {
    int m = how == FG_CONV_WINOGRAD_4 && has_tile(call, 4) ? 4 : 2;
    return fits(call, m) ? m : FG_CONV_PLAIN_WAY;
  }
  bool splits = fg_conv_split_fits(call);
  int64_t channels[] = {call->in[0].dim[1], call->out[0].dim[1]};
  int64_t many = fg_cpu_span(&call->in[1], 2, 4) == 1 ? MANY_OF_POINTS : MANY_CHANNELS;
  if (splits && (how == FG_CONV_TILES || (channels[0] >= many && channels[1] >= many)))
    return FG_CONV_SPLIT_WAY;
  if (how == FG_CONV_TILES || (!splits && !fg_conv_winograd_fits(call)))
    return FG_CONV_PLAIN_WAY;
  if (channels[0] < FEW_CHANNELS || channels[1] < FEW_CHANNELS || flops_of(call) < LEAST_FLOPS)
    return FG_CONV_PLAIN_WAY;
  if (surely_winograd(call))
    return 4;
  char key[FG_CONV_KEY_SIZE];
  union fg_attrs attrs;
  struct fg_call whole = *call, trial = bare(device, call, &attrs);
  whole.in[0].layout = whole.out[0].layout = trial.in[0].layout;
  key_of_way(&whole, key);
  int m = fg_conv_recall(key);
  for (int i = 0; i < WAYS; i++)
    if (m == way[i] && fits(call, m))
      return m;
  bool clear = false;
  m = device->trial_seconds > ALL_TRIALS_SECONDS ? FG_CONV_PLAIN_WAY
                                                 : fastest(device, &trial, &clear);
  fg_conv_remember(key, m);
  if (clear)
    remember_turned(&whole, m);
  return m;
}
