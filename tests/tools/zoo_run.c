/* zoo-run MODEL ARRAYS.npz DEVICE OUT [OUTPUT]: logits of the array x (the model's first output, or the
 * one named), and the gradient with respect to x of sum seed * logits, as doubles in that order to
 * OUT. What python/check_zoo.py compares with the framework. Prints the planner's figures as one line
 * of JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "onnx.h"

struct job {
  struct fg_device *device;
  struct fg_onnx *onnx;
  struct fg_graph *g; /* NULL once the plan has it */
  struct fg_plan *plan;
  void *x, *seed, *memory;
  fg_id input;
};

static fgsm_status load(const char *npz, const char *member, int *rank, int64_t *dim, void **out) {
  char path[4096];
  snprintf(path, sizeof path, "%s:%s", npz, member);
  return fg_npy_load(path, FG_F64, rank, dim, out);
}

/* The number of the output called `name`; the first where that is NULL. */
static fgsm_status find_output(const struct fg_onnx *onnx, const char *name, int *which) {
  for (*which = 0; *which < fg_onnx_n_outputs(onnx); ++*which)
    if (!name || strcmp(fg_onnx_output(onnx, *which)->name, name) == 0)
      return FGSM_OK;
  return FG_FAIL(USAGE, "the model has no output '%s'", name ? name : "");
}

static fgsm_status build(struct job *j, const char *npz, const char *output) {
  int rank, which;
  int64_t dim[FG_MAX_RANK];
  fg_id logits, seed, grad;
  FG_TRY(load(npz, "x", &rank, dim, &j->x));
  FG_TRY(find_output(j->onnx, output, &which));
  if (fg_onnx_n_inputs(j->onnx) != 1)
    return FG_FAIL(UNSUPPORTED, "a zoo model has one input");
  FG_TRY(fg_graph_create(j->device->backend->real, &j->g));
  FG_TRY(fg_graph_input(j->g, "x", j->g->real, rank, dim, &j->input));
  FG_TRY(fg_onnx_build_output(j->onnx, j->g, dim[0], false, &j->input, which, &logits));
  FG_TRY(fg_graph_output(j->g, logits, NULL));
  FG_TRY(fg_recognise(j->g, j->device));
  FG_TRY(fg_fold(j->g));
  FG_TRY(load(npz, "seed", &rank, dim, &j->seed));
  FG_TRY(fg_graph_constant(j->g, "seed", FG_F64, rank, dim, j->seed, &seed));
  FG_TRY(fg_grad(j->g, 1, &j->g->outputs[0], &seed, 1, &j->input, &grad));
  if (grad == FG_ABSENT)
    return FG_FAIL(CHECK, "the logits do not depend on the input");
  return fg_graph_output(j->g, grad, NULL);
}

static fgsm_status start(struct job *j) {
  const struct fg_backend *b = j->device->backend;
  FG_TRY(fg_fuse(j->g, j->device));
  FG_TRY(fg_layout(j->g, j->device));
  FG_TRY(fg_mask(j->g, j->device));
  struct fg_graph *g = j->g;
  int64_t n = fg_value_count(g, j->input);
  j->g = NULL;
  FG_TRY(fg_plan_create(g, j->device, true, &j->plan));
  FG_TRY(fg_plan_place(j->plan, NULL));
  float *narrow = malloc((size_t)n * sizeof *narrow);
  if (!narrow)
    return FG_FAIL(MEMORY, "no memory for the input");
  for (int64_t i = 0; i < n; i++)
    narrow[i] = (float)((double *)j->x)[i];
  size_t bytes = (size_t)n * fg_type_size(b->real);
  fgsm_status status = b->alloc(j->device, bytes, &j->memory);
  if (status == FGSM_OK)
    status =
        b->upload(j->device, j->memory, b->real == FG_F64 ? j->x : (void *)narrow, bytes, NULL);
  if (status == FGSM_OK)
    status = b->sync(j->device, NULL);
  free(narrow);
  return status == FGSM_OK ? fg_plan_bind(j->plan, j->input, j->memory) : status;
}

static fgsm_status put(struct job *j, int slot, FILE *out) {
  const struct fg_backend *b = j->device->backend;
  const struct fg_graph *g = fg_plan_graph(j->plan);
  int64_t n = fg_value_count(g, g->outputs[slot]);
  double *values = malloc((size_t)n * sizeof *values);
  if (!values)
    return FG_FAIL(MEMORY, "no memory for a result");
  fgsm_status status = b->download(j->device, values, fg_plan_data(j->plan, g->outputs[slot]),
                                   (size_t)n * fg_type_size(b->real), NULL);
  if (status == FGSM_OK)
    status = b->sync(j->device, NULL);
  for (int64_t i = n; b->real == FG_F32 && i-- > 0;)
    values[i] = ((float *)(void *)values)[i];
  if (status == FGSM_OK && fwrite(values, sizeof *values, (size_t)n, out) != (size_t)n)
    status = FG_FAIL(IO, "the results cannot be written");
  free(values);
  return status;
}

static fgsm_status run(struct job *j, char **argv) {
  const struct fg_backend *b = strcmp(argv[3], "cpu") == 0 ? &fg_cpu : &fg_ref;
  FG_TRY(b->open(0, 1, &j->device));
  FG_TRY(b->enter(j->device));
  FG_TRY(fg_onnx_open(argv[1], &j->onnx));
  FG_TRY(build(j, argv[2], argv[5]));
  FG_TRY(start(j));
  double before = fg_now();
  FG_TRY(fg_plan_run(j->plan, NULL));
  FG_TRY(b->sync(j->device, NULL));
  double seconds = fg_now() - before;
  FILE *out = fopen(argv[4], "wb");
  if (!out)
    return FG_FAIL(IO, "%s cannot be written", argv[4]);
  fgsm_status status = put(j, 0, out);
  if (status == FGSM_OK)
    status = put(j, 1, out);
  if (fclose(out) != 0 && status == FGSM_OK)
    status = FG_FAIL(IO, "%s cannot be written", argv[4]);
  const struct fg_plan_info *info = fg_plan_info(j->plan);
  printf("{\"opset\": %lld, \"calls\": %d, \"flops\": %.0f, \"arena_bytes\": %zu, \"seconds\": "
         "%.4f}\n",
         (long long)fg_onnx_opset(j->onnx), info->n_calls, info->flops, info->arena_bytes, seconds);
  return status;
}

int main(int argc, char **argv) {
  struct job j = {0};
  if (argc != 5 && argc != 6) {
    fprintf(stderr, "usage: zoo-run MODEL ARRAYS.npz cpu|ref OUT [OUTPUT]\n");
    return 2;
  }
  fgsm_status status = run(&j, argv);
  if (status != FGSM_OK)
    fprintf(stderr, "%s\n", fgsm_last_error());
  fg_plan_destroy(j.plan);
  fg_graph_destroy(j.g);
  if (j.memory)
    j.device->backend->free(j.device, j.memory);
  if (j.device)
    j.device->backend->close(j.device);
  fg_onnx_close(j.onnx);
  free(j.x);
  free(j.seed);
  return status == FGSM_OK ? 0 : 1;
}
