/* Graphs within the graph: functions that the model defines, and the branches of If. Both are built
 * in place, so that nothing behind the loader knows them. A function's body is a scope of its own,
 * whose inputs are the call's; a branch also sees the names around it. How deep they nest and how
 * many nodes they come to is bounded in fg_build_body, whoever calls whom. */
#include <string.h>

#include "build.h"

enum { ATTRIBUTE_DEFAULTS = 11 }; /* FunctionProto's field, which the schema here is too old for */

fgsm_status fg_body_find(const struct fg_build *b, const Onnx__NodeProto *node,
                         const Onnx__FunctionProto **out) {
  const Onnx__ModelProto *model = b->onnx->model;
  *out = NULL;
  for (size_t i = 0; i < model->n_functions; i++) {
    const Onnx__FunctionProto *f = model->functions[i];
    if (strcmp(fg_onnx_text(f->name), fg_onnx_text(node->op_type)) != 0 ||
        strcmp(fg_onnx_text(f->domain), fg_onnx_text(node->domain)) != 0)
      continue;
    if (*out)
      return FG_FAIL(UNSUPPORTED, "the model defines this function twice (overloads): inline it "
                                  "with onnx.inliner.inline_local_functions");
    *out = f;
  }
  return FGSM_OK;
}

static bool has_defaults(const Onnx__FunctionProto *function) {
  for (unsigned i = 0; i < function->base.n_unknown_fields; i++)
    if (function->base.unknown_fields[i].tag == ATTRIBUTE_DEFAULTS)
      return true;
  return false;
}

fgsm_status fg_body_attrs(struct fg_build *b, const Onnx__NodeProto *node, size_t *n,
                          const Onnx__AttributeProto *const **out) {
  const Onnx__AttributeProto **list =
      fg_arena_alloc(&b->scratch, (node->n_attribute + 1) * sizeof *list);
  if (!list)
    return FGSM_MEMORY;
  *n = 0;
  *out = list;
  FG_TRY(fg_build_look_at(b, node->n_attribute));
  for (size_t i = 0; i < node->n_attribute; i++) {
    const Onnx__AttributeProto *a = node->attribute[i], *given = NULL;
    const char *from = fg_onnx_text(a->ref_attr_name);
    if (!*from) {
      list[(*n)++] = a;
      continue;
    }
    if (!b->function)
      return FG_FAIL(MODEL, "attribute '%.80s' refers to a function's, outside of any function",
                     fg_onnx_text(a->name));
    FG_TRY(fg_build_look_at(b, b->n_args));
    for (size_t k = 0; k < b->n_args && !given; k++)
      if (strcmp(fg_onnx_text(b->args[k]->name), from) == 0)
        given = b->args[k];
    if (!given && has_defaults(b->function))
      return FG_FAIL(UNSUPPORTED,
                     "attribute '%.80s' is a function's default: inline the model's functions with "
                     "onnx.inliner.inline_local_functions",
                     from);
    if (!given)
      continue; /* left out by the call, so left out here */
    Onnx__AttributeProto *renamed = fg_arena_alloc(&b->scratch, sizeof *renamed);
    if (!renamed)
      return FGSM_MEMORY;
    *renamed = *given;
    renamed->name = a->name;
    list[(*n)++] = renamed;
  }
  return FGSM_OK;
}

/* A build within `b`: what every body shares with its surroundings. */
static struct fg_build inner(struct fg_build *b, const Onnx__GraphProto *graph) {
  return (struct fg_build){.onnx = b->onnx,
                           .graph = graph,
                           .g = b->g,
                           .trainable = b->trainable,
                           .function = b->function,
                           .n_args = b->n_args,
                           .args = b->args,
                           .depth = b->depth + 1,
                           .taken = b->taken,
                           .looked_at = b->looked_at};
}

fgsm_status fg_body_call(struct fg_build *b, const Onnx__NodeProto *node,
                         const Onnx__FunctionProto *function, const fg_id *in, fg_id *out) {
  if (node->n_input > function->n_input || node->n_output > function->n_output)
    return FG_FAIL(MODEL, "a call with %zu inputs and %zu outputs of a function with %zu and %zu",
                   node->n_input, node->n_output, function->n_input, function->n_output);
  size_t n_in = function->n_input, n_out = node->n_output;
  Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
  graph.n_node = function->n_node;
  graph.node = function->node;
  struct fg_build body = inner(b, &graph);
  fg_id *args = fg_arena_alloc(&b->scratch, (n_in + 1) * sizeof *args);
  const char **names = fg_arena_alloc(&b->scratch, (n_out + 1) * sizeof *names);
  if (!args || !names)
    return FGSM_MEMORY;
  for (size_t i = 0; i < n_in; i++)
    args[i] = i < node->n_input ? in[i] : FG_ABSENT;
  for (size_t i = 0; i < n_out; i++) /* results that the call does not name are not computed */
    names[i] = *node->output[i] ? function->output[i] : "";
  FG_TRY(fg_body_attrs(b, node, &body.n_args, &body.args));
  body.function = function;
  body.n_in = (int)n_in;
  body.in_names = (const char *const *)function->input;
  body.n_out = (int)n_out;
  body.out_names = names;
  return fg_build_body(&body, args, out);
}

fgsm_status fg_body_if(struct fg_build *b, const Onnx__NodeProto *node, fg_id condition,
                       fg_id *out) {
  size_t n;
  const Onnx__AttributeProto *const *attrs;
  const Onnx__GraphProto *branch = NULL;
  if (condition == FG_ABSENT || fg_value(b->g, condition)->type != FG_BOOL ||
      fg_value_count(b->g, condition) != 1)
    return FG_FAIL(MODEL, "its condition is not one truth value");
  if (!fg_value_is_constant(b->g, condition))
    return FG_FAIL(UNSUPPORTED, "its condition depends on the data: sub-graphs (control flow) are "
                                "supported only where it is known while loading; export the model "
                                "by tracing");
  const char *name = fg_constant_int(b->g, condition, 0) ? "then_branch" : "else_branch";
  FG_TRY(fg_body_attrs(b, node, &n, &attrs));
  for (size_t i = 0; i < n; i++)
    if (strcmp(fg_onnx_text(attrs[i]->name), name) == 0)
      branch = attrs[i]->g;
  if (!branch || branch->n_input || branch->n_output < node->n_output)
    return FG_FAIL(MODEL, "its %s is missing, has inputs, or has too few outputs", name);
  struct fg_build body = inner(b, branch);
  const char **names = fg_arena_alloc(&b->scratch, (node->n_output + 1) * sizeof *names);
  if (!names)
    return FGSM_MEMORY;
  for (size_t i = 0; i < node->n_output; i++)
    names[i] = *node->output[i] ? fg_onnx_text(branch->output[i]->name) : "";
  body.parent = b;
  body.n_out = (int)node->n_output;
  body.out_names = names;
  return fg_build_body(&body, NULL, out);
}
