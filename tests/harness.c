/* Runs one case on one backend: draws values, lays tensors between guards, prepares, runs, brings
 * the result back.
 *
 * Values depend only on the case's name and the tensor's place, never on type or backend. Before
 * prepare a tensor has data only if the case calls it constant, so that a kernel which peeks falls
 * over here. */
#include "harness.h"

#include "half.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "philox.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif
#ifndef ASAN_POISON_MEMORY_REGION
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

enum { GUARD_BYTES = 256, GUARD = 0xC7 };

const struct fg_case *fg_case_at(int i) {
  static const struct fg_case_table *const tables[] = {
#define X(family) &fg_cases_##family,
    FG_CASE_FAMILIES(X)
#undef X
  };
  for (size_t t = 0; t < sizeof tables / sizeof *tables; i -= tables[t]->n, t++)
    if (i < tables[t]->n)
      return &tables[t]->cases[i];
  return NULL;
}

bool fg_case_is_of_cpu(const struct fg_case *c) {
  static const struct fg_case_table *const tables[] = {&fg_cases_winograd, &fg_cases_tiles,
                                                       &fg_cases_packed, &fg_cases_split};
  bool is = c->flags & FG_CASE_OF_CPU;
  for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
    for (int i = 0; i < tables[t]->n; i++)
      is |= c == &tables[t]->cases[i];
  return is;
}

/* ---- values */

/* Words of one block after the other, as many as are asked for; a normal comes with a second one, the next. */
struct draw {
  uint32_t key, tensor, next;
  struct fg_philox block;
  int left; /* words of it */
  double second;
  bool has_second;
};

static struct draw draw_for(const struct fg_case *c, int tensor) {
  uint32_t key = 2166136261u; /* FNV-1a */
  for (const char *p = c->name; *p; p++)
    key = (key ^ (unsigned char)*p) * 16777619u;
  return (struct draw){.key = key, .tensor = (uint32_t)tensor};
}

static uint32_t word(struct draw *d) {
  enum { WORDS = sizeof d->block.word / sizeof *d->block.word };
  if (d->left == 0) {
    d->block = fg_philox(d->next++, d->tensor, 0, 0, d->key, 0);
    d->left = WORDS;
  }
  return d->block.word[WORDS - d->left--];
}

static double unit(struct draw *d) {
  return fg_philox_unit(word(d));
}

static double normal(struct draw *d) {
  if (d->has_second) {
    d->has_second = false;
    return d->second;
  }
  double first;
  uint32_t a = word(d), b = word(d);
  fg_philox_normal(a, b, &first, &d->second);
  d->has_second = true;
  return first;
}

static double real_value(const struct fg_gen *gen, struct draw *d, int64_t i) {
  double a;
  switch (gen->kind) {
  case FG_GEN_AWAY:
    a = gen->a + unit(d) * (gen->b - gen->a);
    return unit(d) < 0.5 ? -a : a;
  case FG_GEN_UNIFORM:
    return gen->a + unit(d) * (gen->b - gen->a);
  case FG_GEN_INTEGER:
    return gen->a + floor(unit(d) * (gen->b - gen->a + 1));
  case FG_GEN_VALUES:
    return gen->values[i % gen->n];
  default:
    return normal(d);
  }
}

static void put_real(const struct fg_tensor *t, int64_t i, double v) {
  if (fg_type_is_half(t->type))
    fg_half_put(t->type, t->data, i, (float)v);
  else if (t->type == FG_F32)
    ((float *)t->data)[i] = (float)v;
  else
    ((double *)t->data)[i] = v;
}

static void put_int(const struct fg_tensor *t, int64_t i, int64_t v) {
  if (t->type == FG_BOOL)
    v &= 1;
  memcpy((char *)t->data + (size_t)i * fg_type_size(t->type), &v, fg_type_size(t->type));
}

/* gen->a + place * gen->b, the places shuffled (Fisher & Yates). */
static void draw_distinct(const struct fg_gen *gen, struct draw *d, double *values, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    values[i] = gen->a + (double)i * gen->b;
  for (int64_t i = n - 1; i > 0; i--) {
    int64_t j = (int64_t)(unit(d) * (double)(i + 1));
    double v = values[i];
    values[i] = values[j];
    values[j] = v;
  }
}

/* What was drawn for an input, as wide as it comes: doubles, or integers of 64 bits. */
struct drawn {
  uint32_t key; /* of the case's name */
  struct fg_gen gen;
  bool real, rounds;
  int64_t n;
  union {
    double *real;
    int64_t *integer;
    void *memory;
  } as;
};

static void draw(const struct fg_case *c, int i, struct drawn *to) {
  struct draw d = draw_for(c, i);
  if (to->gen.kind == FG_GEN_DISTINCT) {
    draw_distinct(&to->gen, &d, to->as.real, to->n);
    return;
  }
  for (int64_t e = 0; e < to->n; e++)
    if (to->real) {
      double v = real_value(&to->gen, &d, e);
      to->as.real[e] = to->rounds ? (double)(float)v : v;
    } else if (to->gen.kind == FG_GEN_NORMAL) { /* any bits */
      uint64_t high = word(&d);
      to->as.integer[e] = (int64_t)(high << 32 | word(&d));
    } else {
      to->as.integer[e] = (int64_t)real_value(&to->gen, &d, e);
    }
}

/* Of a list of values whoever runs the case may have changed some since. */
static bool is_same_draw(const struct drawn *a, const struct drawn *b) {
  return a->key == b->key && a->gen.kind == b->gen.kind && a->gen.a == b->gen.a &&
         a->gen.b == b->gen.b && a->gen.kind != FG_GEN_VALUES && a->real == b->real &&
         a->rounds == b->rounds && a->n == b->n;
}

/* A case is run many times over, and drawing takes longer than most kernels: the last case's values
 * are kept. NULL without memory. */
static const struct drawn *drawn_for(const struct fg_case *c, int i, const struct fg_tensor *t) {
  static struct drawn kept[FG_MAX_IN];
  struct drawn want = {.key = draw_for(c, i).key,
                       .gen = c->in[i].gen,
                       .real = fg_type_is_real(t->type),
                       .rounds = c->in[i].type == FG_F32, /* to float32, on every backend */
                       .n = fg_count(t)};
  if (kept[i].as.memory && is_same_draw(&kept[i], &want))
    return &kept[i];
  for (int k = 0; k < FG_MAX_IN; k++)
    if (k == i || kept[k].key != want.key) {
      free(kept[k].as.memory);
      kept[k].as.memory = NULL;
    }
  want.as.memory = malloc((size_t)want.n * sizeof(double) + 1);
  if (want.as.memory)
    draw(c, i, &want);
  kept[i] = want;
  return want.as.memory ? &kept[i] : NULL;
}

bool fg_case_fill(const struct fg_case *c, int i, const struct fg_tensor *t) {
  const struct drawn *drawn = drawn_for(c, i, t);
  for (int64_t e = 0; drawn && e < drawn->n; e++)
    if (drawn->real)
      put_real(t, e, drawn->as.real[e]);
    else
      put_int(t, e, drawn->as.integer[e]);
  return drawn;
}

/* Where element i of plain order lies. */
static int64_t place(const struct fg_tensor *t, int block, int64_t i) {
  if (t->layout == FG_PLAIN)
    return i;
  int64_t c = t->dim[1], area = t->dim[2] * t->dim[3];
  int64_t n = i / (c * area), ch = i / area % c, at = i % area;
  if (t->layout == FG_NHWC)
    block = (int)c;
  return ((n * (c / block) + ch / block) * area + at) * block + ch % block;
}

double fg_tensor_real(const struct fg_tensor *t, int block, int64_t i) {
  int64_t at = place(t, block, i);
  return t->type == FG_F32          ? (double)((const float *)t->data)[at]
         : fg_type_is_half(t->type) ? (double)fg_half_get(t->type, t->data, at)
         : t->type == FG_F64        ? ((const double *)t->data)[at]
                                    : (double)fg_tensor_int(t, block, i);
}

int64_t fg_tensor_int(const struct fg_tensor *t, int block, int64_t i) {
  const char *at = (const char *)t->data + (size_t)place(t, block, i) * fg_type_size(t->type);
  int64_t v = 0;
  switch (t->type) {
  case FG_I32: {
    int32_t w;
    memcpy(&w, at, sizeof w);
    return w;
  }
  case FG_I16: {
    int16_t w;
    memcpy(&w, at, sizeof w);
    return w;
  }
  case FG_I8:
    return *(const int8_t *)at;
  default:
    memcpy(&v, at, fg_type_size(t->type));
    return v;
  }
}

/* ---- calls */

static struct fg_tensor tensor_of(const struct fg_case_tensor *s, enum fg_type real) {
  struct fg_tensor t = {.type = s->type == FG_F32 ? real : s->type, .rank = s->rank};
  memcpy(t.dim, s->dim, sizeof t.dim);
  return t;
}

void fg_case_call(const struct fg_case *c, enum fg_type real, union fg_attrs *attrs,
                  struct fg_call *call) {
  *attrs = c->attrs;
  *call = (struct fg_call){.op = c->op, .constant = c->constant, .attrs = attrs};
  for (int i = 0; i < FG_MAX_IN; i++) {
    call->in[i] = tensor_of(&c->in[i], real);
    if (call->in[i].type != FG_NONE)
      call->n_in = i + 1;
  }
  for (int i = 0; i < FG_MAX_OUT; i++) {
    call->out[i] = tensor_of(&c->out[i], real);
    if (call->out[i].type != FG_NONE)
      call->n_out = i + 1;
  }
  const struct fg_tensor *y = &call->out[0];
  switch (c->op) {
  case FG_OP_cast:
    attrs->cast.type = (int)y->type;
    break;
  case FG_OP_conv_grad_input:
  case FG_OP_conv_grad_weight:
  case FG_OP_conv_grad_input_step:
    memcpy(attrs->conv.dim, y->dim, sizeof y->dim);
    break;
  case FG_OP_max_pool_grad:
  case FG_OP_avg_pool_grad:
    memcpy(attrs->pool.dim, y->dim, sizeof y->dim);
    break;
  case FG_OP_gather_grad:
    attrs->axis.size = y->dim[attrs->axis.axis];
    break;
  case FG_OP_grid_sample_grad:
    memcpy(attrs->grid.dim, y->dim, sizeof y->dim);
    break;
  case FG_OP_slice:
  case FG_OP_slice_grad:
    memcpy(attrs->slice.dim, y->dim, sizeof y->dim);
    break;
  case FG_OP_expand:
    attrs->shape.rank = y->rank;
    memcpy(attrs->shape.dim, y->dim, sizeof y->dim);
    break;
  default:
    break;
  }
}

/* ---- buffers */

static bool create(struct fg_device *device, struct fg_buffer *b, size_t bytes,
                   unsigned char fill) {
  b->bytes = bytes;
  b->image = malloc(bytes + 2 * GUARD_BYTES);
  if (!b->image || device->backend->alloc(device, bytes + 2 * GUARD_BYTES, &b->memory) != FGSM_OK)
    return false;
  memset(b->image, GUARD, bytes + 2 * GUARD_BYTES);
  if (bytes)
    memset(b->image + GUARD_BYTES, fill, bytes);
  return true;
}

static void destroy(struct fg_device *device, struct fg_buffer *b) {
  if (b->memory)
    device->backend->free(device, b->memory);
  free(b->image);
}

static void *data_of(const struct fg_buffer *b) {
  return (char *)b->memory + GUARD_BYTES;
}

static bool upload(struct fg_device *device, struct fg_buffer *b) {
  if (device->backend->upload(device, b->memory, b->image, b->bytes + 2 * GUARD_BYTES, NULL))
    return false;
  if (device->backend->host_memory) {
    ASAN_POISON_MEMORY_REGION(b->memory, GUARD_BYTES);
    ASAN_POISON_MEMORY_REGION((char *)data_of(b) + b->bytes, GUARD_BYTES);
  }
  return true;
}

static bool download(struct fg_device *device, struct fg_buffer *b) {
  if (device->backend->host_memory)
    ASAN_UNPOISON_MEMORY_REGION(b->memory, b->bytes + 2 * GUARD_BYTES);
  return !device->backend->download(device, b->image, b->memory, b->bytes + 2 * GUARD_BYTES, NULL);
}

/* ---- running */

static enum fg_run_result fail(struct fg_run *run, enum fg_run_result result, const char *what) {
  snprintf(run->why, sizeof run->why, "%s: %s", what, fgsm_last_error());
  return result;
}

/* What was drawn as a number of the half type, in whatever type it lies. */
static void round_to(enum fg_type half, const struct fg_tensor *t) {
  for (int64_t i = 0, n = fg_count(t); i < n; i++) {
    uint16_t bits;
    fg_half_put(half, &bits, 0, (float)fg_tensor_real(t, 1, i));
    put_real(t, i, (double)fg_half_get(half, &bits, 0));
  }
}

/* Draws input i in plain order, then lays it out as the call has it. */
static bool draw_input(struct fg_run *run, const struct fg_case *c, int i,
                       const struct fg_run_options *o) {
  struct fg_tensor *t = &run->call.in[i], plain = *t;
  size_t bytes = fg_bytes(t), size = fg_type_size(t->type);
  if (!create(run->device, &run->in[i], bytes, 0))
    return false;
  char *image = (char *)run->in[i].image + GUARD_BYTES, *drawn = malloc(bytes + 1);
  run->before[i] = malloc(bytes + 1);
  plain.layout = FG_PLAIN;
  plain.data = drawn;
  if (!drawn || !run->before[i]) {
    free(drawn);
    return false;
  }
  if (!fg_case_fill(c, i, &plain)) {
    free(drawn);
    return false;
  }
  if (o->half && fg_half_slots(c->op).in >> i & 1 && fg_type_is_real(t->type))
    round_to(o->half, &plain);
  if (t->layout == FG_PLAIN)
    memcpy(image, drawn, bytes);
  else
    for (int64_t e = 0, n = fg_count(t); e < n; e++)
      memcpy(image + place(t, run->device->channel_block, e) * (int64_t)size,
             drawn + e * (int64_t)size, size);
  memcpy(run->before[i], image, bytes);
  free(drawn);
  return upload(run->device, &run->in[i]);
}

static bool lay_out(struct fg_run *run, const struct fg_case *c, const struct fg_run_options *o) {
  struct fg_call *call = &run->call;
  for (int i = 0; i < call->n_in; i++) {
    call->in[i].layout = o->lying_in >> i & 1 ? run->device->layout : FG_PLAIN;
    if (call->in[i].type != FG_NONE && !draw_input(run, c, i, o))
      return false;
  }
  for (int i = 0; i < call->n_out; i++) {
    call->out[i].layout = o->lying_out >> i & 1 ? run->device->layout : FG_PLAIN;
    if (call->out[i].type == FG_NONE || (i == 0 && o->in_place))
      continue;
    if (!create(run->device, &run->out[i], fg_bytes(&call->out[i]), o->fill) ||
        !upload(run->device, &run->out[i]))
      return false;
  }
  return true;
}

void fg_case_halve(struct fg_call *call, union fg_attrs *attrs, enum fg_type half) {
  const struct fg_half_slots slots = fg_half_slots(call->op);
  for (int i = 0; i < call->n_in; i++)
    if (slots.in >> i & 1 && call->in[i].type == FG_F32)
      call->in[i].type = half;
  for (int i = 0; i < call->n_out; i++)
    if (slots.out >> i & 1 && call->out[i].type == FG_F32)
      call->out[i].type = half;
  if (call->op == FG_OP_cast)
    attrs->cast.type = (int)call->out[0].type;
}

static void point(struct fg_run *run, bool in_place, bool only_constants) {
  struct fg_call *call = &run->call;
  for (int i = 0; i < call->n_in; i++)
    if (call->in[i].type != FG_NONE && (!only_constants || call->constant >> i & 1))
      call->in[i].data = data_of(&run->in[i]);
  for (int i = 0; i < call->n_out && !only_constants; i++)
    if (call->out[i].type != FG_NONE)
      call->out[i].data = i == 0 && in_place ? call->in[0].data : data_of(&run->out[i]);
}

/* Brings every buffer back and points `view` at the images. */
static bool collect(struct fg_run *run, bool in_place) {
  run->view = run->call;
  for (int i = 0; i < run->call.n_in; i++) {
    if (run->in[i].memory && !download(run->device, &run->in[i]))
      return false;
    run->view.in[i].data = run->in[i].memory ? run->in[i].image + GUARD_BYTES : NULL;
  }
  for (int i = 0; i < run->call.n_out; i++) {
    if (run->out[i].memory && !download(run->device, &run->out[i]))
      return false;
    run->view.out[i].data = i == 0 && in_place   ? run->view.in[0].data
                            : run->out[i].memory ? run->out[i].image + GUARD_BYTES
                                                 : NULL;
  }
  return !run->scratch.memory || download(run->device, &run->scratch);
}

enum fg_run_result fg_run_begin(struct fg_run *run, const struct fg_case *c,
                                const struct fg_target *target,
                                const struct fg_run_options *options) {
  const struct fg_backend *backend = target->backend;
  const struct fg_kernel *kernel = backend->kernels[c->op];
  memset(run, 0, sizeof *run);
  if (!kernel->run)
    return FG_RUN_NO_KERNEL;
  run->device = target->device;
  run->opened = !target->device;
  if (run->opened && backend->open(0, target->threads, &run->device) != FGSM_OK)
    return fail(run, FG_RUN_FAILED, "open");
  fg_case_call(c, target->real, &run->attrs, &run->call);
  if (options->half && target->real == FG_F32)
    fg_case_halve(&run->call, &run->attrs, options->half);
  if (backend->enter(run->device) != FGSM_OK || !lay_out(run, c, options))
    return fail(run, FG_RUN_FAILED, "buffers");
  if (backend->sync(run->device, NULL) != FGSM_OK) /* prepare may read constants */
    return fail(run, FG_RUN_FAILED, "uploading");
  point(run, options->in_place, true);
  fgsm_status status = kernel->prepare ? kernel->prepare(&run->call, run->device) : FGSM_OK;
  run->prepared = status == FGSM_OK;
  if (status != FGSM_OK)
    return fail(run, status == FGSM_UNSUPPORTED ? FG_RUN_DECLINED : FG_RUN_FAILED, "prepare");
  if (options->only_prepare)
    return FG_RUN_OK;
  if (!create(run->device, &run->scratch, run->call.scratch_bytes, options->fill) ||
      !upload(run->device, &run->scratch))
    return fail(run, FG_RUN_FAILED, "scratch");
  point(run, options->in_place, false);
  status = kernel->run(&run->call, data_of(&run->scratch), NULL);
  if (backend->sync(run->device, NULL) != FGSM_OK || !collect(run, options->in_place) ||
      backend->sync(run->device, NULL) != FGSM_OK)
    return fail(run, FG_RUN_FAILED, "collecting");
  return status == FGSM_OK ? FG_RUN_OK : fail(run, FG_RUN_FAILED, "run");
}

fgsm_status fg_run_again(const struct fg_run *run, int times) {
  const struct fg_backend *backend = run->device->backend;
  for (int i = 0; i < times; i++)
    FG_TRY(backend->kernels[run->call.op]->run(&run->call, data_of(&run->scratch), NULL));
  return backend->sync(run->device, NULL);
}

void fg_run_end(struct fg_run *run) {
  if (!run->device)
    return;
  const struct fg_backend *backend = run->device->backend;
  const struct fg_kernel *kernel = backend->kernels[run->call.op];
  if (run->prepared && kernel->release)
    kernel->release(&run->call);
  for (int i = 0; i < FG_MAX_IN; i++) {
    destroy(run->device, &run->in[i]);
    free(run->before[i]);
  }
  for (int i = 0; i < FG_MAX_OUT; i++)
    destroy(run->device, &run->out[i]);
  destroy(run->device, &run->scratch);
  if (run->opened)
    backend->close(run->device);
  run->device = NULL;
}

bool fg_buffer_is_whole(const struct fg_buffer *b) {
  for (size_t i = 0; b->image && i < GUARD_BYTES; i++)
    if (b->image[i] != GUARD || b->image[GUARD_BYTES + b->bytes + i] != GUARD)
      return false;
  return true;
}
