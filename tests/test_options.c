/* Options: numbers as written, every row of the table, files of options, and refusals that say why.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "attack.h"
#include "options.h"

static fgsm_options *fresh(void) {
  fgsm_options *o = NULL;
  cr_assert_eq(fgsm_options_create(&o), FGSM_OK);
  return o;
}

static void expect_set(fgsm_options *o, const char *name, const char *value) {
  cr_expect_eq(fgsm_options_set(o, name, value), FGSM_OK, "%s = %s: %s", name, value,
               fgsm_last_error());
}

/* Refused as usage, and the reason holds `word`. */
static void expect_refused(fgsm_options *o, const char *name, const char *value, const char *word) {
  cr_expect_eq(fgsm_options_set(o, name, value), FGSM_USAGE, "%s = %s was taken", name, value);
  cr_expect(strstr(fgsm_last_error(), word), "'%s' does not say '%s'", fgsm_last_error(), word);
}

Test(options, small_fractions_stay_exact) {
  static const struct {
    const char *text;
    int64_t num, den, levels;
  } cases[] = {{"8/255", 8, 255, 8},
               {"0.1", 1, 10, 25},
               {"2", 2, 1, 510},
               {"0.30", 3, 10, 76},
               {"16/510", 8, 255, 8},
               {"1e-3", 1, 1000, 0},
               {"0", 0, 1, 0},
               {"0/255", 0, 1, 0},
               {".5", 1, 2, 127},
               {"1.", 1, 1, 255},
               {"0.5/255", 1, 510, 0},
               {"2E+1", 20, 1, 5100},
               {"1.50000000000000000000", 3, 2, 382}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct fg_ratio r;
    cr_assert_eq(fg_ratio_parse(cases[i].text, &r), FGSM_OK, "%s: %s", cases[i].text,
                 fgsm_last_error());
    cr_expect_eq(r.num, cases[i].num, "%s: num %lld", cases[i].text, (long long)r.num);
    cr_expect_eq(r.den, cases[i].den, "%s: den %lld", cases[i].text, (long long)r.den);
    cr_expect_eq(r.value, (double)cases[i].num / (double)cases[i].den);
    cr_expect_str_eq(r.text, cases[i].text);
    cr_expect_eq(fg_ratio_levels(&r), cases[i].levels, "%s: %lld levels", cases[i].text,
                 (long long)fg_ratio_levels(&r));
  }
}

Test(options, other_decimals_keep_their_value) {
  struct fg_ratio r;
  cr_assert_eq(fg_ratio_parse("0.12345678901234567890123", &r), FGSM_OK);
  cr_expect_eq(r.den, 0);
  cr_expect(fabs(r.value - 0.12345678901234568) < 1e-16);
  cr_expect_eq(fg_ratio_levels(&r), 31);
}

Test(options, what_is_no_number_is_refused) {
  static const char *const cases[] = {"",       "-1",
                                      "+1",     "abc",
                                      "0x10",   "inf",
                                      "nan",    "1/0",
                                      "1/",     "/255",
                                      "1/2/3",  "1 ",
                                      " 1",     "1e",
                                      "1e+",    ".",
                                      "1..2",   "1,5",
                                      "1e99",   "1e999999",
                                      "8/255a", "0.0000000000000000000000000000000000001"};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct fg_ratio r = {.num = 77};
    cr_expect_eq(fg_ratio_parse(cases[i], &r), FGSM_USAGE, "'%s' was taken", cases[i]);
    cr_expect_eq(r.num, 77, "'%s' changed the result", cases[i]);
  }
}

Test(options, eps_is_a_number_a_list_or_a_map) {
  fgsm_options *o = fresh();
  cr_expect_eq(o->n_eps, 0);
  expect_set(o, "eps", "1/255,2/255,0.5");
  cr_assert_eq(o->n_eps, 3);
  cr_expect_eq(o->eps[1].num, 2);
  cr_expect_str_eq(o->eps[2].text, "0.5");
  expect_refused(o, "eps", "1/255,,2/255", "not a number");
  expect_refused(o, "eps", "1/255,", "not a number");
  expect_refused(o, "eps", "0.1,1/10", "twice");
  cr_expect_eq(o->n_eps, 3, "a refused value changed the option");
  char many[1024] = "0";
  for (int i = 1; i <= FG_MAX_EPS; i++)
    snprintf(many + strlen(many), sizeof many - strlen(many), ",%d", i);
  expect_refused(o, "eps", many, "more than 64");
  expect_set(o, "eps", "maps/eps.npy");
  cr_expect_str_eq(o->eps_map, "maps/eps.npy");
  cr_expect_eq(o->n_eps, 1);
  expect_set(o, "eps", "0.25");
  cr_expect_null(o->eps_map);
  cr_expect_eq(o->eps[0].value, 0.25);
  fgsm_options_destroy(o);
}

Test(options, every_row_is_documented_and_settable) {
  static const struct {
    const char *name, *value;
  } cases[] = {{"attack", "pgd"},
               {"eps", "8/255"},
               {"loss", "margin"},
               {"functional", "1,-0.5,0"},
               {"norm", "l2"},
               {"alpha", "2/255"},
               {"steps", "20"},
               {"restarts", "5"},
               {"decay", "0.9"},
               {"target", "least-likely"},
               {"mask", "mask.npy"},
               {"input", "x"},
               {"feed", "mask=mask.npy"},
               {"output", "logits"},
               {"loss-parity", "torch"},
               {"keep-softmax", "true"},
               {"seed", "7"},
               {"fail-under", "0.5"},
               {"method", "rs-fgsm"},
               {"arch", "mlp:300,100"},
               {"clean-share", "0.25"},
               {"replays", "4"},
               {"harden", "0.4,0.75"},
               {"beta", "3"},
               {"grad-align", "0.5"},
               {"gradient-penalty", "0.1"},
               {"label-smoothing", "0.1"},
               {"smoothing", "others"},
               {"spectral-norm", "1.5"},
               {"epochs", "12"},
               {"optimizer", "adamw"},
               {"lr", "0.005"},
               {"lr-schedule", "cosine"},
               {"lr-peak", "0.4"},
               {"lr-warmup", "0.05"},
               {"momentum", "0.8"},
               {"nesterov", "true"},
               {"weight-decay", "1e-4"},
               {"decay-matrices", "true"},
               {"clip-norm", "2"},
               {"ema", "0.999"},
               {"craft-norms", "frozen"},
               {"init", "he"},
               {"augment", "crop-flip"},
               {"validation", "500"},
               {"eval-steps", "20"},
               {"watch", "50"},
               {"on-overfit", "rollback"},
               {"report", "train.html"},
               {"log", "train.jsonl"},
               {"checkpoint", "robust.checkpoint"},
               {"resume", "true"},
               {"labels", "predicted"},
               {"mean", "0.485,0.456,0.406"},
               {"std", "0.229,0.224,0.225"},
               {"scale", "255"},
               {"clip", "-1,1"},
               {"data-layout", "nhwc"},
               {"start", "10"},
               {"limit", "100"},
               {"out", "adv.npy"},
               {"out-type", "f32"},
               {"dot", "model.dot"},
               {"plot", "unicode"},
               {"width", "120"},
               {"color", "never"},
               {"csv", "true"},
               {"runs", "20"},
               {"seconds", "0.5"},
               {"json", "true"},
               {"quiet", "true"},
               {"device", "cuda:1"},
               {"precision", "bf16"},
               {"exact", "true"},
               {"no-verify", "true"},
               {"batch", "128"},
               {"max-memory", "1.5G"},
               {"threads", "4"}};
  const fgsm_option_info *row;
  fgsm_options *o = fresh();
  for (size_t i = 0; (row = fgsm_option_at(i)); i++) {
    size_t c = 0, n = sizeof cases / sizeof *cases;
    while (c < n && strcmp(cases[c].name, row->name) != 0)
      c++;
    cr_expect(c < n || strcmp(row->name, "config") == 0, "no case for option %s", row->name);
    cr_expect(row->help[0] && row->help[strlen(row->help) - 1] == '.', "%s: help", row->name);
    cr_expect(row->group[0] && row->commands[0], "%s: group or commands", row->name);
    if (c == n)
      continue;
    expect_set(o, row->name, cases[c].value);
    cr_expect_str_eq(fgsm_options_get(o, row->name), cases[c].value);
  }
  cr_expect_str_eq(o->attack, "pgd");
  cr_expect_eq(o->alpha.num, 2);
  cr_expect_eq(o->steps, 20);
  cr_expect_eq(o->decay, 0.9);
  cr_expect(o->keep_softmax && o->json && o->quiet);
  cr_expect_eq(o->seed, 7);
  cr_expect_eq(o->n_mean, 3);
  cr_expect_eq(o->mean[2], 0.406);
  cr_expect_eq(o->std[0], 0.229);
  cr_expect_eq(o->clip_lo, -1);
  cr_expect_eq(o->clip_hi, 1);
  cr_expect_eq(o->start, 10);
  cr_expect_eq(o->limit, 100);
  cr_expect_eq(o->batch, 128);
  cr_expect(o->batch_given);
  cr_expect_eq(o->max_memory, 3LL << 29);
  cr_expect_eq(o->threads, 4);
  cr_expect_eq(o->fail_under, 0.5);
  cr_expect_str_eq(o->device, "cuda:1");
  cr_expect_str_eq(o->method, "rs-fgsm");
  cr_expect_eq(o->epochs, 12);
  cr_expect_eq(o->lr, 0.005);
  cr_expect_eq(o->lr_peak, 0.4);
  cr_expect_eq(o->weight_decay, 1e-4);
  cr_expect(o->nesterov && o->decay_matrices);
  cr_expect_eq(o->validation, 500);
  fgsm_options_destroy(o);
}

Test(options, defaults_are_what_the_table_says) {
  fgsm_options *o = fresh();
  cr_expect_str_eq(o->attack, fgsm_options_get(o, "attack"));
  cr_expect_str_eq(o->loss, fgsm_options_get(o, "loss"));
  cr_expect_str_eq(o->device, fgsm_options_get(o, "device"));
  cr_expect_str_eq(o->precision, fgsm_options_get(o, "precision"));
  cr_expect_str_eq(o->data_layout, fgsm_options_get(o, "data-layout"));
  cr_expect_eq(o->batch, atoi(fgsm_options_get(o, "batch")));
  cr_expect_eq(o->scale.value, 1);
  cr_expect(!o->clip_none && o->clip_lo == 0 && o->clip_hi == 1);
  cr_expect_null(fgsm_options_get(o, "eps"));
  cr_expect_null(fgsm_options_get(o, "no-such-option"));
  fgsm_options_destroy(o);
}

Test(options, the_choices_of_attack_are_the_attack_table) {
  const fgsm_option_info *row = fgsm_option_at(0);
  cr_assert_str_eq(row->name, "attack");
  fgsm_options *o = fresh();
  int n = 1;
  for (const char *c = row->choices; *c; c++)
    n += *c == '|';
  for (int i = 0; fg_attack_at(i); i++, n--)
    expect_set(o, "attack", fg_attack_at(i)->name);
  cr_expect_eq(n, 0, "the option offers %d attacks too many", n);
  fgsm_options_destroy(o);
}

Test(options, nonsense_is_refused_with_the_reason) {
  fgsm_options *o = fresh();
  char long_text[5000];
  memset(long_text, 'x', sizeof long_text - 1);
  long_text[sizeof long_text - 1] = 0;
  expect_refused(o, "epz", "1", "did you mean 'eps'");
  expect_refused(o, "sed", "1", "did you mean 'seed'");
  expect_refused(o, "zzzzzzzz", "1", "unknown option");
  expect_refused(o, long_text, "1", "unknown option");
  expect_refused(o, "", "1", "unknown option");
  expect_refused(o, "attack", "foo", "fgsm|");
  expect_refused(o, "attack", "fg", "none of");
  expect_refused(o, "out", "", "empty");
  expect_refused(o, "out", long_text, "longer");
  expect_refused(o, "out", NULL, "needs a value");
  expect_refused(o, "steps", "0", "1 to");
  expect_refused(o, "steps", "99999999999999999999", "whole number");
  expect_refused(o, "batch", "0", "1 to 65536");
  expect_refused(o, "batch", "65537", "1 to 65536");
  expect_refused(o, "batch", "4,8,4", "twice");
  expect_refused(o, "batch", "4,", "whole number");
  expect_refused(o, "width", "39", "40 to");
  expect_refused(o, "seconds", "0", "above 0");
  expect_refused(o, "limit", "-5", "whole number");
  expect_refused(o, "seed", "9223372036854775808", "whole number");
  expect_refused(o, "std", "0.2,0", "above 0");
  expect_refused(o, "mean", "0.1,x", "not a number");
  expect_refused(o, "mean", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "more than 16");
  expect_refused(o, "functional", "1,,2", "not a number");
  expect_refused(o, "functional", "1,two", "not a number");
  expect_refused(o, "clip", "1,0", "LO,HI");
  expect_refused(o, "harden", "0.5,0.4", "growing");
  expect_refused(o, "harden", "0.5,1.5", "growing");
  expect_refused(o, "harden", "0.1,0.2,0.3,0.4,0.5", "more than 4");
  expect_refused(o, "clip", "1", "LO,HI");
  expect_refused(o, "alpha", "0", "above 0");
  const char *const not_sizes[] = {"",      "G", "1X",    "2GiBs", "-1G",
                                   "1000K", "0", "1e30G", "2 G",   "nan"};
  for (size_t i = 0; i < sizeof not_sizes / sizeof *not_sizes; i++)
    expect_refused(o, "max-memory", not_sizes[i],
                   i == 5 || i == 6 ? "less than a megabyte" : "amount of memory");
  const struct {
    const char *text;
    int64_t bytes;
  } sizes[] = {{"1M", 1 << 20},   {"1024k", 1 << 20},   {"2G", 2LL << 30},    {"2GiB", 2LL << 30},
               {"1T", 1LL << 40}, {"2097152", 2 << 20}, {"2097152B", 2 << 20}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    expect_set(o, "max-memory", sizes[i].text);
    cr_expect_eq(o->max_memory, sizes[i].bytes, "%s", sizes[i].text);
  }
  expect_refused(o, "fail-under", "35", "0.35");
  expect_refused(o, "json", "yes", "neither true nor false");
  expect_refused(o, "device", "cuda:x", "whole number");
  expect_refused(o, "device", "tpu", "none of");
  cr_expect(o->batch == 64 && o->n_batches == 1);
  expect_set(o, "batch", "4,8");
  cr_expect(o->batch == 4 && o->n_batches == 2 && o->batches[1] == 8);
  expect_set(o, "batch", "auto");
  cr_expect(o->batch_auto && !o->batch_given && o->batch == 64 && o->n_batches == 1);
  expect_set(o, "batch", "8");
  cr_expect(!o->batch_auto && o->batch_given && o->batch == 8);
  expect_set(o, "dot", NULL);
  cr_expect_str_eq(o->dot, "-");
  expect_set(o, "clip", "none");
  cr_expect(o->clip_none);
  expect_set(o, "json", NULL);
  cr_expect(o->json);
  expect_set(o, "json", "false");
  cr_expect(!o->json);
  expect_set(o, "seed", "9223372036854775807");
  fgsm_options_destroy(o);
}

/* ---- files of options */

static char path[] = "/tmp/fgsm-options-XXXXXX";

static void write_file(const char *text, size_t n) {
  int fd = mkstemp(path);
  cr_assert(fd >= 0);
  cr_assert_eq(write(fd, text, n), (ssize_t)n);
  close(fd);
}

static fgsm_status read_text(fgsm_options *o, const char *text) {
  strcpy(path, "/tmp/fgsm-options-XXXXXX");
  write_file(text, strlen(text));
  fgsm_status status = fgsm_options_read(o, path);
  unlink(path);
  return status;
}

Test(options, a_file_sets_options) {
  fgsm_options *o = fresh();
  cr_expect_eq(read_text(o, "# a comment\n\n  eps = 8/255  # the budget\r\nattack=pgd\n"
                            "out = a#b.npy\n\tquiet = true\njson\nbatch = 32"),
               FGSM_OK, "%s", fgsm_last_error());
  cr_expect_eq(o->eps[0].num, 8);
  cr_expect_str_eq(o->attack, "pgd");
  cr_expect_str_eq(o->out, "a#b.npy");
  cr_expect(o->quiet && o->json);
  cr_expect_eq(o->batch, 32);
  fgsm_options_destroy(o);
}

Test(options, a_bad_line_is_named) {
  static const struct {
    const char *text, *words;
  } cases[] = {{"eps = 0.1\n\nbatch = x\n", ":3: option 'batch'"},
               {"epz = 1\n", ":1: unknown option 'epz'; did you mean 'eps'"},
               {"eps 8/255\n", ":1: unknown option"},
               {"# fine\n= 3\n", ":2: unknown option"},
               {"--eps = 1\n", "without the dashes"},
               {"config = other\n", "cannot name another"},
               {"eps\n", "needs a value"}};
  fgsm_options *o = fresh();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    cr_expect_eq(read_text(o, cases[i].text), FGSM_USAGE, "case %zu was taken", i);
    cr_expect(strstr(fgsm_last_error(), cases[i].words), "case %zu: '%s'", i, fgsm_last_error());
    cr_expect(strstr(fgsm_last_error(), path), "case %zu does not name the file", i);
  }
  fgsm_options_destroy(o);
}

Test(options, what_is_no_file_of_options_is_refused) {
  fgsm_options *o = fresh();
  cr_expect_eq(fgsm_options_read(o, "/nonexistent/options"), FGSM_IO);
  cr_expect_eq(fgsm_options_read(o, "/tmp"), FGSM_IO);
  cr_expect_eq(fgsm_options_read(o, "/dev/zero"), FGSM_USAGE);
  write_file("eps = 0.1\0\n", 11);
  cr_expect_eq(fgsm_options_read(o, path), FGSM_USAGE);
  unlink(path);
  fgsm_options_destroy(o);
}

Test(options, feeds_are_a_list_of_names_and_files) {
  fgsm_options *o = NULL;
  struct fg_feed_text text;
  cr_assert(fgsm_options_create(&o) == FGSM_OK);
  cr_assert(fgsm_options_set(o, "feed", "mask=a.npy,in=put=b=c.npy") == FGSM_OK);
  const char *list = o->feed;
  cr_assert(fg_feed_next(&list, &text) && text.n_name == 4 && text.n_path == 5);
  cr_expect(strncmp(text.name, "mask", 4) == 0 && strncmp(text.path, "a.npy", 5) == 0);
  cr_assert(fg_feed_next(&list, &text) && text.n_name == 2 && text.n_path == 11);
  cr_expect(strncmp(text.path, "put=b=c.npy", 11) == 0 && !fg_feed_next(&list, &text));
  static const char *const bad[] = {"", "x", "=a.npy", "x=", "x=a.npy,,y=b.npy", "x,y=b.npy"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    cr_expect(fgsm_options_set(o, "feed", bad[i]) == FGSM_USAGE, "'%s' was taken", bad[i]);
  cr_expect_str_eq(o->feed, "mask=a.npy,in=put=b=c.npy");
  fgsm_options_destroy(o);
}
