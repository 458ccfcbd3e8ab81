/* Options by name: found, set, read. Setting is all or nothing: a value that does not parse leaves the
 * old one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "setters.h"

enum { MAX_TEXT = 4096 };

const fgsm_option_info *fgsm_option_at(size_t i) {
  return i < fg_option_count ? &fg_option_rows[i].info : NULL;
}

/* ---- finding a row */

static size_t find(const char *name, size_t n) {
  for (size_t i = 0; i < fg_option_count; i++)
    if (strlen(fg_option_rows[i].info.name) == n &&
        memcmp(fg_option_rows[i].info.name, name, n) == 0)
      return i;
  return fg_option_count;
}

/* Levenshtein distance, for names of at most 31 characters. */
static int distance(const char *a, const char *b) {
  int row[32], n = (int)strlen(b);
  for (int j = 0; j <= n; j++)
    row[j] = j;
  for (int i = 1; a[i - 1]; i++) {
    int corner = row[0];
    row[0] = i;
    for (int j = 1; j <= n; j++) {
      int least = corner + (a[i - 1] != b[j - 1]);
      corner = row[j];
      if (row[j] + 1 < least)
        least = row[j] + 1;
      if (row[j - 1] + 1 < least)
        least = row[j - 1] + 1;
      row[j] = least;
    }
  }
  return row[n];
}

static const char *nearest_name(const char *name) {
  const char *nearest = NULL;
  int best = 3;
  if (strlen(name) > 31)
    return NULL;
  for (size_t i = 0; i < fg_option_count; i++) {
    const char *other = fg_option_rows[i].info.name;
    bool begins = strlen(name) > 1 && strncmp(other, name, strlen(name)) == 0;
    int d = begins ? 1 : distance(name, other);
    if (d < best && d < (int)strlen(other)) {
      best = d;
      nearest = other;
    }
  }
  return nearest;
}

static fgsm_status find_row(const char *name, size_t *row) {
  *row = find(name, strlen(name));
  if (*row < fg_option_count)
    return FGSM_OK;
  const char *nearest = nearest_name(name);
  if (nearest)
    return FG_FAIL(USAGE, "unknown option '%.40s'; did you mean '%s'?", name, nearest);
  return FG_FAIL(USAGE, "unknown option '%.40s'; fgsm help lists them all", name);
}

static bool is_choice(const char *choices, const char *value) {
  size_t n = strlen(value);
  for (const char *c = choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL)
    if (strcspn(c, "|") == n && memcmp(c, value, n) == 0)
      return true;
  return false;
}

/* ---- options as a whole */

fgsm_status fgsm_options_create(fgsm_options **out) {
  struct fgsm_options *o = calloc(1, sizeof *o);
  if (!o)
    return FG_FAIL(MEMORY, "no memory for options");
  strcpy(o->attack, "fgsm");
  strcpy(o->loss, "ce");
  o->alpha.value = -1;
  o->decay = -1;
  o->scale = (struct fg_ratio){.value = 1, .num = 1, .den = 1, .text = "1"};
  o->clip_hi = 1;
  strcpy(o->data_layout, "auto");
  o->fail_under = -1;
  strcpy(o->method, "n-fgsm");
  o->clean_share = o->beta = o->grad_align = -1;
  strcpy(o->smoothing, "all");
  o->epochs = 30;
  strcpy(o->optimizer, "sgd");
  o->lr = 0.1;
  strcpy(o->lr_schedule, "triangular");
  o->lr_peak = 0.5;
  o->momentum = 0.9;
  o->weight_decay = 5e-4;
  strcpy(o->init, "keep");
  strcpy(o->augment, "none");
  o->validation = -1;
  o->eval_steps = 10;
  o->watch = 200;
  strcpy(o->on_overfit, "continue");
  strcpy(o->device, "auto");
  strcpy(o->precision, "fp32");
  strcpy(o->plot, "auto");
  strcpy(o->color, "auto");
  o->batch = o->batches[0] = FG_USUAL_BATCH;
  o->n_batches = 1;
  o->seconds = 3;
  *out = o;
  return FGSM_OK;
}

void fgsm_options_destroy(fgsm_options *options) {
  if (!options)
    return;
  for (size_t i = 0; i < fg_option_count; i++)
    free(options->text[i]);
  free(options->eps_map);
  free(options->mask);
  free(options->functional);
  free(options->target);
  free(options->input);
  free(options->output);
  free(options->feed);
  free(options->labels);
  free(options->out);
  free(options->dot);
  free(options->arch);
  free(options->log);
  free(options->report);
  free(options->checkpoint);
  free(options);
}

static fgsm_status set_row(struct fgsm_options *o, const struct fg_option_row *row,
                           const char *value) {
  if (strlen(value) > MAX_TEXT)
    return FG_FAIL(USAGE, "it is longer than %d characters", MAX_TEXT);
  if (row->set == fg_set_word && row->info.choices && !is_choice(row->info.choices, value))
    return FG_FAIL(USAGE, "'%.40s' is none of %s", value, row->info.choices);
  return row->set(o, row->field, row->size, value);
}

fgsm_status fgsm_options_set(fgsm_options *options, const char *name, const char *value) {
  size_t i;
  if (!options || !name)
    return FG_FAIL(USAGE, "fgsm_options_set: options and name must not be NULL");
  FG_TRY(find_row(name, &i));
  const char *argument = fg_option_rows[i].info.argument;
  if (!value && argument && *argument != '[')
    return FG_FAIL(USAGE, "option '%s' needs a value: %s", name, argument);
  char *text = strdup(value && *value ? value : argument ? "" : "true");
  if (!text)
    return FG_FAIL(MEMORY, "no memory for an option");
  fgsm_status status = set_row(options, &fg_option_rows[i], text);
  if (status != FGSM_OK) {
    free(text);
    if (fg_option_rows[i].set == fg_set_config)
      return status;
    char reason[768];
    fg_error_copy(reason, sizeof reason);
    return fg_fail(status, __FILE__, __LINE__, "option '%s': %s", name, reason);
  }
  free(options->text[i]);
  options->text[i] = text;
  return FGSM_OK;
}

bool fg_options_given(const struct fgsm_options *options, const char *name) {
  size_t i = find(name, strlen(name));
  return i < fg_option_count && options->text[i];
}

const char *fgsm_options_get(const fgsm_options *options, const char *name) {
  size_t i = options && name ? find(name, strlen(name)) : fg_option_count;
  if (i == fg_option_count)
    return NULL;
  return options->text[i] ? options->text[i] : fg_option_rows[i].info.initial;
}
