/* A model with two inputs: one is attacked, the other fed; against PyTorch's losses of the golden
 * net, and the ways in which names and arrays can fail to fit. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attacking.h"

struct pair {
  struct fg_onnx *onnx;
  float *x[2];
  double *wide[2];
  int64_t *y;
  float *loss;
  int64_t count[2]; /* elements of a sample */
};

static struct pair open_pair(void) {
  struct pair p = {.onnx = golden_model("two_inputs"), .count = {64, 6}};
  static const char *const names[] = {"x", "x2"};
  for (int k = 0; k < 2; k++) {
    p.x[k] = golden_array("two_inputs.npz", names[k], FG_F32, NULL);
    p.wide[k] = golden_array("two_inputs.npz", names[k], FG_F64, NULL);
  }
  p.y = golden_array("two_inputs.npz", "y", FG_I64, NULL);
  p.loss = golden_array("two_inputs.npz", "loss", FG_F32, NULL);
  return p;
}

static void close_pair(struct pair *p) {
  for (int k = 0; k < 2; k++) {
    free(p->x[k]);
    free(p->wide[k]);
  }
  free(p->y);
  free(p->loss);
  fg_onnx_close(p->onnx);
}

/* Sample i, input `attacked` (0 or 1); the other is sample `other`'s. */
static struct setting one(const struct pair *p, int attacked, int64_t i,
                          const struct fg_attack_arrays *arrays) {
  struct setting s = {.onnx = p->onnx,
                      .device = "cpu",
                      .words =
                          attacked ? "eps=0.1 clip=none input=x2" : "eps=0.1 clip=none input=x",
                      .shape = {FG_F32, 3, {1, 8, 8}},
                      .batch = 2,
                      .n = 1,
                      .x = p->x[attacked] + i * p->count[attacked],
                      .labels = p->y + i,
                      .arrays = arrays};
  if (attacked)
    s.shape = (struct fg_sample_shape){FG_F32, 1, {6}};
  return s;
}

static struct fg_attack_feed feed_of(const struct pair *p, int fed, int64_t i, bool batch_axis) {
  struct fg_attack_feed feed = {fed ? "x2" : "x", fed ? 1 : 3, {1, 8, 8}, NULL};
  if (fed)
    feed.dim[0] = 6;
  if (batch_axis) {
    memmove(feed.dim + 1, feed.dim, 3 * sizeof *feed.dim);
    feed.dim[0] = 1;
    feed.rank++;
  }
  feed.data = p->wide[fed] + i * p->count[fed];
  return feed;
}

Test(attack_inputs, one_input_is_attacked_and_the_other_fed) {
  struct pair p = open_pair();
  for (int attacked = 0; attacked < 2; attacked++)
    for (int64_t i = 0; i < 3; i++) {
      struct fg_attack_feed feed = feed_of(&p, !attacked, i, i == 1);
      struct fg_attack_arrays arrays = {.feeds = &feed, .n_feeds = 1};
      struct setting s = one(&p, attacked, i, &arrays);
      struct outcome o = attack(&s);
      cr_expect_float_eq(o.results[0][0].clean_loss, p.loss[i], 1e-5);
      cr_expect(o.results[0][0].linf > 0.09f);
      outcome_free(&o);
      feed.data = p.wide[!attacked] + (i + 1) % 3 * p.count[!attacked];
      o = attack(&s);
      cr_expect(fabsf(o.results[0][0].clean_loss - p.loss[i]) > 1e-4f,
                "the fed values play no part");
      outcome_free(&o);
    }
  close_pair(&p);
}

static void expect_refused(const struct setting *s, const char *says) {
  struct fg_attacker *a = NULL;
  fgsm_status status = try_create(s, &a);
  cr_expect(status == FGSM_USAGE && strstr(fgsm_last_error(), says), "%d: %s", status,
            fgsm_last_error());
  fg_attacker_destroy(a);
}

Test(attack_inputs, what_does_not_fit_is_refused) {
  struct pair p = open_pair();
  struct fg_attack_feed feed = feed_of(&p, 1, 0, false), two[2];
  struct fg_attack_arrays arrays = {.feeds = &feed, .n_feeds = 1};
  struct setting s = one(&p, 0, 0, &arrays);
  feed.name = "z";
  expect_refused(&s, "no input 'z'");
  feed.name = "x";
  expect_refused(&s, "the input that is attacked");
  feed = feed_of(&p, 1, 0, false);
  feed.dim[0] = 3;
  expect_refused(&s, "the array is [3]");
  feed = feed_of(&p, 1, 0, true);
  feed.dim[0] = 2;
  expect_refused(&s, "the array is [2,6]");
  two[0] = two[1] = feed_of(&p, 1, 0, false);
  arrays = (struct fg_attack_arrays){.feeds = two, .n_feeds = 2};
  expect_refused(&s, "given twice");
  s.arrays = NULL;
  expect_refused(&s, "--feed x2=FILE.npy");
  s.words = "eps=0.1 input=q";
  expect_refused(&s, "no input 'q'");
  s.words = "eps=0.1 input=x output=q";
  expect_refused(&s, "no output 'q'");
  close_pair(&p);
}
