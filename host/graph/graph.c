/* The graph itself: create, copy, free, inputs and constants, looking, replacing, compacting.
 * Invariant: a value's shape and type never change once it exists; ids of values stay valid through
 * every pass; nodes stand in topological order after fg_graph_compact. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op.h"
#include "provenance.h"

/* Past this a single value is a mistake or an attack, whatever machine this is. */
static const int64_t MOST_ELEMENTS = (int64_t)1 << 38;
/* Constants of one graph: the models of the field are far below. */
static const size_t MOST_CONSTANT_BYTES = (size_t)16 << 30;

/* Of the buffers that kernels take (kernel.h). */
enum { BUFFER_ALIGN = 64 };

/* Fewer are not worth a copy of the rest. */
static const size_t STRIPPED_BYTES = 1 << 16;

fgsm_status fg_graph_create(enum fg_type real, struct fg_graph **out) {
  struct fg_graph *g = calloc(1, sizeof *g);
  if (!g)
    return FG_FAIL(MEMORY, "no memory for a graph");
  g->real = real;
  g->arena.limit_bytes = MOST_CONSTANT_BYTES;
  *out = g;
  return FGSM_OK;
}

void fg_graph_destroy(struct fg_graph *g) {
  if (!g)
    return;
  fg_arena_free(&g->arena);
  fg_lists_free(&g->source_lists);
  free(g->sources);
  free(g->nodes);
  free(g->values);
  free(g);
}

/* The contents of constants and parameters into the copy's own arena; `lend`: they stay where they are;
 * otherwise only what is lent already does. */
static fgsm_status own_contents(struct fg_graph *g, bool lend) {
  for (fg_id i = 0; i < g->n_values; i++) {
    struct fg_value *v = &g->values[i];
    v->lent = v->data && (lend || v->lent);
    if (!v->data || v->lent)
      continue;
    size_t bytes = fg_value_bytes(g, i);
    void *data = fg_arena_alloc(&g->arena, bytes ? bytes : 1);
    if (!data)
      return FGSM_MEMORY;
    v->data = memcpy(data, v->data, bytes);
  }
  return FGSM_OK;
}

static fgsm_status copy(const struct fg_graph *from, bool lend, struct fg_graph **out) {
  struct fg_graph *g = NULL;
  FG_TRY(fg_graph_create(from->real, &g));
  g->borrows = from->borrows;
  g->arena.limit_bytes = from->arena.limit_bytes;
  fgsm_status status = fg_grow(&g->nodes, &g->nodes_capacity, from->n_nodes, sizeof *g->nodes);
  if (status == FGSM_OK)
    status = fg_grow(&g->values, &g->values_capacity, from->n_values, sizeof *g->values);
  if (status != FGSM_OK)
    goto fail;
  if (from->n_nodes)
    memcpy(g->nodes, from->nodes, (size_t)from->n_nodes * sizeof *g->nodes);
  if (from->n_values)
    memcpy(g->values, from->values, (size_t)from->n_values * sizeof *g->values);
  g->n_nodes = from->n_nodes;
  g->n_values = from->n_values;
  memcpy(g->outputs, from->outputs, sizeof g->outputs);
  g->n_outputs = from->n_outputs;
  g->given_bytes = from->given_bytes;
  g->computed_bytes = from->computed_bytes;
  g->computed_flops = from->computed_flops;
  if ((status = fg_sources_copy(from, g)) != FGSM_OK)
    goto fail;
  status = FGSM_MEMORY;
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (!(g->nodes[i].name = fg_arena_text(&g->arena, from->nodes[i].name)))
      goto fail;
  for (fg_id i = 0; i < g->n_values; i++)
    if (!(g->values[i].name = fg_arena_text(&g->arena, g->values[i].name)))
      goto fail;
  if ((status = own_contents(g, lend)) != FGSM_OK)
    goto fail;
  *out = g;
  return FGSM_OK;
fail:
  fg_graph_destroy(g);
  return status;
}

fgsm_status fg_graph_copy(const struct fg_graph *from, struct fg_graph **out) {
  return copy(from, false, out);
}

fgsm_status fg_graph_share(const struct fg_graph *from, struct fg_graph **out) {
  return copy(from, true, out);
}

/* Whether the lender has the same constant under the same id. */
static bool lends(const struct fg_graph *lender, const struct fg_graph *g, fg_id id) {
  if (!lender || id >= lender->n_values)
    return false;
  const struct fg_value *v = fg_value(g, id), *other = fg_value(lender, id);
  size_t bytes = fg_value_bytes(g, id);
  return other->role == FG_ROLE_CONSTANT && other->type == v->type && other->layout == v->layout &&
         fg_value_bytes(lender, id) == bytes &&
         (other->data == v->data || memcmp(other->data, v->data, bytes) == 0);
}

/* Takes the contents from constants that no node reads, and borrows others; bytes of both, and of those
 * that stay. */
static fgsm_status forget(struct fg_graph *g, const struct fg_graph *lender, size_t *freed,
                          size_t *left) {
  bool *read = calloc((size_t)g->n_values + 1, sizeof *read);
  if (!read)
    return FG_FAIL(MEMORY, "no memory for a graph pass");
  for (int64_t i = 0; i < g->n_nodes; i++)
    for (int k = 0; k < g->nodes[i].n_in; k++)
      if (g->nodes[i].op != FG_OP_COUNT && g->nodes[i].in[k] != FG_ABSENT)
        read[g->nodes[i].in[k]] = true;
  for (int i = 0; i < g->n_outputs; i++)
    read[g->outputs[i]] = true;
  *freed = *left = 0;
  for (fg_id i = 0; i < g->n_values; i++) {
    struct fg_value *v = &g->values[i];
    if (v->role != FG_ROLE_CONSTANT)
      continue;
    bool lent = read[i] && (v->lent || lends(lender, g, i));
    if (!v->lent)
      *(read[i] && !lent ? left : freed) += fg_value_bytes(g, i);
    if (lent && !v->lent) {
      v->data = lender->values[i].data;
      v->lent = true;
    } else if (!read[i]) {
      v->role = FG_ROLE_TEMP; /* which nobody makes */
      v->data = NULL;
      v->lent = false;
    }
  }
  free(read);
  return FGSM_OK;
}

fgsm_status fg_graph_strip(struct fg_graph **graph, const struct fg_graph *lender) {
  struct fg_graph *g = *graph, *stripped;
  size_t freed, left;
  FG_TRY(forget(g, lender, &freed, &left));
  if (freed <= STRIPPED_BYTES || left > g->arena.limit_bytes - g->arena.total_bytes)
    return FGSM_OK;
  FG_TRY(copy(g, false, &stripped));
  fg_graph_destroy(g);
  *graph = stripped;
  return FGSM_OK;
}

/* Appends a value of that shape; its name is copied. */
static fgsm_status new_value(struct fg_graph *g, const char *name, enum fg_role role,
                             enum fg_type type, int rank, const int64_t *dim, fg_id *out) {
  int64_t n = 1;
  if (rank < 0 || rank > FG_MAX_RANK)
    return FG_FAIL(UNSUPPORTED, "rank %d: at most %d axes are supported", rank, FG_MAX_RANK);
  for (int i = 0; i < rank; i++)
    if (!fg_mul_ok(n, dim[i], &n) || n > MOST_ELEMENTS) {
      char text[128];
      return FG_FAIL(UNSUPPORTED, "a value of shape %s is too large",
                     fg_shape_text(rank, dim, text, sizeof text));
    }
  FG_TRY(fg_grow(&g->values, &g->values_capacity, g->n_values + 1, sizeof *g->values));
  struct fg_value v = {.role = role, .type = type, .rank = rank, .producer = FG_ABSENT};
  if (rank)
    memcpy(v.dim, dim, (size_t)rank * sizeof *dim);
  if (!(v.name = name && *name ? fg_arena_text(&g->arena, name) : ""))
    return FGSM_MEMORY;
  *out = (fg_id)g->n_values;
  g->values[g->n_values++] = v;
  return FGSM_OK;
}

fgsm_status fg_graph_value(struct fg_graph *g, const struct fg_value *like, fg_id *out) {
  return new_value(g, like->name, FG_ROLE_TEMP, like->type, like->rank, like->dim, out);
}

fgsm_status fg_graph_input(struct fg_graph *g, const char *name, enum fg_type type, int rank,
                           const int64_t *dim, fg_id *out) {
  return new_value(g, name, FG_ROLE_INPUT, type, rank, dim, out);
}

double fg_element_real(enum fg_type type, const void *data, int64_t i) {
  switch (type) {
  case FG_F32:
    return ((const float *)data)[i];
  case FG_F64:
    return ((const double *)data)[i];
  case FG_F16:
    return fg_half_to_float(((const uint16_t *)data)[i]);
  case FG_BF16:
    return fg_bfloat_to_float(((const uint16_t *)data)[i]);
  case FG_I64:
    return (double)((const int64_t *)data)[i];
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

/* A value whose contents are `data`, floats converted to the graph's real type. */
static fgsm_status with_data(struct fg_graph *g, const char *name, enum fg_role role,
                             enum fg_type type, int rank, const int64_t *dim, const void *data,
                             fg_id *out) {
  enum fg_type kept = fg_type_is_real(type) ? g->real : type;
  fg_id id;
  FG_TRY(new_value(g, name, role, kept, rank, dim, &id));
  size_t bytes = fg_value_bytes(g, id);
  void *copy = fg_arena_alloc(&g->arena, bytes ? bytes : 1);
  if (!copy)
    return FGSM_MEMORY;
  int64_t n = fg_value_count(g, id);
  if (kept == type) {
    if (bytes)
      memcpy(copy, data, bytes);
  } else if (kept == FG_F32) {
    for (int64_t i = 0; i < n; i++)
      ((float *)copy)[i] = (float)fg_element_real(type, data, i);
  } else {
    for (int64_t i = 0; i < n; i++)
      ((double *)copy)[i] = fg_element_real(type, data, i);
  }
  g->values[id].data = copy;
  g->given_bytes += bytes;
  *out = id;
  return FGSM_OK;
}

fgsm_status fg_graph_param(struct fg_graph *g, const char *name, enum fg_type type, int rank,
                           const int64_t *dim, const void *data, fg_id *out) {
  return with_data(g, name, FG_ROLE_PARAM, type, rank, dim, data, out);
}

fgsm_status fg_graph_constant(struct fg_graph *g, const char *name, enum fg_type type, int rank,
                              const int64_t *dim, const void *data, fg_id *out) {
  return with_data(g, name, FG_ROLE_CONSTANT, type, rank, dim, data, out);
}

fgsm_status fg_graph_weight(struct fg_graph *g, const char *name, enum fg_type type, int rank,
                            const int64_t *dim, const void *data, fg_id *out) {
  bool wanted = !fg_type_is_real(type) || type == g->real;
  if (!g->borrows || !wanted || (uintptr_t)data % BUFFER_ALIGN)
    return fg_graph_constant(g, name, type, rank, dim, data, out);
  FG_TRY(new_value(g, name, FG_ROLE_CONSTANT, type, rank, dim, out));
  g->values[*out].data = data;
  g->values[*out].lent = true;
  g->given_bytes += fg_value_bytes(g, *out);
  return FGSM_OK;
}

fgsm_status fg_graph_scalar(struct fg_graph *g, double value, fg_id *out) {
  return fg_graph_constant(g, "", FG_F64, 0, NULL, &value, out);
}

fgsm_status fg_graph_output(struct fg_graph *g, fg_id value, int *slot) {
  int most = (int)(sizeof g->outputs / sizeof *g->outputs);
  if (g->n_outputs == most)
    return FG_FAIL(UNSUPPORTED, "a graph has at most %d outputs", most);
  if (slot)
    *slot = g->n_outputs;
  g->outputs[g->n_outputs++] = value;
  return FGSM_OK;
}

/* ---- looking */

int64_t fg_value_count(const struct fg_graph *g, fg_id id) {
  const struct fg_value *v = &g->values[id];
  int64_t n = 1;
  for (int i = 0; i < v->rank; i++)
    n *= v->dim[i];
  return n;
}

size_t fg_value_bytes(const struct fg_graph *g, fg_id id) {
  return (size_t)fg_value_count(g, id) * fg_type_size(g->values[id].type);
}

bool fg_value_is_constant(const struct fg_graph *g, fg_id id) {
  return id != FG_ABSENT && g->values[id].role == FG_ROLE_CONSTANT;
}

double fg_constant_real(const struct fg_graph *g, fg_id id, int64_t i) {
  return fg_element_real(g->values[id].type, g->values[id].data, i);
}

int64_t fg_constant_int(const struct fg_graph *g, fg_id id, int64_t i) {
  const struct fg_value *v = &g->values[id];
  if (v->type == FG_I64)
    return ((const int64_t *)v->data)[i];
  double x = fg_element_real(v->type, v->data, i);
  return x >= 9.2e18 ? INT64_MAX : x <= -9.2e18 ? INT64_MIN : (int64_t)x;
}

struct fg_tensor fg_value_tensor(const struct fg_graph *g, fg_id id) {
  struct fg_tensor t = {0};
  if (id == FG_ABSENT)
    return t;
  const struct fg_value *v = &g->values[id];
  t.type = v->type;
  t.layout = v->layout;
  t.rank = v->rank;
  memcpy(t.dim, v->dim, sizeof t.dim);
  if (v->role == FG_ROLE_CONSTANT)
    memcpy(&t.data, &v->data, sizeof t.data); /* kernels never write to inputs */
  return t;
}

void fg_node_call(const struct fg_graph *g, const struct fg_node *node, struct fg_call *call) {
  *call = (struct fg_call){
      .op = node->op, .n_in = node->n_in, .n_out = node->n_out, .attrs = &node->attrs};
  for (int i = 0; i < node->n_in; i++) {
    call->in[i] = fg_value_tensor(g, node->in[i]);
    if (fg_value_is_constant(g, node->in[i]))
      call->constant |= 1u << i;
  }
  for (int i = 0; i < node->n_out; i++)
    call->out[i] = fg_value_tensor(g, node->out[i]);
}

double fg_node_flops(const struct fg_graph *g, const struct fg_node *node) {
  if (node->op == FG_OP_COUNT || node->op == FG_OP_reshape || node->op == FG_OP_reorder)
    return 0;
  if (fg_op_defs[node->op]->flops)
    return fg_op_defs[node->op]->flops(g, node);
  return node->n_out && node->out[0] != FG_ABSENT ? (double)fg_value_count(g, node->out[0]) : 0;
}

/* A view moves nothing. */
static double bytes_of(const struct fg_graph *g, const struct fg_node *node, const fg_id *ids,
                       int n) {
  double bytes = 0;
  for (int k = 0; k < n && node->op != FG_OP_reshape; k++) {
    bool seen = ids[k] == FG_ABSENT;
    for (int j = 0; j < k; j++)
      seen |= ids[j] == ids[k];
    bytes += seen ? 0 : (double)fg_value_bytes(g, ids[k]);
  }
  return bytes;
}

double fg_node_read_bytes(const struct fg_graph *g, const struct fg_node *node) {
  return bytes_of(g, node, node->in, node->n_in);
}

double fg_node_written_bytes(const struct fg_graph *g, const struct fg_node *node) {
  return bytes_of(g, node, node->out, node->n_out);
}

void fg_node_text(const struct fg_graph *g, const struct fg_node *node, char *text, size_t size) {
  char shape[128] = "";
  for (int i = 0; i < node->n_out; i++)
    if (node->out[i] != FG_ABSENT) {
      const struct fg_value *v = &g->values[node->out[i]];
      fg_shape_text(v->rank, v->dim, shape, sizeof shape);
      break;
    }
  snprintf(text, size, "%s%s%s%s -> %s", fg_op_name(node->op), *node->name ? " '" : "", node->name,
           *node->name ? "'" : "", shape);
}

static void print_value(const struct fg_graph *g, fg_id id, struct fg_text *text) {
  if (id == FG_ABSENT) {
    fg_text_add(text, " -");
    return;
  }
  const struct fg_value *v = &g->values[id];
  char shape[128];
  fg_text_add(text, " %%%d:%s%s%s", id, fg_type_name(v->type),
              fg_shape_text(v->rank, v->dim, shape, sizeof shape),
              v->layout == FG_BLOCKED ? "b"
              : v->layout == FG_NHWC  ? "l"
                                      : "");
  if (v->role != FG_ROLE_TEMP)
    fg_text_add(text, "(%s)",
                v->role == FG_ROLE_INPUT      ? "input"
                : v->role == FG_ROLE_CONSTANT ? "constant"
                                              : "parameter");
}

fgsm_status fg_graph_print(const struct fg_graph *g, struct fg_text *text) {
  for (int64_t i = 0; i < g->n_nodes; i++) {
    const struct fg_node *node = &g->nodes[i];
    fg_text_add(text, "%s %s:", fg_op_name(node->op), node->name);
    for (int k = 0; k < node->n_in; k++)
      print_value(g, node->in[k], text);
    fg_text_add(text, " ->");
    for (int k = 0; k < node->n_out; k++)
      print_value(g, node->out[k], text);
    fg_text_add(text, "\n");
  }
  return text->failed ? FG_FAIL(MEMORY, "no memory to print a graph") : FGSM_OK;
}

/* ---- changing */

void fg_node_kill(struct fg_graph *g, struct fg_node *node) {
  for (int i = 0; i < node->n_out; i++)
    if (node->out[i] != FG_ABSENT && g->values[node->out[i]].producer == node - g->nodes)
      g->values[node->out[i]].producer = FG_ABSENT;
  node->op = FG_OP_COUNT;
}

/* Depth-first from the outputs, so that producers come before their users; an explicit stack,
 * because graphs from strangers are as deep as they like. */
struct walk {
  const struct fg_graph *g;
  enum { NEW, OPEN, PLACED } * seen; /* per node */
  int *next;                         /* per node: the input to look at next */
  int64_t *stack, *order;
  int64_t n_order;
};

static fgsm_status visit(struct walk *w, int64_t root) {
  int64_t depth = 0;
  if (w->seen[root] == PLACED)
    return FGSM_OK;
  w->seen[root] = OPEN;
  w->stack[depth++] = root;
  while (depth) {
    int64_t at = w->stack[depth - 1];
    const struct fg_node *node = &w->g->nodes[at];
    if (w->next[at] == node->n_in) {
      depth--;
      w->seen[at] = PLACED;
      w->order[w->n_order++] = at;
      continue;
    }
    fg_id in = node->in[w->next[at]++];
    fg_id producer = in == FG_ABSENT ? FG_ABSENT : w->g->values[in].producer;
    if (producer == FG_ABSENT || w->seen[producer] == PLACED)
      continue;
    if (w->seen[producer] == OPEN)
      return FG_FAIL(INTERNAL, "the graph has a cycle at %s '%s'", fg_op_name(node->op),
                     node->name);
    w->seen[producer] = OPEN;
    w->stack[depth++] = producer;
  }
  return FGSM_OK;
}

/* Works by side effect: it writes into some of its inputs. */
static bool is_writer(const struct fg_node *node) {
  return node->op != FG_OP_COUNT && node->n_out == 0;
}

static fgsm_status visit_inputs(struct walk *w, int64_t at) {
  const struct fg_node *node = &w->g->nodes[at];
  for (int k = 0; k < node->n_in; k++) {
    fg_id producer = node->in[k] == FG_ABSENT ? FG_ABSENT : w->g->values[node->in[k]].producer;
    if (producer != FG_ABSENT)
      FG_TRY(visit(w, producer));
  }
  return FGSM_OK;
}

/* The nodes that are needed, producers first. Writers stand last, in the order in which they were
 * added: whoever reads what they overwrite has read it by then. */
static fgsm_status sort(struct walk *w) {
  const struct fg_graph *g = w->g;
  for (int i = 0; i < g->n_outputs; i++) {
    fg_id producer = g->values[g->outputs[i]].producer;
    if (producer != FG_ABSENT)
      FG_TRY(visit(w, producer));
  }
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (is_writer(&g->nodes[i]))
      FG_TRY(visit_inputs(w, i));
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (is_writer(&g->nodes[i]))
      w->order[w->n_order++] = i;
  return FGSM_OK;
}

static bool is_sorted(const struct walk *w) {
  for (int64_t i = 0; i < w->n_order; i++)
    if (w->order[i] != i)
      return false;
  return true;
}

static fgsm_status rearrange(struct fg_graph *g, const struct walk *w) {
  struct fg_node *kept = malloc((size_t)(w->n_order + 1) * sizeof *kept);
  if (!kept)
    return FG_FAIL(MEMORY, "no memory for a graph pass");
  for (int64_t i = 0; i < w->n_order; i++)
    kept[i] = g->nodes[w->order[i]];
  memcpy(g->nodes, kept, (size_t)w->n_order * sizeof *kept);
  free(kept);
  return FGSM_OK;
}

fgsm_status fg_graph_compact(struct fg_graph *g) {
  size_t n = (size_t)g->n_nodes;
  if (!n)
    return FGSM_OK;
  struct walk w = {.g = g, .seen = calloc(n, sizeof *w.seen)};
  w.next = calloc(n, sizeof *w.next);
  w.stack = malloc(n * sizeof *w.stack);
  w.order = malloc(n * sizeof *w.order);
  fgsm_status status = w.seen && w.next && w.stack && w.order
                           ? sort(&w)
                           : FG_FAIL(MEMORY, "no memory for a graph pass");
  if (status == FGSM_OK && !is_sorted(&w))
    status = rearrange(g, &w);
  if (status == FGSM_OK) {
    g->n_nodes = w.n_order;
    for (int64_t i = 0; i < g->n_values; i++)
      g->values[i].producer = FG_ABSENT;
    for (int64_t i = 0; i < g->n_nodes; i++)
      for (int k = 0; k < g->nodes[i].n_out; k++)
        if (g->nodes[i].out[k] != FG_ABSENT)
          g->values[g->nodes[i].out[k]].producer = (fg_id)i;
  }
  free(w.order);
  free(w.stack);
  free(w.next);
  free(w.seen);
  return status;
}
