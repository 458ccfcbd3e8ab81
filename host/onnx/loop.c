/* Loop and Scan, unrolled: their bodies are appended once for each step, as many as are known while
 * loading. What a step hands on is the next one's input, so that gradients through the steps are the
 * graph's own. How many nodes that comes to is bounded in fg_build_body, how many steps here. */
#include <string.h>

#include "build.h"
#include "rules.h"

enum { MOST_STEPS = 1 << 12, MOST_SERIES = 64 };

/* A body and what one step takes and gives: `n_state` values that go around, and others. */
struct steps {
  struct fg_build *b;
  const Onnx__GraphProto *graph;
  int n_in, n_out, n_state, n_series;
  const char **in_names, **out_names;
  fg_id *in, *out;
  fg_id *series; /* n_series lists of MOST_STEPS: what is gathered step by step */
  int64_t done;
};

static fgsm_status prepare(struct steps *s, struct fg_build *b, const Onnx__NodeProto *node,
                           int n_in, int n_state, int given) {
  *s = (struct steps){.b = b, .n_in = n_in, .n_state = n_state};
  FG_TRY(fg_body_graph(b, node, "body", &s->graph));
  s->n_out = (int)s->graph->n_output;
  s->n_series = s->n_out - n_state - given;
  if (s->graph->n_input != (size_t)n_in || s->n_series < 0 || n_state < 0 ||
      node->n_output > (size_t)(n_state + s->n_series))
    return FG_FAIL(MODEL, "its body has %zu inputs and %zu outputs, the node %zu and %zu",
                   s->graph->n_input, s->graph->n_output, node->n_input, node->n_output);
  if (s->n_series > MOST_SERIES)
    return FG_FAIL(UNSUPPORTED, "its body gives %d series; at most %d are supported", s->n_series,
                   MOST_SERIES);
  struct fg_arena *arena = &b->scratch;
  s->in_names = fg_arena_alloc(arena, ((size_t)n_in + 1) * sizeof *s->in_names);
  s->out_names = fg_arena_alloc(arena, ((size_t)s->n_out + 1) * sizeof *s->out_names);
  s->in = fg_arena_alloc(arena, ((size_t)n_in + 1) * sizeof *s->in);
  s->out = fg_arena_alloc(arena, ((size_t)s->n_out + 1) * sizeof *s->out);
  s->series = fg_arena_alloc(arena, ((size_t)s->n_series * MOST_STEPS + 1) * sizeof *s->series);
  if (!s->in_names || !s->out_names || !s->in || !s->out || !s->series)
    return FGSM_MEMORY;
  for (int i = 0; i < n_in; i++)
    s->in_names[i] = fg_onnx_text(s->graph->input[i]->name);
  for (int i = 0; i < s->n_out; i++)
    s->out_names[i] = fg_onnx_text(s->graph->output[i]->name);
  return FGSM_OK;
}

/* One step. Its weights are constants, whether the model's are trained or not: they would be as many
 * as the steps. */
static fgsm_status step(struct steps *s) {
  struct fg_build body = fg_body_inner(s->b, s->graph);
  body.trainable = false;
  body.parent = s->b;
  body.n_in = s->n_in;
  body.in_names = s->in_names;
  body.n_out = s->n_out;
  body.out_names = s->out_names;
  for (int i = 0; i < s->n_out; i++)
    s->out[i] = FG_ABSENT;
  if (s->done == MOST_STEPS)
    return FG_FAIL(UNSUPPORTED, "it runs more than %d steps", MOST_STEPS);
  FG_TRY(fg_check_interrupt());
  FG_TRY(fg_build_body(&body, s->in, s->out));
  for (int i = 0; i < s->n_out; i++)
    if (s->out[i] == FG_ABSENT)
      return FG_FAIL(UNSUPPORTED, "its body's output '%.80s' is not computed here",
                     s->out_names[i]);
  for (int k = 0; k < s->n_series; k++)
    s->series[(int64_t)k * MOST_STEPS + s->done] = s->out[s->n_out - s->n_series + k];
  s->done++;
  return FGSM_OK;
}

/* Joins what the steps gave into one value along a new axis. */
static fgsm_status collect(struct steps *s, int k, int64_t axis, bool backward, fg_id *out) {
  struct fg_graph *g = s->b->g;
  fg_id *list = s->series + (int64_t)k * MOST_STEPS;
  int64_t dim[FG_MAX_RANK + 1];
  int at;
  if (s->done == 0)
    return FG_FAIL(UNSUPPORTED, "it runs no step, so that the shape of its results is not known");
  for (int64_t i = 0; i < s->done; i++) {
    struct fg_value v = *fg_value(g, list[i]);
    FG_TRY(fg_check_axis(v.rank + 1, axis, &at));
    for (int j = 0; j <= v.rank; j++)
      dim[j] = j < at ? v.dim[j] : j == at ? 1 : v.dim[j - 1];
    FG_TRY(fg_reshape(g, list[i], v.rank + 1, dim, &list[i]));
  }
  for (int64_t i = 0; backward && i < s->done / 2; i++) {
    fg_id swap = list[i];
    list[i] = list[s->done - 1 - i];
    list[s->done - 1 - i] = swap;
  }
  return fg_rule_join(g, "", at, s->done, list, out);
}

/* A truth value that is known while loading; true where it is left out. */
static fgsm_status known(const struct fg_graph *g, fg_id id, bool *out) {
  *out = true;
  if (id == FG_ABSENT)
    return FGSM_OK;
  if (fg_value(g, id)->type != FG_BOOL || fg_value_count(g, id) != 1)
    return FG_FAIL(MODEL, "its condition is not one truth value");
  if (!fg_value_is_constant(g, id))
    return FG_FAIL(UNSUPPORTED, "its condition depends on the data: a loop is supported only where "
                                "it is known while loading when it ends");
  *out = fg_constant_int(g, id, 0) != 0;
  return FGSM_OK;
}

/* The most steps that the count allows; MOST_STEPS + 1 where it is left out. */
static fgsm_status count_of(const struct fg_graph *g, fg_id id, int64_t *out) {
  *out = MOST_STEPS + 1;
  if (id == FG_ABSENT)
    return FGSM_OK;
  if (fg_value(g, id)->type != FG_I64 || fg_value_count(g, id) != 1)
    return FG_FAIL(MODEL, "its number of steps is not one int64");
  if (!fg_value_is_constant(g, id))
    return FG_FAIL(UNSUPPORTED, "its number of steps depends on the data: export the model by "
                                "tracing");
  int64_t n = fg_constant_int(g, id, 0);
  *out = n < *out ? n : *out;
  return FGSM_OK;
}

fgsm_status fg_body_loop(struct fg_build *b, const Onnx__NodeProto *node, const fg_id *in,
                         fg_id *out) {
  struct fg_graph *g = b->g;
  struct steps s;
  int64_t most;
  bool more, yes = true;
  if (node->n_input < 2 || node->n_input > INT32_MAX)
    return FG_FAIL(MODEL, "it has %zu inputs", node->n_input);
  FG_TRY(prepare(&s, b, node, (int)node->n_input, (int)node->n_input - 2, 1));
  FG_TRY(count_of(g, in[0], &most));
  FG_TRY(known(g, in[1], &more));
  memcpy(s.in, in, node->n_input * sizeof *in);
  while (more && s.done < most) {
    FG_TRY(fg_graph_constant(g, "", FG_I64, 0, NULL, &s.done, &s.in[0]));
    FG_TRY(fg_graph_constant(g, "", FG_BOOL, 0, NULL, &yes, &s.in[1]));
    FG_TRY(step(&s));
    FG_TRY(known(g, s.out[0], &more));
    memcpy(s.in + 2, s.out + 1, (size_t)s.n_state * sizeof *s.in);
  }
  for (size_t i = 0; i < node->n_output; i++) {
    int k = (int)i - s.n_state;
    if (k < 0)
      out[i] = s.in[2 + i];
    else if (*node->output[i])
      FG_TRY(collect(&s, k, 0, false, &out[i]));
  }
  return FGSM_OK;
}

/* ---- Scan */

/* Entry i of a list that is an attribute of Scan; 0 where it is left out. */
static int64_t entry(const Onnx__AttributeProto *a, int i) {
  return a && (size_t)i < a->n_ints ? a->ints[i] : 0;
}

static const Onnx__AttributeProto *named(size_t n, const Onnx__AttributeProto *const *attrs,
                                         const char *name) {
  for (size_t i = 0; i < n; i++)
    if (strcmp(fg_onnx_text(attrs[i]->name), name) == 0)
      return attrs[i];
  return NULL;
}

/* Place `at` of x along the axis, which goes. */
static fgsm_status slice_of(struct fg_graph *g, fg_id x, int axis, int64_t at, fg_id *out) {
  struct fg_value v = *fg_value(g, x);
  FG_TRY(fg_rule_cut(g, x, axis, at, 1, out));
  for (int i = axis; i + 1 < v.rank; i++)
    v.dim[i] = v.dim[i + 1];
  return fg_reshape(g, *out, v.rank - 1, v.dim, out);
}

/* The axes that are scanned and how many places they have. */
static fgsm_status scanned(const struct steps *s, const fg_id *in, const Onnx__AttributeProto *axes,
                           int *axis, int64_t *places) {
  for (int i = 0; i < s->n_in - s->n_state; i++) {
    fg_id x = in[s->n_state + i];
    if (x == FG_ABSENT)
      return FG_FAIL(MODEL, "its input %d is missing", s->n_state + i);
    const struct fg_value *v = fg_value(s->b->g, x);
    FG_TRY(fg_check_axis(v->rank, entry(axes, i), &axis[i]));
    if (i && v->dim[axis[i]] != *places)
      return FG_FAIL(MODEL, "its inputs have %lld and %lld places to scan", (long long)*places,
                     (long long)v->dim[axis[i]]);
    *places = v->dim[axis[i]];
  }
  return FGSM_OK;
}

fgsm_status fg_body_scan(struct fg_build *b, const Onnx__NodeProto *node, int64_t opset,
                         const fg_id *in, fg_id *out) {
  struct fg_graph *g = b->g;
  struct steps s;
  size_t n;
  const Onnx__AttributeProto *const *attrs;
  int64_t places = 0;
  if (opset < 9)
    return FG_FAIL(UNSUPPORTED,
                   "before operator set 9 it runs over a batch: convert the model with "
                   "onnx.version_converter");
  FG_TRY(fg_body_attrs(b, node, &n, &attrs));
  const Onnx__AttributeProto *count = named(n, attrs, "num_scan_inputs");
  if (!count || count->i < 1 || (size_t)count->i > node->n_input || node->n_input > INT32_MAX)
    return FG_FAIL(MODEL, "num_scan_inputs is missing, or more than the inputs");
  int n_scan = (int)count->i;
  FG_TRY(prepare(&s, b, node, (int)node->n_input, (int)node->n_input - n_scan, 0));
  const Onnx__AttributeProto *backward = named(n, attrs, "scan_input_directions");
  int *axis = fg_arena_alloc(&b->scratch, (size_t)n_scan * sizeof *axis);
  if (!axis)
    return FGSM_MEMORY;
  FG_TRY(scanned(&s, in, named(n, attrs, "scan_input_axes"), axis, &places));
  memcpy(s.in, in, (size_t)s.n_state * sizeof *in);
  while (s.done < places) {
    for (int i = 0; i < n_scan; i++)
      FG_TRY(slice_of(g, in[s.n_state + i], axis[i],
                      entry(backward, i) ? places - 1 - s.done : s.done, &s.in[s.n_state + i]));
    FG_TRY(step(&s));
    memcpy(s.in, s.out, (size_t)s.n_state * sizeof *s.in);
  }
  for (size_t i = 0; i < node->n_output; i++) {
    int k = (int)i - s.n_state;
    if (k < 0)
      out[i] = s.in[i];
    else if (*node->output[i])
      FG_TRY(collect(&s, k, entry(named(n, attrs, "scan_output_axes"), k),
                     entry(named(n, attrs, "scan_output_directions"), k) != 0, &out[i]));
  }
  return FGSM_OK;
}
