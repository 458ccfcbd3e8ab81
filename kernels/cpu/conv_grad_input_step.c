/* conv_grad_input_step: the gradient of a first convolution, whose input has few channels, and the
 * step along it. oneDNN's kernels fill vectors with channels, of which an image has three.
 *
 * By AVX2 the lanes are neighbours of a row of dx, whatever dy's layout, and a pool's gradient is taken on the
 * way: image_strip.h. Elsewhere a dy in channel blocks fills vectors with its own channels, image_grad.h, or the
 * processor's tiles, where it has them, image_split.h. Where dy is plain, the lanes are neighbours of a row of dx:
 * with the stride fixed, columns of one residue take neighbouring columns of dy for each tap of the window.
 * A strip of rows is computed at a time from the rows of dy that it needs, copied once between margins
 * of zeros, so that no tap asks where the image ends. Sums run over output channels, then taps, in
 * order, whatever the strip or thread.
 *
 * Accepted for up to four channels on one side and windows that overlap, where the other side has at
 * most sixteen channels or they divide into blocks, as they then will: more of them in a plain dy are
 * oneDNN's. Patches (stride as wide as the window) have one tap a place and are a product, which is
 * oneDNN's too. A pool in front of other vectors than AVX2's, and bytes behind, are
 * left to their own kernels. */
#include <stdlib.h>
#include <string.h>

#include "image_grad.h"
#include "image_split.h"
#include "image_strip.h"
#include "step.h"

enum { DY, W, X0, X, EPS_MAP, MASK, PARAMS, INDEX };
enum { NEXT, GRADIENT, STATS, BYTES };
enum { LANES = 8, MOST_CHANNELS = FG_IMAGE_CHANNELS, MOST_RESULTS = 16, STRIP = 8, MOST_VECS = 4 };

typedef float vec __attribute__((vector_size(32)));
typedef float loose_vec __attribute__((vector_size(32), aligned(4), may_alias));

/* A plain dy's rows are copied in strips. */
struct shape {
  struct fg_image_shape of;
  int64_t left, pitch; /* zeros before column 0 of a copied row; its length */
  int64_t rows;        /* of dy that a strip needs, at most                 */
  int64_t strips;      /* of a sample                                       */
};

struct state {
  struct shape shape;
  int lanes;      /* of dy: 1 where it is plain         */
  float *packed;  /* NULL: packed at each run           */
  int pieces;     /* with a room each, where dy is plain */
  bool by_strips; /* of AVX2, instead of that */
  struct fg_image_strips strips;
  struct fg_image_split *split; /* instead of all that, or NULL */
};

struct job {
  const struct shape *t;
  const float *dy, *w; /* w packed */
  float *dx, *rooms;   /* a room for each piece: copied rows of dy, of all channels */
  int pieces;
};

static int64_t room_floats(const struct shape *t) {
  return (t->of.k * t->rows * t->pitch + 15) / 16 * 16;
}

static int64_t floor_div(int64_t a, int64_t b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

/* ---- copying the rows of dy that a strip needs */

/* Rows p0 .. p0 + rows - 1 of sample n, zeros where there are none: [k][rows][pitch]. */
static void copy_rows(const struct job *j, int64_t n, int64_t p0, float *room) {
  const struct shape *t = j->t;
  int64_t plane = t->rows * t->pitch;
  memset(room, 0, (size_t)(t->of.k * plane) * sizeof *room);
  for (int64_t i = 0; i < t->rows; i++) {
    int64_t p = p0 + i;
    if (p < 0 || p >= t->of.p)
      continue;
    float *to = room + i * t->pitch + t->left;
    for (int64_t k = 0; k < t->of.k; k++, to += plane)
      memcpy(to, j->dy + ((n * t->of.k + k) * t->of.p + p) * t->of.q, (size_t)t->of.q * sizeof *to);
  }
}

/* ---- sums */

/* `vecs` vectors of columns of one residue, `c` channels of them: sums to sum[c][vecs]. */
FG_INLINE void sum_block(const struct shape *t, const float *room, const float *w,
                         const struct fg_image_taps *rows, const struct fg_image_taps *columns,
                         int64_t first, int64_t p0, int c, int vecs, vec *to) {
  vec sum[MOST_CHANNELS * MOST_VECS];
  int64_t plane = t->rows * t->pitch;
  for (int i = 0; i < c * vecs; i++)
    sum[i] = (vec){0};
  for (int64_t k = 0; k < t->of.k; k++)
    for (int a = 0; a < rows->n; a++) {
      const float *row = room + k * plane + (rows->at[a] - p0) * t->pitch + first;
      const float *taps = w + (k * t->of.r + rows->tap[a]) * t->of.s * c;
      for (int b = 0; b < columns->n; b++) {
        const float *u = taps + columns->tap[b] * c, *d = row + t->left + columns->at[b];
        vec x[MOST_VECS];
        for (int v = 0; v < vecs; v++)
          x[v] = *(const loose_vec *)(d + v * LANES);
        for (int i = 0; i < c; i++)
          for (int v = 0; v < vecs; v++)
            sum[i * vecs + v] += x[v] * u[i];
      }
    }
  for (int i = 0; i < c * vecs; i++)
    to[i] = sum[i];
}

typedef void block_fn(const struct shape *t, const float *room, const float *w,
                      const struct fg_image_taps *rows, const struct fg_image_taps *columns,
                      int64_t first, int64_t p0, vec *to);

#define BLOCK(c, vecs)                                                                             \
  FG_CLONES static void grad_block_##c##x##vecs(                                                   \
      const struct shape *t, const float *room, const float *w, const struct fg_image_taps *rows,  \
      const struct fg_image_taps *columns, int64_t first, int64_t p0, vec *to) {                   \
    sum_block(t, room, w, rows, columns, first, p0, c, vecs, to);                                  \
  }
BLOCK(1, 2)
BLOCK(1, 4)
BLOCK(2, 2)
BLOCK(2, 4)
BLOCK(3, 2)
BLOCK(3, 3)
BLOCK(4, 2)

/* For each number of channels, a wide block and a narrow one. */
static const struct block {
  int vecs;
  block_fn *run;
} blocks[MOST_CHANNELS][2] = {{{4, grad_block_1x4}, {2, grad_block_1x2}},
                              {{4, grad_block_2x4}, {2, grad_block_2x2}},
                              {{3, grad_block_3x3}, {2, grad_block_3x2}},
                              {{4, NULL}, {2, grad_block_4x2}}};

/* The block that wastes fewer lanes on a row of so many columns; the wide one if equal. */
static const struct block *block_for(int64_t channels, int64_t columns) {
  const struct block *pair = blocks[channels - 1];
  int64_t wide = pair[0].vecs * LANES, narrow = pair[1].vecs * LANES;
  bool fits = (columns + wide - 1) / wide * wide <= (columns + narrow - 1) / narrow * narrow;
  return pair[0].run && fits ? &pair[0] : &pair[1];
}

/* Row y of dx, of all channels; the room's first row is p0 of dy. */
static void one_row(const struct job *j, const float *room, int64_t n, int64_t y, int64_t p0) {
  const struct shape *t = j->t;
  struct fg_image_taps rows, columns;
  fg_image_rows(&t->of, y, &rows);
  for (int64_t residue = 0; residue < t->of.stride[1] && residue < t->of.w; residue++) {
    fg_image_columns(&t->of, residue, &columns);
    int64_t many = (t->of.w - residue + t->of.stride[1] - 1) / t->of.stride[1];
    const struct block *block = block_for(t->of.c, many);
    const int vecs = block->vecs;
    for (int64_t first = 0; first < many; first += (int64_t)vecs * LANES) {
      vec sum[MOST_CHANNELS * MOST_VECS];
      block->run(t, room, j->w, &rows, &columns, first, p0, sum);
      int64_t here = many - first < vecs * LANES ? many - first : vecs * LANES;
      for (int64_t c = 0; c < t->of.c; c++) {
        const float *from = (const float *)(sum + c * vecs);
        float *to =
            j->dx + ((n * t->of.c + c) * t->of.h + y) * t->of.w + residue + first * t->of.stride[1];
        for (int64_t i = 0; i < here; i++)
          to[i * t->of.stride[1]] = from[i];
      }
    }
  }
}

/* The first row of dy that rows from y on can need. */
static int64_t first_row(const struct shape *t, int64_t y) {
  return floor_div(y + t->of.pad[0] - (t->of.r - 1) * t->of.dilation[0], t->of.stride[0]);
}

static void pieces(const void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  const struct shape *t = j->t;
  int64_t items = t->of.samples * t->strips;
  for (int64_t piece = begin; piece < end; piece++) {
    float *room = j->rooms + piece * room_floats(t);
    for (int64_t i = items * piece / j->pieces; i < items * (piece + 1) / j->pieces; i++) {
      int64_t n = i / t->strips, y0 = i % t->strips * STRIP, p0 = first_row(t, y0);
      copy_rows(j, n, p0, room);
      for (int64_t y = y0; y < y0 + STRIP && y < t->of.h; y++)
        one_row(j, room, n, y, p0);
    }
  }
}

/* Rows [begin, end) of dx, where dy lies in channel blocks. */
static void blocked_rows(const void *ctx, int64_t begin, int64_t end) {
  const struct job *j = ctx;
  const struct fg_image_shape *t = &j->t->of;
  for (int64_t i = begin; i < end; i++)
    fg_image_row_16(t, j->w, j->dy, i / t->h, i % t->h, j->dx);
}

/* ---- the kernel */

static void release(struct fg_call *call) {
  struct state *state = call->state;
  if (state) {
    fg_image_split_destroy(state->split);
    free(state->packed);
  }
  free(state);
  call->state = NULL;
}

/* By strips alone, of windows whose places are bytes. */
static fgsm_status check_pool(const struct fg_call *call) {
  const struct fg_tensor *index = fg_cpu_optional(call, INDEX);
  if (!index)
    return FGSM_OK;
  if (!fg_image_strips_run_here() || call->attrs->conv_step.pool.spatial != 2 ||
      index->type != FG_U8 || index->layout != call->in[DY].layout)
    return FG_FAIL(UNSUPPORTED, "cpu: %s: such a pool", fg_op_name(call->op));
  return FGSM_OK;
}

static fgsm_status check(const struct fg_call *call) {
  const struct fg_conv_attrs *a = &call->attrs->conv_step.conv;
  const struct fg_tensor *dy = &call->in[DY], *w = &call->in[W], *x0 = &call->in[X0];
  FG_TRY(fg_cpu_need_f32(call, 4, 3));
  if (call->n_out > BYTES && fg_cpu_present(&call->out[BYTES]))
    return FG_FAIL(UNSUPPORTED, "cpu: %s: bytes", fg_op_name(call->op));
  FG_TRY(check_pool(call));
  if (a->spatial != 2 || a->group != 1 || dy->rank != 4 || w->rank != 4 || x0->rank != 4 ||
      w->dim[1] > MOST_CHANNELS || w->dim[1] < 1 || w->dim[2] > FG_IMAGE_WINDOW ||
      w->dim[3] > FG_IMAGE_WINDOW)
    return FG_FAIL(UNSUPPORTED, "cpu: %s: oneDNN's, for more than %d channels or other windows",
                   fg_op_name(call->op), MOST_CHANNELS);
  if (a->stride[0] >= w->dim[2] || a->stride[1] >= w->dim[3])
    return FG_FAIL(UNSUPPORTED, "cpu: %s: oneDNN's, for patches", fg_op_name(call->op));
  int block = fg_cpu_block();
  bool divides = block && w->dim[0] % block == 0;
  if (w->dim[0] > MOST_RESULTS && !divides)
    return FG_FAIL(UNSUPPORTED, "cpu: %s: oneDNN's, for channels without blocks",
                   fg_op_name(call->op));
  struct fg_call rest = *call;
  rest.in[DY].layout = FG_PLAIN;
  if (fg_cpu_optional(call, INDEX))
    rest.in[INDEX].layout = FG_PLAIN;
  FG_TRY(fg_cpu_check_features(&rest, x0, EPS_MAP, MASK));
  FG_TRY(fg_cpu_check_params(call, PARAMS, 0));
  if (dy->layout == FG_BLOCKED && !divides)
    return FG_FAIL(UNSUPPORTED, "cpu: %s: channels without blocks", fg_op_name(call->op));
  if (!fg_same_shape(x0, &call->in[X]))
    return FG_FAIL(UNSUPPORTED, "cpu: %s: x and x0 differ in shape", fg_op_name(call->op));
  return FGSM_OK;
}

static void shape_of(const struct fg_call *call, struct shape *t) {
  const struct fg_conv_attrs *a = &call->attrs->conv_step.conv;
  const int64_t *x = call->in[X0].dim, *w = call->in[W].dim;
  const int64_t *y =
      fg_cpu_optional(call, INDEX) ? call->attrs->conv_step.pool.dim : call->in[DY].dim;
  *t = (struct shape){.of = {.samples = x[0],
                             .c = x[1],
                             .h = x[2],
                             .w = x[3],
                             .k = y[1],
                             .p = y[2],
                             .q = y[3],
                             .r = w[2],
                             .s = w[3],
                             .stride = {a->stride[0], a->stride[1]},
                             .dilation = {a->dilation[0], a->dilation[1]},
                             .pad = {a->pad_lo[0], a->pad_lo[1]}},
                      .strips = (x[2] + STRIP - 1) / STRIP};
  int64_t before = (t->of.s - 1) * t->of.dilation[1] - t->of.pad[1];
  t->left = before > 0 ? (before + t->of.stride[1] - 1) / t->of.stride[1] : 0;
  /* The last vector of columns may read past the last one that is wanted. */
  int64_t last = floor_div(t->of.w - 1 + t->of.pad[1], t->of.stride[1]) + MOST_VECS * LANES;
  t->pitch = t->left + (last > t->of.q ? last : t->of.q) + 1;
  t->rows = floor_div(STRIP - 1 + (t->of.r - 1) * t->of.dilation[0], t->of.stride[0]) + 2;
}

static int64_t rooms_floats(const struct state *state) {
  if (state->by_strips)
    return (int64_t)(fg_image_strips_scratch_bytes(&state->strips) / sizeof(float));
  if (state->split)
    return (int64_t)(fg_image_split_scratch_bytes(state->split) / sizeof(float));
  return state->lanes > 1 ? 0 : state->pieces * room_floats(&state->shape);
}

static size_t gradient_bytes(const struct fg_call *call) {
  return (fg_bytes(&call->in[X0]) + 63) / 64 * 64;
}

static void pack_weights(const struct state *state, const float *w, float *to) {
  if (state->by_strips)
    fg_image_strips_pack(&state->strips, w, to);
  else
    fg_image_pack(&state->shape.of, state->lanes, w, to);
}

/* Weights in the order in which they are read: now, where they are constant. */
static fgsm_status pack(struct fg_call *call, struct state *state) {
  size_t weights = (fg_bytes(&call->in[W]) + 63) / 64 * 64;
  call->scratch_bytes = (size_t)rooms_floats(state) * sizeof(float) + gradient_bytes(call);
  if (!(call->constant >> W & 1) || !call->in[W].data) {
    call->scratch_bytes += weights;
    return FGSM_OK;
  }
  state->packed = aligned_alloc(64, weights ? weights : 64);
  if (!state->packed)
    return FG_FAIL(MEMORY, "no memory for a convolution's weights");
  pack_weights(state, call->in[W].data, state->packed);
  call->state_bytes = weights;
  return FGSM_OK;
}

static void by_strips(const struct fg_call *call, struct state *state) {
  const struct fg_pool_attrs *a = &call->attrs->conv_step.pool;
  bool pooled = fg_cpu_optional(call, INDEX) != NULL;
  struct fg_pool pool = {0};
  if (pooled)
    pool = fg_pool_of(a, a->dim, call->in[DY].dim);
  state->by_strips = true;
  fg_image_strips_cut(&state->shape.of, state->lanes, pooled ? &pool : NULL, state->pieces,
                      &state->strips);
}

static fgsm_status on_tiles(struct fg_call *call, struct state *state) {
  FG_TRY(fg_image_split_create(&state->shape.of, call->in[W].data, state->pieces, &state->split,
                               &call->state_bytes));
  call->scratch_bytes = fg_image_split_scratch_bytes(state->split) + gradient_bytes(call);
  call->fast = "three bfloat16s";
  return FGSM_OK;
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *base) {
  const struct fg_cpu_device *device = (const struct fg_cpu_device *)base;
  FG_TRY(check(call));
  struct state *state = calloc(1, sizeof *state);
  if (!state)
    return FG_FAIL(MEMORY, "no memory for a kernel's state");
  call->state = state;
  shape_of(call, &state->shape);
  state->lanes = call->in[DY].layout == FG_BLOCKED ? fg_cpu_block() : 1;
  state->pieces = base->threads > 0 ? base->threads : 1;
  if (fg_image_strips_run_here())
    by_strips(call, state);
  fgsm_status status = fg_image_split_fits(device, call, &state->shape.of) ? on_tiles(call, state)
                                                                           : pack(call, state);
  if (status != FGSM_OK)
    release(call);
  return status;
}

static void gradient(const struct state *state, const struct job *j, const uint8_t *index) {
  const struct fg_image_shape *t = &state->shape.of;
  double macs = (double)(t->samples * t->k * t->p * t->q) * (double)(t->r * t->s * t->c);
  int64_t rows = t->samples * t->h;
  if (state->split)
    fg_image_split_run(state->split, j->dy, j->dx, j->rooms);
  else if (state->by_strips)
    fg_image_strips_run(&state->strips, j->w, j->dy, index, j->dx, j->rooms);
  else if (state->lanes > 1)
    fg_cpu_parallel(rows, 1, macs / 40 / (double)(rows > 0 ? rows : 1), blocked_rows, j);
  else
    fg_cpu_parallel(j->pieces, 1, macs / 20 / j->pieces, pieces, j);
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)stream;
  const struct state *state = call->state;
  const struct fg_tensor *in = call->in;
  float *rooms = scratch, *dx = fg_cpu_output(call, GRADIENT);
  float *own = rooms + rooms_floats(state);
  float *packed = own + gradient_bytes(call) / sizeof *own;
  if (!state->packed && !state->split)
    pack_weights(state, in[W].data, packed);
  struct job j = {.t = &state->shape,
                  .dy = in[DY].data,
                  .w = state->packed ? state->packed : packed,
                  .dx = dx ? dx : own,
                  .rooms = rooms,
                  .pieces = state->pieces};
  const struct fg_tensor *index = fg_cpu_optional(call, INDEX);
  gradient(state, &j, index ? index->data : NULL);
  struct fg_cpu_step step = {
    .eps_map = fg_cpu_optional(call, EPS_MAP),
    .mask = fg_cpu_optional(call, MASK),
    .params = in[PARAMS].data,
    .x0 = in[X0].data,
    .x = in[X].data,
    .g = j.dx,
    .next = fg_cpu_output(call, NEXT),
    .stats = fg_cpu_output(call, STATS),
    .n = fg_cpu_features(&in[X0]),
    .attrs = call->attrs->conv_step.step
  };
  fg_cpu_step_samples(&step, in[X0].dim[0]);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_conv_grad_input_step = {prepare, run, release};
