/* A model with several inputs or outputs: which input is attacked, what the others are, and which
 * output holds the logits. Inputs that are not attacked are constants, the same for every sample;
 * they are given as arrays without the batch, or with a batch of one, and repeated for it. */
#include <math.h>
#include <string.h>

#include "attacker.h"
#include "op.h"

fgsm_status fg_attack_input(const struct fg_onnx *onnx, const struct fgsm_options *options,
                            int *which) {
  int n = fg_onnx_n_inputs(onnx);
  *which = 0;
  if (n == 0)
    return FG_FAIL(MODEL, "the model has no input");
  if (!options->input && n > 1)
    return FG_FAIL(USAGE,
                   "the model has %d inputs ('%s', '%s'%s): name the one to attack with --input, "
                   "and give the others with --feed NAME=FILE.npy",
                   n, fg_onnx_input(onnx, 0)->name, fg_onnx_input(onnx, 1)->name,
                   n > 2 ? ", ..." : "");
  while (options->input && *which < n &&
         strcmp(fg_onnx_input(onnx, *which)->name, options->input) != 0)
    ++*which;
  if (*which == n)
    return FG_FAIL(USAGE, "option 'input': the model has no input '%.120s'; its first is '%s'",
                   options->input, fg_onnx_input(onnx, 0)->name);
  const struct fg_onnx_port *port = fg_onnx_input(onnx, *which);
  if (!fg_type_is_real(port->type))
    return FG_FAIL(UNSUPPORTED,
                   "the model's input '%s' is %s; a gradient needs a model that takes floats",
                   port->name, fg_type_name(port->type));
  return FGSM_OK;
}

fgsm_status fg_attack_output(const struct fg_onnx *onnx, const struct fgsm_options *options,
                             int *which) {
  int n = fg_onnx_n_outputs(onnx);
  *which = 0;
  if (n == 0)
    return FG_FAIL(MODEL, "the model has no outputs");
  while (options->output && *which < n &&
         strcmp(fg_onnx_output(onnx, *which)->name, options->output) != 0)
    ++*which;
  if (*which == n)
    return FG_FAIL(USAGE, "option 'output': the model has no output '%.120s'; its first is '%s'",
                   options->output, fg_onnx_output(onnx, 0)->name);
  return FGSM_OK;
}

static fgsm_status refuse(const struct fg_onnx_port *port, const struct fg_attack_feed *feed) {
  char want[128], have[128];
  return FG_FAIL(USAGE,
                 "option 'feed': the model's input '%s' is %s (-1: open; the batch first), and the "
                 "array is %s; give one sample's values, which serve for every sample",
                 port->name, fg_shape_text(port->rank, port->dim, want, sizeof want),
                 fg_shape_text(feed->rank, feed->dim, have, sizeof have));
}

/* Doubles as integers of a type, where they are such. */
static fgsm_status narrow(const struct fg_attack_feed *feed, enum fg_type type, int64_t n,
                          void *to) {
  for (int64_t i = 0; i < n; i++) {
    double v = feed->data[i];
    int64_t whole = fabs(v) < 0x1p53 ? (int64_t)v : 0;
    unsigned bits = (unsigned)fg_type_size(type) * 8;
    int64_t most = type == FG_BOOL ? 1
                   : type == FG_U8 ? 255
                   : bits == 64    ? INT64_MAX
                                   : ((int64_t)1 << (bits - 1)) - 1;
    int64_t least = type == FG_BOOL || type == FG_U8 ? 0 : -most - 1;
    if ((double)whole != v || whole < least || whole > most)
      return FG_FAIL(USAGE, "option 'feed': '%s' takes %s, which %g is not", feed->name,
                     fg_type_name(type), v);
    memcpy((char *)to + (size_t)i * (bits / 8), &whole, bits / 8); /* little-endian */
  }
  return FGSM_OK;
}

/* The array as a constant of the port's type, in its own shape `dim`. */
static fgsm_status constant(struct fg_graph *g, const struct fg_onnx_port *port,
                            const struct fg_attack_feed *feed, int rank, const int64_t *dim,
                            fg_id *out) {
  int64_t n = 1;
  for (int i = 0; i < feed->rank; i++)
    n *= feed->dim[i];
  if (fg_type_is_real(port->type))
    return fg_graph_constant(g, port->name, FG_F64, rank, dim, feed->data, out);
  void *data = fg_arena_alloc(&g->arena, (size_t)n * fg_type_size(port->type) + 1);
  if (!data)
    return FGSM_MEMORY;
  FG_TRY(narrow(feed, port->type, n, data));
  return fg_graph_constant(g, port->name, port->type, rank, dim, data, out);
}

static fgsm_status feed_input(struct fg_graph *g, const struct fg_onnx_port *port,
                              const struct fg_attack_feed *feed, int64_t batch, fg_id *out) {
  int64_t dim[FG_MAX_RANK] = {1};
  int without = port->rank == feed->rank + 1; /* the batch axis is left out */
  if (port->type == FG_NONE)
    return FG_FAIL(UNSUPPORTED, "the model's input '%s' is of a type that is not supported",
                   port->name);
  if (port->rank < 0)
    return constant(g, port, feed, feed->rank, feed->dim, out);
  if (port->rank != feed->rank + without)
    return refuse(port, feed);
  memcpy(dim + without, feed->dim, (size_t)feed->rank * sizeof *dim);
  for (int i = 1; i < port->rank; i++)
    if (port->dim[i] >= 0 && port->dim[i] != dim[i])
      return refuse(port, feed);
  if (port->rank == 0)
    return constant(g, port, feed, 0, dim, out);
  int64_t first = port->dim[0] < 0 ? batch : port->dim[0];
  if (dim[0] != 1 && (port->dim[0] < 0 || dim[0] != first))
    return refuse(port, feed);
  FG_TRY(constant(g, port, feed, port->rank, dim, out));
  if (dim[0] == first)
    return FGSM_OK;
  dim[0] = first;
  return fg_expand(g, *out, port->rank, dim, out);
}

fgsm_status fg_attack_inputs(struct fg_graph *g, const struct fg_onnx *onnx,
                             const struct fg_attack_arrays *arrays, int attacked, int64_t batch,
                             fg_id *in) {
  int n = fg_onnx_n_inputs(onnx);
  for (int i = 0; i < n; i++)
    if (i != attacked)
      in[i] = FG_ABSENT;
  for (int k = 0; k < arrays->n_feeds; k++) {
    const struct fg_attack_feed *feed = &arrays->feeds[k];
    int i = 0;
    while (i < n && strcmp(fg_onnx_input(onnx, i)->name, feed->name) != 0)
      i++;
    if (i == n)
      return FG_FAIL(USAGE, "option 'feed': the model has no input '%.120s'", feed->name);
    if (i == attacked || in[i] != FG_ABSENT)
      return FG_FAIL(USAGE, "option 'feed': '%.120s' is %s", feed->name,
                     i == attacked ? "the input that is attacked" : "given twice");
    FG_TRY(feed_input(g, fg_onnx_input(onnx, i), feed, batch, &in[i]));
  }
  return FGSM_OK;
}
