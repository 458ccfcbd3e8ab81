/* The public interface as a stranger uses it: arrays attacked in pieces and in place, refusals of
 * what makes no sense, and models written back. The demo's net is the model. */
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fgsm.h"

enum { N = 7, VALUES = 28 * 28 };

static const char model_path[] = FGSM_SOURCE_DIR "/examples/glyphs.onnx";

struct world {
  fgsm_model *model;
  fgsm_options *options;
  float x[N * VALUES], adv[N * VALUES];
  int64_t labels[N];
  fgsm_result results[N];
};

static struct world *world_create(const char *eps, const char *attack) {
  struct world *w = calloc(1, sizeof *w);
  cr_assert_not_null(w);
  cr_assert_eq(fgsm_model_load(model_path, &w->model), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fgsm_options_create(&w->options), FGSM_OK);
  cr_assert_eq(fgsm_options_set(w->options, "attack", attack), FGSM_OK);
  cr_assert_eq(fgsm_options_set(w->options, "eps", eps), FGSM_OK);
  for (int n = 0; n < N; n++)
    for (int i = 0; i < VALUES; i++)
      w->x[n * VALUES + i] = 0.5f + 0.5f * sinf((float)i * 0.05f * (float)(1 + n));
  for (int i = 0; i < N; i++)
    w->labels[i] = i;
  return w;
}

static void world_destroy(struct world *w) {
  fgsm_options_destroy(w->options);
  fgsm_model_destroy(w->model);
  free(w);
}

static fgsm_attack *attack_create(struct world *w, int64_t batch) {
  fgsm_attack *attack = NULL;
  cr_assert_eq(fgsm_attack_create(w->model, w->options, batch, &attack), FGSM_OK, "%s",
               fgsm_last_error());
  return attack;
}

Test(api, arrays_are_attacked_within_eps) {
  struct world *w = world_create("0.05", "fgsm");
  fgsm_attack *attack = attack_create(w, 4);
  cr_assert_eq(fgsm_attack_run(attack, N, w->x, w->labels, NULL, w->adv, w->results), FGSM_OK, "%s",
               fgsm_last_error());
  int moved = 0;
  for (int i = 0; i < N * VALUES; i++) {
    cr_assert(fabsf(w->adv[i] - w->x[i]) <= 0.05f && w->adv[i] >= 0 && w->adv[i] <= 1);
    moved += w->adv[i] != w->x[i];
  }
  cr_expect_gt(moved, N * VALUES / 2);
  for (int i = 0; i < N; i++) {
    cr_expect_eq(w->results[i].label, i);
    cr_expect(w->results[i].adversarial_loss > w->results[i].clean_loss, "sample %d", i);
  }
  fgsm_attack_destroy(attack);
  world_destroy(w);
}

/* Which reads the model's weights: what is freed is overwritten. */
Test(api, an_attack_goes_on_without_its_model) {
  struct world *w = world_create("0.05", "fgsm");
  float want[N * VALUES];
  mallopt(M_PERTURB, 0x5a);
  fgsm_attack *attack = attack_create(w, 4);
  cr_assert_eq(fgsm_attack_run(attack, N, w->x, w->labels, NULL, want, NULL), FGSM_OK);
  fgsm_model_destroy(w->model);
  w->model = NULL;
  cr_assert_eq(fgsm_attack_run(attack, N, w->x, w->labels, NULL, w->adv, NULL), FGSM_OK);
  cr_expect_arr_eq(w->adv, want, sizeof want);
  fgsm_attack_destroy(attack);
  world_destroy(w);
}

Test(api, the_array_may_be_its_own_result) {
  struct world *w = world_create("0.05", "pgd");
  fgsm_attack *attack = attack_create(w, 3);
  cr_assert_eq(fgsm_attack_run(attack, N, w->x, w->labels, NULL, w->adv, NULL), FGSM_OK);
  cr_assert_eq(fgsm_attack_run(attack, N, w->x, w->labels, NULL, w->x, NULL), FGSM_OK);
  cr_expect_eq(memcmp(w->x, w->adv, sizeof w->x), 0);
  fgsm_attack_destroy(attack);
  world_destroy(w);
}

/* Noise is keyed by the index: a sample attacked alone, under its own number, comes out the same.
 */
Test(api, an_index_keys_a_sample_s_noise) {
  struct world *w = world_create("0.1", "noise-uniform");
  fgsm_attack *attack = attack_create(w, 4);
  float alone[VALUES], other[VALUES];
  int64_t index = 5;
  cr_assert_eq(fgsm_attack_run(attack, N, w->x, w->labels, NULL, w->adv, NULL), FGSM_OK);
  cr_assert_eq(fgsm_attack_run(attack, 1, w->x + 5 * VALUES, w->labels + 5, &index, alone, NULL),
               FGSM_OK);
  cr_expect_eq(memcmp(alone, w->adv + 5 * VALUES, sizeof alone), 0);
  cr_assert_eq(fgsm_attack_run(attack, 1, w->x + 5 * VALUES, w->labels + 5, NULL, other, NULL),
               FGSM_OK);
  cr_expect_neq(memcmp(other, alone, sizeof alone), 0);
  fgsm_attack_destroy(attack);
  world_destroy(w);
}

Test(api, generation_alone_makes_the_same_and_says_what_it_did_not_look_at) {
  struct world *w = world_create("0.05", "fgsm");
  float want[N * VALUES];
  fgsm_attack *attack = attack_create(w, 4);
  cr_assert_eq(fgsm_attack_run(attack, N, w->x, w->labels, NULL, want, NULL), FGSM_OK);
  fgsm_attack_destroy(attack);
  cr_assert_eq(fgsm_options_set(w->options, "no-verify", NULL), FGSM_OK);
  attack = attack_create(w, 4);
  cr_assert_eq(fgsm_attack_run(attack, N, w->x, w->labels, NULL, w->adv, w->results), FGSM_OK);
  cr_expect_arr_eq(w->adv, want, sizeof want);
  for (int i = 0; i < N; i++) {
    cr_expect_eq(w->results[i].flags, FGSM_FLAG_UNVERIFIED);
    cr_expect_eq(w->results[i].adversarial_prediction, -1);
    cr_expect(isnan(w->results[i].adversarial_loss) && isfinite(w->results[i].clean_loss));
    cr_expect(w->results[i].linf > 0.049f && w->results[i].gradient_l1 > 0);
  }
  fgsm_attack_destroy(attack);
  world_destroy(w);
}

Test(api, predicted_labels_need_none) {
  struct world *w = world_create("0.05", "fgsm");
  cr_assert_eq(fgsm_options_set(w->options, "labels", "predicted"), FGSM_OK);
  fgsm_attack *attack = attack_create(w, 4);
  cr_assert_eq(fgsm_attack_run(attack, N, w->x, NULL, NULL, w->adv, w->results), FGSM_OK, "%s",
               fgsm_last_error());
  for (int i = 0; i < N; i++)
    cr_expect_eq(w->results[i].label, w->results[i].clean_prediction);
  fgsm_attack_destroy(attack);
  world_destroy(w);
}

Test(api, what_makes_no_sense_is_refused) {
  struct world *w = world_create("0.1", "fgsm");
  fgsm_attack *attack = NULL;
  cr_expect_eq(fgsm_attack_create(w->model, w->options, 0, &attack), FGSM_USAGE);
  cr_expect_eq(fgsm_attack_create(NULL, w->options, 1, &attack), FGSM_USAGE);
  cr_assert_eq(fgsm_options_set(w->options, "eps", "0.1,0.2"), FGSM_OK);
  cr_expect_eq(fgsm_attack_create(w->model, w->options, 1, &attack), FGSM_USAGE);
  cr_assert_eq(fgsm_options_set(w->options, "eps", "0.1"), FGSM_OK);
  cr_assert_eq(fgsm_options_set(w->options, "target", "some.npy"), FGSM_OK);
  cr_expect_eq(fgsm_attack_create(w->model, w->options, 1, &attack), FGSM_USAGE);
  cr_expect(strstr(fgsm_last_error(), "target"));
  cr_assert_null(attack);
  cr_assert_eq(fgsm_options_set(w->options, "target", "least-likely"), FGSM_OK);
  attack = attack_create(w, 4);
  cr_expect_eq(fgsm_attack_run(attack, -1, w->x, w->labels, NULL, w->adv, NULL), FGSM_USAGE);
  cr_expect_eq(fgsm_attack_run(attack, 1, NULL, w->labels, NULL, w->adv, NULL), FGSM_USAGE);
  cr_expect_eq(fgsm_attack_run(attack, 0, NULL, NULL, NULL, NULL, NULL), FGSM_OK);
  fgsm_attack_destroy(attack);
  fgsm_attack_destroy(NULL);
  fgsm_model_destroy(NULL);
  fgsm_options_destroy(NULL);
  fgsm_free(NULL);
  world_destroy(w);
}

Test(api, a_label_out_of_range_is_named_by_its_index) {
  struct world *w = world_create("0.1", "fgsm");
  int64_t index[N] = {100, 101, 102, 103, 104, 105, 106};
  fgsm_attack *attack = attack_create(w, 2);
  w->labels[5] = 99;
  cr_expect_eq(fgsm_attack_run(attack, N, w->x, w->labels, index, w->adv, NULL), FGSM_DATA);
  cr_expect(strstr(fgsm_last_error(), "105"), "'%s' does not name sample 105", fgsm_last_error());
  fgsm_attack_destroy(attack);
  world_destroy(w);
}

Test(api, an_interruption_ends_a_run) {
  struct world *w = world_create("0.1", "pgd");
  fgsm_attack *attack = attack_create(w, 4);
  fgsm_interrupt();
  cr_expect_eq(fgsm_attack_run(attack, N, w->x, w->labels, NULL, w->adv, NULL), FGSM_INTERRUPTED);
  fgsm_interrupt_clear();
  cr_expect_eq(fgsm_attack_run(attack, N, w->x, w->labels, NULL, w->adv, NULL), FGSM_OK);
  fgsm_attack_destroy(attack);
  world_destroy(w);
}

Test(api, a_saved_model_computes_the_same) {
  char path[] = "/tmp/fgsm-api-XXXXXX";
  int fd = mkstemp(path);
  cr_assert(fd >= 0);
  close(fd);
  struct world *w = world_create("0.1", "fgsm");
  fgsm_attack *attack = attack_create(w, N);
  cr_assert_eq(fgsm_attack_run(attack, N, w->x, w->labels, NULL, w->adv, NULL), FGSM_OK);
  fgsm_attack_destroy(attack);
  cr_assert_eq(fgsm_model_save(w->model, path), FGSM_OK, "%s", fgsm_last_error());
  fgsm_model_destroy(w->model);
  cr_assert_eq(fgsm_model_load(path, &w->model), FGSM_OK, "%s", fgsm_last_error());
  unlink(path);
  static float again[N * VALUES];
  attack = attack_create(w, N);
  cr_assert_eq(fgsm_attack_run(attack, N, w->x, w->labels, NULL, again, NULL), FGSM_OK);
  cr_expect_eq(memcmp(again, w->adv, sizeof again), 0);
  fgsm_attack_destroy(attack);
  world_destroy(w);
}

Test(api, statuses_have_names_texts_and_codes) {
  static const struct {
    fgsm_status status;
    const char *name;
    int code;
  } cases[] = {{FGSM_OK, "OK", 0},
               {FGSM_CHECK, "CHECK", 1},
               {FGSM_USAGE, "USAGE", 2},
               {FGSM_UNSUPPORTED, "UNSUPPORTED", 3},
               {FGSM_DATA, "DATA", 4},
               {FGSM_DEVICE, "DEVICE", 5},
               {FGSM_INTERNAL, "INTERNAL", 6},
               {FGSM_INTERRUPTED, "INTERRUPTED", 130}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    cr_expect_str_eq(fgsm_status_name(cases[i].status), cases[i].name);
    cr_expect_eq(fgsm_status_exit_code(cases[i].status), cases[i].code);
    cr_expect(fgsm_status_text(cases[i].status)[0]);
  }
}
