/* The gradient of every node test that passes and has float outputs (node_samples.h), in double
 * precision, against differences. What has no gradient where its data lie is named here. */
#include <criterion/criterion.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node_samples.h"

enum { PROBES = 16 }; /* of an input, at most */
#ifdef FG_SANITIZED   /* further ones would go over the same memory */
enum { ENOUGH = 2 };
#else
enum { ENOUGH = PROBES };
#endif

/* What is differentiated: of all float outputs or the first, with respect to all float inputs or
 * the first, as an attack asks. */
struct extent {
  int outputs, inputs;
};

/* The objective sum_k seed_k . y_k and its gradient in one plan: outputs first, then gradients. */
struct objective {
  struct node_runner r;
  const struct node_sample *s;
  int n_of;
  double *seed[NODE_PORTS];   /* in the graph's arena */
  int n_wrt, wrt[NODE_PORTS]; /* inputs */
  bool flows[NODE_PORTS];     /* whether there is a gradient at all */
};

static double uniform(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (double)(*state >> 11) * 0x1p-53 * 2 - 1;
}

/* *smooth: whether anything is there to differentiate. */
static fgsm_status differentiate(struct objective *o, struct fg_graph *g, const fg_id *outputs,
                                 struct extent most, bool *smooth) {
  fg_id of[NODE_PORTS], seeds[NODE_PORTS], wrt[NODE_PORTS], grads[NODE_PORTS];
  uint64_t random = 7;
  for (int k = 0; k < o->s->n_out && o->n_of < most.outputs; k++) {
    fg_id id = outputs[k];
    if (!fg_type_is_real(fg_value(g, id)->type) || fg_value_is_constant(g, id))
      continue;
    int64_t n = fg_value_count(g, id);
    double *seed = o->seed[o->n_of] = fg_arena_alloc(&g->arena, (size_t)n * sizeof *seed + 1);
    if (!seed)
      return FGSM_MEMORY;
    for (int64_t i = 0; i < n; i++)
      seed[i] = uniform(&random);
    struct fg_value v = *fg_value(g, id);
    FG_TRY(fg_graph_constant(g, "seed", FG_F64, v.rank, v.dim, seed, &seeds[o->n_of]));
    of[o->n_of++] = id;
    FG_TRY(fg_graph_output(g, id, NULL));
  }
  for (int i = 0; i < o->s->n_in && o->n_wrt < most.inputs; i++)
    if (node_is_data(o->s, i) && o->s->in[i].n > 0) {
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
    FG_TRY(node_fetch(&o->r, o->s, k, &v, &y));
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
  fgsm_status status = node_upload(&o->r, o->s, i);
  if (status == FGSM_OK)
    status = evaluate(o, out);
  o->r.values[i][at] = kept;
  if (status == FGSM_OK)
    status = node_upload(&o->r, o->s, i);
  return status;
}

/* Holds component `at` of the gradient of input i against differences from `mid`, the value where the data lie;
 * *checked is not raised where the two sides disagree (a kink) or rise as a jump does. */
static fgsm_status probe(struct objective *o, int i, int64_t at, double mid, double grad,
                         int *checked) {
  const double h = 1e-6;
  double up, down, half;
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
      FG_TRY(node_fetch(&o->r, o->s, slot++, &v, &grad));
    int64_t n = o->s->in[i].n;
    fgsm_status status = FGSM_OK;
    const int before = *checked;
    for (int k = 0; k < PROBES && k < n && *checked < before + ENOUGH && status == FGSM_OK; k++) {
      int64_t at = n <= PROBES ? k : (int64_t)((uniform(&random) + 1) / 2 * (double)n);
      status = probe(o, i, at, value, grad ? grad[at] : 0, checked);
    }
    free(grad);
    FG_TRY(status);
  }
  return FGSM_OK;
}

static fgsm_status check_gradients(const struct node_sample *s, struct fg_device *device,
                                   struct extent most, bool *smooth, int *checked) {
  struct objective o = {.r = {.device = device}, .s = s};
  struct fg_graph *g = NULL;
  fg_id outputs[NODE_PORTS];
  fgsm_status status = node_build(s, FG_F64, &g, o.r.inputs, outputs);
  if (status == FGSM_OK)
    status = differentiate(&o, g, outputs, most, smooth);
  if (status != FGSM_OK || !*smooth)
    fg_graph_destroy(g);
  else
    status = node_start(&o.r, s, g);
  if (status == FGSM_OK && *smooth)
    status = probe_all(&o, smooth, checked);
  node_stop(&o.r);
  return status;
}

/* Folders without a gradient where their data lie, each with what is there instead. */
static const struct {
  const char *pattern, *why;
} undefined[] = {
    {"l2normalization_axis_0", "the direction of a vector of length 0"},
    {"attention_*fullymasked*_expanded", "softmax of nothing but -inf, replaced by a Where: 0 NaN"},
    {"attention_*nan_robustness*_expanded", "the same"},
    {"attention_*mode3_softmax_precision*_expanded", "the same"},
    {"attention_*structural_empty*_expanded", "the same"}};

static bool has_gradient(const char *name) {
  for (size_t i = 0; i < sizeof undefined / sizeof *undefined; i++)
    if (fnmatch(undefined[i].pattern, name, 0) == 0)
      return false;
  return !node_skip_reason(name, FG_F64);
}

static void check_all_gradients(void) {
  static char *names[NODE_FOLDERS];
  int n = node_folders(names), tested = 0, whole = 0, probes = 0;
  struct fg_device *device = NULL;
  cr_assert(fg_ref.open(0, 1, &device) == FGSM_OK, "%s", fgsm_last_error());
  for (int i = 0; i < n; i++) {
    struct node_sample s;
    bool smooth = false;
    int checked = 0;
    if (!has_gradient(names[i])) {
      free(names[i]);
      continue;
    }
    fgsm_status status = node_open(names[i], &s);
    static const struct extent extents[] = {{NODE_PORTS, NODE_PORTS}, {1, NODE_PORTS}, {1, 1}};
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
    node_close(&s);
    free(names[i]);
  }
  fg_ref.close(device);
  fprintf(stderr,
          "onnx_node gradients, %s tests: %d folders, %d of them for all inputs and outputs, %d "
          "probes\n",
          node_suite_is_newer() ? "newer" : "Debian's", tested, whole, probes);
}

Test(onnx_node_gradients, match_finite_differences) {
  check_all_gradients();
}

Test(onnx_node_gradients, of_the_newer_tests_match_finite_differences) {
  node_suite_enter();
  check_all_gradients();
  node_suite_leave();
}
