/* ONNX operators whose result's shape depends on values: NonZero, Compress and Unique. They are
 * computed while loading, from constants; computed from the data they are refused, since a graph's
 * shapes are fixed. */
#include <math.h>
#include <string.h>

#include "rules.h"

static fgsm_status known(const struct fg_graph *g, fg_id x, const char *what) {
  if (!fg_value_is_constant(g, x))
    return FG_FAIL(UNSUPPORTED,
                   "%s is computed from the data, and so the result's shape: export the model with "
                   "fixed shapes",
                   what);
  return FGSM_OK;
}

static int64_t *places(struct fg_graph *g, int64_t n) {
  return fg_arena_alloc(&g->arena, (size_t)(n > 0 ? n : 1) * sizeof(int64_t));
}

fgsm_status fg_import_NonZero(struct fg_import *im) {
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(known(im->g, x, "x"));
  struct fg_value v = *fg_value(im->g, x);
  int64_t count = fg_value_count(im->g, x), n = 0;
  for (int64_t i = 0; i < count; i++)
    n += fg_constant_real(im->g, x, i) != 0;
  int64_t *at = places(im->g, n * v.rank), found = 0, dim[2] = {v.rank, n};
  if (!at)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < count; i++) {
    int64_t rest = i;
    if (fg_constant_real(im->g, x, i) == 0)
      continue;
    for (int k = v.rank - 1; k >= 0; k--) {
      at[k * n + found] = rest % v.dim[k];
      rest /= v.dim[k];
    }
    found++;
  }
  return fg_graph_constant(im->g, im->name, FG_I64, 2, dim, at, &im->out[0]);
}

fgsm_status fg_import_Compress(struct fg_import *im) {
  int64_t axis = 0, n = 0;
  int along = 0;
  fg_id x, condition;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(fg_input(im, 1, &condition));
  FG_TRY(known(im->g, condition, "the condition"));
  if (fg_attr_find(im, "axis")) {
    FG_TRY(fg_attr_int(im, "axis", 0, &axis));
    FG_TRY(fg_check_axis(fg_value(im->g, x)->rank, axis, &along));
  } else {
    int64_t all = fg_value_count(im->g, x);
    FG_TRY(fg_reshape(im->g, x, 1, &all, &x));
  }
  int64_t given = fg_value_count(im->g, condition), *from = places(im->g, given);
  if (!from)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < given; i++)
    if (fg_constant_int(im->g, condition, i))
      from[n++] = i;
  return fg_import_pick(im, x, along, n, from, &im->out[0]);
}

/* ---- Unique */

/* The slices of a constant along an axis: n of them, each outer * inner elements. */
struct slices {
  const struct fg_graph *g;
  fg_id x;
  bool real;
  int64_t n, outer, inner;
};

/* The order of slices a and b: below 0, 0 or above; NaN stands behind all numbers. */
static int order(const struct slices *s, int64_t a, int64_t b) {
  for (int64_t o = 0; o < s->outer; o++)
    for (int64_t i = 0; i < s->inner; i++) {
      int64_t at = (o * s->n + a) * s->inner + i, bt = (o * s->n + b) * s->inner + i;
      if (s->real) {
        double va = fg_constant_real(s->g, s->x, at), vb = fg_constant_real(s->g, s->x, bt);
        if (va != vb && !(isnan(va) && isnan(vb)))
          return isnan(vb) || va < vb ? -1 : 1;
      } else {
        int64_t va = fg_constant_int(s->g, s->x, at), vb = fg_constant_int(s->g, s->x, bt);
        if (va != vb)
          return va < vb ? -1 : 1;
      }
    }
  return 0;
}

/* Sorts list (n numbers of slices; where `by` is given, of places in it) by merging; equals keep
 * their order. `room` is as long. */
static void sort(const struct slices *s, const int64_t *by, int64_t *list, int64_t *room,
                 int64_t n) {
  for (int64_t width = 1; width < n; width *= 2) {
    for (int64_t lo = 0; lo < n; lo += 2 * width) {
      int64_t mid = lo + width < n ? lo + width : n, hi = mid + width < n ? mid + width : n;
      for (int64_t i = lo, j = mid, at = lo; at < hi; at++) {
        bool left = j >= hi;
        if (!left && i < mid)
          left = by ? by[list[i]] <= by[list[j]] : order(s, list[i], list[j]) <= 0;
        room[at] = left ? list[i++] : list[j++];
      }
    }
    memcpy(list, room, (size_t)n * sizeof *list);
  }
}

/* What Unique finds: for each kind its first slice and how many there are; for each slice its
 * kind. Kinds are in the order of values, or of appearance. */
struct kinds {
  int64_t n, *first, *count, *of;
};

static fgsm_status find_kinds(struct fg_graph *g, const struct slices *s, bool sorted,
                              struct kinds *out) {
  int64_t *list = places(g, s->n), *room = places(g, s->n), *rank = places(g, s->n);
  *out = (struct kinds){0, places(g, s->n), places(g, s->n), places(g, s->n)};
  if (!list || !room || !rank || !out->first || !out->count || !out->of)
    return FGSM_MEMORY;
  for (int64_t i = 0; i < s->n; i++)
    list[i] = i;
  sort(s, NULL, list, room, s->n);
  for (int64_t i = 0; i < s->n; i++) {
    if (i == 0 || order(s, list[i - 1], list[i]) != 0) {
      out->first[out->n] = list[i];
      out->count[out->n++] = 0;
    }
    out->count[out->n - 1]++;
    out->of[list[i]] = out->n - 1;
  }
  if (sorted)
    return FGSM_OK;
  for (int64_t i = 0; i < out->n; i++)
    list[i] = i;
  sort(s, out->first, list, room, out->n);
  for (int64_t i = 0; i < out->n; i++)
    rank[list[i]] = i;
  for (int64_t i = 0; i < s->n; i++)
    out->of[i] = rank[out->of[i]];
  for (int pass = 0; pass < 2; pass++) {
    int64_t *column = pass ? out->count : out->first;
    for (int64_t i = 0; i < out->n; i++)
      room[i] = column[list[i]];
    memcpy(column, room, (size_t)out->n * sizeof *column);
  }
  return FGSM_OK;
}

fgsm_status fg_import_Unique(struct fg_import *im) {
  struct fg_graph *g = im->g;
  struct kinds kinds;
  int64_t axis = 0, sorted;
  int along = 0;
  fg_id x;
  FG_TRY(fg_input(im, 0, &x));
  FG_TRY(known(g, x, "x"));
  FG_TRY(fg_attr_int(im, "sorted", 1, &sorted));
  if (fg_attr_find(im, "axis")) {
    FG_TRY(fg_attr_int(im, "axis", 0, &axis));
    FG_TRY(fg_check_axis(fg_value(g, x)->rank, axis, &along));
  } else {
    int64_t all = fg_value_count(g, x);
    FG_TRY(fg_reshape(g, x, 1, &all, &x));
  }
  struct fg_value v = *fg_value(g, x);
  struct slices s = {g, x, fg_type_is_real(v.type), v.dim[along], 1, 1};
  for (int i = 0; i < along; i++)
    s.outer *= v.dim[i];
  for (int i = along + 1; i < v.rank; i++)
    s.inner *= v.dim[i];
  FG_TRY(find_kinds(g, &s, sorted != 0, &kinds));
  FG_TRY(fg_import_pick(im, x, along, kinds.n, kinds.first, &im->out[0]));
  const int64_t *const lists[] = {NULL, kinds.first, kinds.of, kinds.count};
  for (int i = 1; i < im->n_out && i < 4; i++) {
    int64_t n = i == 2 ? s.n : kinds.n;
    FG_TRY(fg_graph_constant(g, "", FG_I64, 1, &n, lists[i], &im->out[i]));
  }
  return FGSM_OK;
}
