/* What the options say of a step, resolved and held against each other. */
#include <math.h>
#include <string.h>

#include "train.h"

static fgsm_status resolve_optimiser(const struct fgsm_options *o, struct fg_engine_spec *spec) {
  static const char *const names[] = {
#define X(name) [FG_DESCEND_##name] = #name,
    FG_DESCEND_MAP(X)
#undef X
  };
  int kind = 0;
  while (kind < FG_DESCEND_COUNT && strcmp(names[kind], o->optimizer) != 0)
    kind++;
  if (kind == FG_DESCEND_COUNT)
    return FG_FAIL(USAGE, "--optimizer %s: there is sgd, adam and adamw", o->optimizer);
  bool sgd = kind == FG_DESCEND_sgd;
  if (o->nesterov && (!sgd || o->momentum == 0))
    return FG_FAIL(USAGE, "--nesterov needs sgd with a momentum");
  spec->optimiser =
      (struct fg_descend_attrs){.kind = (enum fg_descend_kind)kind, .nesterov = o->nesterov};
  spec->momentum = sgd ? o->momentum : 0.9; /* beta1 (Kingma & Ba 2015) */
  spec->keeps_m = !sgd || spec->momentum > 0;
  spec->keeps_v = !sgd;
  spec->beta2 = 0.999;
  spec->epsilon = 1e-8;
  spec->decay = o->weight_decay;
  spec->decay_vectors = !o->decay_matrices;
  spec->clip = o->clip_norm;
  spec->average_decay = o->ema;
  return FGSM_OK;
}

static fgsm_status resolve_defences(const struct fgsm_options *o, struct fg_engine_spec *spec) {
  spec->smoothing = o->label_smoothing;
  spec->smooth_others = strcmp(o->smoothing, "others") == 0;
  spec->align = spec->method.align;
  spec->penalty = o->gradient_penalty;
  spec->spectral = o->spectral_norm;
  if (spec->align > 0 && spec->penalty > 0)
    return FG_FAIL(USAGE, "--grad-align and --gradient-penalty: one of them at a time");
  bool half = strcmp(o->precision, "bf16") == 0 || strcmp(o->precision, "fp16") == 0;
  if (half && (spec->align > 0 || spec->penalty > 0))
    return FG_FAIL(
        USAGE,
        "--precision %s: a regulariser of the input's gradient is a small difference, which "
        "half precision does not resolve; use fp32 or tf32",
        o->precision);
  if (spec->align > 0 && !(spec->eps > 0))
    return FG_FAIL(USAGE, "--grad-align: looks around each sample, and needs an --eps above 0");
  if (spec->method.carry == FG_CARRY_sample && !(spec->eps > 0))
    return FG_FAIL(USAGE, "--method %s: needs an --eps above 0", spec->method.name);
  if (spec->method.carry == FG_CARRY_sample && strcmp(o->augment, "none") != 0)
    return FG_FAIL(USAGE,
                   "--method %s: a perturbation that is kept fits its sample as it lies, so "
                   "there is no --augment with it",
                   spec->method.name);
  return FGSM_OK;
}

fgsm_status fg_engine_spec_resolve(const struct fgsm_options *o, enum fg_type data,
                                   struct fg_engine_spec *spec) {
  *spec = (struct fg_engine_spec){.seed = o->seed};
  FG_TRY(fg_method_resolve(o, &spec->method));
  FG_TRY(resolve_optimiser(o, spec));
  if (spec->method.steps > 0 && o->n_eps != 1)
    return FG_FAIL(USAGE, "--eps: adversarial training needs one budget, such as 8/255");
  spec->eps = o->n_eps ? o->eps[0].value : 0;
  if (!(spec->eps >= 0) || (data == FG_U8 && spec->eps > 1))
    return FG_FAIL(USAGE, "--eps %s: for bytes, write it as a fraction of 255", o->eps[0].text);
  if (spec->seed >= (uint64_t)1 << 53)
    return FG_FAIL(USAGE, "--seed must be below 2^53");
  if (o->alpha.value >= 0 && spec->eps > 0)
    spec->method.alpha = o->alpha.value / spec->eps;
  FG_TRY(resolve_defences(o, spec));
  spec->lo = o->clip_none ? -INFINITY : o->clip_lo;
  spec->hi = o->clip_none ? INFINITY : o->clip_hi;
  spec->craft_norms = strcmp(o->craft_norms, "frozen") == 0   ? FG_NORM_FROZEN
                      : strcmp(o->craft_norms, "batch") == 0  ? FG_NORM_BATCH
                      : strcmp(o->craft_norms, "update") == 0 ? FG_NORM_UPDATE
                      : spec->method.frozen                   ? FG_NORM_FROZEN
                                                              : FG_NORM_UPDATE;
  return FGSM_OK;
}
