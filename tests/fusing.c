/* See fusing.h. A graph is an attack: x (a sample's shape), a network, a loss, the gradient, a step.
 * Inputs, as weights, are drawn so that no gradient is near 0, where backends may differ in sign. */
#include "fusing.h"

#include <math.h>
#include <stdio.h>

#include "fusing_nets.h"

enum { MOST = 1 << 16 };

#define TRY(call)                                                                                  \
  do {                                                                                             \
    if ((call) != FGSM_OK) {                                                                       \
      snprintf(why, size, "%s", fgsm_last_error());                                                \
      return false;                                                                                \
    }                                                                                              \
  } while (0)

/* ---- the graphs */

/* What is not quite the gradient of a dense network, or not to be had without what made it. */
enum near {
  NO_NEAR,
  OTHER_MATRIX, /* the gradient passes another layer's weights        */
  OTHER_ACT,    /* ... another activation                             */
  OTHER_VALUE,  /* ... the slope of an activation at another's values */
  READ_SLOPES,  /* the gradient of the logits is wanted too           */
  READ_LOSS     /* something is computed from the loss                */
};

static const struct graph {
  const char *name;
  fgsm_status (*net)(struct fg_graph *g, fg_id *x);
  enum fg_op fused; /* what the attack's end becomes where the backend takes it ... */
  bool pooled;      /* ... with the pool's gradient in it                           */
  int parts;        /* whose gradients are not put side by side: slice_grads that stay */
  bool momentum, look, logits, map;
  enum fg_norm norm;
  enum fg_loss_kind loss;
  enum near near;
} graphs[] = {
    {.name = "a dense network", .net = fusing_net_relu, .fused = FG_OP_mlp_fgsm},
    {.name = "a dense network whose logits are wanted",
     .net = fusing_net_relu,
     .fused = FG_OP_mlp_fgsm,
     .logits = true},
    {.name = "a dense network with map and mask",
     .net = fusing_net_relu,
     .fused = FG_OP_mlp_fgsm,
     .map = true},
    {.name = "curved activations", .net = fusing_net_curved, .fused = FG_OP_mlp_fgsm},
    {.name = "normalisation in front", .net = fusing_net_normalised, .fused = FG_OP_mlp_fgsm},
    {.name = "one layer", .net = fusing_net_of_one_layer, .fused = FG_OP_mlp_fgsm},
    {.name = "a dense network and a linear loss",
     .net = fusing_net_curved,
     .fused = FG_OP_mlp_fgsm,
     .loss = FG_LOSS_linear},
    {.name = "a look at a dense network",
     .net = fusing_net_curved,
     .fused = FG_OP_mlp_fgsm,
     .look = true,
     .logits = true},
    {.name = "a dense network with momentum",
     .net = fusing_net_relu,
     .fused = FG_OP_COUNT,
     .momentum = true},
    {.name = "a dense network in L2",
     .net = fusing_net_relu,
     .fused = FG_OP_gemm_grad_input_step,
     .norm = FG_NORM_l2},
    {.name = "a residual dense network",
     .net = fusing_net_residual,
     .fused = FG_OP_gemm_grad_input_step},
    {.name = "an activation that mlp_fgsm lacks",
     .net = fusing_net_softplus,
     .fused = FG_OP_gemm_grad_input_step},
    {.name = "a convolution", .net = fusing_net_conv, .fused = FG_OP_conv_grad_input_step},
    {.name = "a pool behind a ReLU",
     .net = fusing_net_pooled_relu,
     .fused = FG_OP_conv_grad_input_step,
     .pooled = true},
    {.name = "a pool behind a convolution",
     .net = fusing_net_pooled_plain,
     .fused = FG_OP_conv_grad_input_step,
     .pooled = true},
    {.name = "a pool behind a GELU",
     .net = fusing_net_pooled_gelu,
     .fused = FG_OP_conv_grad_input_step},
    {.name = "a convolution with map and mask",
     .net = fusing_net_conv,
     .fused = FG_OP_conv_grad_input_step,
     .map = true},
    {.name = "a first product with map and mask",
     .net = fusing_net_softplus,
     .fused = FG_OP_gemm_grad_input_step,
     .map = true},
    {.name = "a split", .net = fusing_net_split, .fused = FG_OP_gemm_grad_input_step},
    {.name = "a split in four",
     .net = fusing_net_split_in_four,
     .fused = FG_OP_gemm_grad_input_step},
    {.name = "a split with a gap",
     .net = fusing_net_split_with_a_gap,
     .fused = FG_OP_gemm_grad_input_step,
     .parts = 3},
    {.name = "a split without the end",
     .net = fusing_net_split_without_the_end,
     .fused = FG_OP_gemm_grad_input_step,
     .parts = 2},
    {.name = "a split twice at a place",
     .net = fusing_net_split_twice_at_a_place,
     .fused = FG_OP_gemm_grad_input_step,
     .parts = 3},
    {.name = "a split by turns",
     .net = fusing_net_split_by_turns,
     .fused = FG_OP_gemm_grad_input_step,
     .parts = 2},
    {.name = "a gradient with other weights",
     .net = fusing_net_relu,
     .fused = FG_OP_gemm_grad_input_step,
     .near = OTHER_MATRIX},
    {.name = "a gradient with another activation",
     .net = fusing_net_relu,
     .fused = FG_OP_gemm_grad_input_step,
     .near = OTHER_ACT},
    {.name = "a gradient with slopes at other values",
     .net = fusing_net_curved,
     .fused = FG_OP_gemm_grad_input_step,
     .near = OTHER_VALUE},
    {.name = "a pool behind a ReLU with slopes at other values",
     .net = fusing_net_pooled_relu,
     .fused = FG_OP_conv_grad_input_step,
     .near = OTHER_VALUE},
    {.name = "a dense network whose logits' gradient is wanted",
     .net = fusing_net_relu,
     .fused = FG_OP_gemm_grad_input_step,
     .near = READ_SLOPES},
    {.name = "a dense network whose loss is read",
     .net = fusing_net_relu,
     .fused = FG_OP_gemm_grad_input_step,
     .near = READ_LOSS},
};

int fusing_count(void) {
  return (int)(sizeof graphs / sizeof *graphs);
}

const char *fusing_name(int i) {
  return graphs[i].name;
}

enum fg_op fusing_op(int i) {
  return graphs[i].fused;
}

enum { X0, X, LABELS, MAP, MASK, PARAMS, MOMENTUM, INPUTS };
static const int64_t sample[4] = {7, 2, 5, 6};

static fgsm_status inputs(struct fg_graph *g, const struct graph *what, fg_id *in) {
  FG_TRY(fg_graph_input(g, "x", g->real, 4, sample, &in[X]));
  FG_TRY(fg_graph_input(g, "labels", FG_I32, 1, sample, &in[LABELS]));
  in[X0] = in[MAP] = in[MASK] = in[PARAMS] = in[MOMENTUM] = FG_ABSENT;
  if (what->look)
    return FGSM_OK;
  FG_TRY(fg_graph_input(g, "x0", g->real, 4, sample, &in[X0]));
  FG_TRY(fg_graph_input(g, "params", FG_F64, 1, (int64_t[]){FG_PARAM_COUNT}, &in[PARAMS]));
  if (what->map) {
    FG_TRY(fg_graph_input(g, "map", g->real, 3, sample + 1, &in[MAP]));
    FG_TRY(fg_graph_input(g, "mask", g->real, 3, sample + 1, &in[MASK]));
  }
  if (what->momentum)
    FG_TRY(fg_graph_input(g, "momentum", g->real, 4, sample, &in[MOMENTUM]));
  return FGSM_OK;
}

/* The gradient of the activation nearest to x of those whose slope is a function of the value. */
static struct fg_node *last_slope(struct fg_graph *g) {
  struct fg_node *node = g->nodes + g->n_nodes - 1;
  while (node->op != FG_OP_unary_grad || node->in[1] == FG_ABSENT)
    node--;
  return node;
}

/* Turns the graph into what is only near a dense network's gradient; `loss` are the loss's results. */
static fgsm_status miss(struct fg_graph *g, enum near near, const fg_id *loss, fg_id gradient) {
  fg_id other;
  switch (near) {
  case OTHER_MATRIX: {
    fg_id at = fg_value(g, gradient)->producer;
    if (g->nodes[at].op == FG_OP_reshape)
      at = fg_value(g, g->nodes[at].in[0])->producer;
    const struct fg_value w = *fg_value(g, g->nodes[at].in[1]);
    FG_TRY(fusing_constant(g, w.rank, w.dim, 1, 1234, &other));
    g->nodes[at].in[1] = other;
    return FGSM_OK;
  }
  case OTHER_ACT:
    last_slope(g)->attrs.unary = (struct fg_unary_attrs){.kind = FG_UNARY_leaky_relu, .alpha = 0.3};
    return FGSM_OK;
  case OTHER_VALUE: {
    const struct fg_value y = *fg_value(g, last_slope(g)->in[1]);
    FG_TRY(fusing_constant(g, y.rank, y.dim, 1, 4321, &other));
    last_slope(g)->in[1] = other;
    return FGSM_OK;
  }
  case READ_SLOPES:
    return fg_graph_output(g, loss[0], NULL);
  case READ_LOSS:
    FG_TRY(fg_unary(g, FG_UNARY_exp, 0, 0, loss[1], &other));
    return fg_graph_output(g, other, NULL);
  default:
    return FGSM_OK;
  }
}

static fgsm_status build(const struct graph *what, enum fg_type real, struct fg_graph **out,
                         fg_id *in) {
  struct fg_graph *g;
  fg_id logits, gradient, loss[FG_MAX_OUT], step[FG_MAX_OUT];
  FG_TRY(fg_graph_create(real, &g));
  *out = g;
  FG_TRY(inputs(g, what, in));
  logits = in[X];
  FG_TRY(what->net(g, &logits));
  int slot;
  FG_TRY(fg_graph_output(g, logits, &slot));
  FG_TRY(fg_fold(g));
  logits = g->outputs[slot];
  if (!what->logits)
    g->n_outputs = 0;
  union fg_attrs a = {.loss = {.kind = what->loss}};
  fg_id judged[3] = {logits, in[LABELS], FG_ABSENT};
  if (what->loss == FG_LOSS_linear)
    FG_TRY(fusing_constant(g, 1, (int64_t[]){5}, 1, 55, &judged[2]));
  FG_TRY(
      fg_graph_add(g, FG_OP_loss, "loss", &a, what->loss == FG_LOSS_linear ? 3 : 2, judged, loss));
  FG_TRY(fg_graph_output(g, loss[1], NULL));
  FG_TRY(fg_graph_output(g, loss[2], NULL));
  if (what->look)
    return FGSM_OK;
  FG_TRY(fg_grad(g, 1, &logits, &loss[0], 1, &in[X], &gradient));
  FG_TRY(miss(g, what->near, loss, gradient));
  a = (union fg_attrs){.step = {.norm = what->norm, .project = true}};
  fg_id takes[] = { in[X0], in[X], gradient, in[MOMENTUM], in[MAP], in[MASK], in[PARAMS] };
  FG_TRY(fg_graph_add(g, FG_OP_step, "step", &a, 7, takes, step));
  FG_TRY(fg_graph_output(g, step[0], NULL));
  return fg_graph_output(g, step[2], NULL);
}

/* Element i of input `which`. */
static double input_at(const struct graph *what, int which, int64_t i) {
  static const double params[FG_PARAM_COUNT] = {[FG_PARAM_eps] = 0.05,
                                                [FG_PARAM_alpha] = 0.05,
                                                [FG_PARAM_decay] = 0.9,
                                                [FG_PARAM_lo] = -1,
                                                [FG_PARAM_hi] = 1};
  switch (which) {
  case LABELS:
    return (double)(i % 5);
  case MAP:
    return 0.02 + 0.01 * (double)(i % 3);
  case MASK:
    return i % 4 != 0;
  case PARAMS:
    return params[i] * (what->norm == FG_NORM_linf ? 1 : 8);
  case X:
    return fusing_draw(4242, i) + 0.02 * fusing_draw(77, i);
  case MOMENTUM:
    return fusing_draw(99, i);
  default:
    return fusing_draw(4242, i);
  }
}

static void fill(const struct graph *what, int which, const struct fg_value *v, int64_t n,
                 void *data) {
  for (int64_t i = 0; i < n; i++) {
    double x = input_at(what, which, i);
    if (v->type == FG_F32)
      ((float *)data)[i] = (float)x;
    else if (v->type == FG_F64)
      ((double *)data)[i] = v->rank > 1 ? (double)(float)x : x;
    else
      ((int32_t *)data)[i] = (int32_t)x;
  }
}

/* Plans and runs the graph (and takes it over); its outputs one after another in `y`. */
static bool run(const struct graph *what, struct fg_graph *g, const fg_id *in,
                struct fg_device *device, double *y, int64_t *n, char *why, size_t size) {
  const struct fg_backend *backend = device->backend;
  struct fg_plan *plan = NULL;
  void *memory[INPUTS] = {0};
  TRY(fg_plan_create(g, device, true, &plan)); /* what a backend lacks runs on the oracle */
  bool good = fg_plan_place(plan, NULL) == FGSM_OK;
  for (int i = 0; i < INPUTS && good; i++) {
    if (in[i] == FG_ABSENT)
      continue;
    good = backend->alloc(device, fg_value_bytes(g, in[i]) + 64, &memory[i]) == FGSM_OK;
    if (good) {
      fill(what, i, fg_value(g, in[i]), fg_value_count(g, in[i]), memory[i]);
      good = fg_plan_bind(plan, in[i], memory[i]) == FGSM_OK;
    }
  }
  good = good && fg_plan_run(plan, NULL) == FGSM_OK;
  if (!good)
    snprintf(why, size, "%s", fgsm_last_error());
  *n = 0;
  for (int o = 0; o < g->n_outputs && good; o++)
    for (int64_t k = 0; k < fg_value_count(g, g->outputs[o]); k++) {
      const void *data = fg_plan_data(plan, g->outputs[o]);
      enum fg_type type = fg_value(g, g->outputs[o])->type;
      y[(*n)++] = type == FG_F32   ? (double)((const float *)data)[k]
                  : type == FG_F64 ? ((const double *)data)[k]
                                   : ((const int32_t *)data)[k];
    }
  fg_plan_destroy(plan);
  for (int i = 0; i < INPUTS; i++)
    if (memory[i])
      backend->free(device, memory[i]);
  return good;
}

static bool has(const struct fg_graph *g, enum fg_op op, bool pooled) {
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op == op &&
        (!pooled || (g->nodes[i].n_in > 7 && g->nodes[i].in[7] != FG_ABSENT)))
      return true;
  return false;
}

static int count(const struct fg_graph *g, enum fg_op op) {
  int n = 0;
  for (int64_t i = 0; i < g->n_nodes; i++)
    n += g->nodes[i].op == op;
  return n;
}

static bool run_both(const struct graph *what, const struct fg_backend *backend, double *want,
                     double *got, int64_t *n, bool *fused, char *why, size_t size) {
  struct fg_graph *g;
  struct fg_device *device;
  fg_id in[INPUTS];
  int64_t m;
  TRY(fg_ref.open(0, 1, &device));
  TRY(build(what, FG_F64, &g, in));
  bool good = run(what, g, in, device, want, n, why, size);
  fg_ref.close(device);
  if (!good)
    return false;
  TRY(backend->open(0, 2, &device));
  TRY(build(what, backend->real, &g, in));
  TRY(fg_fuse(g, device));
  *fused = what->fused != FG_OP_COUNT && has(g, what->fused, what->pooled);
  const bool whole = what->fused == FG_OP_mlp_fgsm;
  if (*fused && (has(g, FG_OP_step, false) || has(g, FG_OP_loss, false) == whole ||
                 (whole && has(g, FG_OP_matmul, false)))) {
    snprintf(why, size, "what was fused is still there beside the fused node");
    return false;
  }
  if (!whole && has(g, FG_OP_mlp_fgsm, false)) {
    snprintf(why, size, "fused into mlp_fgsm, which it is not");
    return false;
  }
  int parts = count(g, FG_OP_slice_grad);
  if (parts != what->parts) {
    snprintf(why, size, "%d slices' gradients are left, not %d", parts, what->parts);
    return false;
  }
  good = run(what, g, in, device, got, &m, why, size);
  backend->close(device);
  if (good && m != *n)
    snprintf(why, size, "%d results where %d are expected", (int)m, (int)*n);
  return good && m == *n;
}

enum fusing_result fusing_run(int i, const struct fg_backend *backend, char *why, size_t size) {
  static double want[MOST], got[MOST];
  int64_t n = 0;
  bool fused = false;
  if (!run_both(&graphs[i], backend, want, got, &n, &fused, why, size))
    return FUSING_WRONG;
  for (int64_t k = 0; k < n; k++)
    if (!(fabs(got[k] - want[k]) <= 2e-5 * fmax(1, fabs(want[k])))) {
      snprintf(why, size, "result %d of %d is %.9g, the oracle's %.9g", (int)k, (int)n, got[k],
               want[k]);
      return FUSING_WRONG;
    }
  return fused ? FUSING_OK : FUSING_DECLINED;
}
