/* Gathers what `fgsm inspect` shows. The model is built as an attack would build it, but every
 * failure of the model's own making becomes a line of the description, so that a user sees all of
 * them at once; only faults of the device, memory or options end it. */
#include "describe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op.h"

static fgsm_status find_backend(const fgsm_options *options, const struct fg_backend **out) {
  const char *name = options->device;
  if (!*name || strcmp(name, "auto") == 0 || strcmp(name, "cpu") == 0)
    *out = &fg_cpu;
  else if (strcmp(name, "ref") == 0)
    *out = &fg_ref;
  else if (strncmp(name, "cuda", 4) == 0)
    return FG_FAIL(DEVICE, "this build has no CUDA backend; use --device cpu");
  else
    return FG_FAIL(USAGE, "--device %s: there is auto, cpu, ref and cuda", name);
  return FGSM_OK;
}

/* Takes a failure of the model's making as a problem; passes others on. */
static fgsm_status list(struct fg_description *d, fgsm_status status, const char *where) {
  if (status != FGSM_UNSUPPORTED && status != FGSM_MODEL && status != FGSM_USAGE)
    return status;
  char why[400];
  fg_error_copy(why, sizeof why);
  FG_TRY(fg_grow(&d->problems.items, &d->problems.capacity, d->problems.n + 1,
                 sizeof *d->problems.items));
  struct fg_onnx_problem *problem = &d->problems.items[d->problems.n++];
  snprintf(problem->text, sizeof problem->text, "%s: %s", where, why);
  return FGSM_OK;
}

/* ---- the nodes, one by one */

static const char *what_of(const struct fg_node *node) {
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

static double flops_of(const struct fg_graph *g, const struct fg_node *node) {
  if (node->op == FG_OP_COUNT || node->op == FG_OP_reshape || node->op == FG_OP_reorder)
    return 0;
  if (fg_op_defs[node->op]->flops)
    return fg_op_defs[node->op]->flops(g, node);
  return node->n_out && node->out[0] != FG_ABSENT ? (double)fg_value_count(g, node->out[0]) : 0;
}

/* What the node's gradient rule appends, in FLOPs; 0 where it has none (which the gradient of the
 * whole reports). `work` is a copy of the graph to append to. */
static fgsm_status backward_of(struct fg_graph *work, const struct fg_node *node,
                               const bool *depends, double *flops) {
  fg_id out_grad[FG_MAX_OUT] = {FG_ABSENT, FG_ABSENT, FG_ABSENT, FG_ABSENT};
  bool wanted[FG_MAX_IN] = {false}, any = false;
  *flops = 0;
  for (int k = 0; k < node->n_in; k++) {
    wanted[k] = node->in[k] != FG_ABSENT && depends[node->in[k]];
    any |= wanted[k];
  }
  if (!any || !fg_op_defs[node->op]->grad || !node->n_out || node->out[0] == FG_ABSENT)
    return FGSM_OK;
  const struct fg_value like = *fg_value(work, node->out[0]);
  if (!fg_type_is_real(like.type))
    return FGSM_OK;
  FG_TRY(fg_graph_input(work, "", like.type, like.rank, like.dim, &out_grad[0]));
  struct fg_grad_ctx ctx = {.g = work, .node = node, .out_grad = out_grad, .wanted = wanted};
  for (int k = 0; k < FG_MAX_IN; k++)
    ctx.in_grad[k] = FG_ABSENT;
  int64_t before = work->n_nodes;
  fgsm_status status = fg_op_defs[node->op]->grad(&ctx);
  if (status != FGSM_OK)
    return status == FGSM_UNSUPPORTED ? FGSM_OK : status;
  for (int64_t i = before; i < work->n_nodes; i++)
    *flops += flops_of(work, &work->nodes[i]);
  return FGSM_OK;
}

/* Marks the float values that depend on an input. */
static void find_depends(const struct fg_graph *g, bool *depends) {
  for (int64_t i = 0; i < g->n_values; i++)
    depends[i] = g->values[i].role == FG_ROLE_INPUT && fg_type_is_real(g->values[i].type);
  for (int64_t i = 0; i < g->n_nodes; i++) {
    const struct fg_node *node = &g->nodes[i];
    bool any = false;
    for (int k = 0; k < node->n_in; k++)
      any |= node->in[k] != FG_ABSENT && depends[node->in[k]];
    for (int k = 0; k < node->n_out; k++)
      if (node->out[k] != FG_ABSENT)
        depends[node->out[k]] = any && fg_type_is_real(g->values[node->out[k]].type);
  }
}

static void describe_node(struct fg_description *d, const struct fg_node *node, bool *counted) {
  struct fg_described_node *row = &d->nodes[d->n_nodes];
  *row = (struct fg_described_node){.name = node->name, .forward = flops_of(d->graph, node)};
  snprintf(row->what, sizeof row->what, "%s", what_of(node));
  if (node->n_out && node->out[0] != FG_ABSENT) {
    const struct fg_value *y = fg_value(d->graph, node->out[0]);
    row->rank = y->rank;
    memcpy(row->dim, y->dim, sizeof row->dim);
  }
  for (int k = 0; k < node->n_in; k++) {
    fg_id id = node->in[k];
    if (!fg_value_is_constant(d->graph, id) || counted[id] ||
        !fg_type_is_real(fg_value(d->graph, id)->type))
      continue;
    counted[id] = true;
    row->parameters += fg_value_count(d->graph, id);
  }
}

static fgsm_status describe_nodes(struct fg_description *d) {
  const struct fg_graph *g = d->graph;
  struct fg_graph *work = NULL;
  bool *depends = calloc((size_t)g->n_values + 1, sizeof *depends);
  bool *counted = calloc((size_t)g->n_values + 1, sizeof *counted);
  d->nodes = calloc((size_t)g->n_nodes + 1, sizeof *d->nodes);
  fgsm_status status = fg_graph_copy(g, &work);
  if (status == FGSM_OK && (!depends || !counted || !d->nodes))
    status = FG_FAIL(MEMORY, "no memory to describe %lld nodes", (long long)g->n_nodes);
  if (status == FGSM_OK)
    find_depends(g, depends);
  for (int64_t i = 0; i < g->n_nodes && status == FGSM_OK; i++) {
    struct fg_node node = g->nodes[i];
    if (node.op == FG_OP_COUNT)
      continue;
    describe_node(d, &node, counted);
    struct fg_described_node *row = &d->nodes[d->n_nodes++];
    status = backward_of(work, &node, depends, &row->backward);
    d->parameters += row->parameters;
    d->forward += row->forward;
    d->backward += row->backward;
  }
  fg_graph_destroy(work);
  free(depends);
  free(counted);
  return status;
}

/* ---- the plans */

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

/* Residuals are the fourth input of convolutions and products. */
static bool has_residual(const struct fg_node *node) {
  return (node->op == FG_OP_conv || node->op == FG_OP_matmul) && node->n_in > 3 &&
         node->in[3] != FG_ABSENT;
}

static int count_normalisations(const struct fg_graph *g) {
  int n = 0;
  for (int64_t i = 0; i < g->n_nodes; i++)
    n += g->nodes[i].op == FG_OP_batch_norm;
  return n;
}

static void describe_fusion(struct fg_description *d, const struct fg_graph *planned) {
  for (int64_t i = 0; i < planned->n_nodes; i++) {
    const struct fg_node *node = &planned->nodes[i];
    const struct fg_unary_attrs *act = activation_of(node);
    d->n_activations += act && act->kind != FG_UNARY_identity;
    d->n_residuals += has_residual(node);
  }
  d->n_operators = (int)d->n_nodes;
  d->n_normalisations = count_normalisations(d->graph) - count_normalisations(planned);
}

/* Adds the gradient of the first float output with respect to the float inputs, and makes it the
 * outputs. */
static fgsm_status add_gradient(struct fg_graph *g, fg_id of, int n_inputs, const fg_id *inputs) {
  fg_id *wrt = calloc(2 * (size_t)n_inputs + 1, sizeof *wrt), *grads = wrt + n_inputs, seed;
  if (!wrt)
    return FG_FAIL(MEMORY, "no memory for %d inputs", n_inputs);
  int n = 0, found = 0;
  for (int i = 0; i < n_inputs; i++)
    if (fg_type_is_real(fg_value(g, inputs[i])->type))
      wrt[n++] = inputs[i];
  struct fg_value like = *fg_value(g, of);
  fgsm_status status = fg_graph_input(g, "seed", like.type, like.rank, like.dim, &seed);
  if (status == FGSM_OK)
    status = fg_grad(g, 1, &of, &seed, n, wrt, grads);
  for (int j = 0; j < n && status == FGSM_OK; j++)
    if (grads[j] != FG_ABSENT) {
      status = fg_graph_output(g, grads[j], NULL);
      found++;
    }
  if (status == FGSM_OK && !found)
    status = FG_FAIL(UNSUPPORTED,
                     "the output '%s' does not depend on the input in a way that has a "
                     "gradient",
                     like.name);
  free(wrt);
  return status;
}

/* Plans a copy of the graph: its outputs, or with `gradient` its gradient. */
static fgsm_status describe_plan(struct fg_description *d, struct fg_device *device, fg_id of,
                                 const fg_id *inputs, bool gradient,
                                 struct fg_described_plan *out) {
  struct fg_graph *g = NULL;
  struct fg_plan *plan = NULL;
  FG_TRY(fg_graph_copy(d->graph, &g));
  fgsm_status status = fg_graph_output(g, of, NULL);
  if (status == FGSM_OK)
    status = fg_recognise(g, device);
  if (status == FGSM_OK)
    status = fg_fold(g);
  if (status == FGSM_OK && gradient)
    status = add_gradient(g, g->outputs[0], d->onnx ? fg_onnx_n_inputs(d->onnx) : 0, inputs);
  if (status == FGSM_OK)
    status = fg_fuse(g, device);
  if (status == FGSM_OK)
    status = fg_layout(g, device);
  if (status != FGSM_OK) {
    fg_graph_destroy(g);
    return status;
  }
  FG_TRY(fg_plan_create(g, device, false, &plan));
  if (!gradient)
    describe_fusion(d, fg_plan_graph(plan));
  out->info = *fg_plan_info(plan);
  out->made = true;
  fg_plan_destroy(plan);
  return FGSM_OK;
}

static fgsm_status describe_plans(struct fg_description *d, struct fg_device *device,
                                  const fg_id *inputs, const fg_id *outputs) {
  fg_id of = FG_ABSENT;
  for (int i = fg_onnx_n_outputs(d->onnx); i-- > 0;)
    if (outputs[i] != FG_ABSENT && fg_type_is_real(fg_value(d->graph, outputs[i])->type))
      of = outputs[i];
  if (of == FG_ABSENT) {
    fgsm_status status = FG_FAIL(UNSUPPORTED, "no output of the model is of a float type");
    return list(d, status, "outputs");
  }
  fgsm_status status = describe_plan(d, device, of, inputs, false, &d->forward_plan);
  if (status == FGSM_OK)
    status = describe_plan(d, device, of, inputs, true, &d->gradient_plan);
  return status == FGSM_OK ? FGSM_OK
                           : list(d, status, d->forward_plan.made ? "gradient" : "forward");
}

/* ---- the whole */

/* The file's own batch where it fixes one. */
static int64_t choose_batch(const struct fg_onnx *onnx, const fgsm_options *options) {
  for (int i = 0; i < fg_onnx_n_inputs(onnx); i++) {
    const struct fg_onnx_port *port = fg_onnx_input(onnx, i);
    if (port->rank > 0 && port->dim[0] < 0)
      return options->batch > 0 ? options->batch : 1;
  }
  const struct fg_onnx_port *first = fg_onnx_n_inputs(onnx) ? fg_onnx_input(onnx, 0) : NULL;
  return first && first->rank > 0 && first->dim[0] > 0 ? first->dim[0] : 1;
}

static fgsm_status gather(struct fg_description *d, struct fg_device *device) {
  size_t n_in = (size_t)fg_onnx_n_inputs(d->onnx), n_out = (size_t)fg_onnx_n_outputs(d->onnx);
  fg_id *inputs = calloc(n_in + n_out + 1, sizeof *inputs), *outputs = inputs + n_in;
  if (!inputs)
    return FG_FAIL(MEMORY, "no memory for %zu inputs and outputs", n_in + n_out);
  fgsm_status status = fg_graph_create(device->backend->real, &d->graph);
  if (status == FGSM_OK)
    status = fg_onnx_build(d->onnx, d->graph, d->batch, false, NULL, inputs, outputs, &d->problems);
  bool whole = status == FGSM_OK;
  if (status == FGSM_USAGE)
    status = list(d, status, "inputs");
  if (status == FGSM_UNSUPPORTED || status == FGSM_MODEL) /* listed */
    status = FGSM_OK;
  if (status == FGSM_OK)
    status = describe_nodes(d);
  if (status == FGSM_OK && whole)
    status = describe_plans(d, device, inputs, outputs);
  free(inputs);
  return status;
}

fgsm_status fg_describe(const struct fg_onnx *onnx, const char *path, const fgsm_options *options,
                        bool json, char **text) {
  const struct fg_backend *backend = NULL;
  struct fg_device *device = NULL;
  struct fg_description d = {.onnx = onnx, .path = path};
  *text = NULL;
  FG_TRY(find_backend(options, &backend));
  FG_TRY(backend->open(0, options->threads > 0 ? options->threads : fg_cpu_count(), &device));
  d.device = backend->name;
  d.batch = choose_batch(onnx, options);
  fgsm_status status = gather(&d, device);
  if (status == FGSM_OK)
    status = json ? fg_describe_json(&d, text) : fg_describe_text(&d, text);
  free(d.problems.items);
  free(d.nodes);
  fg_graph_destroy(d.graph);
  backend->close(device);
  return status;
}
