/* What a plan's calls do, hold and take: for people who want to know where the work and the memory
 * go. Nothing here is on the way of an attack. */
#include <stdlib.h>

#include "plan.h"

/* alive[i]: bytes of the temporaries that live while node i is computed. */
static void count_alive(const struct fg_plan *p, size_t *alive) {
  for (fg_id v = 0; v < p->g->n_values; v++) {
    const struct fg_storage *s = &p->storages[v];
    if (p->root[v] != v || !s->placed)
      continue;
    alive[s->at.born] += s->at.bytes;
    if (s->at.dies + 1 < p->g->n_nodes)
      alive[s->at.dies + 1] -= s->at.bytes; /* wraps, and wraps back in the sum */
  }
  for (int64_t i = 1; i < p->g->n_nodes; i++)
    alive[i] += alive[i - 1];
}

fgsm_status fg_plan_calls(const struct fg_plan *p, struct fg_plan_call *calls) {
  size_t *alive = calloc((size_t)p->g->n_nodes + 1, sizeof *alive);
  if (!alive)
    return FG_FAIL(MEMORY, "no memory to look at a plan");
  count_alive(p, alive);
  for (int64_t i = 0; i < p->n_steps; i++) {
    const struct fg_step *step = &p->steps[i];
    const struct fg_node *node = &p->g->nodes[step->node];
    calls[i] = (struct fg_plan_call){.node = step->node,
                                     .flops = fg_node_flops(p->g, node),
                                     .read_bytes = fg_node_read_bytes(p->g, node),
                                     .written_bytes = fg_node_written_bytes(p->g, node),
                                     .alive_bytes = alive[step->node],
                                     .scratch_bytes = step->call.scratch_bytes};
  }
  free(alive);
  return FGSM_OK;
}

fgsm_status fg_plan_run_timed(struct fg_plan *p, void *stream, double *seconds) {
  const struct fg_backend *backend = p->device->backend;
  if (!p->arena)
    return FG_FAIL(INTERNAL, "a plan must be placed before it runs");
  void *scratch = (char *)p->arena + p->scratch_offset;
  FG_TRY(backend->enter(p->device));
  FG_TRY(backend->sync(p->device, stream));
  for (int64_t i = 0; i < p->n_steps; i++) {
    double began = fg_now();
    FG_TRY(p->steps[i].kernel->run(&p->steps[i].call, scratch, stream));
    FG_TRY(backend->sync(p->device, stream));
    seconds[i] = fg_now() - began;
  }
  return FGSM_OK;
}
