/* Parameters, what the optimiser keeps of them, and their averages: buffers in the device's memory,
 * found by the names that graphs give their parameters. Every plan of an engine is bound to the same
 * buffers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "philox.h"
#include "train.h"

static fgsm_status allocate(const struct fg_weights *w, int64_t n, void **out) {
  return w->device->backend->alloc(w->device, (size_t)n * fg_type_size(w->real), out);
}

/* What the value is to the node that reads it in that slot. */
static void classify(const struct fg_graph *g, const struct fg_node *node, int slot,
                     struct fg_weight *item) {
  static const enum fg_weight_kind of_norm[] = {FG_WEIGHT_matrix, FG_WEIGHT_scale, FG_WEIGHT_shift,
                                                FG_WEIGHT_mean, FG_WEIGHT_variance};
  const struct fg_value *w = fg_value(g, node->in[node->n_in > 1 ? 1 : 0]);
  switch (node->op) {
  case FG_OP_conv:
    item->kind = slot == 2 ? FG_WEIGHT_bias : FG_WEIGHT_matrix;
    item->fan_in = fg_value_count(g, node->in[1]) / w->dim[0];
    break;
  case FG_OP_conv_grad_input: /* forward: a transposed convolution */
    item->fan_in = fg_value_count(g, node->in[1]) / w->dim[1];
    break;
  case FG_OP_matmul:
    item->kind = slot == 2 ? FG_WEIGHT_bias : FG_WEIGHT_matrix;
    item->fan_in = w->dim[w->rank - (node->attrs.matmul.trans_b ? 1 : 2)];
    break;
  case FG_OP_batch_norm:
  case FG_OP_layer_norm:
  case FG_OP_affine:
    item->kind = of_norm[slot];
    break;
  default:
    break;
  }
}

static fgsm_status add(struct fg_weights *w, const struct fg_graph *g, fg_id id) {
  const struct fg_value *v = fg_value(g, id);
  const struct fg_backend *backend = w->device->backend;
  struct fg_weight item = {
      .rank = v->rank, .count = fg_value_count(g, id), .name = fg_arena_text(&w->names, v->name)};
  if (!item.name)
    return FGSM_MEMORY;
  if (v->type != w->real)
    return FG_FAIL(UNSUPPORTED, "the weight '%s' is %s", v->name, fg_type_name(v->type));
  memcpy(item.dim, v->dim, sizeof item.dim);
  for (int64_t i = 0; i < g->n_nodes; i++)
    for (int k = 0; k < g->nodes[i].n_in; k++)
      if (g->nodes[i].in[k] == id && g->nodes[i].op != FG_OP_COUNT)
        classify(g, &g->nodes[i], k, &item);
  FG_TRY(fg_grow(&w->items, &w->capacity, w->n + 1, sizeof *w->items));
  FG_TRY(allocate(w, item.count, &item.data));
  w->items[w->n++] = item;
  FG_TRY(backend->upload(w->device, item.data, v->data, fg_value_bytes(g, id), NULL));
  return backend->sync(w->device, NULL);
}

fgsm_status fg_weights_collect(struct fg_weights *w, const struct fg_graph *g) {
  for (fg_id i = 0; i < g->n_values; i++)
    if (fg_value(g, i)->role == FG_ROLE_PARAM && !fg_weights_find(w, fg_value(g, i)->name))
      FG_TRY(add(w, g, i));
  return FGSM_OK;
}

static fgsm_status allocate_all(struct fg_weights *w, const struct fg_weight *like, void **out,
                                bool copy) {
  size_t n = (size_t)like->count;
  float *values = calloc(n + 1, sizeof *values);
  fgsm_status status = values ? FGSM_OK : FG_FAIL(MEMORY, "no memory for %zu weights", n);
  if (status == FGSM_OK && copy)
    status = fg_weights_read(w, like->data, like->count, values);
  if (status == FGSM_OK)
    status = allocate(w, like->count, out);
  if (status == FGSM_OK)
    status = fg_weights_write(w, *out, values, like->count);
  free(values);
  return status;
}

fgsm_status fg_weights_prepare(struct fg_weights *w, bool m, bool v, bool average) {
  for (int64_t i = 0; i < w->n; i++) {
    struct fg_weight *item = &w->items[i];
    if (fg_weight_descends(item) && m)
      FG_TRY(allocate_all(w, item, &item->m, false));
    if (fg_weight_descends(item) && v)
      FG_TRY(allocate_all(w, item, &item->v, false));
    if (average)
      FG_TRY(allocate_all(w, item, &item->average, true));
  }
  return FGSM_OK;
}

fgsm_status fg_weights_direct(struct fg_weights *w, struct fg_weight *item, int64_t n) {
  float *values = malloc((size_t)n * sizeof *values + 1);
  if (!values)
    return FG_FAIL(MEMORY, "no memory for %lld numbers", (long long)n);
  for (int64_t i = 0; i < n; i++)
    values[i] = (float)(1 / sqrt((double)n));
  fgsm_status status = allocate(w, n, &item->direction);
  if (status == FGSM_OK)
    status = fg_weights_write(w, item->direction, values, n);
  item->n_direction = n;
  free(values);
  return status;
}

struct fg_weight *fg_weights_find(const struct fg_weights *w, const char *name) {
  for (int64_t i = 0; i < w->n; i++)
    if (strcmp(w->items[i].name, name) == 0)
      return &w->items[i];
  return NULL;
}

void *fg_weights_memory(const struct fg_weights *w, const char *name) {
  struct fg_weight *item = fg_weights_find(w, name);
  if (item)
    return item->data;
  if (!name[0] || name[1] != ':' || !(item = fg_weights_find(w, name + 2)))
    return NULL;
  return name[0] == 'm'   ? item->m
         : name[0] == 'v' ? item->v
         : name[0] == 'a' ? item->average
         : name[0] == 's' ? item->direction
                          : NULL;
}

/* ---- to and from the device */

fgsm_status fg_weights_read(const struct fg_weights *w, const void *from, int64_t n, float *to) {
  const struct fg_backend *backend = w->device->backend;
  size_t bytes = (size_t)n * fg_type_size(w->real);
  double *wide = w->real == FG_F64 ? malloc(bytes + 1) : NULL;
  if (w->real == FG_F64 && !wide)
    return FG_FAIL(MEMORY, "no memory for %lld weights", (long long)n);
  fgsm_status status = backend->download(w->device, wide ? (void *)wide : to, from, bytes, NULL);
  if (status == FGSM_OK)
    status = backend->sync(w->device, NULL);
  for (int64_t i = 0; wide && status == FGSM_OK && i < n; i++)
    to[i] = (float)wide[i];
  free(wide);
  return status;
}

fgsm_status fg_weights_write(const struct fg_weights *w, void *to, const float *from, int64_t n) {
  const struct fg_backend *backend = w->device->backend;
  size_t bytes = (size_t)n * fg_type_size(w->real);
  double *wide = w->real == FG_F64 ? malloc(bytes + 1) : NULL;
  if (w->real == FG_F64 && !wide)
    return FG_FAIL(MEMORY, "no memory for %lld weights", (long long)n);
  for (int64_t i = 0; wide && i < n; i++)
    wide[i] = from[i];
  fgsm_status status =
      backend->upload(w->device, to, wide ? (const void *)wide : from, bytes, NULL);
  if (status == FGSM_OK)
    status = backend->sync(w->device, NULL);
  free(wide);
  return status;
}

/* ---- beginning anew */

/* A key of the name, so that adding a layer changes no other layer's beginning. */
static uint64_t key(const char *name) {
  uint64_t h = 14695981039346656037u; /* FNV-1a */
  for (; *name; name++)
    h = (h ^ (unsigned char)*name) * 1099511628211u;
  return h;
}

static void draw(const struct fg_weight *item, bool he, uint64_t seed, float *to) {
  int64_t fan = item->fan_in > 0 ? item->fan_in : 1;
  double bound = 1 / sqrt((double)fan), sigma = sqrt(2.0 / (double)fan);
  uint64_t mixed = (seed ^ key(item->name)) & (((uint64_t)1 << 53) - 1);
  for (int64_t i = 0; i < item->count; i += 4) {
    struct fg_philox r = fg_philox_sample(mixed, i / 4, 0, 0);
    double normal[4];
    fg_philox_normal(r.word[0], r.word[1], &normal[0], &normal[1]);
    fg_philox_normal(r.word[2], r.word[3], &normal[2], &normal[3]);
    for (int64_t k = i; k < i + 4 && k < item->count; k++)
      to[k] =
          (float)(he ? sigma * normal[k - i] : bound * (double)fg_philox_symmetric(r.word[k - i]));
  }
}

static fgsm_status begin(struct fg_weights *w, struct fg_weight *item, bool he, uint64_t seed) {
  float *values = calloc((size_t)item->count + 1, sizeof *values);
  if (!values)
    return FG_FAIL(MEMORY, "no memory for %lld weights", (long long)item->count);
  bool one = item->kind == FG_WEIGHT_scale || item->kind == FG_WEIGHT_variance;
  if (item->kind == FG_WEIGHT_matrix || (item->kind == FG_WEIGHT_bias && !he))
    draw(item, he, seed, values);
  for (int64_t i = 0; one && i < item->count; i++)
    values[i] = 1;
  fgsm_status status = fg_weights_write(w, item->data, values, item->count);
  free(values);
  return status;
}

fgsm_status fg_weights_init(struct fg_weights *w, const char *init, uint64_t seed) {
  bool he = strcmp(init, "he") == 0;
  for (int64_t i = 0; i < w->n; i++)
    FG_TRY(begin(w, &w->items[i], he, seed));
  return FGSM_OK;
}

void fg_weights_free(struct fg_weights *w) {
  for (int64_t i = 0; i < w->n; i++) {
    void *all[] = {w->items[i].data, w->items[i].m, w->items[i].v, w->items[i].average,
                   w->items[i].direction};
    for (int k = 0; k < 5; k++)
      if (all[k])
        w->device->backend->free(w->device, all[k]);
  }
  free(w->items);
  fg_arena_free(&w->names);
  *w = (struct fg_weights){0};
}
