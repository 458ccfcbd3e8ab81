/* Tensors that lie in other files beside the model's. When a model is opened by its path, each such
 * file is mapped once and its tensors are made to look as if their bytes had stood in the model:
 * nothing behind this file knows the difference, and a model that is written holds its tensors
 * itself. The strings of a stranger's file name these files, so the walk to one goes component by
 * component from the model's folder, follows no symbolic link, and ends at a regular file; sizes
 * are the files', and all tensors together ask for little more than the files hold.
 * Invariant: `patches` remembers what was changed in the message, which unpatch restores before the
 * message is freed. A file must not shrink while its model is open, as for any mapping. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model.h"

enum { MOST_FILES = 256 };

struct fg_onnx_file {
  struct fg_onnx_data_file seen;
  void *bytes; /* NULL where it has none */
};

struct fg_onnx_patch {
  Onnx__TensorProto *tensor;
  size_t n_external_data;
};

struct reader {
  struct fg_onnx_external *to;
  int folder;
  struct fg_names names; /* location -> file */
  int64_t files_capacity, patches_capacity;
  int64_t asked, held; /* bytes: of all tensors, of all files */
};

/* Opens a regular file, and nothing else even for a moment: opening a device can act on it. -1 with
 * errno, which is 0 for what is no regular file. */
static int open_regular(int folder, const char *name) {
  struct stat st;
  if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
    return -1;
  if (!S_ISREG(st.st_mode)) {
    errno = S_ISLNK(st.st_mode) ? ELOOP : 0;
    return -1;
  }
  return openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

/* Opens the file `location` below the folder `at`. -1 with errno, as open_regular. */
static int open_below(int at, const char *location) {
  char part[256];
  int fd = -1, parent = at;
  for (const char *p = location;;) {
    size_t n = strcspn(p, "/");
    bool last = !p[n];
    if (n >= sizeof part) {
      errno = ENAMETOOLONG;
      fd = -1;
    } else {
      memcpy(part, p, n);
      part[n] = 0;
      fd = last ? open_regular(parent, part)
                : openat(parent, part, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
    }
    int cause = errno;
    if (parent != at)
      close(parent);
    errno = cause;
    if (fd < 0 || last)
      return fd;
    parent = fd;
    p += n + 1;
  }
}

/* Relative, and every part a plain name. */
static bool stays_below(const char *location) {
  for (const char *p = location;;) {
    size_t n = strcspn(p, "/");
    if (n == 0 || strcspn(p, "\\") < n || (n == 1 && p[0] == '.') ||
        (n == 2 && p[0] == '.' && p[1] == '.'))
      return false;
    if (!p[n])
      return true;
    p += n + 1;
  }
}

static fgsm_status refuse_file(const char *location) {
  if (errno == 0)
    return FG_FAIL(MODEL, "its file '%.200s' is not a regular file", location);
  return FG_FAIL(IO, "its file '%.200s', looked for in the model's folder: %s", location,
                 errno == ELOOP || errno == ENOTDIR
                     ? "a part of the path is a symbolic link or no folder, which is not followed"
                     : strerror(errno));
}

static fgsm_status map_file(struct reader *r, const char *location) {
  struct stat st;
  fgsm_status status = FGSM_OK;
  struct fg_onnx_file file = {.seen.location = location};
  if (!stays_below(location))
    return FG_FAIL(MODEL,
                   "its file '%.200s' is not a plain path below the model's folder, outside of "
                   "which nothing is read",
                   location);
  if (r->to->n_files == MOST_FILES)
    return FG_FAIL(UNSUPPORTED, "the model's tensors lie in more than %d files", MOST_FILES);
  FG_TRY(fg_grow(&r->to->files, &r->files_capacity, r->to->n_files + 1, sizeof *r->to->files));
  int fd = open_below(r->folder, location);
  if (fd < 0)
    return refuse_file(location);
  if (fstat(fd, &st) != 0) {
    status = refuse_file(location);
  } else if (!S_ISREG(st.st_mode)) {
    errno = 0;
    status = refuse_file(location);
  } else if (st.st_size > 0) {
    file.seen.bytes = st.st_size;
    file.bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file.bytes == MAP_FAILED)
      status = FG_FAIL(IO, "its file '%.200s' cannot be mapped: %s", location, strerror(errno));
  }
  close(fd);
  if (status != FGSM_OK)
    return status;
  r->held += file.seen.bytes;
  r->to->files[r->to->n_files++] = file;
  return fg_names_add(&r->names, location, r->to->n_files - 1);
}

/* A number in decimal digits alone; -1 for anything else. */
static int64_t number(const char *text) {
  int64_t n = 0;
  for (const char *p = text; *p || p == text; p++)
    if (*p < '0' || *p > '9' || !fg_mul_ok(n, 10, &n) || !fg_add_ok(n, *p - '0', &n))
      return -1;
  return n;
}

struct place {
  const char *location;
  int64_t offset, length; /* length -1: not said */
};

static fgsm_status read_place(const Onnx__TensorProto *tensor, struct place *out) {
  *out = (struct place){.location = "", .length = -1};
  for (size_t i = 0; i < tensor->n_external_data; i++) {
    const char *key = fg_onnx_text(tensor->external_data[i]->key);
    const char *value = fg_onnx_text(tensor->external_data[i]->value);
    bool offset = strcmp(key, "offset") == 0, length = strcmp(key, "length") == 0;
    if (strcmp(key, "location") == 0)
      out->location = value;
    else if (offset || length) {
      int64_t n = number(value);
      if (n < 0)
        return FG_FAIL(MODEL, "its %s '%.40s' in another file is no number", key, value);
      *(offset ? &out->offset : &out->length) = n;
    }
  }
  return FGSM_OK;
}

/* Bytes that the tensor's dims and type ask for; -1 where reading it will refuse them anyway. */
static int64_t bytes_of(const Onnx__TensorProto *tensor) {
  int64_t n = (int64_t)fg_type_size(fg_onnx_type(tensor->data_type));
  for (size_t i = 0; i < tensor->n_dims; i++)
    if (!fg_mul_ok(n, tensor->dims[i], &n))
      return -1;
  return n;
}

static fgsm_status find_bytes(struct reader *r, const Onnx__TensorProto *tensor, int64_t need,
                              struct fg_arena *arena, uint8_t **out) {
  struct place place;
  FG_TRY(read_place(tensor, &place));
  if (fg_names_find(&r->names, place.location) < 0)
    FG_TRY(map_file(r, place.location));
  const struct fg_onnx_file *file = &r->to->files[fg_names_find(&r->names, place.location)];
  if (place.length >= 0 && place.length != need)
    return FG_FAIL(MODEL, "its dimensions ask for %lld bytes and it holds %lld", (long long)need,
                   (long long)place.length);
  if (need > file->seen.bytes || place.offset > file->seen.bytes - need)
    return FG_FAIL(MODEL, "its %lld bytes at %lld lie beyond the %lld bytes of '%.200s'",
                   (long long)need, (long long)place.offset, (long long)file->seen.bytes,
                   place.location);
  /* Tensors may share bytes (tied weights), but not without end. */
  int64_t limit;
  if (!fg_add_ok(r->asked, need, &r->asked) || !fg_mul_ok(r->held, 4, &limit) ||
      !fg_add_ok(limit, (int64_t)64 << 20, &limit) || r->asked > limit)
    return FG_FAIL(MODEL, "the model's tensors ask for many times what their files hold");
  if (need == 0) {
    *out = NULL;
    return FGSM_OK;
  }
  *out = (uint8_t *)file->bytes + place.offset;
  if ((uintptr_t)*out % fg_type_size(fg_onnx_type(tensor->data_type))) {
    uint8_t *aligned = fg_arena_alloc(arena, (size_t)need);
    if (!aligned)
      return FGSM_MEMORY;
    memcpy(aligned, *out, (size_t)need);
    *out = aligned;
  }
  return FGSM_OK;
}

static fgsm_status patch(struct reader *r, Onnx__TensorProto *tensor, struct fg_arena *arena) {
  uint8_t *bytes;
  if (!tensor || tensor->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
    return FGSM_OK;
  int64_t need = bytes_of(tensor);
  if (fg_onnx_type(tensor->data_type) == FG_NONE || need < 0)
    return FGSM_OK; /* reading it says why not */
  if (tensor->has_raw_data)
    return FG_FAIL(MODEL, "the tensor '%.120s' holds data and says that it lies in another file",
                   fg_onnx_text(tensor->name));
  fgsm_status status = find_bytes(r, tensor, need, arena, &bytes);
  if (status != FGSM_OK) {
    char why[600];
    fg_error_copy(why, sizeof why);
    return fg_fail(status, __FILE__, __LINE__, "the tensor '%.120s': %s",
                   fg_onnx_text(tensor->name), why);
  }
  FG_TRY(
      fg_grow(&r->to->patches, &r->patches_capacity, r->to->n_patches + 1, sizeof *r->to->patches));
  r->to->patches[r->to->n_patches++] = (struct fg_onnx_patch){tensor, tensor->n_external_data};
  tensor->n_external_data = 0;
  tensor->has_data_location = 0;
  tensor->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT;
  tensor->has_raw_data = 1;
  tensor->raw_data = (ProtobufCBinaryData){(size_t)need, bytes};
  return FGSM_OK;
}

/* The guard has bounded how deep graphs nest. */
static fgsm_status patch_graph(struct reader *r, const Onnx__GraphProto *graph,
                               struct fg_arena *arena);

static fgsm_status patch_nodes(struct reader *r, size_t n, Onnx__NodeProto *const *nodes,
                               struct fg_arena *arena) {
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < nodes[i]->n_attribute; k++) {
      const Onnx__AttributeProto *a = nodes[i]->attribute[k];
      FG_TRY(patch(r, a->t, arena));
      for (size_t j = 0; j < a->n_tensors; j++)
        FG_TRY(patch(r, a->tensors[j], arena));
      if (a->g)
        FG_TRY(patch_graph(r, a->g, arena));
      for (size_t j = 0; j < a->n_graphs; j++)
        FG_TRY(patch_graph(r, a->graphs[j], arena));
    }
  return FGSM_OK;
}

static fgsm_status patch_graph(struct reader *r, const Onnx__GraphProto *graph,
                               struct fg_arena *arena) {
  for (size_t i = 0; i < graph->n_initializer; i++)
    FG_TRY(patch(r, graph->initializer[i], arena));
  return patch_nodes(r, graph->n_node, graph->node, arena);
}

/* The folder of `path`. -1 with errno. */
static int open_folder(const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash)
    return open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  char *folder = strndup(path, (size_t)(slash - path) + 1);
  int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  int cause = folder ? errno : ENOMEM;
  free(folder);
  errno = cause;
  return fd;
}

fgsm_status fg_onnx_external_map(struct fg_onnx *onnx, const char *path) {
  struct reader r = {.to = &onnx->external, .folder = open_folder(path)};
  if (r.folder < 0)
    return FG_FAIL(IO, "the folder of %s: %s", path, strerror(errno));
  const Onnx__ModelProto *model = onnx->model;
  fgsm_status status = patch_graph(&r, model->graph, &onnx->arena);
  for (size_t i = 0; i < model->n_functions && status == FGSM_OK; i++)
    status = patch_nodes(&r, model->functions[i]->n_node, model->functions[i]->node, &onnx->arena);
  for (int64_t i = 0; i < r.to->n_files && status == FGSM_OK; i++)
    status = fg_sha256(r.to->files[i].bytes, (size_t)r.to->files[i].seen.bytes,
                       r.to->files[i].seen.sha256);
  fg_names_free(&r.names);
  close(r.folder);
  if (status == FGSM_OK || status == FGSM_MEMORY || status == FGSM_INTERRUPTED)
    return status;
  char why[800];
  fg_error_copy(why, sizeof why);
  return fg_fail(status, __FILE__, __LINE__, "%s: %s", path, why);
}

bool fg_onnx_external_holds(const struct fg_onnx_external *external, const void *data) {
  for (int64_t i = 0; i < external->n_files; i++) {
    uintptr_t from = (uintptr_t)external->files[i].bytes;
    if ((uintptr_t)data >= from &&
        (uintptr_t)data - from < (uintptr_t)external->files[i].seen.bytes)
      return true;
  }
  return false;
}

void fg_onnx_external_free(struct fg_onnx_external *external) {
  for (int64_t i = 0; i < external->n_patches; i++) {
    Onnx__TensorProto *tensor = external->patches[i].tensor;
    tensor->n_external_data = external->patches[i].n_external_data;
    tensor->raw_data = (ProtobufCBinaryData){0, NULL};
    tensor->has_raw_data = 0;
  }
  for (int64_t i = 0; i < external->n_files; i++)
    if (external->files[i].bytes)
      munmap(external->files[i].bytes, (size_t)external->files[i].seen.bytes);
  free(external->patches);
  free(external->files);
  *external = (struct fg_onnx_external){0};
}

int fg_onnx_n_data_files(const struct fg_onnx *onnx) {
  return (int)onnx->external.n_files;
}

const struct fg_onnx_data_file *fg_onnx_data_file(const struct fg_onnx *onnx, int i) {
  return &onnx->external.files[i].seen;
}
