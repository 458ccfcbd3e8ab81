/* The fake cuDNN's inside: graphs as programs that are run on the host, and the script of its engines. */
#ifndef FAKE_DNN_H
#define FAKE_DNN_H

#include <stdbool.h>
#include <stdint.h>

#include <cudnn_graph.h>

enum { FAKE_MOST_OPS = 16, FAKE_MOST_RANK = 5, FAKE_MOST_PARTS = 8 };

/* The tensors of what is an operator by itself: of layer normalisation those that both directions have, then
 * those of either; of attention. */
enum {
  FAKE_NORM_X,
  FAKE_NORM_SCALE,
  FAKE_NORM_MEAN,
  FAKE_NORM_RSTD,
  FAKE_NORM_BIAS,
  FAKE_NORM_EPSILON,
  FAKE_NORM_DY = FAKE_NORM_BIAS,
  FAKE_NORM_DSCALE,
  FAKE_NORM_DBIAS,
  FAKE_NORM_Y, /* or dx */
  FAKE_NORM_PARTS
};
enum { FAKE_Q, FAKE_K, FAKE_V, FAKE_FACTOR, FAKE_ATTENDED, FAKE_LSE, FAKE_SDPA_PARTS };

struct fake_tensor {
  int64_t uid, dim[FAKE_MOST_RANK], stride[FAKE_MOST_RANK];
  int32_t type, rank; /* a cudnnDataType_t */
  int32_t is_virtual, by_value;
};

/* A convolution of x, w and y, of which the kind is computed; y = mode(x, b), b there or not; a product y = x b;
 * x summed to y, or read as y's strides say; or what is computed of more parts. */
struct fake_op {
  int32_t kind; /* a cudnnBackendDescriptorType_t */
  int32_t mode; /* a cudnnPointwiseMode_t, cudnnReduceTensorOp_t or cudnnBackendNormFwdPhase_t */
  int32_t has_b, spatial;
  struct fake_tensor x, b,
      y; /* of a convolution b is w; of an activation's gradient x is what the slope is of */
  int64_t lo[3], hi[3], stride[3], dilation[3];
  double lower, upper, slope;
  int64_t parts; /* bit i: part i is there */
  struct fake_tensor part[FAKE_MOST_PARTS];
};

/* No pointers, so that a plan is written down as its bytes. */
struct fake_program {
  int32_t n_ops, engine, configuration, padding;
  struct fake_op op[FAKE_MOST_OPS];
};

/* Runs it on addresses by uid; false, having said so, where it makes no sense. */
bool fake_program_run(const struct fake_program *program, int64_t n, const int64_t *uid,
                      void *const *address);

/* An engine of the script. All but those that must not be taken are `slowness` times as slow as the
 * graph says. */
struct fake_engine {
  int64_t index;
  int configuration;
  unsigned notes; /* numerical */
  bool compiles, plan_fails, run_fails;
  int64_t workspace;
  double slowness;
};

/* What a test may script, and what it may count. */
struct fake_dnn {
  size_t version;
  double (*time_of)(const struct fake_program *program); /* NULL: by turns, by the graph's looks */
  bool (*refuses)(const struct fake_program *program);   /* a graph; NULL: some that fuse */
  bool no_engine;                                        /* takes any graph */
  bool (*loses)(const struct fake_program *program);     /* the card, when that runs */
  int asked, planned, loaded, runs; /* heuristics, plans made, from text, runs out of trials */
  struct fake_program ran;          /* the last */
};
extern struct fake_dnn fake_dnn;

#endif
