/* Where a gradient hangs on ties. In a flat region of an image - MNIST's background - neighbouring sums
 * of a convolution are equal to the last bit, and a max-pool behind it gives the gradient to the first of
 * them. Winograd's tiles round them apart, and the gradient goes elsewhere: a small change of the
 * values, none of the loss, and another attack. So a convolution from which a maximum can be reached is
 * marked to be computed by sums that do not depend on a window's place. Gradients, behind every maximum, are free. */
#include <stdlib.h>

#include "fuse.h"
#include "op.h"

static bool picks(const struct fg_node *node) {
  switch (node->op) {
  case FG_OP_max_pool:
  case FG_OP_top:
    return true;
  case FG_OP_reduce:
    return node->attrs.reduce.kind == FG_REDUCE_max || node->attrs.reduce.kind == FG_REDUCE_min;
  case FG_OP_binary:
    return node->attrs.binary.kind == FG_BINARY_max || node->attrs.binary.kind == FG_BINARY_min;
  default:
    return false;
  }
}

fgsm_status fg_keep_ties(struct fg_graph *g) {
  bool *reaches = calloc((size_t)g->n_values + 1, sizeof *reaches);
  if (!reaches)
    return FG_FAIL(MEMORY, "no memory for a graph pass");
  for (int64_t i = g->n_nodes - 1; i >= 0; i--) {
    struct fg_node *node = &g->nodes[i];
    bool here = picks(node);
    for (int k = 0; k < node->n_out; k++)
      here |= node->out[k] != FG_ABSENT && reaches[node->out[k]];
    if (here && node->op == FG_OP_conv)
      node->attrs.conv.plain_sums = true;
    for (int k = 0; here && k < node->n_in; k++)
      if (node->in[k] != FG_ABSENT)
        reaches[node->in[k]] = true;
  }
  free(reaches);
  return FGSM_OK;
}
