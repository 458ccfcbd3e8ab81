/* A whole net with its input gradient, planned for one backend: what golden and model tests share.
 */
#ifndef TEST_NET_H
#define TEST_NET_H

#include "graph.h"
#include "onnx.h"

enum { NET_MOST_INPUTS = 4 };

struct net {
  struct fg_onnx *onnx;
  struct fg_device *device;
  struct fg_plan *plan;
  int n_inputs;
  fg_id x[NET_MOST_INPUTS], grad[NET_MOST_INPUTS], labels, logits, loss, prediction;
  int64_t batch, classes;
  bool softmax_stripped;
};

struct net_options {
  bool keep_softmax;           /* objective at the output as it is, not at the logits     */
  bool never_zero;             /* the attack's cross-entropy slope rather than PyTorch's  */
  bool no_fuse;                /* skip recognise, fuse and layout                              */
  bool plain;                  /* skip layout                                             */
  enum fg_precision precision; /* of the device */
  enum fg_convolutions convolutions;
  int output; /* which of the model's holds the logits                   */
};

/* Builds forward, cross-entropy and the gradient with respect to every input. */
fgsm_status net_open(const char *path, const struct fg_backend *backend, int64_t batch,
                     const struct net_options *options, struct net *net);
/* x[i]: doubles of the input's shape (converted to the backend's type); labels: batch classes, or
 * NULL for a forward pass whose gradient means nothing. */
fgsm_status net_run(struct net *net, const double *const *x, const int64_t *labels);
/* A value's contents as doubles: malloc'ed, *n elements; NULL if it could not be brought. */
double *net_read(const struct net *net, fg_id value, int64_t *n);
void net_close(struct net *net);

/* The folder of real data and models (FGSM_TEST_DATA or ../shared/data beside the sources), or
 * NULL, after printing that `what` is skipped. */
const char *test_data(const char *what);
/* The folder tests/golden, or FGSM_TEST_GOLDEN. */
const char *golden_dir(void);

#endif
