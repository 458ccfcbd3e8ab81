/* Agreement of gradients: the counts on numbers chosen by hand, and the measurement between backends
 * of which one is coarse, or turns every gradient round. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "agree.h"
#include "attacker.h"
#include "attacking.h"
#include "base.h"

Test(agreement, counts_signs_and_weighs_them_sample_by_sample) {
  /* A sign lost in a tiny component, a zero for a number, NaN; a sample without signs. */
  static const double exact[] = {4, -3, 1, 0, /**/ 100, -100, 200, 0, /**/ 0, 0, 0, 0};
  static const double got[] = {9, -1, -1, 0, /**/ 0, -1, NAN, 1, /**/ 1, 1, 1, 1};
  struct fg_agreement a = {.with = "fp32"};
  fg_agreement_of(3, 4, got, exact, &a);
  cr_expect_eq(a.samples, 2);
  cr_expect_eq(a.skipped, 1);
  cr_expect_float_eq(a.signs, 4.0 / 8, 1e-15);
  cr_expect_float_eq(a.weighted, (7.0 / 8 + 100.0 / 400) / 2, 1e-15);
  cr_expect_str_eq(a.with, "fp32");
}

Test(agreement, infinities_have_signs_but_no_exact_gradient_holds_one) {
  static const double exact[] = {1, -2, INFINITY, 1}, got[] = {INFINITY, -INFINITY, 1, 1};
  struct fg_agreement a;
  fg_agreement_of(2, 2, got, exact, &a);
  cr_expect_eq(a.samples, 1);
  cr_expect_eq(a.skipped, 1);
  cr_expect_eq(a.signs, 1);
  cr_expect_eq(a.weighted, 1);
}

/* ---- backends around the cpu's whose results are changed */

static struct fg_backend changed;
static void (*change)(float *y, int64_t n);

static void to_bfloat(float *y, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    y[i] = fg_bfloat_to_float(fg_float_to_bfloat(y[i]));
}

static void turn(float *y, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    y[i] = -y[i];
}

static fgsm_status changed_prepare(struct fg_call *call, struct fg_device *device) {
  return fg_cpu.kernels[call->op]->prepare(call, device);
}

static fgsm_status changed_run(const struct fg_call *call, void *scratch, void *stream) {
  FG_TRY(fg_cpu.kernels[call->op]->run(call, scratch, stream));
  change(call->out[0].data, fg_count(&call->out[0]));
  return FGSM_OK;
}

static void changed_release(struct fg_call *call) {
  if (fg_cpu.kernels[call->op]->release)
    fg_cpu.kernels[call->op]->release(call);
}

static fgsm_status open_on(void *user, struct fg_device **out) {
  const struct fg_backend *backend = user;
  FG_TRY(fg_cpu.open(0, 1, out));
  (*out)->backend = backend;
  return FGSM_OK;
}

static fgsm_status open_oracle(void *user, struct fg_device **out) {
  (void)user;
  return fg_ref.open(0, 1, out);
}

enum { N = 5, BATCH = 2, C = 3, SIDE = 13, PIXELS = C * SIDE * SIDE };

/* The cpu, with the operator's results changed if one is named, against the oracle. */
static fgsm_status measure(const char *words, enum fg_op op, void (*how)(float *, int64_t),
                           struct fg_agreement *out) {
  static const struct fg_kernel kernel = {changed_prepare, changed_run, changed_release};
  struct fg_onnx *onnx = golden_model("conv");
  fgsm_options *options = options_from(words);
  float x[N * PIXELS];
  int64_t labels[N], index[N] = {0, 1, 2, 3, 4};
  fill_floats(x, N * PIXELS, 5);
  fill_labels(labels, N, 10, 6);
  if (strstr(words, "predicted"))
    for (int i = 0; i < N; i++)
      labels[i] = -1;
  changed = fg_cpu;
  change = how;
  if (how)
    changed.kernels[op] = &kernel;
  const struct fg_device_opener on_changed = {open_on, &changed}, on_oracle = {open_oracle, NULL};
  const struct fg_agreement_way way = {options, &on_changed, NULL, NULL},
                                exact = {options, &on_oracle, "fp32", NULL};
  const struct fg_sample_shape shape = {FG_F32, 3, {C, SIDE, SIDE}};
  fgsm_status status =
      fg_agreement_measure(onnx, &way, &exact, &shape, NULL, BATCH, N, x, labels, NULL, index, out);
  fgsm_options_destroy(options);
  fg_onnx_close(onnx);
  return status;
}

static struct fg_agreement agreement(const char *words, enum fg_op op,
                                     void (*how)(float *, int64_t)) {
  struct fg_agreement a;
  cr_assert_eq(measure(words, op, how, &a), FGSM_OK, "%s", fgsm_last_error());
  return a;
}

Test(agreement, float32_agrees_with_the_oracle_whatever_the_attack) {
  static const char *const words[] = {"eps=0.1",
                                      "eps=0.1,0.2",
                                      "eps=0.1 attack=pgd steps=3",
                                      "eps=1 attack=fgm norm=l2",
                                      "eps=0.1 attack=minimal-eps",
                                      "eps=0.1 attack=mi-fgsm",
                                      "eps=0.1 target=least-likely",
                                      "eps=0.1 labels=predicted"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    struct fg_agreement a = agreement(words[i], FG_OP_COUNT, NULL);
    cr_expect_eq(a.samples, N, "%s", words[i]);
    cr_expect_str_eq(a.with, "fp32");
    cr_expect_gt(a.signs, 0.999, "%s: %g", words[i], a.signs);
    cr_expect_gt(a.weighted, 0.9999, "%s: %g", words[i], a.weighted);
  }
}

Test(agreement, what_is_coarse_loses_signs_but_few_that_weigh) {
  struct fg_agreement a = agreement("eps=0.1", FG_OP_conv, to_bfloat);
  cr_expect_lt(a.signs, 1);
  cr_expect_gt(a.signs, 0.9);
  cr_expect_gt(a.weighted, a.signs);
}

Test(agreement, a_gradient_turned_round_agrees_in_its_zeros_alone) {
  struct fg_agreement a = agreement("eps=0.1", FG_OP_loss, turn);
  cr_expect_lt(a.signs, 0.05, "%g", a.signs);
  cr_expect_eq(a.weighted, 0);
}

Test(agreement, an_attack_without_a_gradient_has_none) {
  struct fg_agreement a = agreement("eps=0.1 attack=noise-sign", FG_OP_COUNT, NULL);
  cr_expect_eq(a.samples, 0);
  cr_expect_str_eq(a.with, "");
}

Test(agreement, what_cannot_be_attacked_is_refused_as_the_attack_would) {
  struct fg_agreement a;
  cr_expect_eq(measure("eps=0.1 target=12", FG_OP_COUNT, NULL, &a), FGSM_USAGE);
  cr_expect(strstr(fgsm_last_error(), "--target 12"), "%s", fgsm_last_error());
}

/* ---- how much is compared */

static struct fg_agreement generated(int64_t batch) {
  struct fg_onnx *onnx = golden_model("conv");
  fgsm_options *options = options_from("eps=0.1 device=cpu threads=1");
  const struct fg_device_choice choice = {.backend = &fg_cpu, .n = 1};
  const struct fg_attack_arrays arrays = {.n_feeds = 0};
  struct fg_agreement a;
  cr_assert_eq(fg_agree_generated(onnx, options, &choice, &arrays, batch, batch, &a), FGSM_OK, "%s",
               fgsm_last_error());
  cr_assert_str_empty(a.why);
  fgsm_options_destroy(options);
  fg_onnx_close(onnx);
  return a;
}

/* Of as many samples or more, which afterwards does what it did. */
Test(agreement, an_attackers_arena_serves_where_it_is_large_enough) {
  struct fg_onnx *onnx = golden_model("conv");
  fgsm_options *o = options_from("eps=0.1 device=cpu threads=1");
  const struct fg_sample_shape shape = {FG_F32, 3, {C, SIDE, SIDE}};
  struct fg_attacker *a = NULL;
  struct fg_device *device;
  float x[N * PIXELS], before[N * PIXELS], after[N * PIXELS];
  int64_t labels[N], index[N] = {0, 1, 2, 3, 4};
  fgsm_result all[N], *results = all;
  fill_floats(x, N * PIXELS, 5);
  fill_labels(labels, N, 10, 6);
  cr_assert_eq(fg_cpu.open(0, 1, &device), FGSM_OK);
  cr_assert_eq(fg_attacker_create(onnx, o, device, &shape, NULL, N, &a), FGSM_OK);
  void *out = before;
  cr_assert_eq(fg_attacker_run(a, N, x, labels, NULL, index, &out, &results), FGSM_OK);
  for (int larger = 0; larger < 2; larger++) {
    struct fg_attacker *guest = NULL;
    cr_assert_eq(fg_cpu.open(0, 1, &device), FGSM_OK);
    cr_assert_eq(
        fg_attacker_create_gradient(onnx, o, device, &shape, NULL, larger ? 8 * N : 2, a, &guest),
        FGSM_OK);
    cr_expect_eq(guest->arena == a->arena, !larger);
    fg_attacker_destroy(guest);
  }
  out = after;
  cr_assert_eq(fg_attacker_run(a, N, x, labels, NULL, index, &out, &results), FGSM_OK);
  cr_expect_arr_eq(after, before, sizeof after);
  fg_attacker_destroy(a);
  fgsm_options_destroy(o);
  fg_onnx_close(onnx);
}

Test(agreement, small_samples_are_compared_all_and_of_many_as_many_as_tell) {
  const struct fg_sample_shape shape = {FG_F32, 3, {C, SIDE, SIDE}}, huge = {FG_F32, 1, {1 << 30}};
  int64_t most = fg_agree_most(&shape);
  cr_expect(most * PIXELS <= 1 << 17 && (most + 1) * PIXELS > 1 << 17, "%lld", (long long)most);
  cr_expect_eq(fg_agree_most(&huge), 1);
  struct fg_agreement few = generated(5), many = generated(4096);
  cr_expect_eq(few.samples + few.skipped, 5);
  cr_expect_eq(many.samples + many.skipped, 256, "the largest part of 4096 within %lld, not %lld",
               (long long)most, (long long)(many.samples + many.skipped));
  cr_expect_gt(many.weighted, 0.9999);
}
