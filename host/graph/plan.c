/* The plan: the graph laid out in one block of memory. Every temporary gets an offset in one arena;
 * two share bytes when their lives do not overlap. A view is its source's bytes; an in-place
 * operator's result may lie over its argument when that dies there. Running is a loop over calls:
 * no allocation, no decision. */
#include <stdlib.h>
#include <string.h>

#include "op.h"

enum trait { PLAIN, INPLACE, VIEW };
static const enum trait traits[FG_OP_COUNT] = {
#define OP(name, max_in, n_out, trait) [FG_OP_##name] = trait,
#include "ops.def"
#undef OP
};

enum { ALIGN = 64 };

/* Bytes that one or more values share: a temporary with its views, or something bound. */
struct storage {
  size_t bytes, offset;
  int64_t born, dies; /* calls between which it is in the arena */
  bool placed;        /* in the arena, rather than bound or constant */
  void *data;
};

struct step {
  const struct fg_kernel *kernel;
  struct fg_call call;
};

struct fg_plan {
  struct fg_graph *g;
  struct fg_device *device;
  struct step *steps;
  int64_t n_steps;
  int64_t n_prepared;
  fg_id *root;              /* per value: the value whose storage it shares */
  struct storage *storages; /* per value; only roots' count */
  size_t scratch_offset;
  void *arena;
  bool owns_arena;
  struct fg_plan_info info;
};

static size_t align_up(size_t n) {
  return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static bool is_output(const struct fg_graph *g, fg_id id) {
  for (int i = 0; i < g->n_outputs; i++)
    if (g->outputs[i] == id)
      return true;
  return false;
}

/* An output that is only a view of something else gets bytes of its own, so that it can be bound.
 */
static fgsm_status own_outputs(struct fg_graph *g) {
  for (int i = 0; i < g->n_outputs; i++) {
    fg_id id = g->outputs[i], producer = fg_value(g, id)->producer, view, out[FG_MAX_OUT];
    if (producer == FG_ABSENT || traits[g->nodes[producer].op] != VIEW)
      continue;
    struct fg_value like = *fg_value(g, id);
    FG_TRY(fg_graph_value(g, &like, &view));
    g->nodes[producer].out[0] = view;
    fg_value(g, view)->producer = producer;
    union fg_attrs copy = {.unary = {.kind = FG_UNARY_identity}};
    FG_TRY(fg_graph_add(g, FG_OP_unary, like.name, &copy, 1, &view, out));
    g->nodes[g->n_nodes - 1].out[0] = id;
    fg_value(g, id)->producer = (fg_id)(g->n_nodes - 1);
    fg_value(g, out[0])->producer = FG_ABSENT;
  }
  return fg_graph_compact(g);
}

/* An output of an operator that nobody reads need not be computed. */
static bool optional(const struct fg_node *node, int k) {
  switch (node->op) {
  case FG_OP_max_pool:
  case FG_OP_attention:
    return k == 1;
  case FG_OP_attention_grad:
    return true;
  case FG_OP_layer_norm_grad:
  case FG_OP_loss:
  case FG_OP_step:
  case FG_OP_conv_grad_input_step:
  case FG_OP_gemm_grad_input_step:
  case FG_OP_mlp_fgsm:
    return k > 0;
  default:
    return false;
  }
}

static fgsm_status drop_unused(struct fg_graph *g) {
  bool *used = calloc((size_t)g->n_values + 1, sizeof *used);
  if (!used)
    return FG_FAIL(MEMORY, "no memory for a graph pass");
  for (int64_t i = 0; i < g->n_nodes; i++)
    for (int k = 0; k < g->nodes[i].n_in; k++)
      if (g->nodes[i].in[k] != FG_ABSENT)
        used[g->nodes[i].in[k]] = true;
  for (int i = 0; i < g->n_outputs; i++)
    used[g->outputs[i]] = true;
  for (int64_t i = 0; i < g->n_nodes; i++)
    for (int k = 0; k < g->nodes[i].n_out; k++)
      if (g->nodes[i].out[k] != FG_ABSENT && !used[g->nodes[i].out[k]] && optional(&g->nodes[i], k))
        g->nodes[i].out[k] = FG_ABSENT;
  free(used);
  return FGSM_OK;
}

/* ---- who shares whose bytes */

/* The value whose storage `id` shares. While storages are joined, roots form chains, which every
 * search halves. */
static fg_id root_of(const struct fg_plan *p, fg_id id) {
  while (p->root[id] != id)
    id = p->root[id] = p->root[p->root[id]];
  return id;
}

/* Whether `id`, read by call `at`, is a temporary whose storage nobody reads later. */
static bool dies_here(const struct fg_plan *p, fg_id id, int64_t at) {
  fg_id root = root_of(p, id);
  return fg_value(p->g, root)->role == FG_ROLE_TEMP && p->storages[root].dies == at &&
         !is_output(p->g, root);
}

/* The input that node `at` may overwrite with out[0], or -1. */
static int overwrites(const struct fg_plan *p, const struct fg_node *node, int64_t at) {
  int slot = traits[node->op] == INPLACE ? 0 : -1;
  if (slot < 0 || node->in[slot] == FG_ABSENT || !dies_here(p, node->in[slot], at))
    return -1;
  for (int k = 0; k < node->n_in; k++)
    if (k != slot && node->in[k] != FG_ABSENT &&
        root_of(p, node->in[k]) == root_of(p, node->in[slot]))
      return -1;
  const struct fg_value *x = fg_value(p->g, node->in[slot]), *y = fg_value(p->g, node->out[0]);
  return x->type == y->type && x->layout == y->layout &&
                 fg_value_bytes(p->g, node->in[slot]) == fg_value_bytes(p->g, node->out[0])
             ? slot
             : -1;
}

/* Finds every value's storage and its life. Lives must be known before in-place is decided, and
 * views lengthen lives: so views are joined first. */
static void find_lives(struct fg_plan *p) {
  struct fg_graph *g = p->g;
  for (fg_id i = 0; i < g->n_values; i++) {
    p->root[i] = i;
    p->storages[i] =
        (struct storage){.bytes = align_up(fg_value_bytes(g, i)), .born = -1, .dies = -1};
  }
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (traits[g->nodes[i].op] == VIEW)
      p->root[g->nodes[i].out[0]] = p->root[g->nodes[i].in[0]];
  for (int64_t i = 0; i < g->n_nodes; i++) {
    const struct fg_node *node = &g->nodes[i];
    for (int k = 0; k < node->n_out; k++)
      if (node->out[k] != FG_ABSENT) {
        struct storage *s = &p->storages[p->root[node->out[k]]];
        if (s->born < 0)
          s->born = i;
        if (s->dies < i)
          s->dies = i;
      }
    for (int k = 0; k < node->n_in; k++)
      if (node->in[k] != FG_ABSENT)
        p->storages[p->root[node->in[k]]].dies = i;
  }
  for (int i = 0; i < g->n_outputs; i++)
    p->storages[p->root[g->outputs[i]]].dies = g->n_nodes;
}

static void join_in_place(struct fg_plan *p) {
  struct fg_graph *g = p->g;
  for (int64_t i = 0; i < g->n_nodes; i++) {
    const struct fg_node *node = &g->nodes[i];
    if (node->n_out == 0 || node->out[0] == FG_ABSENT || root_of(p, node->out[0]) != node->out[0])
      continue;
    int slot = overwrites(p, node, i);
    if (slot < 0)
      continue;
    /* The output's id stays the root, because an output of the graph is bound by its own id. */
    fg_id from = root_of(p, node->in[slot]), to = node->out[0];
    p->storages[to].born = p->storages[from].born;
    p->root[from] = to;
  }
  for (fg_id v = 0; v < g->n_values; v++)
    p->root[v] = root_of(p, v);
}

/* ---- offsets: largest first, each at the lowest place free during its life */

static int by_size(const void *a, const void *b) {
  const struct storage *x = *(struct storage *const *)a, *y = *(struct storage *const *)b;
  if (x->bytes != y->bytes)
    return x->bytes < y->bytes ? 1 : -1;
  return x < y ? -1 : x > y;
}

/* `placed` holds n storages in order of their offsets. */
static size_t lowest_place(struct storage *const *placed, int64_t n, const struct storage *s) {
  size_t at = 0;
  for (int64_t i = 0; i < n; i++) {
    const struct storage *other = placed[i];
    if (other->born > s->dies || s->born > other->dies)
      continue;
    if (other->offset >= at + s->bytes)
      break;
    if (other->offset + other->bytes > at)
      at = other->offset + other->bytes;
  }
  return at;
}

static void insert(struct storage **placed, int64_t n, struct storage *s) {
  int64_t i = n;
  for (; i > 0 && placed[i - 1]->offset > s->offset; i--)
    placed[i] = placed[i - 1];
  placed[i] = s;
}

static fgsm_status assign_offsets(struct fg_plan *p) {
  struct fg_graph *g = p->g;
  struct storage **todo = malloc((size_t)(g->n_values + 1) * sizeof *todo);
  struct storage **placed = malloc((size_t)(g->n_values + 1) * sizeof *placed);
  fgsm_status status = FGSM_OK;
  int64_t n = 0;
  if (!todo || !placed) {
    status = FG_FAIL(MEMORY, "no memory for a graph pass");
    goto done;
  }
  for (fg_id i = 0; i < g->n_values; i++)
    if (p->root[i] == i && fg_value(g, i)->role == FG_ROLE_TEMP && p->storages[i].born >= 0) {
      p->storages[i].placed = true;
      p->info.unshared_bytes += p->storages[i].bytes;
      todo[n++] = &p->storages[i];
    }
  qsort(todo, (size_t)n, sizeof *todo, by_size);
  for (int64_t i = 0; i < n; i++) {
    todo[i]->offset = lowest_place(placed, i, todo[i]);
    insert(placed, i, todo[i]);
    if (todo[i]->offset + todo[i]->bytes > p->scratch_offset)
      p->scratch_offset = todo[i]->offset + todo[i]->bytes;
  }
done:
  free(placed);
  free(todo);
  return status;
}

/* ---- preparing */

/* Constants where the device can read them. */
static fgsm_status upload_constants(struct fg_plan *p) {
  const struct fg_backend *backend = p->device->backend;
  for (fg_id i = 0; i < p->g->n_values; i++) {
    const struct fg_value *v = fg_value(p->g, i);
    if (v->role != FG_ROLE_CONSTANT || p->storages[i].dies < 0)
      continue;
    size_t bytes = fg_value_bytes(p->g, i);
    if (backend->host_memory) {
      memcpy(&p->storages[i].data, &v->data, sizeof v->data);
    } else {
      FG_TRY(backend->alloc(p->device, bytes ? bytes : 1, &p->storages[i].data));
      FG_TRY(backend->upload(p->device, p->storages[i].data, v->data, bytes, NULL));
    }
    p->info.constant_bytes += bytes;
  }
  return FGSM_OK;
}

static fgsm_status prepare(struct fg_plan *p, const struct fg_node *node, struct step *step,
                           bool allow_ref) {
  const struct fg_backend *backend = p->device->backend;
  char text[256];
  fg_node_text(p->g, node, text, sizeof text);
  fg_node_call(p->g, node, &step->call);
  for (int k = 0; k < node->n_in; k++)
    step->call.in[k].data =
        step->call.constant >> k & 1 ? p->storages[p->root[node->in[k]]].data : NULL;
  step->kernel = backend->kernels[node->op];
  fgsm_status status = FGSM_OK;
  if (!step->kernel->run)
    status = FG_FAIL(UNSUPPORTED, "%s has no kernel for %s", backend->name, fg_op_name(node->op));
  else if (step->kernel->prepare)
    status = step->kernel->prepare(&step->call, p->device);
  if (status == FGSM_UNSUPPORTED && allow_ref && backend->host_memory &&
      fg_ref.kernels[node->op]->run) {
    fg_log(FGSM_LOG_WARNING, "%s runs in the slow reference backend: %s", text, fgsm_last_error());
    step->kernel = fg_ref.kernels[node->op];
    status = step->kernel->prepare ? step->kernel->prepare(&step->call, p->device) : FGSM_OK;
  }
  if (status != FGSM_OK) {
    char why[700];
    fg_error_copy(why, sizeof why);
    return fg_fail(status, __FILE__, __LINE__, "%s on %s: %s", text, backend->name, why);
  }
  if (step->call.scratch_bytes > p->info.arena_bytes) /* the largest scratch, until placed */
    p->info.arena_bytes = step->call.scratch_bytes;
  p->info.flops += fg_op_defs[node->op]->flops ? fg_op_defs[node->op]->flops(p->g, node)
                                               : (double)(node->n_out && node->out[0] != FG_ABSENT
                                                              ? fg_value_count(p->g, node->out[0])
                                                              : 0);
  return FGSM_OK;
}

fgsm_status fg_plan_create(struct fg_graph *graph, struct fg_device *device, bool allow_ref,
                           struct fg_plan **out) {
  struct fg_plan *p = calloc(1, sizeof *p);
  fgsm_status status = FGSM_OK;
  if (!p) {
    fg_graph_destroy(graph);
    return FG_FAIL(MEMORY, "no memory for a plan");
  }
  p->g = graph;
  p->device = device;
  if ((status = fg_graph_compact(graph)) != FGSM_OK || (status = own_outputs(graph)) != FGSM_OK ||
      (status = drop_unused(graph)) != FGSM_OK ||
      (status = device->backend->enter(device)) != FGSM_OK)
    goto fail;
  p->root = malloc((size_t)(graph->n_values + 1) * sizeof *p->root);
  p->storages = malloc((size_t)(graph->n_values + 1) * sizeof *p->storages);
  p->steps = calloc((size_t)graph->n_nodes + 1, sizeof *p->steps);
  if (!p->root || !p->storages || !p->steps) {
    status = FG_FAIL(MEMORY, "no memory for a plan");
    goto fail;
  }
  find_lives(p);
  join_in_place(p);
  if ((status = upload_constants(p)) != FGSM_OK || (status = assign_offsets(p)) != FGSM_OK)
    goto fail;
  for (int64_t i = 0; i < graph->n_nodes; i++) {
    if (traits[graph->nodes[i].op] == VIEW)
      continue;
    struct step *step = &p->steps[p->n_steps];
    if ((status = prepare(p, &graph->nodes[i], step, allow_ref)) != FGSM_OK)
      goto fail;
    p->n_steps++;
  }
  p->info.n_calls = (int)p->n_steps;
  p->info.arena_bytes = p->scratch_offset + align_up(p->info.arena_bytes);
  *out = p;
  return FGSM_OK;
fail:
  fg_plan_destroy(p);
  return status;
}

void fg_plan_destroy(struct fg_plan *p) {
  if (!p)
    return;
  for (int64_t i = 0; i < p->n_steps; i++)
    if (p->steps[i].kernel->release)
      p->steps[i].kernel->release(&p->steps[i].call);
  if (p->owns_arena)
    p->device->backend->free(p->device, p->arena);
  if (p->storages && !p->device->backend->host_memory)
    for (fg_id i = 0; i < p->g->n_values; i++)
      if (fg_value(p->g, i)->role == FG_ROLE_CONSTANT && p->storages[i].data)
        p->device->backend->free(p->device, p->storages[i].data);
  free(p->steps);
  free(p->storages);
  free(p->root);
  fg_graph_destroy(p->g);
  free(p);
}

const struct fg_plan_info *fg_plan_info(const struct fg_plan *p) {
  return &p->info;
}

const struct fg_graph *fg_plan_graph(const struct fg_plan *p) {
  return p->g;
}

/* ---- memory */

/* Writes every storage's address into the calls that use it. */
static void refresh(struct fg_plan *p) {
  int64_t s = 0;
  for (int64_t i = 0; i < p->g->n_nodes; i++) {
    const struct fg_node *node = &p->g->nodes[i];
    if (traits[node->op] == VIEW)
      continue;
    struct fg_call *call = &p->steps[s++].call;
    for (int k = 0; k < node->n_in; k++)
      call->in[k].data = node->in[k] == FG_ABSENT ? NULL : fg_plan_data(p, node->in[k]);
    for (int k = 0; k < node->n_out; k++)
      call->out[k].data = node->out[k] == FG_ABSENT ? NULL : fg_plan_data(p, node->out[k]);
  }
}

void *fg_plan_data(const struct fg_plan *p, fg_id value) {
  const struct storage *s = &p->storages[p->root[value]];
  if (s->data || !s->placed)
    return s->data;
  return p->arena ? (char *)p->arena + s->offset : NULL;
}

fgsm_status fg_plan_bind(struct fg_plan *p, fg_id value, void *memory) {
  if ((uintptr_t)memory % ALIGN)
    return FG_FAIL(USAGE, "memory bound to a plan must be aligned to %d bytes", (int)ALIGN);
  if (p->root[value] != value || fg_value_is_constant(p->g, value) ||
      (fg_value(p->g, value)->role == FG_ROLE_TEMP && !is_output(p->g, value)))
    return FG_FAIL(INTERNAL, "only inputs, parameters and outputs of a graph can be bound");
  p->storages[value].data = memory;
  refresh(p);
  return FGSM_OK;
}

fgsm_status fg_plan_place(struct fg_plan *p, void *arena) {
  if (p->owns_arena)
    p->device->backend->free(p->device, p->arena);
  p->owns_arena = false;
  p->arena = arena;
  if (!arena) {
    FG_TRY(p->device->backend->alloc(p->device, p->info.arena_bytes ? p->info.arena_bytes : ALIGN,
                                     &p->arena));
    p->owns_arena = true;
  }
  refresh(p);
  return FGSM_OK;
}

fgsm_status fg_plan_run(struct fg_plan *p, void *stream) {
  if (!p->arena)
    return FG_FAIL(INTERNAL, "a plan must be placed before it runs");
  void *scratch = (char *)p->arena + p->scratch_offset;
  FG_TRY(p->device->backend->enter(p->device));
  for (int64_t i = 0; i < p->n_steps; i++)
    FG_TRY(p->steps[i].kernel->run(&p->steps[i].call, scratch, stream));
  return FGSM_OK;
}
