/* The attacks, as data: one row each, lengths in units of eps. A new attack of this family is a new
 * row; what a row cannot say (another direction, another loss) is an operator's attribute.
 * Resolving lays the user's wishes over the row and refuses what would be ignored or has no
 * meaning: an option that was given is an option that has an effect. */
#include <string.h>

#include "attack.h"

#define NONE FG_START_none
#define UNIFORM FG_START_uniform
#define SIGN FG_START_sign
#define OWN (-1.0) /* the step's length is alpha times eps */
#define NO_MOMENTUM (-1.0)

/* name, source, norm, steps, alpha, step, start, radius, project, decay, restarts, halvings */
static const struct fg_attack_spec table[] = {
    {"fgsm", "Goodfellow, Shlens, Szegedy: Explaining and harnessing adversarial examples, 2015",
     FG_NORM_linf, 1, 1.0, OWN, NONE, 0.0, true, NO_MOMENTUM, 1, 0},
    {"rs-fgsm", "Wong, Rice, Kolter: Fast is better than free, 2020", FG_NORM_linf, 1, 1.25, OWN,
     UNIFORM, 1.0, true, NO_MOMENTUM, 1, 0},
    {"n-fgsm", "de Jorge et al.: Make some noise, 2022", FG_NORM_linf, 1, 1.0, OWN, UNIFORM, 2.0,
     false, NO_MOMENTUM, 1, 0},
    {"r-fgsm", "Tramer et al.: Ensemble adversarial training, 2018", FG_NORM_linf, 1, 0.5, OWN,
     SIGN, 0.5, true, NO_MOMENTUM, 1, 0},
    {"bim", "Kurakin, Goodfellow, Bengio: Adversarial examples in the physical world, 2017",
     FG_NORM_linf, 10, 0.25, OWN, NONE, 0.0, true, NO_MOMENTUM, 1, 0},
    {"pgd", "Madry et al.: Towards deep learning models resistant to adversarial attacks, 2018",
     FG_NORM_linf, 10, 0.25, OWN, UNIFORM, 1.0, true, NO_MOMENTUM, 1, 0},
    {"mi-fgsm", "Dong et al.: Boosting adversarial attacks with momentum, 2018", FG_NORM_linf, 10,
     0.25, OWN, NONE, 0.0, true, 1.0, 1, 0},
    {"fgm", "Miyato, Dai, Goodfellow: Adversarial training methods for semi-supervised text, 2017",
     FG_NORM_l2, 1, 1.0, OWN, NONE, 0.0, true, NO_MOMENTUM, 1, 0},
    {"minimal-eps", "fgsm's direction, and along it the least eps that suffices, by bisection",
     FG_NORM_linf, 1, 1.0, OWN, NONE, 0.0, true, NO_MOMENTUM, 1, 20},
    {"noise-sign", "baseline: each feature moved by eps, up or down by chance", FG_NORM_linf, 0,
     0.0, OWN, SIGN, 1.0, true, NO_MOMENTUM, 1, 0},
    {"noise-uniform", "baseline: a random point of the ball", FG_NORM_linf, 0, 0.0, OWN, UNIFORM,
     1.0, true, NO_MOMENTUM, 1, 0},
};

enum { MOST_HALVINGS = 50 }; /* of the search that mlp_fgsm makes */
enum { N_TABLE = sizeof table / sizeof *table };

const struct fg_attack_spec *fg_attack_at(int i) {
  return i >= 0 && i < N_TABLE ? &table[i] : NULL;
}

const struct fg_attack_spec *fg_attack_find(const char *name) {
  for (int i = 0; i < N_TABLE; i++)
    if (strcmp(table[i].name, name) == 0)
      return &table[i];
  return NULL;
}

static fgsm_status merge_norm(const char *norm, struct fg_attack_spec *spec) {
  static const struct {
    const char *name;
    enum fg_norm norm;
  } norms[] = {{"linf", FG_NORM_linf}, {"l2", FG_NORM_l2}, {"l1", FG_NORM_l1}};
  if (!*norm)
    return FGSM_OK;
  size_t i = 0;
  while (i < sizeof norms / sizeof *norms && strcmp(norms[i].name, norm) != 0)
    i++;
  if (i == sizeof norms / sizeof *norms)
    return FG_FAIL(USAGE, "--norm %s: there is linf, l2 and l1", norm);
  spec->norm = norms[i].norm;
  if (spec->halvings && spec->norm != FG_NORM_linf)
    return FG_FAIL(USAGE, "--attack %s is about eps in linf; leave --norm out", spec->name);
  if (spec->norm == FG_NORM_l1 && spec->start != NONE)
    return FG_FAIL(USAGE,
                   "--attack %s starts from a random point, which is not defined for --norm l1; "
                   "use bim, mi-fgsm or fgm",
                   spec->name);
  if (spec->norm != FG_NORM_linf && spec->start == SIGN)
    return FG_FAIL(USAGE, "--attack %s starts from random signs, which needs --norm linf",
                   spec->name);
  if (spec->norm == FG_NORM_l2 && spec->steps > 1 && spec->start == UNIFORM)
    spec->alpha = 0.2; /* a start inside the ball has less far to go */
  return FGSM_OK;
}

static fgsm_status merge_steps(const struct fgsm_options *options, struct fg_attack_spec *spec) {
  if (options->alpha.value >= 0) {
    if (spec->steps == 0)
      return FG_FAIL(USAGE, "--alpha with --attack %s: noise takes no steps", spec->name);
    spec->step = options->alpha.value;
  }
  if (options->steps > 0 && spec->halvings) {
    if (options->steps > MOST_HALVINGS)
      return FG_FAIL(USAGE, "--steps %d with --attack %s: at most %d halvings", options->steps,
                     spec->name, MOST_HALVINGS);
    spec->halvings = options->steps;
  } else if (options->steps > 0 && options->steps != spec->steps) {
    if (spec->steps == 0)
      return FG_FAIL(USAGE, "--steps with --attack %s: noise takes no steps", spec->name);
    if (spec->steps == 1)
      return FG_FAIL(USAGE,
                     "--steps %d with --attack %s, which takes one step; use bim, pgd or "
                     "mi-fgsm for more",
                     options->steps, spec->name);
    spec->steps = options->steps;
  }
  if (options->decay >= 0) {
    if (spec->decay < 0)
      return FG_FAIL(USAGE, "--decay with --attack %s, which has no momentum; use mi-fgsm",
                     spec->name);
    spec->decay = options->decay;
  }
  if (options->restarts > 0)
    spec->restarts = options->restarts;
  if (spec->restarts > 1 && spec->start == NONE)
    return FG_FAIL(USAGE,
                   "--restarts %d with --attack %s: without a random start every restart is the "
                   "same; use pgd or rs-fgsm",
                   spec->restarts, spec->name);
  return FGSM_OK;
}

fgsm_status fg_attack_resolve(const struct fgsm_options *options, struct fg_attack_spec *spec) {
  const struct fg_attack_spec *row = fg_attack_find(options->attack);
  if (!row) {
    char names[256] = "";
    for (int i = 0; i < N_TABLE; i++) {
      strncat(names, i ? ", " : "", sizeof names - strlen(names) - 1);
      strncat(names, table[i].name, sizeof names - strlen(names) - 1);
    }
    return FG_FAIL(USAGE, "--attack %s: there is %s", options->attack, names);
  }
  *spec = *row;
  FG_TRY(merge_norm(options->norm, spec));
  FG_TRY(merge_steps(options, spec));
  if (*options->loss_parity && strcmp(options->loss, "ce") != 0)
    return FG_FAIL(USAGE, "--loss-parity %s is about --loss ce; --loss %s has only one form",
                   options->loss_parity, options->loss);
  return FGSM_OK;
}
