/* Training in half precision on one device beside the oracle, which works in float32 and stores so what the
 * device does: then results differ by the last bits of sums, and by what these turn to the other side of a
 * rounding. Each step starts from where the device is, for such differences grow from step to step.
 *
 * They stay small where nothing has a kink: on a net of convolutions, batch normalisations and a sum, all
 * steps agree to a 50th of their length in bf16, to a 300th in fp16. On the golden net, a ReLU's argument that is
 * turned to the other side of 0 moves a gradient by what was held back there: the first step alone is compared. */
#include "device_training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compose.h"

static const struct fg_sample_shape image = {FG_F32, 3, {1, 6, 6}};
enum { CLASSES = 5 };

static const char *const rows[] = {
    "method=clean momentum=0.9",
    "method=clean optimizer=adam clip-norm=1",
    "method=fgsm eps=0.1",
    "method=rs-fgsm eps=0.1 ema=0.9",
    "method=n-fgsm eps=0.1 craft-norms=batch",
    "method=fgsm-pgi eps=0.1",
    "method=mart eps=0.1 steps=1",
};

/* ---- the oracle, rounding as the device does */

static const struct fg_backend *tested;
static struct fg_backend emulation;

static bool takes_half(const struct fg_device *device, const struct fg_call *call) {
  return tested->takes_half(device, call);
}

static void close_nothing(struct fg_device *device) {
  (void)device;
}

static fgsm_status open_emulation(int index, int threads, struct fg_device **out) {
  static struct fg_device device = {.backend = &emulation, .threads = 1, .lanes = 1};
  (void)index;
  (void)threads;
  *out = &device;
  return FGSM_OK;
}

static void make_emulation(const struct fg_backend *of) {
  tested = of;
  emulation = fg_ref;
  emulation.real = FG_F32;
  emulation.takes_half = takes_half;
  emulation.open = open_emulation;
  emulation.close = close_nothing;
}

/* ---- engines */

/* Convolutions and what is between them, without a kink; a bias stands where no normalisation undoes it. */
static fgsm_status compose_smooth(struct fg_onnx **out) {
  struct fg_compose *c;
  FG_TRY(fg_compose_begin(image.rank, image.dim, &c));
  const char *x = fg_compose_conv(c, "conv1", "x", 1, 5, 3, 1, 1, false);
  x = fg_compose_norm(c, "norm1", x, 5);
  const char *y = fg_compose_conv(c, "conv2", x, 5, 5, 3, 1, 1, false);
  y = fg_compose_add(c, fg_compose_norm(c, "norm2", y, 5), x);
  y = fg_compose_conv(c, "conv3", y, 5, 8, 3, 2, 1, true);
  y = fg_compose_dense(c, "fc", fg_compose_flatten(c, y), 72, CLASSES);
  return fg_compose_end(c, y, CLASSES, "smooth", out);
}

static fgsm_status open_smooth(const char *words, const struct fg_backend *backend,
                               enum fg_precision precision, struct fg_engine **out) {
  struct fg_onnx *onnx;
  FG_TRY(compose_smooth(&onnx));
  fgsm_status status =
      training_create(onnx, words, backend, precision, &image, TRAINING_BATCH, out);
  fg_onnx_close(onnx);
  return status == FGSM_OK ? fg_weights_init(fg_engine_weights(*out), "torch", 5) : status;
}

/* Finds what the engine keeps of that kind and name. */
static bool find(struct fg_engine *e, const struct fg_engine_piece *named,
                 struct fg_engine_piece *out) {
  for (int64_t i = 0; fg_engine_piece_at(e, i, out); i++)
    if (out->kind == named->kind && strcmp(out->name, named->name) == 0)
      return true;
  return false;
}

/* The piece of that kind and name; NULL where there is none, or the reading fails. */
static float *kept(struct fg_engine *e, const struct fg_engine_piece *named) {
  struct fg_engine_piece p;
  float *x = find(e, named, &p) ? malloc(p.bytes + 1) : NULL;
  if (x && fg_engine_piece_read(e, &p, x) == FGSM_OK)
    return x;
  free(x);
  return NULL;
}

/* All that the second keeps becomes what the first does. */
static bool copy(struct fg_engine *from, struct fg_engine *to) {
  struct fg_engine_piece p;
  bool good = true;
  for (int64_t i = 0; good && fg_engine_piece_at(to, i, &p); i++) {
    float *x = kept(from, &p);
    good = x && fg_engine_piece_write(to, &p, x) == FGSM_OK;
    free(x);
  }
  return good;
}

/* In fp16 the first scale would leave out all of so few steps. */
static fgsm_status lower_scale(struct fg_engine *e) {
  static const struct fg_loss_scale scale = {.scale = 0x1p8};
  struct fg_engine_piece p;
  for (int64_t i = 0; fg_engine_scale(e) && fg_engine_piece_at(e, i, &p); i++)
    if (p.kind == 'l')
      return fg_engine_piece_write(e, &p, &scale);
  return FGSM_OK;
}

/* ---- comparing */

static double distance(const float *x, const float *y, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
  return sqrt(sum);
}

/* The distance between what two engines keep of a weight, in units of the way from a third's. */
static double strayed(struct fg_engine *a, struct fg_engine *b, struct fg_engine *start,
                      const struct fg_engine_piece *p) {
  float *x = kept(a, p), *y = kept(b, p), *from = kept(start, p);
  int64_t n = (int64_t)(p->bytes / sizeof *x);
  double d = x && y && from ? distance(x, y, n) : NAN;
  if (d > 0)
    d /= distance(y, from, n);
  free(x);
  free(y);
  free(from);
  return d;
}

/* The most of it of all weights, moments, averages and statistics, and of `most`; NaN stays. */
static double most_strayed(struct fg_engine *a, struct fg_engine *b, struct fg_engine *start,
                           double most) {
  struct fg_engine_piece p;
  for (int64_t i = 0; fg_engine_piece_at(a, i, &p); i++) {
    double d = strchr("dkl", p.kind) ? 0 : strayed(a, b, start, &p);
    most = d <= most ? most : d;
  }
  return most;
}

/* The device; the oracle that rounds like it; what both began a step with; and, so that it is known that
 * something is rounded, the oracle that does not. */
struct quartet {
  struct fg_engine *device, *rounded, *start, *exact;
};

typedef fgsm_status opener(const char *words, const struct fg_backend *backend,
                           enum fg_precision precision, struct fg_engine **out);

static fgsm_status open_golden(const char *words, const struct fg_backend *backend,
                               enum fg_precision precision, struct fg_engine **out) {
  return training_open("training", words, backend, precision, out);
}

static fgsm_status open_all(opener *open, const char *words, enum fg_precision half,
                            struct quartet *q) {
  FG_TRY(open(words, tested, half, &q->device));
  FG_TRY(open(words, &emulation, half, &q->rounded));
  FG_TRY(open(words, &emulation, half, &q->start));
  FG_TRY(open(words, &emulation, FG_PRECISION_fp32, &q->exact));
  return lower_scale(q->device);
}

static void compare(opener *open, const char *net, const char *words, enum fg_precision half,
                    int steps) {
  const double allowed = half == FG_PRECISION_bf16 ? 0.02 : 0.003;
  struct training_data data = training_data();
  struct quartet q = {NULL, NULL, NULL, NULL};
  double apart = 0, rounding = 0;
  bool good = open_all(open, words, half, &q) == FGSM_OK;
  for (int k = 0; k < steps && good; k++) {
    good = copy(q.device, q.rounded) && copy(q.device, q.start) && copy(q.device, q.exact) &&
           training_step(q.device, k, &data) == FGSM_OK &&
           training_step(q.rounded, k, &data) == FGSM_OK &&
           training_step(q.exact, k, &data) == FGSM_OK;
    apart = good ? most_strayed(q.device, q.rounded, q.start, apart) : NAN;
    rounding = good ? most_strayed(q.exact, q.rounded, q.start, rounding) : NAN;
  }
  if (good)
    training_judge(apart <= allowed && rounding > 0,
                   "%s, %s, %s: %.1e of a step; float32's are %.1e off", fg_precision_name(half),
                   net, words, apart, rounding);
  else
    training_fail(fg_precision_name(half), words);
  fg_engine_destroy(q.device);
  fg_engine_destroy(q.rounded);
  fg_engine_destroy(q.start);
  fg_engine_destroy(q.exact);
  training_data_free(&data);
}

void training_check_half(const struct fg_backend *backend, enum fg_precision half,
                         const char *words) {
  make_emulation(backend);
  for (size_t i = 0; i < (words ? 1 : sizeof rows / sizeof *rows); i++) {
    const char *row = words ? words : rows[i];
    compare(open_smooth, "without a kink", row, half, TRAINING_STEPS);
    compare(open_golden, "with ReLU", row, half, 1);
  }
}
