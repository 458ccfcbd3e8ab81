/* How each kind of option's text becomes its field of struct fgsm_options. The table has checked
 * the choices and the text's length; a setter refuses what has no meaning, and then changes
 * nothing. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "setters.h"

enum { MAX_BATCH = 65536, MAX_STEPS = 100000, MAX_THREADS = 1024 };

/* ---- how a text becomes a field. The caller has checked the choices and the length. */

static char *field_text(struct fgsm_options *o, size_t field) {
  return (char *)o + field;
}

fgsm_status fg_set_word(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  if (strlen(value) >= size)
    return FG_FAIL(USAGE, "'%.40s' is too long", value);
  snprintf(field_text(o, field), size, "%s", value);
  return FGSM_OK;
}

fgsm_status fg_set_path(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  (void)size;
  if (!*value)
    return FG_FAIL(USAGE, "it is empty");
  char *copy = strdup(value);
  if (!copy)
    return FG_FAIL(MEMORY, "no memory for an option");
  char **path = (char **)(void *)field_text(o, field);
  free(*path);
  *path = copy;
  return FGSM_OK;
}

/* Without a path: standard output. */
fgsm_status fg_set_path_or_dash(struct fgsm_options *o, size_t field, size_t size,
                                const char *value) {
  return fg_set_path(o, field, size, *value ? value : "-");
}

fgsm_status fg_set_switch(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  (void)size;
  bool on = !*value || strcmp(value, "true") == 0;
  if (!on && strcmp(value, "false") != 0)
    return FG_FAIL(USAGE, "'%.40s' is neither true nor false", value);
  memcpy(field_text(o, field), &on, sizeof on);
  return FGSM_OK;
}

fgsm_status fg_set_ratio(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  struct fg_ratio ratio;
  FG_TRY(fg_ratio_parse(value, &ratio));
  if (ratio.value == 0)
    return FG_FAIL(USAGE, "it must be above 0");
  memcpy(field_text(o, field), &ratio, size);
  return FGSM_OK;
}

static fgsm_status set_int(struct fgsm_options *o, size_t field, int64_t least, int64_t most,
                           const char *value) {
  int64_t number;
  FG_TRY(fg_int_parse(value, least, most, &number));
  int n = (int)number;
  memcpy(field_text(o, field), &n, sizeof n);
  return FGSM_OK;
}

fgsm_status fg_set_steps(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  (void)size;
  return set_int(o, field, 1, MAX_STEPS, value);
}

fgsm_status fg_set_threads(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  (void)size;
  return set_int(o, field, 0, MAX_THREADS, value);
}

fgsm_status fg_set_width(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  (void)size;
  return set_int(o, field, 40, 1000, value);
}

static fgsm_status set_long(struct fgsm_options *o, size_t field, int64_t least, int64_t most,
                            const char *value) {
  int64_t number;
  FG_TRY(fg_int_parse(value, least, most, &number));
  memcpy(field_text(o, field), &number, sizeof number);
  return FGSM_OK;
}

/* int64_t and uint64_t fields alike: the range is what both hold. */
fgsm_status fg_set_count(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  (void)size;
  return set_long(o, field, 0, INT64_MAX, value);
}

fgsm_status fg_set_memory(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  int64_t bytes;
  FG_TRY(fg_size_parse(value, &bytes));
  memcpy(field_text(o, field), &bytes, size);
  return FGSM_OK;
}

fgsm_status fg_set_decay(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  double number;
  FG_TRY(fg_real_parse(value, &number));
  if (number < 0 || number > 1e6)
    return FG_FAIL(USAGE, "'%s' is not from 0 to 1e6", value);
  memcpy(field_text(o, field), &number, size);
  return FGSM_OK;
}

fgsm_status fg_set_seconds(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  double number;
  FG_TRY(fg_real_parse(value, &number));
  if (!(number > 0) || number > 1e5)
    return FG_FAIL(USAGE, "'%s' is not above 0 and at most 1e5", value);
  memcpy(field_text(o, field), &number, size);
  return FGSM_OK;
}

fgsm_status fg_set_share(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  double number;
  FG_TRY(fg_real_parse(value, &number));
  if (number < 0 || number > 1)
    return FG_FAIL(USAGE, "'%s' is not a fraction from 0 to 1 (0.35 for 35 %%)", value);
  memcpy(field_text(o, field), &number, size);
  return FGSM_OK;
}

/* Copies the next comma-separated item to `item`; false at the end or when it does not fit (then
 * *list is NULL). */
static bool next_item(const char **list, char *item, size_t size) {
  if (!*list)
    return false;
  size_t n = strcspn(*list, ",");
  if (n >= size) {
    *list = NULL;
    return false;
  }
  memcpy(item, *list, n);
  item[n] = 0;
  *list = (*list)[n] ? *list + n + 1 : NULL;
  return true;
}

/* auto, one size, or several; `batch` is the first. */
fgsm_status fg_set_batch(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  int64_t items[FG_MAX_BATCHES];
  char item[32];
  int count = 0;
  (void)field, (void)size;
  o->batch_auto = strcmp(value, "auto") == 0;
  if (o->batch_auto) {
    o->batch = o->batches[0] = FG_USUAL_BATCH;
    o->n_batches = 1;
    o->batch_given = false;
    return FGSM_OK;
  }
  for (const char *list = value; list; count++) {
    if (count == FG_MAX_BATCHES)
      return FG_FAIL(USAGE, "it has more than %d sizes", FG_MAX_BATCHES);
    if (!next_item(&list, item, sizeof item))
      return FG_FAIL(USAGE, "'%.40s' is not a list of whole numbers", value);
    FG_TRY(fg_int_parse(item, 1, MAX_BATCH, &items[count]));
    for (int i = 0; i < count; i++)
      if (items[i] == items[count])
        return FG_FAIL(USAGE, "%s is in the list twice", item);
  }
  memcpy(o->batches, items, (size_t)count * sizeof *items);
  o->n_batches = count;
  o->batch = items[0];
  o->batch_given = true;
  return FGSM_OK;
}

static fgsm_status parse_reals(const char *value, double *items, int most, int *n) {
  char item[64];
  int count = 0;
  for (const char *list = value; list; count++) {
    if (!next_item(&list, item, sizeof item))
      return FG_FAIL(USAGE, "'%.40s' is not a list of numbers", value);
    if (count == most)
      return FG_FAIL(USAGE, "it has more than %d numbers", most);
    FG_TRY(fg_real_parse(item, &items[count]));
  }
  *n = count;
  return FGSM_OK;
}

fgsm_status fg_reals_parse(const char *text, double **items, int *n) {
  int most = 1;
  for (const char *c = text; *c; c++)
    most += *c == ',';
  double *all = calloc((size_t)most, sizeof *all);
  if (!all)
    return FG_FAIL(MEMORY, "no memory for a list of numbers");
  fgsm_status status = parse_reals(text, all, most, n);
  if (status == FGSM_OK)
    *items = all;
  else
    free(all);
  return status;
}

fgsm_status fg_set_functional(struct fgsm_options *o, size_t field, size_t size,
                              const char *value) {
  double *items = NULL;
  int n;
  FG_TRY(fg_reals_parse(value, &items, &n));
  free(items);
  return fg_set_path(o, field, size, value);
}

fgsm_status fg_set_mean(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  double items[FG_MAX_CHANNELS] = {0};
  int n;
  FG_TRY(parse_reals(value, items, FG_MAX_CHANNELS, &n));
  memcpy(field_text(o, field), items, size);
  o->n_mean = n;
  return FGSM_OK;
}

fgsm_status fg_set_std(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  double items[FG_MAX_CHANNELS] = {0};
  int n;
  FG_TRY(parse_reals(value, items, FG_MAX_CHANNELS, &n));
  for (int i = 0; i < n; i++)
    if (!(items[i] > 0))
      return FG_FAIL(USAGE, "a standard deviation must be above 0");
  memcpy(field_text(o, field), items, size);
  o->n_std = n;
  return FGSM_OK;
}

fgsm_status fg_set_harden(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  double items[FG_MAX_HARDENINGS] = {0};
  int n;
  FG_TRY(parse_reals(value, items, FG_MAX_HARDENINGS, &n));
  for (int i = 0; i < n; i++)
    if (!(items[i] >= 0 && items[i] <= 1) || (i > 0 && items[i] <= items[i - 1]))
      return FG_FAIL(USAGE, "'%.40s' is not a list of growing fractions from 0 to 1", value);
  memcpy(field_text(o, field), items, size);
  o->n_harden = n;
  return FGSM_OK;
}

fgsm_status fg_set_clip(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  (void)field, (void)size;
  double ends[2];
  int n = 0;
  bool none = strcmp(value, "none") == 0;
  if (!none) {
    FG_TRY(parse_reals(value, ends, 2, &n));
    if (n != 2 || !(ends[0] < ends[1]))
      return FG_FAIL(USAGE, "'%.40s' is neither LO,HI with LO < HI nor none", value);
    o->clip_lo = ends[0];
    o->clip_hi = ends[1];
  }
  o->clip_none = none;
  return FGSM_OK;
}

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

fgsm_status fg_set_eps(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  (void)field;
  if (ends_with(value, ".npy") || strstr(value, ".npz")) {
    FG_TRY(fg_set_path(o, offsetof(struct fgsm_options, eps_map), 0, value));
    FG_TRY(fg_ratio_parse("1", &o->eps[0]));
    o->n_eps = 1;
    return FGSM_OK;
  }
  struct fg_ratio items[FG_MAX_EPS];
  char item[sizeof items[0].text];
  int count = 0;
  memset(items, 0, sizeof items);
  for (const char *list = value; list; count++) {
    if (count == FG_MAX_EPS)
      return FG_FAIL(USAGE, "it has more than %d values", FG_MAX_EPS);
    if (!next_item(&list, item, sizeof item))
      return FG_FAIL(USAGE, "'%.60s' is not a list like 1/255,2/255,4/255", value);
    FG_TRY(fg_ratio_parse(item, &items[count]));
    for (int i = 0; i < count; i++)
      if (items[i].value == items[count].value)
        return FG_FAIL(USAGE, "%s is in the list twice", item);
  }
  memcpy(o->eps, items, size);
  o->n_eps = count;
  free(o->eps_map);
  o->eps_map = NULL;
  return FGSM_OK;
}

fgsm_status fg_device_list(const char *text, int *n, int *index) {
  *n = FG_ALL_DEVICES;
  if (strcmp(text, "all") == 0)
    return FGSM_OK;
  for (*n = 0;; text++) {
    size_t length = strcspn(text, ",");
    char number[16];
    int64_t value;
    if (*n == FG_MOST_DEVICES || length >= sizeof number)
      return FG_FAIL(USAGE, "'%.40s' is no list of devices", text);
    snprintf(number, sizeof number, "%.*s", (int)length, text);
    FG_TRY(fg_int_parse(number, 0, 255, &value));
    for (int i = 0; i < *n; i++)
      if (index[i] == value)
        return FG_FAIL(USAGE, "device %s is named twice", number);
    index[(*n)++] = (int)value;
    text += length;
    if (!*text)
      return FGSM_OK;
  }
}

fgsm_status fg_set_device(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  int n, index[FG_MOST_DEVICES];
  if (strncmp(value, "cuda:", 5) == 0)
    FG_TRY(fg_device_list(value + 5, &n, index));
  else if (strcmp(value, "auto") && strcmp(value, "cpu") && strcmp(value, "ref") &&
           strcmp(value, "cuda"))
    return FG_FAIL(USAGE, "'%.40s' is none of auto, cpu, ref, cuda, cuda:0,1,..., cuda:all", value);
  return fg_set_word(o, field, size, value);
}

bool fg_feed_next(const char **list, struct fg_feed_text *out) {
  const char *at = *list;
  if (!at || !*at)
    return false;
  size_t n = strcspn(at, ","), name = strcspn(at, "=,");
  *out = (struct fg_feed_text){at, at + name + (at[name] == '='), (int)name, 0};
  out->n_path = (int)(at + n - out->path);
  *list = at + n + (at[n] != 0);
  return true;
}

fgsm_status fg_set_feed(struct fgsm_options *o, size_t field, size_t size, const char *value) {
  const char *list = value;
  struct fg_feed_text item;
  int count = 0;
  while (fg_feed_next(&list, &item)) {
    if (item.n_name == 0 || item.n_path == 0)
      return FG_FAIL(USAGE, "'%.60s' is not a list like mask=mask.npy,ids=ids.npy", value);
    if (++count > FG_MAX_FEEDS)
      return FG_FAIL(USAGE, "it has more than %d inputs", FG_MAX_FEEDS);
  }
  return fg_set_path(o, field, size, value);
}
