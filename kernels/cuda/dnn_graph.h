/* cuDNN's graph API with the ceremony taken out: a graph of operations is written down call after
 * call, its first failure sticks, and what can compute it is listed. Nothing here needs a card: with
 * a description of one in place of a handle, engines are listed and plans built all the same.
 *
 * What the API does not say by itself:
 * - dims are N, C, spatial whatever the strides say; so is everything here.
 * - A virtual tensor (uid FG_VIRTUAL) is what one operation hands to the next; it is never stored.
 * - NHWC is a matter of strides, of the weights' too.
 * - What is fused behind a backward convolution is compiled at run time, in NHWC alone; such engines are
 *   not listed where there is no libcuda.so.1.
 * - Groups are not said anywhere: they follow from x's channels against the weights'.
 * - Residual before bias before activation is the order that the precompiled engines know; another
 *   order is left to the few that are compiled at run time.
 * - No engine writes float32 of a backward convolution of half precision in NCHW, with a copy or without.
 * - A comparison is computed in float32, whatever it writes: in BOOLEAN no engine takes it.
 * - Nothing may be fused in front of a backward convolution, on any card; only behind it. */
#ifndef FG_DNN_GRAPH_H
#define FG_DNN_GRAPH_H

#include "call.h"
#include "libraries.h"

typedef cudnnBackendDescriptor_t fg_cudnn;

enum { FG_CUDNN_OPS = 16, FG_CUDNN_OBJECTS = 64, FG_VIRTUAL = -1 };

struct fg_cudnn_graph {
  fg_cudnn made[FG_CUDNN_OBJECTS]; /* everything, in the order of being made */
  int n_made;
  fg_cudnn ops[FG_CUDNN_OPS];
  int n_ops;
  fg_cudnn graph; /* once finished */
  fgsm_status status;
};

/* What a graph is for: a card (its handle), or the description of one. */
struct fg_cudnn_target {
  cudnnHandle_t handle;
  fg_cudnn properties;
};

/* FGSM_UNSUPPORTED where cuDNN takes the graph or description for impossible. */
fgsm_status fg_cudnn_properties(const char *json, fg_cudnn *out) FGSM_MUST_USE;
void fg_cudnn_destroy(fg_cudnn object); /* takes NULL */

/* ---- writing a graph down. After a failure everything is NULL and a no-op until finish says why. */
void fg_cudnn_begin(struct fg_cudnn_graph *g);
/* A tensor of F32, F16, BF16 or BOOL, contiguous, with rank dims; uid: what the data is bound by. What is
 * virtual should be F32, whatever is stored: it is what the sums are. */
fg_cudnn fg_cudnn_tensor(struct fg_cudnn_graph *g, enum fg_type type, int rank, const int64_t *dim,
                         int64_t uid);
/* A call's tensor as it lies: FG_PLAIN or FG_NHWC. */
fg_cudnn fg_cudnn_tensor_of(struct fg_cudnn_graph *g, const struct fg_tensor *t, int64_t uid);

enum fg_cudnn_conv { FG_CUDNN_FORWARD, FG_CUDNN_INPUT, FG_CUDNN_WEIGHT };
/* Of x, w, y the one that the kind computes is written. */
void fg_cudnn_conv(struct fg_cudnn_graph *g, enum fg_cudnn_conv kind,
                   const struct fg_conv_attrs *attrs, fg_cudnn x, fg_cudnn w, fg_cudnn y);
void fg_cudnn_add(struct fg_cudnn_graph *g, fg_cudnn a, fg_cudnn b, fg_cudnn y);
/* y = a b, b a BOOL or not. */
void fg_cudnn_mul(struct fg_cudnn_graph *g, fg_cudnn a, fg_cudnn b, fg_cudnn y);
/* y = x > a float of the host's, a BOOL. */
void fg_cudnn_exceeds(struct fg_cudnn_graph *g, fg_cudnn x, int rank, int64_t than_uid, fg_cudnn y);
/* A float of the host's, bound by its address, of as many dims as tensors have. */
fg_cudnn fg_cudnn_number(struct fg_cudnn_graph *g, int rank, int64_t uid);
/* Whether the activation can be said to cuDNN; y = act(x). */
bool fg_cudnn_has_activation(const struct fg_unary_attrs *act);
void fg_cudnn_activation(struct fg_cudnn_graph *g, const struct fg_unary_attrs *act, fg_cudnn x,
                         fg_cudnn y);
/* Whether the activation's gradient can be; dx = act'(v) dy, v being what unary_grad takes it from. */
bool fg_cudnn_has_slope(const struct fg_unary_attrs *act);
void fg_cudnn_slope(struct fg_cudnn_graph *g, const struct fg_unary_attrs *act, fg_cudnn v,
                    fg_cudnn dy, fg_cudnn dx);
/* For what has no words of its own here: an object, an attribute of it, its end, and with it, of an
 * operation, its place in the graph. */
fg_cudnn fg_cudnn_object(struct fg_cudnn_graph *g, cudnnBackendDescriptorType_t type);
void fg_cudnn_set(struct fg_cudnn_graph *g, fg_cudnn object, cudnnBackendAttributeName_t name,
                  cudnnBackendAttributeType_t type, int64_t n, const void *values);
void fg_cudnn_ready(struct fg_cudnn_graph *g, fg_cudnn object);
void fg_cudnn_operation(struct fg_cudnn_graph *g, fg_cudnn op);
fgsm_status fg_cudnn_finish(struct fg_cudnn_graph *g,
                            const struct fg_cudnn_target *target) FGSM_MUST_USE;
void fg_cudnn_graph_destroy(struct fg_cudnn_graph *g);

/* ---- what can compute it */

struct fg_cudnn_engine {
  fg_cudnn config;
  int64_t index;  /* cuDNN's number of the engine  */
  unsigned notes; /* bit n: numerical note n holds */
  bool compiles;  /* at run time: seconds          */
};
enum { FG_CUDNN_ENGINES = 64 };
struct fg_cudnn_engines {
  struct fg_cudnn_engine item[FG_CUDNN_ENGINES];
  int n;
};

/* Numerical notes that no engine of the precision may have. Runs must repeat bit for bit, so atomic
 * sums are out in every one; in fp32 so are tensor cores, which round float32 to TF32, and the wide
 * transforms, whose sums lose digits; in bf16 and fp16 sums in less than float32. */
unsigned fg_cudnn_forbidden(enum fg_precision precision);
/* Engines without forbidden notes: what the heuristic would choose from, its fallbacks, and those
 * that it is known not to mention. */
fgsm_status fg_cudnn_list(const struct fg_cudnn_graph *g, const struct fg_cudnn_target *target,
                          unsigned forbidden, struct fg_cudnn_engines *out) FGSM_MUST_USE;
/* Its parts, which add to *out: what a heuristic names first, so many configurations at most, because
 * cuDNN works each of them out; and an engine by its number. */
void fg_cudnn_ask(const struct fg_cudnn_graph *g, const struct fg_cudnn_target *target,
                  cudnnBackendHeurMode_t mode, int most, unsigned forbidden,
                  struct fg_cudnn_engines *out);
void fg_cudnn_ask_for(const struct fg_cudnn_graph *g, const struct fg_cudnn_target *target,
                      int64_t index, unsigned forbidden, struct fg_cudnn_engines *out);
void fg_cudnn_engines_free(struct fg_cudnn_engines *engines);
/* FGSM_UNSUPPORTED where the engine cannot after all. */
fgsm_status fg_cudnn_plan(const struct fg_cudnn_engine *engine,
                          const struct fg_cudnn_target *target, fg_cudnn *plan,
                          size_t *workspace_bytes) FGSM_MUST_USE;

/* A plan as text (malloc'ed), which holds its compiled code, and back. */
fgsm_status fg_cudnn_plan_save(fg_cudnn plan, char **json) FGSM_MUST_USE;
fgsm_status fg_cudnn_plan_load(const char *json, const struct fg_cudnn_target *target,
                               fg_cudnn *plan, size_t *workspace_bytes) FGSM_MUST_USE;

#endif
