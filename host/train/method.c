/* The methods, as data. Defaults are those of the paper, or of its authors' code where the paper
 * leaves them open. */
#include <stdio.h>
#include <string.h>

#include "train.h"

static const struct fg_method table[] = {
    {.name = "clean", .source = "plain training", .clean_share = 1},
    {.name = "fgsm",
     .source = "Goodfellow, Shlens, Szegedy 2015, section 6: half of the loss on clean samples",
     .steps = 1,
     .alpha = 1,
     .project = true,
     .clean_share = 0.5},
    {.name = "rs-fgsm",
     .source =
         "Wong, Rice, Kolter 2020, algorithm 3: alpha = 1.25 eps; the start is not brought into "
         "the box, without which MNIST's black pixels would lose half of their noise",
     .start = FG_START_uniform,
     .radius = 1,
     .steps = 1,
     .alpha = 1.25,
     .project = true},
    {.name = "n-fgsm",
     .source = "de Jorge et al. 2022: noise of 2 eps, no projection",
     .start = FG_START_uniform,
     .radius = 2,
     .start_in_box = true,
     .steps = 1,
     .alpha = 1},
    {.name = "pgd",
     .source = "Madry et al. 2018: 7 steps of eps / 4",
     .start = FG_START_uniform,
     .radius = 1,
     .start_in_box = true,
     .steps = 7,
     .alpha = 0.25,
     .project = true},
    {.name = "free",
     .source = "Shafahi et al. 2019: 8 replays, steps of eps",
     .carry = FG_CARRY_place,
     .replays = 8,
     .alpha = 1,
     .project = true},
    {.name = "fgsm-pgi",
     .source = "Jia et al. 2022: from the sample's last perturbation, a step of eps; without their "
               "regulariser",
     .start_in_box = true,
     .carry = FG_CARRY_sample,
     .steps = 1,
     .alpha = 1,
     .project = true},
    {.name = "grad-align",
     .source = "Andriushchenko & Flammarion 2020: FGSM from x, lambda 0.2 (CIFAR-10 at 8/255)",
     .steps = 1,
     .alpha = 1,
     .project = true,
     .align = 0.2},
    {.name = "trades",
     .source = "Zhang et al. 2019: 10 steps of eps / 4, beta 6; a uniform start of the variance of "
               "their normal one at eps 0.031",
     .start = FG_START_uniform,
     .radius = 0.055,
     .start_in_box = true,
     .steps = 10,
     .alpha = 0.25,
     .project = true,
     .objective = FG_OBJECTIVE_trades,
     .beta = 6,
     .frozen = true},
    {.name = "mart",
     .source = "Wang et al. 2020: as trades but climbing cross-entropy; beta 5",
     .start = FG_START_uniform,
     .radius = 0.055,
     .start_in_box = true,
     .steps = 10,
     .alpha = 0.25,
     .project = true,
     .objective = FG_OBJECTIVE_mart,
     .beta = 5,
     .frozen = true},
};

const struct fg_method *fg_method_at(int i) {
  return i >= 0 && i < (int)(sizeof table / sizeof *table) ? &table[i] : NULL;
}

fgsm_status fg_method_resolve(const struct fgsm_options *options, struct fg_method *method) {
  const struct fg_method *found = NULL;
  for (int i = 0; !found && fg_method_at(i); i++)
    if (strcmp(table[i].name, options->method) == 0)
      found = &table[i];
  if (!found)
    return FG_FAIL(USAGE, "--method %s: there is no such method", options->method);
  *method = *found;
  if (options->steps > 0 && method->steps == 0)
    return FG_FAIL(USAGE, "--steps: method %s takes none", method->name);
  if (options->steps > 0)
    method->steps = options->steps;
  if (options->n_harden > 0 && method->steps == 0)
    return FG_FAIL(USAGE, "--harden: method %s takes no steps", method->name);
  if (options->replays > 0 && method->replays == 0)
    return FG_FAIL(USAGE, "--replays: is of method free");
  if (options->replays > 0)
    method->replays = options->replays;
  if (options->beta >= 0 && method->beta == 0)
    return FG_FAIL(USAGE, "--beta: is of methods trades and mart");
  if (options->beta >= 0)
    method->beta = options->beta;
  if (options->grad_align >= 0)
    method->align = options->grad_align;
  bool mixes = method->steps > 0 && method->objective == FG_OBJECTIVE_mixed;
  if (options->clean_share >= 0 && !mixes)
    return FG_FAIL(USAGE, "--clean-share: method %s does not mix", method->name);
  if (options->clean_share >= 0)
    method->clean_share = options->clean_share;
  return FGSM_OK;
}
