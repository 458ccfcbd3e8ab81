/* Datasets attacked on cards that are fake (fake_device.h), with delays, several lanes and cards, and
 * failures on purpose: what is written must be, byte for byte, what the synchronous backend around
 * the same kernels writes, and every sample has gone up once, for all its eps and steps, and at most once more for
 * each further restart; a failure must end in its status with nothing written; and nothing may leak. For the
 * sanitizers, which Criterion's processes do not suit.
 *
 *   stress-device MODEL PLUGIN-FOLDER INNER [RUNS [SEED]]      INNER: cpu or ref
 *
 * The model takes [N, 3, 13, 13] and has classes 0 to 9 (tests/golden/conv.onnx). */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stress.h"

enum { SAMPLES = 23, BATCH = 4, VALUES = 3 * 13 * 13, MOST_BYTES = 1 << 20 };
/* Whatever a climb asks of a sample, it goes up once; the last batch is filled. */
enum { UPLOADED = (SAMPLES + BATCH - 1) / BATCH * BATCH * VALUES, FILLED = BATCH * VALUES };

static char folder[] = "/tmp/stress-device-XXXXXX", data[64], labels[64], out[64];
static const char *const attacks[] = {
    "attack=fgsm eps=8/255",
    "attack=fgsm eps=1/255,4/255,9/255",
    "attack=pgd eps=8/255 steps=3",
    "attack=pgd eps=6/255 steps=2 restarts=3",
    "attack=mi-fgsm eps=8/255 steps=4",
    "attack=fgsm eps=0.03 out-type=f32",
    "attack=rs-fgsm eps=8/255 labels=predicted",
};
enum { N_ATTACKS = sizeof attacks / sizeof *attacks };

static struct {
  void (*reset)(void);
  const char *(*leaks)(void);
  long (*overlaps)(void), (*replays)(void), (*uploaded)(void);
} fake;

/* ---- a run and what it wrote */

static fgsm_status run(const fgsm_model *model, const char *words, const char *device) {
  fgsm_options *o = NULL;
  char more[256];
  fgsm_status status = fgsm_options_create(&o);
  snprintf(more, sizeof more, "labels=%s batch=%d threads=1 exact=true out=%s device=%s", labels,
           BATCH, out, device);
  if (status == FGSM_OK)
    status = stress_set_words(o, more);
  if (status == FGSM_OK)
    status = stress_set_words(o, words);
  if (status == FGSM_OK)
    status = fgsm_attack_dataset(model, data, o, NULL, NULL, NULL);
  fgsm_options_destroy(o);
  return status;
}

/* All data and records in the folder, but for the inputs, as one text; removes them. Manifests hold
 * times and devices, and are left out. What a run that failed kept is removed: whether that is right is test_device.sh's to see. */
static size_t collect(char *text) {
  char command[256], name[512];
  size_t n = 0;
  snprintf(command, sizeof command, "cd %s && ls", folder);
  FILE *list = popen(command, "r");
  while (list && fgets(name, sizeof name, list)) {
    char path[600];
    name[strcspn(name, "\n")] = 0;
    bool kept = strncmp(name, "partial-", 8) == 0;
    if (!kept && strncmp(name, "adv", 3) != 0)
      continue;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (kept) {
      unlink(path);
      continue;
    }
    FILE *file = strstr(name, ".json") ? NULL : fopen(path, "re");
    if (file) {
      n += (size_t)snprintf(text + n, MOST_BYTES - n, "%s\n", name);
      n += fread(text + n, 1, MOST_BYTES - n, file);
      fclose(file);
    }
    unlink(path);
  }
  if (list)
    pclose(list);
  return n;
}

/* ---- trials */

static bool complain(long trial, const char *words, const char *device, const char *what) {
  fprintf(stderr,
          "trial %ld (%s, %s, FAKE_LANES=%s FAKE_DELAY=%s FAKE_RECORDS=%s FAKE_FAIL=%s): %s\n",
          trial, words, device, getenv("FAKE_LANES"), getenv("FAKE_DELAY"), getenv("FAKE_RECORDS"),
          getenv("FAKE_FAIL"), what);
  return false;
}

struct tally {
  long good, failed, overlaps, replays;
};

static bool try(const fgsm_model *model, long trial, uint32_t seed, char *const *want,
                const size_t *n_want, struct tally *tally) {
  static const char *const devices[] = {"cuda", "cuda:0,1", "cuda:1", "cuda:all", "auto"};
  static char got[MOST_BYTES];
  uint32_t state = seed;
  int attack = (int)stress_draw(&state, N_ATTACKS);
  const char *device = devices[stress_draw(&state, 5)], *words = attacks[attack];
  stress_set_number("FAKE_LANES", 1 + stress_draw(&state, 3));
  stress_set_number("FAKE_DELAY", stress_draw(&state, 3) * 150);
  stress_set_number("FAKE_RECORDS", stress_draw(&state, 4) != 0);
  bool fails = stress_plan_failure(&state, 200);
  fake.reset();
  fgsm_status status = run(model, words, device);
  size_t n = collect(got);
  if (*fake.leaks())
    return complain(trial, words, device, fake.leaks());
  tally->overlaps += fake.overlaps();
  tally->replays += fake.replays();
  if (status != FGSM_OK) {
    tally->failed++;
    if (!fails || (status != FGSM_DEVICE && status != FGSM_MEMORY))
      return complain(trial, words, device, fgsm_last_error());
    return n == 0 || complain(trial, words, device, "a run that failed left files");
  }
  tally->good++;
  /* In double, the host rounds what is written as float. */
  bool rounded = strcmp(getenv("FAKE_INNER"), "ref") == 0 && strstr(words, "out-type=f32");
  long most = strstr(words, "restarts=3") ? 3L * UPLOADED : UPLOADED, up = fake.uploaded();
  if (!rounded && (up < UPLOADED || up > most || up % FILLED != 0)) {
    char what[96];
    snprintf(what, sizeof what, "%ld bytes of samples went up, not %d to %ld", up, UPLOADED, most);
    return complain(trial, words, device, what);
  }
  return (n == n_want[attack] && memcmp(got, want[attack], n) == 0) ||
         complain(trial, words, device, "what was written differs");
}

/* What the synchronous backend writes for each attack. */
static bool make_wanted(const fgsm_model *model, const char *inner, char **want, size_t *n) {
  for (int i = 0; i < N_ATTACKS; i++) {
    want[i] = malloc(MOST_BYTES);
    if (run(model, attacks[i], inner) != FGSM_OK) {
      fprintf(stderr, "%s on %s: %s\n", attacks[i], inner, fgsm_last_error());
      return false;
    }
    n[i] = collect(want[i]);
    if (n[i] < SAMPLES * VALUES)
      return false;
  }
  return true;
}

int main(int argc, char **argv) {
  if (argc < 4)
    return 2;
  long runs = argc > 4 ? strtol(argv[4], NULL, 10) : 100;
  uint32_t seed = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 1;
  char path[4096], *want[N_ATTACKS] = {NULL};
  size_t n_want[N_ATTACKS];
  struct tally tally = {0};
  fgsm_model *model = NULL;
  if (!mkdtemp(folder))
    return 2;
  snprintf(data, sizeof data, "%s/x.npy", folder);
  snprintf(labels, sizeof labels, "%s/y.npy", folder);
  snprintf(out, sizeof out, "%s/adv.npy", folder);
  stress_make_data(data, labels, SAMPLES, "3, 13, 13", VALUES, 10);
  setenv("FGSM_PLUGIN_PATH", argv[2], 1);
  setenv("FAKE_INNER", argv[3], 1);
  snprintf(path, sizeof path, "%s/libfgsm_cuda.so", argv[2]);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  bool good = stress_find(library, "fake_reset", &fake.reset) &&
              stress_find(library, "fake_leaks", &fake.leaks) &&
              stress_find(library, "fake_overlaps", &fake.overlaps) &&
              stress_find(library, "fake_replays", &fake.replays) &&
              stress_find(library, "fake_uploaded", &fake.uploaded) &&
              fgsm_model_load(argv[1], &model) == FGSM_OK &&
              make_wanted(model, argv[3], want, n_want);
  if (!good)
    fprintf(stderr, "cannot begin: %s\n", library ? fgsm_last_error() : dlerror());
  for (long i = 0; i < runs && good; i++)
    good = try(model, i, seed + (uint32_t)i * 7919u, want, n_want, &tally);
  if (good)
    printf("stress-device: %ld runs wrote what %s writes, %ld failed as they had to; %ld pieces of "
           "work overlapped, %ld replays\n",
           tally.good, argv[3], tally.failed, tally.overlaps, tally.replays);
  if (good && runs >= 20)
    good = tally.good && tally.failed && tally.overlaps && tally.replays;
  for (int i = 0; i < N_ATTACKS; i++)
    free(want[i]);
  fgsm_model_destroy(model);
  unlink(data);
  unlink(labels);
  rmdir(folder);
  return !good;
}
