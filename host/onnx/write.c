/* The model back into a file, with other weights. The message is not changed (others may be reading
 * it): what leads to a changed tensor is copied shallowly, the rest is shared, and what protobuf-c
 * did not know it kept. The file is written beside its final name and renamed when it is on disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model.h"

static void encode(enum fg_type type, const float *from, int64_t n, unsigned char *to) {
  for (int64_t i = 0; i < n; i++) {
    double wide = from[i];
    uint16_t half = type == FG_F16 ? fg_float_to_half(from[i]) : fg_float_to_bfloat(from[i]);
    const void *element = type == FG_F32   ? (const void *)&from[i]
                          : type == FG_F64 ? (const void *)&wide
                                           : (const void *)&half;
    size_t size = fg_type_size(type);
    memcpy(to + (size_t)i * size, element, size);
  }
}

/* A copy of `from` that holds `data` as raw bytes. */
static fgsm_status changed_tensor(const Onnx__TensorProto *from, const float *data,
                                  struct fg_arena *arena, Onnx__TensorProto **out) {
  struct fg_onnx_tensor t;
  fgsm_status status = fg_onnx_tensor_read(from, arena, &t);
  if (status != FGSM_OK)
    return status;
  if (!fg_type_is_real(t.type))
    return FG_FAIL(USAGE, "the initializer '%.120s' holds %s, not floats", fg_onnx_text(from->name),
                   fg_type_name(t.type));
  int64_t n = 1;
  for (int i = 0; i < t.rank; i++)
    n *= t.dim[i];
  size_t bytes = (size_t)n * fg_type_size(t.type);
  Onnx__TensorProto *to = fg_arena_alloc(arena, sizeof *to);
  unsigned char *raw = fg_arena_alloc(arena, bytes + 1);
  if (!to || !raw)
    return FGSM_MEMORY;
  encode(t.type, data, n, raw);
  *to = *from;
  to->has_raw_data = 1;
  to->raw_data = (ProtobufCBinaryData){bytes, raw};
  to->n_float_data = to->n_double_data = to->n_int32_data = 0;
  *out = to;
  return FGSM_OK;
}

static fgsm_status change(const Onnx__GraphProto *graph, int n, const char *const *names,
                          const float *const *data, struct fg_arena *arena,
                          Onnx__TensorProto **initializers) {
  struct fg_names index = {0};
  fgsm_status status = FGSM_OK;
  for (size_t i = 0; i < graph->n_initializer && status == FGSM_OK; i++) {
    initializers[i] = graph->initializer[i];
    const char *name = fg_onnx_text(graph->initializer[i]->name);
    if (fg_names_find(&index, name) < 0)
      status = fg_names_add(&index, name, (int64_t)i);
  }
  for (int k = 0; k < n && status == FGSM_OK; k++) {
    int64_t i = fg_names_find(&index, names[k]);
    status = i < 0 ? FG_FAIL(USAGE, "the model has no initializer '%.120s'", names[k])
                   : changed_tensor(graph->initializer[i], data[k], arena, &initializers[i]);
  }
  fg_names_free(&index);
  return status;
}

/* False with errno. */
static bool write_all(int fd, const unsigned char *bytes, size_t n) {
  while (n) {
    ssize_t done = write(fd, bytes, n);
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      return false;
    bytes += done;
    n -= (size_t)done;
  }
  return true;
}

/* Creates a file beside `path` whose name (of `size` bytes) nobody else has. -1 with errno. */
static int create_beside(const char *path, char *name, size_t size) {
  for (int i = 0; i < 100; i++) {
    snprintf(name, size, "%s.%ld-%d.tmp", path, (long)getpid(), i);
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0 || errno != EEXIST)
      return fd;
  }
  return -1;
}

static fgsm_status write_file(const char *path, const unsigned char *bytes, size_t n) {
  fgsm_status status = FGSM_OK;
  size_t size = strlen(path) + 40;
  char *temporary = malloc(size);
  if (!temporary)
    return FG_FAIL(MEMORY, "no memory to write %s", path);
  int fd = create_beside(path, temporary, size);
  if (fd < 0) {
    status = FG_FAIL(IO, "%s: %s", path, strerror(errno));
    free(temporary);
    return status;
  }
  int cause = write_all(fd, bytes, n) && fsync(fd) == 0 ? 0 : errno;
  if (close(fd) != 0 && !cause)
    cause = errno;
  if (!cause && rename(temporary, path) != 0)
    cause = errno;
  if (cause) {
    unlink(temporary);
    status = FG_FAIL(IO, "%s: %s", path, strerror(cause));
  }
  free(temporary);
  return status;
}

/* The model with other initializers, packed; *bytes is the caller's to free. `what` names it. */
static fgsm_status pack(const struct fg_onnx *onnx, const char *what, int n,
                        const char *const *names, const float *const *data, unsigned char **bytes,
                        size_t *size) {
  struct fg_arena arena = {0};
  Onnx__ModelProto model = *onnx->model;
  Onnx__GraphProto graph = *onnx->model->graph;
  model.graph = &graph;
  *bytes = NULL;
  graph.initializer = fg_arena_alloc(&arena, (graph.n_initializer + 1) * sizeof *graph.initializer);
  if (!graph.initializer)
    return FGSM_MEMORY;
  fgsm_status status = change(onnx->model->graph, n, names, data, &arena, graph.initializer);
  if (status == FGSM_OK) {
    *size = protobuf_c_message_get_packed_size(&model.base);
    if (*size > INT32_MAX)
      status =
          FG_FAIL(UNSUPPORTED, "%s would be larger than 2 GiB, which protobuf cannot hold", what);
    else if (!(*bytes = malloc(*size + 1)))
      status = FG_FAIL(MEMORY, "%s: no memory for its %zu bytes", what, *size);
    else
      protobuf_c_message_pack(&model.base, *bytes);
  }
  fg_arena_free(&arena);
  return status;
}

fgsm_status fg_onnx_write(const struct fg_onnx *onnx, const char *path, int n,
                          const char *const *names, const float *const *data) {
  unsigned char *bytes;
  size_t size;
  FG_TRY(pack(onnx, path, n, names, data, &bytes, &size));
  fgsm_status status = write_file(path, bytes, size);
  free(bytes);
  return status;
}

fgsm_status fg_onnx_replace(const struct fg_onnx *onnx, int n, const char *const *names,
                            const float *const *data, struct fg_onnx **out) {
  unsigned char *bytes;
  size_t size;
  FG_TRY(pack(onnx, "the model with its new weights", n, names, data, &bytes, &size));
  fgsm_status status = fg_onnx_parse(bytes, size, "the trained model", out);
  free(bytes);
  return status;
}
