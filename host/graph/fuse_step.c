/* The gradient of a first layer, and the step along it, become one node: the gradient never reaches
 * memory. A max-pool's gradient in front of the convolution's goes along where the backend takes it. */
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

/* What makes a convolution's dy out of a max-pool's: the pool's gradient, and perhaps that of an
 * activation between the convolution and the pool. */
struct pooled {
  struct fg_node *pool_grad, *act_grad; /* act_grad: NULL for none */
  fg_id pool_y;                         /* the pool's result */
};

static bool find_pooled(const struct fg_rewrite *rw, fg_id dy, struct pooled *p) {
  const struct fg_graph *g = rw->g;
  *p = (struct pooled){.act_grad = fg_rewrite_only_feeds(rw, dy, FG_OP_unary_grad)};
  if (p->act_grad) {
    if (p->act_grad->n_in > 3 && p->act_grad->in[3] != FG_ABSENT)
      return false;
    dy = p->act_grad->in[2];
  }
  p->pool_grad = fg_rewrite_only_feeds(rw, dy, FG_OP_max_pool_grad);
  if (!p->pool_grad)
    return false;
  fg_id pool = fg_value(g, p->pool_grad->in[1])->producer;
  if (pool == FG_ABSENT || g->nodes[pool].op != FG_OP_max_pool)
    return false;
  p->pool_y = g->nodes[pool].out[0];
  /* The slope must be a function of the values that the pool chose from. */
  return !p->act_grad || p->act_grad->in[1] == g->nodes[pool].in[0];
}

/* max_pool_grad [, an activation's gradient], conv_grad_input, step. The activation's gradient
 * moves in front of the pool's: the values there are those of the places that won. */
static bool fuse_pooled_step(struct fg_rewrite *rw, int64_t at, struct fg_node *step,
                             struct fg_device *device) {
  struct fg_graph *g = rw->g;
  const struct fg_node conv = g->nodes[at];
  struct pooled p;
  if (!find_pooled(rw, conv.in[0], &p))
    return false;
  fg_id dy = p.pool_grad->in[0], index = p.pool_grad->in[1];
  struct fg_node act = {0};
  if (p.act_grad) {
    struct fg_value like = *fg_value(g, dy);
    act = *p.act_grad;
    act.in[1] = p.pool_y;
    act.in[2] = dy;
    if (fg_graph_value(g, &like, &dy) != FGSM_OK)
      return false; /* no memory: whoever needs some next will say so */
    act.out[0] = dy;
  }
  struct fg_node fused = fused_step(step, FG_OP_conv_grad_input_step, dy, conv.in[1], index);
  fused.attrs.conv_step = (struct fg_conv_step_attrs){
      .conv = conv.attrs.conv, .step = step->attrs.step, .pool = p.pool_grad->attrs.pool};
  if (!fg_fuse_accepts(g, &fused, device) || (p.act_grad && !fg_fuse_accepts(g, &act, device)))
    return false;
  fg_rewrite_kill(rw, p.pool_grad);
  if (p.act_grad) {
    fg_rewrite_touch(rw, p.act_grad);
    *p.act_grad = act;
    fg_value(g, dy)->producer = (fg_id)(p.act_grad - g->nodes);
  }
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
