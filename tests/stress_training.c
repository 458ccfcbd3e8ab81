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

#include "fgsm.h"

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

/* ---- data */

static void write_npy(const char *path, const char *type, const char *shape, const void *values,
                      size_t bytes) {
  char head[128];
  int n = snprintf(head, sizeof head, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                   type, shape);
  int whole = (10 + n + 1 + 63) / 64 * 64;
  uint16_t length = (uint16_t)(whole - 10);
  FILE *file = fopen(path, "we");
  if (!file)
    abort();
  fwrite("\x93NUMPY\x01\x00", 1, 8, file);
  fwrite(&length, 2, 1, file);
  fprintf(file, "%s%*s\n", head, whole - 11 - n, "");
  fwrite(values, 1, bytes, file);
  fclose(file);
}

static void make_data(void) {
  static uint8_t x[SAMPLES * VALUES];
  int64_t y[SAMPLES];
  char shape[64];
  uint32_t state = 12345;
  for (size_t i = 0; i < sizeof x; i++) {
    state = state * 1664525u + 1013904223u;
    x[i] = (uint8_t)(state >> 24);
  }
  for (int i = 0; i < SAMPLES; i++)
    y[i] = i * 7 % 3;
  snprintf(shape, sizeof shape, "%d, 1, 6, 6", SAMPLES);
  write_npy(data, "|u1", shape, x, sizeof x);
  snprintf(shape, sizeof shape, "%d,", SAMPLES);
  write_npy(labels, "<i8", shape, y, sizeof y);
}

/* ---- a run and the model that it wrote */

static fgsm_status set_words(fgsm_options *o, const char *words) {
  char copy[256], *rest = copy;
  snprintf(copy, sizeof copy, "%s", words);
  for (char *word; (word = strsep(&rest, " "));) {
    char *value = strchr(word, '=');
    *value++ = 0;
    fgsm_status status = fgsm_options_set(o, word, value);
    if (status != FGSM_OK)
      return status;
  }
  return FGSM_OK;
}

static fgsm_status run(const fgsm_model *model, const char *words, const char *device) {
  fgsm_options *o = NULL;
  char more[256];
  fgsm_status status = fgsm_options_create(&o);
  snprintf(more, sizeof more,
           "labels=%s out=%s device=%s eps=0.1 batch=8 lr=0.02 epochs=2 validation=8 threads=1 "
           "watch=3",
           labels, out, device);
  if (status == FGSM_OK)
    status = set_words(o, more);
  if (status == FGSM_OK)
    status = set_words(o, words);
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

static uint32_t draw(uint32_t *state, uint32_t below) {
  *state = *state * 1664525u + 1013904223u;
  return (*state >> 8) % below;
}

static void set_number(const char *name, long value) {
  char text[32];
  snprintf(text, sizeof text, "%ld", value);
  setenv(name, text, 1);
}

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
  static const char *const points[] = {"open", "alloc", "host_alloc", "upload",  "download",
                                       "run",  "event", "sync",       "capture", "replay"};
  static char got[MOST_BYTES];
  uint32_t state = seed;
  int method = (int)draw(&state, N_METHODS);
  const char *words = methods[method];
  char fail[64] = "";
  set_number("FAKE_DELAY", draw(&state, 3) * 50);
  set_number("FAKE_RECORDS", draw(&state, 4) != 0);
  if (draw(&state, 2))
    snprintf(fail, sizeof fail, "%s:%u", points[draw(&state, 10)],
             1 + draw(&state, draw(&state, 2) ? 12 : 100));
  setenv("FAKE_FAIL", fail, 1);
  fake.reset();
  fgsm_status status = run(model, words, "cuda");
  size_t n = collect(got);
  if (*fake.leaks())
    return complain(trial, words, fake.leaks());
  tally->replays += fake.replays();
  if (status != FGSM_OK) {
    tally->failed++;
    if (!*fail || (status != FGSM_DEVICE && status != FGSM_MEMORY))
      return complain(trial, words, fgsm_last_error());
    return n == 0 || complain(trial, words, "a run that failed left a model");
  }
  tally->good++;
  return (n == n_want[method] && memcmp(got, want[method], n) == 0) ||
         complain(trial, words, "what was written differs");
}

static bool find(void *library, const char *name, void *function) {
  void *symbol = library ? dlsym(library, name) : NULL;
  memcpy(function, &symbol, sizeof symbol);
  return symbol != NULL;
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
  make_data();
  setenv("FGSM_PLUGIN_PATH", argv[2], 1);
  setenv("FAKE_INNER", argv[3], 1);
  snprintf(path, sizeof path, "%s/libfgsm_cuda.so", argv[2]);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  bool good =
      find(library, "fake_reset", &fake.reset) && find(library, "fake_leaks", &fake.leaks) &&
      find(library, "fake_replays", &fake.replays) && fgsm_model_load(argv[1], &model) == FGSM_OK &&
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
