/* Convolution and its two gradients by oneDNN's plain sums.
 *
 * The caller's layouts of x and y (or their gradients) are the starting point; weights take
 * whatever format the implementation prefers, reordered once where they are constant. A few
 * candidates are tried in a fixed order - the layouts as they are, then others at the price of a
 * reorder - and the first that is not one of oneDNN's reference loops wins. Only for a large input
 * gradient into few channels (the layer next to the image), where the order of merit differs from
 * machine to machine, are the candidates timed; the verdict is kept (choice_cache.h), so that equal
 * calls run equal code.
 *
 * An input gradient's tail, another gradient and an activation's slope, oneDNN does not know. Under AVX2 it is
 * taken here: a few samples at a time, whose gradient is then still in cache. */
#include "conv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "feature.h"
#include "unary.h"

/* ---- candidates */

enum choice { AS_GIVEN, FREE_Y, PLAIN_Y, FREE, CHOICES };

enum { FEW_CHANNELS = 16 }; /* fewer fill no block */

/* ---- descriptors */

struct fg_conv_sides fg_conv_sides_of(const struct fg_call *call) {
  const struct fg_tensor *in = call->in, *out = call->out;
  switch (call->op) {
  case FG_OP_conv_grad_input:
    return (struct fg_conv_sides){FG_DNNL_GRAD_INPUT, &out[0], &in[1], &in[0], NULL, NULL};
  case FG_OP_conv_grad_weight:
    return (struct fg_conv_sides){FG_DNNL_GRAD_WEIGHT, &in[0], &out[0], &in[1], NULL, NULL};
  default:
    return (struct fg_conv_sides){FG_DNNL_FORWARD,
                                  &in[0],
                                  &in[1],
                                  &out[0],
                                  call->n_in > 2 && fg_cpu_present(&in[2]) ? &in[2] : NULL,
                                  call->n_in > 3 && fg_cpu_present(&in[3]) ? &in[3] : NULL};
  }
}

/* Plainly, oneDNN's convolutions are products, which add to what the result holds at no cost, but go
 * through a tensor number by number. */
static enum fg_dnnl_residual residual_of(const struct fg_conv_sides *s) {
  if (!s->residual)
    return FG_DNNL_NO_RESIDUAL;
  return s->y->layout == FG_PLAIN ? FG_DNNL_ADD_DST : FG_DNNL_ADD_TENSOR;
}

static dnnl_format_tag_t plain_tag(const struct fg_tensor *t) {
  return t->rank == 5 ? dnnl_ncdhw : dnnl_nchw;
}

static dnnl_format_tag_t tag_of(const struct fg_tensor *t) {
  if (t->layout == FG_PLAIN)
    return plain_tag(t);
  return fg_cpu_block() == 16 ? dnnl_nChw16c : dnnl_nChw8c;
}

/* The weights plainly, or in whatever format oneDNN likes (`free`). */
static fgsm_status weight_md(const struct fg_conv_sides *s, int group, bool free, fg_dnnl_md *out) {
  int rank = s->w->rank;
  const int64_t *d = s->w->dim;
  dnnl_format_tag_t plain =
      group == 1 ? (rank == 5 ? dnnl_oidhw : dnnl_oihw) : (rank == 5 ? dnnl_goidhw : dnnl_goihw);
  dnnl_format_tag_t tag = free ? dnnl_format_tag_any : plain;
  if (group == 1)
    return fg_dnnl_md_create(rank, d, tag, out);
  const int64_t dim[6] = {group, d[0] / group, d[1], d[2], d[3], rank == 5 ? d[4] : 0};
  return fg_dnnl_md_create(rank + 1, dim, tag, out);
}

struct mds {
  fg_dnnl_md x, w, y, bias, residual; /* the caller's   */
  fg_dnnl_md free_x, free_w, free_y;  /* what is asked for */
};

static void mds_destroy(struct mds *m) {
  fg_dnnl_md_destroy(m->x);
  fg_dnnl_md_destroy(m->w);
  fg_dnnl_md_destroy(m->y);
  fg_dnnl_md_destroy(m->bias);
  fg_dnnl_md_destroy(m->residual);
  fg_dnnl_md_destroy(m->free_x);
  fg_dnnl_md_destroy(m->free_w);
  fg_dnnl_md_destroy(m->free_y);
}

static fgsm_status mds_create(const struct fg_conv_sides *s, int group, enum choice choice,
                              struct mds *m) {
  dnnl_format_tag_t free = dnnl_format_tag_any, x = tag_of(s->x), y = tag_of(s->y);
  int rank = s->x->rank;
  FG_TRY(fg_dnnl_md_create(rank, s->x->dim, x, &m->x));
  FG_TRY(fg_dnnl_md_create(rank, s->y->dim, y, &m->y));
  FG_TRY(weight_md(s, group, false, &m->w));
  FG_TRY(weight_md(s, group, true, &m->free_w));
  FG_TRY(fg_dnnl_md_create(rank, s->x->dim, choice == FREE ? free : x, &m->free_x));
  FG_TRY(fg_dnnl_md_create(rank, s->y->dim,
                           choice == AS_GIVEN  ? y
                           : choice == PLAIN_Y ? plain_tag(s->y)
                                               : free,
                           &m->free_y));
  if (s->bias)
    FG_TRY(fg_dnnl_md_create(1, s->bias->dim, dnnl_a, &m->bias));
  if (s->residual)
    FG_TRY(fg_dnnl_md_create(rank, s->residual->dim, tag_of(s->residual), &m->residual));
  return FGSM_OK;
}

/* ---- one candidate */

static fg_dnnl_md query(dnnl_primitive_desc_t pd, dnnl_query_t what) {
  return dnnl_primitive_desc_query_md(pd, what, 0);
}

/* To be reordered once, which a trial that nobody runs can do without. */
static void *constant_weights(const struct fg_call *call) {
  return call->constant >> 1 & 1 && !call->trial ? call->in[1].data : NULL;
}

static fgsm_status add_operands(const struct fg_call *call, const struct fg_conv_sides *s,
                                const struct mds *m, struct fg_dnnl_primitive *p) {
  dnnl_primitive_desc_t pd = p->pd;
  if (s->direction == FG_DNNL_GRAD_INPUT) {
    void *w = constant_weights(call);
    FG_TRY(fg_dnnl_operand_add(p, DNNL_ARG_DIFF_DST, false, m->y, query(pd, dnnl_query_diff_dst_md),
                               NULL));
    FG_TRY(
        fg_dnnl_operand_add(p, DNNL_ARG_WEIGHTS, false, m->w, query(pd, dnnl_query_weights_md), w));
    return fg_dnnl_operand_add(p, DNNL_ARG_DIFF_SRC, true, m->x, query(pd, dnnl_query_diff_src_md),
                               NULL);
  }
  if (s->direction == FG_DNNL_GRAD_WEIGHT) {
    FG_TRY(fg_dnnl_operand_add(p, DNNL_ARG_SRC, false, m->x, query(pd, dnnl_query_src_md), NULL));
    FG_TRY(fg_dnnl_operand_add(p, DNNL_ARG_DIFF_DST, false, m->y, query(pd, dnnl_query_diff_dst_md),
                               NULL));
    return fg_dnnl_operand_add(p, DNNL_ARG_DIFF_WEIGHTS, true, m->w,
                               query(pd, dnnl_query_diff_weights_md), NULL);
  }
  void *w = constant_weights(call);
  FG_TRY(fg_dnnl_operand_add(p, DNNL_ARG_SRC, false, m->x, query(pd, dnnl_query_src_md), NULL));
  FG_TRY(
      fg_dnnl_operand_add(p, DNNL_ARG_WEIGHTS, false, m->w, query(pd, dnnl_query_weights_md), w));
  FG_TRY(fg_dnnl_operand_add(p, DNNL_ARG_DST, true, m->y, query(pd, dnnl_query_dst_md), NULL));
  if (s->bias)
    FG_TRY(fg_dnnl_operand_add(p, DNNL_ARG_BIAS, false, m->bias, m->bias, NULL));
  if (residual_of(s) == FG_DNNL_ADD_TENSOR)
    FG_TRY(fg_dnnl_operand_add(p, DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, false,
                               m->residual, m->residual, NULL));
  return FGSM_OK;
}

/* The primitive descriptor of a candidate, and the forward one that a gradient takes as its hint.
 */
static fgsm_status describe(dnnl_engine_t engine, const struct fg_call *call,
                            const struct fg_conv_sides *s, const struct mds *m,
                            dnnl_primitive_desc_t *pd, dnnl_primitive_desc_t *hint) {
  const struct fg_conv_attrs *a = &call->attrs->conv;
  dnnl_primitive_attr_t attr = NULL;
  bool forward = s->direction == FG_DNNL_FORWARD;
  FG_TRY(fg_dnnl_attr_create(residual_of(s), m->residual, forward ? &a->act : NULL, &attr));
  struct fg_dnnl_conv conv = {s->direction, m->free_x, m->free_w, m->bias, m->free_y, a};
  fgsm_status status = FGSM_OK;
  if (!forward) {
    struct fg_dnnl_conv ahead = {FG_DNNL_FORWARD, m->x, m->free_w, NULL, m->y, a};
    status = fg_dnnl_conv_create(engine, &ahead, attr, NULL, hint);
  }
  if (status == FGSM_OK)
    status = fg_dnnl_conv_create(engine, &conv, attr, *hint, pd);
  dnnl_primitive_attr_destroy(attr);
  return status;
}

/* Builds one candidate into *p. FGSM_UNSUPPORTED where oneDNN has none; *slow where it has only a
 * reference loop. */
static fgsm_status build(struct fg_cpu_device *device, const struct fg_call *call,
                         const struct fg_conv_sides *s, enum choice choice,
                         struct fg_dnnl_primitive *p, bool *slow) {
  struct mds m = {0};
  dnnl_primitive_desc_t pd = NULL, hint = NULL;
  fgsm_status status = mds_create(s, call->attrs->conv.group, choice, &m);
  if (status == FGSM_OK)
    status = describe(device->engine, call, s, &m, &pd, &hint);
  if (status == FGSM_OK) {
    *slow = fg_dnnl_is_slow(pd);
    status = fg_dnnl_primitive_create(p, device, pd, hint);
    pd = hint = NULL;
  }
  if (status == FGSM_OK)
    status = add_operands(call, s, &m, p);
  dnnl_primitive_desc_destroy(pd);
  dnnl_primitive_desc_destroy(hint);
  mds_destroy(&m);
  if (status != FGSM_OK)
    fg_dnnl_primitive_destroy(p);
  return status;
}

/* ---- choosing */

static bool is_depthwise(const struct fg_conv_sides *s, int group) {
  return group > 1 && s->w->dim[1] == 1 && s->x->dim[1] == group;
}

/* In which order the candidates are tried; the list ends with CHOICES. */
static void order(const struct fg_conv_sides *s, int group, enum choice list[CHOICES + 1]) {
  int n = 0;
  bool gradient = s->direction == FG_DNNL_GRAD_INPUT, few = s->x->dim[1] < FEW_CHANNELS;
  bool plain = s->x->layout == FG_PLAIN && s->y->layout == FG_PLAIN;
  bool free_first = plain && is_depthwise(s, group) && !s->residual;
  /* A dx that has no blocks is reordered rather than dy, which is as large or larger. */
  bool free_next = gradient && !plain && s->x->layout == FG_PLAIN && !few;
  if (free_first)
    list[n++] = FREE;
  list[n++] = AS_GIVEN;
  if (free_next)
    list[n++] = FREE;
  if (gradient && !plain && few)
    list[n++] = PLAIN_Y;
  if (gradient)
    list[n++] = FREE_Y;
  if (!free_first && !free_next && !s->residual)
    list[n++] = FREE;
  list[n] = CHOICES;
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#define MEASURE_SECONDS 0.03

/* Best time of a few runs on zeros; infinite where it cannot be run. */
static double measure(const struct fg_dnnl_primitive *p, const struct fg_conv_sides *s) {
  void *data[3] = {fg_conv_zeros(fg_bytes(s->y)), fg_conv_zeros(fg_bytes(s->w)),
                   fg_conv_zeros(fg_bytes(s->x))};
  void *scratch = fg_conv_zeros(p->scratch_bytes);
  double best = INFINITY, spent = 0;
  if (data[0] && data[1] && data[2] && scratch)
    for (int i = 0; i < 5 && (i < 2 || spent < MEASURE_SECONDS); i++) {
      double start = seconds();
      if (fg_dnnl_primitive_run(p, data, scratch) != FGSM_OK)
        break;
      double took = seconds() - start;
      spent += took;
      best = took < best ? took : best;
    }
  free(scratch);
  for (int i = 0; i < 3; i++)
    free(data[i]);
  return best;
}

#define MEASURE_FLOPS 2e7 /* from here on a few runs are worth their time */

static bool worth_measuring(const struct fg_conv_sides *s, int group) {
  double flops = 2.0 * (double)fg_count(s->y) * (double)fg_cpu_span(s->w, 1, s->w->rank);
  return s->direction == FG_DNNL_GRAD_INPUT && s->x->layout == FG_PLAIN && group == 1 &&
         s->x->dim[1] < FEW_CHANNELS && flops >= MEASURE_FLOPS;
}

static fgsm_status fastest(struct fg_cpu_device *device, struct fg_call *call,
                           const struct fg_conv_sides *s, const enum choice *list,
                           struct fg_dnnl_primitive *p) {
  char key[FG_CONV_KEY_SIZE], what[32];
  snprintf(what, sizeof what, "formats for %d threads", device->base.threads);
  fg_conv_key(what, call, key);
  int choice = fg_conv_recall(key);
  bool slow;
  if (choice >= 0 && choice < CHOICES)
    return build(device, call, s, (enum choice)choice, p, &slow);
  double best = INFINITY;
  fgsm_status status = FG_FAIL(UNSUPPORTED, "cpu: oneDNN has no such %s", fg_op_name(call->op));
  for (; *list != CHOICES; list++) {
    struct fg_dnnl_primitive trial = {0};
    fgsm_status built = build(device, call, s, *list, &trial, &slow);
    if (built != FGSM_OK && built != FGSM_UNSUPPORTED) {
      fg_dnnl_primitive_destroy(p);
      return built;
    }
    if (built != FGSM_OK)
      continue;
    double took = slow ? INFINITY : measure(&trial, s);
    if (status != FGSM_OK || took < best) {
      if (trial.kept_bytes < p->kept_bytes) /* it may have found its weights kept by p */
        trial.kept_bytes = p->kept_bytes;
      fg_dnnl_primitive_destroy(p);
      *p = trial;
      best = took;
      choice = (int)*list;
      status = FGSM_OK;
    } else {
      fg_dnnl_primitive_destroy(&trial);
    }
  }
  if (status == FGSM_OK)
    fg_conv_remember(key, choice);
  return status;
}

static fgsm_status first_good(struct fg_cpu_device *device, const struct fg_call *call,
                              const struct fg_conv_sides *s, const enum choice *list,
                              struct fg_dnnl_primitive *p) {
  fgsm_status status = FGSM_OK;
  int fallback = -1;
  bool slow;
  for (const enum choice *c = list; *c != CHOICES; c++) {
    status = build(device, call, s, *c, p, &slow);
    if (status == FGSM_OK && !slow)
      return FGSM_OK;
    if (status != FGSM_OK && status != FGSM_UNSUPPORTED)
      return status;
    if (status == FGSM_OK && fallback < 0)
      fallback = (int)*c;
    fg_dnnl_primitive_destroy(p);
  }
  if (fallback < 0)
    return status;
  /* Right but unoptimised. Without a fusion there is more to choose from, while that is being asked for: not after,
   * when layouts are settled. */
  if (call->trial && (s->residual || call->attrs->conv.act.kind != FG_UNARY_identity))
    return FG_FAIL(UNSUPPORTED, "cpu: oneDNN fuses this convolution in its reference loop only");
  return build(device, call, s, (enum choice)fallback, p, &slow);
}

/* ---- an input gradient's tail */

enum { SLOPE_OF = 2, OTHER = 3, WIDTH_WITH_TAILS = 8, PART_BYTES = 4 << 20, TILE = 1024 };

static bool has_tail(const struct fg_call *call) {
  return fg_conv_is_gradient(call) &&
         (fg_cpu_optional(call, SLOPE_OF) || fg_cpu_optional(call, OTHER));
}

static bool lies_as_result(const struct fg_call *call, int i) {
  const struct fg_tensor *t = fg_cpu_optional(call, i), *dx = &call->out[0];
  return !t || (t->layout == dx->layout && fg_same_shape(t, dx));
}

/* The samples that are done at a time: of the numbers that divide them all, the most whose gradient is small. */
static int64_t samples_of_part(const struct fg_call *call) {
  int64_t all = call->out[0].dim[0], n = all;
  size_t sample = fg_bytes(&call->out[0]) / (size_t)all;
  while (n > 1 && (all % n || (size_t)n * sample > PART_BYTES))
    n--;
  return n;
}

/* The bare gradient of a part. */
static struct fg_call part_of(const struct fg_call *call) {
  struct fg_call part = *call;
  part.in[0].dim[0] = part.out[0].dim[0] = samples_of_part(call);
  part.n_in = SLOPE_OF;
  return part;
}

struct tail {
  const struct fg_unary_attrs *act;
  const float *v, *other; /* or NULL */
  float *d;
};

static void tail_range(const void *ctx, int64_t begin, int64_t end) {
  const struct tail *t = ctx;
  for (int64_t i = begin; i < end; i += TILE) {
    int64_t n = fg_least(TILE, end - i);
    if (t->other)
      fg_cpu_add(t->d + i, t->other + i, n);
    if (t->v)
      fg_cpu_act_grad(t->act, t->v + i, t->d + i, n);
  }
}

static const float *data_at(const struct fg_call *call, int i, int64_t at) {
  const struct fg_tensor *t = fg_cpu_optional(call, i);
  return t ? (const float *)t->data + at : NULL;
}

static fgsm_status run_with_tail(const struct fg_dnnl_primitive *p, const struct fg_call *call,
                                 void *scratch) {
  const struct fg_call part = part_of(call);
  int64_t n = part.out[0].dim[0], from = fg_count(&part.in[0]), to = fg_count(&part.out[0]);
  for (int64_t i = 0; i < call->out[0].dim[0] / n; i++) {
    struct tail tail = {.act = &call->attrs->conv.act,
                        .v = data_at(call, SLOPE_OF, i * to),
                        .other = data_at(call, OTHER, i * to),
                        .d = (float *)call->out[0].data + i * to};
    void *data[FG_DNNL_MAX_OPERANDS] = {(float *)call->in[0].data + i * from, call->in[1].data,
                                        tail.d};
    FG_TRY(fg_dnnl_primitive_run(p, data, scratch));
    fg_cpu_flat(to, 0.3, tail_range, &tail);
  }
  return FGSM_OK;
}

fgsm_status fg_conv_direct(struct fg_cpu_device *device, struct fg_call *call,
                           struct fg_dnnl_primitive *p) {
  struct fg_call bare = *call;
  if (has_tail(call)) {
    if (device->base.channel_block != WIDTH_WITH_TAILS)
      return FG_FAIL(UNSUPPORTED, "cpu: oneDNN's input gradient is not fused with what follows");
    if (!lies_as_result(call, SLOPE_OF) || !lies_as_result(call, OTHER))
      return FG_FAIL(UNSUPPORTED, "cpu: what a gradient is fused with has its shape and layout");
    bare = part_of(call);
  }
  struct fg_conv_sides s = fg_conv_sides_of(&bare);
  enum choice list[CHOICES + 1];
  int group = call->attrs->conv.group;
  order(&s, group, list);
  if (!worth_measuring(&s, group))
    return first_good(device, &bare, &s, list, p);
  bare.trial = false;
  return fastest(device, &bare, &s, list, p);
}

/* ---- running */

static void copy_range(const void *ctx, int64_t begin, int64_t end) {
  const struct fg_conv_sides *s = ctx;
  memcpy((float *)s->y->data + begin, (const float *)s->residual->data + begin,
         (size_t)(end - begin) * sizeof(float));
}

fgsm_status fg_conv_direct_run(const struct fg_dnnl_primitive *p, const struct fg_call *call,
                               void *scratch) {
  if (has_tail(call))
    return run_with_tail(p, call, scratch);
  struct fg_conv_sides s = fg_conv_sides_of(call);
  void *data[FG_DNNL_MAX_OPERANDS] = {call->in[0].data, call->in[1].data, call->out[0].data};
  int n = 3;
  if (residual_of(&s) == FG_DNNL_ADD_DST)
    fg_cpu_flat(fg_count(s.y), 0.3, copy_range, &s);
  if (s.bias)
    data[n++] = s.bias->data;
  if (residual_of(&s) == FG_DNNL_ADD_TENSOR)
    data[n++] = s.residual->data;
  return fg_dnnl_primitive_run(p, data, scratch);
}
