/* Training on a card that is fake (fake_device.h), with delays, with recordings or without, and failures
 * on purpose: the model that is written must be, byte for byte, the one that the synchronous backend
 * around the same kernels writes; a failure must end in its status without a model; and nothing may
 * leak. For the sanitizers, which Criterion's processes do not suit.
 *
 *   stress-training MODEL PLUGIN-FOLDER INNER [RUNS [SEED]]      INNER: cpu or ref
 *
 * The model takes [N, 1, 6, 6] and has 3 classes (tests/golden/training.onnx). */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stress.h"

enum { SAMPLES = 48, VALUES = 36, MOST_BYTES = 1 << 20 };

static char folder[] = "/tmp/stress-training-XXXXXX", data[64], labels[64], out[64], checkpoint[80];
static const char *const methods[] = {
    "method=rs-fgsm",
    "method=clean optimizer=adam",
    "method=free replays=3 optimizer=adam",
    "method=fgsm-pgi ema=0.9",
    "method=pgd steps=3 augment=crop-flip",
    "method=trades steps=2",
};
enum { N_METHODS = sizeof methods / sizeof *methods };

static struct {
  void (*reset)(void);
  const char *(*leaks)(void);
  long (*replays)(void);
} fake;

/* ---- a run and the model that it wrote */

static fgsm_status run(const fgsm_model *model, const char *words, const char *device) {
  fgsm_options *o = NULL;
  char more[256];
  fgsm_status status = fgsm_options_create(&o);
  snprintf(more, sizeof more,
           "labels=%s out=%s device=%s eps=0.1 batch=8 lr=0.02 epochs=2 validation=8 threads=1 "
           "watch=3",
           labels, out, device);
  if (status == FGSM_OK)
    status = stress_set_words(o, more);
  if (status == FGSM_OK)
    status = stress_set_words(o, words);
  if (status == FGSM_OK)
    status = fgsm_train_dataset(model, data, o, NULL, NULL, NULL);
  fgsm_options_destroy(o);
  return status;
}

/* The model's bytes, 0 if there is none. It and the checkpoint are removed. */
static size_t collect(char *text) {
  FILE *file = fopen(out, "re");
  size_t n = file ? fread(text, 1, MOST_BYTES, file) : 0;
  if (file)
    fclose(file);
  unlink(out);
  unlink(checkpoint);
  return n;
}

/* ---- trials */

static bool complain(long trial, const char *words, const char *what) {
  fprintf(stderr, "trial %ld (%s, FAKE_DELAY=%s FAKE_RECORDS=%s FAKE_FAIL=%s): %s\n", trial, words,
          getenv("FAKE_DELAY"), getenv("FAKE_RECORDS"), getenv("FAKE_FAIL"), what);
  return false;
}

struct tally {
  long good, failed, replays;
};

static bool try(const fgsm_model *model, long trial, uint32_t seed, char *const *want,
                const size_t *n_want, struct tally *tally) {
  static char got[MOST_BYTES];
  uint32_t state = seed;
  int method = (int)stress_draw(&state, N_METHODS);
  const char *words = methods[method];
  stress_set_number("FAKE_DELAY", stress_draw(&state, 3) * 50);
  stress_set_number("FAKE_RECORDS", stress_draw(&state, 4) != 0);
  bool fails = stress_plan_failure(&state, 100);
  fake.reset();
  fgsm_status status = run(model, words, "cuda");
  size_t n = collect(got);
  if (*fake.leaks())
    return complain(trial, words, fake.leaks());
  tally->replays += fake.replays();
  if (status != FGSM_OK) {
    tally->failed++;
    if (!fails || (status != FGSM_DEVICE && status != FGSM_MEMORY))
      return complain(trial, words, fgsm_last_error());
    return n == 0 || complain(trial, words, "a run that failed left a model");
  }
  tally->good++;
  return (n == n_want[method] && memcmp(got, want[method], n) == 0) ||
         complain(trial, words, "what was written differs");
}

/* What the synchronous backend writes for each method. */
static bool make_wanted(const fgsm_model *model, const char *inner, char **want, size_t *n) {
  for (int i = 0; i < N_METHODS; i++) {
    want[i] = malloc(MOST_BYTES);
    if (!want[i] || run(model, methods[i], inner) != FGSM_OK) {
      fprintf(stderr, "%s on %s: %s\n", methods[i], inner, fgsm_last_error());
      return false;
    }
    n[i] = collect(want[i]);
    if (n[i] == 0)
      return false;
  }
  return true;
}

int main(int argc, char **argv) {
  if (argc < 4)
    return 2;
  long runs = argc > 4 ? strtol(argv[4], NULL, 10) : 100;
  uint32_t seed = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 1;
  char path[4096], *want[N_METHODS] = {NULL};
  size_t n_want[N_METHODS];
  struct tally tally = {0};
  fgsm_model *model = NULL;
  if (!mkdtemp(folder))
    return 2;
  snprintf(data, sizeof data, "%s/x.npy", folder);
  snprintf(labels, sizeof labels, "%s/y.npy", folder);
  snprintf(out, sizeof out, "%s/out.onnx", folder);
  snprintf(checkpoint, sizeof checkpoint, "%s.checkpoint", out);
  stress_make_data(data, labels, SAMPLES, "1, 6, 6", VALUES, 3);
  setenv("FGSM_PLUGIN_PATH", argv[2], 1);
  setenv("FAKE_INNER", argv[3], 1);
  snprintf(path, sizeof path, "%s/libfgsm_cuda.so", argv[2]);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  bool good = stress_find(library, "fake_reset", &fake.reset) &&
              stress_find(library, "fake_leaks", &fake.leaks) &&
              stress_find(library, "fake_replays", &fake.replays) &&
              fgsm_model_load(argv[1], &model) == FGSM_OK &&
              make_wanted(model, argv[3], want, n_want);
  if (!good)
    fprintf(stderr, "cannot begin: %s\n", library ? fgsm_last_error() : dlerror());
  for (long i = 0; i < runs && good; i++)
    good = try(model, i, seed + (uint32_t)i * 7919u, want, n_want, &tally);
  if (good)
    printf("stress-training: %ld runs wrote what %s writes, %ld failed as they had to; %ld "
           "replays\n",
           tally.good, argv[3], tally.failed, tally.replays);
  if (good && runs >= 20)
    good = tally.good && tally.failed && tally.replays;
  for (int i = 0; i < N_METHODS; i++)
    free(want[i]);
  fgsm_model_destroy(model);
  unlink(out);
  unlink(checkpoint);
  unlink(data);
  unlink(labels);
  rmdir(folder);
  return !good;
}
