/* Training in half precision: on the oracle in float32, which stores in fp16 and bfloat16 what a card
 * would. What is kept of a weight is float32, and the loss's scale changes nothing but what vanishes. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attacking.h"
#include "device.h"
#include "engine.h"
#include "half.h"
#include "train.h"

enum { BATCH = 8, COUNT = 36, MOST = 512 };

static bool takes_all(const struct fg_device *device, const struct fg_call *call) {
  return !fg_half_rounds(call->op) || device->precision == FG_PRECISION_bf16;
}

static void close_nothing(struct fg_device *device) {
  (void)device;
}

struct scene {
  struct fg_backend backend;
  struct fg_device device;
  fgsm_options *options;
  struct fg_onnx *onnx;
  struct fg_engine *engine;
  float *x;
  int64_t *y;
};

static struct scene *open_scene(const char *words, enum fg_precision precision) {
  static const struct fg_sample_shape shape = {FG_F32, 3, {1, 6, 6}};
  struct scene *s = calloc(1, sizeof *s);
  struct fg_engine_spec spec;
  cr_assert(s);
  s->backend = fg_ref;
  s->backend.real = FG_F32;
  s->backend.close = close_nothing;
  s->backend.takes_half = takes_all;
  s->device =
      (struct fg_device){.backend = &s->backend, .threads = 1, .lanes = 1, .precision = precision};
  s->options = options_from(words);
  s->onnx = golden_model("training");
  cr_assert_eq(fg_engine_spec_resolve(s->options, FG_F32, &spec), FGSM_OK, "%s", fgsm_last_error());
  spec.samples = 40;
  cr_assert_eq(fg_engine_create(s->onnx, s->options, &spec, &s->device, &shape, BATCH, &s->engine),
               FGSM_OK, "%s: %s", words, fgsm_last_error());
  s->x = golden_array("training.npz", "x", FG_F32, NULL);
  s->y = golden_array("training.npz", "y", FG_I64, NULL);
  return s;
}

static void close_scene(struct scene *s) {
  fg_engine_destroy(s->engine);
  fg_onnx_close(s->onnx);
  fgsm_options_destroy(s->options);
  free(s->x);
  free(s->y);
  free(s);
}

/* Step k, on samples 8k .. 8k + 7 modulo 40. */
static fgsm_status try_step(struct scene *s, int k, double rate) {
  int first = BATCH * k % 40;
  int64_t index[BATCH];
  struct fg_train_losses losses;
  struct fg_train_batch batch = {s->x + first * COUNT, s->y + first, index};
  for (int i = 0; i < BATCH; i++)
    index[i] = first + i;
  return fg_engine_step(s->engine, &batch, rate, 0, &losses);
}

static void step(struct scene *s, int k, double rate) {
  cr_assert_eq(try_step(s, k, rate), FGSM_OK, "%s", fgsm_last_error());
}

/* What the engine keeps of a kind ('w', 'm', ...) of that name. */
static struct fg_engine_piece piece(struct scene *s, char kind, const char *name) {
  struct fg_engine_piece p;
  for (int64_t i = 0; fg_engine_piece_at(s->engine, i, &p); i++)
    if (p.kind == kind && strcmp(p.name, name) == 0)
      return p;
  cr_assert_fail("there is no %c:%s", kind, name);
  return p;
}

static int64_t read(struct scene *s, char kind, const char *name, float *to) {
  struct fg_engine_piece p = piece(s, kind, name);
  cr_assert(p.bytes <= MOST * sizeof *to);
  cr_assert_eq(fg_engine_piece_read(s->engine, &p, to), FGSM_OK);
  return (int64_t)(p.bytes / sizeof *to);
}

static void set_scale(struct scene *s, struct fg_loss_scale scale) {
  struct fg_engine_piece p = piece(s, 'l', "scale");
  cr_assert_eq(fg_engine_piece_write(s->engine, &p, &scale), FGSM_OK);
}

static double norm(const float *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += (double)x[i] * (double)x[i];
  return sqrt(sum);
}

static double apart(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
  return sqrt(sum) / norm(b, n);
}

static const char *const weights[] = {"conv1.weight", "norm.weight", "norm.bias", "conv2.weight",
                                      "conv2.bias",   "fc.weight",   "fc.bias"};
enum { WEIGHTS = sizeof weights / sizeof *weights };

/* The gradients of the first step, which an sgd's momentum holds then. */
static void expect_gradients(const char *words, enum fg_precision precision, double tolerance) {
  struct scene *half = open_scene(words, precision), *wide = open_scene(words, FG_PRECISION_fp32);
  bool same = true;
  if (fg_engine_scale(half->engine))
    set_scale(half, (struct fg_loss_scale){.scale = 0x1p8}); /* the first would have to be halved */
  step(half, 0, 0.05);
  step(wide, 0, 0.05);
  for (int i = 0; i < WEIGHTS; i++) {
    float a[MOST], b[MOST];
    int64_t n = read(half, 'm', weights[i], a);
    read(wide, 'm', weights[i], b);
    double d = apart(a, b, n);
    cr_expect(d < tolerance, "%s, %s: %s is %g from float32's", fg_precision_name(precision), words,
              weights[i], d);
    same &= memcmp(a, b, (size_t)n * sizeof *a) == 0;
  }
  cr_expect(!same, "%s: nothing was stored in half precision", words);
  close_scene(half);
  close_scene(wide);
}

Test(scale, gradients_are_those_of_float32_but_for_rounding) {
  static const char *const rows[] = {"method=clean", "method=fgsm eps=0.02",
                                     "method=clean label-smoothing=0.1",
                                     "method=trades eps=0.02 steps=1"};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    expect_gradients(rows[i], FG_PRECISION_fp16, 0.02);
    expect_gradients(rows[i], FG_PRECISION_bf16, 0.15);
  }
}

Test(scale, weights_take_steps_that_half_precision_would_round_away) {
  struct scene *s = open_scene("method=clean momentum=0 weight-decay=0", FG_PRECISION_bf16);
  float before[MOST], after[MOST];
  int64_t n = read(s, 'w', "fc.weight", before), moved = 0;
  step(s, 0, 1e-6);
  read(s, 'w', "fc.weight", after);
  for (int64_t i = 0; i < n; i++) {
    moved += after[i] != before[i];
    cr_expect_eq(fg_float_to_bfloat(after[i]), fg_float_to_bfloat(before[i]));
  }
  cr_expect(2 * moved > n, "%lld of %lld weights moved", (long long)moved, (long long)n);
  close_scene(s);
}

/* Between the image and the logits nothing goes through float32: what convolutions and batch normalisation
 * read and write of activations and their gradients. A weight's gradient is cast behind its product. */
Test(scale, convolutions_and_norms_of_a_step_work_in_half_precision) {
  struct scene *s = open_scene("method=rs-fgsm eps=0.1", FG_PRECISION_bf16);
  const struct fg_graph *g = fg_plan_graph(s->engine->pass[FG_TRAIN_DESCEND].plan);
  int seen[FG_OP_COUNT] = {0};
  for (int64_t i = 0; i < g->n_nodes; i++) {
    const struct fg_node *node = &g->nodes[i];
    const struct fg_half_slots slots = fg_half_slots(node->op);
    seen[node->op]++;
    bool is = node->op == FG_OP_conv_grad_weight || node->op == FG_OP_batch_norm_train ||
              node->op == FG_OP_batch_norm_train_grad;
    for (int k = 0; is && k < node->n_in; k++)
      cr_expect_eq(fg_value(g, node->in[k])->type, slots.in >> k & 1 ? FG_BF16 : FG_F32,
                   "input %d of %s", k, fg_op_name(node->op));
    for (int k = 0; is && k < node->n_out; k++)
      if (node->out[k] != FG_ABSENT)
        cr_expect_eq(fg_value(g, node->out[k])->type, slots.out >> k & 1 ? FG_BF16 : FG_F32,
                     "output %d of %s", k, fg_op_name(node->op));
    if (node->op == FG_OP_descend)
      cr_expect_eq(fg_value(g, node->in[1])->type, FG_F32, "the gradient of %s", node->name);
  }
  cr_expect(seen[FG_OP_conv_grad_weight] == 2 && seen[FG_OP_batch_norm_train] == 1 &&
                seen[FG_OP_batch_norm_train_grad] == 1,
            "%d, %d and %d", seen[FG_OP_conv_grad_weight], seen[FG_OP_batch_norm_train],
            seen[FG_OP_batch_norm_train_grad]);
  close_scene(s);
}

Test(scale, only_fp16_is_scaled) {
  struct scene *s = open_scene("method=clean", FG_PRECISION_fp16);
  cr_assert(fg_engine_scale(s->engine));
  cr_expect_eq(fg_engine_scale(s->engine)->scale, 65536);
  close_scene(s);
  s = open_scene("method=clean", FG_PRECISION_bf16);
  cr_expect_null(fg_engine_scale(s->engine));
  close_scene(s);
}

/* A scale so small that half of the gradient is below what fp16 holds, and one that is not. */
Test(scale, what_would_vanish_is_kept) {
  double d[2];
  for (int i = 0; i < 2; i++) {
    struct scene *s = open_scene("method=clean", FG_PRECISION_fp16),
                 *wide = open_scene("method=clean", FG_PRECISION_fp32);
    float a[MOST], b[MOST];
    set_scale(s, (struct fg_loss_scale){.scale = i ? 0x1p10 : 0x1p-18});
    step(s, 0, 0.05);
    step(wide, 0, 0.05);
    int64_t n = read(s, 'm', "conv1.weight", a);
    read(wide, 'm', "conv1.weight", b);
    d[i] = apart(a, b, n);
    close_scene(s);
    close_scene(wide);
  }
  cr_expect(d[0] > 0.05 && d[1] < 0.01, "%g and %g from float32's", d[0], d[1]);
}

Test(scale, gradients_are_clipped_as_they_are_without_scale) {
  struct scene *s = open_scene("method=clean clip-norm=0.01 weight-decay=0", FG_PRECISION_fp16);
  double sum = 0;
  step(s, 0, 0.05);
  for (int i = 0; i < WEIGHTS; i++) {
    float m[MOST];
    int64_t n = read(s, 'm', weights[i], m);
    sum += pow(norm(m, n), 2);
  }
  cr_expect_float_eq(sqrt(sum), 0.01, 1e-5, "the norm is %g", sqrt(sum));
  close_scene(s);
}

/* Adam counts the steps that it takes: after those that were left out, it begins as it would have. */
static void expect_skipped(const char *words) {
  struct scene *s = open_scene(words, FG_PRECISION_fp16), *t = open_scene(words, FG_PRECISION_fp16);
  float before[MOST], after[MOST];
  int skipped = 0;
  set_scale(s, (struct fg_loss_scale){.scale = 0x1p24, .since = 7});
  int64_t n = read(s, 'w', "fc.weight", before);
  step(s, 0, 0.05);
  read(s, 'w', "fc.weight", after);
  cr_expect(memcmp(before, after, (size_t)n * sizeof *after) == 0, "the weights moved");
  read(s, 'v', "fc.weight", after);
  cr_expect_eq(norm(after, n), 0, "the moments moved");
  cr_expect_eq(fg_engine_scale(s->engine)->scale, 0x1p23);
  cr_expect_eq(fg_engine_scale(s->engine)->since, 0);
  while (fg_engine_scale(s->engine)->since == 0 && skipped < 30) {
    skipped++;
    step(s, 0, 0.05);
  }
  cr_expect_eq(fg_engine_scale(s->engine)->skipped, skipped);
  set_scale(t, (struct fg_loss_scale){.scale = fg_engine_scale(s->engine)->scale});
  step(t, 0, 0.05);
  for (int i = 0; i < WEIGHTS; i++) {
    n = read(s, 'w', weights[i], before);
    read(t, 'w', weights[i], after);
    cr_expect(memcmp(before, after, (size_t)n * sizeof *after) == 0, "%s differs", weights[i]);
  }
  close_scene(s);
  close_scene(t);
}

Test(scale, a_step_that_overflows_is_left_out_and_the_scale_halved) {
  expect_skipped("method=clean optimizer=adam ema=0.9");
  expect_skipped("method=clean optimizer=adam clip-norm=1");
}

Test(scale, it_grows_after_two_thousand_good_steps) {
  struct scene *s = open_scene("method=clean", FG_PRECISION_fp16);
  set_scale(s, (struct fg_loss_scale){.scale = 0x1p8, .since = 1998});
  step(s, 0, 0.01);
  cr_expect_eq(fg_engine_scale(s->engine)->scale, 0x1p8);
  step(s, 1, 0.01);
  cr_expect_eq(fg_engine_scale(s->engine)->scale, 0x1p9);
  cr_expect_eq(fg_engine_scale(s->engine)->since, 0);
  set_scale(s, (struct fg_loss_scale){.scale = 0x1p24, .since = 1999});
  (void)!try_step(s, 2, 0.01);
  cr_expect_leq(fg_engine_scale(s->engine)->scale, 0x1p24, "it grows without end");
  close_scene(s);
}

Test(scale, gradients_that_no_scale_makes_finite_end_the_training) {
  struct scene *s = open_scene("method=clean", FG_PRECISION_fp16);
  struct fg_engine_piece p = piece(s, 'w', "fc.weight");
  float w[MOST];
  read(s, 'w', "fc.weight", w);
  w[0] = INFINITY;
  cr_assert_eq(fg_engine_piece_write(s->engine, &p, w), FGSM_OK);
  set_scale(s, (struct fg_loss_scale){.scale = 0x1p-13});
  cr_expect_eq(try_step(s, 0, 0.05), FGSM_OK);
  cr_expect_eq(try_step(s, 0, 0.05), FGSM_CHECK);
  cr_expect(strstr(fgsm_last_error(), "--precision fp16"), "'%s'", fgsm_last_error());
  close_scene(s);
}

/* Confident samples, whose gradients are far below what fp16 holds, are attacked nevertheless. By running
 * statistics: through those of the batch, the gradients of others would reach them. */
Test(scale, crafting_sees_the_gradients_of_confident_samples) {
  float adversarial[BATCH * COUNT];
  struct scene *s =
      open_scene("method=fgsm eps=0.1 clean-share=0 craft-norms=frozen", FG_PRECISION_fp16);
  struct fg_engine_piece p = piece(s, 'w', "fc.bias");
  float bias[MOST];
  int64_t n = read(s, 'w', "fc.bias", bias), label = s->y[0], moved = 0;
  for (int64_t i = 0; i < n; i++)
    bias[i] = i == label ? 20 : 0;
  cr_assert_eq(fg_engine_piece_write(s->engine, &p, bias), FGSM_OK);
  step(s, 0, 0);
  cr_assert_eq(fg_engine_adversarial(s->engine, adversarial), FGSM_OK);
  for (int i = 0; i < COUNT; i++)
    moved += adversarial[i] != s->x[i];
  cr_expect(moved > COUNT / 2, "%lld of %d values moved", (long long)moved, COUNT);
  close_scene(s);
}

Test(scale, an_engine_goes_on_from_anothers_pieces_bit_for_bit) {
  static const char words[] = "method=rs-fgsm eps=0.1 optimizer=adam";
  struct scene *a = open_scene(words, FG_PRECISION_fp16), *b = open_scene(words, FG_PRECISION_fp16);
  struct fg_engine_piece p, q;
  set_scale(a, (struct fg_loss_scale){.scale = 0x1p24});
  for (int k = 0; k < 6; k++)
    step(a, k, 0.02);
  for (int64_t i = 0; fg_engine_piece_at(a->engine, i, &p); i++) {
    unsigned char bytes[MOST * sizeof(float)];
    cr_assert(fg_engine_piece_at(b->engine, i, &q) && p.bytes <= sizeof bytes);
    cr_assert_eq(fg_engine_piece_read(a->engine, &p, bytes), FGSM_OK);
    cr_assert_eq(fg_engine_piece_write(b->engine, &q, bytes), FGSM_OK);
  }
  *fg_engine_steps(b->engine) = *fg_engine_steps(a->engine);
  for (int k = 6; k < 20; k++) {
    step(a, k, 0.02);
    step(b, k, 0.02);
  }
  cr_expect_gt(fg_engine_scale(a->engine)->skipped, 0);
  for (int64_t i = 0; fg_engine_piece_at(a->engine, i, &p); i++) {
    unsigned char x[MOST * sizeof(float)], y[MOST * sizeof(float)];
    cr_assert(fg_engine_piece_at(b->engine, i, &q));
    cr_assert_eq(fg_engine_piece_read(a->engine, &p, x), FGSM_OK);
    cr_assert_eq(fg_engine_piece_read(b->engine, &q, y), FGSM_OK);
    cr_expect(memcmp(x, y, p.bytes) == 0, "%c:%s differs", p.kind, p.name);
  }
  close_scene(a);
  close_scene(b);
}

Test(scale, what_half_precision_cannot_hold_is_named) {
  struct scene *s = open_scene("method=clean", FG_PRECISION_fp16);
  struct fg_engine_piece p = piece(s, 'w', "fc.weight");
  float w[MOST];
  char text[200];
  read(s, 'w', "fc.weight", w);
  w[0] = 1e6f; /* finite, but not in fp16 */
  cr_assert_eq(fg_engine_piece_write(s->engine, &p, w), FGSM_OK);
  step(s, 0, 0.05);
  cr_assert_eq(fg_engine_diagnose(s->engine, s->onnx, s->options, text, sizeof text), FGSM_OK);
  cr_expect(strstr(text, "half precision"), "the first is %s", text);
  close_scene(s);
}

Test(scale, a_regulariser_is_refused_in_half_precision) {
  static const char *const rows[] = {"method=grad-align eps=0.1 precision=fp16",
                                     "method=clean gradient-penalty=1 precision=bf16"};
  for (size_t i = 0; i < 2; i++) {
    fgsm_options *o = options_from(rows[i]);
    struct fg_engine_spec spec;
    cr_expect_eq(fg_engine_spec_resolve(o, FG_F32, &spec), FGSM_USAGE, "%s was taken", rows[i]);
    cr_expect(strstr(fgsm_last_error(), "--precision"), "'%s'", fgsm_last_error());
    fgsm_options_destroy(o);
  }
}
