/* What a model is, what it costs, and what of it is not supported: `fgsm inspect`. describe.c
 * gathers the facts from graphs and plans; render.c lays them out as a table or as JSON. */
#ifndef FG_DESCRIBE_H
#define FG_DESCRIBE_H

#include "graph.h"
#include "onnx.h"
#include "options.h"

/* One operator of the graph as read, before passes. */
struct fg_described_node {
  char what[32]; /* the operator; elementwise ones by their function */
  const char *name;
  int rank;
  int64_t dim[FG_MAX_RANK];
  int64_t parameters;       /* constants of float type that this is the first to use */
  double forward, backward; /* FLOPs; backward: the gradient with respect to its data inputs */
};

struct fg_described_plan {
  bool made;
  struct fg_plan_info info;
};

struct fg_description {
  const struct fg_onnx *onnx;
  const char *path, *device;
  int64_t batch;
  size_t memory_limit;
  struct fg_graph *graph; /* as read; owns the nodes' names */
  struct fg_described_node *nodes;
  int64_t n_nodes, parameters;
  double forward, backward;
  struct fg_described_plan forward_plan, gradient_plan;
  int n_operators, n_activations, n_residuals, n_normalisations; /* of the forward graph: what
    entered the passes, and what was fused into neighbours */
  struct fg_onnx_problems problems;
};

/* Describes the model for the options' device and batch. Succeeds for models that cannot be
 * attacked; what stands in the way is listed. *text is freed with fgsm_free. */
fgsm_status fg_describe(const struct fg_onnx *onnx, const char *path, const fgsm_options *options,
                        bool json, char **text) FGSM_MUST_USE;

fgsm_status fg_describe_text(const struct fg_description *d, char **text) FGSM_MUST_USE;
fgsm_status fg_describe_json(const struct fg_description *d, char **text) FGSM_MUST_USE;

#endif
