/* Training against PyTorch: tests/golden/training.npz holds what plain torch.autograd and torch.optim
 * in float64 (python/make_training_goldens.py) make of two small nets, on the same batches and noise.
 * The oracle and the CPU must land on the same weights. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacking.h"
#include "device.h"
#include "engine.h"

enum { N = 40, BATCH = 8, COUNT = 36, MOST = 512 };
static const char *const devices[] = {"ref", "cpu"};

struct run {
  struct fg_onnx *onnx;
  struct fg_engine *engine;
  struct fg_engine_spec spec;
  float *x;
  int64_t *y;
};

static struct run start(const char *model, const char *device, const char *words) {
  struct run r = {.onnx = golden_model(model)};
  struct fg_sample_shape shape = {FG_F32, 3, {1, 6, 6}};
  struct fg_device_choice choice;
  struct fg_device *opened;
  fgsm_options *options = options_from(words);
  cr_assert_eq(fgsm_options_set(options, "seed", "7"), FGSM_OK);
  cr_assert_eq(fg_device_choose(device, &choice), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fg_device_open(&choice, 0, options, &opened), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fg_engine_spec_resolve(options, FG_F32, &r.spec), FGSM_OK, "%s", fgsm_last_error());
  r.spec.samples = N;
  r.spec.watched = true;
  cr_assert_eq(fg_engine_create(r.onnx, options, &r.spec, opened, &shape, BATCH, &r.engine),
               FGSM_OK, "%s: %s", words, fgsm_last_error());
  fgsm_options_destroy(options);
  r.x = golden_array("training.npz", "x", FG_F32, NULL);
  r.y = golden_array("training.npz", "y", FG_I64, NULL);
  return r;
}

static void end(struct run *r) {
  fg_engine_destroy(r->engine);
  fg_onnx_close(r->onnx);
  free(r->x);
  free(r->y);
}

/* Step k: samples 8k .. 8k + 7 modulo 40, in pass k / 5 over the data. */
static struct fg_train_losses step(struct run *r, int k, double rate) {
  int first = BATCH * k % N;
  int64_t index[BATCH];
  struct fg_train_losses losses;
  struct fg_train_batch batch = {r->x + first * COUNT, r->y + first, index};
  for (int i = 0; i < BATCH; i++)
    index[i] = first + i;
  cr_assert_eq(fg_engine_step(r->engine, &batch, rate, (uint32_t)(k / (N / BATCH)), &losses),
               FGSM_OK, "%s", fgsm_last_error());
  return losses;
}

static void read(const struct run *r, const struct fg_weight *w, const void *from, float *to) {
  cr_assert(w->count <= MOST);
  cr_assert_eq(fg_weights_read(fg_engine_weights(r->engine), from, w->count, to), FGSM_OK);
}

/* The largest difference in units of the largest magnitude wanted. */
static double error(const float *got, const double *want, int64_t n) {
  double apart = 0, scale = 0;
  for (int64_t i = 0; i < n; i++) {
    apart = fmax(apart, fabs(got[i] - want[i]));
    scale = fmax(scale, fabs(want[i]));
  }
  cr_expect_gt(scale, 1e-6, "the golden is zero");
  return apart / scale;
}

/* Every weight, the running statistics included, against the case's. */
static double worst(struct run *r, const char *name, bool average) {
  const struct fg_weights *weights = fg_engine_weights(r->engine);
  float got[MOST];
  double all = 0;
  for (int64_t i = 0; i < weights->n; i++) {
    const struct fg_weight *w = &weights->items[i];
    char member[96];
    int64_t n;
    snprintf(member, sizeof member, "%s.%s", name, w->name);
    double *want = golden_array("training.npz", member, FG_F64, &n);
    cr_assert_eq(n, w->count, "%s", member);
    read(r, w, average ? w->average : w->data, got);
    all = fmax(all, error(got, want, n));
    free(want);
  }
  return all;
}

struct row {
  const char *golden, *model, *words;
  int steps;
  double rate;
};

static const struct row optimisers[] = {
    {"sgd", "training", "method=clean momentum=0 weight-decay=0", 3, 0.05},
    {"momentum", "training", "method=clean momentum=0.9 weight-decay=5e-4", 3, 0.05},
    {"nesterov", "training", "method=clean momentum=0.9 nesterov weight-decay=0", 3, 0.05},
    {"adam", "training", "method=clean optimizer=adam weight-decay=1e-2", 3, 0.01},
    {"adamw", "training", "method=clean optimizer=adamw weight-decay=0.1", 3, 0.01},
    {"exclusions", "training", "method=clean optimizer=adamw weight-decay=0.1 decay-matrices", 3,
     0.01},
    {"clipped", "training", "method=clean momentum=0 weight-decay=0 clip-norm=0.5", 3, 0.05},
};

static const struct row methods[] = {
    {"clean", "training", "method=clean", 50, 0.05},
    {"fgsm", "training", "method=fgsm eps=0.1", 50, 0.05},
    {"rs_fgsm", "training", "method=rs-fgsm eps=0.1", 50, 0.05},
    {"n_fgsm", "training", "method=n-fgsm eps=0.1", 50, 0.05},
    {"pgd", "training", "method=pgd eps=0.1", 50, 0.05},
    {"free", "training", "method=free eps=0.1 weight-decay=0", 50, 0.01},
    {"fgsm_pgi", "training", "method=fgsm-pgi eps=0.1", 50, 0.05},
    {"trades", "training", "method=trades eps=0.1", 50, 0.05},
    {"mart", "training", "method=mart eps=0.1", 50, 0.05},
    {"smoothing_others", "training", "method=rs-fgsm eps=0.1 label-smoothing=0.1 smoothing=others",
     50, 0.05},
    {"smoothing_all", "training", "method=rs-fgsm eps=0.1 label-smoothing=0.1", 50, 0.05},
    {"ema", "training", "method=rs-fgsm eps=0.1 ema=0.9", 50, 0.05},
    {"grad_align", "training_smooth", "method=grad-align eps=0.1", 50, 0.05},
    {"penalty", "training_smooth", "method=clean gradient-penalty=0.5", 50, 0.05},
    {"spectral", "training_smooth", "method=rs-fgsm eps=0.1 spectral-norm=1", 50, 0.05},
};

static void check(const struct row *rows, size_t n) {
  for (size_t i = 0; i < n; i++)
    for (int d = 0; d < 2; d++) {
      struct run r = start(rows[i].model, devices[d], rows[i].words);
      for (int k = 0; k < rows[i].steps; k++)
        step(&r, k, rows[i].rate);
      double e = worst(&r, rows[i].golden, r.spec.average_decay > 0);
      /* The oracle computes in double, and its weights are read as floats; where a second derivative
       * is a difference, that is what lies between it and PyTorch's. */
      bool difference = r.spec.align > 0 || r.spec.penalty > 0;
      cr_expect(e <= (d == 0 && !difference ? 1e-6 : 1e-4), "%s on %s: %.3g apart", rows[i].golden,
                devices[d], e);
      end(&r);
    }
}

Test(training, steps_of_every_optimiser_are_those_of_pytorch) {
  check(optimisers, sizeof optimisers / sizeof *optimisers);
}

Test(training, fifty_steps_of_every_method_are_those_of_pytorch) {
  check(methods, sizeof methods / sizeof *methods);
}

/* One step of plain SGD with a rate of 1 moves every weight by its gradient. */
Test(training, weight_gradients_are_those_of_pytorch) {
  for (int d = 0; d < 2; d++) {
    struct run r = start("training", devices[d], "method=clean momentum=0 weight-decay=0");
    const struct fg_weights *weights = fg_engine_weights(r.engine);
    float before[16][MOST], after[MOST];
    cr_assert(weights->n <= 16);
    for (int64_t i = 0; i < weights->n; i++)
      read(&r, &weights->items[i], weights->items[i].data, before[i]);
    step(&r, 0, 1);
    for (int64_t i = 0; i < weights->n; i++) {
      const struct fg_weight *w = &weights->items[i];
      if (!fg_weight_descends(w))
        continue;
      char member[96];
      snprintf(member, sizeof member, "gradient.%s", w->name);
      double *want = golden_array("training.npz", member, FG_F64, NULL);
      read(&r, w, w->data, after);
      for (int64_t k = 0; k < w->count; k++)
        after[k] = before[i][k] - after[k];
      double e = error(after, want, w->count);
      cr_expect(e <= 1e-4, "%s on %s: %.3g apart", member, devices[d], e);
      free(want);
    }
    end(&r);
  }
}

/* The largest |x' - x| of a step, in units of eps. */
static double reach(const char *words) {
  struct run r = start("training", "cpu", words);
  float x[BATCH * COUNT];
  double far = 0;
  step(&r, 0, 0.01);
  cr_assert_eq(fg_engine_adversarial(r.engine, x), FGSM_OK);
  for (int i = 0; i < BATCH * COUNT; i++) {
    cr_expect(x[i] >= 0 && x[i] <= 1, "%s leaves the box", words);
    far = fmax(far, fabs((double)x[i] - r.x[i]) / 0.1);
  }
  end(&r);
  return far;
}

Test(training, n_fgsm_leaves_the_ball_and_the_others_do_not) {
  double far = reach("method=n-fgsm eps=0.1");
  cr_expect(far > 1.5 && far <= 3 + 1e-5, "n-fgsm reaches %g eps, not up to 3", far);
  far = reach("method=rs-fgsm eps=0.1");
  cr_expect(far > 0.9 && far <= 1, "rs-fgsm reaches %g eps", far);
  far = reach("method=pgd eps=0.1");
  cr_expect(far > 0.9 && far <= 1, "pgd reaches %g eps", far);
  far = reach("method=fgsm eps=0.1");
  cr_expect(far > 0.9 && far <= 1, "fgsm reaches %g eps", far);
  cr_expect_eq(reach("method=clean"), 0);
}

Test(training, free_replays_each_batch_and_carries_on) {
  struct run r = start("training", "cpu", "method=free eps=0.1 replays=3");
  float x[BATCH * COUNT], delta[BATCH * COUNT];
  double moved = 0;
  step(&r, 0, 0.01);
  cr_expect_eq(*fg_engine_steps(r.engine), 3, "3 replays are %lld steps",
               (long long)*fg_engine_steps(r.engine));
  struct fg_engine_piece piece;
  int64_t i = 0;
  while (fg_engine_piece_at(r.engine, i, &piece) && piece.kind != 'd')
    i++;
  cr_assert_eq(piece.bytes, sizeof delta);
  cr_assert_eq(fg_engine_piece_read(r.engine, &piece, delta), FGSM_OK);
  for (int k = 0; k < BATCH * COUNT; k++)
    moved = fmax(moved, fabs((double)delta[k]));
  cr_expect(moved > 0.09 && moved <= 0.1 + 1e-7, "the perturbation is %g, eps 0.1", moved);
  /* The next batch begins at what this one left at its place. */
  fg_engine_destroy(r.engine);
  fg_onnx_close(r.onnx);
  float *data = r.x;
  free(r.y);
  r = start("training", "cpu", "method=free eps=0.1 replays=1");
  cr_assert(fg_engine_piece_at(r.engine, i, &piece) && piece.kind == 'd');
  cr_assert_eq(fg_engine_piece_write(r.engine, &piece, delta), FGSM_OK);
  step(&r, 1, 0.01);
  cr_assert_eq(fg_engine_adversarial(r.engine, x), FGSM_OK);
  for (int k = 0; k < BATCH * COUNT; k++)
    cr_expect_eq(x[k], data[BATCH * COUNT + k] + delta[k]);
  free(data);
  end(&r);
}

/* By running statistics, at the beginning. */
Test(training, the_gradients_cosine_is_that_of_pytorch) {
  double *want = golden_array("training.npz", "cosine", FG_F64, NULL);
  for (int d = 0; d < 2; d++) {
    struct run r = start("training", devices[d], "method=rs-fgsm eps=0.1");
    int64_t index[BATCH] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct fg_train_batch batch = {r.x, r.y, index};
    double got;
    cr_assert_eq(fg_engine_cosine(r.engine, &batch, &got), FGSM_OK, "%s", fgsm_last_error());
    cr_expect(fabs(got - *want) <= 1e-5, "%s: %.9g, not %.9g", devices[d], got, *want);
    end(&r);
  }
  free(want);
}

/* ---- going on */

/* All pieces of one engine into another. */
static void hand_over(struct fg_engine *from, struct fg_engine *to) {
  struct fg_engine_piece piece, other;
  int64_t i = 0;
  for (; fg_engine_piece_at(from, i, &piece); i++) {
    void *bytes = malloc(piece.bytes);
    cr_assert(bytes && fg_engine_piece_at(to, i, &other));
    cr_assert(piece.bytes == other.bytes && piece.kind == other.kind);
    cr_assert_eq(fg_engine_piece_read(from, &piece, bytes), FGSM_OK);
    cr_assert_eq(fg_engine_piece_write(to, &other, bytes), FGSM_OK);
    free(bytes);
  }
  cr_expect(!fg_engine_piece_at(to, i, &other), "the other engine keeps more");
  *fg_engine_steps(to) = *fg_engine_steps(from);
}

static void expect_same(struct fg_engine *a, struct fg_engine *b, const char *what) {
  struct fg_engine_piece x, y;
  for (int64_t i = 0; fg_engine_piece_at(a, i, &x) && fg_engine_piece_at(b, i, &y); i++) {
    char *p = malloc(x.bytes), *q = malloc(x.bytes);
    cr_assert(p && q);
    cr_assert_eq(fg_engine_piece_read(a, &x, p), FGSM_OK);
    cr_assert_eq(fg_engine_piece_read(b, &y, q), FGSM_OK);
    cr_expect(memcmp(p, q, x.bytes) == 0, "%s: %c:%s differs", what, x.kind, x.name);
    free(p);
    free(q);
  }
}

Test(training, an_engine_goes_on_from_anothers_pieces_bit_for_bit) {
  static const char *const rows[][2] = {
      {"training", "method=n-fgsm eps=0.1 optimizer=adam"},
      {"training", "method=rs-fgsm eps=0.1 nesterov ema=0.9"},
      {"training", "method=free eps=0.1"},
      {"training", "method=fgsm-pgi eps=0.1"},
      {"training_smooth", "method=rs-fgsm eps=0.1 spectral-norm=1"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct run a = start(rows[i][0], "cpu", rows[i][1]), b = start(rows[i][0], "cpu", rows[i][1]);
    for (int k = 0; k < 7; k++)
      step(&a, k, 0.02);
    hand_over(a.engine, b.engine);
    for (int k = 7; k < 15; k++) {
      step(&a, k, 0.02);
      step(&b, k, 0.02);
    }
    expect_same(a.engine, b.engine, rows[i][1]);
    end(&a);
    end(&b);
  }
}

/* ---- bad numbers */

Test(training, a_loss_that_is_no_number_leaves_the_weights_and_is_traced) {
  struct run r = start("training", "cpu", "method=clean");
  struct fg_weights *weights = fg_engine_weights(r.engine);
  struct fg_weight *w = fg_weights_find(weights, "conv2.weight");
  float before[MOST], after[MOST];
  char text[200];
  fgsm_options *options = options_from("method=clean");
  cr_assert(w);
  read(&r, w, w->data, before);
  before[3] = INFINITY;
  cr_assert_eq(fg_weights_write(weights, w->data, before, w->count), FGSM_OK);
  struct fg_train_losses losses = step(&r, 0, 0.05);
  cr_expect(!isfinite(losses.loss), "the loss is %g", losses.loss);
  read(&r, w, w->data, after);
  cr_expect(memcmp(before, after, (size_t)w->count * sizeof *after) == 0, "the weights moved");
  cr_assert_eq(fg_engine_diagnose(r.engine, r.onnx, options, text, sizeof text), FGSM_OK, "%s",
               fgsm_last_error());
  cr_expect_str_eq(text, "the weight 'conv2.weight'");
  read(&r, w, w->data, before);
  before[3] = 3e38f; /* a product overflows */
  before[4] = 3e38f;
  cr_assert_eq(fg_weights_write(weights, w->data, before, w->count), FGSM_OK);
  step(&r, 0, 0.05);
  cr_assert_eq(fg_engine_diagnose(r.engine, r.onnx, options, text, sizeof text), FGSM_OK);
  cr_expect(strstr(text, "conv2"), "the first is %s", text);
  fgsm_options_destroy(options);
  end(&r);
}

Test(training, the_choices_of_method_are_the_method_table) {
  const fgsm_option_info *row = NULL;
  fgsm_options *o = options_from("eps=0.1");
  int n = 1;
  for (size_t i = 0; (row = fgsm_option_at(i)) && strcmp(row->name, "method") != 0; i++)
    continue;
  cr_assert(row);
  for (const char *c = row->choices; *c; c++)
    n += *c == '|';
  for (int i = 0; fg_method_at(i); i++, n--)
    cr_expect_eq(fgsm_options_set(o, "method", fg_method_at(i)->name), FGSM_OK, "%s",
                 fgsm_last_error());
  cr_expect_eq(n, 0, "the option offers %d methods too many", n);
  fgsm_options_destroy(o);
}

Test(training, what_does_not_fit_a_method_is_refused) {
  static const char *const rows[][2] = {
      {"method=clean steps=3", "takes none"},
      {"method=pgd eps=0.1 replays=3", "free"},
      {"method=free eps=0.1 harden=0.5", "takes no steps"},
      {"method=pgd eps=0.1 beta=3", "trades"},
      {"method=trades eps=0.1 clean-share=0.5", "does not mix"},
      {"method=clean clean-share=0.5", "does not mix"},
      {"method=fgsm", "one budget"},
      {"method=fgsm eps=0.1,0.2", "one budget"},
      {"method=fgsm-pgi eps=0", "above 0"},
      {"method=fgsm-pgi eps=0.1 augment=flip", "augment"},
      {"method=grad-align eps=0.1 gradient-penalty=1", "one of them"},
      {"method=clean optimizer=adam nesterov", "nesterov"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    fgsm_options *o = options_from(rows[i][0]);
    struct fg_engine_spec spec;
    cr_expect_eq(fg_engine_spec_resolve(o, FG_F32, &spec), FGSM_USAGE, "%s was taken", rows[i][0]);
    cr_expect(strstr(fgsm_last_error(), rows[i][1]), "%s: '%s'", rows[i][0], fgsm_last_error());
    fgsm_options_destroy(o);
  }
}

/* ---- the learning rate */

static double rate_at(const char *words, int64_t at, int64_t n) {
  fgsm_options *o = options_from(words);
  struct fg_schedule s;
  cr_assert_eq(fg_schedule_parse(o, &s), FGSM_OK, "%s", fgsm_last_error());
  fgsm_options_destroy(o);
  return fg_schedule_rate(&s, at, n);
}

Test(training, schedules_pass_through_their_points) {
  static const struct {
    const char *words;
    int64_t at; /* of 999 steps: the way covered is (at + 1) / 1000 */
    double rate;
  } points[] = {
      {"lr=0.4 lr-schedule=constant", 0, 0.4},
      {"lr=0.4 lr-schedule=constant", 998, 0.4},
      {"lr=0.4 lr-schedule=triangular", 249, 0.2},
      {"lr=0.4 lr-schedule=triangular", 499, 0.4},
      {"lr=0.4 lr-schedule=triangular", 749, 0.2},
      {"lr=0.4 lr-schedule=triangular lr-peak=0.25", 249, 0.4},
      {"lr=0.4 lr-schedule=triangular lr-peak=0.25", 998, 0.4 / 750},
      {"lr=0.4 lr-schedule=piecewise", 498, 0.4},
      {"lr=0.4 lr-schedule=piecewise", 499, 0.04},
      {"lr=0.4 lr-schedule=piecewise", 749, 0.004},
      {"lr=0.4 lr-schedule=cosine", 499, 0.2},
      {"lr=0.4 lr-schedule=cosine", 249, 0.2 * (1 + 0.70710678118654752)},
      {"lr=0.4 lr-schedule=one-cycle", 499, 0.4},
      {"lr=0.4 lr-schedule=one-cycle", 249, 0.4 * (1 + 0.04) / 2},
      {"lr=0.4 lr-schedule=one-cycle", 749, 0.4 * (1 + 1e-4) / 2},
      {"lr=0.4 lr-schedule=cosine lr-warmup=0.1", 49, 0.2},
      {"lr=0.4 lr-schedule=cosine lr-warmup=0.1", 499, 0.2},
  };
  for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
    double got = rate_at(points[i].words, points[i].at, 999);
    cr_expect(fabs(got - points[i].rate) <= 1e-12, "%s: step %lld has rate %.15g, not %.15g",
              points[i].words, (long long)points[i].at, got, points[i].rate);
  }
  for (int64_t at = 0; at < 999; at++)
    cr_expect(rate_at("lr=0.4 lr-schedule=triangular", at, 999) > 0, "step %lld stands still",
              (long long)at);
}

/* ---- memory */

Test(training, what_needs_more_memory_than_is_allowed_is_refused) {
  struct run r = start("training", "cpu", "method=rs-fgsm eps=0.1 optimizer=adam");
  size_t need = fg_train_memory_need(r.engine);
  end(&r);
  r = start("training", "cpu", "method=fgsm-pgi eps=0.1 optimizer=adam ema=0.9");
  cr_expect_gt(fg_train_memory_need(r.engine), need + N * COUNT, "what is kept is not counted");
  end(&r);
  r.onnx = golden_model("training");
  fgsm_options *options = options_from("method=rs-fgsm eps=0.1 max-memory=1M");
  struct fg_sample_shape shape = {FG_F32, 3, {1, 6, 6}};
  struct fg_device_choice choice;
  struct fg_device *device;
  cr_assert_eq(fg_device_choose("cpu", &choice), FGSM_OK);
  cr_assert_eq(fg_device_open(&choice, 0, options, &device), FGSM_OK);
  cr_assert_eq(fg_engine_spec_resolve(options, FG_F32, &r.spec), FGSM_OK);
  r.spec.besides = 1 << 20;
  cr_expect_eq(fg_engine_create(r.onnx, options, &r.spec, device, &shape, BATCH, &r.engine),
               FGSM_UNSUPPORTED);
  cr_expect(strstr(fgsm_last_error(), "--max-memory"), "%s", fgsm_last_error());
  fgsm_options_destroy(options);
  fg_onnx_close(r.onnx);
}
