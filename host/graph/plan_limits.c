/* What a graph may ask of a plan beside memory. Backends compile a kernel for each convolution that
 * differs from others, in some tenths of a millisecond; the largest nets have hundreds. */
#include <stdlib.h>
#include <string.h>

#include "plan.h"

enum { MOST_CONVOLUTIONS = 1024, NUMBERS = 48 };

/* All that tells convolutions apart, in numbers. */
struct kind {
  int64_t number[NUMBERS];
};

static bool is_convolution(const struct fg_node *node) {
  return node->op == FG_OP_conv || node->op == FG_OP_conv_grad_input ||
         node->op == FG_OP_conv_grad_weight || node->op == FG_OP_conv_grad_input_step;
}

static struct kind kind_of(const struct fg_graph *g, const struct fg_node *node) {
  const struct fg_conv_attrs *a =
      node->op == FG_OP_conv_grad_input_step ? &node->attrs.conv_step.conv : &node->attrs.conv;
  const fg_id part[3] = {node->in[0], node->in[1], node->out[0]};
  struct kind kind = {{(int64_t)node->op, a->group, (int64_t)a->act.kind}};
  int n = 3;
  for (int i = 0; i < 3; i++) {
    kind.number[n++] = a->stride[i];
    kind.number[n++] = a->dilation[i];
    kind.number[n++] = a->pad_lo[i];
    kind.number[n++] = a->pad_hi[i];
  }
  for (int i = 0; i < 3; i++) {
    const struct fg_value *v = fg_value(g, part[i]);
    kind.number[n++] = (int64_t)v->layout;
    for (int k = 0; k < v->rank; k++)
      kind.number[n++] = v->dim[k];
  }
  return kind;
}

static int compare(const void *a, const void *b) {
  return memcmp(a, b, sizeof(struct kind));
}

fgsm_status fg_plan_check_convolutions(const struct fg_graph *g) {
  int64_t n = 0, different = 0, at = 0;
  for (int64_t i = 0; i < g->n_nodes; i++)
    n += is_convolution(&g->nodes[i]);
  if (n <= MOST_CONVOLUTIONS)
    return FGSM_OK;
  struct kind *kinds = calloc((size_t)n, sizeof *kinds);
  if (!kinds)
    return FG_FAIL(MEMORY, "no memory for a plan");
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (is_convolution(&g->nodes[i]))
      kinds[at++] = kind_of(g, &g->nodes[i]);
  qsort(kinds, (size_t)n, sizeof *kinds, compare);
  for (int64_t i = 0; i < n; i++)
    different += i == 0 || compare(&kinds[i - 1], &kinds[i]) != 0;
  free(kinds);
  return different <= MOST_CONVOLUTIONS
             ? FGSM_OK
             : FG_FAIL(UNSUPPORTED,
                       "%lld convolutions, forward and backward, differ in shape: a kernel is "
                       "compiled for each, and at most %d are taken",
                       (long long)different, MOST_CONVOLUTIONS);
}
