/* What a bit of RELU_AUX is at exactly 0, cuBLASLt's manual does not say, nor in which order bits are
 * stored. So the first call of each type that would make or read them is preceded by one small product each
 * way, whose results are held to attrs.h. */
#include <string.h>

#include "matmul.h"
#include "half.h"
#include "plugin.h"
#include "trial.h"

enum { ROWS = 16, DEPTH = 16, COLUMNS = FG_MASK_WIDTH, COUNT = ROWS * COLUMNS };

/* a's rows are +-(1, 1, 0, ...), b's columns so that their product is -2, 0 or 2: 0 as 1 - 1 and as 0. */
static float a_at(int64_t i) {
  int64_t row = i / DEPTH, k = i % DEPTH;
  return k > 1 ? 0 : row % 3 == 1 ? -1 : 1;
}
static float b_at(int64_t i) {
  static const float first[] = {1, 1, 0, -1, -1}, second[] = {1, -1, 0, -1, 1};
  int64_t k = i / COLUMNS, column = i % COLUMNS;
  return k > 1 ? 0 : k ? second[column % 5] : first[column % 5];
}
static float product_at(int64_t i) {
  int64_t row = i / COLUMNS, column = i % COLUMNS;
  return 2 * a_at(row * DEPTH) * (column % 5 == 0 ? 1 : column % 5 == 3 ? -1 : 0);
}
static bool bit_at(int64_t i) {
  return product_at(i) > 0;
}

/* Any bits will do backward: some where the product is 0, some where it is not. */
static bool given_at(int64_t i) {
  return i % 7 < 3;
}

static void pack(bool (*at)(int64_t i), uint8_t bits[COUNT / 8]) {
  memset(bits, 0, COUNT / 8);
  for (int64_t i = 0; i < COUNT; i++)
    bits[i / 8] = (uint8_t)(bits[i / 8] | (unsigned)at(i) << i % 8);
}

static void fill(const struct fg_tensor *t, float (*at)(int64_t i), void *data) {
  for (int64_t i = 0; i < fg_count(t); i++)
    if (t->type == FG_F32)
      ((float *)data)[i] = at(i);
    else
      fg_half_put(t->type, data, i, at(i));
}

static float value(const struct fg_tensor *t, const void *data, int64_t i) {
  return t->type == FG_F32 ? ((const float *)data)[i] : fg_half_get(t->type, data, i);
}

/* A product with a mask made of it, or one with a slope taken from it. */
static struct fg_call describe(enum fg_type type, bool backward, union fg_attrs *attrs) {
  const struct fg_tensor a = {.type = type, .rank = 2, .dim = {ROWS, DEPTH}},
                         b = {.type = type, .rank = 2, .dim = {DEPTH, COLUMNS}},
                         y = {.type = type, .rank = 2, .dim = {ROWS, COLUMNS}};
  struct fg_call call = {.op = FG_OP_matmul, .n_in = 5, .n_out = 2, .attrs = attrs};
  memset(attrs, 0, sizeof *attrs);
  attrs->matmul = (struct fg_matmul_attrs){.alpha = 1, .act = {.kind = FG_UNARY_relu}};
  call.in[0] = a;
  call.in[1] = b;
  call.out[0] = y;
  *(backward ? &call.in[4] : &call.out[1]) = fg_mask_of(FG_OP_matmul, &y, FG_U8);
  return call;
}

/* Computes the call in memory of the trial's, between these of the host's. */
static fgsm_status compute(struct fg_trial *t, bool backward, float *y, uint8_t *bits) {
  struct fg_device *device = &t->device->base;
  struct fg_call *call = &t->call;
  uint8_t given[COUNT / 8];
  float a[ROWS * DEPTH], b[DEPTH * COLUMNS];
  fill(&call->in[0], a_at, a);
  fill(&call->in[1], b_at, b);
  pack(given_at, given);
  FG_TRY(fg_cuda_upload(device, call->in[0].data, a, fg_bytes(&call->in[0]), t->stream));
  FG_TRY(fg_cuda_upload(device, call->in[1].data, b, fg_bytes(&call->in[1]), t->stream));
  if (backward)
    FG_TRY(fg_cuda_upload(device, call->in[4].data, given, sizeof given, t->stream));
  FG_TRY(fg_cuda_matmul.prepare(call, device));
  FG_TRY(fg_matmul_run(call, t->workspace, t->stream));
  FG_TRY(fg_cuda_download(device, y, call->out[0].data, fg_bytes(&call->out[0]), t->stream));
  if (!backward)
    FG_TRY(fg_cuda_download(device, bits, call->out[1].data, COUNT / 8, t->stream));
  return fg_cuda_sync(device, t->stream);
}

/* NULL if all is as stated, else what is not. */
static const char *look(const struct fg_tensor *of, bool backward, const float *y,
                        const uint8_t *bits) {
  uint8_t want[COUNT / 8];
  pack(bit_at, want);
  if (!backward && memcmp(bits, want, sizeof want) != 0)
    return "its bits are not 1 where a number is above 0, in order";
  for (int64_t i = 0; i < COUNT; i++) {
    float p = product_at(i);
    if (value(of, y, i) != (backward ? (given_at(i) ? p : 0) : p > 0 ? p : 0))
      return backward ? "what it makes of bits is another slope" : "it makes another product";
  }
  return NULL;
}

static fgsm_status try_way(struct fg_cuda_device *device, enum fg_type type, bool backward,
                           const char **wrong) {
  union fg_attrs attrs;
  struct fg_trial t;
  float y[COUNT];
  uint8_t bits[COUNT / 8];
  struct fg_call call = describe(type, backward, &attrs);
  fgsm_status status = fg_trial_begin(&t, device, &call, FG_MATMUL_WORKSPACE + FG_MATMUL_ALIGN);
  if (status == FGSM_OK)
    status = compute(&t, backward, y, bits);
  if (status == FGSM_OK)
    *wrong = look(&t.call.out[0], backward, y, bits);
  fg_cuda_matmul.release(&t.call);
  fg_trial_end(&t);
  return status;
}

bool fg_matmul_keeps_bits(struct fg_cuda_device *device, enum fg_type type) {
  const uint32_t bit = 1u << type;
  const char *wrong = NULL;
  if (device->bits_asked & bit)
    return device->bits_kept & bit;
  device->bits_asked |= bit;
  device->bits_kept |= bit; /* of the products by which it is found out */
  fgsm_status status = try_way(device, type, false, &wrong);
  if (status == FGSM_OK && !wrong)
    status = try_way(device, type, true, &wrong);
  if (status == FGSM_OK && !wrong)
    return true;
  device->bits_kept &= ~bit;
  fg_plugin_log(FGSM_LOG_WARNING, "cuBLASLt's masks of %s are not used: %s", fg_type_name(type),
                wrong ? wrong : "it has no algorithm for them");
  return false;
}
