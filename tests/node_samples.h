/* ONNX's backend node tests: folders with a model of one operator, inputs and what they must give.
 * Two collections are known: Debian's libonnx-testdata and a newer one (onnx_suite.h). */
#ifndef NODE_SAMPLES_H
#define NODE_SAMPLES_H

#include "onnx.h"

enum { NODE_PORTS = 16, NODE_FOLDERS = 4096 };

struct node_tensor {
  enum fg_type type;
  int rank;
  int64_t dim[FG_MAX_RANK], n;
  void *data;
  bool fixed; /* sizes that are written as floats: constants in models */
};

struct node_sample {
  const char *name; /* the folder's, without "test_" */
  struct fg_onnx *onnx;
  int n_in, n_out;
  struct node_tensor in[NODE_PORTS], want[NODE_PORTS];
};

/* A plan with its inputs in device memory. */
struct node_runner {
  struct fg_device *device;
  struct fg_plan *plan;
  fg_id inputs[NODE_PORTS];
  void *memory[NODE_PORTS];   /* NULL where the input is no input of the plan */
  double *values[NODE_PORTS]; /* of float inputs */
};

/* Whether the newer collection is looked at. node_suite_is_there turns to it where it is at hand;
 * node_suite_enter skips the test where it is not. */
bool node_suite_is_newer(void);
bool node_suite_is_there(void);
void node_suite_enter(void);
void node_suite_leave(void);

/* All folders' names in order (free()), without "test_"; skips the test where there are none. */
int node_folders(char *names[NODE_FOLDERS]);

/* Why the folder is left out on a backend of that real type, NULL if it is not. */
const char *node_skip_reason(const char *name, enum fg_type real);
/* The i-th row of the table of skips, false past its end. */
bool node_skip_row(int i, const char **pattern, const char **reason);

fgsm_status node_open(const char *name, struct node_sample *s) FGSM_MUST_USE;
void node_close(struct node_sample *s);

/* Whether input i is given as data: integers (shapes, axes, indices) and scalars (bounds, rates)
 * are constants, as models have them. */
bool node_is_data(const struct node_sample *s, int i);

/* The sample's graph and its values; *g is to be destroyed whatever the result. */
fgsm_status node_build(const struct node_sample *s, enum fg_type real, struct fg_graph **g,
                       fg_id *inputs, fg_id *outputs) FGSM_MUST_USE;

/* Runs the passes and plans g, which it takes over. Ended with node_stop. */
fgsm_status node_start(struct node_runner *r, const struct node_sample *s,
                       struct fg_graph *g) FGSM_MUST_USE;
void node_stop(struct node_runner *r);
/* Uploads input i from r->values[i]. */
fgsm_status node_upload(const struct node_runner *r, const struct node_sample *s,
                        int i) FGSM_MUST_USE;
/* Output `slot` as doubles (free()); its value in *v. */
fgsm_status node_fetch(const struct node_runner *r, const struct node_sample *s, int slot,
                       struct fg_value *v, double **out) FGSM_MUST_USE;

#endif
