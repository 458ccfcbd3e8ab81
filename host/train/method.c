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
     .source = "Wong, Rice, Kolter 2020: alpha = 1.25 eps",
     .start = FG_START_uniform,
     .radius = 1,
     .start_in_box = true,
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
    return FG_FAIL(USAGE, "--steps: training on clean samples takes none");
  if (options->steps > 0)
    method->steps = options->steps;
  if (options->clean_share >= 0)
    method->clean_share = options->clean_share;
  if (method->steps == 0 && method->clean_share < 1)
    return FG_FAIL(USAGE, "--clean-share %g: method clean sees nothing else", method->clean_share);
  return FGSM_OK;
}
