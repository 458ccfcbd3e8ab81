/* Nets and trainings planned for a card that is not there. */
#include "noted_calls.h"

#include <stdio.h>
#include <stdlib.h>

#include "arch.h"
#include "attention_own.h"
#include "base.h"
#include "conv.h"
#include "halves.h"
#include "layer_norm_own.h"
#include "layouts.h"
#include "net.h"
#include "train.h"

static call_taker *take_call;
static bool channels_last; /* how the nets are planned; and their training */
static enum fg_precision training_precision;

/* What the passes do to them: nothing, all but masks, all with masks of bytes, or of bits where those can be. */
enum form { PLAIN_FORM, FUSED, BYTES, BITS, FORMS };
static enum form form;
static const char *const form_names[] = {"unfused", "fused", "masks of bytes",
                                         "masks of bits or bytes"};

static bool same_tensor(const struct fg_tensor *a, const struct fg_tensor *b) {
  return !a || !b ? a == b : a->type == b->type && a->layout == b->layout && fg_same_shape(a, b);
}

bool noted_alike(const struct fg_call *a, const struct fg_call *b) {
  bool alike = a->op == b->op;
  for (int i = 0; i < FG_MAX_OUT && alike; i++)
    alike = same_tensor(fg_cuda_out(a, i), fg_cuda_out(b, i));
  for (int i = 0; i < FG_MAX_IN && alike; i++)
    alike = same_tensor(fg_cuda_in(a, i), fg_cuda_in(b, i));
  return alike;
}

static fgsm_status note_conv(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_cuda_conv_check(call));
  return take_call(call);
}

/* What kernels of our own stand in for; only asking whether it would be taken is no call yet. */
static fgsm_status note_owned(struct fg_call *call, struct fg_device *device) {
  const struct fg_kernel *own = call->op == FG_OP_attention        ? &fg_cuda_own_attention
                                : call->op == FG_OP_attention_grad ? &fg_cuda_own_attention_grad
                                : call->op == FG_OP_layer_norm     ? &fg_cuda_own_layer_norm
                                                                   : &fg_cuda_own_layer_norm_grad;
  FG_TRY(own->prepare(call, device));
  return call->trial ? FGSM_OK : take_call(call);
}

/* Planned only, so that nothing is ever run. */
static fgsm_status no_run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch;
  (void)stream;
  return FG_FAIL(INTERNAL, "%s was run", fg_op_name(call->op));
}

static fgsm_status open_noting(int index, int threads, struct fg_device **out);
static struct fg_backend noting;

static fgsm_status open_noting(int index, int threads, struct fg_device **out) {
  static struct fg_device device = {.backend = &noting, .threads = 1, .lanes = 1};
  device.layout = channels_last ? FG_NHWC : FG_PLAIN;
  device.precision = training_precision;
  (void)index;
  (void)threads;
  *out = &device;
  return FGSM_OK;
}

/* The first output that may hold logits: classifiers of some exporters give a label before them. */
static fgsm_status find_logits(const char *path, int *output) {
  struct fg_onnx *onnx = NULL;
  FG_TRY(fg_onnx_open(path, &onnx));
  int n = fg_onnx_n_outputs(onnx);
  for (*output = 0; *output < n && !fg_type_is_real(fg_onnx_output(onnx, *output)->type);)
    ++*output;
  fg_onnx_close(onnx);
  return *output < n ? FGSM_OK : FG_FAIL(UNSUPPORTED, "%s: no output holds floats", path);
}

static void close_noting(struct fg_device *device) {
  (void)device;
}

static bool takes_layout(struct fg_device *device, const struct fg_call *call) {
  (void)device;
  return fg_cuda_takes_nhwc(call);
}

static bool takes_mask(struct fg_device *device, const struct fg_call *masked,
                       const struct fg_call *plain, int n) {
  (void)device, (void)plain, (void)n;
  return form == BITS || (form == BYTES && masked[0].out[1].type == FG_BOOL);
}

/* The oracle says what fits together, but knows no layout. */
static fgsm_status prepare_other(struct fg_call *call, struct fg_device *device) {
  const struct fg_kernel *kernel = fg_ref.kernels[call->op];
  return fg_cuda_lies(call) || !kernel->prepare ? FGSM_OK : kernel->prepare(call, device);
}

void noted_begin(call_taker *take) {
  static struct fg_kernel others[FG_OP_COUNT];
  static const struct fg_kernel conv = {note_conv, no_run, NULL};
  static const struct fg_kernel owned = {note_owned, no_run, NULL};
  take_call = take;
  noting = fg_ref;
  noting.real = FG_F32;
  noting.takes_half = fg_cuda_takes_half;
  noting.takes_layout = takes_layout;
  noting.takes_mask = takes_mask;
  for (int op = 0; op < FG_OP_COUNT; op++)
    if (fg_ref.kernels[op]->run || op == FG_OP_reorder) {
      others[op] = (struct fg_kernel){prepare_other, no_run, fg_ref.kernels[op]->release};
      noting.kernels[op] = &others[op];
    }
  noting.open = open_noting;
  noting.close = close_noting;
  noting.kernels[FG_OP_conv] = noting.kernels[FG_OP_conv_grad_input] =
      noting.kernels[FG_OP_conv_grad_weight] = &conv;
  noting.kernels[FG_OP_attention] = noting.kernels[FG_OP_attention_grad] =
      noting.kernels[FG_OP_layer_norm] = noting.kernels[FG_OP_layer_norm_grad] = &owned;
}

/* What a plan holds and moves, by shapes alone: temporaries that live at the same time, and what calls read
 * and write. */
static void tell_bytes(const char *path, int64_t batch, const struct fg_plan *plan,
                       enum fg_precision precision) {
  int n = fg_plan_info(plan)->n_calls;
  struct fg_plan_call *costs = calloc((size_t)n + 1, sizeof *costs);
  double moved = 0;
  size_t most = 0;
  if (!costs || fg_plan_calls(plan, costs) != FGSM_OK)
    n = 0;
  for (int i = 0; i < n; i++) {
    moved += costs[i].read_bytes + costs[i].written_bytes;
    most = costs[i].alive_bytes > most ? costs[i].alive_bytes : most;
  }
  printf("%s, %s, %s, stored as %s: %d calls; a sample holds at most %.2f MiB of temporaries and "
         "moves %.2f MiB\n",
         path, channels_last ? "NHWC" : "NCHW", form_names[form],
         precision == FG_PRECISION_fp32 ? "float32" : fg_precision_name(precision), n,
         (double)most / (double)batch / (1 << 20), moved / (double)batch / (1 << 20));
  free(costs);
}

/* Plans the net with the batch, or with the one that its file fixes. */
static fgsm_status note_model(const char *path, bool fused, enum fg_precision precision) {
  static const int64_t batches[] = {NOTED_BATCH, 2, 1};
  struct net_options options = {.no_fuse = !fused, .precision = precision};
  fgsm_status status = FGSM_OK;
  FG_TRY(find_logits(path, &options.output));
  for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
    struct net net;
    status = net_open(path, &noting, batches[i], &options, &net);
    if (status != FGSM_OK)
      continue;
    if (getenv("FGSM_VERBOSE"))
      tell_bytes(path, batches[i], net.plan, precision);
    net_close(&net);
    break;
  }
  return status;
}

/* ---- training */

static fgsm_status note_engine(const struct fg_onnx *onnx, const struct fg_sample_shape *shape,
                               const fgsm_options *options) {
  struct fg_engine_spec spec;
  struct fg_engine *engine = NULL;
  struct fg_device *device;
  FG_TRY(fg_engine_spec_resolve(options, shape->type, &spec));
  spec.watched = true;
  FG_TRY(noting.open(0, 1, &device));
  fgsm_status status = fg_engine_create(onnx, options, &spec, device, shape, NOTED_BATCH, &engine);
  fg_engine_destroy(engine);
  return status;
}

/* All passes of a built-in architecture's training: crafting, descending, spectral norms, the watch. */
static fgsm_status note_training(const char *arch, const struct fg_sample_shape *shape,
                                 const char *method, const char *option, const char *value) {
  struct fg_onnx *onnx = NULL;
  fgsm_options *options = NULL;
  FG_TRY(fg_arch_create(arch, shape->rank, shape->dim, 10, &onnx));
  fgsm_status status = fgsm_options_create(&options);
  if (status == FGSM_OK)
    status = fgsm_options_set(options, "method", method);
  if (status == FGSM_OK)
    status = fgsm_options_set(options, "eps", "8/255");
  if (status == FGSM_OK && option)
    status = fgsm_options_set(options, option, value);
  if (status == FGSM_OK)
    status = note_engine(onnx, shape, options);
  fgsm_options_destroy(options);
  fg_onnx_close(onnx);
  return status;
}

/* Methods differ in which passes there are; the convolutions of each pass are those of the model. What
 * regularises an input's gradient, the last rows, is refused in half precision. */
int noted_trainings(void) {
  static const struct fg_sample_shape digit = {FG_U8, 3, {1, 28, 28}};
  static const struct fg_sample_shape color = {FG_U8, 3, {3, 32, 32}};
  static const struct {
    const char *arch;
    const struct fg_sample_shape *shape;
    const char *method, *option, *value;
  } rows[] = {
      {"mnist-cnn", &digit, "n-fgsm", "spectral-norm", "1"},
      {"lenet5", &digit, "trades", NULL, NULL},
      {"resnet18", &color, "n-fgsm", NULL, NULL},
      {"preact-resnet18", &color, "n-fgsm", NULL, NULL},
      {"preact-resnet18", &color, "trades", NULL, NULL},
      {"preact-resnet18", &color, "free", NULL, NULL},
      {"wrn-16-4", &color, "fgsm", NULL, NULL},
      {"preact-resnet18", &color, "grad-align", NULL, NULL},
      {"wrn-16-4", &color, "clean", "gradient-penalty", "0.5"},
  };
  enum { ROWS = sizeof rows / sizeof *rows, REGULARISED = 2 };
  static const enum fg_precision stored[] = {FG_PRECISION_fp32, FG_PRECISION_bf16,
                                             FG_PRECISION_fp16};
  int failures = 0;
  for (int i = 0; i < 6 * ROWS; i++) {
    int row = i / 6;
    channels_last = i % 2;
    training_precision = stored[i / 2 % 3];
    if (row >= ROWS - REGULARISED && training_precision != FG_PRECISION_fp32)
      continue;
    if (note_training(rows[row].arch, rows[row].shape, rows[row].method, rows[row].option,
                      rows[row].value) != FGSM_OK) {
      printf("FAIL training %s, %s, %s: %s\n", rows[row].arch, rows[row].method,
             fg_precision_name(training_precision), fgsm_last_error());
      failures++;
    }
  }
  return failures;
}

/* As the plugin prefers it, channels last and fused; fp16 has the graphs of bf16. */
static bool is_preferred(enum fg_precision precision) {
  return channels_last && precision != FG_PRECISION_fp16 && (form == FUSED || form == BYTES);
}

/* In N C H W and channels last, in each of the forms; or as the plugin prefers it. */
int noted_models(int n, char **paths, bool preferred) {
  static const enum fg_precision stored[] = {FG_PRECISION_fp32, FG_PRECISION_bf16,
                                             FG_PRECISION_fp16};
  int failures = 0;
  for (int i = 0; i < 6 * FORMS * n; i++) {
    const char *path = paths[i / (6 * FORMS)];
    enum fg_precision precision = stored[i / 2 % 3];
    channels_last = i % 2;
    form = (enum form)(i / 6 % FORMS);
    if (preferred && !is_preferred(precision))
      continue;
    if (note_model(path, form != PLAIN_FORM, precision) != FGSM_OK) {
      printf("FAIL %s: %s\n", path, fgsm_last_error());
      failures++;
    }
  }
  return failures;
}
