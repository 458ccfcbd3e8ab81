/* Every attack against PyTorch: tests/golden/attacks.npz holds what float64 PyTorch, written
 * plainly from each paper's formula (python/reference_attacks.py), makes of the golden nets'
 * batches. The oracle must land on the same floats; the CPU on the same signs. Random starts begin
 * from the noise in the file, put in the place of our own. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacker.h"
#include "attacking.h"

struct net_case {
  const char *name;
  struct fg_sample_shape shape;
};

static const struct net_case nets[] = {{"mlp", {FG_F32, 1, {20}}},
                                       {"conv", {FG_F32, 3, {3, 13, 13}}}};
static const char *const devices[] = {"ref", "cpu"};
enum { N = 3 };

struct expected {
  struct fg_onnx *onnx;
  float *x, *noise;
  int64_t *y, *target;
  int64_t count;
};

static struct expected load(const struct net_case *net) {
  struct expected e = {.onnx = golden_model(net->name)};
  char file[64], member[64];
  int64_t n;
  snprintf(file, sizeof file, "%s.npz", net->name);
  e.x = golden_array(file, "x", FG_F32, &n);
  e.y = golden_array(file, "y", FG_I64, NULL);
  e.count = n / N;
  snprintf(member, sizeof member, "%s_noise", net->name);
  e.noise = golden_array("attacks.npz", member, FG_F32, NULL);
  snprintf(member, sizeof member, "%s_target", net->name);
  e.target = golden_array("attacks.npz", member, FG_I64, NULL);
  return e;
}

static void unload(struct expected *e) {
  fg_onnx_close(e->onnx);
  free(e->x);
  free(e->noise);
  free(e->y);
  free(e->target);
}

/* The oracle: the same floats, but for the last place (ours are rounded toward x). The CPU: the
 * same perturbation, to a thousandth of its largest, in 999 of 1000 places. */
static void compare(const char *what, bool oracle, const struct expected *e, const float *got,
                    const float *want) {
  double apart = 0, longest = 0;
  int64_t same = 0, n = N * e->count;
  for (int64_t i = 0; i < n; i++)
    longest = fmax(longest, fabs((double)want[i] - e->x[i]));
  for (int64_t i = 0; i < n; i++) {
    double d = fabs((double)got[i] - want[i]);
    apart = fmax(apart, d);
    same += d <= 1e-3 * longest;
  }
  cr_expect_gt(longest, 0.01, "%s: the golden moves nothing", what);
  if (oracle)
    cr_expect(apart <= 1.3e-7, "%s: %g apart", what, apart);
  cr_expect_geq((double)same, 0.999 * (double)n, "%s: %lld of %lld alike", what, (long long)same,
                (long long)n);
}

static const struct {
  const char *golden, *words;
} rows[] = {
    {"fgsm", "attack=fgsm eps=0.1"},
    {"fgsm_targeted", "attack=fgsm eps=0.1 target=given"},
    {"bim", "attack=bim eps=0.1"},
    {"pgd_l2", "attack=bim norm=l2 eps=0.5"},
    {"mi_fgsm", "attack=mi-fgsm eps=0.1 alpha=0.01"},
    {"fgm_l2", "attack=fgm eps=0.5"},
    {"fgm_l1", "attack=fgm norm=l1 eps=1"},
    {"fgsm", "attack=fgsm eps=0.1 loss-parity=torch"},
    {"bim", "attack=bim eps=0.1 loss-parity=torch"},
};

Test(attack_golden, attacks_from_the_clean_sample) {
  for (size_t t = 0; t < sizeof nets / sizeof *nets; t++) {
    struct expected e = load(&nets[t]);
    for (int d = 0; d < 2; d++)
      for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        char member[64], what[128];
        snprintf(what, sizeof what, "%s %s on %s", nets[t].name, rows[r].words, devices[d]);
        snprintf(member, sizeof member, "%s_%s", nets[t].name, rows[r].golden);
        float *want = golden_array("attacks.npz", member, FG_F32, NULL);
        strcat(member, "_loss");
        double *loss = golden_array("attacks.npz", member, FG_F64, NULL);
        struct setting s = {.onnx = e.onnx,
                            .device = devices[d],
                            .words = rows[r].words,
                            .shape = nets[t].shape,
                            .batch = N,
                            .n = N,
                            .x = e.x,
                            .labels = e.y,
                            .targets = e.target};
        struct outcome o = attack(&s);
        compare(what, d == 0, &e, o.x_adv[0], want);
        for (int n = 0; n < N; n++)
          cr_expect(fabs(o.results[0][n].adversarial_loss - loss[n]) <= 1e-4 * (1 + fabs(loss[n])),
                    "%s: loss %g, not %g", what, o.results[0][n].adversarial_loss, loss[n]);
        outcome_free(&o);
        free(want);
        free(loss);
      }
    unload(&e);
  }
}

/* Uploads doubles as the device's floats. */
static void upload(struct fg_attacker *a, void *to, const double *values, int64_t n) {
  float *floats = malloc((size_t)n * sizeof *floats);
  cr_assert(floats);
  for (int64_t i = 0; i < n; i++)
    floats[i] = (float)values[i];
  const void *from = a->real == FG_F64 ? (const void *)values : floats;
  cr_assert_eq(fg_upload(a, to, from, (size_t)n * fg_type_size(a->real)), FGSM_OK);
  free(floats);
}

/* The passes of an attack with a random start, from a start that is given: x + radius * noise,
 * inside the box as the reference has it. */
static void climb_from_noise(struct fg_attacker *a, const struct expected *e, double *out) {
  const struct fg_attack_spec *spec = &a->info.spec;
  int64_t n = N * e->count, index[N] = {0, 1, 2};
  int32_t labels[N];
  double *start = malloc((size_t)n * sizeof *start);
  double eps = a->info.eps[0];
  double params[FG_PARAM_COUNT] = {[FG_PARAM_eps] = eps,
                                   [FG_PARAM_alpha] = spec->alpha * eps,
                                   [FG_PARAM_lo] = 0,
                                   [FG_PARAM_hi] = 1};
  struct fg_batch b = {.n = N, .place = index, .x = e->x, .labels = e->y, .index = index};
  cr_assert(start);
  for (int64_t i = 0; i < n; i++)
    start[i] = fmin(fmax(e->x[i] + spec->radius * eps * e->noise[i], 0), 1);
  for (int i = 0; i < N; i++)
    labels[i] = (int32_t)e->y[i];
  cr_assert_eq(fg_samples_load(a, &b), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fg_upload(a, a->wire[FG_WIRE_params], params, sizeof params), FGSM_OK);
  cr_assert_eq(fg_upload(a, a->wire[FG_WIRE_labels], labels, sizeof labels), FGSM_OK);
  upload(a, a->ring[0], start, n);
  for (int step = 0; step < spec->steps; step++)
    cr_assert_eq(fg_pass_run(a, &a->gradient, a->ring[step % 2], a->ring[1 - step % 2]), FGSM_OK,
                 "%s", fgsm_last_error());
  cr_assert_eq(fg_download_reals(a, a->ring[spec->steps % 2], n, out), FGSM_OK);
  free(start);
}

Test(attack_golden, attacks_from_a_random_start) {
  static const char *const kinds[][2] = {{"rs_fgsm", "attack=rs-fgsm eps=0.1"},
                                         {"n_fgsm", "attack=n-fgsm eps=0.1"},
                                         {"pgd", "attack=pgd eps=0.1"}};
  for (size_t t = 0; t < sizeof nets / sizeof *nets; t++) {
    struct expected e = load(&nets[t]);
    double *out = malloc((size_t)(N * e.count) * sizeof *out);
    float *floats = malloc((size_t)(N * e.count) * sizeof *floats);
    cr_assert(out && floats);
    for (int d = 0; d < 2; d++)
      for (int k = 0; k < 3; k++) {
        char member[64], what[128];
        struct fg_attacker *a = NULL;
        struct setting s = {.onnx = e.onnx,
                            .device = devices[d],
                            .words = kinds[k][1],
                            .shape = nets[t].shape,
                            .batch = N};
        snprintf(what, sizeof what, "%s %s on %s", nets[t].name, kinds[k][0], devices[d]);
        snprintf(member, sizeof member, "%s_%s", nets[t].name, kinds[k][0]);
        float *want = golden_array("attacks.npz", member, FG_F32, NULL);
        cr_assert_eq(try_create(&s, &a), FGSM_OK, "%s", fgsm_last_error());
        climb_from_noise(a, &e, out);
        for (int64_t i = 0; i < N * e.count; i++)
          floats[i] = (float)out[i];
        compare(what, d == 0, &e, floats, want);
        fg_attacker_destroy(a);
        free(want);
      }
    free(out);
    free(floats);
    unload(&e);
  }
}
