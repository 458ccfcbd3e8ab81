/* A max-pool hands each gradient to the place that won, where the pool's own value is the winner's. So
 * the slope of an activation in front of a pool may be taken behind it: of fewer numbers, perhaps by
 * the call that made the gradient, and nothing on the way back reads the activation's result. */
#include "fuse.h"
#include "op.h"

/* The pool whose gradient `spread` is, if `value` is what it chose from; FG_ABSENT if not. */
static fg_id pool_of(const struct fg_graph *g, const struct fg_node *spread, fg_id value) {
  fg_id pool = fg_value(g, spread->in[1])->producer;
  if (pool == FG_ABSENT || g->nodes[pool].op != FG_OP_max_pool || g->nodes[pool].in[0] != value)
    return FG_ABSENT;
  return pool;
}

bool fg_fuse_pooled_slope(struct fg_rewrite *rw, int64_t at, struct fg_device *device) {
  struct fg_graph *g = rw->g;
  struct fg_node slope = g->nodes[at];
  struct fg_node *spread = fg_rewrite_only_feeds(rw, slope.in[2], FG_OP_max_pool_grad);
  if (!spread || !fg_unary_from_y(&slope.attrs.unary) ||
      (slope.n_in > 3 && slope.in[3] != FG_ABSENT))
    return false;
  fg_id pool = pool_of(g, spread, slope.in[1]), result = slope.out[0], between;
  struct fg_value like = *fg_value(g, spread->in[0]);
  if (pool == FG_ABSENT || fg_graph_value(g, &like, &between) != FGSM_OK)
    return false; /* no memory: whoever needs some next will say so */
  slope.in[1] = g->nodes[pool].out[0];
  slope.in[2] = spread->in[0];
  slope.out[0] = between;
  if (!fg_fuse_accepts(g, &slope, device))
    return false;
  fg_rewrite_touch(rw, spread);
  fg_rewrite_touch(rw, &g->nodes[at]);
  struct fg_node last = *spread;
  last.in[0] = between;
  last.out[0] = result;
  *spread = slope;
  g->nodes[at] = last;
  fg_value(g, between)->producer = (fg_id)(spread - g->nodes);
  return true;
}
