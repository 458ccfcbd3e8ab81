/* The plan: the graph laid out in one block of memory. Every temporary gets an offset in one arena;
 * two share bytes when their lives do not overlap. A view is its source's bytes; an in-place
 * operator's result may lie over its argument when that dies there. Running is a loop over calls:
 * no allocation, no decision. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

enum trait { PLAIN, INPLACE, VIEW };
static const enum trait traits[FG_OP_COUNT] = {
#define OP(name, max_in, n_out, trait) [FG_OP_##name] = trait,
#include "ops.def"
#undef OP
};

enum { ALIGN = 64 };

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
  struct fg_provenance outer = g->from;
  for (int i = 0; i < g->n_outputs; i++) {
    fg_id id = g->outputs[i], producer = fg_value(g, id)->producer, view, out[FG_MAX_OUT];
    if (producer == FG_ABSENT || traits[g->nodes[producer].op] != VIEW)
      continue;
    struct fg_value like = *fg_value(g, id);
    FG_TRY(fg_graph_value(g, &like, &view));
    g->nodes[producer].out[0] = view;
    fg_value(g, view)->producer = producer;
    union fg_attrs copy = {.unary = {.kind = FG_UNARY_identity}};
    g->from = g->nodes[producer].from;
    FG_TRY(fg_graph_add(g, FG_OP_unary, like.name, &copy, 1, &view, out));
    g->nodes[g->n_nodes - 1].out[0] = id;
    fg_value(g, id)->producer = (fg_id)(g->n_nodes - 1);
    fg_value(g, out[0])->producer = FG_ABSENT;
  }
  g->from = outer;
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
  return fg_value(p->g, root)->role == FG_ROLE_TEMP && p->storages[root].at.dies == at &&
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
    p->storages[i] = (struct fg_storage){.at = {align_up(fg_value_bytes(g, i)), 0, -1, -1}};
  }
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (traits[g->nodes[i].op] == VIEW)
      p->root[g->nodes[i].out[0]] = p->root[g->nodes[i].in[0]];
  for (int64_t i = 0; i < g->n_nodes; i++) {
    const struct fg_node *node = &g->nodes[i];
    for (int k = 0; k < node->n_out; k++)
      if (node->out[k] != FG_ABSENT) {
        struct fg_storage *s = &p->storages[p->root[node->out[k]]];
        if (s->at.born < 0)
          s->at.born = i;
        if (s->at.dies < i)
          s->at.dies = i;
      }
    for (int k = 0; k < node->n_in; k++)
      if (node->in[k] != FG_ABSENT)
        p->storages[p->root[node->in[k]]].at.dies = i;
  }
  for (int i = 0; i < g->n_outputs; i++)
    p->storages[p->root[g->outputs[i]]].at.dies = g->n_nodes;
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
    p->storages[to].at.born = p->storages[from].at.born;
    p->root[from] = to;
  }
  for (fg_id v = 0; v < g->n_values; v++)
    p->root[v] = root_of(p, v);
}

/* ---- offsets */

static fgsm_status assign_offsets(struct fg_plan *p) {
  struct fg_graph *g = p->g;
  struct fg_place **todo = malloc((size_t)(g->n_values + 1) * sizeof *todo);
  int64_t n = 0;
  if (!todo)
    return FG_FAIL(MEMORY, "no memory for a graph pass");
  for (fg_id i = 0; i < g->n_values; i++)
    if (p->root[i] == i && fg_value(g, i)->role == FG_ROLE_TEMP && p->storages[i].at.born >= 0) {
      p->storages[i].placed = true;
      p->info.unshared_bytes += p->storages[i].at.bytes;
      todo[n++] = &p->storages[i].at;
    }
  fgsm_status status = fg_place_all(todo, n, &p->scratch_offset);
  free(todo);
  return status;
}

/* ---- preparing */

static bool is_used_constant(const struct fg_plan *p, fg_id id) {
  return fg_value(p->g, id)->role == FG_ROLE_CONSTANT && p->storages[id].at.dies >= 0;
}

static bool can_bind(const struct fg_plan *p, fg_id value) {
  const struct fg_value *v = fg_value(p->g, value);
  return p->root[value] == value && !fg_value_is_constant(p->g, value) &&
         (v->role != FG_ROLE_TEMP || is_output(p->g, value));
}

/* Constants where the device can read them. */
static fgsm_status upload_constants(struct fg_plan *p) {
  const struct fg_backend *backend = p->device->backend;
  for (fg_id i = 0; i < p->g->n_values; i++) {
    if (!is_used_constant(p, i))
      continue;
    const struct fg_value *v = fg_value(p->g, i);
    size_t bytes = fg_value_bytes(p->g, i);
    if (backend->host_memory) {
      memcpy(&p->storages[i].data, &v->data, sizeof v->data);
    } else {
      FG_TRY(backend->alloc(p->device, bytes ? bytes : 1, &p->storages[i].data));
      FG_TRY(backend->upload(p->device, p->storages[i].data, v->data, bytes, NULL));
    }
  }
  /* No other stream, and no prepare that reads a constant, is ordered after these uploads. */
  return backend->host_memory ? FGSM_OK : backend->sync(p->device, NULL);
}

static fgsm_status prepare(struct fg_plan *p, const struct fg_node *node, struct fg_step *step,
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
  p->info.flops += fg_node_flops(p->g, node);
  p->info.state_bytes += step->call.state_bytes;
  p->info.n_fast += step->call.fast != NULL;
  return FGSM_OK;
}

/* Weights in the order of kernels of the host, beside those of the graph: within what it may take. */
static fgsm_status check_room(const struct fg_plan *p) {
  const struct fg_backend *backend = p->device->backend;
  const struct fg_arena *arena = &p->g->arena;
  size_t room = arena->limit_bytes - arena->total_bytes;
  if (!backend->host_memory || !arena->limit_bytes || p->info.state_bytes <= room)
    return FGSM_OK;
  return FG_FAIL(
      MEMORY,
      "weights in the order of %s's kernels need more than the %zu MiB that are left for "
      "them",
      backend->name, room >> 20);
}

/* The values that may be bound, and room for their addresses in every recording. */
static fgsm_status list_bindable(struct fg_plan *p) {
  struct fg_graph *g = p->g;
  p->records = p->device->backend->capture_begin != NULL;
  p->bindable = malloc((size_t)(g->n_values + 1) * sizeof *p->bindable);
  if (!p->bindable)
    return FG_FAIL(MEMORY, "no memory for a plan");
  for (fg_id i = 0; i < g->n_values; i++)
    if (can_bind(p, i))
      p->bindable[p->n_bindable++] = i;
  for (int r = 0; r < FG_RECORDINGS && p->records; r++) {
    p->recordings[r].bound = calloc((size_t)p->n_bindable + 1, sizeof(void *));
    if (!p->recordings[r].bound)
      return FG_FAIL(MEMORY, "no memory for a plan");
  }
  return FGSM_OK;
}

/* Everything that does not ask the device: who lives when, and where. */
static fgsm_status lay_out(struct fg_plan *p) {
  struct fg_graph *g = p->g;
  FG_TRY(fg_graph_compact(g));
  FG_TRY(own_outputs(g));
  FG_TRY(drop_unused(g));
  p->root = malloc((size_t)(g->n_values + 1) * sizeof *p->root);
  p->storages = malloc((size_t)(g->n_values + 1) * sizeof *p->storages);
  if (!p->root || !p->storages)
    return FG_FAIL(MEMORY, "no memory for a plan");
  find_lives(p);
  join_in_place(p);
  for (fg_id i = 0; i < g->n_values; i++)
    if (is_used_constant(p, i))
      p->info.constant_bytes += fg_value_bytes(g, i);
  return assign_offsets(p);
}

fgsm_status fg_plan_size(struct fg_graph *graph, struct fg_plan_info *out) {
  struct fg_plan p = {.g = graph};
  fgsm_status status = lay_out(&p);
  *out = p.info;
  out->arena_bytes = p.scratch_offset;
  free(p.root);
  free(p.storages);
  return status;
}

static fgsm_status prepare_all(struct fg_plan *p, bool allow_ref) {
  FG_TRY(p->device->backend->enter(p->device));
  FG_TRY(list_bindable(p));
  FG_TRY(fg_plan_check_convolutions(p->g));
  p->steps = calloc((size_t)p->g->n_nodes + 1, sizeof *p->steps);
  if (!p->steps)
    return FG_FAIL(MEMORY, "no memory for a plan");
  FG_TRY(upload_constants(p));
  for (int64_t i = 0; i < p->g->n_nodes; i++) {
    if (traits[p->g->nodes[i].op] == VIEW)
      continue;
    FG_TRY(fg_check_interrupt());
    p->steps[p->n_steps].node = (fg_id)i;
    FG_TRY(prepare(p, &p->g->nodes[i], &p->steps[p->n_steps], allow_ref));
    p->n_steps++;
    FG_TRY(check_room(p));
  }
  return FGSM_OK;
}

/* Kernels of the host keep constants in their own order for the whole process, and plans of several
 * threads may read one constant: one thread at a time prepares. */
static fgsm_status prepare_alone(struct fg_plan *p, bool allow_ref) {
  static pthread_mutex_t alone = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&alone);
  fgsm_status status = prepare_all(p, allow_ref);
  pthread_mutex_unlock(&alone);
  return status;
}

fgsm_status fg_plan_create(struct fg_graph *graph, struct fg_device *device, bool allow_ref,
                           struct fg_plan **out) {
  struct fg_plan *p = calloc(1, sizeof *p);
  if (!p) {
    fg_graph_destroy(graph);
    return FG_FAIL(MEMORY, "no memory for a plan");
  }
  p->g = graph;
  p->device = device;
  fgsm_status status = lay_out(p);
  if (status == FGSM_OK)
    status = prepare_alone(p, allow_ref);
  if (status != FGSM_OK) {
    fg_plan_destroy(p);
    return status;
  }
  p->info.n_calls = (int)p->n_steps;
  p->info.arena_bytes = p->scratch_offset + align_up(p->info.arena_bytes);
  *out = p;
  return FGSM_OK;
}

static void forget_recordings(struct fg_plan *p) {
  for (int r = 0; r < FG_RECORDINGS; r++)
    if (p->recordings[r].handle) {
      p->device->backend->recording_destroy(p->device, p->recordings[r].handle);
      p->recordings[r].handle = NULL;
    }
}

void fg_plan_destroy(struct fg_plan *p) {
  if (!p)
    return;
  forget_recordings(p);
  for (int r = 0; r < FG_RECORDINGS; r++)
    free(p->recordings[r].bound);
  free(p->bindable);
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
  for (int64_t i = 0; i < p->n_steps; i++) {
    const struct fg_node *node = &p->g->nodes[p->steps[i].node];
    struct fg_call *call = &p->steps[i].call;
    for (int k = 0; k < node->n_in; k++)
      call->in[k].data = node->in[k] == FG_ABSENT ? NULL : fg_plan_data(p, node->in[k]);
    for (int k = 0; k < node->n_out; k++)
      call->out[k].data = node->out[k] == FG_ABSENT ? NULL : fg_plan_data(p, node->out[k]);
  }
}

void *fg_plan_data(const struct fg_plan *p, fg_id value) {
  const struct fg_storage *s = &p->storages[p->root[value]];
  if (s->data || !s->placed)
    return s->data;
  return p->arena ? (char *)p->arena + s->at.offset : NULL;
}

fgsm_status fg_plan_bind(struct fg_plan *p, fg_id value, void *memory) {
  if ((uintptr_t)memory % ALIGN)
    return FG_FAIL(USAGE, "memory bound to a plan must be aligned to %d bytes", (int)ALIGN);
  if (!can_bind(p, value))
    return FG_FAIL(INTERNAL, "only inputs, parameters and outputs of a graph can be bound");
  p->storages[value].data = memory;
  refresh(p);
  return FGSM_OK;
}

fgsm_status fg_plan_place(struct fg_plan *p, void *arena) {
  if (p->owns_arena)
    p->device->backend->free(p->device, p->arena);
  forget_recordings(p);
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

/* ---- running */

static fgsm_status run_steps(void *plan, void *stream) {
  struct fg_plan *p = plan;
  void *scratch = (char *)p->arena + p->scratch_offset;
  for (int64_t i = 0; i < p->n_steps; i++)
    FG_TRY(p->steps[i].kernel->run(&p->steps[i].call, scratch, stream));
  return FGSM_OK;
}

static bool is_for_these_addresses(const struct fg_plan *p, const struct fg_recording *r) {
  for (int64_t i = 0; i < p->n_bindable; i++)
    if (r->bound[i] != fg_plan_data(p, p->bindable[i]))
      return false;
  return r->handle != NULL;
}

/* Records a run with the addresses of now, in place of the oldest recording. */
static fgsm_status record(struct fg_plan *p, void *stream, struct fg_recording **out) {
  const struct fg_backend *backend = p->device->backend;
  struct fg_recording *r = &p->recordings[p->next_recording];
  if (r->handle)
    backend->recording_destroy(p->device, r->handle);
  r->handle = NULL;
  FG_TRY(fg_record(p->device, stream, run_steps, p, &r->handle));
  for (int64_t i = 0; i < p->n_bindable; i++)
    r->bound[i] = fg_plan_data(p, p->bindable[i]);
  p->next_recording = (p->next_recording + 1) % FG_RECORDINGS;
  *out = r;
  return FGSM_OK;
}

/* The first run is a plain one: libraries load their code during it, which a recording cannot. */
static fgsm_status run_recorded(struct fg_plan *p, void *stream) {
  struct fg_recording *r = NULL;
  for (int i = 0; i < FG_RECORDINGS && !r; i++)
    if (is_for_these_addresses(p, &p->recordings[i]))
      r = &p->recordings[i];
  if (!r) {
    fgsm_status status = record(p, stream, &r);
    if (status == FGSM_UNSUPPORTED) {
      fg_log(FGSM_LOG_INFO, "a plan is run call by call: %s", fgsm_last_error());
      p->records = false;
      return run_steps(p, stream);
    }
    FG_TRY(status);
  }
  return p->device->backend->replay(p->device, r->handle, stream);
}

static fgsm_status enter(struct fg_plan *p) {
  if (!p->arena)
    return FG_FAIL(INTERNAL, "a plan must be placed before it runs");
  return p->device->backend->enter(p->device);
}

fgsm_status fg_plan_issue(struct fg_plan *p, void *stream) {
  FG_TRY(enter(p));
  return run_steps(p, stream);
}

fgsm_status fg_plan_run(struct fg_plan *p, void *stream) {
  FG_TRY(enter(p));
  if (stream && p->records && p->has_run)
    return run_recorded(p, stream);
  FG_TRY(run_steps(p, stream));
  p->has_run = true;
  return FGSM_OK;
}
