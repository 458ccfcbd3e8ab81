/* Training on one device beside another: steps of every optimiser, method and defence on two small nets,
 * whose weights must come out the same; and plans for the built-in architectures, each of whose calls the
 * device must have a kernel for. Needs no test framework.
 *
 *   device-training [--device NAME] [--like NAME] [--precision NAME] [WORDS...]
 *   simt-training ...      the CUDA kernels on the CPU; what a library computes on a card is products.cpp's
 *
 * Beside the oracle the weights agree to 1e-4 of the largest; --like NAME: beside that device, bit for bit.
 * WORDS: options as words, "method=pgd eps=0.1", in place of the list, in the precision named (fp32). In half
 * precision, where the device has it, device_training_half.c compares. */
#include "device_training.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "net.h"
#include "tested.h"

enum { N = TRAINING_SAMPLES, BATCH = TRAINING_BATCH };
static const struct fg_backend *tested, *like;
static bool exactly;
static int failures, compared;

struct row {
  const char *model, *words;
};
static const struct row rows[] = {
    {"training", "method=clean momentum=0 weight-decay=0"},
    {"training", "method=clean momentum=0.9 nesterov"},
    {"training", "method=clean optimizer=adam weight-decay=1e-2"},
    {"training", "method=clean optimizer=adamw weight-decay=0.1 decay-matrices"},
    {"training", "method=clean clip-norm=0.5"},
    {"training", "method=fgsm eps=0.1"},
    {"training", "method=rs-fgsm eps=0.1 ema=0.9"},
    {"training", "method=n-fgsm eps=0.1 label-smoothing=0.1"},
    {"training", "method=pgd eps=0.1 steps=3 craft-norms=frozen"},
    {"training", "method=pgd eps=0.1 steps=2 craft-norms=batch"},
    {"training", "method=free eps=0.1 replays=3 weight-decay=0"},
    {"training", "method=fgsm-pgi eps=0.1"},
    {"training", "method=trades eps=0.1 steps=2"},
    {"training", "method=mart eps=0.1 steps=2"},
    {"training_smooth", "method=grad-align eps=0.1"},
    {"training_smooth", "method=clean gradient-penalty=0.5"},
    {"training_smooth", "method=rs-fgsm eps=0.1 spectral-norm=1 ema=0.9"},
};

void training_judge(bool good, const char *format, ...) {
  va_list args;
  va_start(args, format);
  printf("%s ", good ? "ok  " : "FAIL");
  vprintf(format, args);
  puts("");
  va_end(args);
  failures += !good;
  compared++;
}

void training_fail(const char *what, const char *words) {
  printf("FAIL %s: %s: %s\n", words, what, fgsm_last_error());
  failures++;
}

static void *member(const char *name, enum fg_type type) {
  char path[512];
  int rank;
  int64_t dim[FG_MAX_RANK];
  void *data = NULL;
  snprintf(path, sizeof path, "%s/training.npz:%s", golden_dir(), name);
  if (fg_npy_load(path, type, &rank, dim, &data) != FGSM_OK) {
    printf("FAIL %s\n", fgsm_last_error());
    exit(1);
  }
  return data;
}

struct training_data training_data(void) {
  return (struct training_data){member("x", FG_F32), member("y", FG_I64)};
}

void training_data_free(struct training_data *data) {
  free(data->x);
  free(data->y);
}

/* ---- an engine */

static fgsm_status options_of(const char *words, fgsm_options **out) {
  char copy[256], *rest = copy;
  snprintf(copy, sizeof copy, "%s", words);
  FG_TRY(fgsm_options_create(out));
  for (char *word; (word = strsep(&rest, " "));) {
    char *value = strchr(word, '=');
    if (value)
      *value++ = 0;
    FG_TRY(fgsm_options_set(*out, word, value));
  }
  return fgsm_options_set(*out, "seed", "7");
}

fgsm_status training_create(const struct fg_onnx *onnx, const char *words,
                            const struct fg_backend *backend, enum fg_precision precision,
                            const struct fg_sample_shape *shape, int64_t batch,
                            struct fg_engine **out) {
  fgsm_options *options = NULL;
  struct fg_engine_spec spec;
  struct fg_device *device;
  fgsm_status status = options_of(words, &options);
  if (status == FGSM_OK)
    status = fg_engine_spec_resolve(options, shape->type, &spec);
  if (status == FGSM_OK)
    status = backend->open(0, 1, &device);
  if (status == FGSM_OK) {
    device->precision = precision;
    spec.samples = N;
    spec.watched = spec.eps > 0;
    status = fg_engine_create(onnx, options, &spec, device, shape, batch, out);
  }
  fgsm_options_destroy(options);
  return status;
}

fgsm_status training_open(const char *model, const char *words, const struct fg_backend *backend,
                          enum fg_precision precision, struct fg_engine **out) {
  static const struct fg_sample_shape shape = {FG_F32, 3, {1, 6, 6}};
  char path[512];
  struct fg_onnx *onnx = NULL;
  *out = NULL;
  snprintf(path, sizeof path, "%s/%s.onnx", golden_dir(), model);
  FG_TRY(fg_onnx_open(path, &onnx));
  fgsm_status status = training_create(onnx, words, backend, precision, &shape, BATCH, out);
  fg_onnx_close(onnx);
  return status;
}

fgsm_status training_step(struct fg_engine *e, int k, const struct training_data *data) {
  int first = BATCH * k % N;
  int64_t index[BATCH];
  struct fg_train_losses losses;
  struct fg_train_batch batch = {data->x + first * TRAINING_COUNT, data->y + first, index};
  for (int i = 0; i < BATCH; i++)
    index[i] = first + i;
  return fg_engine_step(e, &batch, 0.05 / (k + 1), (uint32_t)(BATCH * k / N), &losses);
}

static fgsm_status train(const struct row *row, const struct fg_backend *backend,
                         const struct training_data *data, struct fg_engine **out) {
  fgsm_status status = training_open(row->model, row->words, backend, FG_PRECISION_fp32, out);
  for (int k = 0; k < TRAINING_STEPS && status == FGSM_OK; k++)
    status = training_step(*out, k, data);
  return status;
}

/* The largest difference between what two engines keep of a weight, in units of the largest value. */
static double apart(struct fg_engine *a, struct fg_engine *b, const struct fg_engine_piece *p,
                    const struct fg_engine_piece *q, int64_t n) {
  float *x = malloc((size_t)n * sizeof *x + 1), *y = malloc((size_t)n * sizeof *y + 1);
  double most = 0, scale = 0;
  if (!x || !y || fg_weights_read(fg_engine_weights(a), p->memory, n, x) != FGSM_OK ||
      fg_weights_read(fg_engine_weights(b), q->memory, n, y) != FGSM_OK)
    most = NAN;
  for (int64_t i = 0; i < n && most == most; i++) {
    double d = fabs((double)x[i] - y[i]);
    most = d <= most ? most : d;
    scale = fmax(scale, fabs((double)y[i]));
  }
  free(x);
  free(y);
  return most / (scale > 0 ? scale : 1);
}

/* 0 if the pieces are the same bits. */
static double differ(struct fg_engine *a, struct fg_engine *b, const struct fg_engine_piece *p,
                     const struct fg_engine_piece *q) {
  char *x = malloc(p->bytes + 1), *y = malloc(p->bytes + 1);
  bool same = x && y && p->bytes == q->bytes && fg_engine_piece_read(a, p, x) == FGSM_OK &&
              fg_engine_piece_read(b, q, y) == FGSM_OK && memcmp(x, y, p->bytes) == 0;
  free(x);
  free(y);
  return same ? 0 : INFINITY;
}

static void compare(const struct row *row, struct fg_engine *a, struct fg_engine *b) {
  struct fg_engine_piece p, q;
  double worst = 0;
  int64_t moved = 0;
  for (int64_t i = 0; fg_engine_piece_at(a, i, &p) && fg_engine_piece_at(b, i, &q); i++) {
    if (!exactly && strchr("dkl", p.kind)) /* a sign may fall on either side; no floats */
      continue;
    int64_t n = (int64_t)(p.bytes / fg_type_size(fg_engine_weights(a)->real));
    double d = exactly ? differ(a, b, &p, &q) : apart(a, b, &p, &q, n);
    worst = d <= worst ? worst : d;
    moved += n;
  }
  training_judge(worst <= (exactly ? 0 : 1e-4) && moved > 0, "%s: %.1e of %lld numbers", row->words,
                 worst, (long long)moved);
}

static void check(const struct row *row) {
  struct training_data data = training_data();
  struct fg_engine *a = NULL, *b = NULL;
  if (train(row, tested, &data, &a) != FGSM_OK)
    training_fail("the device under test", row->words);
  else if (train(row, like, &data, &b) != FGSM_OK)
    training_fail("the other device", row->words);
  else
    compare(row, a, b);
  fg_engine_destroy(a);
  fg_engine_destroy(b);
  training_data_free(&data);
}

/* ---- plans */

static const struct fg_sample_shape digit = {FG_U8, 3, {1, 28, 28}},
                                    color = {FG_U8, 3, {3, 32, 32}};

static void plan(const char *arch, const struct fg_sample_shape *shape, enum fg_precision precision,
                 const char *words) {
  struct fg_onnx *onnx = NULL;
  struct fg_engine *engine = NULL;
  char what[320];
  snprintf(what, sizeof what, "%s, %s, %s", arch, fg_precision_name(precision), words);
  if (fg_arch_create(arch, shape->rank, shape->dim, 10, &onnx) != FGSM_OK ||
      training_create(onnx, words, tested, precision, shape, 2, &engine) != FGSM_OK)
    training_fail("cannot be planned", what);
  else
    training_judge(true, "plans of %s", what);
  fg_engine_destroy(engine);
  fg_onnx_close(onnx);
}

static const char usual[] = "method=n-fgsm eps=8/255 augment=crop-flip";

/* Every method on a net with BatchNormalization and on one without, and the usual one on the rest. */
static void plan_all(void) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    plan("mnist-cnn", &digit, FG_PRECISION_fp32, rows[i].words);
    if (!strstr(rows[i].words, "spectral"))
      plan("preact-resnet18", &color, FG_PRECISION_fp32, rows[i].words);
  }
  static const char *const others[] = {"resnet18", "wrn-16-4", "lenet5", "mlp:30,20"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    plan(others[i], i < 2 ? &color : &digit, FG_PRECISION_fp32, usual);
}

static bool has_half(int precision) {
  bool half = precision == FG_PRECISION_bf16 || precision == FG_PRECISION_fp16;
  return half && tested->takes_half && tested->precisions >> precision & 1;
}

static void check_all(void) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    check(&rows[i]);
  plan_all();
  for (int p = 0; p < FG_PRECISION_COUNT && !exactly; p++)
    if (has_half(p)) {
      training_check_half(tested, (enum fg_precision)p, NULL);
      plan("mnist-cnn", &digit, (enum fg_precision)p, "method=trades eps=0.1 steps=2");
      plan("preact-resnet18", &color, (enum fg_precision)p, usual);
      plan("wrn-16-4", &color, (enum fg_precision)p, usual);
    }
}

/* In float32 or, where one is named that the device has, in half precision. */
static bool check_words(const char *words, const char *precision) {
  int p = 0;
  while (p < FG_PRECISION_COUNT && strcmp(fg_precision_name((enum fg_precision)p), precision) != 0)
    p++;
  if (p == FG_PRECISION_fp32) {
    check(&(struct row){"training", words});
    check(&(struct row){"training_smooth", words});
  } else if (has_half(p)) {
    training_check_half(tested, (enum fg_precision)p, words);
  }
  return p == FG_PRECISION_fp32 || has_half(p);
}

int main(int argc, char **argv) {
  const char *device = NULL, *other = NULL, *precision = "fp32";
  bool known = true;
  int at = 1;
  for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
    if (strcmp(argv[at], "--device") == 0)
      device = argv[at + 1];
    else if (strcmp(argv[at], "--like") == 0)
      other = argv[at + 1];
    else if (strcmp(argv[at], "--precision") == 0)
      precision = argv[at + 1];
    else
      return 2;
  }
  exactly = other != NULL;
  tested = tested_backend(device);
  if (!tested || fg_backend_find(other ? other : "ref", &like) != FGSM_OK)
    return 5;
  if (at == argc)
    check_all();
  for (int i = at; i < argc && known; i++)
    known = check_words(argv[i], precision);
  if (!known)
    printf("FAIL the device has no %s to train in\n", precision);
  if (tested_errors())
    printf("FAIL the harness found %lu errors (above)\n", tested_errors());
  printf("%d results looked at, %d wrong\n", compared, failures);
  return failures || tested_errors() || compared == 0;
}
