/* mlp_fgsm: the whole attack of a dense network, a tile of samples at a time, with nothing of it in
 * memory but x' and what is reported. The network's weights stay in the caches (mlp_net.h). Loss and
 * step are the CPU's own, a sample at a time, or where they are simple and samples small, of the whole
 * tile at once (mlp_rows.h). Each thread puts its samples in an order (mlp_order.h), and takes tiles of others when
 * its own are done.
 *
 * Accepted where it wins: for weights that an L2 cache holds. Beyond, oneDNN's products, which block
 * for the caches, are faster, and the graph is left unfused. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "loss.h"
#include "mlp_order.h"
#include "mlp_rows.h"

enum { X0, X, WEIGHTS, LABELS, EPS_MAP, MASK, PARAMS, FUNCTIONAL };
enum { NEXT, LOSS, PREDICTION, STATS, LOGITS };

/* Samples left over that are worth a tile of their own, rather than one after another. */
enum { WORTH_A_TILE = 5 };
static const int64_t MOST_WEIGHTS = 64 << 10;

struct state {
  struct fg_mlp_net net;
  float *packed; /* NULL: the weights are not constant, and packed at each run */
  int pieces;    /* that the samples are cut into, each with its own room      */
  int64_t room_floats;
};

/* A piece's own memory, beside the network's values. */
struct mine {
  struct fg_mlp_room room;
  float *gradient;  /* [tile][features], of each sample of the tile; before that for fg_mlp_order */
  float *row, *map; /* logits or dlogits of a sample; eps_map times t */
};

/* The samples of a piece: its thread's and, once they are in order, those of any thread that has none left. */
struct share {
  _Alignas(64) atomic_llong taken; /* tiles */
  atomic_bool ordered;
};

/* Where a sample's search stands. */
struct seat {
  double lo, hi, t;
  bool any, reached;
};

/* Samples who[0 .. n), which lie `wide` beside each other: value j of the s-th at [j * wide + s]. Labels are 0 from n
 * on. */
struct tile {
  const int32_t *who;
  int64_t n, wide;
  int32_t label[FG_MLP_TILE], prediction[FG_MLP_TILE];
  float loss[FG_MLP_TILE], stats[FG_MLP_TILE][3];
  struct seat seat[FG_MLP_TILE];
};

struct attack {
  const struct fg_mlp_attrs *a;
  const struct fg_mlp_net *net;
  const struct fg_tensor *eps_map, *mask;
  const double *params;
  const float *x0, *x, *functional; /* functional NULL: no linear loss */
  const int32_t *labels;
  float *next, *loss, *stats, *logits; /* NULL: not asked for; next is, where there are steps */
  int32_t *prediction;
  int64_t samples, features, classes, room_floats;
  int pieces;
  float *rooms;
  struct share *shares;
  int32_t *order; /* of the samples, so that a tile's are beside each other */
  bool loss_by_rows, step_by_rows;
};

static int64_t lay_out(const struct fg_mlp_net *net, float *memory, struct mine *mine) {
  int64_t features = fg_mlp_padded(net->a->width[0]), used = fg_mlp_room(net, memory, &mine->room);
  mine->gradient = memory ? memory + used : NULL;
  mine->map = memory ? mine->gradient + net->tile * features : NULL;
  mine->row = memory ? mine->map + features : NULL;
  return used + (net->tile + 1) * features + net->widest;
}

/* ---- a tile */

static void load_tile(const struct attack *c, struct mine *m, const float *x,
                      const struct tile *t) {
  float *to = m->room.h[0];
  for (int64_t s = 0; s < t->n; s++)
    for (int64_t f = 0; f < c->features; f++)
      to[f * t->wide + s] = x[t->who[s] * c->features + f];
  for (int64_t s = t->n; s < t->wide; s++)
    for (int64_t f = 0; f < c->features; f++)
      to[f * t->wide + s] = 0;
}

/* The same as judge, a sample at a time. */
static void judge_samples(const struct attack *c, struct mine *m, struct tile *t, bool gradient) {
  const float *z = m->room.h[c->a->layers];
  int64_t k = c->classes;
  float *slope = m->room.other; /* free until the way back */
  if (gradient && t->wide > t->n)
    memset(m->room.d, 0, (size_t)(k * t->wide) * sizeof(float));
  for (int64_t s = 0; s < t->n; s++) {
    for (int64_t j = 0; j < k; j++)
      m->row[j] = z[j * t->wide + s];
    t->loss[s] = (float)fg_cpu_loss_sample(&c->a->loss, c->functional, m->row, k, t->label[s],
                                           gradient ? slope : NULL, &t->prediction[s]);
    for (int64_t j = 0; gradient && j < k; j++)
      m->room.d[j * t->wide + s] = slope[j];
  }
}

/* Prediction of the tile's logits; dlogits where `gradient`; with `report` the loss too, and all that is asked for. */
static void judge(const struct attack *c, struct mine *m, struct tile *t, bool gradient,
                  bool report) {
  const float *z = m->room.h[c->a->layers];
  int64_t k = c->classes;
  if (c->loss_by_rows)
    fg_mlp_rows_loss(z, k, t->label, t->n, t->wide, c->a->loss.targeted,
                     gradient ? m->room.d : NULL, report && c->loss ? t->loss : NULL,
                     t->prediction);
  else
    judge_samples(c, m, t, gradient);
  for (int64_t s = 0; report && s < t->n; s++) {
    int64_t at = t->who[s];
    if (c->loss)
      c->loss[at] = t->loss[s];
    if (c->prediction)
      c->prediction[at] = t->prediction[s];
    for (int64_t j = 0; c->logits && j < k; j++)
      c->logits[at * k + j] = z[j * t->wide + s];
  }
}

/* The gradient of each sample of the tile in room.d, one after another. */
static void gather_gradients(const struct attack *c, struct mine *m, const struct tile *t) {
  for (int64_t s = 0; s < t->n; s++)
    for (int64_t f = 0; f < c->features; f++)
      m->gradient[s * c->features + f] = m->room.d[f * t->wide + s];
}

static void differentiate(const struct attack *c, struct mine *m, struct tile *t, const float *x,
                          bool report) {
  load_tile(c, m, x, t);
  fg_mlp_forward(c->net, &m->room, t->wide);
  judge(c, m, t, true, report);
  fg_mlp_backward(c->net, &m->room, t->wide);
}

/* Of sample `who`, from x on. */
static struct fg_cpu_step step_at(const struct attack *c, const float *x, int64_t who) {
  int64_t at = who * c->features;
  return (struct fg_cpu_step){.eps_map = c->eps_map,
                              .mask = c->mask,
                              .params = c->params,
                              .x0 = c->x0 + at,
                              .x = x + at,
                              .next = c->next + at,
                              .n = c->features,
                              .attrs = c->a->step};
}

/* Whether there are steps at all, of few features, and plain ones. */
static bool steps_by_rows(const struct attack *c) {
  if (!(c->a->steps || c->a->search) || c->features > FG_MLP_MOST_ROWS)
    return false;
  struct fg_cpu_step any = step_at(c, c->x, 0);
  return fg_cpu_step_is_plain(&any);
}

/* The s-th of the tile steps from x along its gradient, with the budget times `share`. */
static void step(const struct attack *c, struct mine *m, struct tile *t, const float *x, int64_t s,
                 double share) {
  double params[FG_PARAM_COUNT];
  struct fg_tensor map;
  struct fg_cpu_step step = step_at(c, x, t->who[s]);
  step.g = m->gradient + s * c->features;
  step.stats = t->stats[s];
  if (share != 1) {
    memcpy(params, c->params, sizeof params);
    params[FG_PARAM_eps] *= share;
    params[FG_PARAM_alpha] *= share;
    step.params = params;
  }
  if (share != 1 && c->eps_map) {
    fg_cpu_load_scaled(c->eps_map, share, c->features, m->map);
    map = *c->eps_map;
    map.data = m->map;
    step.eps_map = &map;
  }
  fg_cpu_step_sample(&step, 0);
}

/* The whole tile steps from x, which lies in room.h[0] too, along its gradient in room.d. */
static void step_tile(const struct attack *c, struct mine *m, struct tile *t, const float *x) {
  struct fg_cpu_step first = step_at(c, x, 0);
  if (c->step_by_rows &&
      fg_mlp_rows_step(&first, t->who, m->room.h[0], m->room.d, t->n, t->wide, t->stats))
    return;
  gather_gradients(c, m, t);
  for (int64_t s = 0; s < t->n; s++)
    step(c, m, t, x, s, 1);
}

static void put_stats(const struct attack *c, const struct tile *t, int64_t s) {
  if (c->stats)
    memcpy(c->stats + t->who[s] * (c->a->search ? 4 : 3), t->stats[s], sizeof t->stats[s]);
}

static void iterate(const struct attack *c, struct mine *m, struct tile *t) {
  float broken[FG_MLP_TILE] = {0};
  if (c->a->steps == 0) {
    load_tile(c, m, c->x, t);
    fg_mlp_forward(c->net, &m->room, t->wide);
    judge(c, m, t, false, true);
    return;
  }
  for (int i = 0; i < c->a->steps; i++) {
    const float *x = i ? c->next : c->x;
    differentiate(c, m, t, x, i == c->a->steps - 1);
    step_tile(c, m, t, x);
    for (int64_t s = 0; s < t->n; s++)
      broken[s] += t->stats[s][2];
  }
  for (int64_t s = 0; s < t->n; s++) {
    t->stats[s][2] = broken[s];
    put_stats(c, t, s);
  }
}

/* Each sample goes to x(t) of its own t, as it was moved from c->x. */
static void move_tile(const struct attack *c, struct mine *m, struct tile *t) {
  for (int64_t s = 0; s < t->n; s++) {
    int64_t at = t->who[s] * c->features;
    if (t->seat[s].t > 0)
      step(c, m, t, c->x, s, t->seat[s].t);
    else
      memcpy(c->next + at, c->x0 + at, (size_t)c->features * sizeof(float));
  }
}

/* Goes to x(t) and says of each sample whether the aim is reached there. */
static void look(const struct attack *c, struct mine *m, struct tile *t) {
  move_tile(c, m, t);
  load_tile(c, m, c->next, t);
  fg_mlp_forward(c->net, &m->room, t->wide);
  judge(c, m, t, false, false);
  for (int64_t s = 0; s < t->n; s++) {
    int32_t label = t->label[s], prediction = t->prediction[s];
    t->seat[s].reached = label >= 0 && label < c->classes && prediction >= 0 &&
                         (prediction == label) == c->a->loss.targeted;
  }
}

/* What the i-th look says of the bounds: at 1, at 0, then half-way. */
static void narrow(struct seat *seat, int i) {
  if (i == 0)
    seat->any = seat->reached;
  else if (i == 1)
    seat->hi = seat->reached ? 0 : 1;
  else if (seat->any && seat->hi > 0)
    *(seat->reached ? &seat->hi : &seat->lo) = seat->t;
}

static void search(const struct attack *c, struct mine *m, struct tile *t) {
  memset(t->seat, 0, sizeof t->seat);
  differentiate(c, m, t, c->x, true);
  gather_gradients(c, m, t);
  for (int i = 0; i < c->a->steps + 2; i++) {
    for (int64_t s = 0; s < t->n; s++)
      t->seat[s].t = i == 0 ? 1 : i == 1 ? 0 : (t->seat[s].lo + t->seat[s].hi) / 2;
    look(c, m, t);
    for (int64_t s = 0; s < t->n; s++)
      narrow(&t->seat[s], i);
  }
  for (int64_t s = 0; s < t->n; s++) {
    struct seat *seat = &t->seat[s];
    seat->t = seat->hi;
    put_stats(c, t, s);
    if (c->stats)
      c->stats[t->who[s] * 4 + 3] =
          seat->any || seat->hi == 0 ? (float)(seat->hi * c->params[FG_PARAM_eps]) : INFINITY;
  }
  move_tile(c, m, t);
}

/* ---- the kernel */

static void attack_tile(const struct attack *c, struct mine *m, const int32_t *who, int64_t n,
                        int64_t wide) {
  struct tile t; /* what is not set here is written before it is read */
  t.who = who;
  t.n = n;
  t.wide = wide;
  for (int64_t s = 0; s < wide; s++)
    t.label[s] = s < n ? c->labels[who[s]] : 0;
  if (c->a->search)
    search(c, m, &t);
  else
    iterate(c, m, &t);
}

/* Piece p has the samples that p of the pieces' share leaves it, in whole tiles. */
static int64_t begin_of(const struct attack *c, int64_t p) {
  int64_t tile = c->net->tile, tiles = fg_up(c->samples, tile);
  return fg_least(tiles * p / c->pieces * tile, c->samples);
}

static void order_share(const struct attack *c, const struct mine *m, int64_t p) {
  int64_t last = begin_of(c, p + 1), tile = c->net->tile;
  bool skips = c->net->skips && c->net->all_finite && tile > 1;
  for (int64_t first = begin_of(c, p), n; first < last; first += n) {
    n = fg_least(last - first, FG_MLP_RUN);
    if (skips && n > tile)
      fg_mlp_order(c->x, first, n, c->net, m->gradient, c->order + first);
    else
      for (int64_t s = first; s < first + n; s++)
        c->order[s] = (int32_t)s;
  }
  atomic_store_explicit(&c->shares[p].ordered, true, memory_order_release);
}

/* All tiles of piece p that nobody has taken. */
static void attack_share(const struct attack *c, struct mine *m, int64_t p) {
  int64_t tile = c->net->tile, begin = begin_of(c, p), last = begin_of(c, p + 1), at;
  if (!atomic_load_explicit(&c->shares[p].ordered, memory_order_acquire))
    return;
  while ((at = begin + tile * atomic_fetch_add(&c->shares[p].taken, 1)) < last) {
    int64_t n = fg_least(last - at, tile);
    if (n >= WORTH_A_TILE && tile > 1)
      attack_tile(c, m, c->order + at, n, tile);
    else
      for (int64_t s = at; s < at + n; s++)
        attack_tile(c, m, c->order + s, 1, 1);
  }
}

/* A thread's own pieces, then what is left of the others', whose threads may be slower. */
static void pieces(const void *ctx, int64_t begin, int64_t end) {
  const struct attack *c = ctx;
  struct mine mine;
  lay_out(c->net, c->rooms + begin * c->room_floats, &mine);
  for (int64_t p = begin; p < end; p++)
    order_share(c, &mine, p);
  for (int64_t i = 0; i < c->pieces; i++)
    attack_share(c, &mine, (begin + i) % c->pieces);
}

static void release(struct fg_call *call) {
  struct state *state = call->state;
  if (state)
    free(state->packed);
  free(state);
  call->state = NULL;
}

static int64_t count_weights(const struct fg_mlp_attrs *a) {
  int64_t n = 0;
  for (int l = 0; l < a->layers && n <= MOST_WEIGHTS; l++)
    n += ((int64_t)a->width[l] + 1) * a->width[l + 1];
  return n;
}

static fgsm_status check(const struct fg_call *call) {
  const struct fg_mlp_attrs *a = &call->attrs->mlp;
  const struct fg_tensor *in = call->in, *x = &in[X];
  bool looks = a->steps == 0 && !a->search;
  FG_TRY(fg_cpu_need_f32(call, LABELS, NEXT + 1));
  FG_TRY(fg_cpu_check_features(call, x, EPS_MAP, MASK));
  if (!looks)
    FG_TRY(fg_cpu_check_params(call, PARAMS, 0));
  int64_t weights = count_weights(a);
  if (weights > MOST_WEIGHTS)
    return FG_FAIL(UNSUPPORTED, "cpu: mlp_fgsm: more than %lld weights: oneDNN is faster",
                   (long long)MOST_WEIGHTS);
  if (a->step.norm != FG_NORM_linf || in[LABELS].type != FG_I32 ||
      fg_count(&in[WEIGHTS]) != weights)
    return FG_FAIL(UNSUPPORTED, "cpu: mlp_fgsm of such operands");
  if (a->width[a->layers] < fg_cpu_loss_classes(a->loss.kind))
    return FG_FAIL(UNSUPPORTED, "cpu: mlp_fgsm: a loss over %d classes", a->width[a->layers]);
  FG_TRY(fg_cpu_check_functional(call, &a->loss, FUNCTIONAL, a->width[a->layers]));
  if ((!looks && !fg_same_shape(x, &in[X0])) || fg_cpu_features(x) != a->width[0])
    return FG_FAIL(UNSUPPORTED, "cpu: mlp_fgsm: samples do not fit the network");
  return FGSM_OK;
}

/* Whole lines of the cache. */
static int64_t order_floats(const struct fg_call *call) {
  return fg_up(call->in[X].dim[0], 16) * 16;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  FG_TRY(check(call));
  struct state *state = calloc(1, sizeof *state);
  struct mine mine;
  if (!state)
    return FG_FAIL(MEMORY, "no memory for a kernel's state");
  call->state = state;
  fg_mlp_net_shape(&call->attrs->mlp, &state->net);
  state->pieces = device->threads > 0 ? device->threads : 1;
  state->room_floats = (lay_out(&state->net, NULL, &mine) + 15) / 16 * 16;
  size_t packed_bytes = (size_t)(state->net.packed_floats + 15) / 16 * 16 * sizeof(float);
  call->scratch_bytes = sizeof(float) * (size_t)(state->pieces * state->room_floats) +
                        sizeof(struct share) * (size_t)state->pieces +
                        sizeof(float) * (size_t)order_floats(call);
  if (!(call->constant >> WEIGHTS & 1) || !call->in[WEIGHTS].data) {
    call->scratch_bytes += packed_bytes;
    return FGSM_OK;
  }
  state->packed = aligned_alloc(64, packed_bytes);
  if (!state->packed) {
    release(call);
    return FG_FAIL(MEMORY, "no memory for the weights of a dense network");
  }
  fg_mlp_net_pack(&state->net, call->in[WEIGHTS].data, state->packed);
  call->state_bytes = packed_bytes;
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct state *state = call->state;
  const struct fg_tensor *in = call->in;
  const struct fg_mlp_attrs *a = &call->attrs->mlp;
  struct fg_mlp_net net = state->net;
  float *rooms = scratch;
  struct share *shares = (struct share *)(rooms + state->pieces * state->room_floats);
  int32_t *order = (int32_t *)(shares + state->pieces);
  net.a = a;
  if (!net.packed)
    fg_mlp_net_pack(&net, in[WEIGHTS].data, (float *)order + order_floats(call));
  memset(shares, 0, (size_t)state->pieces * sizeof *shares);
  struct attack c = {
    .a = a,
    .net = &net,
    .eps_map = fg_cpu_optional(call, EPS_MAP),
    .mask = fg_cpu_optional(call, MASK),
    .params = in[PARAMS].data,
    .x0 = in[X0].data,
    .x = in[X].data,
    .labels = in[LABELS].data,
    .functional = call->n_in > FUNCTIONAL ? in[FUNCTIONAL].data : NULL,
    .next = fg_cpu_output(call, NEXT),
    .loss = fg_cpu_output(call, LOSS),
    .prediction = fg_cpu_output(call, PREDICTION),
    .stats = fg_cpu_output(call, STATS),
    .logits = fg_cpu_output(call, LOGITS),
    .samples = in[X].dim[0],
    .features = a->width[0],
    .classes = a->width[a->layers],
    .room_floats = state->room_floats,
    .pieces = state->pieces,
    .rooms = rooms,
    .shares = shares,
    .order = order,
    .loss_by_rows = a->loss.kind == FG_LOSS_ce && !a->loss.parity
  };
  c.step_by_rows = steps_by_rows(&c);
  double passes = a->search ? 4 + a->steps : a->steps ? 2 * a->steps : 1;
  double cost = passes * (double)net.packed_floats / 100 * (double)c.samples / c.pieces;
  fg_cpu_parallel(c.pieces, 1, cost, pieces, &c);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_mlp_fgsm = {prepare, run, release};
