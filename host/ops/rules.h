/* What the operators' rules and importers share beyond op.h and import.h: looking at a node's
 * inputs, checking them, filling results, windows, and appending single nodes. A rule never trusts
 * a node: its attributes and shapes may come from a stranger's model. */
#ifndef FG_RULES_H
#define FG_RULES_H

#include "import.h"
#include "op.h"

#define OP(name, max_in, n_out, trait) extern const struct fg_op_def fg_def_##name;
#include "ops.def"
#undef OP

#define ONNX(name) fgsm_status fg_import_##name(struct fg_import *im) FGSM_MUST_USE;
#define ONNX_ML ONNX
#define CONTRIB(name) fgsm_status fg_import_contrib_##name(struct fg_import *im) FGSM_MUST_USE;
#include "contrib_ops.def"
#include "onnx_ops.def"
#undef CONTRIB
#undef ONNX_ML
#undef ONNX

/* ---- infer rules */

/* The value that is input i, NULL if the node leaves it out. */
const struct fg_value *fg_rule_input(const struct fg_graph *g, const struct fg_node *node, int i);

/* Inputs 0 .. least-1 are there, and there are no more than `most`. */
fgsm_status fg_rule_inputs(const struct fg_graph *g, const struct fg_node *node, int least,
                           int most) FGSM_MUST_USE;

/* The inputs in the bit mask, where present, are of one float type, which is input 0's unless that
 * is not in the mask. */
fgsm_status fg_rule_reals(const struct fg_graph *g, const struct fg_node *node,
                          uint32_t mask) FGSM_MUST_USE;

/* Fills a result. Refuses ranks, dims and counts that cannot be held, and float values without
 * elements (integers may be empty: exporters compute with empty shapes). */
fgsm_status fg_rule_output(struct fg_value *out, enum fg_type type, int rank,
                           const int64_t *dim) FGSM_MUST_USE;

/* v, where not NULL, is a vector of n elements. `what` names it. */
fgsm_status fg_rule_vector(const struct fg_value *v, int64_t n, const char *what) FGSM_MUST_USE;

/* a and b, neither NULL, have the same shape. */
fgsm_status fg_rule_same_shape(const struct fg_value *a, const struct fg_value *b,
                               const char *what) FGSM_MUST_USE;

fgsm_status fg_rule_unary(const struct fg_unary_attrs *a) FGSM_MUST_USE;

/* The index is of I64 or I32, and, where it is constant, in range of an axis of n (negative counts
 * from the end). A computed one cannot be seen here: kernels look. */
fgsm_status fg_rule_index(const struct fg_graph *g, fg_id index, int64_t n) FGSM_MUST_USE;

/* c of a linear loss over so many classes, of z's type; absent for every other loss. */
fgsm_status fg_rule_functional(enum fg_loss_kind kind, const struct fg_value *c,
                               const struct fg_value *z, int64_t classes) FGSM_MUST_USE;

/* What step and its fusions share: attributes; eps_map and mask (NULL: absent) have a sample's
 * shape; params are there. */
fgsm_status fg_rule_step(const struct fg_step_attrs *a, const struct fg_value *x0,
                         const struct fg_value *eps_map, const struct fg_value *mask,
                         const struct fg_value *params) FGSM_MUST_USE;

/* max_pool_grad: dy and index are those of a pool over a value of shape a->dim. */
fgsm_status fg_rule_pool_grad(const struct fg_pool_attrs *a, const struct fg_value *dy,
                              const struct fg_value *index) FGSM_MUST_USE;

/* Reals of a fused layer gradient and step: dy, w, x0, x of one type, or dy and w in BF16. */
fgsm_status fg_rule_grad_step_reals(const struct fg_graph *g,
                                    const struct fg_node *node) FGSM_MUST_USE;

/* fg_shape_text with a buffer of its own, for the length of the full expression. */
#define FG_SHAPE(v) fg_shape_text((v)->rank, (v)->dim, (char[160]){0}, 160)

/* ---- gradient rules */

/* Appends a node and hands out its first result. */
fgsm_status fg_rule_append(struct fg_graph *g, enum fg_op op, const union fg_attrs *attrs, int n_in,
                           const fg_id *in, fg_id *out) FGSM_MUST_USE;

/* x from `from` on along the axis, n places. */
fgsm_status fg_rule_cut(struct fg_graph *g, fg_id x, int axis, int64_t from, int64_t n,
                        fg_id *out) FGSM_MUST_USE;

/* Joins n values along the axis, with as many concats (under that name) as that takes; `ids` is
 * used up. */
fgsm_status fg_rule_join(struct fg_graph *g, const char *name, int axis, int64_t n, fg_id *ids,
                         fg_id *out) FGSM_MUST_USE;

/* c ? a : b */
fgsm_status fg_rule_choose(struct fg_graph *g, fg_id c, fg_id a, fg_id b, fg_id *out) FGSM_MUST_USE;

/* FGSM_UNSUPPORTED where a fused activation or a residual would have to be differentiated:
 * gradients are taken before fusion. */
fgsm_status fg_rule_plain(const struct fg_unary_attrs *act) FGSM_MUST_USE;

/* ---- windows of convolutions and pools (spatial axis i of 0 .. 2) */

/* Whether window, stride and dilation are at least 1, padding at least 0, and none absurd. */
fgsm_status fg_window_check(int64_t window, int64_t stride, int64_t dilation, int64_t lo,
                            int64_t hi) FGSM_MUST_USE;

/* How many places the window takes along an axis; refuses a window that does not fit. */
fgsm_status fg_window_places(int64_t in, int64_t window, int64_t stride, int64_t dilation,
                             int64_t lo, int64_t hi, int64_t *places) FGSM_MUST_USE;

/* ---- importers */

/* Appends a node under the model's name for it and hands out its first result. */
fgsm_status fg_import_append(struct fg_import *im, enum fg_op op, const union fg_attrs *attrs,
                             int n_in, const fg_id *in, fg_id *out) FGSM_MUST_USE;

/* Outputs from `from` on are not computed here; the reader refuses whoever uses them. */
void fg_import_omit(struct fg_import *im, int from);

/* Input i as an id, FG_ABSENT where the model leaves it out. */
fg_id fg_import_optional(const struct fg_import *im, int i);

/* The axes of a reduction, Squeeze, ...: from input `slot` if that is there, else from attribute
 * "axes"; normalised against rank, repeated ones refused. *n is -1 where neither is there. */
fgsm_status fg_import_axes(const struct fg_import *im, int slot, int rank, int *axes,
                           int *n) FGSM_MUST_USE;

/* An I64 vector as a constant. */
fgsm_status fg_import_ints(struct fg_graph *g, int n, const int64_t *data,
                           fg_id *out) FGSM_MUST_USE;

/* The numbers 0, step, 2 step, ... as a constant of I64, n of them along `axis` of `rank` axes that
 * are 1 otherwise. */
fgsm_status fg_import_steps(struct fg_graph *g, int64_t n, int64_t step, int rank, int axis,
                            fg_id *out) FGSM_MUST_USE;

/* Element `index` (of any rank) of each line of x along `axis`: ONNX's GatherElements. */
fgsm_status fg_import_take(struct fg_import *im, fg_id x, fg_id index, int axis,
                           fg_id *out) FGSM_MUST_USE;

/* y[..., i, ...] = x[..., from[i], ...], n of them along `axis`. */
fgsm_status fg_import_pick(struct fg_import *im, fg_id x, int axis, int64_t n, const int64_t *from,
                           fg_id *out) FGSM_MUST_USE;

/* x sigmoid(alpha x) */
fgsm_status fg_import_swish(struct fg_graph *g, double alpha, fg_id x, fg_id *out) FGSM_MUST_USE;

/* A scalar of the given type. */
fgsm_status fg_import_scalar(struct fg_graph *g, enum fg_type type, double value,
                             fg_id *out) FGSM_MUST_USE;

/* The type that ONNX's TensorProto.DataType number becomes: floats become the graph's. */
fgsm_status fg_import_type(const struct fg_graph *g, int64_t number,
                           enum fg_type *out) FGSM_MUST_USE;

/* kernel_shape, strides, dilations, pads and auto_pad of a convolution or pool over `spatial` axes
 * of sizes `in`. `window` is the weight's, or NULL where kernel_shape must say it. With ceil_mode,
 * hi grows until the last, partial window fits; `extra` is by how much. */
struct fg_window {
  int64_t window[3], stride[3], dilation[3], lo[3], hi[3], extra[3];
};
fgsm_status fg_import_window(const struct fg_import *im, int spatial, const int64_t *window,
                             const int64_t *in, struct fg_window *out) FGSM_MUST_USE;

/* The same for a transposed convolution: padding as written, none where it is automatic, and
 * nothing said of whether the window fits. */
fgsm_status fg_import_strides(const struct fg_import *im, int spatial, const int64_t *window,
                              const int64_t *in, struct fg_window *out) FGSM_MUST_USE;

/* max_pool's index of a pool over two axes of x (four dims) as ONNX's positions in the whole of x,
 * its rows first in memory or its columns. */
fgsm_status fg_import_pool_positions(struct fg_graph *g, const struct fg_pool_attrs *a,
                                     const int64_t *x, bool columns_first, fg_id index,
                                     fg_id *out) FGSM_MUST_USE;

/* [N, C, L] -> [N, C, 1, L] and back, for operators that are 2-D here. */
fgsm_status fg_import_to_2d(struct fg_graph *g, fg_id x, fg_id *out) FGSM_MUST_USE;
fgsm_status fg_import_to_1d(struct fg_graph *g, fg_id x, fg_id *out) FGSM_MUST_USE;

#endif
