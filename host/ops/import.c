/* What importers share: the table of ONNX operators by name, attributes and constant inputs with
 * their checks. Every number here comes from a stranger's file. */
#include <string.h>

#include "rules.h"

static const struct {
  const char *domain, *name;
  fg_import_fn import;
} importers[] = {
#define ONNX(name) {"", #name, fg_import_##name},
#define ONNX_ML(name) {"ai.onnx.ml", #name, fg_import_##name},
#define CONTRIB(name) {"com.microsoft", #name, fg_import_contrib_##name},
#include "onnx_ops.def"
#include "contrib_ops.def"
#undef CONTRIB
#undef ONNX_ML
#undef ONNX
};

enum { N_IMPORTERS = sizeof importers / sizeof *importers };

fg_import_fn fg_find_importer(const char *domain, const char *op_type) {
  if (!strcmp(domain, "ai.onnx"))
    domain = "";
  for (int i = 0; i < N_IMPORTERS; i++)
    if (!strcmp(importers[i].name, op_type) && !strcmp(importers[i].domain, domain))
      return importers[i].import;
  return NULL;
}

const char *fg_importer_name(int i, const char **domain) {
  if (i < 0 || i >= N_IMPORTERS)
    return NULL;
  *domain = importers[i].domain;
  return importers[i].name;
}

/* Operators of floats that ONNX admits for whole numbers too: computed in floats, exact below 2^24 (in
 * the oracle 2^53), and cut off. all: of every input, not only the first. */
static const struct {
  const char *name;
  bool all;
} in_floats[] = {{"Col2Im", false},
                 {"Einsum", true},
                 {"Erf", false},
                 {"Gemm", true},
                 {"GridSample", false},
                 {"MatMul", true},
                 {"MaxPool", false},
                 {"PRelu", true},
                 {"ReduceL2", false},
                 {"ReduceLogSum", false},
                 {"ReduceLogSumExp", false},
                 {"ReduceMean", false},
                 {"Relu", false},
                 {"Resize", false},
                 {"Shrink", false}};

/* The type of the first input, where it is one of whole numbers and the operator one of these. */
static enum fg_type whole_type(const struct fg_import *im, bool *all) {
  if (im->n_in < 1 || im->in[0] == FG_ABSENT)
    return FG_NONE;
  enum fg_type type = fg_value(im->g, im->in[0])->type;
  for (size_t i = 0; i < sizeof in_floats / sizeof *in_floats; i++)
    if (strcmp(in_floats[i].name, im->op_type) == 0) {
      *all = in_floats[i].all;
      return fg_type_is_real(type) || type == FG_BOOL ? FG_NONE : type;
    }
  return FG_NONE;
}

fgsm_status fg_import_run(struct fg_import *im, fg_import_fn importer) {
  struct fg_import floats = *im;
  fg_id in[FG_MAX_IN];
  bool all = false;
  enum fg_type type = whole_type(im, &all);
  if (type == FG_NONE || im->n_in > FG_MAX_IN)
    return importer(im);
  for (int i = 0; i < im->n_in; i++) {
    in[i] = im->in[i];
    if ((i == 0 || all) && in[i] != FG_ABSENT && fg_value(im->g, in[i])->type == type)
      FG_TRY(fg_cast(im->g, in[i], im->g->real, 0, &in[i]));
  }
  floats.in = in;
  FG_TRY(importer(&floats));
  for (int i = 0; i < im->n_out; i++)
    if (im->out[i] != FG_ABSENT && fg_type_is_real(fg_value(im->g, im->out[i])->type))
      FG_TRY(fg_cast(im->g, im->out[i], type, 0, &im->out[i]));
  return FGSM_OK;
}

const struct fg_onnx_attr *fg_attr_find(const struct fg_import *im, const char *name) {
  for (int i = 0; i < im->n_attrs; i++)
    if (!strcmp(im->attrs[i].name, name))
      return &im->attrs[i];
  return NULL;
}

/* *out is NULL where the attribute is absent. */
static fgsm_status find(const struct fg_import *im, const char *name, enum fg_onnx_attr_kind kind,
                        const struct fg_onnx_attr **out) {
  *out = fg_attr_find(im, name);
  if (*out && (*out)->kind != kind)
    return FG_FAIL(MODEL, "attribute %s has the wrong kind", name);
  return FGSM_OK;
}

fgsm_status fg_attr_int(const struct fg_import *im, const char *name, int64_t initial,
                        int64_t *out) {
  const struct fg_onnx_attr *a;
  FG_TRY(find(im, name, FG_ATTR_INT, &a));
  *out = a ? a->i : initial;
  return FGSM_OK;
}

fgsm_status fg_attr_float(const struct fg_import *im, const char *name, double initial,
                          double *out) {
  const struct fg_onnx_attr *a;
  FG_TRY(find(im, name, FG_ATTR_FLOAT, &a));
  *out = a ? (double)a->f : initial;
  return FGSM_OK;
}

fgsm_status fg_attr_text(const struct fg_import *im, const char *name, const char *initial,
                         const char **out) {
  const struct fg_onnx_attr *a;
  FG_TRY(find(im, name, FG_ATTR_STRING, &a));
  *out = a ? a->s : initial;
  return FGSM_OK;
}

fgsm_status fg_attr_ints(const struct fg_import *im, const char *name, int most, int64_t *out,
                         int *n) {
  const struct fg_onnx_attr *a;
  *n = -1;
  FG_TRY(find(im, name, FG_ATTR_INTS, &a));
  if (!a)
    return FGSM_OK;
  if (a->n > most)
    return FG_FAIL(MODEL, "attribute %s has %lld numbers, at most %d are expected", name,
                   (long long)a->n, most);
  if (a->n > 0)
    memcpy(out, a->ints, (size_t)a->n * sizeof *out);
  *n = (int)a->n;
  return FGSM_OK;
}

fg_id fg_import_optional(const struct fg_import *im, int i) {
  return i < im->n_in ? im->in[i] : FG_ABSENT;
}

fgsm_status fg_input(const struct fg_import *im, int i, fg_id *out) {
  *out = fg_import_optional(im, i);
  if (*out == FG_ABSENT)
    return FG_FAIL(MODEL, "input %d is missing", i);
  return FGSM_OK;
}

fgsm_status fg_input_ints(const struct fg_import *im, int i, int most, int64_t *out, int *n) {
  fg_id id = fg_import_optional(im, i);
  *n = -1;
  if (id == FG_ABSENT)
    return FGSM_OK;
  const struct fg_value *v = fg_value(im->g, id);
  if (v->type != FG_I64 && v->type != FG_I32)
    return FG_FAIL(MODEL, "input %d is %s where int64 is expected", i, fg_type_name(v->type));
  if (!fg_value_is_constant(im->g, id))
    return FG_FAIL(UNSUPPORTED,
                   "input %d is computed from the data: export the model with fixed "
                   "shapes",
                   i);
  int64_t count = fg_value_count(im->g, id);
  if (v->rank > 1 || count > most)
    return FG_FAIL(MODEL, "input %d has shape %s where at most %d numbers are expected", i,
                   FG_SHAPE(v), most);
  for (int64_t k = 0; k < count; k++)
    out[k] = fg_constant_int(im->g, id, k);
  *n = (int)count;
  return FGSM_OK;
}

fgsm_status fg_import_append(struct fg_import *im, enum fg_op op, const union fg_attrs *attrs,
                             int n_in, const fg_id *in, fg_id *out) {
  fg_id all[FG_MAX_OUT];
  FG_TRY(fg_graph_add(im->g, op, im->name, attrs, n_in, in, all));
  *out = all[0];
  return FGSM_OK;
}

void fg_import_omit(struct fg_import *im, int from) {
  for (int i = from; i < im->n_out; i++)
    im->out[i] = FG_ABSENT;
}

fgsm_status fg_import_axes(const struct fg_import *im, int slot, int rank, int *axes, int *n) {
  int64_t raw[FG_MAX_RANK];
  uint32_t seen = 0;
  FG_TRY(fg_input_ints(im, slot, FG_MAX_RANK, raw, n));
  if (*n < 0)
    FG_TRY(fg_attr_ints(im, "axes", FG_MAX_RANK, raw, n));
  for (int i = 0; i < *n; i++) {
    FG_TRY(fg_check_axis(rank, raw[i], &axes[i]));
    if (seen >> axes[i] & 1)
      return FG_FAIL(MODEL, "axis %d is named twice", axes[i]);
    seen |= 1u << axes[i];
  }
  return FGSM_OK;
}

fgsm_status fg_import_ints(struct fg_graph *g, int n, const int64_t *data, fg_id *out) {
  return fg_graph_constant(g, "", FG_I64, 1, (int64_t[]){n}, data, out);
}

fgsm_status fg_import_scalar(struct fg_graph *g, enum fg_type type, double value, fg_id *out) {
  FG_TRY(fg_graph_scalar(g, value, out));
  return fg_cast(g, *out, type, 0, out);
}
