/* Det, CumProd and BitCast. A determinant is expanded along its first row; a running product is
 * doubled: after step s each place holds the product of the 2^s places that end there, so that zeros
 * need no care and the gradient is that of the products. */
#include <string.h>

#include "rules.h"

/* The determinant of the rows from `row` on and the columns in the mask; m is [matrices, n, n]. */
static fgsm_status minor_of(struct fg_graph *g, fg_id m, int n, int row, uint32_t columns,
                            fg_id *out) {
  bool minus = false;
  *out = FG_ABSENT;
  for (int k = 0; k < n; k++) {
    fg_id term, rest;
    if (!(columns >> k & 1))
      continue;
    FG_TRY(fg_rule_cut(g, m, 1, row, 1, &term));
    FG_TRY(fg_rule_cut(g, term, 2, k, 1, &term));
    if (row + 1 < n) {
      FG_TRY(minor_of(g, m, n, row + 1, columns & ~(1u << k), &rest));
      FG_TRY(fg_binary(g, FG_BINARY_mul, term, rest, &term));
    }
    if (*out == FG_ABSENT)
      *out = term;
    else
      FG_TRY(fg_binary(g, minus ? FG_BINARY_sub : FG_BINARY_add, *out, term, out));
    minus = !minus;
  }
  return FGSM_OK;
}

fgsm_status fg_import_Det(struct fg_import *im) {
  enum { MOST = 4 };
  int64_t matrices = 1;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  struct fg_value v = *fg_value(im->g, x);
  if (v.rank < 2 || v.dim[v.rank - 1] != v.dim[v.rank - 2] || v.dim[v.rank - 1] < 1)
    return FG_FAIL(MODEL, "x of shape %s is not made of square matrices", FG_SHAPE(&v));
  int n = v.dim[v.rank - 1] <= MOST ? (int)v.dim[v.rank - 1] : 0;
  if (n == 0)
    return FG_FAIL(UNSUPPORTED, "matrices of %lld rows: at most %d are supported",
                   (long long)v.dim[v.rank - 1], MOST);
  for (int i = 0; i < v.rank - 2; i++)
    matrices *= v.dim[i];
  FG_TRY(fg_reshape(im->g, x, 3, (int64_t[]){matrices, n, n}, &x));
  FG_TRY(minor_of(im->g, x, n, 0, (1u << n) - 1, &x));
  return fg_reshape(im->g, x, v.rank - 2, v.dim, &im->out[0]);
}

/* x moved by n places along the axis, ones where nothing comes from. */
static fgsm_status shift(struct fg_graph *g, fg_id x, int axis, int64_t n, bool reverse,
                         fg_id *out) {
  union fg_attrs a = {.pad = {.value = 1}};
  a.pad.lo[axis] = reverse ? -n : n;
  a.pad.hi[axis] = reverse ? n : -n;
  return fg_rule_append(g, FG_OP_pad, &a, 1, &x, out);
}

fgsm_status fg_import_CumProd(struct fg_import *im) {
  int64_t axis, exclusive, reverse;
  int n, at;
  fg_id x, before;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input_ints(im, 1, 1, &axis, &n));
  if (n != 1)
    return FG_FAIL(MODEL, "the axis (input 1) is missing");
  FG_TRY(fg_check_axis(fg_value(im->g, x)->rank, axis, &at));
  FG_TRY(fg_attr_int(im, "exclusive", 0, &exclusive));
  FG_TRY(fg_attr_int(im, "reverse", 0, &reverse));
  int64_t places = fg_value(im->g, x)->dim[at];
  if (exclusive)
    FG_TRY(shift(im->g, x, at, 1, reverse != 0, &x));
  for (int64_t reach = 1; reach < places; reach *= 2) {
    FG_TRY(shift(im->g, x, at, reach, reverse != 0, &before));
    FG_TRY(fg_binary(im->g, FG_BINARY_mul, x, before, &x));
  }
  im->out[0] = x;
  return FGSM_OK;
}

/* The float type as which a constant of the graph's is read bit by bit: what is as wide as `to`. */
static enum fg_type float_of(size_t bytes) {
  return bytes == 8 ? FG_F64 : bytes == 4 ? FG_F32 : FG_NONE;
}

/* Element i's bits. Floats of the graph are doubles where it is the oracle's. */
static fgsm_status put_bits(const struct fg_graph *g, fg_id x, int64_t i, enum fg_type as,
                            void *to) {
  union {
    double d;
    float f;
    int64_t i;
  } bits = {0};
  if (as == FG_F64)
    bits.d = fg_constant_real(g, x, i);
  else if (as == FG_F32)
    bits.f = (float)fg_constant_real(g, x, i);
  else
    bits.i = fg_constant_int(g, x, i); /* little-endian: the low bytes come first */
  memcpy((char *)to + i * (int64_t)fg_type_size(as), &bits, fg_type_size(as));
  return FGSM_OK;
}

/* ONNX's type as it is stored, floats included; FG_NONE where bits cannot be read as it. */
static enum fg_type stored_type(int64_t number) {
  switch (number) {
  case 1:
    return FG_F32;
  case 2:
    return FG_U8;
  case 3:
    return FG_I8;
  case 5:
    return FG_I16;
  case 6:
    return FG_I32;
  case 7:
    return FG_I64;
  case 11:
    return FG_F64;
  default:
    return FG_NONE;
  }
}

fgsm_status fg_import_BitCast(struct fg_import *im) {
  struct fg_graph *g = im->g;
  int64_t number;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_attr_int(im, "to", 0, &number));
  enum fg_type to = stored_type(number);
  struct fg_value v = *fg_value(g, x);
  if (to == FG_NONE || !fg_value_is_constant(g, x))
    return FG_FAIL(UNSUPPORTED,
                   "bits of %s as ONNX data type %lld: only constants of common types "
                   "are supported",
                   fg_type_name(v.type), (long long)number);
  enum fg_type as = fg_type_is_real(v.type) ? float_of(fg_type_size(to)) : v.type;
  if (fg_type_size(as) != fg_type_size(to))
    return FG_FAIL(MODEL, "%s and %s differ in width", fg_type_name(v.type), fg_type_name(to));
  int64_t n = fg_value_count(g, x);
  void *bits = fg_arena_alloc(&g->arena, (size_t)n * fg_type_size(to) + 8);
  if (!bits)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < n; i++)
    FG_TRY(put_bits(g, x, i, as, bits));
  return fg_graph_constant(g, im->name, to, v.rank, v.dim, bits, &im->out[0]);
}
