/* The watch for catastrophic overfitting: what it takes for bad, and that going back is going back. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attacking.h"
#include "run.h"

/* Looks at the MNIST net of Wong et al. while it trained at eps 0.3: rs-fgsm, which holds; FGSM from
 * the clean sample, and rs-fgsm from a start within the box, which both fail. */
Test(watch, what_fails_is_told_from_what_holds) {
  static const struct {
    double best, fgsm, pgd, cosine;
    bool bad;
  } looks[] = {
      {0.095, 0.095, 0.095, 0.202, false}, {0.095, 0.48, 0.05, 0.825, false},
      {0.095, 0.79, 0.07, 0.629, false},   {0.12, 0.825, 0.335, 0.713, false},
      {0.655, 0.805, 0.68, 0.631, false},  {0.01, 0.115, 0.01, 0.445, false},
      {0.01, 0.835, 0, 0.362, true},       {0.01, 0.935, 0, 0.23, true},
      {0.06, 0.885, 0.015, 0.493, true},   {0.06, 0.985, 0.015, 0.097, true},
      {0.68, 0.735, 0.415, 0.561, false},  {0.915, 0.94, 0.905, 0.324, false},
      {0.7, 0.6, 0.3, 0.8, true}, /* fell by more than half */
  };
  for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
    cr_expect_eq(fg_watch_is_bad(looks[i].best, looks[i].fgsm, looks[i].pgd, looks[i].cosine),
                 looks[i].bad, "look %zu", i);
}

struct scene {
  struct fg_run run;
  fgsm_options *options;
  struct fg_onnx *onnx;
};

static void open_scene(struct scene *s, const char *words) {
  struct fg_sample_shape shape = {FG_F32, 3, {1, 6, 6}};
  struct fg_device *device;
  *s = (struct scene){.options = options_from(words), .onnx = golden_model("training")};
  struct fg_run *run = &s->run;
  run->options = s->options;
  run->onnx = s->onnx;
  run->per_epoch = 5;
  run->lines = json_array();
  cr_assert_eq(fg_device_choose("cpu", &run->devices), FGSM_OK);
  cr_assert_eq(fg_device_open(&run->devices, 0, s->options, &device), FGSM_OK);
  cr_assert_eq(fg_engine_spec_resolve(s->options, FG_F32, &run->spec), FGSM_OK);
  run->spec.watched = true;
  cr_assert_eq(fg_engine_create(s->onnx, s->options, &run->spec, device, &shape, 8, &run->engine),
               FGSM_OK, "%s", fgsm_last_error());
}

static void close_scene(struct scene *s) {
  free(s->run.watch.good.pieces);
  json_decref(s->run.lines);
  fg_engine_destroy(s->run.engine);
  fg_onnx_close(s->onnx);
  fgsm_options_destroy(s->options);
}

static void train(struct scene *s, int steps) {
  float *x = golden_array("training.npz", "x", FG_F32, NULL);
  int64_t *y = golden_array("training.npz", "y", FG_I64, NULL), index[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  struct fg_train_batch batch = {x, y, index};
  struct fg_train_losses losses;
  for (int i = 0; i < steps; i++)
    cr_assert_eq(fg_engine_step(s->run.engine, &batch, 0.05, 0, &losses), FGSM_OK);
  free(x);
  free(y);
}

static const char *last_event(const struct scene *s) {
  size_t n = json_array_size(s->run.lines);
  return n ? json_string_value(json_object_get(json_array_get(s->run.lines, n - 1), "event")) : "";
}

Test(watch, going_back_restores_every_bit_and_then_takes_care) {
  struct scene s;
  struct fg_snapshot now = {0};
  bool back, stop;
  open_scene(&s, "method=rs-fgsm eps=0.1 optimizer=adam on-overfit=rollback");
  train(&s, 5);
  s.run.done = 1;
  cr_assert_eq(fg_watch_keep(&s.run), FGSM_OK);
  train(&s, 3);
  s.run.watch.bad = FG_WATCH_BAD_LOOKS;
  cr_assert_eq(fg_watch_keep(&s.run), FGSM_OK); /* a bad end is not kept */
  cr_assert_eq(fg_snapshot_take(&s.run, &now), FGSM_OK);
  cr_expect(memcmp(now.pieces, s.run.watch.good.pieces, now.bytes) != 0);
  cr_assert_eq(fg_watch_act(&s.run, &back, &stop), FGSM_OK);
  cr_assert_eq(fg_snapshot_take(&s.run, &now), FGSM_OK);
  cr_expect(back && !stop && s.run.watch.bad == 0);
  cr_expect(memcmp(now.pieces, s.run.watch.good.pieces, now.bytes) == 0, "not all went back");
  cr_expect_eq(s.run.done, 1);
  cr_expect_eq(*fg_engine_steps(s.run.engine), 5);
  cr_expect_eq(s.run.watch.rollbacks, 1);
  cr_expect_str_eq(last_event(&s), "rollback");
  free(now.pieces);
  close_scene(&s);
}

Test(watch, it_goes_back_so_often_and_then_ends) {
  struct scene s;
  bool back, stop = false;
  int times = 0;
  open_scene(&s, "method=rs-fgsm eps=0.1 on-overfit=rollback");
  cr_assert_eq(fg_watch_keep(&s.run), FGSM_OK);
  for (; !stop && times < 100; times++) {
    s.run.watch.bad = FG_WATCH_BAD_LOOKS;
    cr_assert_eq(fg_watch_act(&s.run, &back, &stop), FGSM_OK);
    cr_expect(back);
  }
  cr_expect_eq(times, FG_CAUTION_MOST + 1);
  cr_expect_str_eq(last_event(&s), "stop");
  close_scene(&s);
}

Test(watch, crafting_hardens_where_it_is_told_to) {
  struct scene s;
  open_scene(&s, "method=rs-fgsm eps=0.1 epochs=10 harden=0.4,0.75");
  static const int at[][3] = {{0, 0, 0}, {3, 4, 0}, {4, 0, 1}, {7, 2, 1}, {7, 3, 2}, {9, 4, 2}};
  for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
    s.run.done = at[i][0];
    s.run.now.steps = at[i][1];
    cr_expect_eq(fg_watch_caution(&s.run), at[i][2], "epoch %d, step %d", at[i][0], at[i][1]);
  }
  s.run.watch.rollbacks = 1;
  cr_expect_eq(fg_watch_caution(&s.run), 3, "going back is not added");
  s.run.watch.rollbacks = FG_CAUTION_MOST;
  cr_expect_eq(fg_watch_caution(&s.run), FG_CAUTION_MOST);
  close_scene(&s);
}

Test(watch, stopping_ends_where_it_was_good) {
  struct scene s;
  bool back, stop;
  open_scene(&s, "method=rs-fgsm eps=0.1 on-overfit=stop");
  train(&s, 2);
  s.run.watch.bad = FG_WATCH_BAD_LOOKS;
  cr_expect_eq(fg_watch_act(&s.run, &back, &stop), FGSM_CHECK, "there was nothing to go back to");
  s.run.watch.bad = 0;
  cr_assert_eq(fg_watch_keep(&s.run), FGSM_OK);
  s.run.watch.bad = FG_WATCH_BAD_LOOKS;
  cr_assert_eq(fg_watch_act(&s.run, &back, &stop), FGSM_OK);
  cr_expect(back && stop);
  cr_expect_str_eq(last_event(&s), "stop");
  close_scene(&s);
}

/* Else a run that is resumed would go back elsewhere, or craft with less care. */
Test(watch, a_checkpoint_keeps_what_it_knows) {
  static const char words[] = "method=rs-fgsm eps=0.1 optimizer=adam on-overfit=rollback";
  char path[] = "/tmp/fgsm-watch-XXXXXX";
  struct scene was, is;
  bool found, back, stop;
  int file = mkstemp(path);
  cr_assert(file >= 0 && close(file) == 0);
  open_scene(&was, words);
  open_scene(&is, words);
  was.run.checkpoint = is.run.checkpoint = path;
  was.run.writes = is.run.writes = true;
  train(&was, 5);
  was.run.done = 1;
  cr_assert_eq(fg_watch_keep(&was.run), FGSM_OK);
  train(&was, 3);
  was.run.watch.best = 0.7;
  was.run.watch.bad = 1;
  was.run.watch.times = 3;
  was.run.watch.rollbacks = 2;
  cr_assert_eq(fg_checkpoint_write(&was.run), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fg_checkpoint_read(&is.run, &found), FGSM_OK, "%s", fgsm_last_error());
  const struct fg_watch *a = &was.run.watch, *b = &is.run.watch;
  cr_expect(found && b->best == a->best && b->bad == 1 && b->times == 3 && b->rollbacks == 2);
  cr_assert(b->good.pieces && b->good.bytes == a->good.bytes);
  cr_expect(memcmp(b->good.pieces, a->good.pieces, a->good.bytes) == 0, "another good end");
  is.run.watch.bad = FG_WATCH_BAD_LOOKS;
  cr_assert_eq(fg_watch_act(&is.run, &back, &stop), FGSM_OK);
  cr_expect(back && is.run.done == 1 && *fg_engine_steps(is.run.engine) == 5);
  cr_expect_eq(unlink(path), 0);
  close_scene(&was);
  close_scene(&is);
}

Test(watch, going_on_does_nothing) {
  struct scene s;
  bool back, stop;
  open_scene(&s, "method=rs-fgsm eps=0.1");
  s.run.watch.bad = FG_WATCH_BAD_LOOKS;
  cr_assert_eq(fg_watch_keep(&s.run), FGSM_OK);
  cr_assert_eq(fg_watch_act(&s.run, &back, &stop), FGSM_OK);
  cr_expect(!back && !stop && !s.run.watch.good.pieces);
  close_scene(&s);
}

/* More and shorter steps reach other places within the same ball, as far away. */
Test(watch, care_takes_more_and_shorter_steps) {
  struct scene s;
  float x[FG_CAUTION_MOST + 1][8 * 36];
  float *clean = golden_array("training.npz", "x", FG_F32, NULL);
  for (int i = 0; i <= FG_CAUTION_MOST; i++) {
    float most = 0;
    open_scene(&s, "method=fgsm eps=0.1");
    fg_engine_cautious(s.run.engine, i);
    train(&s, 1);
    cr_assert_eq(fg_engine_adversarial(s.run.engine, x[i]), FGSM_OK);
    close_scene(&s);
    for (int k = 0; k < 8 * 36; k++)
      most = fmaxf(most, fabsf(x[i][k] - clean[k]));
    cr_expect_float_eq(most, 0.1, 1e-6, "%d doublings reach %g", i, (double)most);
    for (int k = 0; k < i; k++)
      cr_expect(memcmp(x[i], x[k], sizeof x[0]) != 0, "%d doublings are as %d", i, k);
  }
  free(clean);
}
