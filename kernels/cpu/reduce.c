/* reduce: sum, mean, max, min, prod over a set of axes.
 *
 * Neighbouring axes that are both reduced or both kept are merged. Then either the innermost axis
 * is reduced (each result is a few rows, summed side by side in vector lanes), or it is kept (a
 * tile of results accumulates down its columns). Sums and products are in double, each result's in
 * one fixed order. Integers are summed in wrapping integers and have no mean; max and min propagate
 * NaN; over nothing the sum is 0, the mean NaN and the product 1. */
#include "cpu.h"

#include <math.h>
#include <string.h>

#include "vmath.h"

#define TILE 256

struct axes {
  int rank;
  int64_t dim[FG_MAX_RANK], stride[FG_MAX_RANK]; /* in x */
  int64_t count;
};

struct reduce {
  enum fg_reduce_kind kind;
  struct axes kept, gone; /* without the innermost axis */
  int64_t n;              /* the innermost axis, stride 1 */
  bool row;               /* the innermost axis is reduced */
  double share;           /* elements per result */
  enum fg_type type;
  const void *x;
  void *y;
};

static int64_t offset_of(const struct axes *a, int64_t i) {
  int64_t offset = 0;
  for (int d = a->rank - 1; d >= 0; d--) {
    offset += i % a->dim[d] * a->stride[d];
    i /= a->dim[d];
  }
  return offset;
}

/* ---- floats, innermost axis reduced */

FG_CLONES static double row_sum(const float *x, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++)
    sum += x[i];
  return sum;
}

FG_CLONES static double row_product(const float *x, int64_t n) {
  double product = 1;
#pragma omp simd reduction(* : product)
  for (int64_t i = 0; i < n; i++)
    product *= x[i];
  return product;
}

static bool is_extreme(enum fg_reduce_kind kind) {
  return kind == FG_REDUCE_max || kind == FG_REDUCE_min;
}

/* The largest of sign * x; NaN if there is one. */
FG_CLONES static float row_top(const float *x, int64_t n, float sign) {
  int broken = 0;
#pragma omp simd reduction(| : broken)
  for (int64_t i = 0; i < n; i++)
    broken |= x[i] != x[i];
  return broken ? NAN : fg_vtopf(x, n, sign);
}

static void float_rows(const void *ctx, int64_t begin, int64_t end) {
  const struct reduce *r = ctx;
  bool sums = !is_extreme(r->kind), multiplies = r->kind == FG_REDUCE_prod;
  float sign = r->kind == FG_REDUCE_min ? -1.0f : 1.0f;
  for (int64_t i = begin; i < end; i++) {
    const float *x = (const float *)r->x + offset_of(&r->kept, i);
    double sum = multiplies;
    float top = -INFINITY;
    for (int64_t j = 0; j < r->gone.count; j++) {
      const float *row = x + offset_of(&r->gone, j);
      if (multiplies) {
        sum *= row_product(row, r->n);
      } else if (sums) {
        sum += row_sum(row, r->n);
      } else {
        float v = row_top(row, r->n, sign);
        top = top != top || top > v ? top : v;
      }
    }
    if (r->kind == FG_REDUCE_mean)
      sum /= r->share;
    ((float *)r->y)[i] = sums ? (float)sum : sign * top;
  }
}

/* ---- floats, innermost axis kept */

FG_CLONES static void add_to_sums(double *sum, const float *x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    sum[i] += x[i];
}

FG_CLONES static void multiply_row(double *product, const float *x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    product[i] *= x[i];
}

FG_CLONES static void raise_row(float *top, const float *x, int64_t n, float sign) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float v = sign * x[i];
    top[i] = ((top[i] != top[i]) | (top[i] > v)) ? top[i] : v;
  }
}

/* Items: tiles of the innermost axis, for each outer result. */
static void float_columns(const void *ctx, int64_t begin, int64_t end) {
  const struct reduce *r = ctx;
  bool sums = !is_extreme(r->kind), multiplies = r->kind == FG_REDUCE_prod;
  float sign = r->kind == FG_REDUCE_min ? -1.0f : 1.0f;
  int64_t across = (r->n + TILE - 1) / TILE;
  for (int64_t item = begin; item < end; item++) {
    int64_t from = item % across * TILE, w = r->n - from < TILE ? r->n - from : TILE;
    const float *x = (const float *)r->x + offset_of(&r->kept, item / across) + from;
    float *y = (float *)r->y + item / across * r->n + from, top[TILE];
    double sum[TILE];
    for (int64_t i = 0; i < w; i++) {
      sum[i] = multiplies;
      top[i] = -INFINITY;
    }
    for (int64_t j = 0; j < r->gone.count; j++) {
      if (multiplies)
        multiply_row(sum, x + offset_of(&r->gone, j), w);
      else if (sums)
        add_to_sums(sum, x + offset_of(&r->gone, j), w);
      else
        raise_row(top, x + offset_of(&r->gone, j), w, sign);
    }
    for (int64_t i = 0; i < w; i++) {
      if (r->kind == FG_REDUCE_mean)
        sum[i] /= r->share;
      y[i] = sums ? (float)sum[i] : sign * top[i];
    }
  }
}

/* ---- integers */

static int64_t load(const void *data, enum fg_type type, int64_t i) {
  switch (type) {
  case FG_I64:
    return ((const int64_t *)data)[i];
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

static void store(void *data, enum fg_type type, int64_t i, int64_t v) {
  switch (type) {
  case FG_I64:
    ((int64_t *)data)[i] = v;
    break;
  case FG_I32:
    ((int32_t *)data)[i] = (int32_t)v;
    break;
  case FG_I16:
    ((int16_t *)data)[i] = (int16_t)v;
    break;
  default:
    ((uint8_t *)data)[i] = (uint8_t)v;
  }
}

static int64_t fold(enum fg_reduce_kind kind, int64_t a, int64_t v) {
  if (kind == FG_REDUCE_max)
    return a > v ? a : v;
  if (kind == FG_REDUCE_min)
    return a < v ? a : v;
  if (kind == FG_REDUCE_prod)
    return (int64_t)((uint64_t)a * (uint64_t)v);
  return (int64_t)((uint64_t)a + (uint64_t)v);
}

/* Items: results. */
static void whole(const void *ctx, int64_t begin, int64_t end) {
  const struct reduce *r = ctx;
  int64_t along = r->row ? r->n : 1, across = r->row ? 1 : r->n;
  for (int64_t i = begin; i < end; i++) {
    int64_t at = offset_of(&r->kept, i / across) + i % across, acc = 0;
    bool begun = false;
    for (int64_t j = 0; j < r->gone.count; j++)
      for (int64_t k = 0; k < along; k++) {
        int64_t v = load(r->x, r->type, at + offset_of(&r->gone, j) + k);
        acc = begun ? fold(r->kind, acc, v) : v;
        begun = true;
      }
    store(r->y, r->type, i, acc);
  }
}

/* ---- the kernel */

static void append(struct axes *a, int64_t dim, int64_t stride) {
  a->dim[a->rank] = dim;
  a->stride[a->rank++] = stride;
  a->count *= dim;
}

/* Merges x's axes from the innermost outward, and sorts them into kept and gone. */
static void split(const struct fg_tensor *x, uint32_t mask, struct reduce *r) {
  int64_t dim[FG_MAX_RANK], stride[FG_MAX_RANK], next = 1;
  bool gone[FG_MAX_RANK];
  int n = 0; /* merged axes, innermost first */
  for (int i = x->rank - 1; i >= 0; i--) {
    bool reduced = mask >> i & 1;
    if (x->dim[i] != 1) {
      if (n > 0 && gone[n - 1] == reduced) {
        dim[n - 1] *= x->dim[i];
      } else {
        dim[n] = x->dim[i];
        stride[n] = next;
        gone[n++] = reduced;
      }
    }
    next *= x->dim[i];
  }
  r->n = n > 0 ? dim[0] : 1;
  r->row = n > 0 ? gone[0] : false;
  r->kept.count = r->gone.count = 1;
  for (int i = n - 1; i >= 1; i--)
    append(gone[i] ? &r->gone : &r->kept, dim[i], stride[i]);
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  enum fg_reduce_kind kind = call->attrs->reduce.kind;
  FG_TRY(fg_cpu_need_plain(call));
  bool is_whole = x->type >= FG_I64 && x->type <= FG_BOOL && kind != FG_REDUCE_mean;
  if (x->type != y->type || (x->type != FG_F32 && !is_whole))
    return FG_FAIL(UNSUPPORTED, "cpu: reduce of %s", fg_type_name(x->type));
  if (is_extreme(kind) && fg_count(x) == 0 && fg_count(y) > 0)
    return FG_FAIL(UNSUPPORTED, "cpu: reduce has no elements to choose from");
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  int64_t results = fg_count(y), elements = fg_count(x);
  struct reduce r = {.kind = call->attrs->reduce.kind, .type = x->type, .x = x->data, .y = y->data};
  if (results == 0)
    return FGSM_OK;
  if (elements == 0) {
    memset(y->data, 0, fg_bytes(y));
    for (int64_t i = 0; i < results && r.kind != FG_REDUCE_sum; i++)
      if (y->type == FG_F32)
        ((float *)y->data)[i] = r.kind == FG_REDUCE_mean ? NAN : 1;
      else
        store(y->data, y->type, i, 1);
    return FGSM_OK;
  }
  split(x, call->attrs->reduce.axes, &r);
  r.share = (double)elements / (double)results;
  if (r.type != FG_F32)
    fg_cpu_parallel(results, 1, 5 + 2 * r.share, whole, &r);
  else if (r.row)
    fg_cpu_parallel(results, 1, 5 + 0.2 * r.share, float_rows, &r);
  else
    fg_cpu_parallel(r.kept.count * ((r.n + TILE - 1) / TILE), 1,
                    5 + 0.4 * (double)(r.n < TILE ? r.n : TILE) * (double)r.gone.count,
                    float_columns, &r);
  return FGSM_OK;
}

const struct fg_kernel fg_cpu_reduce = {prepare, run, NULL};
