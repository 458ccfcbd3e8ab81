/* What an engine must be given back to go on as if it had never stopped: weights, what the optimiser
 * and the method keep of them, bit for bit. A piece is whole on every rank, so that any number of ranks
 * may go on from it. */
#include <string.h>

#include "engine.h"

/* The k-th that is kept of a weight; false past the last. */
static bool of_weight(const struct fg_engine *e, const struct fg_weight *w, int k,
                      struct fg_engine_piece *out) {
  void *const memory[] = {w->data, w->m, w->v, w->average, w->direction};
  if (k >= (int)(sizeof memory / sizeof *memory))
    return false;
  int64_t n = memory[k] == w->direction ? w->n_direction : w->count;
  *out = (struct fg_engine_piece){.kind = "wmvas"[k],
                                  .name = w->name,
                                  .memory = memory[k],
                                  .bytes = (size_t)n * fg_type_size(e->real)};
  return true;
}

/* What the method keeps of samples. */
static bool of_samples(const struct fg_engine *e, struct fg_engine_piece *out) {
  enum fg_carry carry = e->spec.method.carry;
  *out = (struct fg_engine_piece){.kind = 'd',
                                  .name = "place",
                                  .memory = e->wire[FG_TRAIN_delta],
                                  .shared = true,
                                  .bytes = fg_train_wire_bytes(e, FG_TRAIN_delta) *
                                           (size_t)fg_ranks_size(e->device->ranks)};
  if (carry == FG_CARRY_sample)
    *out = (struct fg_engine_piece){.kind = 'k',
                                    .name = "sample",
                                    .memory = e->kept,
                                    .host = true,
                                    .bytes = (size_t)(e->spec.samples * e->count)};
  return carry != FG_CARRY_none;
}

static bool of_scale(struct fg_engine *e, struct fg_engine_piece *out) {
  *out = (struct fg_engine_piece){
      .kind = 'l', .name = "scale", .memory = &e->scale, .host = true, .bytes = sizeof e->scale};
  return fg_engine_scale(e);
}

bool fg_engine_piece_at(struct fg_engine *e, int64_t i, struct fg_engine_piece *out) {
  for (int64_t w = 0; w < e->weights.n; w++)
    for (int k = 0; of_weight(e, &e->weights.items[w], k, out); k++)
      if (out->memory && i-- == 0)
        return true;
  if (of_scale(e, out) && i-- == 0)
    return true;
  return i == 0 && of_samples(e, out);
}

/* Every rank's part, in the order of their numbers. */
static fgsm_status read_shared(const struct fg_engine *e, const struct fg_engine_piece *piece,
                               char *to) {
  struct fg_ranks *ranks = e->device->ranks;
  int n = fg_ranks_size(ranks), own = fg_ranks_rank(ranks);
  size_t part = piece->bytes / (size_t)n;
  FG_TRY(
      e->device->backend->download(e->device, to + (size_t)own * part, piece->memory, part, NULL));
  FG_TRY(e->device->backend->sync(e->device, NULL));
  for (int i = 0; i < n; i++)
    FG_TRY(fg_ranks_broadcast(ranks, i, to + (size_t)i * part, part));
  return FGSM_OK;
}

fgsm_status fg_engine_piece_read(const struct fg_engine *e, const struct fg_engine_piece *piece,
                                 void *to) {
  if (piece->host) {
    memcpy(to, piece->memory, piece->bytes);
    return FGSM_OK;
  }
  if (piece->shared)
    return read_shared(e, piece, to);
  FG_TRY(e->device->backend->download(e->device, to, piece->memory, piece->bytes, NULL));
  return e->device->backend->sync(e->device, NULL);
}

fgsm_status fg_engine_piece_write(struct fg_engine *e, const struct fg_engine_piece *piece,
                                  const void *from) {
  if (piece->host) {
    memcpy(piece->memory, from, piece->bytes);
    return FGSM_OK;
  }
  size_t bytes = piece->bytes, at = 0;
  if (piece->shared) {
    bytes /= (size_t)fg_ranks_size(e->device->ranks);
    at = (size_t)fg_ranks_rank(e->device->ranks) * bytes;
  }
  FG_TRY(
      e->device->backend->upload(e->device, piece->memory, (const char *)from + at, bytes, NULL));
  return e->device->backend->sync(e->device, NULL);
}
