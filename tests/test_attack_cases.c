/* Single cases: gradients that vanish or break, labels and targets, shapes that must be adapted,
 * models that are fixed, odd or not attackable, and every refusal with its words. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacking.h"
#include "tiny_onnx.h"

static const char *const devices[] = {"ref", "cpu"};
enum { N_DEVICES = 2 };

/* x [N, 4] -> 3 logits, by a product with W; the tests' plainest model. */
static const float plain_weight[12] = {0.5f,  -1,    0.25f, 1,     0.5f,   -0.75f,
                                       -0.5f, 0.25f, 1,     0.75f, -0.25f, 0.5f};
static const struct tiny plain = {
    .rank = 2, .dim = {-1, 4}, .n_in = 4, .n_out = 3, .weight = plain_weight};
static const struct fg_sample_shape four = {FG_F32, 1, {4}};
static const float x3[12] = {0.5f, 0.25f, 0.75f, 0.125f, 0.3f, 0.6f,
                             0.9f, 0.2f,  0.7f,  0.1f,   0.4f, 0.8f};
static const int64_t y3[3] = {0, 1, 2};

static struct setting setting(const struct fg_onnx *onnx, const char *device, const char *words) {
  return (struct setting){.onnx = onnx,
                          .device = device,
                          .words = words,
                          .shape = four,
                          .batch = 3,
                          .n = 3,
                          .x = x3,
                          .labels = y3};
}

/* ---- gradients that vanish or break */

/* Logits so far apart that a softmax in float32 or float64 is exactly 0 and 1. */
Test(attack_cases, a_saturated_sample_is_attacked_and_with_parity_flagged) {
  float steep[12];
  for (int i = 0; i < 12; i++)
    steep[i] = plain_weight[i] * 1e5f;
  struct tiny tiny = plain;
  tiny.weight = steep;
  struct fg_onnx *onnx = tiny_onnx(&tiny);
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = setting(onnx, devices[d], "attack=fgsm eps=0.25 labels=predicted");
    struct outcome o = attack(&s);
    for (int n = 0; n < 3; n++) {
      cr_expect_eq(o.results[0][n].flags, 0, "sample %d on %s", n, devices[d]);
      cr_expect_eq(o.results[0][n].zero_gradient_share, 0);
      cr_expect_eq(o.results[0][n].clean_loss, 0);
      /* The loss's own gradient is reported, which is zero here. */
      cr_expect_eq(o.results[0][n].gradient_l1, 0);
    }
    const float *x = o.x_adv[0];
    for (int i = 0; i < 12; i++)
      cr_expect_neq(x[i], x3[i]);
    outcome_free(&o);
    s.words = "attack=fgsm eps=0.25 labels=predicted loss-parity=torch";
    o = attack(&s);
    for (int n = 0; n < 3; n++) {
      cr_expect_eq(o.results[0][n].flags, FGSM_FLAG_ZERO_GRADIENT, "sample %d on %s", n,
                   devices[d]);
      cr_expect_eq(o.results[0][n].zero_gradient_share, 1);
    }
    cr_expect_eq(memcmp(o.x_adv[0], x3, sizeof x3), 0, "on %s", devices[d]);
    outcome_free(&o);
  }
  fg_onnx_close(onnx);
}

/* |dL/dx| of the loss itself, by hand: W (p - onehot). */
Test(attack_cases, the_gradient_reported_is_the_losss_own) {
  struct fg_onnx *onnx = tiny_onnx(&plain);
  static const char *const words[] = {"attack=fgsm eps=0.1",
                                      "attack=fgsm eps=0.1 loss-parity=torch",
                                      "attack=fgsm eps=0.1,0.2", "attack=fgsm eps=0.1 target=2"};
  for (int d = 0; d < N_DEVICES; d++)
    for (int t = 0; t < 4; t++) {
      struct setting s = setting(onnx, devices[d], words[t]);
      struct outcome o = attack(&s);
      for (int n = 0; n < 3; n++) {
        double z[3] = {0}, sum = 0, l1 = 0;
        for (int j = 0; j < 3; j++) {
          for (int i = 0; i < 4; i++)
            z[j] += (double)x3[n * 4 + i] * plain_weight[i * 3 + j];
          sum += exp(z[j]);
        }
        for (int i = 0; i < 4; i++) {
          double g = 0;
          for (int j = 0; j < 3; j++)
            g += plain_weight[i * 3 + j] * (exp(z[j]) / sum - (j == o.results[0][n].label));
          l1 += fabs(g);
        }
        cr_expect_float_eq(o.results[0][n].gradient_l1, l1, 1e-5, "%s on %s: %g, not %g", words[t],
                           devices[d], o.results[0][n].gradient_l1, l1);
        cr_expect_float_eq(o.results[0][n].clean_loss, log(sum) - z[o.results[0][n].label], 1e-5);
      }
      outcome_free(&o);
    }
  fg_onnx_close(onnx);
}

/* Of a linear model the gradient of a linear functional is known, and the same for every label. */
Test(attack_cases, a_linear_functional_is_raised_and_targeted_lowered) {
  static const double c[3] = {1, -2, 0.5};
  struct fg_onnx *onnx = tiny_onnx(&plain);
  for (int d = 0; d < N_DEVICES; d++)
    for (int t = 0; t < 2; t++) {
      struct setting s = setting(onnx, devices[d],
                                 t ? "attack=fgsm eps=0.1 loss=linear functional=1,-2,0.5 target=1"
                                   : "attack=fgsm eps=0.1 loss=linear functional=1,-2,0.5");
      struct outcome o = attack(&s);
      const float *x = o.x_adv[0];
      for (int n = 0; n < 3; n++) {
        double before = 0, after = 0;
        for (int i = 0; i < 4; i++) {
          double g = 0;
          for (int j = 0; j < 3; j++)
            g += c[j] * plain_weight[i * 3 + j];
          double moved = x3[n * 4 + i] + (t ? -0.1 : 0.1) * (g > 0 ? 1 : -1);
          cr_expect_float_eq(x[n * 4 + i], fmin(fmax(moved, 0), 1), 1e-6, "%s: x'[%d] is %g",
                             s.words, n * 4 + i, x[n * 4 + i]);
          before += g * x3[n * 4 + i];
          after += g * x[n * 4 + i];
        }
        cr_expect_float_eq(o.results[0][n].clean_loss, before, 1e-5);
        cr_expect_float_eq(o.results[0][n].adversarial_loss, after, 1e-5);
      }
      outcome_free(&o);
    }
  fg_onnx_close(onnx);
}

/* sqrt has an infinite slope at 0: sample 1 holds a 0, the others do not. */
Test(attack_cases, a_broken_gradient_leaves_its_sample_alone) {
  struct tiny tiny = plain;
  tiny.front = "Sqrt";
  struct fg_onnx *onnx = tiny_onnx(&tiny);
  float x[12];
  memcpy(x, x3, sizeof x);
  x[6] = 0;
  static const char *const words[] = {
      "attack=fgsm eps=0.05", "attack=bim eps=0.05 steps=3", "attack=mi-fgsm eps=0.05",
      "attack=fgm eps=0.05",  "attack=fgsm eps=0.05,0.1",    "attack=fgsm eps=0.05 out-type=u8"};
  for (int d = 0; d < N_DEVICES; d++)
    for (int t = 0; t < 6; t++) {
      struct setting s = setting(onnx, devices[d], words[t]);
      s.x = x;
      struct outcome o = attack(&s);
      for (int k = 0; k < o.n_eps; k++)
        for (int n = 0; n < 3; n++) {
          bool flagged = o.results[k][n].flags & FGSM_FLAG_NONFINITE;
          cr_expect_eq(flagged, n == 1, "%s on %s, sample %d", words[t], devices[d], n);
          if (o.type == FG_F32)
            cr_expect_eq(memcmp((float *)o.x_adv[k] + 4 * n, x + 4 * n, 4 * sizeof *x) == 0, n == 1,
                         "%s on %s, sample %d", words[t], devices[d], n);
          else
            for (int i = 0; i < 4; i++)
              cr_expect(n != 1 ||
                        ((uint8_t *)o.x_adv[k])[4 + i] == floor(255 * (double)x[4 + i] + 0.5));
        }
      outcome_free(&o);
    }
  fg_onnx_close(onnx);
}

/* A climb that is thrown back half-way: the first step reaches 0, where the slope is infinite, and
 * the third leaves the clean sample again. */
Test(attack_cases, a_gradient_that_breaks_later_leaves_its_sample_alone_too) {
  struct tiny tiny = plain;
  tiny.front = "Sqrt";
  struct fg_onnx *onnx = tiny_onnx(&tiny);
  float x[12];
  memcpy(x, x3, sizeof x);
  for (int i = 4; i < 8; i++)
    x[i] = 0.03f;
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = setting(onnx, devices[d], "attack=bim eps=0.05 alpha=0.05 steps=3");
    s.x = x;
    struct outcome o = attack(&s);
    for (int n = 0; n < 3; n++) {
      const float *got = (const float *)o.x_adv[0] + 4 * n;
      cr_expect_eq(o.results[0][n].flags, n == 1 ? FGSM_FLAG_NONFINITE : 0, "sample %d", n);
      cr_expect_eq(memcmp(got, x + 4 * n, 4 * sizeof *x) == 0, n == 1, "sample %d on %s", n,
                   devices[d]);
    }
    outcome_free(&o);
  }
  fg_onnx_close(onnx);
}

/* Weights that are no numbers: the first climb is flagged, and what is flagged is what it was. */
Test(attack_cases, what_is_flagged_is_unperturbed_and_not_climbed_again) {
  float weight[12];
  memcpy(weight, plain_weight, sizeof weight);
  weight[4] = NAN;
  struct tiny tiny = plain;
  tiny.weight = weight;
  struct fg_onnx *onnx = tiny_onnx(&tiny);
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = setting(onnx, devices[d], "attack=pgd eps=0.1 steps=2 restarts=3");
    struct outcome o = attack(&s);
    for (int n = 0; n < 3; n++) {
      cr_expect(o.results[0][n].flags & FGSM_FLAG_NONFINITE, "sample %d on %s", n, devices[d]);
      cr_expect_eq(o.results[0][n].clean_prediction, -1);
      cr_expect(isnan(o.results[0][n].clean_loss));
    }
    cr_expect_eq(memcmp(o.x_adv[0], x3, sizeof x3), 0, "on %s", devices[d]);
    cr_expect_eq(o.climbs, 3, "on %s", devices[d]);
    outcome_free(&o);
  }
  fg_onnx_close(onnx);
}

/* ---- labels and targets */

Test(attack_cases, labels_may_be_the_models_own) {
  struct fg_onnx *onnx = tiny_onnx(&plain);
  static const int64_t none[3] = {-1, -1, -1};
  static const char *const kinds[] = {"attack=fgsm", "attack=rs-fgsm", "attack=noise-sign"};
  for (int d = 0; d < N_DEVICES; d++)
    for (int t = 0; t < 3; t++) {
      char words[64];
      snprintf(words, sizeof words, "%s eps=0.1 labels=predicted", kinds[t]);
      struct setting s = setting(onnx, devices[d], words);
      s.labels = none;
      struct outcome o = attack(&s);
      for (int n = 0; n < 3; n++) {
        const fgsm_result *r = &o.results[0][n];
        cr_expect_eq(r->label, r->clean_prediction, "%s", words);
        cr_expect(isfinite(r->clean_loss) && r->clean_loss <= logf(3));
      }
      outcome_free(&o);
    }
  fg_onnx_close(onnx);
}

Test(attack_cases, least_likely_is_the_smallest_logit_of_each_sample) {
  struct fg_onnx *onnx = tiny_onnx(&plain);
  static const float x[12] = {[0] = 1, [5] = 1, [10] = 1}; /* the logits are the weight's rows */
  static const int64_t least[3] = {1, 2, 0};
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = setting(onnx, devices[d], "attack=rs-fgsm eps=0.1 target=least-likely");
    s.x = x;
    struct outcome o = attack(&s);
    for (int n = 0; n < 3; n++)
      cr_expect_eq(o.results[0][n].label, least[n], "sample %d on %s", n, devices[d]);
    outcome_free(&o);
  }
  fg_onnx_close(onnx);
}

static void expect_words(fgsm_status got, fgsm_status want, const char *words, const char *what) {
  cr_expect(got == want && strstr(fgsm_last_error(), words), "%s: %s \"%s\", not %s \"...%s...\"",
            what, fgsm_status_name(got), fgsm_last_error(), fgsm_status_name(want), words);
}

Test(attack_cases, bad_labels_and_values_name_their_sample) {
  struct fg_onnx *onnx = tiny_onnx(&plain);
  static const int64_t index[3] = {70, 71, 72};
  float x[12];
  struct outcome o;
  struct setting s = setting(onnx, "ref", "attack=fgsm eps=0.1");
  s.index = index;
  s.labels = (const int64_t[]){0, 3, 1};
  expect_words(try_attack(&s, &o), FGSM_DATA, "sample 71 has label 3", "label past the end");
  s.labels = (const int64_t[]){0, 1, -2};
  expect_words(try_attack(&s, &o), FGSM_DATA, "sample 72 has label -2", "negative label");
  s.labels = (const int64_t[]){-1, 1, 2};
  expect_words(try_attack(&s, &o), FGSM_DATA, "sample 70 has no label", "no label");
  s.words = "attack=fgsm eps=0.1 target=file";
  expect_words(try_attack(&s, &o), FGSM_USAGE, "no targets", "targets missing");
  s.targets = (const int64_t[]){0, 1, 3};
  expect_words(try_attack(&s, &o), FGSM_DATA, "sample 72 has target 3", "target past the end");
  s = setting(onnx, "ref", "attack=fgsm eps=0.1");
  s.index = index;
  s.x = x;
  memcpy(x, x3, sizeof x);
  x[5] = 1.001f;
  expect_words(try_attack(&s, &o), FGSM_DATA, "sample 71 holds 1.001", "above the box");
  expect_words(FGSM_DATA, FGSM_DATA, "--clip LO,HI or --clip none, or --mean", "advice");
  x[5] = 1.0000005f; /* within the tolerance */
  cr_expect_eq(try_attack(&s, &o), FGSM_OK, "%s", fgsm_last_error());
  outcome_free(&o);
  x[5] = 1.001f;
  s.words = "attack=fgsm eps=0.1 clip=none";
  cr_expect_eq(try_attack(&s, &o), FGSM_OK, "%s", fgsm_last_error());
  cr_expect_float_eq(o.results[0][1].linf, 0.1, 1e-6);
  outcome_free(&o);
  x[5] = NAN;
  expect_words(try_attack(&s, &o), FGSM_DATA, "sample 71 holds", "NaN");
  x[5] = INFINITY;
  expect_words(try_attack(&s, &o), FGSM_DATA, "sample 71 holds", "infinity");
  fg_onnx_close(onnx);
}

Test(attack_cases, an_interrupt_stops_a_run) {
  struct fg_onnx *onnx = tiny_onnx(&plain);
  struct setting s = setting(onnx, "ref", "attack=fgsm eps=0.1");
  struct fg_attacker *a = NULL;
  float x[12];
  fgsm_result results[3];
  cr_assert_eq(try_create(&s, &a), FGSM_OK);
  fgsm_interrupt();
  cr_expect_eq(fg_attacker_run(a, 3, x3, y3, NULL, y3, (void *[]){x}, (fgsm_result *[]){results}),
               FGSM_INTERRUPTED);
  fgsm_interrupt_clear();
  cr_expect_eq(fg_attacker_run(a, 3, x3, y3, NULL, y3, (void *[]){x}, (fgsm_result *[]){results}),
               FGSM_OK);
  cr_expect_eq(
      fg_attacker_run(a, 3, x3, y3, NULL, y3, (void *[]){NULL}, (fgsm_result *[]){results}),
      FGSM_OK);
  fg_attacker_destroy(a);
  fg_onnx_close(onnx);
}

/* ---- the model's front and tail */

/* What the model [N, 4] of `plain` makes of x3, against what `tiny` makes of the data of `shape`.
 */
static void expect_same_attack(const struct tiny *tiny, struct fg_sample_shape shape,
                               const char *words, const char *note) {
  struct fg_onnx *a = tiny_onnx(&plain), *b = tiny_onnx(tiny);
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = setting(a, devices[d], "attack=fgsm eps=0.1");
    struct outcome want = attack(&s);
    s = setting(b, devices[d], words);
    s.shape = shape;
    struct outcome got = attack(&s);
    cr_expect_eq(memcmp(want.x_adv[0], got.x_adv[0], want.bytes), 0, "%s on %s", words, devices[d]);
    cr_expect(note ? strstr(got.info.notes, note) != NULL : !*got.info.notes, "note \"%s\"",
              got.info.notes);
    outcome_free(&want);
    outcome_free(&got);
  }
  fg_onnx_close(a);
  fg_onnx_close(b);
}

Test(attack_cases, shapes_that_hold_the_same_are_adapted) {
  const char *eps = "attack=fgsm eps=0.1";
  struct tiny image = plain, fixed = plain, open = plain;
  image.rank = 4;
  memcpy(image.dim, (int64_t[]){-1, 1, 2, 2}, 4 * sizeof(int64_t));
  expect_same_attack(&image, (struct fg_sample_shape){FG_F32, 2, {2, 2}}, eps, "[2,2]");
  expect_same_attack(&image, (struct fg_sample_shape){FG_F32, 3, {1, 2, 2}}, eps, NULL);
  expect_same_attack(&image, (struct fg_sample_shape){FG_F32, 3, {2, 2, 1}}, eps, "[2,2,1]");
  expect_same_attack(&image, four, eps, "[4]");
  expect_same_attack(&plain, (struct fg_sample_shape){FG_F32, 2, {2, 2}}, eps, "[2,2]");
  open.rank = 4;
  memcpy(open.dim, (int64_t[]){-1, 1, -1, -1}, 4 * sizeof(int64_t));
  expect_same_attack(&open, (struct fg_sample_shape){FG_F32, 2, {2, 2}}, eps, "[2,2]");
  fixed.dim[0] = 2; /* three samples in batches of two */
  expect_same_attack(&fixed, four, eps, "fixes its batch at 2");
}

/* A model of [2,H,W] images, its data stored [H,W,2] and the reverse: a transposed attack. */
static void expect_transposed(const int64_t model[3], const int64_t data[3], const char *layout) {
  enum { H = 2, W = 3, CH = 4, COUNT = H * W * CH };
  static float weight[COUNT * 3], x[2][COUNT * 2];
  for (int i = 0; i < COUNT * 3; i++)
    weight[i] = (float)((i * 7) % 11 - 5) / 8;
  struct tiny tiny = {.rank = 4,
                      .dim = {-1, model[0], model[1], model[2]},
                      .n_in = COUNT,
                      .n_out = 3,
                      .weight = weight};
  bool to_chw = data[2] == CH;
  fill_floats(x[0], COUNT * 2, 9);
  for (int n = 0; n < 2; n++) /* x[1] is x[0], from the data's order to the model's */
    for (int c = 0; c < CH; c++)
      for (int p = 0; p < H * W; p++) {
        int hwc = n * COUNT + p * CH + c, chw = n * COUNT + c * H * W + p;
        x[1][to_chw ? chw : hwc] = x[0][to_chw ? hwc : chw];
      }
  struct fg_onnx *onnx = tiny_onnx(&tiny);
  char words[96];
  snprintf(words, sizeof words, "attack=fgsm eps=0.1 mean=0.1,0.2,0.3,0.4 std=0.5,1,2,3 %s",
           layout);
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = {.onnx = onnx,
                        .device = devices[d],
                        .words = words,
                        .shape = {FG_F32, 3, {model[0], model[1], model[2]}},
                        .batch = 2,
                        .n = 2,
                        .x = x[1],
                        .labels = y3};
    struct setting t = s;
    memcpy(t.shape.dim, data, 3 * sizeof *data);
    t.x = x[0];
    s.words = "attack=fgsm eps=0.1 mean=0.1,0.2,0.3,0.4 std=0.5,1,2,3";
    struct outcome want = attack(&s), got = attack(&t);
    const float *p = want.x_adv[0], *q = got.x_adv[0];
    int differ = 0;
    for (int n = 0; n < 2; n++)
      for (int c = 0; c < CH; c++)
        for (int k = 0; k < H * W; k++) {
          int hwc = n * COUNT + k * CH + c, chw = n * COUNT + c * H * W + k;
          differ += p[to_chw ? chw : hwc] != q[to_chw ? hwc : chw];
        }
    cr_expect_eq(differ, 0, "%s on %s: %d differ", layout, devices[d], differ);
    cr_expect(strstr(got.info.notes, "transposed"), "note \"%s\"", got.info.notes);
    outcome_free(&want);
    outcome_free(&got);
  }
  fg_onnx_close(onnx);
}

Test(attack_cases, channels_last_and_first_are_transposed) {
  expect_transposed((int64_t[]){4, 2, 3}, (int64_t[]){2, 3, 4}, "");
  expect_transposed((int64_t[]){2, 3, 4}, (int64_t[]){4, 2, 3}, "");
  expect_transposed((int64_t[]){4, 2, 3}, (int64_t[]){2, 3, 4}, "data-layout=nhwc");
  expect_transposed((int64_t[]){2, 3, 4}, (int64_t[]){4, 2, 3}, "data-layout=nchw");
}

/* (x scale - mean) / std in the graph, against the weights that do the same. */
Test(attack_cases, normalisation_is_part_of_the_model) {
  static const float mean[4] = {0.5f, 0.25f, 0.125f, 0}, std[4] = {0.5f, 2, 4, 1};
  float weight[12];
  for (int i = 0; i < 12; i++)
    weight[i] = plain_weight[i] * 2 / std[i / 3];
  struct tiny scaled = plain;
  scaled.weight = weight;
  struct fg_onnx *a = tiny_onnx(&scaled), *b = tiny_onnx(&plain);
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s =
        setting(b, devices[d], "attack=fgm eps=0.1 scale=2 mean=0.5,0.25,0.125,0 std=0.5,2,4,1");
    struct outcome o = attack(&s);
    for (int n = 0; n < 3; n++) { /* the loss tells whether the shift is there */
      double z[3] = {0}, sum = 0;
      for (int i = 0; i < 12; i++)
        z[i % 3] += (2 * (double)x3[n * 4 + i / 3] - mean[i / 3]) / std[i / 3] * plain_weight[i];
      for (int j = 0; j < 3; j++)
        sum += exp(z[j]);
      cr_expect_float_eq(o.results[0][n].clean_loss, log(sum) - z[y3[n]], 1e-5, "on %s",
                         devices[d]);
    }
    outcome_free(&o);
    s.words = "attack=fgsm eps=0.1 scale=2 std=0.5,2,4,1";
    struct outcome got = attack(&s);
    s.onnx = a;
    s.words = "attack=fgsm eps=0.1";
    struct outcome want = attack(&s);
    cr_expect_eq(memcmp(want.x_adv[0], got.x_adv[0], want.bytes), 0, "on %s", devices[d]);
    outcome_free(&got);
    outcome_free(&want);
  }
  fg_onnx_close(a);
  fg_onnx_close(b);
}

Test(attack_cases, a_final_softmax_is_stripped_unless_kept) {
  struct tiny soft = plain;
  soft.tail = "Softmax";
  struct fg_onnx *onnx = tiny_onnx(&soft), *bare = tiny_onnx(&plain);
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = setting(bare, devices[d], "attack=fgsm eps=0.1");
    struct outcome want = attack(&s);
    s.onnx = onnx;
    struct outcome got = attack(&s);
    cr_expect_float_eq(got.results[0][0].clean_loss, want.results[0][0].clean_loss, 1e-6);
    cr_expect(strstr(got.info.notes, "softmax"), "note \"%s\"", got.info.notes);
    outcome_free(&got);
    s.words = "attack=fgsm eps=0.1 keep-softmax";
    got = attack(&s);
    cr_expect(fabsf(got.results[0][0].clean_loss - want.results[0][0].clean_loss) > 1e-3f);
    cr_expect_str_eq(got.info.notes, "");
    outcome_free(&got);
    outcome_free(&want);
  }
  fg_onnx_close(onnx);
  fg_onnx_close(bare);
}

/* ---- refusals */

static const struct {
  const char *words;
  fgsm_status status;
  const char *says;
} refusals[] = {
    {"eps=0.1 attack=fgsm alpha=0.1 norm=l1", FGSM_OK, ""},
    {"eps=0.1 attack=mi-fgsm norm=l1", FGSM_OK, ""},
    {"attack=fgsm", FGSM_USAGE, "--eps is missing"},
    {"eps=0.1 attack=noise-sign alpha=0.1", FGSM_USAGE, "noise takes no steps"},
    {"eps=0.1 attack=noise-uniform steps=2", FGSM_USAGE, "noise takes no steps"},
    {"eps=0.1 attack=fgsm steps=2", FGSM_USAGE, "use bim, pgd"},
    {"eps=0.1 attack=pgd decay=1", FGSM_USAGE, "use mi-fgsm"},
    {"eps=0.1 attack=bim restarts=2", FGSM_USAGE, "without a random start"},
    {"eps=0.1 attack=pgd norm=l1", FGSM_USAGE, "not defined for --norm l1"},
    {"eps=0.1 attack=r-fgsm norm=l2", FGSM_USAGE, "needs --norm linf"},
    {"eps=0.1 attack=noise-sign norm=l2", FGSM_USAGE, "needs --norm linf"},
    {"eps=0.1 loss=margin loss-parity=torch", FGSM_USAGE, "--loss ce"},
    {"eps=0.1 loss=linear functional=1,-1,0", FGSM_OK, ""},
    {"eps=0.1 loss=linear", FGSM_USAGE, "needs --functional"},
    {"eps=0.1 loss=margin functional=1,-1,0", FGSM_USAGE, "for --loss linear alone"},
    {"eps=0.1 loss=linear functional=1,-1", FGSM_USAGE, "2 factors where the model has 3 logits"},
    {"eps=0.1 labels=predicted target=1", FGSM_USAGE, "--labels predicted"},
    {"eps=0.1 target=3", FGSM_USAGE, "3 classes"},
    {"eps=0.1 target=99999999999999999999", FGSM_USAGE, "no such class"},
    {"eps=0.1 precision=bf16", FGSM_USAGE, "use fp32"},
    {"eps=0.1 device=cuda:200", FGSM_DEVICE, "cuda"},
    {"eps=0.1 mean=0.1,0.2", FGSM_USAGE, "--mean has 2 values"},
    {"eps=0.1 std=1,1,1", FGSM_USAGE, "--std has 3 values"},
    {"eps=0.1 out-type=u8 clip=-1,1", FGSM_USAGE, "--out-type u8"},
    {"eps=0.1 out-type=u8 clip=0.1001,0.1002", FGSM_USAGE, "no value that can be written"},
    {"eps=0.1 seed=9007199254740992", FGSM_USAGE, "2^53"},
    {"eps=0.1 data-layout=nhwc", FGSM_USAGE, "not 3"},
};

Test(attack_cases, what_makes_no_sense_is_refused_in_words) {
  struct fg_onnx *onnx = tiny_onnx(&plain);
  for (size_t t = 0; t < sizeof refusals / sizeof *refusals; t++) {
    struct fg_attacker *a = NULL;
    struct setting s = setting(onnx, "ref", refusals[t].words);
    fgsm_status status = try_create(&s, &a);
    if (refusals[t].status == FGSM_OK)
      cr_expect_eq(status, FGSM_OK, "%s: %s", refusals[t].words, fgsm_last_error());
    else
      expect_words(status, refusals[t].status, refusals[t].says, refusals[t].words);
    fg_attacker_destroy(a);
  }
  fg_onnx_close(onnx);
}

static void expect_refused(const struct setting *s, fgsm_status status, const char *says) {
  struct fg_attacker *a = NULL;
  expect_words(try_create(s, &a), status, says, s->words);
  fg_attacker_destroy(a);
}

Test(attack_cases, bytes_and_arrays_have_their_own_refusals) {
  struct fg_onnx *onnx = tiny_onnx(&plain);
  float map[4] = {0.1f, 0.2f, 0.3f, 2};
  struct fg_attack_arrays arrays = {.eps_map = map, .n_eps_map = 4};
  struct setting s = setting(onnx, "ref", "attack=fgsm eps=8");
  s.shape.type = FG_U8;
  expect_refused(&s, FGSM_USAGE, "for bytes write 8/255");
  s.words = "attack=fgsm eps=0.1 clip=0,255";
  expect_refused(&s, FGSM_USAGE, "within 0,1");
  s.words = "attack=fgsm";
  s.arrays = &arrays;
  expect_refused(&s, FGSM_USAGE, "divide the map by 255");
  map[3] = -1;
  expect_refused(&s, FGSM_USAGE, "value 3 is -1");
  map[3] = NAN;
  expect_refused(&s, FGSM_USAGE, "value 3");
  map[3] = 0;
  s.words = "attack=fgsm eps=0.1,0.2";
  expect_refused(&s, FGSM_USAGE, "exclude each other");
  s.words = "attack=fgm";
  expect_refused(&s, FGSM_USAGE, "needs --norm linf");
  arrays.n_eps_map = 3;
  expect_refused(&s, FGSM_USAGE, "holds 3 values");
  arrays = (struct fg_attack_arrays){.mask = map, .n_mask = 5};
  s.words = "attack=fgsm eps=0.1";
  expect_refused(&s, FGSM_USAGE, "--mask holds 5 values");
  arrays = (struct fg_attack_arrays){.eps_map = map, .n_eps_map = 4};
  s.shape.type = FG_F32;
  s.words = "attack=fgsm out-type=u8";
  expect_refused(&s, FGSM_USAGE, "write f32");
  fg_onnx_close(onnx);
}

Test(attack_cases, models_that_cannot_be_attacked_are_refused_in_words) {
  struct tiny one = plain, identity = {.rank = 2,
                                       .dim = {-1, 4},
                                       .n_out = 4,
                                       .front = NULL,
                                       .tail = "Identity",
                                       .bare = true};
  one.n_out = 1;
  struct fg_onnx *onnx = tiny_onnx(&one);
  struct setting s = setting(onnx, "ref", "attack=fgsm eps=0.1");
  expect_refused(&s, FGSM_UNSUPPORTED, "one number per sample");
  fg_onnx_close(onnx);
  s.onnx = onnx = tiny_onnx(&identity);
  struct fg_attacker *a = NULL;
  fgsm_status status = try_create(&s, &a); /* refused or attacked, but never by accident */
  cr_expect(status == FGSM_OK || strstr(fgsm_last_error(), "computes nothing"), "%s",
            fgsm_last_error());
  fg_attacker_destroy(a);
  fg_onnx_close(onnx);
  s.onnx = onnx = golden_model("two_inputs");
  expect_refused(&s, FGSM_USAGE, "2 inputs ('");
  fg_onnx_close(onnx);
  s.onnx = onnx = tiny_onnx(&plain);
  s.shape.dim[0] = 5;
  expect_refused(&s, FGSM_USAGE, "a sample is [5]");
  s.shape = (struct fg_sample_shape){FG_F32, 0, {0}};
  expect_refused(&s, FGSM_USAGE, "no elements");
  fg_onnx_close(onnx);
}
