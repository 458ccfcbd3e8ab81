/* The attacked model's front and tail: what lies between a sample as it is stored and one row of
 * logits. The front is scale, mean and std, then the shape that the model takes; all of it is
 * graph, so that the gradient arrives in the stored pixels. Whatever is adapted is said in a note,
 * and what could be adapted in two ways is refused rather than guessed. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "attacker.h"
#include "op.h"

enum { MAX_FIXED_BATCH = 1 << 16 };

/* How a sample becomes the model's input. */
struct fit {
  bool transpose, to_chw; /* [H,W,C] <-> [C,H,W] */
  bool reshape;
  int rank; /* of the model's input, batch included */
  int64_t dim[FG_MAX_RANK];
  int channel;       /* axis of the channels where the normalisation is applied */
  bool before_shape; /* the normalisation comes before the reshape, which loses that axis */
};

void fg_note_add(char *note, size_t size, const char *format, ...) {
  size_t used = strlen(note);
  if (used && used + 2 < size) {
    memcpy(note + used, "; ", 3);
    used += 2;
  }
  va_list args;
  va_start(args, format);
  vsnprintf(note + used, size - used, format, args);
  va_end(args);
}

static int64_t product(int rank, const int64_t *dim) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++)
    if (dim[i] < 0 || !fg_mul_ok(n, dim[i], &n))
      return -1;
  return n;
}

/* A model without a batch axis: its whole input is one sample. */
static bool is_batchless(const struct fg_onnx_port *port, int64_t count) {
  return port->rank >= 1 && port->dim[0] > 1 && product(port->rank, port->dim) == count;
}

fgsm_status fg_attack_batch(const struct fg_onnx *onnx, const struct fgsm_options *options,
                            const struct fg_sample_shape *shape, int64_t batch, int64_t *out) {
  int which;
  FG_TRY(fg_attack_input(onnx, options, &which));
  const struct fg_onnx_port *port = fg_onnx_input(onnx, which);
  if (batch < 1)
    return FG_FAIL(USAGE, "a batch of %lld samples", (long long)batch);
  *out = batch;
  if (port->rank < 1 || port->dim[0] < 0)
    return FGSM_OK;
  if (port->dim[0] == 0 || port->dim[0] > MAX_FIXED_BATCH)
    return FG_FAIL(UNSUPPORTED, "the model's input '%s' fixes its batch at %lld, not 1 to %d",
                   port->name, (long long)port->dim[0], MAX_FIXED_BATCH);
  *out = is_batchless(port, product(shape->rank, shape->dim)) ? 1 : port->dim[0];
  return FGSM_OK;
}

static bool fits(const struct fg_onnx_port *port, int rank, const int64_t *dim) {
  if (port->rank < 0)
    return true;
  if (port->rank != rank + 1)
    return false;
  for (int i = 0; i < rank; i++)
    if (port->dim[i + 1] >= 0 && port->dim[i + 1] != dim[i])
      return false;
  return true;
}

static bool is_channels(int64_t n) {
  return n == 1 || n == 3 || n == 4;
}

/* Whether axes of a rank-3 sample must change places: asked for, or plain from the shapes. */
static void decide_transpose(const struct fg_onnx_port *port, const struct fg_sample_shape *shape,
                             const char *layout, struct fit *fit) {
  const int64_t *s = shape->dim;
  int64_t chw[3] = {s[2], s[0], s[1]}, hwc[3] = {s[1], s[2], s[0]};
  bool as_is = fits(port, 3, s), chw_fits = fits(port, 3, chw), hwc_fits = fits(port, 3, hwc);
  if (strcmp(layout, "nhwc") == 0) {
    fit->to_chw = fit->transpose = chw_fits;
  } else if (strcmp(layout, "nchw") == 0) {
    fit->transpose = !as_is && hwc_fits;
  } else {
    bool open = port->rank != 4 || port->dim[1] < 0;
    bool looks_hwc = is_channels(s[2]) && !is_channels(s[0]);
    fit->to_chw = chw_fits && (as_is ? open && looks_hwc : true);
    fit->transpose = fit->to_chw || (!as_is && hwc_fits);
  }
  if (fit->transpose)
    memcpy(fit->dim + 1, fit->to_chw ? chw : hwc, sizeof chw);
}

/* Whether two shapes are one but for axes of length 1. */
static bool same_squeezed(int ra, const int64_t *a, int rb, const int64_t *b) {
  int i = 0, j = 0;
  for (;;) {
    while (i < ra && a[i] == 1)
      i++;
    while (j < rb && b[j] == 1)
      j++;
    if (i == ra || j == rb)
      return i == ra && j == rb;
    if (a[i++] != b[j++])
      return false;
  }
}

/* Fills the port's open dimensions so that `count` elements fit, if there is one way. */
static bool fill_open(const struct fg_onnx_port *port, const struct fg_sample_shape *shape,
                      int64_t count, int64_t *dim) {
  int open = -1, n_open = 0;
  int64_t known = 1;
  for (int i = 1; i < port->rank; i++) {
    dim[i] = port->dim[i];
    if (dim[i] < 0) {
      open = i;
      n_open++;
    } else if (!fg_mul_ok(known, dim[i], &known)) {
      return false;
    }
  }
  if (n_open == 0)
    return known == count;
  if (n_open == 1) {
    if (known == 0 || count % known)
      return false;
    dim[open] = count / known;
    return true;
  }
  if (shape->rank != 2 || port->rank != 4)
    return false;
  int64_t chw[3] = {1, shape->dim[0], shape->dim[1]}, hwc[3] = {shape->dim[0], shape->dim[1], 1};
  bool first = fits(port, 3, chw);
  memcpy(dim + 1, first ? chw : hwc, sizeof chw);
  return first || fits(port, 3, hwc);
}

static fgsm_status refuse_shape(const struct fg_onnx_port *port,
                                const struct fg_sample_shape *shape) {
  char want[128], have[128];
  return FG_FAIL(USAGE,
                 "the model's input '%s' is %s (-1: open; the batch first), and a sample is %s: "
                 "give data of that shape, or --data-layout if only the order of axes differs",
                 port->name, fg_shape_text(port->rank, port->dim, want, sizeof want),
                 fg_shape_text(shape->rank, shape->dim, have, sizeof have));
}

/* The axis of the channels among the model's or the data's axes (batch at 0). */
static int channel_axis(int rank, const int64_t *dim, bool hwc_asked, int n) {
  if (rank != 4)
    return 1;
  bool hwc = dim[1] != n && dim[3] == n && n > 1;
  if (n <= 1)
    hwc = !is_channels(dim[1]) && is_channels(dim[3]);
  return hwc || (hwc_asked && dim[3] == n) ? 3 : 1;
}

static fgsm_status decide(const struct fg_onnx_port *port, const struct fgsm_options *options,
                          const struct fg_sample_shape *shape, int64_t batch, struct fit *fit) {
  bool nhwc = strcmp(options->data_layout, "nhwc") == 0;
  int n = options->n_mean > options->n_std ? options->n_mean : options->n_std;
  int64_t count = product(shape->rank, shape->dim);
  *fit = (struct fit){.rank = shape->rank + 1};
  if (count <= 0 || shape->rank >= FG_MAX_RANK)
    return refuse_shape(port, shape);
  if (nhwc && shape->rank != 3)
    return FG_FAIL(USAGE, "--data-layout nhwc: a sample has %d axes, not 3", shape->rank);
  fit->dim[0] = batch;
  memcpy(fit->dim + 1, shape->dim, (size_t)shape->rank * sizeof *shape->dim);
  if (is_batchless(port, count)) {
    fit->reshape = true;
    fit->rank = port->rank;
    memcpy(fit->dim, port->dim, (size_t)port->rank * sizeof *port->dim);
  } else {
    if (shape->rank == 3)
      decide_transpose(port, shape, options->data_layout, fit);
    if (!fit->transpose && !fits(port, shape->rank, shape->dim)) {
      fit->reshape = true;
      fit->rank = port->rank;
      if (port->rank < 2 || !fill_open(port, shape, count, fit->dim) ||
          (port->rank > 2 && shape->rank > 1 &&
           !same_squeezed(shape->rank, shape->dim, port->rank - 1, fit->dim + 1)))
        return refuse_shape(port, shape);
    }
  }
  fit->before_shape = fit->reshape && (fit->rank != 4 || fit->dim[0] != batch);
  if (fit->before_shape) {
    int64_t stored[FG_MAX_RANK] = {batch};
    memcpy(stored + 1, shape->dim, (size_t)shape->rank * sizeof *shape->dim);
    fit->channel = channel_axis(shape->rank + 1, stored, nhwc, n);
  } else if (fit->transpose) {
    fit->channel = fit->to_chw ? 1 : 3;
  } else {
    fit->channel = channel_axis(fit->rank, fit->dim, nhwc, n);
  }
  return FGSM_OK;
}

/* x -> (x * scale - mean) / std, as one affine step along `axis`; x itself if nothing was asked. */
static fgsm_status normalise(struct fg_graph *g, const struct fgsm_options *o, int axis, fg_id x,
                             fg_id *out) {
  double factor = o->scale.value;
  if (!(factor > 0) || !isfinite(factor))
    return FG_FAIL(USAGE, "--scale %g: a positive number is needed", factor);
  *out = x;
  if (factor == 1 && o->n_mean == 0 && o->n_std == 0)
    return FGSM_OK;
  int64_t channels = fg_value(g, x)->dim[axis];
  const struct {
    const char *name;
    int n;
  } lists[] = {{"--mean", o->n_mean}, {"--std", o->n_std}};
  for (int i = 0; i < 2; i++)
    if (lists[i].n > 1 && lists[i].n != channels)
      return FG_FAIL(USAGE, "%s has %d values, and the data have %lld channels", lists[i].name,
                     lists[i].n, (long long)channels);
  double *scale = fg_arena_alloc(&g->arena, (size_t)channels * 2 * sizeof *scale);
  if (!scale)
    return FGSM_MEMORY;
  double *shift = scale + channels;
  for (int64_t c = 0; c < channels; c++) {
    double mean = o->n_mean ? o->mean[o->n_mean > 1 ? c : 0] : 0;
    double std = o->n_std ? o->std[o->n_std > 1 ? c : 0] : 1;
    if (!(std > 0) || !isfinite(std) || !isfinite(mean))
      return FG_FAIL(USAGE, "--mean %g --std %g: finite numbers are needed, and a std above 0",
                     mean, std);
    scale[c] = factor / std;
    shift[c] = -mean / std;
  }
  union fg_attrs attrs = {.affine = {.axis = axis, .act = {.kind = FG_UNARY_identity}}};
  fg_id in[3] = {x, FG_ABSENT, FG_ABSENT}, made[FG_MAX_OUT];
  FG_TRY(fg_graph_constant(g, "scale", FG_F64, 1, &channels, scale, &in[1]));
  if (o->n_mean)
    FG_TRY(fg_graph_constant(g, "shift", FG_F64, 1, &channels, shift, &in[2]));
  FG_TRY(fg_graph_add(g, FG_OP_affine, "normalise", &attrs, o->n_mean ? 3 : 2, in, made));
  *out = made[0];
  return FGSM_OK;
}

/* x as the model wants it. */
static fgsm_status adapt(struct fg_graph *g, const struct fgsm_options *options,
                         const struct fit *fit, fg_id x, fg_id *out, char *note) {
  static const int to_chw[] = {0, 3, 1, 2}, to_hwc[] = {0, 2, 3, 1};
  char from[128], to[128];
  const struct fg_value *v = fg_value(g, x);
  fg_shape_text(v->rank - 1, v->dim + 1, from, sizeof from);
  if (fit->before_shape)
    FG_TRY(normalise(g, options, fit->channel, x, &x));
  if (fit->transpose) {
    FG_TRY(fg_transpose(g, x, fit->to_chw ? to_chw : to_hwc, &x));
    fg_note_add(note, FG_NOTE_SIZE, "samples %s are transposed to %s", from,
                fg_shape_text(fit->rank - 1, fit->dim + 1, to, sizeof to));
  }
  if (fit->reshape) {
    FG_TRY(fg_reshape(g, x, fit->rank, fit->dim, &x));
    fg_note_add(note, FG_NOTE_SIZE, "samples %s are given to the model as %s", from,
                fg_shape_text(fit->rank, fit->dim, to, sizeof to));
  }
  if (!fit->before_shape)
    FG_TRY(normalise(g, options, fit->channel, x, &x));
  *out = x;
  return FGSM_OK;
}

static const struct fg_node *producer(const struct fg_graph *g, fg_id value, enum fg_op op) {
  fg_id id = value == FG_ABSENT ? FG_ABSENT : fg_value(g, value)->producer;
  return id != FG_ABSENT && g->nodes[id].op == op ? &g->nodes[id] : NULL;
}

/* [1 - s, s] with s = sigmoid(z) [batch, 1], as scikit-learn's classifiers of two classes end: the
 * softmax of [-z/2, z/2], which takes the place of y. */
static fgsm_status pair_logits(struct fg_graph *g, fg_id *y, bool *found) {
  const struct fg_node *pair = producer(g, *y, FG_OP_concat);
  if (!pair || pair->n_in != 2 || pair->attrs.axis.axis != 1 || fg_value(g, *y)->dim[1] != 2)
    return FGSM_OK;
  const struct fg_node *s = producer(g, pair->in[1], FG_OP_unary);
  const struct fg_node *rest = producer(g, pair->in[0], FG_OP_binary);
  if (!s || s->attrs.unary.kind != FG_UNARY_sigmoid || !rest ||
      rest->attrs.binary.kind != FG_BINARY_sub || rest->in[1] != pair->in[1] ||
      !fg_value_is_constant(g, rest->in[0]) || fg_value_count(g, rest->in[0]) != 1 ||
      fg_constant_real(g, rest->in[0], 0) != 1)
    return FGSM_OK;
  const union fg_attrs attrs = pair->attrs;
  fg_id z = s->in[0], half, in[2], made[FG_MAX_OUT];
  for (int k = 0; k < 2; k++) {
    FG_TRY(fg_graph_scalar(g, k ? 0.5 : -0.5, &half));
    FG_TRY(fg_binary(g, FG_BINARY_mul, z, half, &in[k]));
  }
  FG_TRY(fg_graph_add(g, FG_OP_concat, "logits", &attrs, 2, in, made));
  *y = made[0];
  *found = true;
  return FGSM_OK;
}

/* The model's output `which` as logits [batch, K]. */
static fgsm_status tail(struct fg_graph *g, const struct fg_onnx *onnx,
                        const struct fgsm_options *options, int64_t batch, int which, fg_id y,
                        fg_id *logits, char *note) {
  const char *name = fg_onnx_output(onnx, which)->name;
  char text[128];
  if (!fg_type_is_real(fg_value(g, y)->type))
    return FG_FAIL(UNSUPPORTED, "the model's output '%s' is %s; logits are floats%s", name,
                   fg_type_name(fg_value(g, y)->type),
                   fg_onnx_n_outputs(onnx) > 1 ? ": name another output with --output" : "");
  bool softmax = false;
  if (!options->keep_softmax) {
    fg_find_logits(g, y, &y, &softmax);
    FG_TRY(pair_logits(g, &y, &softmax));
  }
  if (softmax)
    fg_note_add(
        note, FG_NOTE_SIZE,
        "the model ends in probabilities; its logits are attacked (--keep-softmax to differ)");
  if (fg_onnx_n_outputs(onnx) > 1 && !options->output)
    fg_note_add(note, FG_NOTE_SIZE, "of %d outputs, the first, '%s', is attacked",
                fg_onnx_n_outputs(onnx), name);
  const struct fg_value *v = fg_value(g, y);
  fg_shape_text(v->rank, v->dim, text, sizeof text);
  int64_t classes = 1;
  int first = batch == 1 ? 0 : 1, wide = 0;
  for (int i = first; i < v->rank; i++)
    if (v->dim[i] != 1) {
      classes = v->dim[i];
      wide++;
    }
  if (wide > 1 || (first && (v->rank < 1 || v->dim[0] != batch)))
    return FG_FAIL(
        UNSUPPORTED,
        "the model's output '%s' is %s, not one row of logits for each of %lld samples%s", name,
        text, (long long)batch, first ? "; --batch 1 may help" : "");
  if (classes < 2)
    return FG_FAIL(UNSUPPORTED,
                   "the model's output '%s' is one number per sample; the losses compare classes, "
                   "of which they need two or more",
                   name);
  int64_t dim[2] = {batch, classes};
  if (v->rank == 2 && v->dim[0] == batch) {
    *logits = y;
    return FGSM_OK;
  }
  return fg_reshape(g, y, 2, dim, logits);
}

fgsm_status fg_attack_logits(struct fg_graph *g, const struct fg_onnx *onnx,
                             const struct fgsm_options *options,
                             const struct fg_attack_arrays *arrays,
                             const struct fg_sample_shape *shape, int64_t batch, bool trainable,
                             fg_id x, fg_id *logits, char *note) {
  struct fit fit;
  int attacked, output;
  fg_id y;
  *note = 0;
  FG_TRY(fg_attack_input(onnx, options, &attacked));
  FG_TRY(fg_attack_output(onnx, options, &output));
  fg_id *in = fg_arena_alloc(&g->arena, (size_t)fg_onnx_n_inputs(onnx) * sizeof *in);
  if (!in)
    return FGSM_MEMORY;
  FG_TRY(decide(fg_onnx_input(onnx, attacked), options, shape, batch, &fit));
  FG_TRY(adapt(g, options, &fit, x, &in[attacked], note));
  FG_TRY(fg_attack_inputs(g, onnx, arrays, attacked, batch, in));
  FG_TRY(fg_onnx_build_output(onnx, g, batch, trainable, in, output, &y));
  return tail(g, onnx, options, batch, output, y, logits, note);
}
