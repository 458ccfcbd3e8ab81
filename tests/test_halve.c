/* Half precision: the oracle's kernels in it, and the pass that chooses what is stored so, on a backend
 * that takes everything and on one that takes nothing. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "half.h"
#include "harness.h"
#include "io.h"
#include "net.h"

static bool takes_all(const struct fg_device *device, const struct fg_call *call) {
  return !fg_half_rounds(call->op) || device->precision == FG_PRECISION_bf16;
}

static bool takes_none(const struct fg_device *device, const struct fg_call *call) {
  (void)device;
  (void)call;
  return false;
}

/* The oracle in float32, with a word to say about half precision. */
static struct fg_backend halving;
static struct fg_device the_device;

static fgsm_status open_halving(int index, int threads, struct fg_device **out) {
  (void)index;
  (void)threads;
  the_device = (struct fg_device){.backend = &halving, .threads = 1, .lanes = 1};
  *out = &the_device;
  return FGSM_OK;
}

static void close_halving(struct fg_device *device) {
  (void)device;
}

static const struct fg_backend *backend_that(bool (*takes)(const struct fg_device *,
                                                           const struct fg_call *)) {
  halving = fg_ref;
  halving.real = FG_F32;
  halving.open = open_halving;
  halving.close = close_halving;
  halving.takes_half = takes;
  return &halving;
}

Test(halve, the_oracle_computes_in_half_precision_what_it_computes_in_double) {
  struct fg_target target = {backend_that(takes_all), FG_F32, 1, &the_device};
  bool seen[FG_OP_COUNT] = {false};
  struct fg_device *device;
  cr_assert_eq(halving.open(0, 1, &device), FGSM_OK);
  const struct fg_case *c;
  for (int i = 0; (c = fg_case_at(i)); i++) {
    if (fg_case_is_of_cpu(c))
      continue;
    char why[768] = "";
    enum fg_verdict verdict = fg_mode_half(c, &target, why, sizeof why);
    cr_expect(verdict != FG_BROKEN, "%s: %s", c->name, why);
    seen[c->op] |= verdict == FG_PASS;
  }
  for (int op = 0; op < FG_OP_COUNT; op++)
    cr_expect(seen[op] || !fg_half_slots((enum fg_op)op).in || fg_half_rounds((enum fg_op)op) ||
                  op == FG_OP_reshape,
              "%s: no case ran", fg_op_name((enum fg_op)op));
}

/* ---- whole nets */

struct counts {
  int casts, weights_cast;  /* nodes; those of a constant, at every run */
  size_t bytes, half_bytes; /* of what is computed                      */
  bool outputs_wide;
};

static struct counts count(const struct net *net) {
  const struct fg_graph *g = fg_plan_graph(net->plan);
  struct counts n = {.outputs_wide = true};
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op == FG_OP_cast) {
      n.casts++;
      n.weights_cast += fg_value_is_constant(g, g->nodes[i].in[0]);
    }
  for (fg_id v = 0; v < g->n_values; v++)
    if (fg_value(g, v)->role == FG_ROLE_TEMP && fg_value(g, v)->producer != FG_ABSENT) {
      n.bytes += fg_value_bytes(g, v);
      n.half_bytes += fg_type_is_half(fg_value(g, v)->type) ? fg_value_bytes(g, v) : 0;
    }
  for (int i = 0; i < g->n_outputs; i++)
    n.outputs_wide &= !fg_type_is_half(fg_value(g, g->outputs[i])->type);
  return n;
}

static void open_net(const char *name, enum fg_precision precision, struct net *net) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s.onnx", golden_dir(), name);
  cr_assert_eq(net_open(path, &halving, 4, &(struct net_options){.precision = precision}, net),
               FGSM_OK, "%s", fgsm_last_error());
}

static const char *const nets[] = {"conv", "mlp", "vit_opset17"};
static const double least_share[] = {0.4, 0.4, 0.4};
enum { N_NETS = sizeof nets / sizeof *nets };

Test(halve, most_of_a_net_is_stored_so_and_what_it_gives_out_is_not) {
  backend_that(takes_all);
  for (int i = 0; i < N_NETS; i++)
    for (int p = FG_PRECISION_bf16; p <= FG_PRECISION_fp16; p++) {
      struct net net;
      open_net(nets[i], (enum fg_precision)p, &net);
      struct counts n = count(&net);
      net_close(&net);
      cr_expect(n.outputs_wide, "%s", nets[i]);
      cr_expect_eq(n.weights_cast, 0, "%s casts %d weights at every run", nets[i], n.weights_cast);
      cr_expect_gt(n.casts, 0);
      cr_expect((double)n.half_bytes > least_share[i] * (double)n.bytes, "%s: %zu of %zu bytes",
                nets[i], n.half_bytes, n.bytes);
    }
}

Test(halve, nothing_is_where_it_is_not_asked_for_or_not_taken) {
  for (int taken = 0; taken < 2; taken++) {
    backend_that(taken ? takes_all : takes_none);
    struct net net;
    open_net("conv", taken ? FG_PRECISION_tf32 : FG_PRECISION_bf16, &net);
    struct counts n = count(&net);
    net_close(&net);
    cr_expect_eq(n.half_bytes, 0);
    cr_expect_eq(n.casts, 0);
  }
}

/* conv, relu, mean, reshape: all but the convolution's operands lead to the output alone. */
Test(halve, what_leads_to_an_output_alone_stays_as_it_is) {
  const int64_t x_dim[4] = {2, 3, 6, 6}, w_dim[4] = {4, 3, 3, 3}, y_dim[2] = {2, 4};
  const union fg_attrs conv = {.conv = {.spatial = 2,
                                        .group = 1,
                                        .stride = {1, 1},
                                        .dilation = {1, 1},
                                        .act = {.kind = FG_UNARY_identity}}};
  float weights[108];
  fg_id x, w, y, out[FG_MAX_OUT];
  struct fg_graph *g = NULL;
  struct fg_device *device;
  for (int i = 0; i < 108; i++)
    weights[i] = (float)i;
  backend_that(takes_all);
  cr_assert_eq(halving.open(0, 1, &device), FGSM_OK);
  device->precision = FG_PRECISION_bf16;
  bool made = fg_graph_create(FG_F32, &g) == FGSM_OK &&
              fg_graph_input(g, "x", FG_F32, 4, x_dim, &x) == FGSM_OK &&
              fg_graph_constant(g, "w", FG_F32, 4, w_dim, weights, &w) == FGSM_OK &&
              fg_graph_add(g, FG_OP_conv, "conv", &conv, 2, (fg_id[]){x, w}, out) == FGSM_OK &&
              fg_unary(g, FG_UNARY_relu, 0, 0, out[0], &y) == FGSM_OK &&
              fg_reduce(g, FG_REDUCE_mean, y, 12, true, &y) == FGSM_OK &&
              fg_reshape(g, y, 2, y_dim, &y) == FGSM_OK && fg_graph_output(g, y, NULL) == FGSM_OK &&
              fg_halve(g, device) == FGSM_OK;
  cr_assert(made, "%s", fgsm_last_error());
  int casts = 0;
  for (int64_t i = 0; i < g->n_nodes; i++) {
    const struct fg_node *node = &g->nodes[i];
    casts += node->op == FG_OP_cast;
    cr_expect(node->op == FG_OP_cast || fg_value(g, node->out[0])->type == FG_F32, "%s",
              fg_op_name(node->op));
    if (node->op == FG_OP_conv)
      cr_expect(fg_value(g, node->in[0])->type == FG_BF16 &&
                fg_value(g, node->in[1])->type == FG_BF16);
  }
  cr_expect_eq(casts, 1);
  fg_graph_destroy(g);
}

/* The share of |g| whose sign the net in half precision has right. */
static double agreement(const char *name, enum fg_precision precision) {
  struct net net[2];
  double *g[2], *x[NET_MOST_INPUTS] = {NULL}, right = 0, all = 0;
  int64_t labels[4] = {0, 1, 2, 1}, n = 0, m;
  for (int k = 0; k < 2; k++) {
    open_net(name, k ? precision : FG_PRECISION_fp32, &net[k]);
    int64_t values = fg_value_count(fg_plan_graph(net[k].plan), net[k].x[0]);
    x[0] = realloc(x[0], (size_t)values * sizeof *x[0]);
    for (int64_t i = 0; i < values; i++)
      x[0][i] = 0.5 + 0.5 * sin((double)(7 * i % 1000));
    cr_assert_eq(net_run(&net[k], (const double *const *)x, labels), FGSM_OK, "%s",
                 fgsm_last_error());
    g[k] = net_read(&net[k], net[k].grad[0], &m);
    cr_assert(g[k] && (k == 0 || m == n));
    n = m;
    net_close(&net[k]);
  }
  for (int64_t i = 0; i < n; i++) {
    all += fabs(g[0][i]);
    right += g[0][i] * g[1][i] > 0 ? fabs(g[0][i]) : 0;
  }
  free(x[0]);
  free(g[0]);
  free(g[1]);
  return right / all;
}

Test(halve, gradients_keep_the_signs_that_weigh) {
  backend_that(takes_all);
  for (int i = 0; i < N_NETS; i++) {
    double brain = agreement(nets[i], FG_PRECISION_bf16),
           half = agreement(nets[i], FG_PRECISION_fp16);
    cr_expect_gt(brain, 0.97, "%s: %g", nets[i], brain);
    cr_expect_gt(half, 0.997, "%s: %g", nets[i], half);
    cr_expect_lt(brain, 1, "%s: nothing was rounded", nets[i]);
  }
}
