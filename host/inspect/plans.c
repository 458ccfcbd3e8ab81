/* What the graph of a pass becomes: its forward pass and its gradient, planned for a device, call by call. */
#include <stdio.h>
#include <stdlib.h>

#include "describe.h"

const struct fg_value *fg_call_value(const struct fg_described_plan *plan,
                                     const struct fg_described_call *call) {
  for (int k = 0; k < call->node->n_out; k++)
    if (call->node->out[k] != FG_ABSENT)
      return fg_value(fg_plan_graph(plan->plan), call->node->out[k]);
  return NULL;
}

void fg_call_label(const struct fg_described_plan *plan, int i, char *text, size_t size) {
  const struct fg_described_call *call = &plan->calls[i];
  bool named = call->n_sources > 0;
  char name[64];
  fg_clean_text(named ? fg_plan_graph(plan->plan)->sources[call->sources[0]].name
                      : call->node->name,
                false, name, sizeof name);
  snprintf(text, size, "call %d, %s%s%s", i + 1, call->what,
           !*name                      ? ""
           : fg_call_is_gradient(call) ? ", gradient of "
                                       : " ",
           name);
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

/* Whether the plan may be made: kernels take memory of the graph's size to choose among ways. */
static fgsm_status check_size(const struct fg_description *d, struct fg_graph *g, bool gradient) {
  struct fg_plan_info info;
  char need[32], limit[32];
  FG_TRY(fg_plan_size(g, &info));
  size_t all = fg_onnx_bytes(d->onnx) + g->arena.total_bytes + info.arena_bytes;
  if (all <= d->memory_limit)
    return FGSM_OK;
  return FG_FAIL(UNSUPPORTED,
                 "the %s needs %s of memory for %lld samples at a time, more than the %s of "
                 "--max-memory; a smaller --batch may help",
                 gradient ? "gradient" : "forward pass", fg_memory_text(all, need),
                 (long long)d->strip, fg_memory_text(d->memory_limit, limit));
}

/* Plans a copy of the graph: its output `of`, or with `gradient` its gradient too. */
static fgsm_status make_plan(struct fg_description *d, struct fg_device *device, fg_id of,
                             bool gradient, struct fg_plan **out) {
  struct fg_graph *g = NULL;
  FG_TRY(fg_graph_copy(d->pass.graph, &g));
  fgsm_status status = fg_graph_output(g, of, NULL);
  if (status == FGSM_OK)
    status = fg_recognise(g, device);
  if (status == FGSM_OK)
    status = fg_fold(g);
  if (status == FGSM_OK && gradient)
    status = add_gradient(g, g->outputs[0], fg_onnx_n_inputs(d->onnx), d->pass.inputs);
  if (status == FGSM_OK)
    status = fg_fuse(g, device);
  if (status == FGSM_OK)
    status = fg_halve(g, device);
  if (status == FGSM_OK)
    status = fg_layout(g, device);
  if (status == FGSM_OK)
    status = fg_mask(g, device);
  if (status == FGSM_OK)
    status = check_size(d, g, gradient);
  if (status != FGSM_OK) {
    fg_graph_destroy(g);
    return status;
  }
  return fg_plan_create(g, device, false, out);
}

static fgsm_status describe_calls(struct fg_description *d, struct fg_described_plan *plan) {
  const struct fg_graph *g = fg_plan_graph(plan->plan);
  plan->info = *fg_plan_info(plan->plan);
  int n = plan->info.n_calls;
  struct fg_plan_call *costs = calloc((size_t)n + 1, sizeof *costs);
  plan->calls = calloc((size_t)n + 1, sizeof *plan->calls);
  fgsm_status status = costs && plan->calls ? fg_plan_calls(plan->plan, costs)
                                            : FG_FAIL(MEMORY, "no memory for %d calls", n);
  for (int i = 0; i < n && status == FGSM_OK; i++) {
    struct fg_described_call *call = &plan->calls[i];
    call->cost = costs[i];
    call->node = &g->nodes[costs[i].node];
    fg_node_what(call->node, call->what, sizeof call->what);
    call->sources = fg_lists_at(&g->source_lists, call->node->from.sources, &call->n_sources);
    for (int64_t k = 0; k < call->n_sources; k++)
      d->called[call->sources[k]] = true;
    if (fg_call_memory(call) > fg_call_memory(&plan->calls[plan->peak]))
      plan->peak = i;
  }
  free(costs);
  return status;
}

void fg_described_plan_free(struct fg_described_plan *plan) {
  free(plan->calls);
  fg_plan_destroy(plan->plan);
}

static int count_normalisations(const struct fg_graph *g) {
  int n = 0;
  for (int64_t i = 0; i < g->n_nodes; i++)
    n += g->nodes[i].op == FG_OP_batch_norm;
  return n;
}

/* What the forward plan fused, and which of its calls does a node's work: of several the hungriest. */
static fgsm_status describe_fusion(struct fg_description *d) {
  const struct fg_described_plan *plan = &d->forward_plan;
  int64_t *call_of = malloc((size_t)(d->pass.graph->n_sources + 1) * sizeof *call_of);
  if (!call_of)
    return FG_FAIL(MEMORY, "no memory for %lld nodes", (long long)d->pass.graph->n_sources);
  for (int64_t s = 0; s < d->pass.graph->n_sources; s++)
    call_of[s] = -1;
  for (int i = 0; i < plan->info.n_calls; i++) {
    const struct fg_described_call *call = &plan->calls[i];
    d->n_activations += fg_node_has_activation(call->node);
    d->n_residuals += fg_node_has_residual(call->node);
    for (int64_t k = 0; k < call->n_sources; k++) {
      int64_t *best = &call_of[call->sources[k]];
      if (*best < 0 || call->cost.flops > plan->calls[*best].cost.flops)
        *best = i;
    }
  }
  d->n_normalisations =
      count_normalisations(d->pass.graph) - count_normalisations(fg_plan_graph(plan->plan));
  for (int64_t i = 0; i < d->n_nodes; i++) {
    int64_t n;
    const fg_id *sources = fg_lists_at(&d->read.graph->source_lists,
                                       d->read.graph->nodes[d->nodes[i].node].from.sources, &n);
    d->nodes[i].call = n && sources[0] < d->pass.graph->n_sources ? call_of[sources[0]] : -1;
  }
  free(call_of);
  return FGSM_OK;
}

static fgsm_status plan_both(struct fg_description *d, struct fg_device *device, fg_id of) {
  FG_TRY(make_plan(d, device, of, false, &d->forward_plan.plan));
  FG_TRY(describe_calls(d, &d->forward_plan));
  FG_TRY(describe_fusion(d));
  FG_TRY(make_plan(d, device, of, true, &d->gradient_plan.plan));
  return describe_calls(d, &d->gradient_plan);
}

fgsm_status fg_describe_plans(struct fg_description *d, struct fg_device *device) {
  fg_id of = FG_ABSENT;
  for (int i = fg_onnx_n_outputs(d->onnx); i-- > 0;)
    if (d->pass.outputs[i] != FG_ABSENT &&
        fg_type_is_real(fg_value(d->pass.graph, d->pass.outputs[i])->type))
      of = d->pass.outputs[i];
  if (of == FG_ABSENT) {
    fgsm_status status = FG_FAIL(UNSUPPORTED, "no output of the model is of a float type");
    return fg_describe_problem(d, status, "outputs");
  }
  d->called = calloc((size_t)d->pass.graph->n_sources + 1, sizeof *d->called);
  if (!d->called)
    return FG_FAIL(MEMORY, "no memory for %lld nodes", (long long)d->pass.graph->n_sources);
  fgsm_status status = plan_both(d, device, of);
  if (status == FGSM_OK)
    return FGSM_OK;
  return fg_describe_problem(d, status, d->forward_plan.plan ? "gradient" : "forward");
}
