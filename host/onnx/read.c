/* A file or bytes -> struct fg_onnx: the unpacked message and what callers ask of it before they
 * build a graph (inputs, outputs, opset). Immutable once made, so threads may share it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model.h"

fgsm_status fg_onnx_read_file(const char *path, size_t most, void **bytes, size_t *n) {
  fgsm_status status = FGSM_OK;
  unsigned char *data = NULL;
  size_t size = 0, done = 0;
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 || fstat(fd, &st) != 0) {
    status = FG_FAIL(IO, "%s: %s", path, strerror(errno));
    goto done;
  }
  if (!S_ISREG(st.st_mode)) {
    status = FG_FAIL(IO, "%s is not a regular file", path);
    goto done;
  }
  if (st.st_size > INT32_MAX) {
    status = FG_FAIL(UNSUPPORTED, "%s is larger than 2 GiB, which protobuf cannot hold", path);
    goto done;
  }
  size = (size_t)st.st_size;
  if (size > most) {
    char text[32], limit[32];
    status = FG_FAIL(UNSUPPORTED, "%s holds %s, more than the %s of memory that are allowed", path,
                     fg_memory_text(size, text), fg_memory_text(most, limit));
    goto done;
  }
  data = malloc(size + 1);
  if (!data) {
    status = FG_FAIL(MEMORY, "%s: no memory for its %zu bytes", path, size);
    goto done;
  }
  while (done < size) {
    ssize_t got = read(fd, data + done, size - done);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0) {
      status = FG_FAIL(IO, "%s: %s", path, got ? strerror(errno) : "it shrank while it was read");
      goto done;
    }
    done += (size_t)got;
  }
  *bytes = data;
  *n = size;
  data = NULL;
done:
  free(data);
  if (fd >= 0)
    close(fd);
  return status;
}

static void read_port(const Onnx__ValueInfoProto *info, struct fg_onnx_port *port) {
  *port = (struct fg_onnx_port){.name = fg_onnx_text(info->name), .rank = -1};
  if (!info->type || info->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
    return;
  const Onnx__TypeProto__Tensor *tensor = info->type->tensor_type;
  port->type = fg_onnx_type(tensor->elem_type);
  if (!tensor->shape || tensor->shape->n_dim > FG_MAX_RANK)
    return;
  port->rank = (int)tensor->shape->n_dim;
  for (int i = 0; i < port->rank; i++) {
    const Onnx__TensorShapeProto__Dimension *dim = tensor->shape->dim[i];
    bool known = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
                 dim->dim_value >= 0;
    port->dim[i] = known ? dim->dim_value : -1;
  }
}

/* Inputs are those that no initializer gives: until IR version 4 initializers were listed too. */
static fgsm_status read_ports(struct fg_onnx *onnx) {
  const Onnx__GraphProto *graph = onnx->model->graph;
  struct fg_names initializers = {0};
  fgsm_status status = FGSM_OK;
  for (size_t i = 0; i < graph->n_initializer && status == FGSM_OK; i++) {
    const char *name = fg_onnx_text(graph->initializer[i]->name);
    if (fg_names_find(&initializers, name) < 0)
      status = fg_names_add(&initializers, name, (int64_t)i);
  }
  if (status == FGSM_OK) {
    onnx->inputs = fg_arena_alloc(&onnx->arena, (graph->n_input + 1) * sizeof *onnx->inputs);
    onnx->outputs = fg_arena_alloc(&onnx->arena, (graph->n_output + 1) * sizeof *onnx->outputs);
    if (!onnx->inputs || !onnx->outputs)
      status = FGSM_MEMORY;
  }
  if (status == FGSM_OK) {
    for (size_t i = 0; i < graph->n_input; i++)
      if (fg_names_find(&initializers, fg_onnx_text(graph->input[i]->name)) < 0)
        read_port(graph->input[i], &onnx->inputs[onnx->n_inputs++]);
    for (size_t i = 0; i < graph->n_output; i++)
      read_port(graph->output[i], &onnx->outputs[onnx->n_outputs++]);
  }
  fg_names_free(&initializers);
  return status;
}

/* Lists that every node is looked up in: they must be short. */
enum { MOST_FUNCTIONS = 4096, MOST_OPSETS = 256 };

static fgsm_status check_lists(const Onnx__ModelProto *model) {
  size_t most = model->n_opset_import;
  for (size_t i = 0; i < model->n_functions; i++)
    if (model->functions[i]->n_opset_import > most)
      most = model->functions[i]->n_opset_import;
  if (model->n_functions > MOST_FUNCTIONS || most > MOST_OPSETS)
    return FG_FAIL(UNSUPPORTED,
                   "the model defines %zu functions and imports %zu operator sets; at most %d and "
                   "%d are supported",
                   model->n_functions, most, MOST_FUNCTIONS, MOST_OPSETS);
  return FGSM_OK;
}

static fgsm_status read_header(struct fg_onnx *onnx) {
  const Onnx__ModelProto *model = onnx->model;
  FG_TRY(check_lists(model));
  for (size_t i = 0; i < model->n_opset_import; i++) {
    const char *domain = fg_onnx_text(model->opset_import[i]->domain);
    if (!*domain || strcmp(domain, "ai.onnx") == 0)
      onnx->opset = model->opset_import[i]->version;
  }
  const char *name = fg_onnx_text(model->producer_name);
  const char *version = fg_onnx_text(model->producer_version);
  size_t n = strlen(name) + strlen(version) + 2;
  char *producer = fg_arena_alloc(&onnx->arena, n);
  if (!producer)
    return FGSM_MEMORY;
  snprintf(producer, n, "%s%s%s", name, *name && *version ? " " : "", version);
  onnx->producer = producer;
  return read_ports(onnx);
}

static fgsm_status parse(const void *bytes, size_t n, const char *name, size_t most,
                         struct fg_onnx **out) {
  fgsm_status status = FGSM_OK;
  ProtobufCMessage *message = NULL;
  struct fg_hashing *hashing = NULL;
  struct fg_onnx *onnx = calloc(1, sizeof *onnx);
  *out = NULL;
  if (!onnx)
    return FG_FAIL(MEMORY, "no memory to read %s", name);
  atomic_init(&onnx->users, 1);
  if (n == 0) {
    status = FG_FAIL(MODEL, "%s is empty", name);
    goto fail;
  }
  status = fg_hashing_begin(bytes, n, &hashing);
  if (status == FGSM_OK)
    status =
        fg_onnx_unpack(&onnx__model_proto__descriptor, bytes, n, name, most, &onnx->heap, &message);
  if (status != FGSM_OK)
    goto fail;
  onnx->model = (Onnx__ModelProto *)message;
  if (!onnx->model->graph) {
    status = FG_FAIL(MODEL, "%s holds no graph: it is not an ONNX model", name);
    goto fail;
  }
  status = read_header(onnx);
  if (status != FGSM_OK)
    goto fail;
  status = fg_hashing_end(hashing, onnx->sha256);
  hashing = NULL;
  if (status != FGSM_OK)
    goto fail;
  *out = onnx;
  return FGSM_OK;
fail:
  (void)fg_hashing_end(hashing, NULL);
  fg_onnx_close(onnx);
  return status;
}

fgsm_status fg_onnx_parse(const void *bytes, size_t n, const char *name, struct fg_onnx **out) {
  return parse(bytes, n, name, SIZE_MAX, out);
}

fgsm_status fg_onnx_open(const char *path, struct fg_onnx **out) {
  return fg_onnx_open_within(path, SIZE_MAX, out);
}

fgsm_status fg_onnx_open_within(const char *path, size_t most, struct fg_onnx **out) {
  void *bytes;
  size_t n;
  *out = NULL;
  FG_TRY(fg_onnx_read_file(path, most, &bytes, &n));
  fgsm_status status = parse(bytes, n, path, most - n, out);
  free(bytes);
  if (status != FGSM_OK)
    return status;
  status = fg_onnx_external_map(*out, path);
  if (status != FGSM_OK) {
    fg_onnx_close(*out);
    *out = NULL;
  }
  return status;
}

size_t fg_onnx_bytes(const struct fg_onnx *onnx) {
  return onnx->heap.live_bytes + onnx->arena.total_bytes;
}

struct fg_onnx *fg_onnx_keep(const struct fg_onnx *onnx) {
  struct fg_onnx *kept = (struct fg_onnx *)onnx;
  atomic_fetch_add(&kept->users, 1);
  return kept;
}

void fg_onnx_close(struct fg_onnx *onnx) {
  if (!onnx || atomic_fetch_sub(&onnx->users, 1) > 1)
    return;
  fg_onnx_external_free(&onnx->external);
  fg_arena_free(&onnx->arena);
  fg_onnx_unpacked_free(onnx->model ? &onnx->model->base : NULL, &onnx->heap);
  free(onnx);
}

fgsm_status fg_onnx_read_tensor(const char *path, enum fg_type *type, int *rank,
                                int64_t dim[FG_MAX_RANK], void **data) {
  void *bytes = NULL, *copy = NULL;
  size_t n = 0, size = 1;
  struct fg_onnx_heap heap = {0};
  struct fg_arena arena = {0};
  struct fg_onnx_tensor tensor;
  ProtobufCMessage *message = NULL;
  FG_TRY(fg_onnx_read_file(path, SIZE_MAX, &bytes, &n));
  fgsm_status status =
      fg_onnx_unpack(&onnx__tensor_proto__descriptor, bytes, n, path, SIZE_MAX, &heap, &message);
  if (status == FGSM_OK)
    status = fg_onnx_tensor_read((Onnx__TensorProto *)message, &arena, &tensor);
  if (status != FGSM_OK)
    goto done;
  for (int i = 0; i < tensor.rank; i++)
    size *= (size_t)tensor.dim[i];
  size *= fg_type_size(tensor.type);
  copy = malloc(size + 1);
  if (!copy) {
    status = FG_FAIL(MEMORY, "%s: no memory for %zu bytes", path, size);
    goto done;
  }
  memcpy(copy, tensor.data, size);
  *type = tensor.type;
  *rank = tensor.rank;
  memcpy(dim, tensor.dim, sizeof tensor.dim);
  *data = copy;
done:
  fg_arena_free(&arena);
  fg_onnx_unpacked_free(message, &heap);
  free(bytes);
  return status;
}

int fg_onnx_n_inputs(const struct fg_onnx *onnx) {
  return onnx->n_inputs;
}

const struct fg_onnx_port *fg_onnx_input(const struct fg_onnx *onnx, int i) {
  return &onnx->inputs[i];
}

int fg_onnx_n_outputs(const struct fg_onnx *onnx) {
  return onnx->n_outputs;
}

const struct fg_onnx_port *fg_onnx_output(const struct fg_onnx *onnx, int i) {
  return &onnx->outputs[i];
}

const char *fg_onnx_sha256(const struct fg_onnx *onnx) {
  return onnx->sha256;
}

int64_t fg_onnx_opset(const struct fg_onnx *onnx) {
  return onnx->opset;
}

const char *fg_onnx_producer(const struct fg_onnx *onnx) {
  return onnx->producer;
}
