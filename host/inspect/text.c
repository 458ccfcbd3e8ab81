/* Lays a description out as tables for people. Nothing is computed here but units. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "describe.h"

enum { NAME_WIDTH = 32, WHAT_WIDTH = 20, SHAPE = 192 };

static const char *shape(int rank, const int64_t *dim, char text[SHAPE]) {
  int n = snprintf(text, SHAPE, "[");
  for (int i = 0; i < rank; i++)
    n += dim[i] < 0
             ? snprintf(text + n, SHAPE - (size_t)n, "%s?", i ? "," : "")
             : snprintf(text + n, SHAPE - (size_t)n, "%s%lld", i ? "," : "", (long long)dim[i]);
  snprintf(text + n, SHAPE - (size_t)n, "]");
  return text;
}

/* A name in at most NAME_WIDTH columns: its end tells more than its beginning. */
static const char *short_name(const char *name, char text[NAME_WIDTH + 4]) {
  char clean[1024];
  size_t n = fg_clean_text(name, false, clean, sizeof clean);
  const char *end = clean;
  if (n > NAME_WIDTH)
    for (end = clean + n - (NAME_WIDTH - 3); (*end & 0xc0) == 0x80;) /* not within a character */
      end++;
  snprintf(text, NAME_WIDTH + 4, "%s%.*s", n > NAME_WIDTH ? "..." : "", NAME_WIDTH, end);
  return text;
}

static void add_port(struct fg_text *t, const char *what, const struct fg_onnx_port *port) {
  char dims[SHAPE], name[256];
  fg_clean_text(port->name, false, name, sizeof name);
  fg_text_add(t, "%-11s%s  %s  %s\n", what, name, fg_type_name(port->type),
              port->rank < 0 ? "of unknown shape" : shape(port->rank, port->dim, dims));
}

static void add_header(struct fg_text *t, const struct fg_description *d) {
  char path[4096], producer[128], size[32];
  fg_clean_text(d->path, false, path, sizeof path);
  fg_clean_text(fg_onnx_producer(d->onnx), false, producer, sizeof producer);
  fg_text_add(t, "%-11s%s\n", "model", path);
  fg_text_add(t, "%-11s%s\n", "sha256", fg_onnx_sha256(d->onnx));
  for (int i = 0; i < fg_onnx_n_data_files(d->onnx); i++) {
    const struct fg_onnx_data_file *file = fg_onnx_data_file(d->onnx, i);
    fg_clean_text(file->location, false, path, sizeof path);
    fg_text_add(t, "%-11s%s  %s  %s\n", i ? "" : "data", file->sha256, path,
                fg_scaled((double)file->bytes, 1024, "B", size));
  }
  fg_text_add(t, "%-11s%s, opset %lld\n", "producer", *producer ? producer : "unsaid",
              (long long)fg_onnx_opset(d->onnx));
  for (int i = 0; i < fg_onnx_n_inputs(d->onnx); i++)
    add_port(t, "input", fg_onnx_input(d->onnx, i));
  for (int i = 0; i < fg_onnx_n_outputs(d->onnx); i++)
    add_port(t, "output", fg_onnx_output(d->onnx, i));
  fg_text_add(t, "%-11s%s, %s, batch %lld\n\n", "device", d->device, d->precision,
              (long long)d->batch);
}

static void add_row(struct fg_text *t, const char *what, const char *name, const char *dims,
                    const struct fg_described_node *n) {
  char forward[32], backward[32], read[32], moved[32];
  fg_text_add(t, "%-*s %-*s %-18s %10lld %12s %10s %7.2f %12s %10s\n", WHAT_WIDTH, what, NAME_WIDTH,
              name, dims, (long long)n->parameters, fg_scaled(n->forward, 1000, "FLOP", forward),
              fg_scaled(n->forward_bytes, 1024, "B", read),
              fg_intensity(n->forward, n->forward_bytes),
              fg_scaled(n->backward, 1000, "FLOP", backward),
              fg_scaled(n->backward_bytes, 1024, "B", moved));
}

static void add_nodes(struct fg_text *t, const struct fg_description *d) {
  char dims[SHAPE], name[NAME_WIDTH + 4];
  fg_text_add(t, "%-*s %-*s %-18s %10s %12s %10s %7s %12s %10s\n", WHAT_WIDTH, "operator",
              NAME_WIDTH, "name", "output", "parameters", "forward", "bytes", "FLOP/B", "backward",
              "bytes");
  for (int64_t i = 0; i < d->n_nodes; i++) {
    const struct fg_described_node *n = &d->nodes[i];
    add_row(t, n->what, short_name(d->read.graph->nodes[n->node].name, name),
            shape(n->rank, n->dim, dims), n);
  }
  add_row(t, "total", "", "",
          &(struct fg_described_node){.parameters = d->parameters,
                                      .forward = d->forward,
                                      .backward = d->backward,
                                      .forward_bytes = d->forward_bytes,
                                      .backward_bytes = d->backward_bytes});
  fg_text_add(t, "\n");
}

static void add_plan(struct fg_text *t, const char *what, const struct fg_described_plan *plan) {
  char arena[32], unshared[32], weights[32], flops[32], label[160];
  if (!plan->plan)
    return;
  fg_text_add(t,
              "%-11s%d calls, %s; %s of memory with scratch (values alone: %s without reuse), %s "
              "of weights\n",
              what, plan->info.n_calls, fg_scaled(plan->info.flops, 1000, "FLOP", flops),
              fg_scaled((double)plan->info.arena_bytes, 1024, "B", arena),
              fg_scaled((double)plan->info.unshared_bytes, 1024, "B", unshared),
              fg_scaled((double)plan->info.constant_bytes, 1024, "B", weights));
  if (!plan->info.n_calls)
    return;
  fg_call_label(plan, plan->peak, label, sizeof label);
  fg_text_add(t, "%-11smost in use: %s, in %s\n", "",
              fg_scaled(fg_call_memory(&plan->calls[plan->peak]), 1024, "B", arena), label);
}

/* The calls of one phase that do the work of more than one of the file's nodes. */
static void add_fused(struct fg_text *t, const struct fg_described_plan *plan, bool gradient,
                      const char *title) {
  bool titled = false;
  if (!plan->plan)
    return;
  for (int i = 0; i < plan->info.n_calls; i++) {
    const struct fg_described_call *call = &plan->calls[i];
    if (call->n_sources < 2 || fg_call_is_gradient(call) != gradient)
      continue;
    if (!titled)
      fg_text_add(t, "\n%s\n", title);
    titled = true;
    fg_text_add(t, "  %4d  %-*s", i + 1, WHAT_WIDTH + 4, call->what);
    for (int64_t k = 0; k < call->n_sources; k++) {
      const struct fg_source *s = &fg_plan_graph(plan->plan)->sources[call->sources[k]];
      char op[64], name[NAME_WIDTH + 4];
      fg_clean_text(s->op, false, op, sizeof op);
      fg_text_add(t, "%s%s %s", k ? ", " : " ", op, short_name(s->name, name));
    }
    fg_text_add(t, "\n");
  }
}

static void add_fusion(struct fg_text *t, const struct fg_description *d) {
  if (!d->forward_plan.plan)
    return;
  fg_text_add(t,
              "%-11s%lld operators became %d calls; folded: %d normalisations; fused: %d "
              "activations, %d residuals\n",
              "fused", (long long)d->n_nodes, d->forward_plan.info.n_calls, d->n_normalisations,
              d->n_activations, d->n_residuals);
  int64_t idle = 0;
  for (int64_t s = 0; s < d->pass.graph->n_sources; s++)
    idle += !d->called[s] && !d->pass.graph->sources[s].body;
  if (idle)
    fg_text_add(t,
                "%-11s%lld of the file's %lld nodes need no call: computed while loading, or of no "
                "effect\n",
                "", (long long)idle, (long long)d->pass.graph->n_sources);
  add_fused(t, &d->forward_plan, false, "one call for several nodes, forward");
  add_fused(t, &d->gradient_plan, true, "one call for the gradient of several nodes");
}

fgsm_status fg_describe_text(const struct fg_description *d, char **text) {
  struct fg_text t = {0};
  add_header(&t, d);
  add_nodes(&t, d);
  if (d->strip < d->batch && d->forward_plan.plan)
    fg_text_add(&t, "%-11sof %lld samples at a time, to which what follows applies\n", "passes",
                (long long)d->strip);
  add_plan(&t, "forward", &d->forward_plan);
  add_plan(&t, "gradient", &d->gradient_plan);
  add_fusion(&t, d);
  if (d->approximates) {
    fg_text_add(&t, "\n%-11s", "agreement");
    fg_agree_add_text(&d->agreement, &t);
    fg_text_add(&t, "\n");
  }
  if (d->gradient_plan.plan)
    fg_describe_plot(&d->gradient_plan, d->options, &t);
  for (int64_t i = 0; i < d->problems.n; i++) {
    char problem[sizeof d->problems.items->text];
    fg_clean_text(d->problems.items[i].text, false, problem, sizeof problem);
    fg_text_add(&t, "%-11s%s\n", i ? "" : "problems", problem);
  }
  if (d->problems.n == 0)
    fg_text_add(&t, "%-11snone: the model can be attacked\n", "problems");
  if (t.failed) {
    fg_text_free(&t);
    return FG_FAIL(MEMORY, "no memory for the description");
  }
  *text = t.data;
  return FGSM_OK;
}
