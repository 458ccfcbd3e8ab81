/* Fuses neighbours into what the backend computes in one pass over memory.
 *
 *   conv or matmul [+ value] [then activation]  -> one node with residual and act
 *   affine, then activation                     -> affine with act
 *   matmul, then one common factor              -> alpha
 *   a + b, then an activation's gradient        -> unary_grad with two gradients
 *   conv_grad_input or matmul [+ value], activation's gradient -> that with act, v and what is added
 *   gradients of all parts of a split, added up -> concat (fuse_concat.c)
 *   max_pool_grad, an activation's gradient     -> that, then max_pool_grad (fuse_pool.c)
 *   max_pool_grad, conv_grad_input, then step   -> conv_grad_input_step with index (fuse_step.c)
 *   conv_grad_input, then step                  -> conv_grad_input_step
 *   matmul (a first layer's gradient), step     -> gemm_grad_input_step
 *   a dense network, its loss, gradient, step   -> mlp_fgsm (fuse_mlp.c), before all others
 *
 * A fusion stands only if the backend's kernel prepares it: the trial is the question, and a
 * decline leaves the graph as it was. An activation is swallowed only when nothing else needs its
 * argument, which is so when its gradient is computed from its result. */
#include "fuse.h"
#include "op.h"

bool fg_fuse_accepts(const struct fg_graph *g, const struct fg_node *node,
                     struct fg_device *device) {
  const struct fg_kernel *kernel = device->backend->kernels[node->op];
  struct fg_call call;
  if (!kernel->run)
    return false;
  fg_node_call(g, node, &call);
  call.trial = true;
  fgsm_status status = kernel->prepare ? kernel->prepare(&call, device) : FGSM_OK;
  if (kernel->release)
    kernel->release(&call);
  if (status != FGSM_OK)
    fg_log(FGSM_LOG_DEBUG, "not fused: %s", fgsm_last_error());
  return status == FGSM_OK;
}

/* `fused` replaces node `at` and its only user: it stands where the user stood, after everything
 * that either needed, so that the nodes stay in order. */
static void take(struct fg_rewrite *rw, int64_t at, const struct fg_node *fused,
                 struct fg_node *user) {
  fg_id result = user->out[0];
  fg_rewrite_touch(rw, user);
  fg_rewrite_kill(rw, &rw->g->nodes[at]);
  *user = *fused;
  user->out[0] = result;
}

static bool same_shape(const struct fg_graph *g, fg_id a, fg_id b) {
  struct fg_tensor x = fg_value_tensor(g, a), y = fg_value_tensor(g, b);
  return fg_same_shape(&x, &y) && x.type == y.type;
}

bool fg_fuse_is_sum(const struct fg_graph *g, const struct fg_node *node) {
  return node->attrs.binary.kind == FG_BINARY_add && same_shape(g, node->in[0], node->out[0]) &&
         same_shape(g, node->in[1], node->out[0]);
}

/* conv or matmul whose only user adds something of the same shape. */
static bool fuse_residual(struct fg_rewrite *rw, int64_t at, struct fg_device *device) {
  struct fg_graph *g = rw->g;
  struct fg_node fused = g->nodes[at], *user = fg_rewrite_only_user(rw, fused.out[0]);
  struct fg_unary_attrs *act =
      fused.op == FG_OP_conv ? &fused.attrs.conv.act : &fused.attrs.matmul.act;
  if (!user || user->op != FG_OP_binary || user->attrs.binary.kind != FG_BINARY_add ||
      act->kind != FG_UNARY_identity || (fused.n_in > 3 && fused.in[3] != FG_ABSENT))
    return false;
  fg_id other = user->in[user->in[0] == fused.out[0]];
  if (other == fused.out[0] || !same_shape(g, other, fused.out[0]))
    return false;
  for (int k = fused.n_in; k < 3; k++)
    fused.in[k] = FG_ABSENT;
  fused.in[3] = other;
  fused.n_in = 4;
  if (!fg_fuse_accepts(g, &fused, device))
    return false;
  take(rw, at, &fused, user);
  return true;
}

/* conv, matmul or affine whose only user is an activation. */
static bool fuse_act(struct fg_rewrite *rw, int64_t at, struct fg_device *device) {
  struct fg_graph *g = rw->g;
  struct fg_node fused = g->nodes[at], *user = fg_rewrite_only_user(rw, fused.out[0]);
  struct fg_unary_attrs *act = fused.op == FG_OP_conv     ? &fused.attrs.conv.act
                               : fused.op == FG_OP_matmul ? &fused.attrs.matmul.act
                                                          : &fused.attrs.affine.act;
  if (!user || user->op != FG_OP_unary || act->kind != FG_UNARY_identity)
    return false;
  *act = user->attrs.unary;
  if (!fg_fuse_accepts(g, &fused, device))
    return false;
  take(rw, at, &fused, user);
  return true;
}

/* matmul whose only user multiplies everything by one number (attention's 1 / sqrt(d)). */
static bool fuse_alpha(struct fg_rewrite *rw, int64_t at, struct fg_device *device) {
  struct fg_graph *g = rw->g;
  struct fg_node fused = g->nodes[at], *user = fg_rewrite_only_user(rw, fused.out[0]);
  if (!user || user->op != FG_OP_affine || user->in[2] != FG_ABSENT ||
      user->attrs.affine.act.kind != FG_UNARY_identity ||
      fused.attrs.matmul.act.kind != FG_UNARY_identity || !fg_value_is_constant(g, user->in[1]))
    return false;
  for (int k = 2; k < fused.n_in; k++)
    if (fused.in[k] != FG_ABSENT)
      return false;
  double factor = fg_constant_real(g, user->in[1], 0);
  for (int64_t i = 1; i < fg_value_count(g, user->in[1]); i++)
    if (fg_constant_real(g, user->in[1], i) != factor)
      return false;
  fused.attrs.matmul.alpha *= factor;
  if (!fg_fuse_accepts(g, &fused, device))
    return false;
  take(rw, at, &fused, user);
  return true;
}

/* unary_grad whose dy is a sum that nothing else uses. */
static bool fuse_two_gradients(struct fg_rewrite *rw, int64_t at, struct fg_device *device) {
  struct fg_graph *g = rw->g;
  struct fg_node fused = g->nodes[at];
  if (fused.n_in > 3 && fused.in[3] != FG_ABSENT)
    return false;
  struct fg_node *add = fg_rewrite_only_feeds(rw, fused.in[2], FG_OP_binary);
  if (!add || !fg_fuse_is_sum(g, add))
    return false;
  fused.in[2] = add->in[0];
  fused.in[3] = add->in[1];
  fused.n_in = 4;
  if (!fg_fuse_accepts(g, &fused, device))
    return false;
  fg_rewrite_kill(rw, add);
  fg_rewrite_touch(rw, &fused);
  g->nodes[at] = fused;
  return true;
}

/* conv_grad_input, or a matmul without a bias, whose only user takes an activation's slope of it, or of its
 * sum with another. */
static bool fuse_slope(struct fg_rewrite *rw, int64_t at, struct fg_device *device) {
  struct fg_graph *g = rw->g;
  struct fg_node fused = g->nodes[at], *user = fg_rewrite_only_user(rw, fused.out[0]);
  bool conv = fused.op == FG_OP_conv_grad_input;
  struct fg_unary_attrs *act = conv ? &fused.attrs.conv.act : &fused.attrs.matmul.act;
  if (!user || user->op != FG_OP_unary_grad || act->kind != FG_UNARY_identity ||
      fused.in[2] != FG_ABSENT)
    return false;
  bool second = user->n_in > 3 && user->in[3] == fused.out[0];
  if (!second && user->in[2] != fused.out[0])
    return false; /* what the slope is of, and no gradient */
  fg_id other = user->n_in > 3 ? user->in[second ? 2 : 3] : FG_ABSENT;
  if (other == fused.out[0] || (other != FG_ABSENT && fused.in[3] != FG_ABSENT))
    return false;
  *act = user->attrs.unary;
  fused.in[conv ? 2 : 4] = user->in[fg_unary_from_y(&user->attrs.unary) ? 1 : 0];
  fused.in[3] = other == FG_ABSENT ? fused.in[3] : other;
  fused.n_in = conv ? 4 : 5;
  if (!fg_fuse_accepts(g, &fused, device))
    return false;
  take(rw, at, &fused, user);
  return true;
}

/* The rules for node `at`, until one applies. */
static bool fuse_node(struct fg_rewrite *rw, int64_t at, struct fg_device *device) {
  switch (rw->g->nodes[at].op) {
  case FG_OP_matmul:
    return fuse_alpha(rw, at, device) || fuse_residual(rw, at, device) ||
           fuse_act(rw, at, device) || fuse_slope(rw, at, device) ||
           fg_fuse_gemm_step(rw, at, device);
  case FG_OP_conv:
    return fuse_residual(rw, at, device) || fuse_act(rw, at, device);
  case FG_OP_affine:
    return fuse_act(rw, at, device);
  case FG_OP_binary:
    return fg_fuse_concat(rw, at, device);
  case FG_OP_unary_grad:
    return fg_fuse_pooled_slope(rw, at, device) || fuse_two_gradients(rw, at, device);
  case FG_OP_conv_grad_input:
    return fuse_slope(rw, at, device) || fg_fuse_conv_step(rw, at, device);
  default:
    return false;
  }
}

/* One sweep over the graph; *changed if a rule applied. */
static fgsm_status sweep(struct fg_graph *g, struct fg_device *device, bool whole_nets,
                         bool *changed) {
  struct fg_rewrite rw;
  fgsm_status status = fg_rewrite_begin(g, &rw);
  *changed = false;
  for (int64_t i = 0; status == FGSM_OK && i < rw.n_nodes; i++)
    if (fg_rewrite_fresh(&rw, i)) {
      if (whole_nets)
        status = fg_fuse_mlp(&rw, i, device, changed);
      else
        *changed |= fuse_node(&rw, i, device);
    }
  return fg_rewrite_end(&rw, status);
}

fgsm_status fg_fuse(struct fg_graph *g, struct fg_device *device) {
  bool changed;
  FG_TRY(fg_keep_ties(g));
  FG_TRY(device->backend->enter(device));
  FG_TRY(sweep(g, device, true, &changed));
  do
    FG_TRY(sweep(g, device, false, &changed));
  while (changed);
  return FGSM_OK;
}
