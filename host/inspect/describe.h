/* What a model is, what it costs, and what of it is not supported: `fgsm inspect`. describe.c
 * gathers the facts: nodes.c from the graph as read, plans.c from what it becomes. text.c lays them
 * out as tables, with plot.c's memory over time; json.c as one object; dot.c as a picture. */
#ifndef FG_DESCRIBE_H
#define FG_DESCRIBE_H

#include "agree.h"
#include "graph.h"
#include "onnx.h"
#include "options.h"

enum { FG_WHAT = 48 };

/* One operator of the graph as read for the batch, before it is recognised and fused. Bytes: what must be
 * read and written once. */
struct fg_described_node {
  char what[FG_WHAT]; /* the operator; elementwise ones by their function */
  fg_id node;
  int rank;
  int64_t dim[FG_MAX_RANK];
  int64_t parameters;       /* constants of float type that this is the first to use */
  double forward, backward; /* FLOPs; backward: the gradient with respect to its data inputs */
  double forward_bytes, backward_bytes;
  int64_t call; /* of the forward plan that does (most of) its work; -1: none */
};

/* One call of a plan. */
struct fg_described_call {
  char what[FG_WHAT];
  const struct fg_node *node;
  struct fg_plan_call cost;
  int64_t n_sources;
  const fg_id *sources; /* of the plan's graph */
};

struct fg_described_plan {
  struct fg_plan *plan; /* NULL: could not be made */
  struct fg_plan_info info;
  struct fg_described_call *calls; /* info.n_calls */
  int peak;                        /* the call with most memory in use */
};

/* The model as read, for some batch. */
struct fg_described_model {
  struct fg_graph *graph;
  fg_id *inputs, *outputs;
};

struct fg_description {
  const struct fg_onnx *onnx;
  const struct fgsm_options *options;
  const char *path, *device, *precision;
  int64_t batch, strip; /* as asked, and how many samples an attack takes in one pass of that */
  size_t memory_limit;
  struct fg_described_model read; /* for the batch */
  struct fg_described_model pass; /* for a strip; the same where that is all of the batch */
  struct fg_described_node *nodes;
  int64_t n_nodes, parameters;
  double forward, backward, forward_bytes, backward_bytes;
  struct fg_described_plan forward_plan, gradient_plan; /* of a pass */
  int n_activations, n_residuals,
      n_normalisations;          /* of the forward graph: fused into neighbours */
  bool approximates;             /* the gradient, by less than float32's digits or rounding more: */
  struct fg_agreement agreement; /* with the exact one, on generated samples */
  bool *called; /* per source of the pass's graph: some call of a plan does its work */
  struct fg_onnx_problems problems;
};

/* Describes the model for the options' device and batch. Succeeds for models that cannot be
 * attacked; what stands in the way is listed. *text, and *dot where the options ask for it, are
 * freed with fgsm_free. */
fgsm_status fg_describe(const struct fg_onnx *onnx, const char *path, const fgsm_options *options,
                        bool json, char **text, char **dot) FGSM_MUST_USE;

/* ---- gathering */

/* Takes a failure of the model's making as a problem; passes others on. */
fgsm_status fg_describe_problem(struct fg_description *d, fgsm_status status,
                                const char *where) FGSM_MUST_USE;
fgsm_status fg_describe_nodes(struct fg_description *d) FGSM_MUST_USE;
fgsm_status fg_describe_plans(struct fg_description *d, struct fg_device *device) FGSM_MUST_USE;
void fg_described_plan_free(struct fg_described_plan *plan);

/* Bytes in use during a call; whether it is of the gradient. */
static inline double fg_call_memory(const struct fg_described_call *call) {
  return (double)(call->cost.alive_bytes + call->cost.scratch_bytes);
}
static inline bool fg_call_is_gradient(const struct fg_described_call *call) {
  return call->node->from.gradient;
}
/* FLOPs for each byte that must be moved; 0 for none. */
static inline double fg_intensity(double flops, double bytes) {
  return bytes > 0 ? flops / bytes : 0;
}
/* The shape of a call's result. */
const struct fg_value *fg_call_value(const struct fg_described_plan *plan,
                                     const struct fg_described_call *call);

/* "call 28, conv_grad_input, gradient of /layer1/conv2": by the first of the file's nodes in it. */
void fg_call_label(const struct fg_described_plan *plan, int i, char *text, size_t size);

/* ---- laying out */

fgsm_status fg_describe_text(const struct fg_description *d, char **text) FGSM_MUST_USE;
fgsm_status fg_describe_json(const struct fg_description *d, char **text) FGSM_MUST_USE;
fgsm_status fg_describe_dot(const struct fg_description *d, char **text) FGSM_MUST_USE;
/* Memory over time. */
void fg_describe_plot(const struct fg_described_plan *plan, const struct fgsm_options *options,
                      struct fg_text *text);

#endif
