/* See node_samples.h. */
#include "node_samples.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "onnx_suite.h"

/* Operators whose result's shape depends on their input, or which read its bits: that is given as a
 * constant too. Sizes and regions that are written as floats are constants in models. */
static const char *const foldable[] = {"nonzero", "unique", "bitcast"};
static const char *const fixed[] = {"scales", "roi", "rois", "M", "trip_count"};
/* But here regions are data: the others show them as constants. */
static const char *const computed_regions = "roialign_aligned_true";

static char suite_folder[600]; /* of the newer tests, while they are looked at; else empty */

static const char *data_folder(void) {
  if (*suite_folder)
    return suite_folder;
  const char *folder = getenv("FGSM_ONNX_TESTDATA");
  return folder ? folder : "/usr/share/libonnx-testdata/data/node";
}

bool node_suite_is_newer(void) {
  return *suite_folder != 0;
}

bool node_suite_is_there(void) {
  return onnx_suite_unpack(suite_folder, sizeof suite_folder);
}

void node_suite_enter(void) {
  if (!node_suite_is_there())
    cr_skip_test("no newer node tests");
}

void node_suite_leave(void) {
  onnx_suite_remove(suite_folder);
  *suite_folder = 0;
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

int node_folders(char *names[NODE_FOLDERS]) {
  int n = 0;
  DIR *d = opendir(data_folder());
  if (!d) {
    fprintf(stderr, "onnx_node: skipped, %s is absent (install libonnx-testdata)\n", data_folder());
    cr_skip_test("no test data");
  }
  for (struct dirent *e; (e = readdir(d)) && n < NODE_FOLDERS;)
    if (strncmp(e->d_name, "test_", 5) == 0)
      names[n++] = strdup(e->d_name + 5);
  closedir(d);
  qsort(names, (size_t)n, sizeof *names, by_name);
  cr_assert(n > 150, "only %d folders in %s", n, data_folder());
  return n;
}

static fgsm_status read_tensor(const char *name, const char *what, int i, struct node_tensor *t) {
  char path[900];
  snprintf(path, sizeof path, "%s/test_%s/test_data_set_0/%s_%d.pb", data_folder(), name, what, i);
  fgsm_status status = fg_onnx_read_tensor(path, &t->type, &t->rank, t->dim, &t->data);
  t->n = 1;
  for (int k = 0; status == FGSM_OK && k < t->rank; k++)
    t->n *= t->dim[k];
  return status;
}

void node_close(struct node_sample *s) {
  for (int i = 0; i < NODE_PORTS; i++) {
    free(s->in[i].data);
    free(s->want[i].data);
  }
  fg_onnx_close(s->onnx);
}

fgsm_status node_open(const char *name, struct node_sample *s) {
  char path[900];
  *s = (struct node_sample){.name = name};
  snprintf(path, sizeof path, "%s/test_%s/model.onnx", data_folder(), name);
  FG_TRY(fg_onnx_open(path, &s->onnx));
  s->n_in = fg_onnx_n_inputs(s->onnx);
  s->n_out = fg_onnx_n_outputs(s->onnx);
  if (s->n_in > NODE_PORTS || s->n_out > NODE_PORTS)
    return FG_FAIL(UNSUPPORTED, "%d inputs, %d outputs", s->n_in, s->n_out);
  for (int i = 0; i < s->n_in; i++) {
    const char *port = fg_onnx_input(s->onnx, i)->name;
    FG_TRY(read_tensor(name, "input", i, &s->in[i]));
    for (size_t k = 0; k < sizeof fixed / sizeof *fixed; k++)
      s->in[i].fixed |= strcmp(port, fixed[k]) == 0 && strcmp(name, computed_regions) != 0;
  }
  for (int i = 0; i < s->n_out; i++)
    FG_TRY(read_tensor(name, "output", i, &s->want[i]));
  return FGSM_OK;
}

bool node_is_data(const struct node_sample *s, int i) {
  for (size_t k = 0; k < sizeof foldable / sizeof *foldable; k++)
    if (strncmp(s->name, foldable[k], strlen(foldable[k])) == 0)
      return false;
  return fg_type_is_real(s->in[i].type) && s->in[i].rank > 0 && !s->in[i].fixed;
}

fgsm_status node_build(const struct node_sample *s, enum fg_type real, struct fg_graph **g,
                       fg_id *inputs, fg_id *outputs) {
  fgsm_status status = fg_graph_create(real, g);
  for (int i = 0; i < s->n_in && status == FGSM_OK; i++) {
    const struct node_tensor *t = &s->in[i];
    const char *name = fg_onnx_input(s->onnx, i)->name;
    status = node_is_data(s, i)
                 ? fg_graph_input(*g, name, real, t->rank, t->dim, &inputs[i])
                 : fg_graph_constant(*g, name, t->type, t->rank, t->dim, t->data, &inputs[i]);
  }
  if (status == FGSM_OK)
    status = fg_onnx_build(s->onnx, *g, 1, false, inputs, NULL, outputs, NULL);
  return status;
}

void node_stop(struct node_runner *r) {
  for (int i = 0; i < NODE_PORTS; i++) {
    if (r->memory[i])
      r->device->backend->free(r->device, r->memory[i]);
    free(r->values[i]);
  }
  fg_plan_destroy(r->plan);
}

/* Uploads input i from r->values[i]. */
fgsm_status node_upload(const struct node_runner *r, const struct node_sample *s, int i) {
  const struct fg_backend *backend = r->device->backend;
  float *narrow = malloc((size_t)s->in[i].n * sizeof *narrow + 1);
  for (int64_t k = 0; k < s->in[i].n; k++)
    narrow[k] = (float)r->values[i][k];
  const void *from = backend->real == FG_F64 ? (const void *)r->values[i] : narrow;
  size_t bytes = (size_t)s->in[i].n * fg_type_size(backend->real);
  fgsm_status status = backend->upload(r->device, r->memory[i], from, bytes, NULL);
  if (status == FGSM_OK)
    status = backend->sync(r->device, NULL);
  free(narrow);
  return status;
}

/* Runs the passes and plans g, which it takes over. */
fgsm_status node_start(struct node_runner *r, const struct node_sample *s, struct fg_graph *g) {
  const struct fg_backend *backend = r->device->backend;
  fgsm_status status = fg_recognise(g, r->device);
  if (status == FGSM_OK)
    status = fg_fold(g);
  if (status == FGSM_OK)
    status = fg_fuse(g, r->device);
  if (status == FGSM_OK)
    status = fg_layout(g, r->device);
  if (status != FGSM_OK) {
    fg_graph_destroy(g);
    return status;
  }
  FG_TRY(fg_plan_create(g, r->device, false, &r->plan));
  FG_TRY(fg_plan_place(r->plan, NULL));
  for (int i = 0; i < s->n_in; i++) {
    if (!node_is_data(s, i))
      continue;
    size_t bytes = (size_t)s->in[i].n * fg_type_size(backend->real);
    FG_TRY(backend->alloc(r->device, bytes ? bytes : 64, &r->memory[i]));
    r->values[i] = malloc((size_t)s->in[i].n * sizeof(double) + 1);
    for (int64_t k = 0; k < s->in[i].n; k++)
      r->values[i][k] = fg_element_real(s->in[i].type, s->in[i].data, k);
    FG_TRY(node_upload(r, s, i));
    FG_TRY(fg_plan_bind(r->plan, r->inputs[i], r->memory[i]));
  }
  return FGSM_OK;
}

/* Output `slot` as doubles (free); its value in *v. */
fgsm_status node_fetch(const struct node_runner *r, const struct node_sample *s, int slot,
                       struct fg_value *v, double **out) {
  const struct fg_graph *g = fg_plan_graph(r->plan);
  fg_id id = g->outputs[slot];
  *v = *fg_value(g, id);
  int64_t n = fg_value_count(g, id);
  size_t bytes = fg_value_bytes(g, id);
  void *raw = malloc(bytes + 1);
  const void *from = v->role == FG_ROLE_CONSTANT ? v->data : fg_plan_data(r->plan, id);
  for (int i = 0; i < s->n_in; i++)
    if (id == r->inputs[i] && r->memory[i])
      from = r->memory[i];
  fgsm_status status = FGSM_OK;
  if (!from && n)
    status = FG_FAIL(INTERNAL, "output %d lies nowhere", slot);
  else if (v->role == FG_ROLE_CONSTANT)
    memcpy(raw, from, bytes);
  else if (bytes)
    status = r->device->backend->download(r->device, raw, from, bytes, NULL);
  if (status == FGSM_OK)
    status = r->device->backend->sync(r->device, NULL);
  *out = malloc((size_t)n * sizeof **out + 1);
  for (int64_t i = 0; i < n && status == FGSM_OK; i++)
    (*out)[i] = fg_element_real(v->type, raw, i);
  free(raw);
  if (status != FGSM_OK) {
    free(*out);
    *out = NULL;
  }
  return status;
}
