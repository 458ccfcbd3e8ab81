/* How much memory training takes. What would be more than option max-memory allows is refused before
 * it is taken; the batch is never made smaller, since that would be another training. What is counted:
 * the model as read, the dataset, the graph of each pass, weights that kernels hold in their own
 * order, the arena, wires, weights with what is kept of them, and three times that again: an epoch to
 * go back to, and a checkpoint on its way, which holds both. Of a device with memory of its own, what lies there is not
 * counted: it says itself when that is short. */
#include "engine.h"

static size_t on_device(const struct fg_engine *e) {
  size_t sum = 2 * fg_train_wire_bytes(e, FG_TRAIN_x) + fg_train_arena_bytes(e);
  for (int w = 0; w < FG_TRAIN_WIRES; w++)
    if (fg_train_uses(e, (enum fg_train_wire)w))
      sum += fg_train_wire_bytes(e, (enum fg_train_wire)w);
  return sum;
}

/* Weights, moments and averages, as often as they lie in the host's memory. */
static size_t of_weights(const struct fg_engine *e) {
  const struct fg_engine_spec *spec = &e->spec;
  size_t each = 1 + spec->keeps_m + spec->keeps_v + (spec->average_decay > 0), sum = 0;
  size_t times = e->device->backend->host_memory ? 4 : 3;
  for (int64_t i = 0; i < e->weights.n; i++)
    sum += (size_t)e->weights.items[i].count * fg_type_size(e->real);
  return sum * each * times;
}

size_t fg_train_memory_need(const struct fg_engine *e) {
  size_t sum = e->spec.besides + of_weights(e);
  for (int i = 0; i < FG_TRAIN_PARTS; i++)
    if (e->pass[i].plan)
      sum += fg_plan_graph(e->pass[i].plan)->arena.total_bytes +
             fg_plan_info(e->pass[i].plan)->state_bytes;
  if (e->spec.method.carry == FG_CARRY_sample)
    sum += 4 * (size_t)(e->spec.samples * e->count);
  return sum + (e->device->backend->host_memory ? on_device(e) : 0);
}

fgsm_status fg_train_check_memory(const struct fg_engine *e, const struct fgsm_options *options) {
  char need[32], limit[32];
  size_t bytes = fg_train_memory_need(e), most = fg_options_memory(options);
  return bytes <= most
             ? FGSM_OK
             : FG_FAIL(UNSUPPORTED,
                       "training needs %s of memory at batch %lld, more than the %s of "
                       "--max-memory; a smaller --batch, or fewer samples (--limit), need less",
                       fg_memory_text(bytes, need), (long long)e->batch,
                       fg_memory_text(most, limit));
}
