/* Every operator that is read, in every version of it that operator sets 7 to 26 know, with every
 * type that ONNX admits there (onnx_schemas.def): read from a file, run, and for floats
 * differentiated, against the same in float64 on the same numbers. What is not read is named here
 * with its reason. */
#include <criterion/criterion.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "type_sample.h"

enum { FIRST_SET = 7, LAST_SET = 26, MOST_SAMPLES = 4096 };

static const struct schema {
  const char *op;
  int first, last;
  uint32_t types, inputs, outputs;
  int most;
  const char *attrs; /* between spaces */
} schemas[] = {
#define SCHEMA(op, first, last, types, inputs, outputs, most, attrs)                               \
  {#op, first, last, types, inputs, outputs, most, attrs},
#include "onnx_schemas.def"
#undef SCHEMA
};
enum { N_SCHEMAS = sizeof schemas / sizeof *schemas };

#define BIT(number) (1u << (number))
enum {
  UNSIGNED = BIT(4) | BIT(12) | BIT(13),
  NARROW = BIT(17) | BIT(18) | BIT(19) | BIT(20) | BIT(23) | BIT(24) | BIT(21) | BIT(22) | BIT(25) |
           BIT(26),
  FLOATS = BIT(1) | BIT(10) | BIT(11) | BIT(16),
  INTEGERS = BIT(2) | BIT(3) | BIT(5) | BIT(6) | BIT(7),
  ANY = 0x7FFFFFF
};

/* Types that are not read, by operator. */
static const struct {
  const char *op;
  uint32_t types;
  const char *reason;
} gaps[] = {
    {"*", UNSIGNED, "unsigned integers beyond bytes"},
    {"*", NARROW, "types of 2, 4 and 8 bits"},
    {"BitCast", (INTEGERS & ~BIT(6)) | BIT(9), "the sample's attribute wants the width of int32"},
    {"Col2Im", BIT(9), "images of truth values"},
    {"GridSample", BIT(9), "images of truth values"},
};

static const char *gap(const char *op, int number) {
  for (size_t i = 0; i < sizeof gaps / sizeof *gaps; i++)
    if (fnmatch(gaps[i].op, op, 0) == 0 && gaps[i].types >> number & 1)
      return gaps[i].reason;
  return NULL;
}

/* ---- samples */

static struct type_sample samples[MOST_SAMPLES];
static int n_samples;

static void collect_cases(const struct import_case *(*at)(int)) {
  const struct import_case *c;
  for (int i = 0; (c = at(i)) && n_samples < MOST_SAMPLES; i++)
    if (c->want == FGSM_OK)
      n_samples += type_sample_of_case(c, &samples[n_samples]);
}

static void collect_nodes(void) {
  static char *names[NODE_FOLDERS];
  int n = node_folders(names);
  for (int i = 0; i < n; i++) {
    if (n_samples < MOST_SAMPLES && !node_skip_reason(names[i], FG_F64) &&
        type_sample_of_node(names[i], &samples[n_samples]))
      n_samples++;
    free(names[i]);
  }
}

/* Whether a sample of another version may be one of this: by its inputs and attributes. What has
 * another meaning there shows in the results. */
static bool suits(const struct type_sample *sample, const struct schema *s) {
  char name[70];
  bool fits = strcmp(sample->op, s->op) == 0 && sample->n_in <= s->most;
  for (int i = 0; i < sample->n_attrs && fits; i++) {
    snprintf(name, sizeof name, " %s ", sample->attrs[i]);
    fits = strstr(s->attrs, name) != NULL;
  }
  return fits;
}

/* How far a sample's operator set is from those of the version. */
static int64_t distance(const struct type_sample *sample, const struct schema *s) {
  return sample->opset < s->first  ? s->first - sample->opset
         : sample->opset > s->last ? sample->opset - s->last
                                   : 0;
}

/* The k-th sample for the version, the nearest first; NULL past the last. */
static const struct type_sample *sample_of(const struct schema *s, int k) {
  for (int64_t far = 0; far <= LAST_SET; far++)
    for (int i = 0; i < n_samples; i++)
      if (distance(&samples[i], s) == far && suits(&samples[i], s) && k-- == 0)
        return &samples[i];
  return NULL;
}

/* ---- one run */

struct answer {
  struct fg_value y;
  double *out, *grad; /* of the first input that is data; NULL where nothing flows */
  int64_t n, n_grad;
};

static void forget(struct answer *a) {
  free(a->out);
  free(a->grad);
  *a = (struct answer){0};
}

/* sum_k seed_k y_k differentiated with respect to the first input that is data. */
static fgsm_status differentiate(const struct node_sample *s, struct fg_graph *g, const fg_id *in,
                                 fg_id y, bool *flows) {
  struct fg_value v = *fg_value(g, y);
  int64_t n = fg_value_count(g, y);
  fg_id seed, grad;
  int i = 0;
  while (i < s->n_in && !node_is_data(s, i))
    i++;
  *flows = false;
  if (i == s->n_in || !fg_type_is_real(v.type) || fg_value_is_constant(g, y))
    return FGSM_OK;
  double *numbers = malloc((size_t)n * sizeof *numbers + 1);
  for (int64_t k = 0; k < n; k++)
    numbers[k] = (double)(k % 7) - 2.5;
  fgsm_status status = fg_graph_constant(g, "seed", FG_F64, v.rank, v.dim, numbers, &seed);
  free(numbers);
  FG_TRY(status);
  FG_TRY(fg_grad(g, 1, &y, &seed, 1, &in[i], &grad));
  *flows = grad != FG_ABSENT;
  return *flows ? fg_graph_output(g, grad, NULL) : FGSM_OK;
}

static fgsm_status run(const struct node_sample *s, struct fg_device *device, struct answer *a) {
  struct node_runner r = {.device = device};
  struct fg_graph *g = NULL;
  struct fg_value v;
  fg_id outputs[NODE_PORTS];
  bool flows;
  *a = (struct answer){0};
  fgsm_status status = node_build(s, FG_F64, &g, r.inputs, outputs);
  if (status == FGSM_OK)
    status = fg_graph_output(g, outputs[0], NULL);
  if (status == FGSM_OK)
    status = differentiate(s, g, r.inputs, outputs[0], &flows);
  if (status != FGSM_OK) {
    fg_graph_destroy(g);
    return status;
  }
  status = node_start(&r, s, g);
  if (status == FGSM_OK)
    status = fg_plan_run(r.plan, NULL);
  if (status == FGSM_OK)
    status = node_fetch(&r, s, 0, &a->y, &a->out);
  if (status == FGSM_OK)
    a->n = fg_value_count(fg_plan_graph(r.plan), fg_plan_graph(r.plan)->outputs[0]);
  if (status == FGSM_OK && flows)
    status = node_fetch(&r, s, 1, &v, &a->grad);
  if (status == FGSM_OK && flows)
    a->n_grad = fg_value_count(fg_plan_graph(r.plan), fg_plan_graph(r.plan)->outputs[1]);
  node_stop(&r);
  return status;
}

/* The sample with its values rounded to one type and written as another. `folded`: all its inputs
 * are constants. */
static fgsm_status answer(const struct type_sample *sample, const struct schema *s, int64_t opset,
                          enum fg_type rounded, enum fg_type type, bool folded,
                          struct fg_device *device, struct answer *a) {
  struct node_sample node;
  fgsm_status status = type_sample_write(sample, opset, s->inputs, rounded, type, &node);
  for (int i = 0; i < node.n_in; i++)
    node.in[i].fixed |= folded;
  if (status == FGSM_OK)
    status = run(&node, device, a);
  node_close(&node);
  return status;
}

/* ---- comparing */

static bool close_to(double a, double b) {
  return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-9 * (1 + fabs(b));
}

/* Whole numbers are what is left of the fraction; where the type cannot hold them, anything. */
static fgsm_status compare(const struct schema *s, enum fg_type type, const struct answer *got,
                           const struct answer *want) {
  bool whole = !fg_type_is_real(got->y.type);
  if (s->outputs & 1 && whole && got->y.type != type)
    return FG_FAIL(CHECK, "the result is %s", fg_type_name(got->y.type));
  if (got->n != want->n || got->n_grad != want->n_grad)
    return FG_FAIL(CHECK, "%lld results and %lld slopes, not %lld and %lld", (long long)got->n,
                   (long long)got->n_grad, (long long)want->n, (long long)want->n_grad);
  for (int64_t i = 0; i < got->n; i++) {
    double w = whole && type != FG_BOOL ? trunc(want->out[i]) : want->out[i];
    if (whole && (fabs(w) > 127 || (w < 0 && type == FG_U8)))
      continue; /* nothing that the type holds */
    if (!close_to(got->out[i], w))
      return FG_FAIL(CHECK, "result %lld is %.9g, not %.9g", (long long)i, got->out[i], w);
  }
  for (int64_t i = 0; i < got->n_grad; i++)
    if (!close_to(got->grad[i], want->grad[i]))
      return FG_FAIL(CHECK, "slope %lld is %.9g, not %.9g", (long long)i, got->grad[i],
                     want->grad[i]);
  return FGSM_OK;
}

struct tally {
  int versions, read, slopes, left_out;
};

/* What the sample gives in float64, or, where that makes no sense, in its own type: on numbers of the
 * type. *folded: with all inputs constant, as those of whole numbers are. */
static fgsm_status reference(const struct type_sample *sample, const struct schema *s,
                             enum fg_type type, bool *folded, struct fg_device *device,
                             struct answer *want) {
  enum fg_type own = s->inputs ? sample->in[__builtin_ctz(s->inputs)].type : FG_NONE;
  int64_t opset = sample->opset < FIRST_SET ? FIRST_SET : sample->opset;
  fgsm_status status = FGSM_UNSUPPORTED;
  *folded = !fg_type_is_real(type);
  if (s->types & FLOATS)
    status = answer(sample, s, opset, type, FG_F64, *folded, device, want);
  if (status != FGSM_OK && s->types & FLOATS && !*folded) {
    *folded = true;
    status = answer(sample, s, opset, type, FG_F64, true, device, want);
  }
  if (status != FGSM_OK && !fg_type_is_real(type) && own != FG_NONE && !fg_type_is_real(own))
    status = answer(sample, s, opset, type, own, true, device, want);
  return status;
}

/* The version with one type, in each operator set that it holds in. */
static fgsm_status check_type(const struct schema *s, enum fg_type type, struct fg_device *device,
                              struct tally *t) {
  int from = s->first < FIRST_SET ? FIRST_SET : s->first;
  struct answer want = {0}, got = {0};
  const struct type_sample *sample = NULL;
  bool folded = false;
  fgsm_status status = FGSM_UNSUPPORTED;
  for (int k = 0; status != FGSM_OK && (sample = sample_of(s, k)); k++)
    status = reference(sample, s, type, &folded, device, &want);
  for (int opset = from; opset <= s->last && status == FGSM_OK; opset++) {
    status = answer(sample, s, opset, type, type, folded, device, &got);
    if (status == FGSM_OK)
      status = compare(s, type, &got, &want);
    t->read += status == FGSM_OK;
    t->slopes += status == FGSM_OK && got.n_grad > 0;
    forget(&got);
  }
  forget(&want);
  return status;
}

/* all: that nothing which the tables of samples draw on is missing. */
static void check_version(const struct schema *s, bool all, struct fg_device *device,
                          struct tally *t) {
  cr_expect(!all || sample_of(s, 0), "%s-%d: no sample", s->op, s->first);
  if (!sample_of(s, 0))
    return;
  t->versions++;
  for (int number = 0; number < 32; number++) {
    if (!(s->types >> number & 1))
      continue;
    enum fg_type type = type_of_number(number);
    const char *reason = gap(s->op, number);
    fgsm_status status = type == FG_NONE ? FG_FAIL(UNSUPPORTED, "the type is not known")
                                         : check_type(s, type, device, t);
    cr_expect(!reason == (status == FGSM_OK), "%s-%d, type %d: %s", s->op, s->first, number,
              status == FGSM_OK ? "read after all" : fgsm_last_error());
    t->left_out += reason != NULL;
  }
}

Test(onnx_types, every_operator_is_read_in_every_version_and_type) {
  struct fg_device *device;
  struct tally t = {0};
  collect_cases(import_case_of_values);
  collect_cases(import_case_of_shapes);
  collect_nodes();
  bool newer = node_suite_is_there();
  if (newer) {
    collect_nodes();
    node_suite_leave();
  }
  cr_assert_eq(fg_ref.open(0, 1, &device), FGSM_OK);
  for (int i = 0; i < N_SCHEMAS; i++)
    check_version(&schemas[i], newer, device, &t);
  fg_ref.close(device);
  fprintf(
      stderr,
      "onnx_types: %d versions of operators of %d, %d times read in a type and an operator set, "
      "%d of them with gradients; %d types of versions left out\n",
      t.versions, N_SCHEMAS, t.read, t.slopes, t.left_out);
  for (int i = 0; i < n_samples; i++)
    type_sample_free(&samples[i]);
}
