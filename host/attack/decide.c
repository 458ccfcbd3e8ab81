/* What the options and the data allow an attack to be: decided once, before anything is made. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attacker.h"

/* Levels of a byte within which a float that was meant as a fraction of 255 may lie off it. */
static const double LEVEL_SLACK = 1e-4;

double fg_whole_levels(double eps) {
  return floor(255 * eps + LEVEL_SLACK) / 255;
}

static void note(struct fg_attacker *a, const char *text) {
  fg_note_add(a->info.notes, sizeof a->info.notes, "%s", text);
}

static fgsm_status decide_types(const struct fgsm_options *options,
                                const struct fg_sample_shape *shape, struct fg_attacker *a) {
  a->shape = *shape;
  a->count = 1;
  for (int i = 0; i < shape->rank; i++)
    if (!fg_mul_ok(a->count, shape->dim[i], &a->count))
      return FG_FAIL(USAGE, "a sample's shape is too large");
  if (a->count < 1 || shape->rank < 1 || shape->rank >= FG_MAX_RANK)
    return FG_FAIL(USAGE, "a sample has no elements, or more than %d axes", FG_MAX_RANK - 1);
  if (shape->type != FG_U8 && shape->type != FG_F32)
    return FG_FAIL(INTERNAL, "samples of type %s", fg_type_name(shape->type));
  if (!*options->out_type)
    a->info.out_type = shape->type;
  else if (strcmp(options->out_type, "u8") == 0)
    a->info.out_type = FG_U8;
  else if (strcmp(options->out_type, "f32") == 0)
    a->info.out_type = FG_F32;
  else
    return FG_FAIL(USAGE, "--out-type %s: there is u8 and f32", options->out_type);
  return FGSM_OK;
}

/* The data box. Its ends are moved inward to values that the output can hold. */
static fgsm_status decide_box(const struct fgsm_options *options, struct fg_attacker *a) {
  bool from_bytes = a->shape.type == FG_U8, to_bytes = a->info.out_type == FG_U8;
  double lo = options->clip_none ? -INFINITY : options->clip_lo;
  double hi = options->clip_none ? INFINITY : options->clip_hi;
  if (!(lo < hi))
    return FG_FAIL(USAGE, "--clip %g,%g: the lower end comes first", lo, hi);
  if (from_bytes && !options->clip_none && (lo < 0 || hi > 1))
    return FG_FAIL(USAGE, "--clip %g,%g: bytes are attacked as fractions of 255, within 0,1", lo,
                   hi);
  if (!from_bytes && to_bytes && (lo < 0 || hi > 1))
    return FG_FAIL(USAGE, "--out-type u8 holds values from 0 to 1; give --clip 0,1 and data that "
                          "keep to it, or write f32");
  a->clip_lo = from_bytes ? fmax(lo, 0) : lo;
  a->clip_hi = from_bytes ? fmin(hi, 1) : hi;
  if (to_bytes) {
    a->lo = ceil(255 * fmax(lo, 0) - LEVEL_SLACK) / 255;
    a->hi = floor(255 * fmin(hi, 1) + LEVEL_SLACK) / 255;
  } else {
    float inner_lo = (float)lo, inner_hi = (float)hi;
    a->lo = (double)inner_lo < lo ? nextafterf(inner_lo, INFINITY) : inner_lo;
    a->hi = (double)inner_hi > hi ? nextafterf(inner_hi, -INFINITY) : inner_hi;
  }
  if (!(a->lo <= a->hi))
    return FG_FAIL(USAGE, "--clip %g,%g holds no value that can be written", lo, hi);
  return FGSM_OK;
}

/* The budgets as they are applied. */
static fgsm_status decide_eps(const struct fgsm_options *options, struct fg_attacker *a) {
  bool linf = a->info.spec.norm == FG_NORM_linf, bytes = a->shape.type == FG_U8;
  bool lattice = linf && bytes && a->info.out_type == FG_U8;
  if (options->n_eps < 1 || options->n_eps > FG_MAX_EPS)
    return FG_FAIL(USAGE, "--eps is missing: give a budget such as 8/255");
  a->info.n_eps = options->n_eps;
  for (int k = 0; k < options->n_eps; k++) {
    const struct fg_ratio *eps = &options->eps[k];
    if (!(eps->value >= 0) || !isfinite(eps->value))
      return FG_FAIL(USAGE, "--eps %s: a finite number from 0 on is needed", eps->text);
    if (linf && bytes && eps->value > 1)
      return FG_FAIL(USAGE, "--eps %s: for bytes write %s/255", eps->text, eps->text);
    a->info.eps[k] = lattice ? (double)fg_ratio_levels(eps) / 255 : eps->value;
    if (lattice && eps->value > 0 && a->info.eps[k] == 0)
      fg_note_add(a->info.notes, sizeof a->info.notes,
                  "eps %s is less than one level of a byte: nothing changes", eps->text);
  }
  if (!linf && a->info.out_type == FG_U8)
    note(a, "rounding to bytes may exceed eps a little in this norm; linf and l2 are as written");
  return FGSM_OK;
}

static fgsm_status check_array(const char *option, const float *values, int64_t n,
                               const struct fg_attacker *a) {
  if (n != a->count)
    return FG_FAIL(USAGE, "%s holds %lld values, and a sample has %lld", option, (long long)n,
                   (long long)a->count);
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(values[i]) || values[i] < 0)
      return FG_FAIL(USAGE, "%s: value %lld is %g, and must be finite and not negative", option,
                     (long long)i, values[i]);
  return FGSM_OK;
}

/* With a map the one eps is its largest; for bytes each feature gets whole levels. */
static fgsm_status decide_map(const struct fg_attack_arrays *arrays,
                              const struct fgsm_options *options, struct fg_attacker *a) {
  bool bytes = a->shape.type == FG_U8;
  FG_TRY(check_array("--eps (one per feature)", arrays->eps_map, arrays->n_eps_map, a));
  if (options->n_eps > 1)
    return FG_FAIL(USAGE, "an eps per feature and a list of eps exclude each other");
  if (a->info.spec.norm != FG_NORM_linf)
    return FG_FAIL(USAGE, "an eps per feature bounds each feature by itself: it needs --norm linf");
  if (!bytes && a->info.out_type == FG_U8)
    return FG_FAIL(USAGE, "an eps per feature for floats that are written as bytes is not "
                          "supported; write f32");
  double largest = 0;
  for (int64_t i = 0; i < a->count; i++)
    largest = fmax(largest, arrays->eps_map[i]);
  if (bytes && largest > 1)
    return FG_FAIL(USAGE, "an eps of %g for bytes, whose range is 0 to 1: divide the map by 255",
                   largest);
  a->info.n_eps = 1;
  a->info.eps[0] = bytes && a->info.out_type == FG_U8 ? fg_whole_levels(largest) : largest;
  return FGSM_OK;
}

static bool all_digits(const char *text) {
  return *text && strspn(text, "0123456789") == strlen(text);
}

static fgsm_status decide_loss(const struct fgsm_options *options, struct fg_attacker *a) {
  static const char *const names[] = {[FG_LOSS_ce] = "ce",
                                      [FG_LOSS_margin] = "margin",
                                      [FG_LOSS_dlr] = "dlr",
                                      [FG_LOSS_linear] = "linear"};
  int kind = 0;
  while (kind < 4 && strcmp(names[kind], options->loss) != 0)
    kind++;
  if (kind == 4)
    return FG_FAIL(USAGE, "--loss %s: there is ce, margin, dlr and linear", options->loss);
  if ((kind == FG_LOSS_linear) != (options->functional != NULL))
    return FG_FAIL(USAGE, kind == FG_LOSS_linear
                              ? "--loss linear needs --functional: a factor for each logit"
                              : "--functional is for --loss linear alone");
  if (*options->loss_parity && strcmp(options->loss_parity, "torch") != 0)
    return FG_FAIL(USAGE, "--loss-parity %s: there is torch", options->loss_parity);
  a->loss = (struct fg_loss_attrs){.kind = (enum fg_loss_kind)kind,
                                   .targeted = options->target != NULL,
                                   .parity = *options->loss_parity != 0};
  a->labels_predicted = options->labels && strcmp(options->labels, "predicted") == 0;
  a->target = -1;
  if (!options->target)
    return FGSM_OK;
  if (a->labels_predicted)
    return FG_FAIL(USAGE, "--labels predicted with --target: the target is the label attacked");
  a->least_likely = strcmp(options->target, "least-likely") == 0;
  if (all_digits(options->target)) {
    errno = 0;
    a->target = strtoll(options->target, NULL, 10);
    if (errno)
      return FG_FAIL(USAGE, "--target %.40s: no such class", options->target);
  }
  a->targets_given = !a->least_likely && a->target < 0;
  return FGSM_OK;
}

/* Labels that the model foretells, and gradients at the clean samples, come with a look at those. */
static fgsm_status decide_looks(const struct fgsm_options *options, struct fg_attacker *a) {
  const struct fg_attack_spec *spec = &a->info.spec;
  a->info.verifies = !options->no_verify;
  a->info.sees_clean =
      a->info.verifies || !fg_has_start(a) || a->labels_predicted || a->least_likely;
  if (options->no_verify && spec->halvings)
    return FG_FAIL(USAGE,
                   "--no-verify and --attack %s exclude each other: it goes by looks at what "
                   "would be written",
                   spec->name);
  if (options->no_verify && spec->restarts > 1)
    return FG_FAIL(USAGE,
                   "--no-verify and --restarts %d exclude each other: a sample's best is found "
                   "by looks at what would be written",
                   spec->restarts);
  return FGSM_OK;
}

fgsm_status fg_decide_classes(const struct fg_attacker *a) {
  if (a->target >= a->info.classes)
    return FG_FAIL(USAGE, "--target %lld: the model has %lld classes, counted from 0",
                   (long long)a->target, (long long)a->info.classes);
  if (a->loss.kind == FG_LOSS_dlr && a->info.classes < 3)
    return FG_FAIL(USAGE, "--loss dlr needs 3 classes, the model has %lld; use margin",
                   (long long)a->info.classes);
  return FGSM_OK;
}

fgsm_status fg_decide(const struct fgsm_options *options, const struct fg_sample_shape *shape,
                      const struct fg_attack_arrays *arrays, struct fg_attacker *a) {
  FG_TRY(fg_attack_resolve(options, &a->info.spec));
  FG_TRY(decide_types(options, shape, a));
  FG_TRY(decide_box(options, a));
  if (arrays->eps_map)
    FG_TRY(decide_map(arrays, options, a));
  else
    FG_TRY(decide_eps(options, a));
  if (arrays->mask)
    FG_TRY(check_array("--mask", arrays->mask, arrays->n_mask, a));
  if (a->info.spec.halvings && arrays->eps_map)
    return FG_FAIL(USAGE, "--attack %s and an eps per feature exclude each other",
                   a->info.spec.name);
  if (a->info.spec.halvings && a->info.n_eps > 1)
    return FG_FAIL(USAGE, "--attack %s takes one eps: the largest to be tried", a->info.spec.name);
  a->has_map = arrays->eps_map != NULL;
  a->has_mask = arrays->mask != NULL;
  FG_TRY(decide_loss(options, a));
  FG_TRY(decide_looks(options, a));
  if (options->seed >= (uint64_t)1 << 53)
    return FG_FAIL(USAGE, "--seed must be below 2^53");
  a->seed = (double)options->seed;
  return FGSM_OK;
}
