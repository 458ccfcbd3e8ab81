/* Attacks whose steps, or whose search, a backend makes in one call, against the same by passes; and
 * what minimal-eps promises, whichever way it is found. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "arch.h"
#include "attacking.h"

enum { N = 12, FEATURES = 20 };

static struct {
  struct fg_onnx *onnx;
  float floats[N * FEATURES];
  uint8_t bytes[N * FEATURES];
  int64_t labels[N], byte_labels[N];
} world;

static struct setting setting_of(const char *device, const char *words, bool bytes) {
  return (struct setting){.onnx = world.onnx,
                          .device = device,
                          .words = words,
                          .shape = {bytes ? FG_U8 : FG_F32, 1, {FEATURES}},
                          .batch = 5,
                          .n = N,
                          .x = bytes ? (const void *)world.bytes : world.floats,
                          .labels = bytes ? world.byte_labels : world.labels};
}

/* The model's own predictions, but for every fourth sample, which is wrong from the start. */
static void learn_labels(bool bytes, int64_t *labels) {
  struct setting s = setting_of("ref", "attack=fgsm eps=0 labels=predicted", bytes);
  struct outcome o = attack(&s);
  for (int i = 0; i < N; i++) {
    int64_t own = o.results[0][i].clean_prediction;
    labels[i] = i % 4 == 3 ? (own + 1) % o.info.classes : own;
  }
  outcome_free(&o);
}

static void prepare(void) {
  world.onnx = golden_model("mlp");
  fill_floats(world.floats, N * FEATURES, 11);
  fill_bytes(world.bytes, N * FEATURES, 12);
  for (int i = 0; i < N; i++)
    world.labels[i] = world.byte_labels[i] = -1;
  learn_labels(false, world.labels);
  learn_labels(true, world.byte_labels);
}
static void dismiss(void) {
  fg_onnx_close(world.onnx);
}

TestSuite(attack_whole, .init = prepare, .fini = dismiss);

/* Most and mean difference of the adversarial samples. */
static double farthest(const struct outcome *a, const struct outcome *b, int64_t *differ) {
  double most = 0;
  *differ = 0;
  cr_assert_eq(a->bytes, b->bytes);
  for (int64_t i = 0; i < N * a->count; i++) {
    double d = fabs((double)((float *)a->x_adv[0])[i] - (double)((float *)b->x_adv[0])[i]);
    most = fmax(most, d);
    *differ += d > 1e-6;
  }
  return most;
}

/* Momentum that forgets everything is none; but it is not an attack of one call. */
Test(attack_whole, steps_in_one_call_are_the_steps_one_by_one) {
  static const char *const devices[] = {"ref", "cpu"};
  for (int d = 0; d < 2; d++) {
    struct setting whole = setting_of(devices[d], "attack=bim eps=0.1 steps=6", false);
    struct setting apart = setting_of(devices[d], "attack=mi-fgsm decay=0 eps=0.1 steps=6", false);
    struct outcome a = attack(&whole), b = attack(&apart);
    int64_t differ;
    farthest(&a, &b, &differ);
    cr_expect_leq(differ, d ? N * a.count / 500 : 0, "%s: %d values differ", devices[d],
                  (int)differ);
    for (int s = 0; s < N; s++) {
      cr_expect_eq(a.results[0][s].clean_prediction, b.results[0][s].clean_prediction);
      cr_expect_float_eq(a.results[0][s].gradient_l1, b.results[0][s].gradient_l1,
                         1e-4f * fabsf(b.results[0][s].gradient_l1));
      cr_expect_float_eq(a.results[0][s].adversarial_loss, b.results[0][s].adversarial_loss,
                         2e-3f * (1 + fabsf(b.results[0][s].adversarial_loss)));
    }
    outcome_free(&a);
    outcome_free(&b);
  }
}

/* Small dense nets have their samples in an order of their own, some thousand at a time; the rest of a few is gone
 * through one by one. */
Test(attack_whole, samples_do_not_depend_on_their_company) {
  enum { MANY = 2 * 1024 + 37 };
  static float x[MANY * FEATURES];
  static int64_t labels[MANY];
  static const char *const words[] = {"attack=fgsm eps=0.1", "attack=minimal-eps eps=0.5 steps=3"};
  static const int64_t features[] = {FEATURES};
  struct fg_onnx *onnx = NULL;
  cr_assert_eq(fg_arch_create("mlp:30,40,20", 1, features, 3, &onnx), FGSM_OK);
  fill_floats(x, MANY * FEATURES, 13);
  for (int i = 0; i < MANY; i++)
    labels[i] = i % 3;
  for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
    struct setting s = setting_of("cpu", words[w], false);
    s.onnx = onnx;
    s.n = MANY;
    s.x = x;
    s.labels = labels;
    struct outcome few = attack(&s);
    s.batch = MANY;
    struct outcome all = attack(&s);
    cr_expect_arr_eq(all.x_adv[0], few.x_adv[0], sizeof x, "%s", words[w]);
    for (int i = 0; i < MANY; i++) {
      const fgsm_result *a = &all.results[0][i], *b = &few.results[0][i];
      cr_expect(a->clean_prediction == b->clean_prediction && a->clean_loss == b->clean_loss &&
                    a->gradient_l1 == b->gradient_l1 && a->linf == b->linf &&
                    a->adversarial_prediction == b->adversarial_prediction,
                "%s, sample %d", words[w], i);
    }
    outcome_free(&few);
    outcome_free(&all);
  }
  fg_onnx_close(onnx);
}

/* On the oracle the search goes by passes, on the CPU it is one call. */
Test(attack_whole, the_search_in_one_call_finds_what_passes_find) {
  struct setting passes = setting_of("ref", "attack=minimal-eps eps=0.5 steps=12", false);
  struct setting whole = setting_of("cpu", "attack=minimal-eps eps=0.5 steps=12", false);
  struct outcome a = attack(&passes), b = attack(&whole);
  int found = 0;
  for (int s = 0; s < N; s++) {
    double want = a.results[0][s].minimal_eps, got = b.results[0][s].minimal_eps;
    cr_expect(want == got || fabs(want - got) <= 0.5 / 4096 * 1.01, "sample %d: %g and %g", s, want,
              got);
    cr_expect_eq(a.results[0][s].clean_prediction, b.results[0][s].clean_prediction);
    found += isfinite(want) && want > 0;
  }
  cr_expect_geq(found, 3, "only %d samples have a least eps to be found", found);
  outcome_free(&a);
  outcome_free(&b);
}

/* fgsm at the least eps succeeds, and a little below it does not. */
static void expect_least(const char *device, bool bytes) {
  char words[96];
  struct setting s = setting_of(
      device, bytes ? "attack=minimal-eps eps=60/255" : "attack=minimal-eps eps=0.5 steps=14",
      bytes);
  struct outcome least = attack(&s);
  for (int i = 0; i < N; i++) {
    const fgsm_result *r = &least.results[0][i];
    bool reached = r->adversarial_prediction != r->label;
    cr_expect_eq(reached, isfinite(r->minimal_eps), "%s, sample %d", device, i);
    if (isfinite(r->minimal_eps))
      cr_expect_leq(r->linf, r->minimal_eps * (1 + 1e-6f));
    if (r->clean_prediction != r->label) {
      cr_expect_eq(r->minimal_eps, 0);
      cr_expect_eq(r->linf, 0);
      continue;
    }
    double below = isfinite(r->minimal_eps) ? r->minimal_eps : least.info.eps[0];
    if (isfinite(r->minimal_eps))
      below -= bytes ? 1 / 255.0 : 0.5 / (1 << 14);
    if (bytes)
      snprintf(words, sizeof words, "attack=fgsm eps=%d/255", (int)lround(below * 255));
    else
      snprintf(words, sizeof words, "attack=fgsm eps=%.9g", below);
    struct setting before = s;
    before.words = words;
    struct outcome miss = attack(&before);
    cr_expect_eq(miss.results[0][i].adversarial_prediction, r->label,
                 "%s, sample %d: %s suffices, %g was the least", device, i, words,
                 (double)r->minimal_eps);
    outcome_free(&miss);
  }
  outcome_free(&least);
}

Test(attack_whole, the_least_eps_suffices_and_less_does_not) {
  expect_least("ref", false);
  expect_least("cpu", false);
  expect_least("ref", true);
  expect_least("cpu", true);
}

Test(attack_whole, a_search_for_a_target_reaches_it) {
  struct setting s = setting_of("cpu", "attack=minimal-eps eps=0.8 target=least-likely", false);
  struct outcome o = attack(&s);
  for (int i = 0; i < N; i++)
    cr_expect_eq(o.results[0][i].adversarial_prediction == o.results[0][i].label,
                 isfinite(o.results[0][i].minimal_eps), "sample %d", i);
  outcome_free(&o);
}

Test(attack_whole, what_a_search_cannot_mean_is_refused) {
  static const char *const words[] = {
      "attack=minimal-eps eps=0.1,0.2", "attack=minimal-eps eps=0.1 norm=l2",
      "attack=minimal-eps eps=0.1 steps=51", "attack=minimal-eps eps=0.1 restarts=2"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    struct setting s = setting_of("cpu", words[i], false);
    struct fg_attacker *a = NULL;
    cr_expect_eq(try_create(&s, &a), FGSM_USAGE, "%s", words[i]);
    fg_attacker_destroy(a);
  }
}
