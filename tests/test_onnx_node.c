/* ONNX's own backend node tests: each folder holds a model of one operator, inputs and what they
 * must give. Every folder of the operators that fgsm has must pass on every backend, or stand in
 * the table of skips with a reason; a skip that would pass fails, so that the table cannot outlive
 * its reasons. In double precision the gradient of every case with float outputs is held against
 * differences. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "onnx.h"
#include "onnx_suite.h"

enum { MOST_PORTS = 16, MOST_FOLDERS = 4096, PROBES = 16 };

/* The operators, by how their folders' names begin; `-` marks others that begin alike. */
static const char *const operators[] = {"abs",
                                        "acos",
                                        "acosh",
                                        "add",
                                        "and",
                                        "and2d",
                                        "and3d",
                                        "and4d",
                                        "argmax",
                                        "argmin",
                                        "asin",
                                        "asinh",
                                        "atan",
                                        "atanh",
                                        "averagepool",
                                        "basic_conv",
                                        "batchnorm",
                                        "bitshift",
                                        "bitwise",
                                        "cast",
                                        "castlike",
                                        "ceil",
                                        "celu",
                                        "clip",
                                        "compress",
                                        "concat",
                                        "constant",
                                        "constant_pad",
                                        "constantofshape",
                                        "conv",
                                        "convtranspose",
                                        "cos",
                                        "cosh",
                                        "cumsum",
                                        "depthtospace",
                                        "dequantizelinear",
                                        "div",
                                        "dropout",
                                        "edge_pad",
                                        "einsum",
                                        "elu",
                                        "equal",
                                        "erf",
                                        "exp",
                                        "expand",
                                        "eyelike",
                                        "flatten",
                                        "floor",
                                        "gather",
                                        "gather_elements",
                                        "gathernd",
                                        "gelu",
                                        "gemm",
                                        "globalaveragepool",
                                        "globalmaxpool",
                                        "greater",
                                        "group_normalization",
                                        "gru",
                                        "hardmax",
                                        "hardsigmoid",
                                        "hardswish",
                                        "identity",
                                        "if",
                                        "instancenorm",
                                        "isinf",
                                        "isnan",
                                        "l1normalization",
                                        "l2normalization",
                                        "layer_normalization",
                                        "leakyrelu",
                                        "less",
                                        "log",
                                        "logsoftmax",
                                        "lpnormalization",
                                        "lppool",
                                        "lrn",
                                        "lstm",
                                        "matmul",
                                        "max",
                                        "maxpool",
                                        "mean",
                                        "min",
                                        "mish",
                                        "mod",
                                        "mul",
                                        "mvn",
                                        "neg",
                                        "nllloss",
                                        "nonzero",
                                        "not",
                                        "onehot",
                                        "or",
                                        "or2d",
                                        "or3d",
                                        "or4d",
                                        "pow",
                                        "prelu",
                                        "quantizelinear",
                                        "range",
                                        "reciprocal",
                                        "reduce",
                                        "reflect_pad",
                                        "relu",
                                        "reshape",
                                        "resize",
                                        "reversesequence",
                                        "rms_normalization",
                                        "rnn",
                                        "round",
                                        "scatter",
                                        "scatternd",
                                        "sce",
                                        "selu",
                                        "shape",
                                        "shrink",
                                        "sigmoid",
                                        "sign",
                                        "simple_rnn",
                                        "sin",
                                        "sinh",
                                        "size",
                                        "slice",
                                        "softmax",
                                        "softplus",
                                        "softsign",
                                        "spacetodepth",
                                        "split",
                                        "sqrt",
                                        "squeeze",
                                        "sub",
                                        "sum",
                                        "swish",
                                        "tan",
                                        "tanh",
                                        "thresholdedrelu",
                                        "tile",
                                        "top_k",
                                        "training_dropout",
                                        "transpose",
                                        "tril",
                                        "triu",
                                        "unique",
                                        "unsqueeze",
                                        "upsample",
                                        "where",
                                        "wrap_pad",
                                        "xor",
                                        "xor2d",
                                        "xor3d",
                                        "xor4d",
                                        "-split_to_sequence"};

/* Operators that are tested in their expanded form alone: as the functions of others that they are. */
static const char *const composed[] = {
    "affine_grid",
    "attention",
    "causal_conv_with_state",
    "center_crop_pad",
    "dynamicquantizelinear_m", /* the other is a tie in float32 alone */
    "flexattention",
    "rms_normalization",
    "rotary_embedding",
    "swiglu"};

/* Operators whose result's shape depends on their input: that is given as a constant too. */
static const char *const foldable[] = {"nonzero", "unique"};

/* What is left out, and why. Patterns as of the shell; the first that fits counts. */
static const struct {
  const char *pattern, *reason;
} skips[] = {
    {"pow_types_float32_uint*", "unsigned integers"},
    {"maxpool_2d_uint8", "pooling of bytes"},
    {"cast_*BFLOAT16*", "bfloat16 data stored as uint16"},
    {"cast_*STRING*", "text"},
    {"batchnorm_*_training_mode", "training mode"},
    {"training_dropout*", "training mode"},
    {"dropout_default_mask*", "the dropout mask as output"},
    {"maxpool_with_argmax_*", "the positions of the maxima as output"},
    {"einsum_batch_diagonal", "a label twice in one term"},
    {"globalaveragepool*", "operator set 1"},
    {"globalmaxpool*", "operator set 1"},
    {"instancenorm_*", "operator set 6"},
    {"identity_opt", "optional values"},
    {"if_opt", "optional values"},
    {"if_seq", "sequences"},
    {"identity_sequence", "sequences"},
    {"reshape_allowzero_reordered", "values without elements"},
    {"slice_start_out_of_bounds", "values without elements"},
    {"cast*FLOAT[48]*", "floats of 4 and 8 bits"},
    {"quantizelinear_[ef]*", "floats of 4 and 8 bits"},
    {"dequantizelinear_[ef]*", "floats of 4 and 8 bits"},
    {"rotary_embedding_expanded", "values without elements"},
    {"rotary_embedding_3d_input_expanded", "values without elements"},
    {"rotary_embedding_interleaved_expanded", "values without elements"},
    {"rotary_embedding_no_position_ids_expanded", "values without elements"},
    {"rotary_embedding_no_position_ids_interleaved_expanded", "values without elements"},
    {"causal_conv_with_state_kernel_size_one_expanded", "values without elements"},
    {"cast*_*INT[24]*", "integers of 2 and 4 bits"},
    {"castlike_*BFLOAT16*", "bfloat16 data stored as uint16"},
    {"castlike_*STRING*", "text"},
    {"*quantizelinear_*int[24]", "integers of 2 and 4 bits"},
    {"equal_string*", "text"},
    {"elu*", "operator set 6"},
    {"selu*", "operator set 6"},
    {"hardsigmoid*", "operator set 6"},
    {"softplus*", "operator set 1"},
    {"softsign*", "operator set 1"},
    {"not_?d", "operator set 1"},
    {"reduce_log_sum", "operator set 6"},
    {"*_uint16", "unsigned integers"},
    {"*_uint[136][246]_expanded", "unsigned integers"},
    {"bitwise_not_3d", "unsigned integers"},
    {"reduce_*_empty_set*", "values without elements"},
    {"*_ui64_*", "unsigned integers"},
    {"*_uint32", "unsigned integers"},
    {"*_uint64", "unsigned integers"},
    {"range_*_expanded", "Loop"},
};

struct tensor {
  enum fg_type type;
  int rank;
  int64_t dim[FG_MAX_RANK], n;
  void *data;
  bool fixed; /* sizes that are written as floats: constants in models */
};

struct sample {
  const char *name; /* the folder's, without "test_" */
  struct fg_onnx *onnx;
  int n_in, n_out;
  struct tensor in[MOST_PORTS], want[MOST_PORTS];
};

/* A plan with its inputs in device memory. */
struct runner {
  struct fg_device *device;
  struct fg_plan *plan;
  fg_id inputs[MOST_PORTS];
  void *memory[MOST_PORTS];   /* NULL where the input is no input of the plan */
  double *values[MOST_PORTS]; /* of float inputs */
};

static double element(enum fg_type type, const void *data, int64_t i) {
  switch (type) {
  case FG_F32:
    return ((const float *)data)[i];
  case FG_F64:
    return ((const double *)data)[i];
  case FG_F16:
    return fg_half_to_float(((const uint16_t *)data)[i]);
  case FG_BF16:
    return fg_bfloat_to_float(((const uint16_t *)data)[i]);
  case FG_I64:
    return (double)((const int64_t *)data)[i];
  case FG_I32:
    return ((const int32_t *)data)[i];
  case FG_I16:
    return ((const int16_t *)data)[i];
  case FG_I8:
    return ((const int8_t *)data)[i];
  default:
    return ((const uint8_t *)data)[i];
  }
}

/* ---- the folders */

static char suite_folder[600]; /* of the newer tests, while they are looked at; else empty */

static const char *data_folder(void) {
  if (*suite_folder)
    return suite_folder;
  const char *folder = getenv("FGSM_ONNX_TESTDATA");
  return folder ? folder : "/usr/share/libonnx-testdata/data/node";
}

static bool selected(const char *name) {
  size_t best = 0, length = strlen(name), tail = strlen("_expanded");
  bool wanted = false;
  if (length > tail && strcmp(name + length - tail, "_expanded") == 0)
    for (size_t i = 0; i < sizeof composed / sizeof *composed; i++)
      wanted |= strncmp(name, composed[i], strlen(composed[i])) == 0;
  for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
    const char *prefix = operators[i] + (*operators[i] == '-');
    size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) == 0 && (name[n] == 0 || name[n] == '_') && n > best) {
      best = n;
      wanted = *operators[i] != '-';
    }
  }
  return wanted;
}

/* Has no gradient where its data lie: the direction of a vector of length 0. */
static const char jumps[] = "l2normalization_axis_0";

/* Of what is left out, folders that pass in the newer form of the tests. */
static const char *const pass_when_newer[] = {
    "globalmaxpool*", "instancenorm_*", "globalaveragepool*", "cast_*BFLOAT16*",
    "elu*",           "selu*",          "hardsigmoid*",       "softplus*",
    "softsign*",      "reduce_log_sum", "castlike_*BFLOAT16*"};

static const char *skip_reason(const char *name) {
  for (size_t i = 0; *suite_folder && i < sizeof pass_when_newer / sizeof *pass_when_newer; i++)
    if (fnmatch(pass_when_newer[i], name, 0) == 0)
      return NULL;
  for (size_t i = 0; i < sizeof skips / sizeof *skips; i++)
    if (fnmatch(skips[i].pattern, name, 0) == 0)
      return skips[i].reason;
  return NULL;
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The selected folders' names in order, without "test_"; skips the test where there are none. */
static int list_folders(char *names[MOST_FOLDERS]) {
  int n = 0;
  DIR *d = opendir(data_folder());
  if (!d) {
    fprintf(stderr, "onnx_node: skipped, %s is absent (install libonnx-testdata)\n", data_folder());
    cr_skip_test("no test data");
  }
  for (struct dirent *e; (e = readdir(d)) && n < MOST_FOLDERS;)
    if (strncmp(e->d_name, "test_", 5) == 0 && selected(e->d_name + 5))
      names[n++] = strdup(e->d_name + 5);
  closedir(d);
  qsort(names, (size_t)n, sizeof *names, by_name);
  cr_assert(n > 150, "only %d folders in %s", n, data_folder());
  return n;
}

static fgsm_status read_tensor(const char *name, const char *what, int i, struct tensor *t) {
  char path[900];
  snprintf(path, sizeof path, "%s/test_%s/test_data_set_0/%s_%d.pb", data_folder(), name, what, i);
  fgsm_status status = fg_onnx_read_tensor(path, &t->type, &t->rank, t->dim, &t->data);
  t->n = 1;
  for (int k = 0; status == FGSM_OK && k < t->rank; k++)
    t->n *= t->dim[k];
  return status;
}

static void close_sample(struct sample *s) {
  for (int i = 0; i < MOST_PORTS; i++) {
    free(s->in[i].data);
    free(s->want[i].data);
  }
  fg_onnx_close(s->onnx);
}

static fgsm_status open_sample(const char *name, struct sample *s) {
  char path[900];
  *s = (struct sample){.name = name};
  snprintf(path, sizeof path, "%s/test_%s/model.onnx", data_folder(), name);
  FG_TRY(fg_onnx_open(path, &s->onnx));
  s->n_in = fg_onnx_n_inputs(s->onnx);
  s->n_out = fg_onnx_n_outputs(s->onnx);
  if (s->n_in > MOST_PORTS || s->n_out > MOST_PORTS)
    return FG_FAIL(UNSUPPORTED, "%d inputs, %d outputs", s->n_in, s->n_out);
  for (int i = 0; i < s->n_in; i++) {
    const char *port = fg_onnx_input(s->onnx, i)->name;
    FG_TRY(read_tensor(name, "input", i, &s->in[i]));
    s->in[i].fixed = strcmp(port, "scales") == 0 || strcmp(port, "roi") == 0;
  }
  for (int i = 0; i < s->n_out; i++)
    FG_TRY(read_tensor(name, "output", i, &s->want[i]));
  return FGSM_OK;
}

/* ---- building and running */

/* Integers (shapes, axes, indices) and scalars (bounds, rates) are given as constants: that is how
 * models have them. */
static bool is_data(const struct sample *s, int i) {
  for (size_t k = 0; k < sizeof foldable / sizeof *foldable; k++)
    if (strncmp(s->name, foldable[k], strlen(foldable[k])) == 0)
      return false;
  return fg_type_is_real(s->in[i].type) && s->in[i].rank > 0 && !s->in[i].fixed;
}

static fgsm_status build(const struct sample *s, enum fg_type real, struct fg_graph **g,
                         fg_id *inputs, fg_id *outputs) {
  fgsm_status status = fg_graph_create(real, g);
  for (int i = 0; i < s->n_in && status == FGSM_OK; i++) {
    const struct tensor *t = &s->in[i];
    const char *name = fg_onnx_input(s->onnx, i)->name;
    status = is_data(s, i)
                 ? fg_graph_input(*g, name, real, t->rank, t->dim, &inputs[i])
                 : fg_graph_constant(*g, name, t->type, t->rank, t->dim, t->data, &inputs[i]);
  }
  if (status == FGSM_OK)
    status = fg_onnx_build(s->onnx, *g, 1, false, inputs, NULL, outputs, NULL);
  return status;
}

static void stop(struct runner *r) {
  for (int i = 0; i < MOST_PORTS; i++) {
    if (r->memory[i])
      r->device->backend->free(r->device, r->memory[i]);
    free(r->values[i]);
  }
  fg_plan_destroy(r->plan);
}

/* Uploads input i from r->values[i]. */
static fgsm_status upload(struct runner *r, const struct sample *s, int i) {
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
static fgsm_status start(struct runner *r, const struct sample *s, struct fg_graph *g) {
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
    if (!is_data(s, i))
      continue;
    size_t bytes = (size_t)s->in[i].n * fg_type_size(backend->real);
    FG_TRY(backend->alloc(r->device, bytes ? bytes : 64, &r->memory[i]));
    r->values[i] = malloc((size_t)s->in[i].n * sizeof(double) + 1);
    for (int64_t k = 0; k < s->in[i].n; k++)
      r->values[i][k] = element(s->in[i].type, s->in[i].data, k);
    FG_TRY(upload(r, s, i));
    FG_TRY(fg_plan_bind(r->plan, r->inputs[i], r->memory[i]));
  }
  return FGSM_OK;
}

/* Output `slot` as doubles (free); its value in *v. */
static fgsm_status fetch(const struct runner *r, const struct sample *s, int slot,
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
    (*out)[i] = element(v->type, raw, i);
  free(raw);
  if (status != FGSM_OK) {
    free(*out);
    *out = NULL;
  }
  return status;
}

/* ---- values */

static fgsm_status compare(const struct sample *s, int k, const struct fg_value *v,
                           const double *got, double rtol, double atol) {
  const struct tensor *want = &s->want[k];
  bool real = fg_type_is_real(want->type), same = v->rank == want->rank;
  for (int i = 0; same && i < want->rank; i++)
    same = v->dim[i] == want->dim[i];
  if (!same)
    return FG_FAIL(CHECK, "output %d has another shape than expected", k);
  if (real ? !fg_type_is_real(v->type) : v->type != want->type)
    return FG_FAIL(CHECK, "output %d is %s, not %s", k, fg_type_name(v->type),
                   fg_type_name(want->type));
  if (want->type == FG_F16)
    rtol = 1e-3;
  if (want->type == FG_BF16)
    rtol = 8e-3;
  for (int64_t i = 0; i < want->n; i++) {
    double w = element(want->type, want->data, i), d = fabs(got[i] - w);
    bool ok = real ? d <= atol + rtol * fabs(w) || got[i] == w || (isnan(w) && isnan(got[i]))
                   : got[i] == w;
    if (!ok)
      return FG_FAIL(CHECK, "output %d differs at %lld: %.9g, expected %.9g", k, (long long)i,
                     got[i], w);
  }
  return FGSM_OK;
}

static fgsm_status check_values(const struct sample *s, struct fg_device *device, double rtol,
                                double atol) {
  struct runner r = {.device = device};
  struct fg_graph *g = NULL;
  fg_id outputs[MOST_PORTS];
  fgsm_status status = build(s, device->backend->real, &g, r.inputs, outputs);
  for (int k = 0; k < s->n_out && status == FGSM_OK; k++)
    status = outputs[k] == FG_ABSENT ? FG_FAIL(UNSUPPORTED, "output %d is absent", k)
                                     : fg_graph_output(g, outputs[k], NULL);
  if (status != FGSM_OK) {
    fg_graph_destroy(g);
    return status;
  }
  status = start(&r, s, g);
  if (status == FGSM_OK)
    status = fg_plan_run(r.plan, NULL);
  for (int k = 0; k < s->n_out && status == FGSM_OK; k++) {
    struct fg_value v;
    double *got = NULL;
    status = fetch(&r, s, k, &v, &got);
    if (status == FGSM_OK)
      status = compare(s, k, &v, got, rtol, atol);
    free(got);
  }
  stop(&r);
  return status;
}

static void check_backend(const struct fg_backend *backend, double rtol, double atol) {
  static char *names[MOST_FOLDERS];
  int n = list_folders(names), passed = 0, skipped = 0;
  struct fg_device *device = NULL;
  cr_assert(backend->open(0, 1, &device) == FGSM_OK, "%s", fgsm_last_error());
  for (int i = 0; i < n; i++) {
    struct sample s;
    const char *reason = skip_reason(names[i]);
    fgsm_status status = open_sample(names[i], &s);
    if (status == FGSM_OK)
      status = check_values(&s, device, rtol, atol);
    if (reason) {
      cr_expect(status != FGSM_OK, "%s: passes, but is to be skipped: %s", names[i], reason);
      skipped++;
    } else {
      cr_expect(status == FGSM_OK, "%s: %s", names[i], fgsm_last_error());
      passed += status == FGSM_OK;
    }
    close_sample(&s);
    free(names[i]);
  }
  backend->close(device);
  fprintf(stderr, "onnx_node on %s, %s tests: %d folders, %d passed, %d skipped, %d failed\n",
          backend->name, *suite_folder ? "newer" : "Debian's", n, passed, skipped,
          n - passed - skipped);
}

/* Turns to the newer tests, or skips. */
static void enter_suite(void) {
  if (!onnx_suite_unpack(suite_folder, sizeof suite_folder))
    cr_skip_test("no newer node tests");
}

static void leave_suite(void) {
  onnx_suite_remove(suite_folder);
  *suite_folder = 0;
}

Test(onnx_node, ref_gives_the_expected_outputs) {
  check_backend(&fg_ref, 2e-6, 2e-7);
}

Test(onnx_node, cpu_gives_the_expected_outputs) {
  check_backend(&fg_cpu, 1e-3, 1e-7);
}

Test(onnx_node, ref_gives_the_expected_outputs_of_the_newer_tests) {
  enter_suite();
  check_backend(&fg_ref, 5e-4, 1e-7); /* some of their numbers have four places */
  leave_suite();
}

Test(onnx_node, cpu_gives_the_expected_outputs_of_the_newer_tests) {
  enter_suite();
  check_backend(&fg_cpu, 1e-3, 1e-7);
  leave_suite();
}

/* Each reason must still skip something, in the test data that this table was made for. */
Test(onnx_node, every_skip_has_a_folder) {
  enum { N = sizeof skips / sizeof *skips };
  static char *names[MOST_FOLDERS];
  int fits[N] = {0};
  for (int newer = 0; newer < 2; newer++) {
    if (newer)
      enter_suite();
    int n = list_folders(names);
    for (int i = 0; i < n; i++) {
      for (int k = 0; k < N; k++)
        fits[k] += fnmatch(skips[k].pattern, names[i], 0) == 0;
      free(names[i]);
    }
  }
  leave_suite();
  for (int k = 0; k < N; k++) {
    cr_expect(fits[k] > 0 || getenv("FGSM_ONNX_TESTDATA"), "'%s' skips nothing", skips[k].pattern);
    fprintf(stderr, "onnx_node skips %3d %-28s %s\n", fits[k], skips[k].pattern, skips[k].reason);
  }
}

/* ---- gradients */

/* What is differentiated: of all float outputs or the first, with respect to all float inputs or
 * the first, as an attack asks. */
struct extent {
  int outputs, inputs;
};

/* The objective sum_k seed_k . y_k and its gradient in one plan: outputs first, then gradients. */
struct objective {
  struct runner r;
  const struct sample *s;
  int n_of;
  double *seed[MOST_PORTS];
  int n_wrt, wrt[MOST_PORTS]; /* inputs */
  bool flows[MOST_PORTS];     /* whether there is a gradient at all */
};

static double uniform(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (double)(*state >> 11) * 0x1p-53 * 2 - 1;
}

static void end(struct objective *o) {
  for (int k = 0; k < MOST_PORTS; k++)
    free(o->seed[k]);
  stop(&o->r);
}

/* *smooth: whether anything is there to differentiate. */
static fgsm_status differentiate(struct objective *o, struct fg_graph *g, const fg_id *outputs,
                                 struct extent most, bool *smooth) {
  fg_id of[MOST_PORTS], seeds[MOST_PORTS], wrt[MOST_PORTS], grads[MOST_PORTS];
  uint64_t random = 7;
  for (int k = 0; k < o->s->n_out && o->n_of < most.outputs; k++) {
    fg_id id = outputs[k];
    if (!fg_type_is_real(fg_value(g, id)->type) || fg_value_is_constant(g, id))
      continue;
    int64_t n = fg_value_count(g, id);
    double *seed = malloc((size_t)n * sizeof *seed + 1);
    for (int64_t i = 0; i < n; i++)
      seed[i] = uniform(&random);
    o->seed[o->n_of] = seed;
    struct fg_value v = *fg_value(g, id);
    FG_TRY(fg_graph_constant(g, "seed", FG_F64, v.rank, v.dim, seed, &seeds[o->n_of]));
    of[o->n_of++] = id;
    FG_TRY(fg_graph_output(g, id, NULL));
  }
  for (int i = 0; i < o->s->n_in && o->n_wrt < most.inputs; i++)
    if (is_data(o->s, i) && o->s->in[i].n > 0) {
      wrt[o->n_wrt] = o->r.inputs[i];
      o->wrt[o->n_wrt++] = i;
    }
  *smooth = o->n_of > 0 && o->n_wrt > 0;
  if (!*smooth)
    return FGSM_OK;
  FG_TRY(fg_grad(g, o->n_of, of, seeds, o->n_wrt, wrt, grads));
  for (int j = 0; j < o->n_wrt; j++)
    if ((o->flows[j] = grads[j] != FG_ABSENT))
      FG_TRY(fg_graph_output(g, grads[j], NULL));
  return FGSM_OK;
}

static fgsm_status evaluate(struct objective *o, double *out) {
  FG_TRY(fg_plan_run(o->r.plan, NULL));
  *out = 0;
  for (int k = 0; k < o->n_of; k++) {
    struct fg_value v;
    double *y = NULL;
    FG_TRY(fetch(&o->r, o->s, k, &v, &y));
    for (int64_t i = 0;
         i < fg_value_count(fg_plan_graph(o->r.plan), fg_plan_graph(o->r.plan)->outputs[k]); i++)
      *out += o->seed[k][i] * y[i];
    free(y);
  }
  return FGSM_OK;
}

static fgsm_status shifted(struct objective *o, int i, int64_t at, double by, double *out) {
  double kept = o->r.values[i][at];
  o->r.values[i][at] = kept + by;
  fgsm_status status = upload(&o->r, o->s, i);
  if (status == FGSM_OK)
    status = evaluate(o, out);
  o->r.values[i][at] = kept;
  if (status == FGSM_OK)
    status = upload(&o->r, o->s, i);
  return status;
}

/* Holds component `at` of the gradient of input i against differences; *checked is not raised where
 * the two sides disagree (a kink) or rise as a jump does. */
static fgsm_status probe(struct objective *o, int i, int64_t at, double grad, int *checked) {
  const double h = 1e-6;
  double mid, up, down, half;
  FG_TRY(evaluate(o, &mid));
  FG_TRY(shifted(o, i, at, h, &up));
  FG_TRY(shifted(o, i, at, -h, &down));
  double right = (up - mid) / h, left = (mid - down) / h, slope = (up - down) / (2 * h);
  double scale = fmax(1, fmax(fabs(right), fabs(left)));
  if (!isfinite(up) || !isfinite(down) || fabs(right - left) > 1e-3 * scale)
    return FGSM_OK;
  if (scale > 1e4) {
    FG_TRY(shifted(o, i, at, h / 2, &half));
    if (fabs(2 * (half - mid) - (up - mid)) > 1e-2 * fabs(up - mid))
      return FGSM_OK;
  }
  ++*checked;
  if (!(fabs(grad - slope) <= 2e-6 * scale))
    return FG_FAIL(CHECK, "gradient of input %d at %lld is %.9g, differences give %.9g", i,
                   (long long)at, grad, slope);
  return FGSM_OK;
}

/* *smooth falls where there is nothing to compare: the function itself is not finite. */
static fgsm_status probe_all(struct objective *o, bool *smooth, int *checked) {
  int slot = o->n_of;
  uint64_t random = 11;
  double value;
  for (int j = 0; j < o->n_wrt; j++) {
    int i = o->wrt[j];
    struct fg_value v;
    double *grad = NULL;
    FG_TRY(evaluate(o, &value));
    *smooth &= isfinite(value) != 0;
    if (o->flows[j])
      FG_TRY(fetch(&o->r, o->s, slot++, &v, &grad));
    int64_t n = o->s->in[i].n;
    fgsm_status status = FGSM_OK;
    for (int k = 0; k < PROBES && k < n && status == FGSM_OK; k++) {
      int64_t at = n <= PROBES ? k : (int64_t)((uniform(&random) + 1) / 2 * (double)n);
      status = probe(o, i, at, grad ? grad[at] : 0, checked);
    }
    free(grad);
    FG_TRY(status);
  }
  return FGSM_OK;
}

static fgsm_status check_gradients(const struct sample *s, struct fg_device *device,
                                   struct extent most, bool *smooth, int *checked) {
  struct objective o = {.r = {.device = device}, .s = s};
  struct fg_graph *g = NULL;
  fg_id outputs[MOST_PORTS];
  fgsm_status status = build(s, FG_F64, &g, o.r.inputs, outputs);
  if (status == FGSM_OK)
    status = differentiate(&o, g, outputs, most, smooth);
  if (status != FGSM_OK || !*smooth)
    fg_graph_destroy(g);
  else
    status = start(&o.r, s, g);
  if (status == FGSM_OK && *smooth)
    status = probe_all(&o, smooth, checked);
  end(&o);
  return status;
}

/* Attention whose rows are masked entirely: the softmax of nothing but -inf is NaN, which a Where
 * replaces; its gradient is 0 times NaN, as PyTorch's of the same steps. */
static const char *const undefined[] = {"attention_*fullymasked*", "attention_*nan_robustness*",
                                        "attention_*mode3_softmax_precision*",
                                        "attention_*structural_empty*"};

static bool has_gradient(const char *name) {
  for (size_t i = 0; i < sizeof undefined / sizeof *undefined; i++)
    if (fnmatch(undefined[i], name, 0) == 0)
      return false;
  return !skip_reason(name);
}

static void check_all_gradients(void) {
  static char *names[MOST_FOLDERS];
  int n = list_folders(names), tested = 0, whole = 0, probes = 0;
  struct fg_device *device = NULL;
  cr_assert(fg_ref.open(0, 1, &device) == FGSM_OK, "%s", fgsm_last_error());
  for (int i = 0; i < n; i++) {
    struct sample s;
    bool smooth = false;
    int checked = 0;
    if (!has_gradient(names[i]) || strcmp(names[i], jumps) == 0) {
      free(names[i]);
      continue;
    }
    fgsm_status status = open_sample(names[i], &s);
    static const struct extent extents[] = {{MOST_PORTS, MOST_PORTS}, {1, MOST_PORTS}, {1, 1}};
    for (int k = 0; k < 3 && (k == 0 || status == FGSM_UNSUPPORTED); k++) {
      if (status == FGSM_OK || k > 0)
        status = check_gradients(&s, device, extents[k], &smooth, &checked);
      whole += k == 0 && status == FGSM_OK && smooth;
    }
    cr_expect(status == FGSM_OK, "%s: %s", names[i], fgsm_last_error());
    if (status == FGSM_OK && smooth)
      cr_expect(checked > 0, "%s: every probe lies on a kink", names[i]);
    tested += smooth;
    probes += checked;
    close_sample(&s);
    free(names[i]);
  }
  fg_ref.close(device);
  fprintf(stderr,
          "onnx_node gradients, %s tests: %d folders, %d of them for all inputs and outputs, %d "
          "probes\n",
          *suite_folder ? "newer" : "Debian's", tested, whole, probes);
}

Test(onnx_node, gradients_match_finite_differences) {
  check_all_gradients();
}

Test(onnx_node, gradients_of_the_newer_tests_match_finite_differences) {
  enter_suite();
  check_all_gradients();
  leave_suite();
}
