/* The public interface: checks what callers pass in, and hands it to the rooms below. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "attack.h"
#include "bench.h"
#include "describe.h"
#include "device.h"
#include "fgsm.h"
#include "job.h"
#include "onnx.h"
#include "options.h"
#include "train.h"
#include "view.h"

/* ---- models */

struct fgsm_model {
  struct fg_onnx *onnx;
  char *path;
};

static fgsm_status load(const char *path, size_t most, fgsm_model **out) {
  struct fgsm_model *model = calloc(1, sizeof *model);
  char *copy = strdup(path);
  fgsm_status status = model && copy ? fg_onnx_open_within(path, most, &model->onnx)
                                     : FG_FAIL(MEMORY, "no memory for a model");
  if (status != FGSM_OK) {
    free(copy);
    free(model);
    return status;
  }
  model->path = copy;
  *out = model;
  return FGSM_OK;
}

fgsm_status fgsm_model_load(const char *path, fgsm_model **out) {
  if (!path || !out)
    return FG_FAIL(USAGE, "fgsm_model_load: path and out must not be NULL");
  return load(path, fg_memory_share(), out);
}

fgsm_status fgsm_model_load_within(const char *path, const fgsm_options *options,
                                   fgsm_model **out) {
  if (!path || !options || !out)
    return FG_FAIL(USAGE, "fgsm_model_load_within: path, options and out must not be NULL");
  return load(path, fg_options_memory(options), out);
}

void fgsm_model_destroy(fgsm_model *model) {
  if (!model)
    return;
  fg_onnx_close(model->onnx);
  free(model->path);
  free(model);
}

static fgsm_status one_batch(const fgsm_options *options) {
  return options->n_batches > 1
             ? FG_FAIL(USAGE, "option 'batch': a list of sizes is for bench; give one")
             : FGSM_OK;
}

/* Writes a text as a file that appears when it is complete, and never over the model. */
static fgsm_status write_text(const char *path, const char *model_path, const char *text) {
  struct fg_file *file;
  FG_TRY(fg_job_keep_apart(path, model_path));
  FG_TRY(fg_file_create(path, &file));
  fgsm_status status = fg_file_write(file, text, strlen(text));
  if (status == FGSM_OK)
    status = fg_file_commit(file);
  fg_file_close(file);
  return status;
}

fgsm_status fgsm_model_describe(const fgsm_model *model, const fgsm_options *options, int json,
                                char **text) {
  if (!model || !options || !text)
    return FG_FAIL(USAGE, "fgsm_model_describe: model, options and text must not be NULL");
  FG_TRY(one_batch(options));
  if (options->batch_auto)
    return FG_FAIL(USAGE, "option 'batch': auto measures an attack; give inspect a number");
  char *dot = NULL;
  bool instead = options->dot && strcmp(options->dot, "-") == 0;
  if (instead && json)
    return FG_FAIL(USAGE, "options 'dot' and 'json' both ask for the text; give dot a file");
  FG_TRY(fg_describe(model->onnx, model->path, options, json != 0, text, &dot));
  if (instead) {
    free(*text);
    *text = dot;
    return FGSM_OK;
  }
  fgsm_status status = dot ? write_text(options->dot, model->path, dot) : FGSM_OK;
  free(dot);
  if (status != FGSM_OK) {
    free(*text);
    *text = NULL;
  }
  return status;
}

fgsm_status fgsm_model_bench(const fgsm_model *model, const fgsm_options *options,
                             fgsm_format format, char **text) {
  if (!model || !options || !text)
    return FG_FAIL(USAGE, "fgsm_model_bench: model, options and text must not be NULL");
  return fg_bench(model->onnx, model->path, options, format, text);
}

fgsm_status fgsm_model_save(const fgsm_model *model, const char *path) {
  if (!model || !path)
    return FG_FAIL(USAGE, "fgsm_model_save: model and path must not be NULL");
  return fg_onnx_write(model->onnx, path, 0, NULL, NULL);
}

/* ---- datasets */

fgsm_status fgsm_attack_dataset(const fgsm_model *model, const char *data,
                                const fgsm_options *options, fgsm_progress_fn progress, void *user,
                                char **json) {
  if (!model || !data || !options)
    return FG_FAIL(USAGE, "fgsm_attack_dataset: model, data and options must not be NULL");
  FG_TRY(one_batch(options));
  return fg_job_attack(model->onnx, model->path, data, options, progress, user, json);
}

fgsm_status fgsm_train_dataset(const fgsm_model *model, const char *data,
                               const fgsm_options *options, fgsm_train_progress_fn progress,
                               void *user, char **json) {
  if (!data || !options)
    return FG_FAIL(USAGE, "fgsm_train_dataset: data and options must not be NULL");
  if (!model == !options->arch)
    return FG_FAIL(USAGE, "fgsm_train_dataset: a model, or option 'arch', and not both");
  FG_TRY(one_batch(options));
  if (options->batch_auto)
    return FG_FAIL(USAGE, "option 'batch': auto measures attacks; training wants a number");
  return fg_train(model ? model->onnx : NULL, model ? model->path : NULL, data, options, progress,
                  user, json);
}

fgsm_status fgsm_convert_dataset(const char *data, const char *out, const fgsm_options *options,
                                 int64_t *n) {
  if (!data || !out || !options)
    return FG_FAIL(USAGE, "fgsm_convert_dataset: data, out and options must not be NULL");
  return fg_job_convert(data, out, options, n);
}

/* ---- arrays. Samples pass through buffers of one batch, so that x and x_adv may be one array. */

struct fgsm_attack {
  struct fg_attacker *attacker;
  int64_t batch, values; /* values of one sample */
  bool predicted;        /* labels are the model's own */
  int card;              /* the device's number; -1: computes in the host's memory */
  struct fg_sample_shape shape;
  float *x_adv;
  int64_t *labels, *index;
  fgsm_result *results;
};

/* The shape of the attacked input, without its batch. */
static fgsm_status sample_shape(const struct fgsm_model *model, const struct fgsm_options *options,
                                struct fg_sample_shape *shape, int64_t *values) {
  int which;
  FG_TRY(fg_attack_input(model->onnx, options, &which));
  const struct fg_onnx_port *input = fg_onnx_input(model->onnx, which);
  if (input->rank < 1)
    return FG_FAIL(UNSUPPORTED, "%s: does not state the shape of its input '%s'", model->path,
                   input->name);
  *shape = (struct fg_sample_shape){.type = FG_F32, .rank = input->rank - 1};
  *values = 1;
  for (int i = 1; i < input->rank; i++) {
    if (input->dim[i] < 1 || !fg_mul_ok(*values, input->dim[i], values))
      return FG_FAIL(UNSUPPORTED, "%s: leaves dimension %d of its input '%s' open", model->path, i,
                     input->name);
    shape->dim[i - 1] = input->dim[i];
  }
  return FGSM_OK;
}

static fgsm_status make_buffers(struct fgsm_attack *a) {
  size_t n = (size_t)a->batch;
  int64_t count;
  if (!fg_mul_ok(a->values, 4 * a->batch, &count))
    return FG_FAIL(USAGE, "a batch of %lld samples is too large", (long long)a->batch);
  a->x_adv = calloc((size_t)count / 4, sizeof *a->x_adv);
  a->labels = calloc(n, sizeof *a->labels);
  a->index = calloc(n, sizeof *a->index);
  a->results = calloc(n, sizeof *a->results);
  if (!a->x_adv || !a->labels || !a->index || !a->results)
    return FG_FAIL(MEMORY, "no memory for a batch of %lld samples", (long long)a->batch);
  return FGSM_OK;
}

static fgsm_status prepare(struct fgsm_attack *a, const struct fgsm_model *model,
                           const struct fgsm_options *options) {
  struct fg_extras extras;
  struct fg_device_choice choice;
  struct fg_device *device;
  FG_TRY(sample_shape(model, options, &a->shape, &a->values));
  a->predicted = options->labels && strcmp(options->labels, "predicted") == 0;
  if (fg_job_target_file(options))
    return FG_FAIL(USAGE, "option 'target': a file of classes belongs to a dataset file; give "
                          "arrays a class or least-likely");
  FG_TRY(make_buffers(a));
  FG_TRY(fg_device_choose(options->device, &choice));
  if (choice.n > 1)
    return FG_FAIL(USAGE, "option 'device': arrays are attacked on one device, not %d", choice.n);
  a->card = choice.backend->host_memory ? -1 : choice.index[0];
  FG_TRY(fg_extras_load(options, &extras));
  fgsm_status status = fg_device_open(&choice, 0, options, &device);
  if (status == FGSM_OK)
    status = fg_attacker_create(model->onnx, options, device, &a->shape, &extras.arrays, a->batch,
                                &a->attacker);
  fg_extras_free(&extras);
  return status;
}

fgsm_status fgsm_attack_create(const fgsm_model *model, const fgsm_options *options, int64_t batch,
                               fgsm_attack **out) {
  if (!model || !options || !out)
    return FG_FAIL(USAGE, "fgsm_attack_create: model, options and out must not be NULL");
  if (batch < 1 || batch > 65536)
    return FG_FAIL(USAGE, "fgsm_attack_create: batch %lld is not from 1 to 65536",
                   (long long)batch);
  if (options->n_eps != 1)
    return FG_FAIL(USAGE, "fgsm_attack_create: option 'eps' must hold one value, not %d",
                   options->n_eps);
  if (options->out_type[0] == 'u')
    return FG_FAIL(USAGE, "fgsm_attack_create: arrays are float32; leave option 'out-type' unset");
  struct fgsm_attack *a = calloc(1, sizeof *a);
  if (!a)
    return FG_FAIL(MEMORY, "no memory for an attack");
  a->batch = batch;
  fgsm_status status = prepare(a, model, options);
  if (status == FGSM_OK)
    *out = a;
  else
    fgsm_attack_destroy(a);
  return status;
}

void fgsm_attack_destroy(fgsm_attack *attack) {
  if (!attack)
    return;
  fg_attacker_destroy(attack->attacker);
  free(attack->results);
  free(attack->index);
  free(attack->labels);
  free(attack->x_adv);
  free(attack);
}

fgsm_status fgsm_attack_run(fgsm_attack *a, int64_t n, const float *x, const int64_t *labels,
                            const int64_t *index, float *x_adv, fgsm_result *results) {
  if (!a || n < 0 || (n && (!x || !x_adv)) || (n && !labels && !a->predicted))
    return FG_FAIL(USAGE, "fgsm_attack_run: attack, x, x_adv and labels must not be NULL, nor n "
                          "negative");
  for (int64_t first = 0; first < n; first += a->batch) {
    int64_t some = n - first < a->batch ? n - first : a->batch;
    for (int64_t i = 0; i < some; i++) {
      a->labels[i] = a->predicted ? -1 : labels[first + i];
      a->index[i] = index ? index[first + i] : first + i;
    }
    void *adv = a->x_adv;
    fgsm_result *result = a->results;
    FG_TRY(fg_check_interrupt());
    FG_TRY(fg_attacker_run(a->attacker, some, x + first * a->values, a->labels, NULL, a->index,
                           &adv, &result));
    memcpy(x_adv + first * a->values, a->x_adv, (size_t)(some * a->values) * sizeof *a->x_adv);
    if (results)
      memcpy(results + first, a->results, (size_t)some * sizeof *results);
  }
  return FGSM_OK;
}

/* ---- views */

/* Whether the strides are those of rows that follow one another. */
static bool is_dense(const fgsm_view *v) {
  int64_t n = 1;
  for (int i = v->ndim - 1; i >= 0 && v->strides; i--) {
    if (v->shape[i] != 1 && v->strides[i] != n)
      return false;
    n *= v->shape[i];
  }
  return true;
}

/* A view's memory, where it is on the attack's device and of this shape: the batch, and the sample's. */
static fgsm_status view_data(const struct fgsm_attack *a, const char *what, const fgsm_view *v,
                             bool samples, void **out) {
  enum { DL_CPU = 1, DL_CUDA = 2 };
  if (!v || !v->data || (v->ndim && !v->shape))
    return FG_FAIL(USAGE, "fgsm_attack_run_view: %s has no data or shape", what);
  if (a->card < 0 ? v->device.type != DL_CPU : v->device.type != DL_CUDA || v->device.id != a->card)
    return FG_FAIL(USAGE,
                   "fgsm_attack_run_view: %s lies on device %d:%d (DLPack's numbers), the "
                   "attack computes on %d:%d",
                   what, (int)v->device.type, (int)v->device.id, a->card < 0 ? DL_CPU : DL_CUDA,
                   a->card < 0 ? 0 : a->card);
  bool fits = v->ndim == (samples ? a->shape.rank + 1 : 1) && v->shape[0] == a->batch;
  for (int i = 0; fits && samples && i < a->shape.rank; i++)
    fits = v->shape[i + 1] == a->shape.dim[i];
  if (!fits)
    return FG_FAIL(USAGE, "fgsm_attack_run_view: %s is not [%lld%s]", what, (long long)a->batch,
                   samples ? ", the model's input" : "");
  if (!is_dense(v))
    return FG_FAIL(USAGE, "fgsm_attack_run_view: %s is not dense, row after row", what);
  *out = (char *)v->data + v->byte_offset;
  if ((uintptr_t)*out % 64)
    return FG_FAIL(USAGE, "fgsm_attack_run_view: %s does not begin on a multiple of 64 bytes",
                   what);
  return FGSM_OK;
}

static bool has_type(const fgsm_view *v, int code, int bits) {
  return v->dtype.code == code && v->dtype.bits == bits && v->dtype.lanes == 1;
}

fgsm_status fgsm_attack_run_view(fgsm_attack *a, const fgsm_view *x, const fgsm_view *labels,
                                 int64_t first_index, const fgsm_view *x_adv, void *stream) {
  enum { DL_INT = 0, DL_FLOAT = 2 };
  struct fg_view view = {.first_index = first_index, .stream = stream};
  if (!a || first_index < 0)
    return FG_FAIL(USAGE,
                   "fgsm_attack_run_view: attack must not be NULL, nor first_index negative");
  if (fg_attacker_info(a->attacker)->batch != a->batch)
    return FG_FAIL(USAGE, "fgsm_attack_run_view: the model fixes its batch at %lld, not %lld",
                   (long long)fg_attacker_info(a->attacker)->batch, (long long)a->batch);
  FG_TRY(view_data(a, "x", x, true, &view.x));
  FG_TRY(view_data(a, "x_adv", x_adv, true, &view.x_adv));
  if (!has_type(x, DL_FLOAT, 32) || !has_type(x_adv, DL_FLOAT, 32))
    return FG_FAIL(USAGE, "fgsm_attack_run_view: x and x_adv must be float32");
  if (labels) {
    FG_TRY(view_data(a, "labels", labels, false, &view.labels));
    if (!has_type(labels, DL_INT, 32) && !has_type(labels, DL_INT, 64))
      return FG_FAIL(USAGE, "fgsm_attack_run_view: labels must be int32 or int64");
    view.labels_type = labels->dtype.bits == 32 ? FG_I32 : FG_I64;
  }
  return fg_attacker_run_view(a->attacker, &view);
}

/* ---- devices */

/* A line for one device, or for a backend that cannot be used (index < 0, the reason being the last
 * error); false if memory ran out. */
static bool list_device(const char *name, const struct fg_backend *backend, int index,
                        struct fg_text *table, json_t *list) {
  char line[1024], label[32];
  struct fg_device *device = NULL;
  bool usable = index >= 0 && backend->open(index, fg_cpu_count(), &device) == FGSM_OK;
  if (usable)
    usable = backend->describe(device, line, sizeof line) == FGSM_OK;
  if (!usable)
    fg_error_copy(line, sizeof line);
  if (device)
    backend->close(device);
  if (backend && index >= 0 && strcmp(name, "cuda") == 0)
    snprintf(label, sizeof label, "%s:%d", name, index);
  else
    snprintf(label, sizeof label, "%s", name);
  fg_text_add(table, "%-6s %s%s\n", label, usable ? "" : "unusable: ", line);
  return json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "name", label, "usable", usable,
                                               "description", line)) == 0;
}

static bool list_backend(const char *name, struct fg_text *table, json_t *list) {
  const struct fg_backend *backend = NULL;
  int n = 0;
  if (fg_backend_find(name, &backend) != FGSM_OK || backend->count(&n) != FGSM_OK)
    return list_device(name, backend, -1, table, list);
  for (int i = 0; i < n; i++)
    if (!list_device(name, backend, i, table, list))
      return false;
  return true;
}

fgsm_status fgsm_devices_describe(int json, char **text) {
  if (!text)
    return FG_FAIL(USAGE, "fgsm_devices_describe: text must not be NULL");
  struct fg_text table = {0};
  json_t *list = json_array();
  bool whole = list != NULL;
  for (int i = 0; fg_backend_name(i) && whole; i++)
    whole = list_backend(fg_backend_name(i), &table, list);
  json_t *object = whole ? json_pack("{s:O}", "devices", list) : NULL;
  char *answer = NULL;
  if (json && object)
    answer = json_dumps(object, JSON_INDENT(2));
  else if (object && !table.failed) {
    answer = table.data;
    table.data = NULL;
  }
  json_decref(object);
  json_decref(list);
  fg_text_free(&table);
  if (!answer)
    return FG_FAIL(MEMORY, "no memory to describe the devices");
  *text = answer;
  return FGSM_OK;
}
