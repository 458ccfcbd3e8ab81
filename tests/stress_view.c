/* Views on a fake card (fake_device.h), whose memory is the host's and whose work is done when its turn
 * comes: batch after batch is put on the card's own stream, each where the last one's labels and images
 * still are, and when the attack is gone they must hold, bit for bit, what arrays give on the cpu.
 * Failures on purpose must end in their status, leave nothing at work, and nothing may leak.
 *
 *   stress-view MODEL PLUGIN-FOLDER [RUNS [SEED]]
 *
 * The model takes [N, 3, 13, 13] and has classes 0 to 9 (tests/golden/conv.onnx). */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress.h"

/* STRIDE: floats from one batch to the next, each on 64 bytes. */
enum { N = 4, C = 3, SIDE = 13, VALUES = C * SIDE * SIDE, BATCHES = 5 };
enum { STRIDE = (N * VALUES + 15) / 16 * 16 };

static const char *const attacks[][2] = {
    {"fgsm", "1"}, {"pgd", "2"}, {"pgd", "3"}, {"mi-fgsm", "4"}};
enum { N_ATTACKS = sizeof attacks / sizeof *attacks };

static float *x, *x_adv, *want; /* BATCHES batches */
static int64_t *labels;
static void (*reset)(void);
static const char *(*leaks)(void);
static long (*pending)(void);

static fgsm_attack *create(const fgsm_model *model, const char *device, int attack) {
  fgsm_options *o = NULL;
  fgsm_attack *a = NULL;
  bool set = fgsm_options_create(&o) == FGSM_OK &&
             fgsm_options_set(o, "device", device) == FGSM_OK &&
             fgsm_options_set(o, "threads", "1") == FGSM_OK &&
             fgsm_options_set(o, "attack", attacks[attack][0]) == FGSM_OK &&
             fgsm_options_set(o, "steps", attacks[attack][1]) == FGSM_OK &&
             fgsm_options_set(o, "eps", "0.1") == FGSM_OK;
  if (!set || fgsm_attack_create(model, o, N, &a) != FGSM_OK)
    a = NULL;
  fgsm_options_destroy(o);
  return a;
}

static fgsm_status put(fgsm_attack *a, int batch, bool in_place) {
  int64_t shape[4] = {N, C, SIDE, SIDE};
  fgsm_view view = {
      .data = x + batch * STRIDE, .device = {2, 0}, .ndim = 4, .dtype = {2, 32, 1}, .shape = shape};
  fgsm_view to = view, classes = view;
  to.data = x_adv + batch * STRIDE;
  classes.data = labels + batch * 8; /* on 64 bytes */
  classes.ndim = 1;
  classes.dtype.code = 0;
  classes.dtype.bits = 64;
  return fgsm_attack_run_view(a, &view, &classes, batch * N, in_place ? &view : &to, NULL);
}

static bool make_wanted(const fgsm_model *model, int attack) {
  fgsm_attack *a = create(model, "cpu", attack);
  bool good = a != NULL;
  for (int b = 0; b < BATCHES && good; b++) {
    int64_t index[N];
    for (int i = 0; i < N; i++)
      index[i] = b * N + i;
    good = fgsm_attack_run(a, N, x + b * STRIDE, labels + b * 8, index, want + b * STRIDE, NULL) ==
           FGSM_OK;
  }
  fgsm_attack_destroy(a);
  return good;
}

static void fill(void) {
  uint32_t state = 99;
  for (int i = 0; i < BATCHES * STRIDE; i++)
    x[i] = (float)stress_draw(&state, 256) / 255;
  for (int i = 0; i < BATCHES * 8; i++)
    labels[i] = stress_draw(&state, 10);
}

/* False, with words, if something is not as it should be. */
static bool try(const fgsm_model *model, uint32_t seed, int *failed) {
  static const char *const points[] = {"alloc", "upload", "run", "event"};
  uint32_t state = seed;
  int attack = (int)stress_draw(&state, N_ATTACKS);
  bool in_place = stress_draw(&state, 2);
  char fail[32] = "";
  if (stress_draw(&state, 3) == 0)
    snprintf(fail, sizeof fail, "%s:%u", points[stress_draw(&state, 4)],
             1 + stress_draw(&state, 60));
  fill();
  memset(x_adv, 0xFF, BATCHES * STRIDE * sizeof *x_adv);
  if (!make_wanted(model, attack))
    return false;
  setenv("FAKE_DELAY", stress_draw(&state, 2) ? "200" : "0", 1);
  setenv("FAKE_FAIL", fail, 1);
  reset();
  fgsm_attack *a = create(model, "cuda", attack);
  fgsm_status status = a ? FGSM_OK : FGSM_DEVICE;
  for (int b = 0; b < BATCHES && status == FGSM_OK; b++)
    status = put(a, b, in_place);
  long left = status == FGSM_OK ? 0 : pending();
  fgsm_attack_destroy(a);
  if (left) {
    fprintf(stderr, "seed %u: a view that failed left %ld pieces of work\n", seed, left);
    return false;
  }
  if (*leaks()) {
    fprintf(stderr, "seed %u: %s\n", seed, leaks());
    return false;
  }
  const float *got = in_place ? x : x_adv;
  bool same = true;
  for (int b = 0; b < BATCHES; b++)
    same = same && memcmp(got + b * STRIDE, want + b * STRIDE, N * VALUES * sizeof *want) == 0;
  *failed += *fail && (status != FGSM_OK || !same);
  if (same || *fail) /* a card that is lost after the last word is the stream's to tell */
    return true;
  fprintf(stderr, "seed %u (%s, %s): %s\n", seed, attacks[attack][0],
          in_place ? "in place" : "aside",
          status == FGSM_OK ? "what came of it differs" : fgsm_last_error());
  return false;
}

int main(int argc, char **argv) {
  if (argc < 3)
    return 2;
  int runs = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 40, failed = 0;
  uint32_t seed = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 1;
  size_t bytes = BATCHES * STRIDE * sizeof *x;
  char path[4096];
  fgsm_model *model = NULL;
  x = aligned_alloc(64, (bytes + 63) / 64 * 64);
  x_adv = aligned_alloc(64, (bytes + 63) / 64 * 64);
  want = malloc(bytes);
  labels = aligned_alloc(64, BATCHES * 64);
  setenv("FGSM_PLUGIN_PATH", argv[2], 1);
  setenv("FAKE_INNER", "cpu", 1);
  snprintf(path, sizeof path, "%s/libfgsm_cuda.so", argv[2]);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  bool good = x && x_adv && want && labels && stress_find(library, "fake_reset", &reset) &&
              stress_find(library, "fake_leaks", &leaks) &&
              stress_find(library, "fake_pending", &pending) &&
              fgsm_model_load(argv[1], &model) == FGSM_OK;
  if (!good)
    fprintf(stderr, "cannot begin: %s\n", library ? fgsm_last_error() : dlerror());
  for (int i = 0; i < runs && good; i++)
    good = try(model, seed + (uint32_t)i * 7919u, &failed);
  if (good)
    printf("stress-view: %d runs, %d of which failed as they had to\n", runs, failed);
  if (good && runs >= 40)
    good = failed > 0;
  fgsm_model_destroy(model);
  free(x);
  free(x_adv);
  free(want);
  free(labels);
  return !good;
}
