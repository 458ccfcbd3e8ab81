/* ONNX operators that arrange places anew, without kernels of their own: Tile is an expansion
 * between two reshapes, DepthToSpace a transposition, ReverseSequence a gathering, Trilu and
 * EyeLike compare row and column. */
#include <string.h>

#include "rules.h"

/* x[.., n, ..] repeated `times` along one axis. */
static fgsm_status repeat(struct fg_import *im, fg_id x, int axis, int64_t times, fg_id *out) {
  struct fg_value v = *fg_value(im->g, x);
  union fg_attrs a = {.shape = {.rank = 3, .dim = {1, 1, 1}}};
  for (int i = 0; i < v.rank; i++)
    a.shape.dim[i < axis ? 0 : 2] *= v.dim[i];
  if (__builtin_mul_overflow(v.dim[axis], times, &v.dim[axis]))
    return FG_FAIL(UNSUPPORTED, "the result is too large");
  FG_TRY(fg_reshape(im->g, x, 3, a.shape.dim, out));
  a.shape.dim[1] = times;
  FG_TRY(fg_import_append(im, FG_OP_expand, &a, 1, out, out));
  return fg_reshape(im->g, *out, v.rank, v.dim, out);
}

fgsm_status fg_import_Tile(struct fg_import *im) {
  int64_t times[FG_MAX_RANK];
  int n;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input_ints(im, 1, FG_MAX_RANK, times, &n));
  if (n != fg_value(im->g, x)->rank)
    return FG_FAIL(MODEL, "%d repeats for x of shape %s", n, FG_SHAPE(fg_value(im->g, x)));
  for (int i = n - 1; i >= 0; i--) {
    if (times[i] < 0)
      return FG_FAIL(MODEL, "%lld repeats along axis %d", (long long)times[i], i);
    if (times[i] != 1)
      FG_TRY(repeat(im, x, i, times[i], &x));
  }
  im->out[0] = x;
  return FGSM_OK;
}

/* x as `from`, its axes in the order `perm`, as `to`. */
static fgsm_status rearrange(struct fg_import *im, fg_id x, const int64_t from[6],
                             const int perm[6], const int64_t to[4]) {
  union fg_attrs a = {0};
  memcpy(a.transpose.perm, perm, 6 * sizeof *perm);
  FG_TRY(fg_reshape(im->g, x, 6, from, &x));
  FG_TRY(fg_import_append(im, FG_OP_transpose, &a, 1, &x, &x));
  return fg_reshape(im->g, x, 4, to, &im->out[0]);
}

static fgsm_status block_of(const struct fg_import *im, fg_id *x, int64_t *b) {
  FG_TRY(fg_input(im, 0, x));
  FG_TRY(fg_attr_int(im, "blocksize", 0, b));
  if (fg_value(im->g, *x)->rank != 4 || *b < 1 || *b > 1 << 15)
    return FG_FAIL(MODEL, "x has shape %s and blocks of %lld", FG_SHAPE(fg_value(im->g, *x)),
                   (long long)*b);
  return FGSM_OK;
}

fgsm_status fg_import_DepthToSpace(struct fg_import *im) {
  int64_t b;
  const char *mode;
  fg_id x;
  FG_TRY(block_of(im, &x, &b));
  FG_TRY(fg_attr_text(im, "mode", "DCR", &mode));
  const int64_t *d = fg_value(im->g, x)->dim;
  bool columns = !strcmp(mode, "CRD");
  if (!columns && strcmp(mode, "DCR"))
    return FG_FAIL(MODEL, "mode '%.60s': DCR or CRD is expected", mode);
  if (d[1] % (b * b))
    return FG_FAIL(MODEL, "%lld channels do not divide into blocks of %lld by %lld",
                   (long long)d[1], (long long)b, (long long)b);
  int64_t c = d[1] / (b * b), to[4] = {d[0], c, d[2] * b, d[3] * b};
  int64_t from[6] = {d[0], columns ? c : b, b, columns ? b : c, d[2], d[3]};
  return rearrange(im, x, from,
                   columns ? (const int[]){0, 1, 4, 2, 5, 3} : (const int[]){0, 3, 4, 1, 5, 2}, to);
}

fgsm_status fg_import_SpaceToDepth(struct fg_import *im) {
  int64_t b;
  fg_id x;
  FG_TRY(block_of(im, &x, &b));
  const int64_t *d = fg_value(im->g, x)->dim;
  if (d[2] % b || d[3] % b)
    return FG_FAIL(MODEL, "an image of %lld by %lld does not divide into blocks of %lld",
                   (long long)d[2], (long long)d[3], (long long)b);
  int64_t from[6] = {d[0], d[1], d[2] / b, b, d[3] / b, b};
  int64_t to[4] = {d[0], d[1] * b * b, d[2] / b, d[3] / b};
  return rearrange(im, x, from, (const int[]){0, 3, 5, 1, 2, 4}, to);
}

/* Place p of a sequence of length l comes from l - 1 - p, or from p behind its end. */
fgsm_status fg_import_ReverseSequence(struct fg_import *im) {
  struct fg_graph *g = im->g;
  union fg_attrs a = {0};
  int64_t time, batch, dim[2], steps[2];
  fg_id x, length, place, turned, more, inside;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &length));
  FG_TRY(fg_attr_int(im, "time_axis", 0, &time));
  FG_TRY(fg_attr_int(im, "batch_axis", 1, &batch));
  struct fg_value v = *fg_value(g, x), lengths = *fg_value(g, length);
  if (v.rank < 2 || time + batch != 1 || time < 0 || time > 1)
    return FG_FAIL(MODEL, "x of shape %s with the time axis %lld and the batch axis %lld",
                   FG_SHAPE(&v), (long long)time, (long long)batch);
  FG_TRY(fg_rule_vector(&lengths, v.dim[batch], "sequence_lens"));
  steps[0] = v.dim[1];
  steps[1] = 1;
  dim[time] = 1;
  dim[batch] = v.dim[batch];
  FG_TRY(fg_cast(g, length, FG_I64, 0, &length));
  FG_TRY(fg_import_scalar(g, FG_I64, (double)v.dim[time], &more));
  FG_TRY(fg_binary(g, FG_BINARY_min, length, more, &length));
  FG_TRY(fg_reshape(g, length, 2, dim, &length));
  FG_TRY(fg_import_steps(g, v.dim[time], 1, 2, (int)time, &place));
  FG_TRY(fg_binary(g, FG_BINARY_less, place, length, &inside));
  FG_TRY(fg_import_scalar(g, FG_I64, 1, &more));
  FG_TRY(fg_binary(g, FG_BINARY_sub, length, more, &turned));
  FG_TRY(fg_binary(g, FG_BINARY_sub, turned, place, &turned));
  FG_TRY(fg_rule_append(g, FG_OP_where, NULL, 3, (fg_id[]){inside, turned, place}, &place));
  FG_TRY(fg_import_scalar(g, FG_I64, (double)steps[time], &more));
  FG_TRY(fg_binary(g, FG_BINARY_mul, place, more, &place));
  FG_TRY(fg_import_steps(g, v.dim[batch], steps[batch], 2, (int)batch, &more));
  FG_TRY(fg_binary(g, FG_BINARY_add, place, more, &place));
  int64_t rows[2] = {v.dim[0] * v.dim[1], 1};
  for (int i = 2; i < v.rank; i++)
    rows[1] *= v.dim[i];
  FG_TRY(fg_reshape(g, place, 1, rows, &place));
  FG_TRY(fg_reshape(g, x, 2, rows, &x));
  FG_TRY(fg_import_append(im, FG_OP_gather, &a, 2, (fg_id[]){x, place}, &x));
  return fg_reshape(g, x, v.rank, v.dim, &im->out[0]);
}

/* Column minus row compared with k: BOOL [rows, columns]. */
static fgsm_status diagonal(struct fg_graph *g, int64_t rows, int64_t columns,
                            enum fg_binary_kind kind, int64_t k, fg_id *out) {
  fg_id row, column, shift;
  FG_TRY(fg_import_steps(g, rows, 1, 2, 0, &row));
  FG_TRY(fg_import_steps(g, columns, 1, 2, 1, &column));
  FG_TRY(fg_graph_constant(g, "", FG_I64, 0, NULL, &k, &shift));
  FG_TRY(fg_binary(g, FG_BINARY_add, row, shift, &row));
  return fg_binary(g, kind, column, row, out);
}

static int64_t clamped(int64_t k) {
  const int64_t far = INT64_C(1) << 40;
  return k < -far ? -far : k > far ? far : k;
}

fgsm_status fg_import_Trilu(struct fg_import *im) {
  int64_t upper, k = 0;
  int n;
  fg_id x, keep, zero;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "upper", 1, &upper));
  FG_TRY(fg_input_ints(im, 1, 1, &k, &n));
  struct fg_value v = *fg_value(im->g, x);
  if (v.rank < 2)
    return FG_FAIL(MODEL, "x of shape %s is no matrix", FG_SHAPE(&v));
  k = n == 1 ? clamped(k) : 0;
  FG_TRY(diagonal(im->g, v.dim[v.rank - 2], v.dim[v.rank - 1],
                  upper ? FG_BINARY_greater : FG_BINARY_less, upper ? k - 1 : k + 1, &keep));
  FG_TRY(fg_import_scalar(im->g, v.type, 0, &zero));
  return fg_import_append(im, FG_OP_where, NULL, 3, (fg_id[]){keep, x, zero}, &im->out[0]);
}

fgsm_status fg_import_EyeLike(struct fg_import *im) {
  int64_t k, number;
  fg_id x, y;
  FG_TRY(fg_input(im, 0, &x));
  struct fg_value v = *fg_value(im->g, x);
  enum fg_type type = v.type;
  FG_TRY(fg_attr_int(im, "k", 0, &k));
  FG_TRY(fg_attr_int(im, "dtype", 0, &number));
  if (number)
    FG_TRY(fg_import_type(im->g, number, &type));
  if (v.rank != 2)
    return FG_FAIL(MODEL, "x of shape %s is no matrix", FG_SHAPE(&v));
  FG_TRY(diagonal(im->g, v.dim[0], v.dim[1], FG_BINARY_equal, clamped(k), &y));
  return fg_cast(im->g, y, type, 0, &im->out[0]);
}
