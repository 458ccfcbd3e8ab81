/* Graphs within the graph: functions that the model defines, and the branches of If. Both are built
 * in place, so that nothing behind the loader knows them. A function's body is a scope of its own,
 * whose inputs are the call's; a branch also sees the names around it. How deep they nest and how
 * many nodes they come to is bounded in fg_build_body, whoever calls whom. */
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "rules.h"

/* Fields that the schema here is too old for, so that protobuf-c keeps them as bytes. */
enum { NODE_OVERLOAD = 8, FUNCTION_DEFAULT = 11, FUNCTION_OVERLOAD = 13 };

/* The bytes of an unknown field behind their length, which protobuf-c leaves in front; *n is 0 where
 * the field is of another kind. The guard has seen that the length fits. */
static const uint8_t *field_bytes(const ProtobufCMessageUnknownField *field, size_t *n) {
  size_t i = 0;
  while (i < field->len && field->data[i] & 0x80)
    i++;
  *n = field->wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED && field->len ? field->len - i - 1
                                                                              : 0;
  return field->data + (field->len ? i + 1 : 0);
}

/* A text field that is not in the schema; the last one counts. */
static const uint8_t *unknown_text(const ProtobufCMessage *m, uint32_t tag, size_t *n) {
  const uint8_t *text = NULL;
  *n = 0;
  for (unsigned i = 0; i < m->n_unknown_fields; i++)
    if (m->unknown_fields[i].tag == tag)
      text = field_bytes(&m->unknown_fields[i], n);
  return text;
}

/* Whether the node's overload is the function's: mostly neither has one. */
static bool same_overload(const Onnx__NodeProto *node, const Onnx__FunctionProto *function) {
  size_t called, defined;
  const uint8_t *a = unknown_text(&node->base, NODE_OVERLOAD, &called);
  const uint8_t *b = unknown_text(&function->base, FUNCTION_OVERLOAD, &defined);
  return called == defined && (called == 0 || memcmp(a, b, called) == 0);
}

fgsm_status fg_body_find(const struct fg_build *b, const Onnx__NodeProto *node,
                         const Onnx__FunctionProto **out) {
  const Onnx__ModelProto *model = b->onnx->model;
  *out = NULL;
  for (size_t i = 0; i < model->n_functions; i++) {
    const Onnx__FunctionProto *f = model->functions[i];
    if (strcmp(fg_onnx_text(f->name), fg_onnx_text(node->op_type)) != 0 ||
        strcmp(fg_onnx_text(f->domain), fg_onnx_text(node->domain)) != 0 || !same_overload(node, f))
      continue;
    if (*out)
      return FG_FAIL(MODEL, "the model defines this function twice");
    *out = f;
  }
  return FGSM_OK;
}

/* The attributes that a function gives where the call does not. */
struct defaults {
  struct fg_onnx_heap *heaps;
  ProtobufCMessage **messages;
  size_t n;
};

static void free_defaults(struct defaults *d) {
  for (size_t i = 0; i < d->n; i++)
    fg_onnx_unpacked_free(d->messages[i], &d->heaps[i]);
  free(d->heaps);
  free(d->messages);
}

static fgsm_status read_defaults(const Onnx__FunctionProto *function, struct defaults *d) {
  unsigned most = function->base.n_unknown_fields;
  d->heaps = calloc(most + 1, sizeof *d->heaps);
  d->messages = calloc(most + 1, sizeof *d->messages);
  if (!d->heaps || !d->messages)
    return FG_FAIL(MEMORY, "no memory for %u attributes", most);
  for (unsigned i = 0; i < most; i++) {
    size_t n;
    const ProtobufCMessageUnknownField *field = &function->base.unknown_fields[i];
    const uint8_t *bytes = field_bytes(field, &n);
    if (field->tag != FUNCTION_DEFAULT)
      continue;
    d->n++; /* counted first: what was unpacked in part is freed too */
    FG_TRY(fg_onnx_unpack(&onnx__attribute_proto__descriptor, bytes, n, "a function's attribute",
                          SIZE_MAX, &d->heaps[d->n - 1], &d->messages[d->n - 1]));
  }
  return FGSM_OK;
}

/* The call's attributes and, behind them, the defaults of those that it leaves out. */
static fgsm_status add_defaults(struct fg_build *b, const struct defaults *d,
                                struct fg_build *body) {
  const Onnx__AttributeProto **list =
      fg_arena_alloc(&b->scratch, (body->n_args + d->n + 1) * sizeof *list);
  if (!list)
    return FGSM_MEMORY;
  size_t given = body->n_args;
  if (given)
    memcpy(list, body->args, given * sizeof *list);
  for (size_t i = 0; i < d->n; i++) {
    const Onnx__AttributeProto *a = (const Onnx__AttributeProto *)d->messages[i];
    bool there = false;
    for (size_t k = 0; k < given && !there; k++)
      there = strcmp(fg_onnx_text(list[k]->name), fg_onnx_text(a->name)) == 0;
    if (!there)
      list[body->n_args++] = a;
  }
  body->args = list;
  return FGSM_OK;
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

struct fg_build fg_body_inner(struct fg_build *b, const Onnx__GraphProto *graph) {
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
  struct fg_build body = fg_body_inner(b, &graph);
  fg_id *args = fg_arena_alloc(&b->scratch, (n_in + 1) * sizeof *args);
  const char **names = fg_arena_alloc(&b->scratch, (n_out + 1) * sizeof *names);
  if (!args || !names)
    return FGSM_MEMORY;
  for (size_t i = 0; i < n_in; i++)
    args[i] = i < node->n_input ? in[i] : FG_ABSENT;
  for (size_t i = 0; i < n_out; i++) /* results that the call does not name are not computed */
    names[i] = *node->output[i] ? function->output[i] : "";
  FG_TRY(fg_body_attrs(b, node, &body.n_args, &body.args));
  struct defaults d = {0};
  fgsm_status status = read_defaults(function, &d);
  if (status == FGSM_OK)
    status = add_defaults(b, &d, &body);
  body.function = function;
  body.n_in = (int)n_in;
  body.in_names = (const char *const *)function->input;
  body.n_out = (int)n_out;
  body.out_names = names;
  if (status == FGSM_OK)
    status = fg_build_body(&body, args, out);
  free_defaults(&d);
  return status;
}

fgsm_status fg_body_graph(struct fg_build *b, const Onnx__NodeProto *node, const char *name,
                          const Onnx__GraphProto **out) {
  size_t n;
  const Onnx__AttributeProto *const *attrs;
  *out = NULL;
  FG_TRY(fg_body_attrs(b, node, &n, &attrs));
  for (size_t i = 0; i < n; i++)
    if (strcmp(fg_onnx_text(attrs[i]->name), name) == 0)
      *out = attrs[i]->g;
  return *out ? FGSM_OK : FG_FAIL(MODEL, "its graph '%.40s' is missing", name);
}

/* Appends one branch; `out` are the node's outputs. */
static fgsm_status take_branch(struct fg_build *b, const Onnx__NodeProto *node, bool yes,
                               fg_id *out) {
  const Onnx__GraphProto *branch;
  const char *name = yes ? "then_branch" : "else_branch";
  FG_TRY(fg_body_graph(b, node, name, &branch));
  if (branch->n_input || branch->n_output < node->n_output)
    return FG_FAIL(MODEL, "its %s has inputs, or has too few outputs", name);
  struct fg_build body = fg_body_inner(b, branch);
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

/* Both branches, and of each pair of results the one that the condition chooses. */
static fgsm_status choose_result(struct fg_build *b, const Onnx__NodeProto *node, fg_id condition,
                                 fg_id *out) {
  fg_id *other = fg_arena_alloc(&b->scratch, (node->n_output + 1) * sizeof *other);
  if (!other)
    return FGSM_MEMORY;
  for (size_t i = 0; i < node->n_output; i++)
    other[i] = FG_ABSENT;
  FG_TRY(take_branch(b, node, true, out));
  FG_TRY(take_branch(b, node, false, other));
  FG_TRY(fg_reshape(b->g, condition, 0, NULL, &condition));
  for (size_t i = 0; i < node->n_output; i++) {
    if (out[i] == FG_ABSENT || other[i] == FG_ABSENT) {
      out[i] = FG_ABSENT;
      continue;
    }
    const struct fg_value *yes = fg_value(b->g, out[i]), *no = fg_value(b->g, other[i]);
    bool same = yes->type == no->type && yes->rank == no->rank;
    for (int k = 0; same && k < yes->rank; k++)
      same = yes->dim[k] == no->dim[k];
    if (!same)
      return FG_FAIL(UNSUPPORTED,
                     "its condition depends on the data, and output %zu has another shape or type "
                     "in one branch than in the other: export the model by tracing",
                     i);
    FG_TRY(fg_rule_choose(b->g, condition, out[i], other[i], &out[i]));
  }
  return FGSM_OK;
}

fgsm_status fg_body_if(struct fg_build *b, const Onnx__NodeProto *node, fg_id condition,
                       fg_id *out) {
  if (condition == FG_ABSENT || fg_value(b->g, condition)->type != FG_BOOL ||
      fg_value_count(b->g, condition) != 1)
    return FG_FAIL(MODEL, "its condition is not one truth value");
  if (!fg_value_is_constant(b->g, condition))
    return choose_result(b, node, condition, out);
  return take_branch(b, node, fg_constant_int(b->g, condition, 0) != 0, out);
}
