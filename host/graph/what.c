/* What a node does, in a word. */
#include <stdio.h>
#include <string.h>

#include "graph.h"

static const char *operator_of(const struct fg_node *node) {
  static const char *const binary[] = {
#define X(name) #name,
    FG_BINARY_MAP(X)
#undef X
  };
  static const char *const reduce[] = {
#define X(name) "reduce_" #name,
    FG_REDUCE_MAP(X)
#undef X
  };
  switch (node->op) {
  case FG_OP_unary:
    return fg_unary_name(node->attrs.unary.kind);
  case FG_OP_binary:
    return binary[node->attrs.binary.kind];
  case FG_OP_reduce:
    return reduce[node->attrs.reduce.kind];
  default:
    return fg_op_name(node->op);
  }
}

/* The activation that is part of the node; NULL where the operator has no place for one. */
static const struct fg_unary_attrs *activation_of(const struct fg_node *node) {
  switch (node->op) {
  case FG_OP_conv:
    return &node->attrs.conv.act;
  case FG_OP_matmul:
    return &node->attrs.matmul.act;
  case FG_OP_affine:
    return &node->attrs.affine.act;
  default:
    return NULL;
  }
}

bool fg_node_has_activation(const struct fg_node *node) {
  const struct fg_unary_attrs *act = activation_of(node);
  return act && act->kind != FG_UNARY_identity;
}

/* Residuals are the fourth input of convolutions and products. */
bool fg_node_has_residual(const struct fg_node *node) {
  return (node->op == FG_OP_conv || node->op == FG_OP_matmul) && node->n_in > 3 &&
         node->in[3] != FG_ABSENT;
}

void fg_node_what(const struct fg_node *node, char *text, size_t size) {
  bool act = fg_node_has_activation(node), conv = node->op == FG_OP_conv;
  bool product = node->op == FG_OP_matmul, slope = product && node->in[4] != FG_ABSENT;
  snprintf(text, size, "%s%s%s%s%s%s", operator_of(node),
           fg_node_has_residual(node) ? "+residual" : "", act ? "+" : "",
           act ? fg_unary_name(activation_of(node)->kind) : "", slope ? "_grad" : "",
           (conv || product) && node->out[1] != FG_ABSENT ? "+mask" : "");
}
