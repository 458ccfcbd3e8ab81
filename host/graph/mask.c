/* Chooses which ReLUs leave a mask behind (attrs.h), from which their slope is taken on the way back: then
 * the values themselves are free as soon as the forward pass is through with them, and fewer bytes are read.
 * A mask is made by the convolution or product that the ReLU is fused into, after all other passes, when it
 * is known how everything lies and is typed.
 *
 * A mask stands only if it saves bytes, or has the values freed; if the kernels of all who make and read it,
 * asked with a trial `prepare`, accept it; and if the backend gains by it. Bits are tried before bytes. */
#include "fuse.h"
#include "mask.h"
#include "op.h"

enum { MOST_READERS = 4 };

/* A ReLU's value, the node that makes it, and the nodes that take its slope. */
struct relu {
  fg_id value;
  int64_t maker, slopes[MOST_READERS];
  int n;
  bool is_kept; /* someone reads the values themselves, not before the first slope */
};

/* The input that the node takes a ReLU's slope from, or -1. */
static int slope_slot(const struct fg_node *node) {
  switch (node->op) {
  case FG_OP_unary_grad:
    return node->attrs.unary.kind == FG_UNARY_relu ? 1 : -1;
  case FG_OP_conv_grad_input:
    return node->attrs.conv.act.kind == FG_UNARY_relu ? 2 : -1;
  case FG_OP_matmul:
    return node->attrs.matmul.act.kind == FG_UNARY_relu && node->in[4] != FG_ABSENT ? 4 : -1;
  default:
    return -1;
  }
}

static bool makes_relu(const struct fg_node *node) {
  return (node->op == FG_OP_conv && node->attrs.conv.act.kind == FG_UNARY_relu) ||
         (node->op == FG_OP_matmul && node->attrs.matmul.act.kind == FG_UNARY_relu &&
          node->in[4] == FG_ABSENT);
}

/* Who reads the value; false if more take its slope than there is room for, or none. */
static bool find_readers(const struct fg_graph *g, struct relu *r) {
  for (int i = 0; i < g->n_outputs; i++)
    r->is_kept |= g->outputs[i] == r->value;
  for (int64_t i = r->maker + 1; i < g->n_nodes; i++) {
    const struct fg_node *node = &g->nodes[i];
    int slot = slope_slot(node);
    for (int k = 0; k < node->n_in; k++) {
      if (node->in[k] != r->value)
        continue;
      if (k != slot) {
        r->is_kept |= r->n > 0;
        continue;
      }
      if (r->n == MOST_READERS)
        return false;
      r->slopes[r->n++] = i;
    }
  }
  return r->n > 0;
}

/* Bytes that need not be read, less those of the mask; none is saved where it only moves them. */
static bool pays(const struct relu *r, const struct fg_tensor *y, const struct fg_tensor *mask) {
  double saved = r->n * ((double)fg_bytes(y) - (double)fg_bytes(mask)) - (double)fg_bytes(mask);
  return saved > 0 || (saved >= 0 && !r->is_kept);
}

/* The maker (which = -1) or a reader, with the mask. */
static struct fg_node masked(const struct fg_graph *g, const struct relu *r, int which,
                             fg_id mask) {
  struct fg_node node = g->nodes[which < 0 ? r->maker : r->slopes[which]];
  if (which < 0)
    node.out[1] = mask;
  else
    node.in[slope_slot(&node)] = mask;
  return node;
}

static bool gains(struct fg_graph *g, const struct relu *r, fg_id mask, struct fg_device *device) {
  struct fg_node nodes[1 + MOST_READERS];
  struct fg_call with[1 + MOST_READERS], without[1 + MOST_READERS];
  for (int i = 0; i <= r->n; i++) {
    nodes[i] = masked(g, r, i - 1, mask);
    if (!fg_fuse_accepts(g, &nodes[i], device))
      return false;
    fg_node_call(g, &nodes[i], &with[i]);
    fg_node_call(g, &g->nodes[i ? r->slopes[i - 1] : r->maker], &without[i]);
  }
  return device->backend->takes_mask(device, with, without, 1 + r->n);
}

/* Masks the ReLU in that form, if it is worth it. */
static fgsm_status try_form(struct fg_graph *g, const struct relu *r, enum fg_type form,
                            struct fg_device *device, bool *done) {
  const struct fg_tensor y = fg_value_tensor(g, r->value);
  const struct fg_tensor want = fg_mask_of(g->nodes[r->maker].op, &y, form);
  struct fg_value like = {.type = want.type, .rank = want.rank, .name = ""};
  fg_id mask;
  if (want.type == FG_NONE || !pays(r, &y, &want))
    return FGSM_OK;
  for (int i = 0; i < want.rank; i++)
    like.dim[i] = want.dim[i];
  FG_TRY(fg_graph_value(g, &like, &mask));
  fg_value(g, mask)->layout = want.layout;
  *done = gains(g, r, mask, device);
  if (!*done)
    return FGSM_OK;
  for (int i = 0; i <= r->n; i++)
    g->nodes[i ? r->slopes[i - 1] : r->maker] = masked(g, r, i - 1, mask);
  fg_value(g, mask)->producer = (fg_id)r->maker;
  return FGSM_OK;
}

fgsm_status fg_mask(struct fg_graph *g, struct fg_device *device) {
  static const enum fg_type forms[] = {FG_U8, FG_BOOL};
  if (!device->backend->takes_mask)
    return FGSM_OK;
  FG_TRY(fg_graph_compact(g));
  FG_TRY(device->backend->enter(device));
  for (int64_t i = 0; i < g->n_nodes; i++) {
    struct relu r = {.value = g->nodes[i].out[0], .maker = i};
    bool done = false;
    if (!makes_relu(&g->nodes[i]) || !find_readers(g, &r))
      continue;
    for (int f = 0; f < 2 && !done; f++)
      FG_TRY(try_form(g, &r, forms[f], device, &done));
  }
  return fg_graph_compact(g);
}
