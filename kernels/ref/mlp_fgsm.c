/* mlp_fgsm: the whole attack of a dense network, one sample at a time, by the formulas of its
 * parts.
 *
 * Activations and gradients are doubles; loss and step are the oracle's own kernels, called on one
 * sample. The gradient takes x0's type before the step, as it does between separate calls. With
 * weights in bfloat16 what attrs.h names is rounded to it on its way. */
#include "ref.h"

enum { X0, X, WEIGHTS, LABELS, EPS_MAP, MASK, PARAMS, FUNCTIONAL };
enum { NEXT, LOSS, PREDICTION, STATS, LOGITS };

static bool takes_act(const struct fg_unary_attrs *a) {
  switch (a->kind) {
  case FG_UNARY_identity:
  case FG_UNARY_relu:
  case FG_UNARY_leaky_relu:
  case FG_UNARY_sigmoid:
  case FG_UNARY_tanh:
  case FG_UNARY_gelu:
  case FG_UNARY_gelu_tanh:
    return true;
  default:
    return false;
  }
}

/* Elements of `weights`; -1 where the layers make no sense. */
static int64_t weight_count(const struct fg_mlp_attrs *a) {
  int64_t n = 0;
  if (a->layers < 1 || a->layers > FG_MLP_LAYERS || a->width[0] < 1)
    return -1;
  for (int l = 0; l < a->layers; l++) {
    if (a->width[l + 1] < 1 || !takes_act(&a->act[l]) ||
        __builtin_add_overflow(n, ((int64_t)a->width[l] + 1) * a->width[l + 1], &n))
      return -1;
  }
  return a->act[a->layers - 1].kind == FG_UNARY_identity ? n : -1;
}

/* What one sample needs while it is attacked; all but `call` in scratch. */
struct sample {
  const struct fg_call *call;
  const struct fg_mlp_attrs *a;
  int64_t at, n;            /* the sample; its features */
  bool halves;              /* whether weights are bfloat16 */
  double *z[FG_MLP_LAYERS]; /* before the activation, of each layer; the last are the logits */
  double *h[FG_MLP_LAYERS]; /* after it */
  double *d, *other;        /* gradients, as wide as the widest layer */
  double *functional;       /* a linear loss's coefficients */
  double *dlogits, *loss;   /* loss's results */
  int32_t *prediction;
  struct fg_tensor g, map; /* the gradient in x0's type; eps_map times t, double */
  double params[FG_PARAM_COUNT];
  void *rest; /* the parts' scratch */
};

static struct fg_tensor one(enum fg_type type, int64_t n, void *data) {
  return (struct fg_tensor){.data = data, .type = type, .rank = 2, .dim = {1, n}};
}

/* Sample `at` of t [N, ...], as [1, features]. */
static struct fg_tensor row(const struct fg_tensor *t, int64_t at) {
  int64_t n = fg_ref_features(t);
  char *data = t->data;
  return one(t->type, n, data ? data + (size_t)(at * n) * fg_type_size(t->type) : NULL);
}

/* Lays out scratch from `memory` on (NULL: only measures). Returns the bytes. */
static size_t lay_out(const struct fg_call *call, char *memory, struct sample *s) {
  const struct fg_mlp_attrs *a = &call->attrs->mlp;
  size_t used = 0, widest = 0;
  memset(s, 0, sizeof *s);
  s->call = call;
  s->a = a;
  s->n = a->width[0];
  s->halves = call->in[WEIGHTS].type == FG_BF16;
#define TAKE(pointer, count)                                                                       \
  do {                                                                                             \
    (pointer) = memory ? (void *)(memory + used) : NULL;                                           \
    used += (size_t)(count) * sizeof(double);                                                      \
  } while (0)
  for (int l = 0; l <= a->layers; l++)
    widest = (size_t)a->width[l] > widest ? (size_t)a->width[l] : widest;
  for (int l = 0; l < a->layers; l++) {
    TAKE(s->z[l], a->width[l + 1]);
    TAKE(s->h[l], a->width[l + 1]);
  }
  TAKE(s->d, widest);
  TAKE(s->other, widest);
  TAKE(s->functional, a->width[a->layers]);
  TAKE(s->dlogits, a->width[a->layers]);
  TAKE(s->loss, 1);
  TAKE(s->prediction, 1);
  s->g = one(call->in[X].type, s->n, NULL);
  TAKE(s->g.data, s->n);
  TAKE(s->map.data, s->n);
  TAKE(s->rest, 0);
#undef TAKE
  return used;
}

/* The loss of the logits; dlogits where `gradient`. */
static struct fg_call loss_call(const struct sample *s, const union fg_attrs *attrs,
                                bool gradient) {
  int64_t k = s->a->width[s->a->layers];
  struct fg_tensor label = {.type = FG_I32, .rank = 1, .dim = {1}}, loss = label;
  const int32_t *labels = s->call->in[LABELS].data;
  label.data = labels ? (void *)(labels + s->at) : NULL;
  loss.type = FG_F64;
  loss.data = s->loss;
  struct fg_tensor prediction = label;
  prediction.data = s->prediction;
  struct fg_call call = {.op = FG_OP_loss,
                         .n_in = 3,
                         .n_out = 3,
                         .in = {one(FG_F64, k, s->z[s->a->layers - 1]), label},
                         .out = {one(FG_F64, k, s->dlogits), loss, prediction},
                         .attrs = attrs};
  if (fg_ref_in(s->call, FUNCTIONAL))
    call.in[2] = (struct fg_tensor){.data = s->functional, .type = FG_F64, .rank = 1, .dim = {k}};
  if (!gradient)
    call.out[0].type = FG_NONE;
  return call;
}

/* The step from `x` to the result, with s->params. */
static struct fg_call step_call(const struct sample *s, const union fg_attrs *attrs,
                                const struct fg_tensor *x, bool scaled) {
  const struct fg_call *call = s->call;
  struct fg_tensor map = scaled ? s->map : (struct fg_tensor){0}, mask = {0}, stats = {0};
  if (!scaled && fg_ref_in(call, EPS_MAP))
    map = one(call->in[EPS_MAP].type, s->n, call->in[EPS_MAP].data);
  if (fg_ref_in(call, MASK))
    mask = one(call->in[MASK].type, s->n, call->in[MASK].data);
  map.rank = mask.rank = 1;
  map.dim[0] = mask.dim[0] = s->n;
  if (fg_ref_out(call, STATS)) {
    stats = row(&call->out[STATS], s->at);
    stats.dim[1] = 3;
  }
  struct fg_tensor params = {
      .data = (void *)s->params, .type = FG_F64, .rank = 1, .dim = {FG_PARAM_COUNT}};
  return (struct fg_call){.op = FG_OP_step,
                          .n_in = 7,
                          .n_out = 3,
                          .in = {row(&call->in[X0], s->at), *x, s->g, {0}, map, mask, params},
                          .out = {row(&call->out[NEXT], s->at), {0}, stats},
                          .attrs = attrs};
}

/* Whether the network is only looked at. */
static bool looks(const struct fg_call *call) {
  return call->attrs->mlp.steps == 0 && !call->attrs->mlp.search;
}

static fgsm_status check(struct fg_call *call) {
  const uint32_t moves = looks(call) ? 0 : 1 << X0 | 1 << PARAMS;
  const bool halves = call->in[WEIGHTS].type == FG_BF16;
  FG_TRY(fg_ref_check(call, moves | 1 << X | 1 << WEIGHTS | 1 << LABELS, !looks(call)));
  FG_TRY(fg_ref_check_real(call, 1 << X0 | 1 << X | (halves ? 0 : 1 << WEIGHTS),
                           1 << NEXT | 1 << LOSS | 1 << STATS | 1 << LOGITS));
  const struct fg_mlp_attrs *a = &call->attrs->mlp;
  const struct fg_tensor *x0 = &call->in[looks(call) ? X : X0];
  const struct fg_tensor *w = &call->in[WEIGHTS], *y = &call->in[LABELS];
  const struct fg_tensor *loss = fg_ref_out(call, LOSS), *stats = fg_ref_out(call, STATS);
  const struct fg_tensor *prediction = fg_ref_out(call, PREDICTION);
  const struct fg_tensor *logits = fg_ref_out(call, LOGITS), *c = fg_ref_in(call, FUNCTIONAL);
  int64_t count = weight_count(a);
  FG_REF_NEED(call, count > 0, "layers, widths or activations out of range");
  FG_REF_NEED(call, w->rank == 1 && w->dim[0] == count, "weights are not [%lld]", (long long)count);
  FG_REF_NEED(call, a->search ? a->steps >= 1 && a->steps <= 50 : a->steps >= 0, "%d steps",
              a->steps);
  FG_REF_NEED(call, a->step.norm == FG_NORM_linf, "a norm other than linf");
  FG_REF_NEED(call, x0->rank >= 1 && fg_ref_features(x0) == a->width[0], "x0 is not [N, %d]",
              a->width[0]);
  FG_REF_NEED(
      call, fg_same_shape(x0, &call->in[X]) && (looks(call) || fg_same_shape(x0, &call->out[NEXT])),
      "x0, x and the result differ in shape");
  FG_REF_NEED(call, y->type == FG_I32 && y->rank == 1 && y->dim[0] == x0->dim[0],
              "labels are not int32 [%lld]", (long long)x0->dim[0]);
  FG_REF_NEED(call, !loss || (loss->rank == 1 && loss->dim[0] == x0->dim[0]), "loss is not [N]");
  FG_REF_NEED(call,
              !prediction || (prediction->type == FG_I32 && prediction->rank == 1 &&
                              prediction->dim[0] == x0->dim[0]),
              "prediction is not int32 [N]");
  FG_REF_NEED(call,
              !stats || (stats->rank == 2 && stats->dim[0] == x0->dim[0] &&
                         stats->dim[1] == (a->search ? 4 : 3)),
              "stats are not [N, %d]", a->search ? 4 : 3);
  FG_REF_NEED(call,
              !logits || (logits->rank == 2 && logits->dim[0] == x0->dim[0] &&
                          logits->dim[1] == a->width[a->layers]),
              "logits are not [N, K]");
  FG_REF_NEED(call, !c || (c->type == x0->type && c->rank == 1 && c->dim[0] == a->width[a->layers]),
              "coefficients are not [K]");
  FG_REF_NEED(call,
              fg_ref_is_feature(fg_ref_in(call, EPS_MAP), x0) &&
                  fg_ref_is_feature(fg_ref_in(call, MASK), x0),
              "eps_map or mask has another shape than a sample");
  FG_REF_NEED(call, looks(call) || fg_ref_is_params(&call->in[PARAMS]),
              "params are not float64 [%d]", (int)FG_PARAM_COUNT);
  return FGSM_OK;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  struct sample s;
  FG_TRY(check(call));
  size_t used = lay_out(call, NULL, &s);
  union fg_attrs loss_attrs = {.loss = call->attrs->mlp.loss};
  union fg_attrs step_attrs = {.step = call->attrs->mlp.step};
  struct fg_tensor x = row(&call->in[X], 0);
  struct fg_call loss = loss_call(&s, &loss_attrs, true);
  struct fg_call step = step_call(&s, &step_attrs, &x, false);
  FG_TRY(fg_ref_loss.prepare(&loss, device));
  if (!looks(call))
    FG_TRY(fg_ref_step.prepare(&step, device));
  call->scratch_bytes =
      used + (loss.scratch_bytes > step.scratch_bytes ? loss.scratch_bytes : step.scratch_bytes);
  return FGSM_OK;
}

/* ---- the network */

static double weight(const struct sample *s, int64_t i) {
  const struct fg_tensor *w = &s->call->in[WEIGHTS];
  return s->halves ? fg_ref_from_bf16(((const uint16_t *)w->data)[i]) : fg_ref_get(w, i);
}

/* What bfloat16 weights are multiplied by, and what is kept for them. */
static double rounded(const struct sample *s, double v) {
  return s->halves ? fg_ref_round_bf16(v) : v;
}

static void forward(struct sample *s, const struct fg_tensor *x) {
  int64_t at = 0;
  for (int64_t i = 0; i < s->n; i++)
    s->other[i] = rounded(s, fg_ref_get(x, i));
  for (int l = 0; l < s->a->layers; l++) {
    int64_t n = s->a->width[l], m = s->a->width[l + 1];
    for (int64_t o = 0; o < m; o++) {
      double sum = weight(s, at + n * m + o);
      for (int64_t i = 0; i < n; i++)
        sum += weight(s, at + o * n + i) * (l ? s->h[l - 1][i] : s->other[i]);
      s->z[l][o] = sum;
      s->h[l][o] = rounded(s, fg_ref_unary_value(&s->a->act[l], sum));
    }
    at += (n + 1) * m;
  }
}

/* The slope of layer l's activation at result o. */
static double slope(const struct sample *s, int l, int64_t o) {
  const struct fg_unary_attrs *act = &s->a->act[l];
  if (!s->halves)
    return fg_ref_unary_slope(act, fg_unary_from_y(act) ? s->h[l][o] : s->z[l][o]);
  double z = s->z[l][o];
  double f = fg_ref_unary_slope(act, fg_unary_from_y(act) ? fg_ref_unary_value(act, z) : z);
  return act->kind == FG_UNARY_leaky_relu ? f : fg_ref_round_bf16(f);
}

/* From dlogits to s->g. */
static void backward(struct sample *s) {
  int64_t at = s->call->in[WEIGHTS].dim[0];
  memcpy(s->d, s->dlogits, (size_t)s->a->width[s->a->layers] * sizeof *s->d);
  for (int l = s->a->layers - 1; l >= 0; l--) {
    int64_t n = s->a->width[l], m = s->a->width[l + 1];
    at -= (n + 1) * m;
    for (int64_t o = 0; o < m; o++)
      s->d[o] = rounded(s, s->d[o] * slope(s, l, o));
    for (int64_t i = 0; i < n; i++) {
      s->other[i] = 0;
      for (int64_t o = 0; o < m; o++)
        s->other[i] += s->d[o] * weight(s, at + o * n + i);
    }
    double *swap = s->d;
    s->d = s->other;
    s->other = swap;
  }
  fg_ref_store(&s->g, 0, s->n, s->d);
}

/* ---- the attack */

static fgsm_status evaluate(struct sample *s, const struct fg_tensor *x, bool gradient) {
  union fg_attrs attrs = {.loss = s->a->loss};
  struct fg_call call = loss_call(s, &attrs, gradient);
  forward(s, x);
  FG_TRY(fg_ref_loss.run(&call, s->rest, NULL));
  if (gradient)
    backward(s);
  return FGSM_OK;
}

static fgsm_status step(struct sample *s, const struct fg_tensor *x, bool scaled) {
  union fg_attrs attrs = {.step = s->a->step};
  struct fg_call call = step_call(s, &attrs, x, scaled);
  return fg_ref_step.run(&call, s->rest, NULL);
}

static void report(const struct sample *s) {
  if (fg_ref_out(s->call, LOSS))
    fg_ref_put(&s->call->out[LOSS], s->at, *s->loss);
  if (fg_ref_out(s->call, PREDICTION))
    fg_ref_put_int(&s->call->out[PREDICTION], s->at, *s->prediction);
  if (fg_ref_out(s->call, LOGITS)) {
    int64_t k = s->a->width[s->a->layers];
    fg_ref_store(&s->call->out[LOGITS], s->at * k, k, s->z[s->a->layers - 1]);
  }
}

static fgsm_status iterate(struct sample *s) {
  struct fg_tensor x = row(&s->call->in[X], s->at);
  if (looks(s->call))
    FG_TRY(evaluate(s, &x, false));
  const struct fg_tensor *stats = fg_ref_out(s->call, STATS);
  double broken = 0; /* components, in all steps */
  for (int i = 0; i < s->a->steps; i++) {
    FG_TRY(evaluate(s, &x, true));
    FG_TRY(step(s, &x, false));
    x = row(&s->call->out[NEXT], s->at);
    if (stats)
      broken += fg_ref_get(stats, s->at * 3 + 2);
  }
  if (stats)
    fg_ref_put(stats, s->at * 3 + 2, broken);
  report(s);
  return FGSM_OK;
}

/* Goes to x(t); whether the aim is reached there. */
static fgsm_status reach(struct sample *s, double t, bool *reached) {
  const double *p = s->call->in[PARAMS].data;
  const struct fg_tensor *map = fg_ref_in(s->call, EPS_MAP);
  struct fg_tensor x = row(&s->call->in[X], s->at), next = row(&s->call->out[NEXT], s->at);
  int32_t label = ((const int32_t *)s->call->in[LABELS].data)[s->at];
  if (t > 0) {
    memcpy(s->params, p, sizeof s->params);
    s->params[FG_PARAM_eps] *= t;
    s->params[FG_PARAM_alpha] *= t;
    s->map.type = FG_F64;
    for (int64_t i = 0; map && i < s->n; i++)
      ((double *)s->map.data)[i] = fg_ref_get(map, i) * t;
    FG_TRY(step(s, &x, map != NULL));
  } else {
    struct fg_tensor x0 = row(&s->call->in[X0], s->at);
    for (int64_t i = 0; i < s->n; i++)
      fg_ref_put(&next, i, fg_ref_get(&x0, i));
  }
  FG_TRY(evaluate(s, &next, false));
  *reached = label >= 0 && label < s->a->width[s->a->layers] && *s->prediction >= 0 &&
             (*s->prediction == label) == s->a->loss.targeted;
  return FGSM_OK;
}

static fgsm_status search(struct sample *s) {
  double lo = 0, hi = 1;
  struct fg_tensor x = row(&s->call->in[X], s->at);
  bool reached;
  FG_TRY(evaluate(s, &x, true));
  report(s);
  FG_TRY(reach(s, 1, &reached)); /* stats, whatever comes of it */
  bool any = reached;
  FG_TRY(reach(s, 0, &reached));
  if (reached)
    hi = 0;
  for (int i = 0; any && hi > 0 && i < s->a->steps; i++) {
    FG_TRY(reach(s, (lo + hi) / 2, &reached));
    *(reached ? &hi : &lo) = (lo + hi) / 2;
  }
  if (fg_ref_out(s->call, STATS))
    fg_ref_put(&s->call->out[STATS], s->at * 4 + 3,
               any || hi == 0 ? hi * ((const double *)s->call->in[PARAMS].data)[FG_PARAM_eps]
                              : INFINITY);
  return reach(s, hi, &reached);
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  struct sample s;
  lay_out(call, scratch, &s);
  if (fg_ref_in(call, FUNCTIONAL))
    fg_ref_load(&call->in[FUNCTIONAL], 0, s.a->width[s.a->layers], s.functional);
  for (s.at = 0; s.at < call->in[X].dim[0]; s.at++) {
    if (!looks(call))
      memcpy(s.params, call->in[PARAMS].data, sizeof s.params);
    FG_TRY(call->attrs->mlp.search ? search(&s) : iterate(&s));
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_mlp_fgsm = {prepare, run, NULL};
