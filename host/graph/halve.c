/* Chooses which values are stored in half precision. Products ask for it; operators that work through
 * their operands follow what reaches them; everything else is float32, and so is what the graph gives
 * out and whatever leads to that alone: logits, and the gradient that the step takes. A cast stands
 * wherever the two worlds meet, at most one per value and direction; a weight's is done at once. */
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "op.h"

struct halves {
  struct fg_graph *g;
  struct fg_device *device;
  enum fg_type half;
  fg_id *wide, *narrow; /* per value: where that form of it can be read; FG_ABSENT: not made yet */
  bool *read_narrow;    /* per value: some node would read it in half precision */
  bool *is_output;
};

static bool is_slot(uint32_t mask, int k) {
  return mask >> k & 1;
}

/* Whether nobody would read the value in half precision, or the caller will in float32. */
static bool stays_wide(const struct halves *h, fg_id id) {
  return h->is_output[id] || !h->read_narrow[id];
}

/* Whether the node works in float32 because that is what its result is wanted in. */
static bool is_wide(const struct halves *h, const struct fg_node *node) {
  struct fg_half_slots slots = fg_half_slots(node->op);
  return !slots.asks && slots.out && node->out[0] != FG_ABSENT && stays_wide(h, node->out[0]);
}

/* From the last node to the first, so that a value's readers are known when its maker is asked. */
static void find_readers(struct halves *h) {
  const struct fg_graph *g = h->g;
  for (int i = 0; i < g->n_outputs; i++)
    h->is_output[g->outputs[i]] = true;
  for (int64_t i = g->n_nodes; i-- > 0;) {
    const struct fg_node *node = &g->nodes[i];
    uint32_t in = is_wide(h, node) ? 0 : fg_half_slots(node->op).in;
    for (int k = 0; k < node->n_in; k++)
      if (node->in[k] != FG_ABSENT && is_slot(in, k))
        h->read_narrow[node->in[k]] = true;
  }
}

/* Fills the call with the types that the node would like; false if it is to work in float32. */
static bool propose(const struct halves *h, const struct fg_node *node, struct fg_call *call) {
  struct fg_half_slots slots = fg_half_slots(node->op);
  bool reached = slots.asks;
  if (!slots.in || is_wide(h, node))
    return false;
  fg_node_call(h->g, node, call);
  for (int k = 0; k < node->n_in; k++) {
    enum fg_type type = call->in[k].type;
    reached |= is_slot(slots.in, k) && type == h->half;
    if (type == h->half || type == h->g->real)
      call->in[k].type = is_slot(slots.in, k) ? h->half : h->g->real;
  }
  for (int k = 0; k < node->n_out; k++)
    if (is_slot(slots.out, k) && call->out[k].type == h->g->real &&
        (slots.alike ? !h->is_output[node->out[k]] : !stays_wide(h, node->out[k])))
      call->out[k].type = h->half;
  return reached && h->device->backend->takes_half(h->device, call);
}

/* The value in that form, by a cast if it is not there yet. */
static fgsm_status obtain(struct halves *h, fg_id id, bool narrow, fg_id *out) {
  fg_id *have = narrow ? h->narrow : h->wide;
  if (have[id] == FG_ABSENT)
    FG_TRY(fg_cast(h->g, (narrow ? h->wide : h->narrow)[id], narrow ? h->half : h->g->real, 0,
                   &have[id]));
  *out = have[id];
  return FGSM_OK;
}

static fgsm_status place(struct halves *h, int64_t at) {
  struct fg_call call;
  struct fg_node node = h->g->nodes[at];
  h->g->from = node.from; /* a cast belongs to the first that asks for it */
  bool halves = propose(h, &node, &call);
  for (int k = 0; k < node.n_in; k++)
    if (node.in[k] != FG_ABSENT) {
      fg_id form = node.in[k];
      if (h->wide[form] != FG_ABSENT || h->narrow[form] != FG_ABSENT)
        FG_TRY(obtain(h, node.in[k], halves && fg_type_is_half(call.in[k].type), &form));
      h->g->nodes[at].in[k] = form;
    }
  if (halves && node.op == FG_OP_cast)
    h->g->nodes[at].attrs.cast.type = call.out[0].type;
  for (int k = 0; k < node.n_out; k++)
    if (node.out[k] != FG_ABSENT) {
      bool narrow = halves && fg_type_is_half(call.out[k].type);
      if (narrow)
        fg_value(h->g, node.out[k])->type = h->half;
      (narrow ? h->narrow : h->wide)[node.out[k]] = node.out[k];
    }
  return FGSM_OK;
}

static fgsm_status place_all(struct halves *h) {
  struct fg_graph *g = h->g;
  struct fg_provenance outer = g->from;
  int64_t n_nodes = g->n_nodes;
  fgsm_status status = FGSM_OK;
  for (fg_id i = 0; i < g->n_values; i++) {
    h->wide[i] = g->values[i].producer == FG_ABSENT ? i : FG_ABSENT;
    h->narrow[i] = FG_ABSENT;
  }
  find_readers(h);
  for (int64_t i = 0; i < n_nodes && status == FGSM_OK; i++)
    status = place(h, i);
  g->from = outer;
  return status == FGSM_OK ? fg_graph_compact(g) : status;
}

fgsm_status fg_halve(struct fg_graph *g, struct fg_device *device) {
  enum fg_precision precision = device->precision;
  bool half = precision == FG_PRECISION_bf16 || precision == FG_PRECISION_fp16;
  if (!half || !device->backend->takes_half)
    return FGSM_OK;
  FG_TRY(fg_graph_compact(g));
  size_t n = (size_t)g->n_values + 1;
  struct halves h = {.g = g,
                     .device = device,
                     .half = precision == FG_PRECISION_bf16 ? FG_BF16 : FG_F16,
                     .wide = malloc(n * sizeof *h.wide),
                     .narrow = malloc(n * sizeof *h.narrow),
                     .read_narrow = calloc(n, sizeof *h.read_narrow),
                     .is_output = calloc(n, sizeof *h.is_output)};
  bool whole = h.wide && h.narrow && h.read_narrow && h.is_output;
  fgsm_status status = whole ? place_all(&h) : FG_FAIL(MEMORY, "no memory for a graph pass");
  free(h.is_output);
  free(h.read_narrow);
  free(h.narrow);
  free(h.wide);
  return status;
}
