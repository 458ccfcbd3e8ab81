/* Restarts: what is broken is not climbed again, what stands is gathered, and yet every sample's result is what
 * all climbs of all samples give: that of the first which reaches the aim, else that of the highest loss. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacker.h"
#include "attacking.h"
#include "device.h"
#include "io_files.h"
#include "net.h"

enum { N = 30, C = 3, SIDE = 13, PIXELS = C * SIDE * SIDE, CLASSES = 10, RESTARTS = 6, STRIP = 4 };

static const char *const devices[] = {"ref", "cpu"};

static struct {
  struct fg_onnx *onnx;
  uint8_t bytes[N * PIXELS];
  int64_t labels[N], index[N];
} world;

static void open_world(void) {
  world.onnx = golden_model("conv");
  fill_bytes(world.bytes, N * PIXELS, 1);
  fill_labels(world.labels, N, CLASSES, 3);
  for (int i = 0; i < N; i++)
    world.index[i] = 100 + i;
}

static void close_world(void) {
  fg_onnx_close(world.onnx);
}

TestSuite(restarts, .init = open_world, .fini = close_world);

/* All climbs of all samples. */
struct climbs {
  int32_t prediction[RESTARTS][N];
  double loss[RESTARTS][N];
  uint8_t written[RESTARTS][N * PIXELS];
};

static struct fg_attacker *attacker_of(const char *device, const char *words, int64_t batch) {
  struct fg_attacker *a = NULL;
  struct setting s = {.onnx = world.onnx,
                      .device = device,
                      .words = words,
                      .shape = {FG_U8, 3, {C, SIDE, SIDE}},
                      .batch = batch};
  cr_assert_eq(try_create(&s, &a), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fg_attacker_info(a)->strip, batch);
  return a;
}

/* One climb of the whole batch by passes. */
static void climb(struct fg_attacker *a, const struct fg_batch *b, int restart,
                  struct climbs *all) {
  const struct fg_attack_spec *spec = &a->info.spec;
  double params[FG_PARAM_COUNT];
  void *x = a->ring[0];
  fg_run_params(a, a->info.eps[0], 1, spec->radius, restart, params);
  cr_assert_eq(fg_upload(a, a->wire[FG_WIRE_params], params, sizeof params), FGSM_OK);
  cr_assert_eq(fg_pass_run(a, &a->start, NULL, x), FGSM_OK);
  for (int step = 0; step < spec->steps; step++) {
    cr_assert_eq(fg_pass_run(a, &a->gradient, x, fg_run_other(a, x)), FGSM_OK);
    x = fg_run_other(a, x);
  }
  cr_assert_eq(fg_run_look(a, b, &x), FGSM_OK);
  cr_assert_eq(fg_run_outcome(a, all->prediction[restart], all->loss[restart]), FGSM_OK);
  cr_assert_eq(fg_samples_fetch(a, x), FGSM_OK);
  memcpy(all->written[restart], a->written, sizeof all->written[restart]);
}

static struct climbs *climb_all(const char *device, const char *words, const int64_t *labels) {
  struct fg_attacker *a = attacker_of(device, words, N);
  struct climbs *all = calloc(1, sizeof *all);
  int64_t place[N];
  for (int i = 0; i < N; i++)
    place[i] = i;
  struct fg_batch b = {N, place, world.bytes, labels, NULL, world.index};
  cr_assert(all);
  cr_assert_eq(a->device->backend->enter(a->device), FGSM_OK);
  cr_assert_eq(fg_samples_load(a, &b), FGSM_OK);
  cr_assert_eq(fg_run_labels(a, &b), FGSM_OK);
  for (int r = 0; r < RESTARTS; r++)
    climb(a, &b, r, all);
  fg_attacker_destroy(a);
  return all;
}

/* ---- what comes of a run */

struct ran {
  fgsm_result results[N];
  uint8_t x_adv[N * PIXELS];
  int64_t climbs;
};

static void run(struct fg_attacker *a, const int64_t *labels, struct ran *out) {
  fgsm_result *results = out->results;
  void *x_adv = out->x_adv;
  cr_assert_eq(fg_attacker_run(a, N, world.bytes, labels, NULL, world.index, &x_adv, &results),
               FGSM_OK, "%s", fgsm_last_error());
  out->climbs = fg_attacker_climbs(a);
  fg_attacker_destroy(a);
}

static bool reached(const fgsm_result *r, int32_t prediction, bool targeted) {
  return prediction >= 0 && (prediction == r->label) == targeted;
}

/* The climb whose result sample i is to have; *tried: how many it takes to know. */
static int expected(const struct climbs *all, const fgsm_result *result, int i, bool targeted,
                    int *tried) {
  int best = 0;
  *tried = RESTARTS;
  for (int r = 0; r < RESTARTS; r++) {
    double loss = all->loss[r][i], most = all->loss[best][i];
    if (reached(result, all->prediction[r][i], targeted)) {
      *tried = r + 1;
      return r;
    }
    if (targeted ? loss < most : loss > most)
      best = r;
  }
  return best;
}

/* By restart: how many climbs it takes, and how many samples it breaks. */
static void expect_results(const char *device, const char *words, bool targeted,
                           const int64_t *labels) {
  struct climbs *all = climb_all(device, words, labels);
  static struct ran ran;
  int64_t climbs = 0;
  int late = 0, standing = 0;
  run(attacker_of(device, words, STRIP), labels, &ran);
  for (int i = 0; i < N; i++) {
    const fgsm_result *r = &ran.results[i];
    int tried, best = expected(all, r, i, targeted, &tried);
    bool broken = reached(r, all->prediction[best][i], targeted);
    climbs += tried;
    late += broken && tried > 1;
    standing += !broken;
    cr_expect_eq(r->adversarial_prediction, all->prediction[best][i], "sample %d on %s: %s", i,
                 device, words);
    cr_expect(fabs(r->adversarial_loss - all->loss[best][i]) <= 1e-5 * (1 + all->loss[best][i]),
              "sample %d on %s: loss %g, not %g", i, device, r->adversarial_loss,
              all->loss[best][i]);
    if (strcmp(device, "ref") == 0)
      cr_expect_eq(memcmp(ran.x_adv + i * PIXELS, all->written[best] + i * PIXELS, PIXELS), 0,
                   "sample %d: %s", i, words);
  }
  cr_expect_eq(ran.climbs, climbs, "%s on %s: %lld climbs, not %lld", words, device,
               (long long)ran.climbs, (long long)climbs);
  cr_expect(late > 1 && standing > 1 && late + standing < N,
            "%s on %s tells little: %d broken late, %d standing", words, device, late, standing);
  free(all);
}

Test(restarts, give_what_all_climbs_of_all_samples_give) {
  for (int d = 0; d < 2; d++) {
    expect_results(devices[d],
                   "exact attack=pgd eps=12/255 alpha=2/255 steps=1 restarts=6 labels=predicted",
                   false, world.labels);
    expect_results(devices[d],
                   "exact attack=pgd eps=56/255 alpha=16/255 steps=2 restarts=6 target=3", true,
                   world.labels);
  }
}

/* What is known of the clean samples, and of the first gradient, is the first climb's. */
Test(restarts, leave_what_is_told_of_the_clean_samples) {
  static struct ran one, six;
  for (int d = 0; d < 2; d++) {
    run(attacker_of(devices[d], "attack=rs-fgsm eps=8/255", STRIP), world.labels, &one);
    run(attacker_of(devices[d], "attack=rs-fgsm eps=8/255 restarts=6", STRIP), world.labels, &six);
    int others = 0;
    for (int i = 0; i < N; i++) {
      const fgsm_result *p = &one.results[i], *q = &six.results[i];
      cr_expect(p->label == q->label && p->clean_prediction == q->clean_prediction &&
                p->clean_loss == q->clean_loss && p->gradient_l1 == q->gradient_l1 &&
                p->zero_gradient_share == q->zero_gradient_share);
      others += p->adversarial_loss != q->adversarial_loss;
    }
    cr_expect(others > 0 && others < N, "%d others on %s", others, devices[d]);
  }
}

/* ---- strips */

static struct fg_backend counting;
static int64_t strips;

static fgsm_status counted_upload(struct fg_device *device, void *to, const void *from,
                                  size_t bytes, void *stream) {
  strips += bytes == (size_t)STRIP * PIXELS;
  return fg_ref.upload(device, to, from, bytes, stream);
}

/* The strips that a run loads, of what stands of n samples before each restart. */
Test(restarts, gather_what_stands_into_full_strips) {
  static const char words[] =
      "attack=pgd eps=12/255 alpha=2/255 steps=1 restarts=6 labels=predicted";
  static struct ran ran;
  int64_t standing[RESTARTS] = {0}, want = 0, ragged = 0;
  struct climbs *all = climb_all("ref", words, world.labels);
  struct fg_attacker *a = attacker_of("ref", words, STRIP);
  counting = fg_ref;
  counting.upload = counted_upload;
  a->device->backend = &counting;
  run(a, world.labels, &ran);
  for (int i = 0; i < N; i++) {
    int tried;
    expected(all, &ran.results[i], i, false, &tried);
    for (int r = 0; r < tried; r++)
      standing[r]++;
  }
  for (int r = 0; r < RESTARTS; r++) {
    want += (standing[r] + STRIP - 1) / STRIP;
    ragged += standing[r] % STRIP != 0;
  }
  cr_expect_eq(strips, want, "%lld strips, not %lld", (long long)strips, (long long)want);
  cr_expect(ragged > 0 && want < (int64_t)RESTARTS * ((N + STRIP - 1) / STRIP));
  free(all);
}

/* Each eps of a list gathers its own. */
Test(restarts, of_a_list_of_eps_are_those_of_each) {
  static const char *const eps[] = {"4/255", "0", "12/255"};
  static struct ran one, all[3];
  char words[128];
  struct fg_attacker *a =
      attacker_of("ref", "attack=rs-fgsm eps=4/255,0,12/255 restarts=4 labels=predicted", STRIP);
  void *x_adv[] = {all[0].x_adv, all[1].x_adv, all[2].x_adv};
  fgsm_result *results[] = {all[0].results, all[1].results, all[2].results};
  cr_assert_eq(fg_attacker_run(a, N, world.bytes, world.labels, NULL, world.index, x_adv, results),
               FGSM_OK, "%s", fgsm_last_error());
  int64_t climbs = fg_attacker_climbs(a), sum = 0;
  fg_attacker_destroy(a);
  for (int k = 0; k < 3; k++) {
    snprintf(words, sizeof words, "attack=rs-fgsm eps=%s restarts=4 labels=predicted", eps[k]);
    run(attacker_of("ref", words, STRIP), world.labels, &one);
    sum += one.climbs;
    cr_expect_eq(memcmp(one.x_adv, all[k].x_adv, sizeof one.x_adv), 0, "%s", words);
    for (int i = 0; i < N; i++)
      cr_expect_eq(one.results[i].adversarial_loss, all[k].results[i].adversarial_loss);
  }
  cr_expect_eq(climbs, sum, "%lld climbs, not %lld", (long long)climbs, (long long)sum);
  cr_expect(sum > 3 * (int64_t)N, "%lld", (long long)sum);
}

/* ---- datasets */

static void count_call(void *user, const fgsm_progress *progress) {
  (void)progress;
  ++*(int *)user;
}

/* The climbs that the answer tells; *turns: how often the device was handed samples. */
static int64_t attack_file(const char *data, const char *words, int *turns) {
  char path[1024], *text = NULL;
  fgsm_model *model = NULL;
  fgsm_options *o = options_from(words);
  snprintf(path, sizeof path, "%s/conv.onnx", golden_dir());
  cr_assert_eq(fgsm_model_load(path, &model), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fgsm_attack_dataset(model, data, o, count_call, turns, &text), FGSM_OK, "%s",
               fgsm_last_error());
  json_t *answer = json_loads(text, 0, NULL), *climbs = json_object_get(answer, "climbs");
  cr_assert(json_is_integer(climbs), "%s", text);
  int64_t n = json_integer_value(climbs);
  json_decref(answer);
  fgsm_free(text);
  fgsm_model_destroy(model);
  fgsm_options_destroy(o);
  return n;
}

/* Batches are handed to the device one by one, but many at a time where restarts gather. */
Test(restarts, gather_over_the_batches_of_a_dataset, .init = files_begin, .fini = files_end) {
  static struct ran ran;
  static struct buffer file;
  int turns = 0, gathered = 0;
  for (int i = 0; i < N; i++)
    world.index[i] = i;
  put_npy(&file, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (30, 3, 13, 13), }",
          world.bytes, sizeof world.bytes);
  const char *data = files_write("x.npy", file.data, file.n);
  int64_t one =
      attack_file(data, "device=ref attack=rs-fgsm eps=8/255 labels=predicted batch=4", &turns);
  int64_t six = attack_file(
      data, "device=ref attack=rs-fgsm eps=8/255 labels=predicted batch=4 restarts=6", &gathered);
  run(attacker_of("ref", "attack=rs-fgsm eps=8/255 labels=predicted restarts=6", STRIP),
      world.labels, &ran);
  cr_expect_eq(one, N);
  cr_expect_eq(six, ran.climbs, "%lld climbs, not %lld", (long long)six, (long long)ran.climbs);
  cr_expect(six > N && six < 6 * (int64_t)N, "%lld climbs", (long long)six);
  cr_expect_eq(turns, (N + STRIP - 1) / STRIP, "%d turns", turns);
  cr_expect_eq(gathered, 1, "%d turns", gathered);
}
