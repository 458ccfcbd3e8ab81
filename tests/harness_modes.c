/* What is asked of every case: agreement with the oracle, the same bits twice, whole guards, and so
 * on. Each mode answers for one case on one target, with words where it fails. */
#include "harness.h"

#include "half.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_TOLERANCE 2e-5
#define STATED_TOLERANCE 1e-6

static const struct fg_target oracle = {&fg_ref, FG_F64, 1, NULL};

static enum fg_verdict say(char *why, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum fg_verdict say(char *why, size_t size, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(why, size, format, args);
  va_end(args);
  return FG_BROKEN;
}

/* Runs the case; PASS if it ran, else the verdict. */
static enum fg_verdict execute(struct fg_run *run, const struct fg_case *c,
                               const struct fg_target *target, const struct fg_run_options *o,
                               char *why, size_t size) {
  enum fg_run_result result = fg_run_begin(run, c, target, o);
  bool is_cpu = strcmp(target->backend->name, "cpu") == 0;
  bool may_decline = ((c->flags & FG_CASE_MAY_DECLINE) && target->backend != &fg_ref) ||
                     ((c->flags & FG_CASE_CPU_DECLINES) && is_cpu);
  if (result == FG_RUN_NO_KERNEL || (result == FG_RUN_DECLINED && may_decline))
    return FG_SKIP;
  if (result != FG_RUN_OK)
    return say(why, size, "%s", run->why);
  return FG_PASS;
}

/* ---- comparing */

/* The tensors that a run computes: outputs, then the inputs that it updates. */
static const struct fg_tensor *computed(const struct fg_run *run, const struct fg_case *c, int i) {
  const struct fg_tensor *t = i < FG_MAX_OUT ? &run->view.out[i] : &run->view.in[i - FG_MAX_OUT];
  bool is = i < FG_MAX_OUT ? i < run->view.n_out : (c->written >> (i - FG_MAX_OUT)) & 1;
  return is && t->type != FG_NONE ? t : NULL;
}
enum { COMPUTED_COUNT = FG_MAX_OUT + FG_MAX_IN };

static double rms(const struct fg_tensor *t) {
  double squares = 0;
  int64_t n = fg_count(t), finite = 0;
  for (int64_t i = 0; i < n; i++) {
    double v = fg_tensor_real(t, 0, i);
    if (isfinite(v)) {
      squares += v * v;
      finite++;
    }
  }
  return finite ? sqrt(squares / (double)finite) : 0;
}

static bool near(double got, double want, double allowed) {
  if (isnan(want) || isinf(want))
    return isnan(want) ? isnan(got) : got == want;
  return fabs(got - want) <= allowed;
}

static bool tensors_agree(const struct fg_tensor *got, int block, const struct fg_tensor *want,
                          double tolerance, int which, char *why, size_t size) {
  int64_t n = fg_count(want);
  double scale = fg_type_is_real(want->type) ? rms(want) : 0;
  for (int64_t i = 0; i < n; i++) {
    if (!fg_type_is_real(want->type)) {
      int64_t g = fg_tensor_int(got, block, i), w = fg_tensor_int(want, 0, i);
      if (g != w) {
        say(why, size, "tensor %d[%lld] is %lld, not %lld", which, (long long)i, (long long)g,
            (long long)w);
        return false;
      }
      continue;
    }
    double g = fg_tensor_real(got, block, i), w = fg_tensor_real(want, 0, i);
    if (!near(g, w, tolerance * (fabs(w) + scale))) {
      say(why, size, "tensor %d[%lld] is %.9g, not %.9g (off by %.3g of %.3g)", which, (long long)i,
          g, w, fabs(g - w), tolerance * (fabs(w) + scale));
      return false;
    }
  }
  return true;
}

static bool agrees(const struct fg_run *got, const struct fg_run *want, const struct fg_case *c,
                   char *why, size_t size) {
  double tolerance = c->flags & FG_CASE_EXACT ? 0
                     : c->tolerance > 0       ? c->tolerance
                                              : DEFAULT_TOLERANCE;
  for (int i = 0; i < COMPUTED_COUNT; i++) {
    const struct fg_tensor *g = computed(got, c, i), *w = computed(want, c, i);
    if (w && !tensors_agree(g, got->device->channel_block, w, tolerance, i, why, size))
      return false;
  }
  return true;
}

static bool as_stated(const struct fg_run *run, const struct fg_case *c, char *why, size_t size) {
  for (int o = 0; o < run->view.n_out; o++) {
    const struct fg_gen *gen = &c->out[o].gen;
    if (gen->kind != FG_GEN_VALUES || c->out[o].type == FG_NONE)
      continue;
    const struct fg_tensor *t = &run->view.out[o];
    int64_t n = fg_count(t);
    for (int64_t i = 0; i < n; i++) {
      double got = fg_tensor_real(t, run->device->channel_block, i), want = gen->values[i % gen->n];
      double allowed = c->flags & FG_CASE_EXACT ? 0 : STATED_TOLERANCE * (1 + fabs(want));
      if (!near(got, want, allowed)) {
        say(why, size, "output %d[%lld] is %.9g; the case states %.9g", o, (long long)i, got, want);
        return false;
      }
    }
  }
  return true;
}

/* Two fifths of a tensor's values must differ from zero (one in fifty where the case is sparse or
 * the values are integers), and not all be one value; of a handful, one must not be zero. */
static bool is_telling(const struct fg_run *run, const struct fg_case *c, char *why, size_t size) {
  for (int i = 0; i < COMPUTED_COUNT; i++) {
    const struct fg_tensor *t = computed(run, c, i);
    if (!t || fg_count(t) < 4 || (i < FG_MAX_OUT && c->out[i].gen.kind == FG_GEN_VALUES))
      continue;
    int64_t n = fg_count(t), live = 0, differ = 0;
    double share = c->flags & FG_CASE_SPARSE || !fg_type_is_real(t->type) ? 0.02 : 0.4;
    for (int64_t e = 0; e < n; e++) {
      double v = fg_tensor_real(t, 0, e);
      live += v != 0;
      differ += v != fg_tensor_real(t, 0, 0);
    }
    bool few = n < 16 ? live == 0 : (double)live < share * (double)n || differ == 0;
    if (few) {
      say(why, size, "not to be trusted: tensor %d has %lld of %lld values other than zero", i,
          (long long)live, (long long)n);
      return false;
    }
  }
  return true;
}

/* ---- modes */

/* What the oracle makes of a case. One is compared with many runs, one after another: it is kept until
 * another comes. Of a case whose values whoever runs it may have changed since it is not. */
static const struct fg_run *by_oracle(const struct fg_case *c, enum fg_run_result *result) {
  static const struct fg_run_options plain = {.fill = 0xFF};
  static struct fg_case kept;
  static struct fg_run run;
  static enum fg_run_result came;
  struct fg_case key = *c;
  bool is_kept = true;
  key.tolerance = 0; /* of whom it is compared with */
  for (int i = 0; i < FG_MAX_IN; i++)
    is_kept = is_kept && (c->in[i].type == FG_NONE || c->in[i].gen.kind != FG_GEN_VALUES);
  if (!is_kept || memcmp(&kept, &key, sizeof key) != 0) {
    fg_run_end(&run);
    came = fg_run_begin(&run, c, &oracle, &plain);
    memcpy(&kept, &key, sizeof key);
  }
  *result = came;
  return &run;
}

/* Without an oracle's kernel (reorder) the result must be the operand's values. */
static bool agrees_with_oracle(const struct fg_run *got, const struct fg_case *c, char *why,
                               size_t size) {
  enum fg_run_result result;
  const struct fg_run *want = by_oracle(c, &result);
  bool ok;
  if (result == FG_RUN_NO_KERNEL && c->op == FG_OP_reorder) {
    struct fg_tensor x = got->view.in[0];
    x.data = got->before[0];
    ok = true;
    for (int64_t i = 0; ok && i < fg_count(&x); i++)
      ok = fg_tensor_real(&x, got->device->channel_block, i) ==
           fg_tensor_real(&got->view.out[0], got->device->channel_block, i);
    if (!ok)
      say(why, size, "reordered values differ");
  } else if (result != FG_RUN_OK) {
    ok = false;
    say(why, size, "the oracle: %s", want->why);
  } else {
    ok = agrees(got, want, c, why, size) && as_stated(want, c, why, size) &&
         is_telling(want, c, why, size);
  }
  return ok;
}

static bool check_invariant(const struct fg_run *run, const struct fg_case *c, char *why,
                            size_t size) {
  const char *broken = c->check ? c->check(&run->view) : NULL;
  if (broken)
    say(why, size, "%s", broken);
  return !broken;
}

enum fg_verdict fg_mode_agrees(const struct fg_case *c, const struct fg_target *target, char *why,
                               size_t size) {
  struct fg_run run;
  struct fg_run_options plain = {.fill = 0xFF};
  enum fg_verdict verdict = execute(&run, c, target, &plain, why, size);
  if (verdict == FG_PASS &&
      !(agrees_with_oracle(&run, c, why, size) && check_invariant(&run, c, why, size)))
    verdict = FG_BROKEN;
  fg_run_end(&run);
  return verdict;
}

/* ---- half precision */

/* A few times half a unit of the last place: a product may be stored, larger than the result, before
 * what follows. */
static double rounding_of(enum fg_type half) {
  return 4 * (half == FG_BF16 ? 0x1p-9 : 0x1p-12);
}

/* Beyond the largest finite half there is none to be near to. */
static bool overflows(enum fg_type type, double v) {
  return type == FG_F16 && fabs(v) > 65000;
}

static bool half_agrees(const struct fg_run *got, const struct fg_run *want,
                        const struct fg_case *c, enum fg_type half, char *why, size_t size) {
  double most = c->tolerance > DEFAULT_TOLERANCE ? c->tolerance : DEFAULT_TOLERANCE;
  for (int o = 0; o < got->view.n_out; o++) {
    const struct fg_tensor *g = computed(got, c, o), *w = computed(want, c, o);
    if (!g || !w)
      continue;
    double tolerance = most + (fg_type_is_half(g->type) ? rounding_of(half) : 0), scale = rms(w);
    for (int64_t i = 0; i < fg_count(w); i++) {
      double a = fg_tensor_real(g, 0, i), b = fg_tensor_real(w, 0, i);
      if (!near(a, b, tolerance * (fabs(b) + scale)) && !overflows(g->type, b)) {
        say(why, size, "%s: tensor %d[%lld] is %.9g, not %.9g", fg_type_name(half), o, (long long)i,
            a, b);
        return false;
      }
    }
  }
  return true;
}

static enum fg_verdict try_half(const struct fg_case *c, const struct fg_target *target,
                                enum fg_type half, uint32_t lying, char *why, size_t size) {
  struct fg_run_options o = {
      .lying_in = lying & 0xFFFF, .lying_out = lying >> 16, .fill = 0xFF, .half = half};
  struct fg_run run, want;
  enum fg_verdict verdict = execute(&run, c, target, &o, why, size);
  if (verdict == FG_PASS) {
    enum fg_run_result result = fg_run_begin(&want, c, &oracle, &o);
    if (result != FG_RUN_OK)
      verdict = say(why, size, "the oracle: %s", want.why);
    else if (!half_agrees(&run, &want, c, half, why, size))
      verdict = FG_BROKEN;
    fg_run_end(&want);
  }
  fg_run_end(&run);
  return verdict;
}

/* Whether the case has a float that may be stored so. What rounds by itself what it multiplies has
 * cases of its own in bfloat16. */
static bool has_half(const struct fg_case *c) {
  uint32_t in = fg_half_rounds(c->op) ? 0 : fg_half_slots(c->op).in;
  for (int i = 0; i < FG_MAX_IN; i++)
    if (in >> i & 1 && c->in[i].type == FG_F32)
      return true;
  return false;
}

/* In both half precisions, as it lies; FG_SKIP where the backend does not take it. */
static enum fg_verdict try_halves(const struct fg_case *c, const struct fg_target *target,
                                  uint32_t lying, char *why, size_t size) {
  struct fg_device *device = target->device;
  enum fg_verdict verdict = FG_SKIP;
  if (!device || !device->backend->takes_half || !has_half(c))
    return FG_SKIP;
  const enum fg_precision before = device->precision;
  for (int p = FG_PRECISION_bf16; p <= FG_PRECISION_fp16 && verdict != FG_BROKEN; p++) {
    enum fg_type half = p == FG_PRECISION_bf16 ? FG_BF16 : FG_F16;
    union fg_attrs attrs;
    struct fg_call call;
    fg_case_call(c, FG_F32, &attrs, &call);
    fg_case_halve(&call, &attrs, half);
    device->precision = (enum fg_precision)p;
    if (!device->backend->takes_half(device, &call))
      continue;
    enum fg_verdict now = try_half(c, target, half, lying, why, size);
    verdict = now == FG_SKIP ? verdict : now;
  }
  device->precision = before;
  return verdict;
}

enum fg_verdict fg_mode_half(const struct fg_case *c, const struct fg_target *target, char *why,
                             size_t size) {
  return try_halves(c, target, 0, why, size);
}

/* ---- another layout */

/* Weights are never laid in blocks: they are the kernel's own business. Channels last lie they too. */
static bool may_lie(const struct fg_case *c, const struct fg_tensor *t, bool output, int i,
                    const struct fg_device *device) {
  if (device->layout == FG_NHWC)
    return t->type != FG_NONE && t->rank == 4;
  int block = device->channel_block;
  bool weight = (!output && i == 1 &&
                 (c->op == FG_OP_conv || c->op == FG_OP_conv_grad_input ||
                  c->op == FG_OP_conv_grad_input_step)) ||
                (output && i == 0 && c->op == FG_OP_conv_grad_weight);
  return !weight && t->type != FG_NONE && t->rank == 4 && t->dim[1] > 0 && t->dim[1] % block == 0;
}

/* The next combination of the tensors in `may` (inputs in the low bits) after `mask`. */
static uint32_t next_subset(uint32_t mask, uint32_t may) {
  return (mask - may) & may;
}

static enum fg_verdict try_lying(const struct fg_case *c, const struct fg_target *target,
                                 struct fg_device *device, uint32_t mask, char *why, size_t size) {
  struct fg_run_options o = {.lying_in = mask & 0xFFFF, .lying_out = mask >> 16, .fill = 0xFF};
  const struct fg_target opened = {target->backend, target->real, target->threads, device};
  struct fg_call call;
  union fg_attrs attrs;
  struct fg_run run;
  fg_case_call(c, target->real, &attrs, &call);
  for (int i = 0; i < FG_MAX_IN; i++)
    call.in[i].layout = o.lying_in >> i & 1 ? device->layout : FG_PLAIN;
  for (int i = 0; i < FG_MAX_OUT; i++)
    call.out[i].layout = o.lying_out >> i & 1 ? device->layout : FG_PLAIN;
  if (!target->backend->takes_layout(device, &call))
    return FG_SKIP;
  enum fg_verdict verdict = execute(&run, c, &opened, &o, why, size);
  if (verdict == FG_PASS && !agrees_with_oracle(&run, c, why, size))
    verdict = FG_BROKEN;
  fg_run_end(&run);
  if (verdict == FG_PASS && device->layout == FG_NHWC &&
      try_halves(c, &opened, mask, why, size) == FG_BROKEN)
    verdict = FG_BROKEN;
  size_t used = verdict == FG_BROKEN ? strlen(why) : 0;
  if (used)
    snprintf(why + used, size - used, " (lying: inputs %x, outputs %x)", o.lying_in, o.lying_out);
  return verdict;
}

static enum fg_verdict try_all_lying(const struct fg_case *c, const struct fg_target *target,
                                     struct fg_device *device, char *why, size_t size) {
  struct fg_call call;
  union fg_attrs attrs;
  uint32_t may = 0, mask = 0;
  enum fg_verdict all = FG_SKIP;
  if (device->layout == FG_PLAIN)
    return FG_SKIP;
  fg_case_call(c, target->real, &attrs, &call);
  for (int i = 0; i < FG_MAX_IN; i++)
    may |= (uint32_t)may_lie(c, &call.in[i], false, i, device) << i;
  for (int i = 0; i < FG_MAX_OUT; i++)
    may |= (uint32_t)may_lie(c, &call.out[i], true, i, device) << (16 + i);
  while ((mask = next_subset(mask, may)) != 0 && all != FG_BROKEN) {
    enum fg_verdict one = try_lying(c, target, device, mask, why, size);
    all = one == FG_SKIP ? all : one;
  }
  return all;
}

enum fg_verdict fg_mode_lying(const struct fg_case *c, const struct fg_target *target, char *why,
                              size_t size) {
  const struct fg_backend *backend = target->backend;
  struct fg_device *device = target->device;
  if (!backend->kernels[c->op]->run || !backend->takes_layout)
    return FG_SKIP;
  if (!device && backend->open(0, target->threads, &device) != FGSM_OK)
    return say(why, size, "open: %s", fgsm_last_error());
  enum fg_verdict all = try_all_lying(c, target, device, why, size);
  if (device != target->device)
    backend->close(device);
  return all;
}

static bool same_bits(const struct fg_run *a, const struct fg_run *b, const struct fg_case *c,
                      char *why, size_t size) {
  for (int i = 0; i < COMPUTED_COUNT; i++) {
    const struct fg_tensor *t = computed(a, c, i), *u = computed(b, c, i);
    if (t && fg_bytes(t) && memcmp(t->data, u->data, fg_bytes(t)) != 0) {
      say(why, size, "tensor %d differs from one run to the next", i);
      return false;
    }
  }
  return true;
}

static enum fg_verdict compare_runs(const struct fg_case *c, const struct fg_target *target,
                                    const struct fg_run_options *first,
                                    const struct fg_run_options *second, char *why, size_t size) {
  struct fg_run a, b = {0};
  enum fg_verdict verdict = execute(&a, c, target, first, why, size);
  if (verdict == FG_PASS)
    verdict = execute(&b, c, target, second, why, size);
  if (verdict == FG_PASS && !same_bits(&a, &b, c, why, size))
    verdict = FG_BROKEN;
  fg_run_end(&b);
  fg_run_end(&a);
  return verdict;
}

enum fg_verdict fg_mode_repeats(const struct fg_case *c, const struct fg_target *target, char *why,
                                size_t size) {
  struct fg_run_options first = {.fill = 0xFF}, second = {.fill = 0x3C};
  return compare_runs(c, target, &first, &second, why, size);
}

enum fg_verdict fg_mode_in_place(const struct fg_case *c, const struct fg_target *target, char *why,
                                 size_t size) {
  static const bool in_place[FG_OP_COUNT] = {
#define PLAIN false
#define INPLACE true
#define VIEW false
#define OP(name, max_in, n_out, trait) [FG_OP_##name] = trait,
#include "ops.def"
#undef OP
#undef PLAIN
#undef INPLACE
#undef VIEW
  };
  struct fg_call call;
  union fg_attrs attrs;
  fg_case_call(c, target->real, &attrs, &call);
  if (!in_place[c->op] || fg_bytes(&call.in[0]) != fg_bytes(&call.out[0]))
    return FG_SKIP;
  struct fg_run_options first = {.fill = 0xFF}, second = {.fill = 0x3C, .in_place = true};
  return compare_runs(c, target, &first, &second, why, size);
}

enum fg_verdict fg_mode_clean(const struct fg_case *c, const struct fg_target *target, char *why,
                              size_t size) {
  struct fg_run run;
  struct fg_run_options plain = {.fill = 0xA5};
  enum fg_verdict verdict = execute(&run, c, target, &plain, why, size);
  for (int i = 0; verdict == FG_PASS && i < run.view.n_in; i++) {
    if (!fg_buffer_is_whole(&run.in[i]))
      verdict = say(why, size, "wrote beside input %d", i);
    else if (run.in[i].bytes && !(c->written >> i & 1) &&
             memcmp(run.before[i], run.view.in[i].data, run.in[i].bytes) != 0)
      verdict = say(why, size, "changed input %d", i);
  }
  for (int i = 0; verdict == FG_PASS && i < run.view.n_out; i++)
    if (!fg_buffer_is_whole(&run.out[i]))
      verdict = say(why, size, "wrote beside output %d", i);
  if (verdict == FG_PASS && !fg_buffer_is_whole(&run.scratch))
    verdict = say(why, size, "wrote beside its scratch");
  fg_run_end(&run);
  return verdict;
}
