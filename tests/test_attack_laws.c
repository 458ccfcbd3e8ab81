/* What holds for every attack, whatever the model: the ball, the box, the identity at eps 0, and
 * that a sample's result is its own (not its batch's, order's or thread count's). Each law is tried
 * on the oracle and on the CPU, and each test also demands that something happened at all. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacking.h"

enum { N = 10, C = 3, SIDE = 13, PIXELS = C * SIDE * SIDE, CLASSES = 10 };

static const char *const devices[] = {"ref", "cpu"};
enum { N_DEVICES = 2 };

static const struct fg_sample_shape bytes_shape = {FG_U8, 3, {C, SIDE, SIDE}};
static const struct fg_sample_shape floats_shape = {FG_F32, 3, {C, SIDE, SIDE}};

/* The net, N images of either type, labels. */
static struct {
  struct fg_onnx *onnx;
  uint8_t bytes[N * PIXELS];
  float floats[N * PIXELS];
  int64_t labels[N];
} world;

static void open_world(void) {
  world.onnx = golden_model("conv");
  fill_bytes(world.bytes, N * PIXELS, 1);
  fill_floats(world.floats, N * PIXELS, 2);
  fill_labels(world.labels, N, CLASSES, 3);
}

static void close_world(void) {
  fg_onnx_close(world.onnx);
}

TestSuite(attack_laws, .init = open_world, .fini = close_world);

static struct setting bytes_setting(const char *device, const char *words) {
  return (struct setting){.onnx = world.onnx,
                          .device = device,
                          .words = words,
                          .shape = bytes_shape,
                          .batch = 4,
                          .n = N,
                          .x = world.bytes,
                          .labels = world.labels};
}

static struct setting floats_setting(const char *device, const char *words) {
  struct setting s = bytes_setting(device, words);
  s.shape = floats_shape;
  s.x = world.floats;
  return s;
}

/* Share of equal bytes of two outcomes at eps k. */
static double equal_share(const struct outcome *a, const struct outcome *b, int k) {
  size_t same = 0, size = fg_type_size(a->type);
  const char *p = a->x_adv[k], *q = b->x_adv[k];
  cr_assert_eq(a->bytes, b->bytes);
  for (size_t i = 0; i < a->bytes; i += size)
    same += memcmp(p + i, q + i, size) == 0;
  return (double)(same * size) / (double)a->bytes;
}

/* ---- the ball and the box */

static const struct {
  const char *words;
  double reach; /* of a feature, in eps */
} linf_attacks[] = {{"attack=fgsm", 1},
                    {"attack=rs-fgsm", 1},
                    {"attack=n-fgsm", 3},
                    {"attack=r-fgsm", 1},
                    {"attack=bim", 1},
                    {"attack=bim alpha=0.03 steps=9", 1},
                    {"attack=pgd", 1},
                    {"attack=pgd steps=3 restarts=2", 1},
                    {"attack=mi-fgsm steps=4 decay=0.5", 1},
                    {"attack=noise-sign", 1},
                    {"attack=noise-uniform", 1},
                    {"attack=fgsm target=3", 1},
                    {"attack=fgsm target=least-likely", 1},
                    {"attack=fgsm labels=predicted", 1},
                    {"attack=bim loss=margin steps=5", 1}};

Test(attack_laws, bytes_keep_to_whole_levels_of_eps) {
  for (int d = 0; d < N_DEVICES; d++)
    for (size_t t = 0; t < sizeof linf_attacks / sizeof *linf_attacks; t++) {
      char words[128];
      int most = 0;
      snprintf(words, sizeof words, "%s eps=8/255", linf_attacks[t].words);
      struct setting s = bytes_setting(devices[d], words);
      struct outcome o = attack(&s);
      const uint8_t *q = o.x_adv[0];
      cr_assert_eq(o.type, FG_U8);
      for (int i = 0; i < N * PIXELS; i++)
        most = abs(q[i] - world.bytes[i]) > most ? abs(q[i] - world.bytes[i]) : most;
      cr_expect(most <= 8 * linf_attacks[t].reach && most >= 7, "%s on %s: %d levels", words,
                devices[d], most);
      outcome_free(&o);
    }
}

Test(attack_laws, floats_keep_to_eps_in_real_arithmetic) {
  for (int d = 0; d < N_DEVICES; d++)
    for (size_t t = 0; t < sizeof linf_attacks / sizeof *linf_attacks; t++) {
      char words[128];
      long double most = 0;
      int outside = 0;
      snprintf(words, sizeof words, "%s eps=0.1 clip=0,0.999", linf_attacks[t].words);
      for (int i = 0; i < N * PIXELS; i++)
        world.floats[i] = fminf(world.floats[i], 0.998999f);
      struct setting s = floats_setting(devices[d], words);
      struct outcome o = attack(&s);
      const float *x = o.x_adv[0];
      for (int i = 0; i < N * PIXELS; i++) {
        long double delta = fabsl((long double)x[i] - world.floats[i]);
        most = delta > most ? delta : most;
        outside += !((double)x[i] >= 0 && (double)x[i] <= 0.999);
      }
      cr_expect(most <= 0.1 * linf_attacks[t].reach && most > 0.09, "%s on %s: %.12Lf", words,
                devices[d], most);
      cr_expect_eq(outside, 0, "%s on %s: %d outside of the box", words, devices[d], outside);
      outcome_free(&o);
    }
}

Test(attack_laws, other_norms_keep_to_their_balls) {
  static const struct {
    const char *words;
    int p;
  } rows[] = {{"attack=fgm", 2},
              {"attack=bim norm=l2", 2},
              {"attack=pgd norm=l2", 2},
              {"attack=noise-uniform norm=l2", 2},
              {"attack=fgm norm=l1", 1},
              {"attack=bim norm=l1", 1},
              {"attack=mi-fgsm norm=l2", 2}};
  for (int d = 0; d < N_DEVICES; d++)
    for (size_t t = 0; t < sizeof rows / sizeof *rows; t++) {
      char words[128];
      snprintf(words, sizeof words, "%s eps=0.7", rows[t].words);
      struct setting s = floats_setting(devices[d], words);
      struct outcome o = attack(&s);
      double longest = 0;
      for (int n = 0; n < N; n++) {
        double sum = 0;
        for (int i = n * PIXELS; i < (n + 1) * PIXELS; i++) {
          double delta = fabs((double)((float *)o.x_adv[0])[i] - world.floats[i]);
          sum += rows[t].p == 2 ? delta * delta : delta;
        }
        sum = rows[t].p == 2 ? sqrt(sum) : sum;
        longest = sum > longest ? sum : longest;
      }
      cr_expect(longest <= 0.7 * (1 + 1e-5) && longest > 0.3, "%s on %s: %g", words, devices[d],
                longest);
      outcome_free(&o);
    }
}

Test(attack_laws, fgsm_moves_every_byte_by_eps_or_to_the_edge) {
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = bytes_setting(devices[d], "attack=fgsm eps=8/255");
    struct outcome o = attack(&s);
    int64_t moved = 0, still = 0;
    for (int i = 0; i < N * PIXELS; i++) {
      int x = world.bytes[i], up = x + 8 > 255 ? 255 : x + 8, down = x < 8 ? 0 : x - 8;
      int q = ((uint8_t *)o.x_adv[0])[i];
      moved += q == up || q == down;
      still += q == x && up != x && down != x;
    }
    double zeros = 0;
    for (int n = 0; n < N; n++)
      zeros += o.results[0][n].zero_gradient_share * PIXELS;
    cr_expect_gt(moved, N * PIXELS * 9 / 10);
    cr_expect(moved + still == N * PIXELS && still <= zeros + 1,
              "%s: %lld moved, %lld still, %g zero", devices[d], (long long)moved, (long long)still,
              zeros);
    outcome_free(&o);
  }
}

Test(attack_laws, eps_zero_is_the_identity) {
  static const char *const words[] = {"attack=fgsm eps=0",        "attack=pgd eps=0 steps=2",
                                      "attack=n-fgsm eps=0",      "attack=fgm eps=0",
                                      "attack=noise-sign eps=0",  "attack=pgd eps=0 restarts=2",
                                      "attack=fgsm eps=0.1,0,0.2"};
  static float x[N * PIXELS];
  memcpy(x, world.floats, sizeof x);
  x[5] = -3e-8f; /* what comes of normalising and back: outside of the box by rounding */
  x[6] = 1.0000001f;
  x[7] = -0.0f;
  for (int d = 0; d < N_DEVICES; d++)
    for (size_t t = 0; t < sizeof words / sizeof *words; t++) {
      struct setting s = floats_setting(devices[d], words[t]);
      s.x = x;
      struct outcome o = attack(&s);
      cr_expect_eq(memcmp(o.x_adv[o.n_eps / 2], x, sizeof x), 0, "%s on %s, floats", words[t],
                   devices[d]);
      cr_expect_eq(o.results[o.n_eps / 2][0].linf, 0);
      outcome_free(&o);
      s = bytes_setting(devices[d], words[t]);
      o = attack(&s);
      cr_expect_eq(memcmp(o.x_adv[o.n_eps / 2], world.bytes, sizeof world.bytes), 0,
                   "%s on %s, bytes", words[t], devices[d]);
      outcome_free(&o);
    }
}

/* ---- bytes from floats */

Test(attack_laws, floats_written_as_bytes_are_the_outermost_within_eps) {
  const double eps = 8 / 255.0;
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = floats_setting(devices[d], "attack=fgsm eps=8/255");
    struct outcome real = attack(&s);
    s.words = "attack=fgsm eps=8/255 out-type=u8";
    struct outcome o = attack(&s);
    cr_assert_eq(o.type, FG_U8);
    int far = 0, inner = 0, tried = 0;
    for (int i = 0; i < N * PIXELS; i++) {
      double x = world.floats[i], x_real = ((float *)real.x_adv[0])[i];
      int q = ((uint8_t *)o.x_adv[0])[i], out = x_real > x ? q + 1 : q - 1;
      far += fabs(q / 255.0 - x) > eps + 2e-5 / 255;
      if (fabs(x_real - x) > eps * 0.999) {
        tried++;
        inner += out >= 0 && out <= 255 && fabs(out / 255.0 - x) <= eps - 2e-5 / 255;
      }
    }
    cr_expect(far == 0 && inner == 0 && tried > N * PIXELS / 2, "%s: %d far, %d inner of %d",
              devices[d], far, inner, tried);
    outcome_free(&real);
    outcome_free(&o);
  }
}

Test(attack_laws, floats_on_the_lattice_move_by_whole_levels) {
  static float x[N * PIXELS];
  for (int i = 0; i < N * PIXELS; i++)
    x[i] = (float)world.bytes[i] / 255.0f;
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = bytes_setting(devices[d], "attack=fgsm eps=8/255");
    struct outcome want = attack(&s);
    s = floats_setting(devices[d], "attack=fgsm eps=8/255 out-type=u8");
    s.x = x;
    struct outcome got = attack(&s);
    cr_expect_eq(memcmp(want.x_adv[0], got.x_adv[0], want.bytes), 0, "on %s", devices[d]);
    outcome_free(&want);
    outcome_free(&got);
  }
}

Test(attack_laws, what_no_byte_can_hold_within_eps_is_flagged) {
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = floats_setting(devices[d], "attack=fgsm eps=0.0005 out-type=u8");
    struct outcome o = attack(&s);
    for (int n = 0; n < N; n++)
      cr_expect(o.results[0][n].flags & FGSM_FLAG_OFF_LATTICE, "sample %d on %s", n, devices[d]);
    for (int i = 0; i < N * PIXELS; i++)
      cr_assert(fabs(((uint8_t *)o.x_adv[0])[i] - 255.0 * world.floats[i]) <= 0.5 + 0.1275 + 1e-3);
    outcome_free(&o);
    s.words = "attack=fgsm eps=8/255 out-type=u8";
    o = attack(&s);
    for (int n = 0; n < N; n++)
      cr_expect_not(o.results[0][n].flags & FGSM_FLAG_OFF_LATTICE);
    outcome_free(&o);
  }
}

/* ---- a sample's result is its own */

static const char *const any_attacks[] = {"attack=fgsm eps=4/255",
                                          "attack=rs-fgsm eps=4/255",
                                          "attack=pgd eps=4/255 steps=4",
                                          "attack=mi-fgsm eps=4/255",
                                          "attack=pgd eps=4/255 steps=2 restarts=3",
                                          "attack=fgm eps=0.5"};
enum { N_ANY = sizeof any_attacks / sizeof *any_attacks };

Test(attack_laws, a_batch_of_n_equals_n_batches_of_one) {
  static const int64_t sizes[] = {1, 3, 10, 16};
  for (int d = 0; d < N_DEVICES; d++)
    for (int t = 0; t < N_ANY; t++) {
      struct setting s = bytes_setting(devices[d], any_attacks[t]);
      struct outcome want = attack(&s);
      for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        s.batch = sizes[k];
        struct outcome got = attack(&s);
        double same = equal_share(&want, &got, 0);
        cr_expect(same >= (d ? 0.9999 : 1), "%s on %s, batch %d: %.6f", any_attacks[t], devices[d],
                  (int)sizes[k], same);
        outcome_free(&got);
      }
      outcome_free(&want);
    }
}

Test(attack_laws, permuting_a_batch_permutes_the_result) {
  static const int order[N] = {7, 2, 9, 0, 4, 1, 8, 3, 6, 5};
  static uint8_t x[N * PIXELS];
  int64_t labels[N], index[N];
  for (int n = 0; n < N; n++) {
    memcpy(x + n * PIXELS, world.bytes + order[n] * PIXELS, PIXELS);
    labels[n] = world.labels[order[n]];
    index[n] = order[n];
  }
  for (int d = 0; d < N_DEVICES; d++)
    for (int t = 0; t < N_ANY; t++) {
      struct setting s = bytes_setting(devices[d], any_attacks[t]);
      struct outcome want = attack(&s);
      s.x = x;
      s.labels = labels;
      s.index = index;
      struct outcome got = attack(&s);
      int64_t same = 0;
      for (int n = 0; n < N; n++)
        for (int i = 0; i < PIXELS; i++)
          same += ((uint8_t *)got.x_adv[0])[n * PIXELS + i] ==
                  ((uint8_t *)want.x_adv[0])[order[n] * PIXELS + i];
      cr_expect_geq((double)same, (d ? 0.9999 : 1) * N * PIXELS, "%s on %s", any_attacks[t],
                    devices[d]);
      outcome_free(&want);
      outcome_free(&got);
    }
}

Test(attack_laws, the_same_run_gives_the_same_bits) {
  for (int d = 0; d < N_DEVICES; d++)
    for (int t = 0; t < N_ANY; t++) {
      struct setting s = floats_setting(devices[d], any_attacks[t]);
      struct outcome first = attack(&s), second = attack(&s);
      cr_expect_eq(equal_share(&first, &second, 0), 1, "%s on %s", any_attacks[t], devices[d]);
      cr_expect_eq(memcmp(first.results[0], second.results[0], N * sizeof(fgsm_result)), 0);
      outcome_free(&first);
      outcome_free(&second);
    }
}

Test(attack_laws, noise_depends_on_seed_and_index_alone) {
  static const char *const kinds[] = {"noise-uniform", "noise-sign", "noise-uniform norm=l2"};
  for (int d = 0; d < N_DEVICES; d++)
    for (int t = 0; t < 3; t++) {
      char words[128];
      snprintf(words, sizeof words, "eps=0.05 seed=5 attack=%s threads=1", kinds[t]);
      struct setting s = floats_setting(devices[d], words);
      struct outcome want = attack(&s);
      s.batch = 7;
      snprintf(words, sizeof words, "eps=0.05 seed=5 attack=%s threads=2", kinds[t]);
      struct outcome got = attack(&s);
      cr_expect_eq(equal_share(&want, &got, 0), 1, "%s on %s", words, devices[d]);
      outcome_free(&got);
      /* The last sample alone, under its own number. */
      int64_t last = N - 1;
      s.x = world.floats + last * PIXELS;
      s.labels = world.labels + last;
      s.n = 1;
      s.index = &last;
      got = attack(&s);
      cr_expect_eq(
          memcmp(got.x_adv[0], (float *)want.x_adv[0] + last * PIXELS, PIXELS * sizeof(float)), 0,
          "%s on %s, alone", words, devices[d]);
      outcome_free(&got);
      s.index = NULL; /* the same sample under number 0: other noise */
      got = attack(&s);
      cr_expect_neq(
          memcmp(got.x_adv[0], (float *)want.x_adv[0] + last * PIXELS, PIXELS * sizeof(float)), 0);
      outcome_free(&got);
      s = floats_setting(devices[d], words);
      snprintf(words, sizeof words, "eps=0.05 seed=6 attack=%s", kinds[t]);
      got = attack(&s);
      cr_expect_lt(equal_share(&want, &got, 0), 0.9);
      outcome_free(&got);
      outcome_free(&want);
    }
}

/* ---- maps and masks */

Test(attack_laws, each_feature_keeps_to_its_own_eps) {
  static float map[PIXELS];
  static const char *const kinds[] = {"attack=fgsm", "attack=pgd steps=4", "attack=rs-fgsm",
                                      "attack=noise-sign"};
  for (int i = 0; i < PIXELS; i++)
    map[i] = (float)(i % 5) * 3 / 255.0f;
  struct fg_attack_arrays arrays = {.eps_map = map, .n_eps_map = PIXELS};
  for (int d = 0; d < N_DEVICES; d++)
    for (int t = 0; t < 4; t++) {
      struct setting s = bytes_setting(devices[d], kinds[t]);
      s.arrays = &arrays;
      struct outcome o = attack(&s);
      int most[5] = {0};
      for (int i = 0; i < N * PIXELS; i++) {
        int *m = &most[i % PIXELS % 5], delta = abs(((uint8_t *)o.x_adv[0])[i] - world.bytes[i]);
        *m = delta > *m ? delta : *m;
      }
      for (int j = 0; j < 5; j++)
        cr_expect_eq(most[j], 3 * j, "%s on %s: %d levels, not %d", kinds[t], devices[d], most[j],
                     3 * j);
      cr_expect_float_eq(o.info.eps[0], 12 / 255.0, 1e-12);
      outcome_free(&o);
      s = floats_setting(devices[d], kinds[t]);
      s.arrays = &arrays;
      o = attack(&s);
      for (int i = 0; i < N * PIXELS; i++)
        cr_assert(fabsl((long double)((float *)o.x_adv[0])[i] - world.floats[i]) <= map[i % PIXELS],
                  "%s on %s, floats", kinds[t], devices[d]);
      outcome_free(&o);
    }
}

Test(attack_laws, masked_features_stay) {
  static float mask[PIXELS];
  static const char *const kinds[] = {
      "attack=fgsm eps=8/255",    "attack=pgd eps=8/255 steps=3",   "attack=n-fgsm eps=8/255",
      "attack=mi-fgsm eps=8/255", "attack=noise-uniform eps=8/255", "attack=fgm eps=1",
      "attack=fgm norm=l1 eps=1"};
  for (int i = 0; i < PIXELS; i++)
    mask[i] = i % 3 ? 0 : 1;
  struct fg_attack_arrays arrays = {.mask = mask, .n_mask = PIXELS};
  for (int d = 0; d < N_DEVICES; d++)
    for (int t = 0; t < 7; t++) {
      struct setting s = floats_setting(devices[d], kinds[t]);
      s.arrays = &arrays;
      struct outcome o = attack(&s);
      int changed[2] = {0};
      for (int i = 0; i < N * PIXELS; i++)
        changed[i % PIXELS % 3 == 0] += ((float *)o.x_adv[0])[i] != world.floats[i];
      cr_expect(changed[0] == 0 && changed[1] >= N, "%s on %s: %d masked, %d free changed",
                kinds[t], devices[d], changed[0], changed[1]);
      outcome_free(&o);
    }
}

/* ---- what attacks are for */

Test(attack_laws, losses_rise_untargeted_and_fall_targeted) {
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = floats_setting(devices[d], "attack=bim eps=0.05");
    struct outcome o = attack(&s);
    for (int n = 0; n < N; n++)
      cr_expect_gt(o.results[0][n].adversarial_loss, o.results[0][n].clean_loss, "sample %d", n);
    outcome_free(&o);
    s.words = "attack=bim eps=0.05 target=3";
    o = attack(&s);
    for (int n = 0; n < N; n++) {
      cr_expect_lt(o.results[0][n].adversarial_loss, o.results[0][n].clean_loss, "sample %d", n);
      cr_expect_eq(o.results[0][n].label, 3);
    }
    outcome_free(&o);
  }
}

/* A sample that one climb breaks stays as it is; one that stands has more tries. */
Test(attack_laws, restarts_never_make_it_worse) {
  for (int d = 0; d < N_DEVICES; d++) {
    struct setting s = floats_setting(devices[d], "attack=rs-fgsm eps=0.02 labels=predicted");
    struct outcome one = attack(&s);
    s.words = "attack=rs-fgsm eps=0.02 labels=predicted restarts=6";
    struct outcome six = attack(&s);
    int better = 0, standing = 0;
    for (int n = 0; n < N; n++) {
      const fgsm_result *p = &one.results[0][n], *q = &six.results[0][n];
      bool hit1 = p->adversarial_prediction != p->label,
           hit6 = q->adversarial_prediction != q->label;
      standing += !hit1;
      better += hit6 > hit1 || q->adversarial_loss > p->adversarial_loss;
      if (hit1)
        cr_expect_eq(memcmp(p, q, sizeof *p), 0, "sample %d on %s", n, devices[d]);
      else
        cr_expect(hit6 || q->adversarial_loss >= p->adversarial_loss,
                  "sample %d on %s: %g after %g", n, devices[d], q->adversarial_loss,
                  p->adversarial_loss);
    }
    cr_expect(standing > 0 && standing < N && better > standing / 2,
              "%d stand on %s, %d are better", standing, devices[d], better);
    outcome_free(&one);
    outcome_free(&six);
  }
}

Test(attack_laws, a_list_of_eps_equals_runs_of_one) {
  static const char *const kinds[] = {"attack=fgsm", "attack=pgd steps=3", "attack=rs-fgsm",
                                      "attack=noise-sign"};
  static const char *const eps[] = {"2/255", "4/255", "8/255"};
  for (int d = 0; d < N_DEVICES; d++)
    for (int t = 0; t < 4; t++) {
      char words[128];
      snprintf(words, sizeof words, "%s eps=2/255,4/255,8/255", kinds[t]);
      struct setting s = bytes_setting(devices[d], words);
      struct outcome all = attack(&s);
      cr_assert_eq(all.n_eps, 3);
      for (int k = 0; k < 3; k++) {
        snprintf(words, sizeof words, "%s eps=%s", kinds[t], eps[k]);
        struct outcome one = attack(&s);
        int64_t same = 0;
        for (int i = 0; i < N * PIXELS; i++)
          same += ((uint8_t *)all.x_adv[k])[i] == ((uint8_t *)one.x_adv[0])[i];
        cr_expect_geq((double)same, (d ? 0.9999 : 1) * N * PIXELS, "%s on %s", words, devices[d]);
        for (int n = 0; n < N; n++)
          cr_expect_eq(all.results[k][n].clean_prediction, one.results[0][n].clean_prediction);
        outcome_free(&one);
      }
      outcome_free(&all);
    }
}

Test(attack_laws, results_are_of_what_was_written) {
  static const char *const kinds[] = {"attack=fgsm eps=8/255", "attack=pgd eps=8/255 restarts=2"};
  for (int d = 0; d < N_DEVICES; d++)
    for (int t = 0; t < 2; t++) {
      struct setting s = bytes_setting(devices[d], kinds[t]);
      struct outcome o = attack(&s);
      s.x = o.x_adv[0]; /* attacked with nothing: the clean side of this run is that written */
      s.words = "attack=fgsm eps=0";
      struct outcome again = attack(&s);
      for (int n = 0; n < N; n++) {
        const fgsm_result *r = &o.results[0][n], *q = &again.results[0][n];
        double linf = 0, squares = 0;
        for (int i = n * PIXELS; i < (n + 1) * PIXELS; i++) {
          double delta = (((uint8_t *)o.x_adv[0])[i] - world.bytes[i]) / 255.0;
          linf = fabs(delta) > linf ? fabs(delta) : linf;
          squares += delta * delta;
        }
        cr_expect_eq(r->adversarial_prediction, q->clean_prediction);
        cr_expect_float_eq(r->adversarial_loss, q->clean_loss, 1e-5);
        cr_expect_float_eq(r->linf, linf, 1e-8);
        cr_expect_float_eq(r->l2, sqrt(squares), 1e-6);
        cr_expect_eq(r->label, world.labels[n]);
      }
      outcome_free(&o);
      outcome_free(&again);
    }
}
