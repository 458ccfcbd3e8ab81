/* A dense network, its loss, its gradient and the step along it become one node, mlp_fgsm; so do a
 * network and its loss, where no gradient is taken.
 *
 * The network is read from the logits back to x: products with constant matrices, biases,
 * activations, reshapes, and nothing beside them. What lies between the loss and the step is then
 * held against it, link by link, so that what is replaced is known to be the network's own gradient
 * and nothing else. Normalisation was folded into the first layer before (fold.c). */
#include <stdlib.h>
#include <string.h>

#include "fuse.h"
#include "op.h"

enum { X0, X, G, M, EPS_MAP, MASK, PARAMS };  /* a step's inputs   */
enum { Z, LABELS, COEFFICIENTS };             /* a loss's inputs   */
enum { DLOGITS, LOSS, PREDICTION };           /* a loss's results  */
static const int64_t MOST_WEIGHTS = 64 << 20; /* of a fused network */

/* Layers in the order from x to the logits. */
struct dense {
  struct fg_mlp_attrs attrs;
  const struct fg_node *product[FG_MLP_LAYERS];
  fg_id slope_from[FG_MLP_LAYERS]; /* of which value the activation's slope is a function */
};

static const struct fg_node *producer(const struct fg_graph *g, fg_id id) {
  fg_id at = id == FG_ABSENT ? FG_ABSENT : fg_value(g, id)->producer;
  return at == FG_ABSENT ? NULL : &g->nodes[at];
}

/* Past the reshapes: the same elements in the same order. */
static fg_id unshaped(const struct fg_graph *g, fg_id id) {
  const struct fg_node *node;
  while ((node = producer(g, id)) && node->op == FG_OP_reshape)
    id = node->in[0];
  return id;
}

static fg_id input(const struct fg_node *node, int i) {
  return i < node->n_in ? node->in[i] : FG_ABSENT;
}

/* A product of one row a sample with a constant matrix, and perhaps a constant bias. */
static bool is_layer(const struct fg_graph *g, const struct fg_node *node, int64_t samples) {
  const struct fg_matmul_attrs *a = &node->attrs.matmul;
  const struct fg_value *w = fg_value(g, node->in[1]);
  return fg_value_is_constant(g, node->in[1]) && w->rank == 2 && !a->trans_a &&
         a->act.kind == FG_UNARY_identity && input(node, 3) == FG_ABSENT &&
         (input(node, 2) == FG_ABSENT || fg_value_is_constant(g, input(node, 2))) &&
         fg_value_count(g, node->in[0]) == samples * w->dim[a->trans_b] && w->dim[0] <= INT32_MAX &&
         w->dim[1] <= INT32_MAX;
}

static bool takes_act(enum fg_unary_kind kind) {
  return kind == FG_UNARY_relu || kind == FG_UNARY_leaky_relu || kind == FG_UNARY_sigmoid ||
         kind == FG_UNARY_tanh || kind == FG_UNARY_gelu || kind == FG_UNARY_gelu_tanh;
}

/* Puts a layer in front of those that were read. */
static bool put_first(struct dense *net, const struct fg_node *product, const struct fg_node *act,
                      const struct fg_graph *g) {
  struct fg_mlp_attrs *a = &net->attrs;
  const struct fg_value *w = fg_value(g, product->in[1]);
  const bool trans = product->attrs.matmul.trans_b;
  int n = a->layers;
  if (n == FG_MLP_LAYERS || (n == 0 && act))
    return false;
  memmove(net->product + 1, net->product, (size_t)n * sizeof *net->product);
  memmove(net->slope_from + 1, net->slope_from, (size_t)n * sizeof *net->slope_from);
  memmove(a->act + 1, a->act, (size_t)n * sizeof *a->act);
  memmove(a->width + 1, a->width, (size_t)(n + 1) * sizeof *a->width);
  net->product[0] = product;
  net->slope_from[0] = FG_ABSENT;
  a->act[0] = (struct fg_unary_attrs){.kind = FG_UNARY_identity};
  if (act) {
    a->act[0] = act->attrs.unary;
    net->slope_from[0] = fg_unary_from_y(&act->attrs.unary) ? act->out[0] : act->in[0];
  }
  a->width[0] = (int)w->dim[trans];
  a->width[1] = (int)w->dim[!trans];
  a->layers = n + 1;
  return true;
}

/* The network from x to the logits; false where that is no chain of dense layers. */
static bool read_net(const struct fg_graph *g, fg_id x, fg_id logits, struct dense *net) {
  int64_t samples = fg_value(g, x)->dim[0];
  const struct fg_node *node, *act = NULL;
  memset(net, 0, sizeof *net);
  for (fg_id at = logits; at != x; at = node->in[0]) {
    if (!(node = producer(g, at)))
      return false;
    if (node->op == FG_OP_reshape)
      continue;
    if (node->op == FG_OP_unary && !act && takes_act(node->attrs.unary.kind)) {
      act = node;
      continue;
    }
    if (node->op != FG_OP_matmul || !is_layer(g, node, samples) || !put_first(net, node, act, g))
      return false;
    act = NULL;
  }
  return !act && net->attrs.layers > 0;
}

static bool same_act(const struct fg_unary_attrs *a, const struct fg_unary_attrs *b) {
  return a->kind == b->kind && a->alpha == b->alpha && a->beta == b->beta;
}

/* Whether `gradient` is the network's, of what it is for `dlogits`. */
static bool is_gradient(const struct fg_graph *g, const struct dense *net, fg_id gradient,
                        fg_id dlogits) {
  fg_id d = unshaped(g, gradient);
  for (int l = 0; l < net->attrs.layers; l++) {
    const struct fg_node *node = producer(g, d), *forward = net->product[l];
    const struct fg_matmul_attrs *f = &forward->attrs.matmul;
    if (!node || node->op != FG_OP_matmul || node->in[1] != forward->in[1] ||
        input(node, 2) != FG_ABSENT || input(node, 3) != FG_ABSENT)
      return false;
    const struct fg_matmul_attrs *b = &node->attrs.matmul;
    if (b->trans_a || b->trans_b == f->trans_b || b->alpha != f->alpha ||
        b->act.kind != FG_UNARY_identity)
      return false;
    d = unshaped(g, node->in[0]);
    if (net->slope_from[l] == FG_ABSENT)
      continue;
    node = producer(g, d);
    if (!node || node->op != FG_OP_unary_grad || input(node, 3) != FG_ABSENT ||
        !same_act(&node->attrs.unary, &net->attrs.act[l]) ||
        node->in[!!fg_unary_from_y(&node->attrs.unary)] != net->slope_from[l])
      return false;
    d = unshaped(g, node->in[2]);
  }
  return d == dlogits;
}

/* The loss whose gradient the step may follow: up the chain that is_gradient checks. */
static struct fg_node *find_loss(const struct fg_graph *g, fg_id d) {
  const struct fg_node *node;
  while ((node = producer(g, d)) && node->op != FG_OP_loss) {
    if (node->op != FG_OP_matmul && node->op != FG_OP_reshape && node->op != FG_OP_unary_grad)
      return NULL;
    d = node->in[node->op == FG_OP_unary_grad ? 2 : 0];
  }
  return node && node->out[DLOGITS] == d ? &g->nodes[node - g->nodes] : NULL;
}

/* Nodes that read the value; it may be an output of the graph beside that. */
static int readers(const struct fg_rewrite *rw, fg_id id) {
  int n = id == FG_ABSENT ? 0 : rw->uses[id];
  for (int i = 0; id != FG_ABSENT && i < rw->g->n_outputs; i++)
    n -= rw->g->outputs[i] == id;
  return n;
}

/* Nothing else needs what will no longer be computed, and what goes in is not computed from it. */
static bool stands_apart(const struct fg_rewrite *rw, const struct fg_node *loss,
                         const struct fg_node *step) {
  const struct fg_graph *g = rw->g;
  const fg_id given[] = {step->in[X0],     step->in[EPS_MAP], step->in[MASK],
                         step->in[PARAMS], loss->in[LABELS],  input(loss, COEFFICIENTS)};
  for (size_t i = 0; i < sizeof given / sizeof *given; i++)
    if (given[i] != FG_ABSENT && given[i] != step->in[X] &&
        fg_value(g, given[i])->role == FG_ROLE_TEMP)
      return false;
  return readers(rw, loss->in[Z]) == 1 && readers(rw, loss->out[DLOGITS]) == 1 &&
         !rw->output[loss->out[DLOGITS]] && readers(rw, loss->out[LOSS]) == 0 &&
         readers(rw, loss->out[PREDICTION]) == 0;
}

static int64_t count_weights(const struct fg_mlp_attrs *a) {
  int64_t n = 0;
  for (int l = 0; l < a->layers && n <= MOST_WEIGHTS; l++)
    n += ((int64_t)a->width[l] + 1) * a->width[l + 1];
  return n;
}

/* All weights as attrs.h wants them: of each layer the matrix [out, in], then the bias. */
static fgsm_status join_weights(struct fg_graph *g, const struct dense *net, int64_t count,
                                fg_id *out) {
  double *all = malloc((size_t)count * sizeof *all), *to = all;
  if (!all)
    return FG_FAIL(MEMORY, "no memory for the weights of a dense network");
  for (int l = 0; l < net->attrs.layers; l++) {
    const struct fg_node *node = net->product[l];
    const struct fg_matmul_attrs *a = &node->attrs.matmul;
    int64_t n = net->attrs.width[l], m = net->attrs.width[l + 1];
    for (int64_t o = 0; o < m; o++)
      for (int64_t i = 0; i < n; i++)
        *to++ = a->alpha * fg_constant_real(g, node->in[1], a->trans_b ? o * n + i : i * m + o);
    fg_id bias = input(node, 2);
    for (int64_t o = 0; o < m; o++)
      *to++ = bias == FG_ABSENT ? 0 : fg_constant_real(g, bias, o);
  }
  fgsm_status status = fg_graph_constant(g, "weights", FG_F64, 1, &count, all, out);
  free(all);
  return status;
}

/* The fused node, but for its weights. */
static struct fg_node fused_node(const struct fg_graph *g, const struct dense *net,
                                 const struct fg_node *loss, const struct fg_node *step) {
  struct fg_node fused = *step;
  bool logits = false;
  for (int i = 0; i < g->n_outputs; i++)
    logits |= g->outputs[i] == loss->in[Z];
  fused.op = FG_OP_mlp_fgsm;
  fused.n_in = loss->n_in > COEFFICIENTS ? 8 : 7;
  memcpy(
      fused.in,
      (fg_id[]) {
        step->in[X0], step->in[X], FG_ABSENT, loss->in[LABELS], step->in[EPS_MAP], step->in[MASK],
            step->in[PARAMS], input(loss, COEFFICIENTS)
      },
      8 * sizeof(fg_id));
  fused.n_out = 5;
  memcpy(fused.out,
         (fg_id[]){step->out[0], loss->out[LOSS], loss->out[PREDICTION], step->out[2],
                   logits ? loss->in[Z] : FG_ABSENT},
         5 * sizeof(fg_id));
  memset(&fused.attrs, 0, sizeof fused.attrs);
  fused.attrs.mlp = net->attrs;
  fused.attrs.mlp.loss = loss->attrs.loss;
  fused.attrs.mlp.step = step->attrs.step;
  fused.attrs.mlp.steps = 1;
  return fused;
}

/* Puts the fused node where `last`, the last of what it replaces, stood. */
static fgsm_status replace(struct fg_rewrite *rw, const struct dense *net, struct fg_node fused,
                           struct fg_node *loss, struct fg_node *last, struct fg_device *device,
                           bool *changed) {
  struct fg_graph *g = rw->g;
  int64_t count = count_weights(&net->attrs);
  struct fg_value vector = {.name = "weights", .type = g->real, .rank = 1, .dim = {count}};
  if (count == 0 || count > MOST_WEIGHTS)
    return FGSM_OK;
  /* The question is put with weights that are nowhere yet: joining them costs a copy. */
  FG_TRY(fg_graph_value(g, &vector, &fused.in[2]));
  if (!fg_fuse_accepts(g, &fused, device))
    return FGSM_OK;
  FG_TRY(join_weights(g, net, count, &fused.in[2]));
  if (!fg_fuse_accepts(g, &fused, device))
    return FGSM_OK;
  if (fused.out[4] != FG_ABSENT)
    fg_rewrite_kill(rw, &g->nodes[fg_value(g, fused.out[4])->producer]);
  fg_rewrite_kill(rw, loss);
  fg_rewrite_touch(rw, last);
  *last = fused;
  for (int k = 0; k < fused.n_out; k++)
    if (fused.out[k] != FG_ABSENT)
      fg_value(g, fused.out[k])->producer = (fg_id)(last - g->nodes);
  *changed = true;
  return FGSM_OK;
}

/* A step along the gradient of a dense network's loss. */
static fgsm_status fuse_attack(struct fg_rewrite *rw, struct fg_node *step,
                               struct fg_device *device, bool *changed) {
  struct fg_graph *g = rw->g;
  struct fg_node *loss;
  struct dense net;
  if (step->attrs.step.norm != FG_NORM_linf || step->in[M] != FG_ABSENT ||
      !(loss = find_loss(g, step->in[G])) || !read_net(g, step->in[X], loss->in[Z], &net) ||
      !is_gradient(g, &net, step->in[G], loss->out[DLOGITS]) || !stands_apart(rw, loss, step))
    return FGSM_OK;
  return replace(rw, &net, fused_node(g, &net, loss, step), loss, step, device, changed);
}

/* Where the chain of layers that ends in the logits begins. */
static fg_id find_x(const struct fg_graph *g, fg_id at) {
  const struct fg_node *node;
  while ((node = producer(g, at)) &&
         (node->op == FG_OP_reshape || node->op == FG_OP_unary || node->op == FG_OP_matmul))
    at = node->in[0];
  return node ? FG_ABSENT : at;
}

/* The loss of a dense network, of which no gradient is taken. */
static fgsm_status fuse_look(struct fg_rewrite *rw, struct fg_node *loss, struct fg_device *device,
                             bool *changed) {
  struct fg_graph *g = rw->g;
  struct dense net;
  fg_id x = find_x(g, loss->in[Z]);
  if (x == FG_ABSENT || loss->n_in > COEFFICIENTS || rw->uses[loss->out[DLOGITS]] ||
      readers(rw, loss->in[Z]) != 1 || fg_value(g, x)->rank < 1 ||
      !read_net(g, x, loss->in[Z], &net))
    return FGSM_OK;
  struct fg_node step = {
      .in = {FG_ABSENT, x, FG_ABSENT, FG_ABSENT, FG_ABSENT, FG_ABSENT, FG_ABSENT},
      .out = {FG_ABSENT, FG_ABSENT, FG_ABSENT},
      .name = loss->name};
  struct fg_node fused = fused_node(g, &net, loss, &step);
  fused.n_in = 4;
  fused.attrs.mlp.steps = 0;
  return replace(rw, &net, fused, loss, loss, device, changed);
}

fgsm_status fg_fuse_mlp(struct fg_rewrite *rw, int64_t at, struct fg_device *device,
                        bool *changed) {
  struct fg_node *node = &rw->g->nodes[at];
  switch (node->op) {
  case FG_OP_step:
    return fuse_attack(rw, node, device, changed);
  case FG_OP_loss:
    return fuse_look(rw, node, device, changed);
  default:
    return FGSM_OK;
  }
}

fgsm_status fg_fuse_steps(struct fg_graph *g, struct fg_device *device, int steps, bool search,
                          bool *done) {
  *done = false;
  FG_TRY(device->backend->enter(device));
  for (int64_t i = 0; i < g->n_nodes; i++) {
    struct fg_node *node = &g->nodes[i], more = *node;
    if (node->op != FG_OP_mlp_fgsm)
      continue;
    int64_t *figures = node->out[3] == FG_ABSENT ? NULL : &fg_value(g, node->out[3])->dim[1];
    int64_t before = figures ? *figures : 0;
    more.attrs.mlp.steps = steps;
    more.attrs.mlp.search = search;
    if (figures)
      *figures = search ? 4 : 3;
    *done = fg_fuse_accepts(g, &more, device);
    if (*done)
      *node = more;
    else if (figures)
      *figures = before;
    return FGSM_OK;
  }
  return FGSM_OK;
}
