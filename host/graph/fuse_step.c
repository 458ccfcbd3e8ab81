/* The gradient of a first layer, and the step along it, become one node: the gradient never reaches
 * memory. A max-pool's gradient in front of the convolution's goes along where the backend takes it; the
 * slope of an activation between them has moved out of the way (fuse_pool.c). */
#include <string.h>

#include "fuse.h"
#include "op.h"

/* The step that `value` is the gradient of and nothing else, without momentum; NULL if there is
 * none. Between the two may lie a reshape, *reshape, to the samples' shape. */
static struct fg_node *step_along(const struct fg_rewrite *rw, fg_id value,
                                  struct fg_node **reshape) {
  struct fg_node *user = fg_rewrite_only_user(rw, value);
  *reshape = NULL;
  if (user && user->op == FG_OP_reshape) {
    *reshape = user;
    value = user->out[0];
    user = fg_rewrite_only_user(rw, value);
  }
  return user && user->op == FG_OP_step && user->in[2] == value && user->in[3] == FG_ABSENT ? user
                                                                                            : NULL;
}

/* `step` as the fused operator: dy and w, then what a step takes. */
static struct fg_node fused_step(const struct fg_node *step, enum fg_op op, fg_id dy, fg_id w,
                                 fg_id index) {
  struct fg_node fused = *step;
  fused.op = op;
  fused.n_in = index == FG_ABSENT ? 7 : 8;
  memcpy(fused.in,
         (fg_id[]){dy, w, step->in[0], step->in[1], step->in[4], step->in[5], step->in[6], index},
         (size_t)fused.n_in * sizeof(fg_id));
  fused.out[1] = FG_ABSENT; /* the gradient; momentum's place in a step */
  return fused;
}

/* Puts the fused node where the step stood; node `at`, which made the gradient, goes. */
static void take_step(struct fg_rewrite *rw, int64_t at, struct fg_node *step,
                      const struct fg_node *fused) {
  fg_rewrite_kill(rw, &rw->g->nodes[at]);
  fg_rewrite_touch(rw, step);
  *step = *fused;
}

/* max_pool_grad, conv_grad_input, step. */
static bool fuse_pooled_step(struct fg_rewrite *rw, int64_t at, struct fg_node *step,
                             struct fg_device *device) {
  const struct fg_node conv = rw->g->nodes[at];
  struct fg_node *pool_grad = fg_rewrite_only_feeds(rw, conv.in[0], FG_OP_max_pool_grad);
  if (!pool_grad)
    return false;
  struct fg_node fused =
      fused_step(step, FG_OP_conv_grad_input_step, pool_grad->in[0], conv.in[1], pool_grad->in[1]);
  fused.attrs.conv_step = (struct fg_conv_step_attrs){
      .conv = conv.attrs.conv, .step = step->attrs.step, .pool = pool_grad->attrs.pool};
  if (!fg_fuse_accepts(rw->g, &fused, device))
    return false;
  fg_rewrite_kill(rw, pool_grad);
  take_step(rw, at, step, &fused);
  return true;
}

/* Whether this sweep has left alone what makes the convolution's dy. If not, the next one will see
 * it as it then is: a pool must not be missed because its neighbour was just rewritten. */
static bool is_settled(const struct fg_rewrite *rw, fg_id dy) {
  for (int i = 0; i < 2; i++) {
    fg_id at = dy == FG_ABSENT ? FG_ABSENT : fg_value(rw->g, dy)->producer;
    if (at == FG_ABSENT)
      return true;
    if (!fg_rewrite_fresh(rw, at))
      return false;
    const struct fg_node *node = &rw->g->nodes[at];
    if (node->op != FG_OP_unary_grad)
      return true;
    dy = node->in[2];
  }
  return true;
}

bool fg_fuse_conv_step(struct fg_rewrite *rw, int64_t at, struct fg_device *device) {
  struct fg_graph *g = rw->g;
  const struct fg_node conv = g->nodes[at];
  struct fg_node *reshape, *step = step_along(rw, conv.out[0], &reshape);
  if (!step || reshape || conv.n_in > 2 || !is_settled(rw, conv.in[0]))
    return false;
  if (fuse_pooled_step(rw, at, step, device))
    return true;
  struct fg_node fused =
      fused_step(step, FG_OP_conv_grad_input_step, conv.in[0], conv.in[1], FG_ABSENT);
  fused.attrs.conv_step =
      (struct fg_conv_step_attrs){.conv = conv.attrs.conv, .step = step->attrs.step};
  if (!fg_fuse_accepts(g, &fused, device))
    return false;
  take_step(rw, at, step, &fused);
  return true;
}

bool fg_fuse_gemm_step(struct fg_rewrite *rw, int64_t at, struct fg_device *device) {
  struct fg_graph *g = rw->g;
  const struct fg_node product = g->nodes[at];
  const struct fg_matmul_attrs *a = &product.attrs.matmul;
  struct fg_node *reshape, *step = step_along(rw, product.out[0], &reshape);
  if (!step || a->trans_a || a->act.kind != FG_UNARY_identity ||
      fg_value(g, product.out[0])->rank != 2 || fg_value(g, product.in[1])->rank != 2 ||
      fg_value(g, product.out[0])->dim[0] != fg_value(g, step->in[0])->dim[0])
    return false;
  for (int k = 2; k < product.n_in; k++)
    if (product.in[k] != FG_ABSENT)
      return false;
  struct fg_node fused =
      fused_step(step, FG_OP_gemm_grad_input_step, product.in[0], product.in[1], FG_ABSENT);
  fused.attrs.gemm_step = (struct fg_gemm_step_attrs){.matmul = *a, .step = step->attrs.step};
  if (!fg_fuse_accepts(g, &fused, device))
    return false;
  if (reshape)
    fg_rewrite_kill(rw, reshape);
  take_step(rw, at, step, &fused);
  return true;
}
