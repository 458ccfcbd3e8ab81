/* What a job counts: every rate over its own denominator, and records that read back. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "job.h"

/* label attacked, clean and adversarial prediction, losses, gradient, zero share, linf, l2, flags,
 * least eps */
static const fgsm_result results[] = {
    {1, 1, 2, 0.1f, 2.0f, 1, 0, 0.10f, 1, 0, 0},
    {1, 1, 1, 0.1f, 0.2f, 1, 0, 0.10f, 1, FGSM_FLAG_ZERO_GRADIENT, 0},
    {3, 4, 5, 1.0f, 2.0f, 1, 0, 0.20f, 1, 0, 0}, /* wrong before: no success */
    {2, 2, 2, NAN, 0.5f, 1, 0, 0.00f, 0, FGSM_FLAG_NONFINITE | FGSM_FLAG_OFF_LATTICE, 0},
};
static const int64_t labels[] = {1, 1, 3, 2};

Test(tally, untargeted_success_is_over_the_clean_correct) {
  struct fg_tally t = {0};
  fg_tally_add(&t, false, 4, labels, results);
  cr_expect_eq(t.samples, 4);
  cr_expect_eq(t.clean_correct, 3);
  cr_expect_eq(t.adversarial_correct, 2);
  cr_expect_eq(t.candidates, 3);
  cr_expect_eq(t.successes, 1);
  cr_expect_eq(t.changed, 2);
  cr_expect_eq(t.zero_gradient, 1);
  cr_expect_eq(t.nonfinite, 1);
  cr_expect_eq(t.off_lattice, 1);
  cr_expect_eq(t.finite_losses, 3);
  cr_expect_float_eq(t.clean_loss_sum, 1.2, 1e-6);
  cr_expect_float_eq(t.linf_max, 0.2, 1e-6);
}

Test(tally, targeted_success_is_reaching_the_target) {
  static const fgsm_result towards[] = {
      {7, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0}, /* reached */
      {7, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0}, /* wrong now, but not the target */
      {7, 7, 7, 0, 0, 0, 0, 0, 0, 0, 0}, /* was the target: no candidate */
  };
  static const int64_t truth[] = {1, 1, 7};
  struct fg_tally t = {0};
  fg_tally_add(&t, true, 3, truth, towards);
  cr_expect_eq(t.clean_correct, 3);
  cr_expect_eq(t.candidates, 2);
  cr_expect_eq(t.successes, 1);
  cr_expect_eq(t.adversarial_correct, 1);
}

Test(tally, without_labels_the_clean_prediction_stands_for_one) {
  static const int64_t none[] = {-1, -1, -1, -1};
  struct fg_tally t = {0};
  fg_tally_add(&t, false, 4, none, results);
  cr_expect_eq(t.clean_correct, 4);
  cr_expect_eq(t.adversarial_correct, 2);
}

Test(tally, a_rate_over_nothing_is_null) {
  struct fg_tally t = {.samples = 2};
  json_t *object = json_object();
  cr_assert(fg_tally_report(&t, object));
  cr_expect(json_is_null(json_object_get(object, "success_rate")));
  cr_expect(json_is_null(json_object_get(object, "mean_loss_clean")));
  cr_expect_eq(json_real_value(json_object_get(object, "clean_accuracy")), 0);
  json_t *denominators = fg_tally_denominators(), *count;
  const char *rate;
  json_object_foreach(denominators, rate, count) {
    cr_expect(json_object_get(object, rate), "no rate %s", rate);
    cr_expect(json_is_integer(json_object_get(object, json_string_value(count))), "no count for %s",
              rate);
  }
  json_decref(denominators);
  json_decref(object);
}

Test(tally, records_read_back_exactly) {
  static const int64_t index[] = {10, 11, 12, 13};
  struct fg_text text = {0};
  fg_records_head(&text, false);
  fg_records_add(&text, 4, index, labels, results, false);
  cr_assert(!text.failed);
  const char *line = strchr(text.data, '\n') + 1;
  cr_expect(strncmp(line, "10,1,1,2,", 9) == 0, "%s", line);
  float loss = strtof(line + 9, NULL);
  cr_expect_eq(loss, results[0].clean_loss);
  cr_expect(strstr(text.data, ",zero-gradient\n"));
  cr_expect(strstr(text.data, "nonfinite|off-lattice\n"));
  fg_text_free(&text);
}

/* A sample whose result was not looked at, and one of which nothing was. */
static const fgsm_result unseen[] = {
    {1, 1, -1, 0.5f, NAN, 1, 0, 0.10f, 1, FGSM_FLAG_UNVERIFIED, 0},
    {1, -1, -1, NAN, NAN, 1, 0, 0.10f, 1, FGSM_FLAG_UNVERIFIED | FGSM_FLAG_CLEAN_UNSEEN, 0}};

static void expect_null(const json_t *object, const char *names, bool null) {
  char name[64];
  for (const char *at = names; *at; at += strcspn(at, " "), at += *at == ' ') {
    snprintf(name, sizeof name, "%.*s", (int)strcspn(at, " "), at);
    const json_t *value = json_object_get(object, name);
    cr_expect(null ? json_is_null(value) : json_is_number(value), "%s", name);
  }
}

Test(tally, what_was_not_looked_at_is_null) {
  static const char of_result[] = "adversarial_correct adversarial_accuracy successes success_rate "
                                  "changed changed_rate mean_loss_adversarial";
  static const char of_clean[] =
      "clean_correct clean_accuracy success_candidates finite_losses mean_loss_clean";
  static const char rest[] = "samples linf_max l2_mean zero_gradient_samples nonfinite_samples";
  for (int i = 0; i < 2; i++) {
    struct fg_tally t = {0};
    json_t *object = json_object();
    fg_tally_add(&t, false, 1, labels, &unseen[i]);
    cr_assert(fg_tally_report(&t, object));
    expect_null(object, of_result, true);
    expect_null(object, of_clean, i == 1);
    expect_null(object, rest, false);
    if (i == 0)
      cr_expect_eq(json_real_value(json_object_get(object, "mean_loss_clean")), 0.5);
    json_decref(object);
  }
}

Test(tally, what_was_not_looked_at_is_an_empty_column) {
  static const int64_t index[] = {4, 5};
  struct fg_text text = {0};
  fg_records_add(&text, 2, index, labels, unseen, false);
  cr_assert(!text.failed);
  cr_expect_str_eq(text.data, "4,1,1,,0.5,,1,0,0.100000001,1,unverified\n"
                              "5,1,,,,,1,0,0.100000001,1,unverified|clean-unseen\n");
  fg_text_free(&text);
}

Test(tally, least_eps_has_quantiles_of_all_samples) {
  static const float least[] = {0, 0.1f, 0.25f, INFINITY};
  fgsm_result found[4] = {0};
  struct fg_tally t = {.minimal_most = 0.5};
  for (int i = 0; i < 4; i++)
    found[i].minimal_eps = least[i];
  fg_tally_add(&t, false, 4, labels, found);
  json_t *object = json_object();
  cr_assert(fg_tally_report(&t, object));
  const json_t *minimal = json_object_get(object, "minimal_eps");
  cr_expect_eq(json_integer_value(json_object_get(minimal, "reached")), 3);
  cr_expect_float_eq(json_real_value(json_object_get(minimal, "median")), 0.1, 1e-9);
  cr_expect_float_eq(json_real_value(json_object_get(minimal, "q75")), 0.25, 1e-9);
  cr_expect_float_eq(json_real_value(json_object_get(minimal, "q05")), 0, 1e-9);
  cr_expect(json_is_null(json_object_get(minimal, "q95")), "one of four is never reached");
  json_decref(object);
}

Test(tally, least_eps_is_a_column_where_it_was_looked_for) {
  static const int64_t index[] = {0};
  static const fgsm_result found[] = {{.label = 1, .minimal_eps = 0.125f}};
  struct fg_text text = {0};
  fg_records_head(&text, true);
  fg_records_add(&text, 1, index, labels, found, true);
  cr_expect(strstr(text.data, ",flags,minimal_eps\n"), "%s", text.data);
  cr_expect(strstr(text.data, ",,0.125\n"), "%s", text.data);
  fg_text_free(&text);
}
