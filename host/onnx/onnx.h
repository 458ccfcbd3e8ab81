/* ONNX files: bytes -> graph, graph -> bytes. Hostile input is assumed: nesting, counts and sizes
 * are checked on the raw bytes before protobuf-c sees them. */
#ifndef FG_ONNX_H
#define FG_ONNX_H

#include "graph.h"

struct fg_onnx; /* a parsed file; immutable but for the number of its users */

/* Tensors may lie in other files in the model's folder (external data); those are mapped. */
fgsm_status fg_onnx_open(const char *path, struct fg_onnx **out) FGSM_MUST_USE;
/* The same, for files that take at most `most` bytes when they are read; FGSM_UNSUPPORTED. */
fgsm_status fg_onnx_open_within(const char *path, size_t most, struct fg_onnx **out) FGSM_MUST_USE;
size_t fg_onnx_bytes(const struct fg_onnx *onnx); /* that it takes, mapped files apart */
fgsm_status fg_onnx_parse(const void *bytes, size_t n, const char *name,
                          struct fg_onnx **out) FGSM_MUST_USE;
/* One more user of it, who closes it too: it is there until the last has. */
struct fg_onnx *fg_onnx_keep(const struct fg_onnx *onnx);
void fg_onnx_close(struct fg_onnx *onnx); /* or NULL */

/* An input that is not an initializer. A dim is -1 where the file leaves it open. */
struct fg_onnx_port {
  const char *name;
  enum fg_type type;
  int rank; /* -1: unknown */
  int64_t dim[FG_MAX_RANK];
};
int fg_onnx_n_inputs(const struct fg_onnx *onnx);
const struct fg_onnx_port *fg_onnx_input(const struct fg_onnx *onnx, int i);
int fg_onnx_n_outputs(const struct fg_onnx *onnx);
const struct fg_onnx_port *fg_onnx_output(const struct fg_onnx *onnx, int i);
const char *fg_onnx_sha256(const struct fg_onnx *onnx); /* of the model file's bytes, hex */

/* A file beside the model that holds tensors of it: what sha256 does not cover. In the order in
 * which the model first names them. */
struct fg_onnx_data_file {
  const char *location; /* as the model says it, relative to its folder */
  int64_t bytes;
  char sha256[65]; /* of the whole file, when it was mapped */
};
int fg_onnx_n_data_files(const struct fg_onnx *onnx);
const struct fg_onnx_data_file *fg_onnx_data_file(const struct fg_onnx *onnx, int i);

int64_t fg_onnx_opset(const struct fg_onnx *onnx);
const char *fg_onnx_producer(const struct fg_onnx *onnx); /* "pytorch 2.9.0", "" if unsaid */

/* What an importer could not take, one per node: fgsm inspect shows them all. */
struct fg_onnx_problem {
  char text[512]; /* "Conv 'c1' (opset 13): reason; what to do" */
};
struct fg_onnx_problems {
  struct fg_onnx_problem *items; /* free() */
  int64_t n, capacity;
};

/* Appends the model to `g`, what its outputs need of it. A graph that borrows reads the model's weights
 * where they lie, so the model is kept for as long. `in` (n_inputs values of g that stand for
 * the model's inputs; shape and type must suit the file) or, where `in` is NULL, new inputs: an
 * open batch dimension (the first of each) becomes `batch`; where the file fixes the batch, another
 * `batch` is FGSM_USAGE; other open dimensions are FGSM_UNSUPPORTED. Floats have g's real type.
 * `inputs` and `outputs` (either may be NULL) receive n_inputs and n_outputs ids. `trainable`:
 * float initializers of rank 1 and above become parameters, named as in the file, except
 * BatchNormalization's statistics.
 * With `problems` not NULL it goes on after a node that it cannot take (values behind it stay
 * absent, nodes that depend on them are skipped), lists all such nodes, and returns
 * FGSM_UNSUPPORTED or FGSM_MODEL at the end. */
fgsm_status fg_onnx_build(const struct fg_onnx *onnx, struct fg_graph *g, int64_t batch,
                          bool trainable, const fg_id *in, fg_id *inputs, fg_id *outputs,
                          struct fg_onnx_problems *problems) FGSM_MUST_USE;

/* Appends what output `which` alone needs of the model. in: n_inputs values, FG_ABSENT for an input
 * that is not given (FGSM_USAGE if it is needed). `trainable` as above; a parameter that the graph
 * has already by that name is used again. */
fgsm_status fg_onnx_build_output(const struct fg_onnx *onnx, struct fg_graph *g, int64_t batch,
                                 bool trainable, const fg_id *in, int which,
                                 fg_id *out) FGSM_MUST_USE;

/* Writes the file back: the graph as it was read, with tensors from other files in it; initializers
 * named in `names` get `data` (as many floats as the initializer has elements), converted to the
 * float type that they are stored in. FGSM_USAGE for a name that is no float initializer. The file
 * appears under its name only when complete. */
fgsm_status fg_onnx_write(const struct fg_onnx *onnx, const char *path, int n,
                          const char *const *names, const float *const *data) FGSM_MUST_USE;

/* The model with other initializers, as fg_onnx_write would write it; to be closed. */
fgsm_status fg_onnx_replace(const struct fg_onnx *onnx, int n, const char *const *names,
                            const float *const *data, struct fg_onnx **out) FGSM_MUST_USE;

/* A TensorProto file (the node tests' input_0.pb); freed with free(). */
fgsm_status fg_onnx_read_tensor(const char *path, enum fg_type *type, int *rank,
                                int64_t dim[FG_MAX_RANK], void **data) FGSM_MUST_USE;

#endif
