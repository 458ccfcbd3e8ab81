/* A model from a stranger, and all that its file reaches: read, built, folded, differentiated, fused,
 * planned, described; attacked where its output can be taken for logits; and run, forward and back,
 * where that is little work. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "graph.h"
#include "onnx.h"
#include "op.h"

static const double MOST_FLOPS = 1e6; /* sanitizers are slow */
static const size_t MOST_BYTES = 16 << 20;

static void set(fgsm_options *o, const char *name, const char *value) {
  if (fgsm_options_set(o, name, value) != FGSM_OK)
    abort();
}

static fgsm_options *make_options(const char *device, const char *batch) {
  fgsm_options *o = NULL;
  if (fgsm_options_create(&o) != FGSM_OK)
    abort();
  set(o, "device", device);
  set(o, "batch", batch);
  set(o, "threads", "1");
  set(o, "eps", "0.1");
  set(o, "labels", "predicted");
  set(o, "max-memory", "64M");
  return o;
}

/* ---- inspect */

static bool describe(const fgsm_model *model, const char *device, const char *batch, int json) {
  fgsm_options *o = make_options(device, batch);
  char *text = NULL;
  bool ok = fuzz_check(fgsm_model_describe(model, o, json, &text));
  fgsm_free(text);
  fgsm_options_destroy(o);
  return ok;
}

/* ---- run: the outputs and their gradient, on zeros */

struct bound {
  struct fg_device *device;
  void *memory[64];
  int n;
};

static fgsm_status bind_all(struct fg_plan *plan, struct bound *b) {
  const struct fg_graph *g = fg_plan_graph(plan);
  for (fg_id i = 0; i < g->n_values && b->n < 64; i++) {
    if (fg_value(g, i)->role != FG_ROLE_INPUT)
      continue;
    size_t bytes = fg_value_bytes(g, i);
    FG_TRY(b->device->backend->alloc(b->device, bytes ? bytes : 1, &b->memory[b->n]));
    memset(b->memory[b->n], 0, bytes);
    FG_TRY(fg_plan_bind(plan, i, b->memory[b->n++]));
  }
  return FGSM_OK;
}

static size_t bytes_of_inputs(const struct fg_graph *g, int *n) {
  size_t bytes = 0;
  *n = 0;
  for (fg_id i = 0; i < g->n_values; i++)
    if (fg_value(g, i)->role == FG_ROLE_INPUT) {
      bytes += fg_value_bytes(g, i);
      ++*n;
    }
  return bytes;
}

/* Takes over the graph. */
static fgsm_status plan_and_run(struct fg_graph *g, struct fg_device *device) {
  struct fg_plan *plan = NULL;
  struct bound b = {.device = device};
  struct fg_plan_info size;
  int n = 0;
  fgsm_status status = fg_plan_size(g, &size);
  if (status != FGSM_OK || size.arena_bytes > MOST_BYTES) { /* as every caller asks first */
    fg_graph_destroy(g);
    return status;
  }
  FG_TRY(fg_plan_create(g, device, true, &plan));
  const struct fg_plan_info *info = fg_plan_info(plan);
  size_t bytes = bytes_of_inputs(fg_plan_graph(plan), &n);
  if (info->flops < MOST_FLOPS && info->arena_bytes < MOST_BYTES && bytes < MOST_BYTES && n < 64) {
    status = fg_plan_place(plan, NULL);
    if (status == FGSM_OK)
      status = bind_all(plan, &b);
    if (status == FGSM_OK)
      status = fg_plan_run(plan, NULL);
  }
  fg_plan_destroy(plan);
  for (int i = 0; i < b.n; i++)
    device->backend->free(device, b.memory[i]);
  return status;
}

static fgsm_status differentiate(struct fg_graph *g, int n_in, const fg_id *in, int n_out,
                                 const fg_id *out) {
  fg_id wrt[8], grads[8], of = FG_ABSENT, seed;
  int n = 0;
  for (int i = 0; i < n_out && i < 8; i++) {
    FG_TRY(fg_graph_output(g, out[i], NULL));
    if (of == FG_ABSENT && fg_type_is_real(fg_value(g, out[i])->type))
      of = g->outputs[g->n_outputs - 1];
  }
  FG_TRY(fg_fold(g));
  for (int i = 0; i < n_in && n < 8; i++)
    if (fg_type_is_real(fg_value(g, in[i])->type))
      wrt[n++] = in[i];
  if (of == FG_ABSENT || !n)
    return FGSM_OK;
  of = g->outputs[0];
  for (int i = 0; i < g->n_outputs; i++)
    if (fg_type_is_real(fg_value(g, g->outputs[i])->type))
      of = g->outputs[i];
  struct fg_value like = *fg_value(g, of);
  FG_TRY(fg_graph_input(g, "seed", like.type, like.rank, like.dim, &seed));
  FG_TRY(fg_grad(g, 1, &of, &seed, n, wrt, grads));
  for (int i = 0; i < n; i++)
    if (grads[i] != FG_ABSENT)
      FG_TRY(fg_graph_output(g, grads[i], NULL));
  return FGSM_OK;
}

static bool run_gradient(const struct fg_onnx *onnx, const struct fg_backend *backend,
                         int64_t batch) {
  struct fg_device *device = NULL;
  struct fg_graph *g = NULL;
  int n_in = fg_onnx_n_inputs(onnx), n_out = fg_onnx_n_outputs(onnx);
  fg_id *ids = calloc((size_t)n_in + (size_t)n_out + 1, sizeof *ids);
  if (!ids || backend->open(0, 1, &device) != FGSM_OK)
    abort();
  fgsm_status status = fg_graph_create(backend->real, &g);
  if (status == FGSM_OK) {
    g->arena.limit_bytes = MOST_BYTES;
    status = fg_onnx_build(onnx, g, batch, false, NULL, ids, ids + n_in, NULL);
  }
  if (status == FGSM_OK)
    status = differentiate(g, n_in, ids, n_out, ids + n_in);
  if (status == FGSM_OK)
    status = fg_fuse(g, device);
  if (status == FGSM_OK)
    status = fg_layout(g, device);
  if (status == FGSM_OK)
    status = plan_and_run(g, device);
  else
    fg_graph_destroy(g);
  free(ids);
  backend->close(device);
  return fuzz_check(status);
}

/* ---- attack */

/* The bytes of one sample, if the file says it and they are few. */
static size_t sample_floats(const struct fg_onnx *onnx) {
  size_t n = 1;
  if (fg_onnx_n_inputs(onnx) != 1)
    return 0;
  const struct fg_onnx_port *port = fg_onnx_input(onnx, 0);
  for (int i = 1; i < port->rank; i++) {
    if (port->dim[i] < 1 || port->dim[i] > 1 << 16)
      return 0;
    n *= (size_t)port->dim[i];
    if (n > 1 << 14)
      return 0;
  }
  return port->rank < 1 ? 0 : n;
}

static bool attack(const fgsm_model *model, const char *device, size_t floats) {
  fgsm_options *o = make_options(device, "2");
  fgsm_attack *a = NULL;
  fgsm_result results[3];
  float *x = calloc(3 * floats, sizeof *x);
  if (!x)
    abort();
  fgsm_status status = fgsm_attack_create(model, o, 2, &a);
  if (status == FGSM_OK)
    status = fgsm_attack_run(a, 3, x, NULL, NULL, x, results);
  fgsm_attack_destroy(a);
  free(x);
  fgsm_options_destroy(o);
  return fuzz_check(status);
}

/* ---- */

/* Models that would compute for long are not attacked: it is a plan's cost that says so. */
static bool is_little(const fgsm_model *model) {
  fgsm_options *o = make_options("cpu", "2");
  char *text = NULL;
  double flops = 1e30;
  if (fuzz_check(fgsm_model_describe(model, o, 1, &text))) {
    const char *at = strstr(text, "\"gradient\": {");
    at = at ? strstr(at, "\"flops\": ") : NULL;
    if (at)
      flops = strtod(at + 9, NULL);
  }
  fgsm_free(text);
  fgsm_options_destroy(o);
  return flops < MOST_FLOPS;
}

static bool model(const uint8_t *data, size_t n, bool thorough) {
  static const uint8_t beside[256] = {0, 0, 128, 63};
  fgsm_model *model = NULL;
  struct fg_onnx *onnx = NULL;
  uint32_t way = fuzz_hash(data, n) % 6;
  (void)fuzz_file("x.data", beside, sizeof beside); /* for tensors that lie in another file */
  const char *path = fuzz_file("x.onnx", data, n);
  fgsm_options *o = make_options("cpu", "2");
  bool loaded = fuzz_check(fgsm_model_load_within(path, o, &model));
  fgsm_options_destroy(o);
  if (!loaded)
    return false;
  bool taken = false;
  if (thorough || way == 0)
    taken = describe(model, "cpu", "2", 0) || taken;
  if (thorough || way == 1)
    taken = describe(model, "ref", "1", 1) || taken;
  if ((thorough || way > 1) && !fuzz_check(fg_onnx_open(path, &onnx)))
    abort(); /* it was opened a moment ago */
  if (thorough || way == 2)
    taken = run_gradient(onnx, &fg_ref, 1) || taken;
  if (thorough || way == 3 || way == 4)
    taken = run_gradient(onnx, &fg_cpu, 2) || taken;
  size_t floats = thorough || way == 5 ? sample_floats(onnx) : 0;
  if (floats && is_little(model)) {
    taken = attack(model, "cpu", floats) || taken;
    if (thorough)
      taken = attack(model, "ref", floats) || taken;
  }
  fg_onnx_close(onnx);
  fgsm_model_destroy(model);
  return taken;
}

const struct fuzz_target fuzz_model = {"model", model};
