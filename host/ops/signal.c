/* Spectra: DFT and STFT, which are products with constant matrices, and the constants that go with
 * them, windows and the mel matrix. A transform of n places costs n squared here. */
#include <math.h>
#include <string.h>

#include "rules.h"

enum { MOST_MATRIX = 1 << 24, MOST_WINDOW = 1 << 20 };

/* A transform along one axis: `in` places of x, `parts` numbers each (real, or real and imaginary),
 * to `out` places of `parts_out` numbers. */
struct transform {
  int64_t in, out, length;
  int parts, parts_out;
  bool inverse, onesided;
};

/* What number q of place k gets from part p of place j. */
static double entry(const struct transform *t, int64_t j, int p, int64_t k, int q) {
  const double pi = 3.14159265358979323846;
  double angle = 2 * pi * (double)(j * k % t->length) / (double)t->length, c = cos(angle),
         s = t->inverse ? sin(angle) : -sin(angle);
  double real = p == 0 ? c : -s, imaginary = p == 0 ? s : c;
  double scale = t->inverse ? 1 / (double)t->length : 1;
  if (t->inverse && t->onesided && j > 0 && 2 * j != t->length)
    scale *= 2; /* the conjugate half, which is not written */
  return scale * (q == 0 ? real : imaginary);
}

static fgsm_status matrix_of(struct fg_graph *g, const struct transform *t, fg_id *out) {
  int64_t rows = t->in * t->parts, columns = t->out * t->parts_out, n;
  if (!fg_mul_ok(rows, columns, &n) || n > MOST_MATRIX)
    return FG_FAIL(UNSUPPORTED, "a transform of %lld to %lld numbers: too long for its matrix",
                   (long long)rows, (long long)columns);
  double *m = fg_arena_alloc(&g->arena, (size_t)n * sizeof *m);
  if (!m)
    return FGSM_MEMORY;
  int64_t last = t->inverse && t->onesided ? t->length / 2 + 1 : t->length;
  for (int64_t j = 0; j < t->in && j < last; j++)
    for (int p = 0; p < t->parts; p++)
      for (int64_t k = 0; k < t->out; k++)
        for (int q = 0; q < t->parts_out; q++)
          m[((j * t->parts + p) * t->out + k) * t->parts_out + q] = entry(t, j, p, k, q);
  return fg_graph_constant(g, "", FG_F64, 2, (int64_t[]){rows, columns}, m, out);
}

/* x [.., in, .., parts] with the axis transformed. */
static fgsm_status apply(struct fg_graph *g, const struct transform *t, int axis, fg_id x,
                         fg_id *out) {
  int rank = fg_value(g, x)->rank;
  int64_t outer = 1, inner = 1, dim[FG_MAX_RANK] = {0};
  fg_id m;
  for (int i = 0; i < rank; i++) {
    dim[i] = fg_value(g, x)->dim[i];
    outer *= i < axis ? dim[i] : 1;
    inner *= i > axis && i < rank - 1 ? dim[i] : 1;
  }
  FG_TRY(matrix_of(g, t, &m));
  FG_TRY(fg_reshape(g, x, 4, (int64_t[]){outer, t->in, inner, t->parts}, out));
  FG_TRY(fg_transpose(g, *out, (const int[]){0, 2, 1, 3}, out));
  FG_TRY(fg_reshape(g, *out, 2, (int64_t[]){outer * inner, t->in * t->parts}, out));
  FG_TRY(fg_matmul(g, *out, m, false, false, 1, out));
  FG_TRY(fg_reshape(g, *out, 4, (int64_t[]){outer, inner, t->out, t->parts_out}, out));
  FG_TRY(fg_transpose(g, *out, (const int[]){0, 2, 1, 3}, out));
  dim[axis] = t->out;
  dim[rank - 1] = t->parts_out;
  return fg_reshape(g, *out, rank, dim, out);
}

/* One constant whole number of input `slot`, or `initial` where it is left out. */
static fgsm_status number(const struct fg_import *im, int slot, int64_t initial, int64_t *out) {
  int n;
  FG_TRY(fg_input_ints(im, slot, 1, out, &n));
  *out = n < 1 ? initial : *out;
  return FGSM_OK;
}

/* Since opset 20 the axis is an input. */
fgsm_status fg_import_DFT(struct fg_import *im) {
  int64_t inverse, onesided, axis;
  int at;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "inverse", 0, &inverse));
  FG_TRY(fg_attr_int(im, "onesided", 0, &onesided));
  if (im->opset < 20)
    FG_TRY(fg_attr_int(im, "axis", 1, &axis));
  else
    FG_TRY(number(im, 2, -2, &axis));
  struct fg_value v = *fg_value(im->g, x);
  FG_TRY(fg_check_axis(v.rank, axis, &at));
  int64_t parts = v.dim[v.rank - 1];
  if (at == v.rank - 1 || (parts != 1 && parts != 2))
    return FG_FAIL(MODEL, "x of shape %s along axis %d", FG_SHAPE(&v), at);
  struct transform t = {.in = v.dim[at],
                        .parts = (int)parts,
                        .parts_out = inverse && onesided ? 1 : 2,
                        .inverse = inverse != 0,
                        .onesided = onesided != 0};
  FG_TRY(number(im, 1, inverse && onesided ? 2 * (t.in - 1) : t.in, &t.length));
  if (t.length < 1 || t.length > INT32_MAX || t.in > INT32_MAX)
    return FG_FAIL(MODEL, "a transform of %lld places", (long long)t.length);
  t.out = onesided && !inverse ? t.length / 2 + 1 : t.length;
  return apply(im->g, &t, at, x, &im->out[0]);
}

/* x [batch, places, parts] cut into frames: [batch, frames, length, parts]. */
static fgsm_status cut_frames(struct fg_import *im, fg_id x, int64_t frames, int64_t length,
                              int64_t step, fg_id *out) {
  struct fg_value v = *fg_value(im->g, x);
  int64_t n;
  if (!fg_mul_ok(frames, length, &n) || n > MOST_MATRIX)
    return FG_FAIL(UNSUPPORTED, "%lld frames of %lld places", (long long)frames, (long long)length);
  int64_t *from = fg_arena_alloc(&im->g->arena, (size_t)n * sizeof *from);
  if (!from)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++)
    from[i] = i / length * step + i % length;
  FG_TRY(fg_import_pick(im, x, 1, n, from, out));
  return fg_reshape(im->g, *out, 4, (int64_t[]){v.dim[0], frames, length, v.dim[2]}, out);
}

fgsm_status fg_import_STFT(struct fg_import *im) {
  int64_t onesided, step, length;
  fg_id x, window = fg_import_optional(im, 2);
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "onesided", 1, &onesided));
  FG_TRY(number(im, 1, 0, &step));
  struct fg_value v = *fg_value(im->g, x);
  bool given = window != FG_ABSENT;
  FG_TRY(number(im, 3, given ? fg_value_count(im->g, window) : v.rank > 1 ? v.dim[1] : 0, &length));
  if (v.rank == 2)
    FG_TRY(fg_reshape(im->g, x, 3, (int64_t[]){v.dim[0], v.dim[1], 1}, &x));
  int64_t parts = v.rank == 3 ? v.dim[2] : 1;
  if (v.rank < 2 || v.rank > 3 || (parts != 1 && parts != 2) || step < 1 || length < 1 ||
      length > v.dim[1] || (given && fg_value_count(im->g, window) != length))
    return FG_FAIL(MODEL, "frames of %lld places, %lld apart, over x of shape %s",
                   (long long)length, (long long)step, FG_SHAPE(&v));
  FG_TRY(cut_frames(im, x, (v.dim[1] - length) / step + 1, length, step, &x));
  if (given) {
    FG_TRY(fg_reshape(im->g, window, 2, (int64_t[]){length, 1}, &window));
    FG_TRY(fg_binary(im->g, FG_BINARY_mul, x, window, &x));
  }
  struct transform t = {.in = length,
                        .length = length,
                        .out = onesided ? length / 2 + 1 : length,
                        .parts = (int)parts,
                        .parts_out = 2,
                        .onesided = onesided != 0};
  return apply(im->g, &t, 2, x, &im->out[0]);
}

/* a0 - a1 cos(2 pi i / n) + a2 cos(4 pi i / n), n the size, or one less where not periodic. */
static fgsm_status window(struct fg_import *im, double a0, double a1, double a2) {
  const double pi = 3.14159265358979323846;
  int64_t size, periodic, type;
  enum fg_type to;
  FG_TRY(number(im, 0, -1, &size));
  FG_TRY(fg_attr_int(im, "periodic", 1, &periodic));
  FG_TRY(fg_attr_int(im, "output_datatype", 1, &type));
  FG_TRY(fg_import_type(im->g, type, &to));
  if (size < 1 || size > MOST_WINDOW)
    return FG_FAIL(UNSUPPORTED, "a window of %lld places", (long long)size);
  double *w = fg_arena_alloc(&im->g->arena, (size_t)size * sizeof *w);
  if (!w)
    return FGSM_MEMORY;
  double n = (double)(periodic ? size : size - 1);
  for (int64_t i = 0; i < size; i++) {
    double angle = n > 0 ? 2 * pi * (double)i / n : 0;
    w[i] = a0 - a1 * cos(angle) + a2 * cos(2 * angle);
  }
  fg_id y;
  FG_TRY(fg_graph_constant(im->g, im->name, FG_F64, 1, &size, w, &y));
  return fg_cast(im->g, y, to, 0, &im->out[0]);
}

fgsm_status fg_import_HannWindow(struct fg_import *im) {
  return window(im, 0.5, 0.5, 0);
}
fgsm_status fg_import_HammingWindow(struct fg_import *im) {
  return window(im, 25.0 / 46, 21.0 / 46, 0);
}
fgsm_status fg_import_BlackmanWindow(struct fg_import *im) {
  return window(im, 0.42, 0.5, 0.08);
}

/* Triangles between neighbours among points that are equally far apart in mel; column i rises over
 * [point[i], point[i + 1]] and falls to point[i + 2]. */
static void fill_triangles(int64_t bins, int64_t rows, const int64_t *point, double *m) {
  for (int64_t i = 0; i < bins; i++) {
    int64_t left = point[i], centre = point[i + 1], right = point[i + 2];
    for (int64_t j = left; j <= centre && j < rows; j++)
      m[j * bins + i] = centre > left ? (double)(j - left) / (double)(centre - left) : 1;
    for (int64_t j = centre; j < right && j < rows; j++)
      m[j * bins + i] = (double)(right - j) / (double)(right - centre);
  }
}

fgsm_status fg_import_MelWeightMatrix(struct fg_import *im) {
  int64_t bins, length, rate, type, *point;
  double edge[2];
  enum fg_type to;
  FG_TRY(number(im, 0, -1, &bins));
  FG_TRY(number(im, 1, -1, &length));
  FG_TRY(number(im, 2, -1, &rate));
  FG_TRY(fg_attr_int(im, "output_datatype", 1, &type));
  FG_TRY(fg_import_type(im->g, type, &to));
  for (int i = 0; i < 2; i++) {
    fg_id id;
    FG_TRY(fg_input(im, 3 + i, &id));
    if (!fg_value_is_constant(im->g, id) || fg_value_count(im->g, id) != 1)
      return FG_FAIL(UNSUPPORTED, "input %d is no constant number", 3 + i);
    edge[i] = 2595 * log10(1 + fg_constant_real(im->g, id, 0) / 700);
  }
  if (bins < 1 || length < 1 || rate < 1 || bins > 1 << 12 || length > 1 << 20 ||
      bins * (length / 2 + 1) > MOST_MATRIX || !isfinite(edge[0]) || !isfinite(edge[1]))
    return FG_FAIL(UNSUPPORTED, "%lld bands of a transform of %lld places", (long long)bins,
                   (long long)length);
  int64_t rows = length / 2 + 1;
  double *m = fg_arena_alloc(&im->g->arena, (size_t)(rows * bins) * sizeof *m);
  point = fg_arena_alloc(&im->g->arena, (size_t)(bins + 2) * sizeof *point);
  if (!m || !point)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < bins + 2; i++) {
    double mel = edge[0] + (double)i * (edge[1] - edge[0]) / (double)(bins + 2);
    double place = floor((double)(length + 1) * 700 * (pow(10, mel / 2595) - 1) / (double)rate);
    if (!(place >= 0 && place <= (double)rows))
      return FG_FAIL(MODEL, "a band's edge lies outside of the spectrum");
    point[i] = (int64_t)place;
  }
  fill_triangles(bins, rows, point, m);
  fg_id y;
  FG_TRY(fg_graph_constant(im->g, im->name, FG_F64, 2, (int64_t[]){rows, bins}, m, &y));
  return fg_cast(im->g, y, to, 0, &im->out[0]);
}
