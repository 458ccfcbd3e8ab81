#include "net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static fgsm_status add_objective(struct fg_graph *g, const struct net_options *o, struct net *net) {
  fg_id out[FG_MAX_OUT], logits = net->logits;
  struct fg_value v = *fg_value(g, logits);
  net->batch = v.dim[0];
  net->classes = fg_value_count(g, logits) / net->batch;
  if (v.rank != 2)
    FG_TRY(fg_reshape(g, logits, 2, (int64_t[]){net->batch, net->classes}, &logits));
  FG_TRY(fg_graph_input(g, "labels", FG_I32, 1, &net->batch, &net->labels));
  union fg_attrs a = {.loss = {.kind = FG_LOSS_ce, .parity = !o->never_zero}};
  FG_TRY(fg_graph_add(g, FG_OP_loss, "loss", &a, 2, (fg_id[]){logits, net->labels}, out));
  net->loss = out[1];
  net->prediction = out[2];
  FG_TRY(fg_grad(g, 1, &logits, &out[0], net->n_inputs, net->x, net->grad));
  FG_TRY(fg_graph_output(g, net->loss, NULL));
  FG_TRY(fg_graph_output(g, net->prediction, NULL));
  for (int i = 0; i < net->n_inputs; i++)
    if (net->grad[i] != FG_ABSENT)
      FG_TRY(fg_graph_output(g, net->grad[i], NULL));
  return FGSM_OK;
}

static fgsm_status build(const struct net_options *o, int64_t batch, struct net *net,
                         struct fg_graph *g) {
  fg_id outputs[16];
  net->n_inputs = fg_onnx_n_inputs(net->onnx);
  if (net->n_inputs > NET_MOST_INPUTS)
    return FG_FAIL(UNSUPPORTED, "%d inputs", net->n_inputs);
  FG_TRY(fg_onnx_build(net->onnx, g, batch, false, NULL, net->x, outputs, NULL));
  net->logits = outputs[o->output];
  if (!o->keep_softmax)
    fg_find_logits(g, outputs[o->output], &net->logits, &net->softmax_stripped);
  FG_TRY(fg_graph_output(g, net->logits, NULL));
  if (!o->no_fuse)
    FG_TRY(fg_recognise(g, net->device));
  FG_TRY(fg_fold(g));
  return add_objective(g, o, net);
}

fgsm_status net_open(const char *path, const struct fg_backend *backend, int64_t batch,
                     const struct net_options *options, struct net *net) {
  struct fg_graph *g = NULL;
  memset(net, 0, sizeof *net);
  fgsm_status status = backend->open(0, fg_cpu_count(), &net->device);
  if (status == FGSM_OK) {
    net->device->precision = options->precision;
    net->device->convolutions = options->convolutions;
    status = fg_onnx_open(path, &net->onnx);
  }
  if (status == FGSM_OK)
    status = fg_graph_create(backend->real, &g);
  if (status == FGSM_OK)
    status = build(options, batch, net, g);
  if (status == FGSM_OK && !options->no_fuse)
    status = fg_fuse(g, net->device);
  if (status == FGSM_OK)
    status = fg_halve(g, net->device);
  if (status == FGSM_OK && !options->no_fuse && !options->plain)
    status = fg_layout(g, net->device);
  if (status == FGSM_OK && !options->no_fuse)
    status = fg_mask(g, net->device);
  if (status == FGSM_OK) {
    status = fg_plan_create(g, net->device, false, &net->plan);
    g = NULL;
  }
  if (status == FGSM_OK)
    status = fg_plan_place(net->plan, NULL);
  fg_graph_destroy(g);
  if (status != FGSM_OK)
    net_close(net);
  return status;
}

/* Memory of the device for an input, filled with doubles (or labels) in the value's type. */
static fgsm_status bind_input(struct net *net, fg_id id, const double *x, const int64_t *labels) {
  const struct fg_graph *g = fg_plan_graph(net->plan);
  const struct fg_backend *backend = net->device->backend;
  int64_t n = fg_value_count(g, id);
  size_t bytes = fg_value_bytes(g, id);
  void *data = fg_plan_data(net->plan, id), *image = malloc(bytes + 1);
  fgsm_status status = image ? FGSM_OK : FG_FAIL(MEMORY, "no memory for a test input");
  if (status == FGSM_OK && !data) {
    status = backend->alloc(net->device, bytes, &data);
    if (status == FGSM_OK)
      status = fg_plan_bind(net->plan, id, data);
  }
  for (int64_t i = 0; i < n && status == FGSM_OK; i++)
    switch (fg_value(g, id)->type) {
    case FG_F32:
      ((float *)image)[i] = (float)x[i];
      break;
    case FG_F64:
      ((double *)image)[i] = x[i];
      break;
    default:
      ((int32_t *)image)[i] = labels ? (int32_t)labels[i] : 0;
    }
  if (status == FGSM_OK)
    status = backend->upload(net->device, data, image, bytes, NULL);
  free(image);
  return status;
}

fgsm_status net_run(struct net *net, const double *const *x, const int64_t *labels) {
  for (int i = 0; i < net->n_inputs; i++)
    FG_TRY(bind_input(net, net->x[i], x[i], NULL));
  FG_TRY(bind_input(net, net->labels, NULL, labels));
  FG_TRY(fg_plan_run(net->plan, NULL));
  return net->device->backend->sync(net->device, NULL);
}

double *net_read(const struct net *net, fg_id value, int64_t *n) {
  const struct fg_graph *g = fg_plan_graph(net->plan);
  const struct fg_backend *backend = net->device->backend;
  *n = fg_value_count(g, value);
  size_t bytes = fg_value_bytes(g, value);
  double *out = malloc((size_t)(*n + 1) * sizeof *out);
  void *image = malloc(bytes + 1);
  bool whole = out && image &&
               backend->download(net->device, image, fg_plan_data(net->plan, value), bytes, NULL) ==
                   FGSM_OK &&
               backend->sync(net->device, NULL) == FGSM_OK;
  for (int64_t i = 0; i < *n && whole; i++)
    switch (fg_value(g, value)->type) {
    case FG_F32:
      out[i] = ((const float *)image)[i];
      break;
    case FG_F64:
      out[i] = ((const double *)image)[i];
      break;
    default:
      out[i] = ((const int32_t *)image)[i];
    }
  free(image);
  if (whole)
    return out;
  free(out);
  return NULL;
}

void net_close(struct net *net) {
  if (net->plan) {
    const struct fg_backend *backend = net->device->backend;
    for (int i = 0; i < net->n_inputs; i++)
      backend->free(net->device, fg_plan_data(net->plan, net->x[i]));
    backend->free(net->device, fg_plan_data(net->plan, net->labels));
    fg_plan_destroy(net->plan);
  }
  fg_onnx_close(net->onnx);
  if (net->device)
    net->device->backend->close(net->device);
  memset(net, 0, sizeof *net);
}

const char *test_data(const char *what) {
  const char *dir = getenv("FGSM_TEST_DATA");
  if (!dir)
    dir = FGSM_SOURCE_DIR "/../shared/data";
  if (access(dir, R_OK) == 0)
    return dir;
  printf("skipped: %s (no folder %s; set FGSM_TEST_DATA)\n", what, dir);
  fflush(stdout);
  return NULL;
}

const char *golden_dir(void) {
  const char *dir = getenv("FGSM_TEST_GOLDEN");
  return dir ? dir : FGSM_SOURCE_DIR "/tests/golden";
}
