/* The gradient of every differentiable case of the operator tables, through the graph, against
 * central differences in double: one test per family.
 *
 * The objective is sum(seed * y) with a random seed for the case's first output. Each element (of
 * large inputs, a spread of them) is moved by +-h. Cases at kinks are excused by their flag;
 * operators without a gradient rule have none to test. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "op.h"

enum { MOST_PROBES = 48 };
static const double H = 1e-5, TOLERANCE = 1e-6;

/* The case as a graph: every input bound to memory of ours, y, and the gradients of real inputs. */
struct trial {
  struct fg_plan *forward, *backward;
  struct fg_device *device;
  struct fg_tensor in[FG_MAX_IN];
  fg_id x[FG_MAX_IN], grad[FG_MAX_IN], y, seed;
  double *weights; /* the seed's values */
  int64_t n_y;
};

static void *memory(size_t bytes) {
  void *at = NULL;
  cr_assert_eq(posix_memalign(&at, 64, bytes + 64), 0);
  return at;
}

/* The statistics of batch_norm are given: nothing asks for their gradient. */
static bool is_tested(const struct fg_call *call, int i) {
  return call->in[i].type == FG_F64 && fg_count(&call->in[i]) > 0 &&
         !(call->op == FG_OP_batch_norm && i > 2);
}

static fgsm_status add_inputs(struct fg_graph *g, const struct fg_call *call, struct trial *t) {
  for (int i = 0; i < call->n_in; i++) {
    const struct fg_tensor *in = &t->in[i];
    t->x[i] = FG_ABSENT;
    if (in->type == FG_NONE)
      continue;
    if (in->type == FG_F64)
      FG_TRY(fg_graph_input(g, "x", in->type, in->rank, in->dim, &t->x[i]));
    else
      FG_TRY(fg_graph_constant(g, "c", in->type, in->rank, in->dim, in->data, &t->x[i]));
  }
  return FGSM_OK;
}

static fgsm_status plan(struct fg_graph *g, struct trial *t, struct fg_plan **out) {
  FG_TRY(fg_graph_compact(g));
  FG_TRY(fg_plan_create(g, t->device, false, out));
  return fg_plan_place(*out, NULL);
}

static fgsm_status build(const struct fg_call *call, bool backward, struct trial *t) {
  struct fg_graph *g;
  fg_id out[FG_MAX_OUT], wrt[FG_MAX_IN], grads[FG_MAX_IN];
  int n = 0;
  FG_TRY(fg_graph_create(FG_F64, &g));
  FG_TRY(add_inputs(g, call, t));
  FG_TRY(fg_graph_add(g, call->op, "case", call->attrs, call->n_in, t->x, out));
  FG_TRY(fg_graph_output(g, t->y = out[0], NULL));
  if (!backward)
    return plan(g, t, &t->forward);
  const struct fg_value *y = fg_value(g, out[0]);
  FG_TRY(fg_graph_input(g, "seed", FG_F64, y->rank, y->dim, &t->seed));
  for (int i = 0; i < call->n_in; i++)
    if (is_tested(call, i))
      wrt[n++] = t->x[i];
  FG_TRY(fg_grad(g, 1, &out[0], &t->seed, n, wrt, grads));
  for (int i = 0, k = 0; i < call->n_in; i++) {
    t->grad[i] = is_tested(call, i) ? grads[k++] : FG_ABSENT;
    if (t->grad[i] != FG_ABSENT)
      FG_TRY(fg_graph_output(g, t->grad[i], NULL));
  }
  return plan(g, t, &t->backward);
}

static fgsm_status bind_inputs(struct trial *t, struct fg_plan *p, const struct fg_call *call) {
  for (int i = 0; i < call->n_in; i++)
    if (t->in[i].type == FG_F64)
      FG_TRY(fg_plan_bind(p, t->x[i], t->in[i].data));
  return FGSM_OK;
}

/* Forward and backward plans number their inputs alike: both add the same values first. */
static fgsm_status prepare(const struct fg_case *c, const struct fg_call *call, struct trial *t) {
  FG_TRY(fg_ref.open(0, 1, &t->device));
  for (int i = 0; i < call->n_in; i++) {
    t->in[i] = call->in[i];
    if (t->in[i].type == FG_NONE)
      continue;
    t->in[i].data = memory(fg_bytes(&t->in[i]));
    fg_case_fill(c, i, &t->in[i]);
  }
  t->n_y = fg_count(&call->out[0]);
  t->weights = memory((size_t)t->n_y * sizeof(double));
  struct fg_case seed = {.name = c->name, .in = {[15] = {FG_F64, 0, {0}, FG_GEN(FG_AWAY)}}};
  fg_case_fill(&seed, 15,
               &(struct fg_tensor){.data = t->weights, .type = FG_F64, .rank = 1, .dim = {t->n_y}});
  FG_TRY(build(call, false, t));
  FG_TRY(build(call, true, t));
  FG_TRY(bind_inputs(t, t->forward, call));
  FG_TRY(bind_inputs(t, t->backward, call));
  FG_TRY(fg_plan_bind(t->backward, t->seed, t->weights));
  return fg_plan_run(t->backward, NULL);
}

static void end(struct trial *t) {
  fg_plan_destroy(t->forward);
  fg_plan_destroy(t->backward);
  for (int i = 0; i < FG_MAX_IN; i++)
    free(t->in[i].data);
  free(t->weights);
  t->device->backend->close(t->device);
}

static double objective(struct trial *t) {
  double sum = 0;
  cr_assert_eq(fg_plan_run(t->forward, NULL), FGSM_OK, "%s", fgsm_last_error());
  const double *y = fg_plan_data(t->forward, t->y);
  for (int64_t i = 0; i < t->n_y; i++)
    sum += t->weights[i] * y[i];
  return sum;
}

static double slope(struct trial *t, double *x) {
  double at = *x, h = H;
  *x = at + h;
  double up = objective(t);
  *x = at - h;
  double down = objective(t);
  *x = at;
  return (up - down) / (2 * h);
}

/* Probes element e of input i; 1 if the objective moves with it. */
static int probe(const struct fg_case *c, struct trial *t, int i, int64_t e, double got,
                 double scale) {
  double want = slope(t, (double *)t->in[i].data + e);
  cr_expect(fabs(got - want) <= TOLERANCE * (fabs(want) + scale + 1e-2),
            "%s: gradient of input %d[%lld] is %.12g, differences give %.12g", c->name, i,
            (long long)e, got, want);
  return want != 0;
}

/* Probes the steepest element of input i and a spread of the others; how many move the objective.
 */
static int compare(const struct fg_case *c, struct trial *t, int i) {
  int64_t n = fg_count(&t->in[i]), stride = n > MOST_PROBES ? n / MOST_PROBES | 1 : 1, top = 0;
  const double *dx = t->grad[i] == FG_ABSENT ? NULL : fg_plan_data(t->backward, t->grad[i]);
  for (int64_t e = 0; dx && e < n; e++)
    top = fabs(dx[e]) > fabs(dx[top]) ? e : top;
  double scale = dx ? fabs(dx[top]) : 0;
  int live = probe(c, t, i, top, scale > 0 ? dx[top] : 0, scale);
  for (int64_t e = 0; e < n; e += stride)
    live += probe(c, t, i, e, dx ? dx[e] : 0, scale);
  return live;
}

/* 1 if the case was tested. */
static int try_case(const struct fg_case *c) {
  const struct fg_op_def *def = fg_op_defs[c->op];
  struct trial t = {0};
  struct fg_call call;
  union fg_attrs attrs;
  fg_case_call(c, FG_F64, &attrs, &call);
  bool real = call.out[0].type == FG_F64 && fg_count(&call.out[0]) > 0 &&
              is_tested(&call, c->op == FG_OP_where ? 1 : 0);
  if (!fg_ref.kernels[c->op]->run || !def->grad || def->grad == fg_no_grad ||
      c->flags & FG_CASE_NO_GRADIENT || !real)
    return 0;
  fgsm_status status = prepare(c, &call, &t);
  cr_expect(status == FGSM_OK, "%s: %s", c->name, fgsm_last_error());
  int live = 0;
  for (int i = 0; status == FGSM_OK && i < call.n_in; i++)
    if (is_tested(&call, i))
      live += compare(c, &t, i);
  cr_expect(live > 0, "%s: every slope is zero", c->name);
  end(&t);
  return 1;
}

static int sweep(const struct fg_case_table *table) {
  int ran = 0;
  for (int i = 0; i < table->n; i++)
    ran += try_case(&table->cases[i]);
  return ran;
}

#define FAMILY(family, least)                                                                      \
  Test(gradients, of_##family) {                                                                   \
    int ran = sweep(&fg_cases_##family);                                                           \
    cr_expect(ran >= (least), "only %d cases of " #family " were differentiated", ran);            \
  }
FAMILY(unary, 20)
FAMILY(binary, 15)
FAMILY(affine, 10)
FAMILY(norm, 4)
FAMILY(softmax, 8)
FAMILY(matmul, 15)
FAMILY(conv, 24)
FAMILY(pool, 10)
FAMILY(reduce, 12)
FAMILY(move, 20)
FAMILY(gather, 4)
FAMILY(scatter, 10)

/* Reals pass a cast unchanged, and so does their gradient. */
Test(gradients, of_cast) {
  cr_expect(sweep(&fg_cases_cast) >= 1);
}

/* ---- the loss: its slope is an output, and must be the derivative of another */

enum { CLASSES = 7, SAMPLES = 3 };

/* Runs the oracle's loss on logits z; fills d and l where they are not NULL. */
static void run_loss(enum fg_loss_kind kind, bool parity, const double *z, double *d, double *l) {
  struct fg_case c = {.name = "loss",
                      .op = FG_OP_loss,
                      .attrs = {.loss = {kind, false, parity}},
                      .in = {{FG_F64, 2, {SAMPLES, CLASSES}, {.kind = FG_GEN_VALUES}},
                             FG_T(I32, FG_VALUES(2, 0, 6), SAMPLES)},
                      .out = {FG_Y(SAMPLES, CLASSES), FG_Y(SAMPLES)}};
  if (kind == FG_LOSS_linear)
    c.in[2] = (struct fg_case_tensor)FG_R(FG_NORMAL, CLASSES);
  struct fg_run_options o = {.fill = 0xFF};
  struct fg_run run;
  c.in[0].gen.values = z;
  c.in[0].gen.n = SAMPLES * CLASSES;
  enum fg_run_result result =
      fg_run_begin(&run, &c, &(struct fg_target){&fg_ref, FG_F64, 1, NULL}, &o);
  cr_assert_eq(result, FG_RUN_OK, "%s", run.why);
  if (d)
    memcpy(d, run.view.out[0].data, SAMPLES * CLASSES * sizeof(double));
  if (l)
    memcpy(l, run.view.out[1].data, SAMPLES * sizeof(double));
  fg_run_end(&run);
}

static void expect_derivative(enum fg_loss_kind kind, bool parity) {
  double z[SAMPLES * CLASSES], d[SAMPLES * CLASSES], up[SAMPLES], down[SAMPLES];
  struct fg_case draw = {.name = "logits", .in = {{FG_F64, 0, {0}, FG_GEN(FG_NORMAL)}}};
  fg_case_fill(
      &draw, 0,
      &(struct fg_tensor){.data = z, .type = FG_F64, .rank = 1, .dim = {SAMPLES * CLASSES}});
  run_loss(kind, parity, z, d, NULL);
  for (int i = 0; i < SAMPLES * CLASSES; i++) {
    double at = z[i];
    z[i] = at + H;
    run_loss(kind, parity, z, NULL, up);
    z[i] = at - H;
    run_loss(kind, parity, z, NULL, down);
    z[i] = at;
    double want = (up[i / CLASSES] - down[i / CLASSES]) / (2 * H);
    cr_expect(fabs(d[i] - want) <= 1e-7 * (1 + fabs(want)), "kind %d: slope %d is %.12g, not %.12g",
              (int)kind, i, d[i], want);
  }
}

Test(gradients, of_the_loss) {
  expect_derivative(FG_LOSS_ce, true);
  expect_derivative(FG_LOSS_margin, false);
  expect_derivative(FG_LOSS_dlr, false);
  expect_derivative(FG_LOSS_linear, false);
}

/* The slope that never dies is PyTorch's times one positive factor for each sample. */
Test(gradients, of_cross_entropy_keeps_its_direction) {
  double z[SAMPLES * CLASSES], d[SAMPLES * CLASSES], torch[SAMPLES * CLASSES];
  struct fg_case draw = {.name = "direction", .in = {{FG_F64, 0, {0}, FG_GEN(FG_NORMAL)}}};
  fg_case_fill(
      &draw, 0,
      &(struct fg_tensor){.data = z, .type = FG_F64, .rank = 1, .dim = {SAMPLES * CLASSES}});
  run_loss(FG_LOSS_ce, false, z, d, NULL);
  run_loss(FG_LOSS_ce, true, z, torch, NULL);
  for (int i = 0; i < SAMPLES * CLASSES; i++) {
    double factor = d[i / CLASSES * CLASSES] / torch[i / CLASSES * CLASSES];
    cr_expect(factor > 0 && fabs(d[i] - factor * torch[i]) <= 1e-12 * fabs(d[i]),
              "slope %d is %.12g, not %.12g", i, d[i], factor * torch[i]);
  }
}
