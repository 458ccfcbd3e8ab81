/* Option no-verify: the same bytes and floats are made, and what was not looked at reads as not known:
 * never as zero, and never as what a pass happened to leave. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "attacking.h"
#include "base.h"

enum { N = 7, C = 3, SIDE = 13, PIXELS = C * SIDE * SIDE };

static struct {
  struct fg_onnx *onnx;
  uint8_t bytes[N * PIXELS];
  float floats[N * PIXELS];
  int64_t labels[N];
} world;

static void prepare(void) {
  world.onnx = golden_model("conv");
  fill_bytes(world.bytes, N * PIXELS, 3);
  fill_floats(world.floats, N * PIXELS, 4);
  fill_labels(world.labels, N, 10, 5);
}
static void dismiss(void) {
  fg_onnx_close(world.onnx);
}

TestSuite(generation, .init = prepare, .fini = dismiss);

static struct setting setting_of(const char *device, const char *words, bool bytes) {
  return (struct setting){.onnx = world.onnx,
                          .device = device,
                          .words = words,
                          .shape = {bytes ? FG_U8 : FG_F32, 3, {C, SIDE, SIDE}},
                          .batch = 4, /* the last one is padded */
                          .n = N,
                          .x = bytes ? (const void *)world.bytes : world.floats,
                          .labels = world.labels};
}

static void expect_unknown(const fgsm_result *r, const fgsm_result *verified, bool seen,
                           const char *what) {
  uint32_t unknown = FGSM_FLAG_UNVERIFIED | (seen ? 0 : FGSM_FLAG_CLEAN_UNSEEN);
  cr_expect_eq(r->flags, verified->flags | unknown, "%s: flags %x", what, r->flags);
  cr_expect_eq(r->adversarial_prediction, -1, "%s", what);
  cr_expect(isnan(r->adversarial_loss), "%s", what);
  cr_expect_eq(r->clean_prediction, seen ? verified->clean_prediction : -1, "%s", what);
  cr_expect(seen ? r->clean_loss == verified->clean_loss : isnan(r->clean_loss), "%s: %g", what,
            (double)r->clean_loss);
  cr_expect_eq(r->label, verified->label, "%s", what);
  cr_expect_eq(r->gradient_l1, verified->gradient_l1, "%s", what);
  cr_expect_eq(r->zero_gradient_share, verified->zero_gradient_share, "%s", what);
  cr_expect_eq(r->linf, verified->linf, "%s", what);
  cr_expect_eq(r->l2, verified->l2, "%s", what);
}

/* Attacks with and without; `seen`: the clean samples are looked at even so. */
static void expect_same(const char *device, const char *words, bool bytes, bool seen) {
  char alone[160], what[200];
  snprintf(alone, sizeof alone, "%s no-verify", words);
  snprintf(what, sizeof what, "%s of %s on %s", words, bytes ? "bytes" : "floats", device);
  struct setting with = setting_of(device, words, bytes),
                 without = setting_of(device, alone, bytes);
  struct outcome a = attack(&with), b = attack(&without);
  cr_assert_eq(a.bytes, b.bytes);
  cr_expect(a.info.verifies && a.info.sees_clean && !b.info.verifies, "%s", what);
  cr_expect_eq(b.info.sees_clean, seen, "%s", what);
  for (int k = 0; k < a.n_eps; k++) {
    cr_expect_arr_eq(a.x_adv[k], b.x_adv[k], a.bytes, "%s", what);
    for (int s = 0; s < N; s++) {
      cr_expect(a.results[k][s].flags < FGSM_FLAG_UNVERIFIED);
      expect_unknown(&b.results[k][s], &a.results[k][s], seen, what);
    }
  }
  outcome_free(&a);
  outcome_free(&b);
}

Test(generation, makes_the_same_and_knows_less) {
  static const struct {
    const char *words;
    bool seen;
  } cases[] = {{"eps=0.1", true},
               {"eps=0,0.05,0.1", true},
               {"attack=fgm eps=1", true},
               {"attack=bim steps=3 eps=0.1", true},
               {"attack=mi-fgsm steps=3 eps=0.1 loss=margin", true},
               {"attack=rs-fgsm eps=0.1", false},
               {"attack=n-fgsm eps=0.1,0.05", false},
               {"attack=r-fgsm eps=0.1", false},
               {"attack=pgd steps=2 eps=0.1", false},
               {"attack=noise-sign eps=0.1", false},
               {"attack=noise-uniform eps=0.1", false},
               {"eps=0.1 labels=predicted", true},
               {"attack=rs-fgsm eps=0.1 labels=predicted", true},
               {"attack=rs-fgsm eps=0.1 target=least-likely", true}};
  static const char *const types[] = {"", " out-type=u8", " out-type=f32"};
  char words[120];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int t = 0; t < 3; t++) {
      snprintf(words, sizeof words, "%s%s", cases[i].words, types[t]);
      for (int bytes = 0; bytes < 2; bytes++) {
        expect_same("ref", words, bytes, cases[i].seen);
        expect_same("cpu", words, bytes, cases[i].seen);
      }
    }
}

/* No plan is made for a look that nobody takes, and its memory is not taken. */
Test(generation, plans_no_look) {
  struct setting with = setting_of("cpu", "eps=0.1 attack=noise-sign", true), without = with;
  without.words = "eps=0.1 attack=noise-sign no-verify";
  struct outcome a = attack(&with), b = attack(&without);
  cr_expect_gt(a.info.evaluate.n_calls, 0);
  cr_expect_eq(b.info.evaluate.n_calls, 0);
  cr_expect_lt(b.info.memory_bytes, a.info.memory_bytes);
  cr_expect_eq(b.info.classes, a.info.classes);
  outcome_free(&a);
  outcome_free(&b);
}

/* Labels are checked even where no pass reads them. */
Test(generation, wrong_labels_are_refused) {
  struct setting s = setting_of("cpu", "eps=0.1 attack=noise-sign no-verify", true);
  struct outcome o;
  world.labels[3] = 10;
  cr_expect_eq(try_attack(&s, &o), FGSM_DATA);
  s.words = "eps=0.1 target=10 attack=noise-sign no-verify";
  cr_expect_eq(try_attack(&s, &o), FGSM_USAGE);
}

Test(generation, attacks_that_go_by_looks_are_refused) {
  static const char *const words[] = {"no-verify attack=minimal-eps eps=0.1",
                                      "no-verify attack=pgd restarts=2 eps=0.1"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    struct setting s = setting_of("cpu", words[i], false);
    struct fg_attacker *a = NULL;
    cr_expect_eq(try_create(&s, &a), FGSM_USAGE, "%s", words[i]);
    cr_expect(strstr(fgsm_last_error(), "no-verify"), "%s", fgsm_last_error());
    fg_attacker_destroy(a);
  }
}
