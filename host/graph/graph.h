/* The one structure. A graph is nodes and values, addressed by index, in one arena.
 *
 * Nodes stand in topological order. A value has a concrete shape from the moment it exists: a graph
 * is built for one batch size (loading is cheap; a plan has one size anyway), and fg_graph_add infers
 * shapes and computes constants as it goes. Passes are functions of a graph, one per file:
 *
 *   recognise  what exporters took apart, whole again
 *   fold    constants, BatchNorm and affine steps into convolutions and products
 *   grad    gradients as more graph
 *   fuse    neighbours into the fused operators that the backend has
 *   halve   half precision where the device's precision says so
 *   layout  channel blocks where the backend wants them
 *   plan    the graph laid out in one block of memory
 */
#ifndef FG_GRAPH_H
#define FG_GRAPH_H

#include "base.h"

typedef int32_t fg_id; /* of a value or node; FG_ABSENT for an optional one that is not there */
#define FG_ABSENT ((fg_id)-1)

enum fg_role {
  FG_ROLE_TEMP,     /* computed by a node                                           */
  FG_ROLE_INPUT,    /* bound by the caller                                          */
  FG_ROLE_CONSTANT, /* data is known and never changes                              */
  FG_ROLE_PARAM     /* data is an initial value; bound, and changed, by the trainer */
};

struct fg_value {
  const char *name; /* in the arena; "" if none */
  enum fg_role role;
  enum fg_type type;
  enum fg_layout layout;
  int rank;
  int64_t dim[FG_MAX_RANK];
  const void *data; /* CONSTANT, PARAM: the contents; in the arena or outliving the graph */
  bool lent;        /* they are another's, who outlives the graph */
  fg_id producer;   /* node, or FG_ABSENT */
};

/* Lists of ids, each added once and never changed; list 0 is empty. */
struct fg_lists {
  fg_id *items;
  int64_t *begin; /* list l is items[begin[l]] .. items[begin[l + 1] - 1] */
  int64_t n, n_items, capacity, items_capacity;
};

/* A node of the file that the graph was read from. */
struct fg_source {
  const char *op, *name;
  bool body; /* stands for others: the nodes of a function or branch */
};

/* Where a node comes from. */
struct fg_provenance {
  fg_id sources; /* the list of sources whose work it does, in order; 0: none */
  bool gradient; /* of theirs: appended by fg_grad */
};

struct fg_node {
  enum fg_op op; /* FG_OP_COUNT: dead, removed by fg_graph_compact */
  struct fg_provenance from;
  const char *name;
  int n_in, n_out;
  fg_id in[FG_MAX_IN], out[FG_MAX_OUT];
  union fg_attrs attrs;
};

struct fg_graph {
  struct fg_arena arena;
  struct fg_node *nodes;
  struct fg_value *values;
  int64_t n_nodes, n_values, nodes_capacity, values_capacity;
  fg_id outputs[16]; /* values that must survive, in the order that the builder asked for */
  int n_outputs;
  enum fg_type real; /* the type that float values are built in: F32, or F64 for the oracle */
  bool borrows;      /* weights are read where the model holds them, which outlives the graph */
  size_t given_bytes, computed_bytes; /* of constants: copied in; folded from those */
  double computed_flops;              /* that folding took */
  struct fg_source *sources;
  int64_t n_sources, sources_capacity;
  struct fg_lists source_lists; /* of every node */
  struct fg_provenance from;    /* of the nodes that fg_graph_add appends now */
};

fgsm_status fg_graph_create(enum fg_type real, struct fg_graph **out) FGSM_MUST_USE;
void fg_graph_destroy(struct fg_graph *graph);
/* A copy; contents that are lent stay where they are. */
fgsm_status fg_graph_copy(const struct fg_graph *graph, struct fg_graph **out) FGSM_MUST_USE;
/* A copy that reads its constants where they lie in `graph`, which lives longer. */
fgsm_status fg_graph_share(const struct fg_graph *graph, struct fg_graph **out) FGSM_MUST_USE;
/* Frees the contents of constants that no node reads any more (a convolution's weights, once they are
 * folded), by way of a copy of the others, where they are many and the arena's limit has room for it. Those
 * that are `lender`'s too, under the same ids, are read there, and it lives longer; NULL: none. Ids stay. */
fgsm_status fg_graph_strip(struct fg_graph **graph, const struct fg_graph *lender) FGSM_MUST_USE;

/* ---- building. All return FGSM_OK or record why not; *out is a value. */

/* An input or parameter; `data` is for parameters and is copied. */
fgsm_status fg_graph_input(struct fg_graph *g, const char *name, enum fg_type type, int rank,
                           const int64_t *dim, fg_id *out) FGSM_MUST_USE;
fgsm_status fg_graph_param(struct fg_graph *g, const char *name, enum fg_type type, int rank,
                           const int64_t *dim, const void *data, fg_id *out) FGSM_MUST_USE;
/* A value of the same shape and type as `like`, for a pass that wires it up itself. */
fgsm_status fg_graph_value(struct fg_graph *g, const struct fg_value *like,
                           fg_id *out) FGSM_MUST_USE;
/* A constant; data (of that type) is copied; floats are converted to the graph's real type. */
fgsm_status fg_graph_constant(struct fg_graph *g, const char *name, enum fg_type type, int rank,
                              const int64_t *dim, const void *data, fg_id *out) FGSM_MUST_USE;
/* The same of data that lies still for as long as the model is open: not copied where the graph borrows
 * and data is as kernels want it. */
fgsm_status fg_graph_weight(struct fg_graph *g, const char *name, enum fg_type type, int rank,
                            const int64_t *dim, const void *data, fg_id *out) FGSM_MUST_USE;
fgsm_status fg_graph_scalar(struct fg_graph *g, double value, fg_id *out) FGSM_MUST_USE;

/* Appends a node: checks it, infers its outputs' shapes and types, and, when every input is constant
 * and the result is, computes it at once. `attrs` may be NULL for operators without attributes.
 * out: FG_MAX_OUT ids (unused ones FG_ABSENT); may be NULL only if the caller wants none. */
fgsm_status fg_graph_add(struct fg_graph *g, enum fg_op op, const char *name,
                         const union fg_attrs *attrs, int n_in, const fg_id *in,
                         fg_id *out) FGSM_MUST_USE;

/* Short forms for gradient rules and passes. */
fgsm_status fg_unary(struct fg_graph *g, enum fg_unary_kind kind, double alpha, double beta,
                     fg_id x, fg_id *out) FGSM_MUST_USE;
fgsm_status fg_binary(struct fg_graph *g, enum fg_binary_kind kind, fg_id a, fg_id b,
                      fg_id *out) FGSM_MUST_USE;
fgsm_status fg_reshape(struct fg_graph *g, fg_id x, int rank, const int64_t *dim,
                       fg_id *out) FGSM_MUST_USE;
fgsm_status fg_expand(struct fg_graph *g, fg_id x, int rank, const int64_t *dim,
                      fg_id *out) FGSM_MUST_USE;
fgsm_status fg_transpose(struct fg_graph *g, fg_id x, const int *perm, fg_id *out) FGSM_MUST_USE;
fgsm_status fg_reduce(struct fg_graph *g, enum fg_reduce_kind kind, fg_id x, uint32_t axes,
                      bool keep, fg_id *out) FGSM_MUST_USE;
fgsm_status fg_matmul(struct fg_graph *g, fg_id a, fg_id b, bool trans_a, bool trans_b,
                      double alpha, fg_id *out) FGSM_MUST_USE;
fgsm_status fg_cast(struct fg_graph *g, fg_id x, enum fg_type type, double divisor,
                    fg_id *out) FGSM_MUST_USE;
/* Sums a value over the axes along which `like` was broadcast to reach it: its shape becomes
 * like's. */
fgsm_status fg_sum_to(struct fg_graph *g, fg_id x, fg_id like, fg_id *out) FGSM_MUST_USE;

/* Nodes appended from here on come from a file's node, until fg_source_end is given what was in
 * *outer. Within another source its name begins with that one's (a function's body). */
fgsm_status fg_source_begin(struct fg_graph *g, const char *op, const char *name,
                            struct fg_provenance *outer) FGSM_MUST_USE;
void fg_source_end(struct fg_graph *g, struct fg_provenance outer);

/* Makes a value an output: it survives every pass. Index in *slot if not NULL. */
fgsm_status fg_graph_output(struct fg_graph *g, fg_id value, int *slot) FGSM_MUST_USE;

/* ---- looking */
static inline struct fg_value *fg_value(const struct fg_graph *g, fg_id id) {
  return &g->values[id];
}
int64_t fg_value_count(const struct fg_graph *g, fg_id id);
size_t fg_value_bytes(const struct fg_graph *g, fg_id id);
bool fg_value_is_constant(const struct fg_graph *g, fg_id id);
/* Element i of an array, or of a constant, as a double or (integers exactly) as an int64. */
double fg_element_real(enum fg_type type, const void *data, int64_t i);
double fg_constant_real(const struct fg_graph *g, fg_id id, int64_t i);
int64_t fg_constant_int(const struct fg_graph *g, fg_id id, int64_t i);
/* The tensor (without data unless constant) that a value is; an absent one for FG_ABSENT. */
struct fg_tensor fg_value_tensor(const struct fg_graph *g, fg_id id);
/* The call that a node is, without buffers. */
void fg_node_call(const struct fg_graph *g, const struct fg_node *node, struct fg_call *call);
/* Floating-point operations of one run; bytes of the tensors that it reads (each once) and writes. */
double fg_node_flops(const struct fg_graph *g, const struct fg_node *node);
double fg_node_read_bytes(const struct fg_graph *g, const struct fg_node *node);
double fg_node_written_bytes(const struct fg_graph *g, const struct fg_node *node);
/* The items of a list. */
const fg_id *fg_lists_at(const struct fg_lists *lists, fg_id list, int64_t *n);
/* What the node does, in a word: "conv", "relu", "conv+residual+relu", "reduce_mean". */
void fg_node_what(const struct fg_node *node, char *text, size_t size);
bool fg_node_has_activation(const struct fg_node *node); /* fused into it */
bool fg_node_has_residual(const struct fg_node *node);
/* "conv 'layer1.0.conv1' f32[64,16,32,32]": for messages. */
void fg_node_text(const struct fg_graph *g, const struct fg_node *node, char *text, size_t size);
fgsm_status fg_graph_print(const struct fg_graph *g, struct fg_text *text) FGSM_MUST_USE;

/* ---- changing */

void fg_node_kill(struct fg_graph *g, struct fg_node *node);
/* Removes dead nodes and those that no output needs, and restores topological order. Ids of values
 * stay. */
fgsm_status fg_graph_compact(struct fg_graph *g) FGSM_MUST_USE;

/* ---- passes */

/* Recognises operators that the model's exporter took apart (see recognise.c for which), where the
 * device has kernels for them. */
fgsm_status fg_recognise(struct fg_graph *g, struct fg_device *device) FGSM_MUST_USE;

/* Folds normalisation and affine steps into their neighbours (see fold.c for the rules). */
fgsm_status fg_fold(struct fg_graph *g) FGSM_MUST_USE;

/* Appends the gradient. seeds[i] is the gradient of the objective with respect to `of[i]`.
 * grads[j] becomes the gradient with respect to wrt[j] (FG_ABSENT where nothing depends on it). */
fgsm_status fg_grad(struct fg_graph *g, int n_of, const fg_id *of, const fg_id *seeds, int n_wrt,
                    const fg_id *wrt, fg_id *grads) FGSM_MUST_USE;

/* Fuses what `device`'s backend has kernels for. */
fgsm_status fg_fuse(struct fg_graph *g, struct fg_device *device) FGSM_MUST_USE;

/* After fg_fuse: makes the graph's mlp_fgsm take `steps` steps, or look for the least budget with so
 * many halvings. *done is false, and the graph as it was, where there is none or the backend
 * declines. */
fgsm_status fg_fuse_steps(struct fg_graph *g, struct fg_device *device, int steps, bool search,
                          bool *done) FGSM_MUST_USE;

/* Where the device's precision is bf16 or fp16: inserts casts, and makes values that its backend takes
 * so half precision. Inputs and outputs of the graph stay as they are. */
fgsm_status fg_halve(struct fg_graph *g, struct fg_device *device) FGSM_MUST_USE;

/* Inserts reorders, and marks values that are to lie in the device's layout. */
fgsm_status fg_layout(struct fg_graph *g, struct fg_device *device) FGSM_MUST_USE;

/* Has the slopes of ReLUs taken from masks, where the device gains by it: the last pass before the plan. */
fgsm_status fg_mask(struct fg_graph *g, struct fg_device *device) FGSM_MUST_USE;

/* If the last step to `value` is a softmax or log-softmax over the class axis, *logits is its
 * argument and *found true; else value itself. */
void fg_find_logits(const struct fg_graph *g, fg_id value, fg_id *logits, bool *found);

/* ---- plan: the graph laid out in one block of memory */

struct fg_plan;

struct fg_plan_info {
  size_t arena_bytes;    /* activations, gradients and scratch, by liveness  */
  size_t constant_bytes; /* weights on the device                            */
  size_t state_bytes;    /* weights that kernels hold once more, in their own order */
  size_t unshared_bytes; /* what the temporaries would take without liveness */
  int n_calls;
  int n_fast; /* calls of an algorithm that rounds otherwise than plain sums (fg_call.fast) */
  double flops;
};

/* What a plan of the graph would take, as far as it is known before kernels are asked: all but
 * scratch, state and FLOPs. The graph is compacted. */
fgsm_status fg_plan_size(struct fg_graph *graph, struct fg_plan_info *out) FGSM_MUST_USE;

/* Prepares every node for the device. The graph is taken over as it is (its passes done) and kept
 * until the plan is destroyed. An operator without a kernel is an error that names the node, unless
 * `allow_ref` (then it runs in fg_ref on host memory, and that is logged). */
fgsm_status fg_plan_create(struct fg_graph *graph, struct fg_device *device, bool allow_ref,
                           struct fg_plan **out) FGSM_MUST_USE;
void fg_plan_destroy(struct fg_plan *plan); /* and its graph */
const struct fg_plan_info *fg_plan_info(const struct fg_plan *plan);
const struct fg_graph *fg_plan_graph(const struct fg_plan *plan);

/* Binds an input, parameter or output to device memory (64-byte aligned). Every input must be bound
 * before a run. An output that is not bound lies in the arena: fg_plan_data. */
fgsm_status fg_plan_bind(struct fg_plan *plan, fg_id value, void *memory) FGSM_MUST_USE;
void *fg_plan_data(const struct fg_plan *plan, fg_id value);

/* Gives the plan its memory: arena_bytes of device memory that may be shared with plans that do not
 * run at the same time. NULL: it allocates its own. */
fgsm_status fg_plan_place(struct fg_plan *plan, void *arena) FGSM_MUST_USE;

/* Runs every call in order on the stream and may return before it is done. Allocates nothing; on a
 * stream of a backend that offers it, later runs are recorded, once per set of bound addresses, and
 * replayed. */
fgsm_status fg_plan_run(struct fg_plan *plan, void *stream) FGSM_MUST_USE;

/* The calls alone, never recorded here: for who records several plans as one piece. */
fgsm_status fg_plan_issue(struct fg_plan *plan, void *stream) FGSM_MUST_USE;

/* Puts work on a stream. */
typedef fgsm_status (*fg_issue_fn)(void *ctx, void *stream);
/* Records what `issue` puts on the stream, for the backend's replay: on a stream of a backend that
 * offers it. FGSM_UNSUPPORTED where some of it cannot be recorded; the stream is well then. */
fgsm_status fg_record(struct fg_device *device, void *stream, fg_issue_fn issue, void *ctx,
                      void **recording) FGSM_MUST_USE;

/* fg_plan_run for measuring: waits for every call, and writes how long it took into seconds[call]. */
fgsm_status fg_plan_run_timed(struct fg_plan *plan, void *stream, double *seconds) FGSM_MUST_USE;

/* A call of a plan: what it does, and what lies in the arena while it runs. */
struct fg_plan_call {
  fg_id node; /* of the plan's graph */
  double flops, read_bytes, written_bytes;
  size_t alive_bytes; /* temporaries that are needed now or later, its own included */
  size_t scratch_bytes;
};
/* Fills in the plan's n_calls calls, in the order of running. */
fgsm_status fg_plan_calls(const struct fg_plan *plan, struct fg_plan_call *calls) FGSM_MUST_USE;

#endif
