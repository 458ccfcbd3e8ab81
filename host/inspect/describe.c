/* Gathers what `fgsm inspect` shows. The model is built as an attack would build it, and planned for what an attack takes
 * in one pass, but every
 * failure of the model's own making becomes a line of the description, so that a user sees all of
 * them at once; only faults of the device, memory or options end it. */
#include "describe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attack.h"
#include "job.h"

fgsm_status fg_describe_problem(struct fg_description *d, fgsm_status status, const char *where) {
  if (status != FGSM_UNSUPPORTED && status != FGSM_MODEL && status != FGSM_USAGE)
    return status;
  char why[400];
  fg_error_copy(why, sizeof why);
  FG_TRY(fg_grow(&d->problems.items, &d->problems.capacity, d->problems.n + 1,
                 sizeof *d->problems.items));
  struct fg_onnx_problem *problem = &d->problems.items[d->problems.n++];
  snprintf(problem->text, sizeof problem->text, "%s: %s", where, why);
  return FGSM_OK;
}

static bool is_batch_open(const struct fg_onnx *onnx) {
  for (int i = 0; i < fg_onnx_n_inputs(onnx); i++)
    if (fg_onnx_input(onnx, i)->rank > 0 && fg_onnx_input(onnx, i)->dim[0] < 0)
      return true;
  return false;
}

/* The file's own batch where it fixes one. */
static int64_t choose_batch(const struct fg_onnx *onnx, const fgsm_options *options) {
  if (is_batch_open(onnx))
    return options->batch > 0 ? options->batch : 1;
  const struct fg_onnx_port *first = fg_onnx_n_inputs(onnx) ? fg_onnx_input(onnx, 0) : NULL;
  return first && first->rank > 0 && first->dim[0] > 0 ? first->dim[0] : 1;
}

/* *whole: all of it could be built; what could not is listed. */
static fgsm_status read_model(struct fg_description *d, struct fg_device *device, int64_t batch,
                              struct fg_described_model *m, bool *whole) {
  size_t n_in = (size_t)fg_onnx_n_inputs(d->onnx), n_out = (size_t)fg_onnx_n_outputs(d->onnx);
  m->inputs = malloc((n_in + 1) * sizeof *m->inputs);
  m->outputs = malloc((n_out + 1) * sizeof *m->outputs);
  if (!m->inputs || !m->outputs)
    return FG_FAIL(MEMORY, "no memory for %zu inputs and outputs", n_in + n_out);
  for (size_t i = 0; i < n_in; i++)
    m->inputs[i] = FG_ABSENT;
  for (size_t i = 0; i < n_out; i++)
    m->outputs[i] = FG_ABSENT;
  fgsm_status status = fg_graph_create(device->backend->real, &m->graph);
  if (status == FGSM_OK && d->memory_limit < m->graph->arena.limit_bytes)
    m->graph->arena.limit_bytes = d->memory_limit;
  if (status == FGSM_OK)
    status =
        fg_onnx_build(d->onnx, m->graph, batch, false, NULL, m->inputs, m->outputs, &d->problems);
  *whole = status == FGSM_OK;
  if (status == FGSM_USAGE)
    status = fg_describe_problem(d, status, "inputs");
  if (status == FGSM_UNSUPPORTED || status == FGSM_MODEL) /* listed */
    status = FGSM_OK;
  return status;
}

/* As the attack cuts it; a sample's elements are those of the first input of float type. */
static int64_t choose_strip(const struct fg_description *d, const struct fg_device *device) {
  const struct fg_graph *g = d->read.graph;
  for (int i = 0; i < fg_onnx_n_inputs(d->onnx) && is_batch_open(d->onnx); i++) {
    fg_id x = d->read.inputs[i];
    if (x != FG_ABSENT && fg_type_is_real(fg_value(g, x)->type))
      return fg_strip_samples(g, device, d->batch, fg_value_count(g, x) / d->batch);
  }
  return d->batch;
}

static fgsm_status gather(struct fg_description *d, struct fg_device *device) {
  bool whole;
  FG_TRY(read_model(d, device, d->batch, &d->read, &whole));
  FG_TRY(fg_describe_nodes(d));
  if (!whole)
    return FGSM_OK;
  d->strip = choose_strip(d, device);
  d->pass = d->read;
  if (d->strip < d->batch) {
    d->pass = (struct fg_described_model){0};
    FG_TRY(read_model(d, device, d->strip, &d->pass, &whole));
  }
  return whole ? fg_describe_plans(d, device) : FGSM_OK;
}

/* What less than exact arithmetic costs: the gradient both ways. */
static fgsm_status agree(struct fg_description *d, const struct fg_device_choice *choice) {
  struct fg_extras extras;
  d->approximates = d->gradient_plan.plan && fg_agree_wanted(d->options, &d->gradient_plan.info);
  if (!d->approximates)
    return FGSM_OK;
  FG_TRY(fg_extras_load(d->options, &extras));
  fgsm_status status = fg_agree_generated(d->onnx, d->options, choice, &extras.arrays, d->batch,
                                          d->strip, &d->agreement);
  fg_extras_free(&extras);
  return status;
}

static void release_model(struct fg_described_model *m) {
  free(m->outputs);
  free(m->inputs);
  fg_graph_destroy(m->graph);
}

static void release(struct fg_description *d) {
  fg_described_plan_free(&d->forward_plan);
  fg_described_plan_free(&d->gradient_plan);
  free(d->called);
  free(d->problems.items);
  free(d->nodes);
  if (d->pass.graph != d->read.graph)
    release_model(&d->pass);
  release_model(&d->read);
}

fgsm_status fg_describe(const struct fg_onnx *onnx, const char *path, const fgsm_options *options,
                        bool json, char **text, char **dot) {
  struct fg_device_choice choice;
  struct fg_device *device = NULL;
  struct fg_description d = {.onnx = onnx, .path = path, .options = options};
  *text = *dot = NULL;
  FG_TRY(fg_device_choose(options->device, &choice));
  FG_TRY(fg_device_open(&choice, 0, options, &device));
  d.device = choice.backend->name;
  d.precision = device->backend->real == FG_F64 ? "fp64" : fg_precision_name(device->precision);
  d.batch = d.strip = choose_batch(onnx, options);
  d.memory_limit = fg_options_memory(options);
  fgsm_status status = gather(&d, device);
  if (status == FGSM_OK)
    status = agree(&d, &choice);
  if (status == FGSM_OK)
    status = json ? fg_describe_json(&d, text) : fg_describe_text(&d, text);
  if (status == FGSM_OK && options->dot)
    status = fg_describe_dot(&d, dot);
  if (status != FGSM_OK) {
    free(*text);
    *text = NULL;
  }
  release(&d);
  choice.backend->close(device);
  return status;
}
