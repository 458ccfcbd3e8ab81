/* What the files of this folder share: the parsed file, the guard, tensors and a table of names. */
#ifndef FG_ONNX_MODEL_H
#define FG_ONNX_MODEL_H

#include <stdatomic.h>

#include "import.h"
#include "onnx.h"
#include "onnx/onnx.pb-c.h"

/* Memory for protobuf-c, with a ceiling: what a message unpacks to is bounded by what it weighs. */
struct fg_onnx_heap {
  size_t live_bytes, limit_bytes;
  ProtobufCAllocator allocator; /* its data points back here */
};

/* Files that hold tensors of the model, mapped (external.c). */
struct fg_onnx_external {
  struct fg_onnx_file *files;
  struct fg_onnx_patch *patches;
  int64_t n_files, n_patches;
};

struct fg_onnx {
  atomic_int users;
  struct fg_onnx_heap heap;
  struct fg_onnx_external external;
  Onnx__ModelProto *model;
  struct fg_arena arena; /* of the ports */
  struct fg_onnx_port *inputs, *outputs;
  int n_inputs, n_outputs;
  int64_t opset; /* of the default domain; 0: not imported */
  const char *producer;
  char sha256[65];
};

/* Walks the raw bytes as protobuf-c will. FGSM_MODEL, with `name` and the offset, unless every
 * message ends where it says, nesting, counts and sizes are within bounds, no singular message
 * occurs twice (protobuf-c merges those in quadratic time), and identifiers are printable UTF-8. */
fgsm_status fg_onnx_guard(const ProtobufCMessageDescriptor *type, const void *bytes, size_t n,
                          const char *name) FGSM_MUST_USE;

/* Guards, then unpacks within the heap's ceiling, which is `most` at most. Freed with
 * fg_onnx_unpacked_free. */
fgsm_status fg_onnx_unpack(const ProtobufCMessageDescriptor *type, const void *bytes, size_t n,
                           const char *name, size_t most, struct fg_onnx_heap *heap,
                           ProtobufCMessage **out) FGSM_MUST_USE;
void fg_onnx_unpacked_free(ProtobufCMessage *message, struct fg_onnx_heap *heap);

/* The whole of a regular file below 2 GiB and of at most `most` bytes; freed with free(). */
fgsm_status fg_onnx_read_file(const char *path, size_t most, void **bytes, size_t *n) FGSM_MUST_USE;

/* Maps the files that `path`'s tensors lie in and lets the tensors point there. Nothing outside the
 * model's folder is opened, nor a symbolic link. FGSM_MODEL or FGSM_IO with the tensor. */
fgsm_status fg_onnx_external_map(struct fg_onnx *onnx, const char *path) FGSM_MUST_USE;
/* Whether the data lies in one of those files. */
bool fg_onnx_external_holds(const struct fg_onnx_external *external, const void *data);
/* Takes the tensors back and unmaps; before the message is freed. */
void fg_onnx_external_free(struct fg_onnx_external *external);

/* The type that stands for ONNX's, FG_NONE where there is none; ONNX's own name for it. */
enum fg_type fg_onnx_type(int32_t data_type);
const char *fg_onnx_type_name(int32_t data_type);

/* Reads a tensor. out->data lies in the message where it can, else in `arena`; it is never NULL.
 * FGSM_UNSUPPORTED for types without a counterpart, data in a file that is not mapped, or rank
 * above FG_MAX_RANK; FGSM_MODEL where dims and data disagree. The errors say what is wrong, not
 * with which tensor. */
fgsm_status fg_onnx_tensor_read(const Onnx__TensorProto *tensor, struct fg_arena *arena,
                                struct fg_onnx_tensor *out) FGSM_MUST_USE;

/* n attributes as importers see them; all memory is from `arena`. */
fgsm_status fg_onnx_attrs_read(size_t n, const Onnx__AttributeProto *const *attributes,
                               struct fg_arena *arena, struct fg_onnx_attr **out) FGSM_MUST_USE;

/* Names to numbers. Keys are not copied. */
struct fg_names {
  const char **keys;
  int64_t *values;
  int64_t n, slots; /* slots: 0 or a power of 2 */
  uint64_t key;     /* of the hash */
};
/* The number that `name` was added with, or -1. */
int64_t fg_names_find(const struct fg_names *names, const char *name);
/* `name` must not be there yet. */
fgsm_status fg_names_add(struct fg_names *names, const char *name, int64_t value) FGSM_MUST_USE;
void fg_names_free(struct fg_names *names);

/* proto2 leaves absent strings NULL. */
static inline const char *fg_onnx_text(const char *text) {
  return text ? text : "";
}

#endif
