/* Recognises operators that exporters have taken apart, and puts them together again, before folding
 * and before the gradient is taken:
 *
 *   x (1 + erf(x / sqrt 2)) / 2, its tanh form, x sigmoid(x), x relu6(x + 3) / 6, ...  -> unary
 *   exp(x - max) / sum, x - max - log(sum)                                             -> softmax
 *   (x - mean) / sqrt(variance + eps) [scale] [+ bias], and batch-norm's way to say it -> layer_norm
 *   softmax(scale q kT [+ bias]) v, in one grouping of batches or several              -> attention
 *
 * in any order of factors and terms. Constants may have gone through float32. What is recognised is
 * equal in exact arithmetic; a match stands only if all of it can go, and if the device's kernel
 * accepts the operator. The new node has the name of the node whose result it computes. */
#include "recognise.h"

#include <math.h>

#include "op.h"

struct fg_node *fg_match_node(struct fg_match *m, fg_id value, enum fg_op op) {
  if (value == FG_ABSENT || value >= m->rw->n_values)
    return NULL;
  fg_id producer = fg_value(m->g, value)->producer;
  if (producer == FG_ABSENT || m->g->nodes[producer].op != op || !fg_rewrite_fresh(m->rw, producer))
    return NULL;
  for (int i = 0; i < m->n; i++)
    if (m->node[i] == producer)
      return &m->g->nodes[producer];
  if (m->n == FG_MATCH_NODES)
    return NULL;
  m->node[m->n++] = producer;
  return &m->g->nodes[producer];
}

struct fg_node *fg_match_unary(struct fg_match *m, fg_id value, enum fg_unary_kind kind) {
  int before = m->n;
  struct fg_node *node = fg_match_node(m, value, FG_OP_unary);
  if (node && node->attrs.unary.kind == kind)
    return node;
  m->n = before;
  return NULL;
}

struct fg_node *fg_match_binary(struct fg_match *m, fg_id value, enum fg_binary_kind kind) {
  int before = m->n;
  struct fg_node *node = fg_match_node(m, value, FG_OP_binary);
  if (node && node->attrs.binary.kind == kind)
    return node;
  m->n = before;
  return NULL;
}

bool fg_match_number(const struct fg_graph *g, fg_id value, double *number) {
  if (!fg_value_is_constant(g, value) || !fg_type_is_real(fg_value(g, value)->type))
    return false;
  int64_t n = fg_value_count(g, value);
  for (int64_t i = 0; i < n; i++)
    if (fg_constant_real(g, value, i) != fg_constant_real(g, value, 0))
      return false;
  *number = n ? fg_constant_real(g, value, 0) : NAN;
  return isfinite(*number);
}

bool fg_match_near(double a, double b) {
  return fabs(a - b) <= 1e-6 * fabs(b);
}

bool fg_match_same_shape(const struct fg_graph *g, fg_id a, fg_id b) {
  struct fg_tensor x = fg_value_tensor(g, a), y = fg_value_tensor(g, b);
  return fg_same_shape(&x, &y);
}

/* How often the match itself reads a value. */
static int reads(const struct fg_match *m, fg_id value) {
  int n = 0;
  for (int i = -1; i < m->n; i++) {
    const struct fg_node *node = &m->g->nodes[i < 0 ? m->at : m->node[i]];
    for (int k = 0; k < node->n_in; k++)
      n += node->in[k] == value;
  }
  return n;
}

bool fg_match_closed(const struct fg_match *m) {
  for (int i = 0; i < m->n; i++) {
    const struct fg_node *node = &m->g->nodes[m->node[i]];
    for (int k = 0; k < node->n_out; k++)
      if (node->out[k] != FG_ABSENT && m->rw->uses[node->out[k]] != reads(m, node->out[k]))
        return false;
  }
  return true;
}

bool fg_match_accepts(const struct fg_match *m, struct fg_call *call) {
  const struct fg_backend *backend = m->device->backend;
  const struct fg_kernel *kernel = backend->kernels[call->op];
  if (!kernel->run)
    return false;
  if (backend->prefers && !backend->prefers(m->device, call)) {
    fg_log(FGSM_LOG_DEBUG, "left as it is: '%s' could be %s, which is no gain at this size",
           m->g->nodes[m->at].name, fg_op_name(call->op));
    return false;
  }
  fgsm_status status = kernel->prepare ? kernel->prepare(call, m->device) : FGSM_OK;
  if (kernel->release)
    kernel->release(call);
  if (status != FGSM_OK)
    fg_log(FGSM_LOG_DEBUG, "left as it is: %s", fgsm_last_error());
  return status == FGSM_OK;
}

fgsm_status fg_match_replace(struct fg_match *m, const char *what, fg_id value) {
  struct fg_node *root = &m->g->nodes[m->at];
  fg_log(FGSM_LOG_DEBUG, "recognised %s in the %d nodes up to '%s'", what, m->n + 1, root->name);
  for (int i = 0; i < m->n; i++)
    fg_rewrite_touch(m->rw, &m->g->nodes[m->node[i]]);
  fg_rewrite_result(m->rw, m->at, root->out[0], value);
  return FGSM_OK;
}

/* Tries the recognisers on root `at`, until one changes the graph. */
static fgsm_status recognise(struct fg_rewrite *rw, int64_t at, struct fg_device *device) {
  static fgsm_status (*const all[])(struct fg_match *) = {
      fg_recognise_activation, fg_recognise_softmax, fg_recognise_layer_norm,
      fg_recognise_attention};
  enum fg_op op = rw->g->nodes[at].op;
  if (op != FG_OP_binary && op != FG_OP_layer_norm && op != FG_OP_matmul)
    return FGSM_OK;
  for (size_t i = 0; i < sizeof all / sizeof *all && fg_rewrite_fresh(rw, at); i++) {
    struct fg_match m = {.rw = rw, .g = rw->g, .device = device, .at = at};
    FG_TRY(all[i](&m));
  }
  return FGSM_OK;
}

fgsm_status fg_recognise(struct fg_graph *g, struct fg_device *device) {
  FG_TRY(device->backend->enter(device));
  for (bool changed = true; changed;) {
    struct fg_rewrite rw;
    fgsm_status status = fg_rewrite_begin(g, &rw);
    for (int64_t i = 0; i < rw.n_nodes && status == FGSM_OK; i++)
      if (fg_rewrite_fresh(&rw, i))
        status = recognise(&rw, i, device);
    changed = rw.changed;
    FG_TRY(fg_rewrite_end(&rw, status));
  }
  return FGSM_OK;
}
