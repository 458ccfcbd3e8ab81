/* Batch normalisation over ranks by the CUDA kernels on the CPU: each of two processes has half of a batch,
 * and what it gets must be what the oracle makes of the whole. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "forked_ranks.h"

enum { RANKS = 2, BATCH = 6, C = 5, MOST_INNER = 2048 };
extern const struct fg_backend fg_cuda_simt;
unsigned long simt_error_count(void);

/* For one size of planes: the whole batch, and a rank's half; results of the oracle and of the rank. */
static struct trial {
  int64_t inner;
  double x[BATCH * C * MOST_INNER], dy[BATCH * C * MOST_INNER], scale[C], bias[C];
  double y[BATCH * C * MOST_INNER], mean[C], var[C], dscale[C], dbias[C];
} t;

static void *on_card(struct fg_device *card, size_t n) {
  void *memory = NULL;
  return card->backend->alloc(card, n * sizeof(float), &memory) == FGSM_OK ? memory : NULL;
}

static float *floats(struct fg_device *card, const double *from, int64_t n) {
  float *to = on_card(card, (size_t)n);
  for (int64_t i = 0; to && i < n; i++)
    to[i] = (float)from[i];
  return to;
}

static struct fg_tensor tensor(void *data, enum fg_type type, int64_t batch) {
  struct fg_tensor x = {.data = data, .type = type, .rank = 3, .dim = {batch, C, t.inner}};
  if (batch == 0)
    x = (struct fg_tensor){.data = data, .type = type, .rank = 1, .dim = {C}};
  return x;
}

static fgsm_status run(struct fg_call *call, struct fg_device *device) {
  const struct fg_kernel *kernel = device->backend->kernels[call->op];
  void *scratch = NULL;
  FG_TRY(kernel->prepare(call, device));
  FG_TRY(device->backend->alloc(device, call->scratch_bytes + 1, &scratch));
  fgsm_status status = kernel->run(call, scratch, NULL);
  device->backend->free(device, scratch);
  return status;
}

/* The largest difference of a rank's share of what is wanted, in units of the largest wanted. */
static double apart(const float *got, const double *want, int64_t n) {
  double most = 0, scale = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = fabs(got[i] - want[i]);
    most = d <= most ? most : d;
    scale = fmax(scale, fabs(want[i]));
  }
  return most / scale;
}

static int judge(const struct fg_ranks *ranks, const char *what, double difference) {
  if (difference <= 1e-5)
    return 0;
  printf("FAIL rank %d, planes of %lld: %s is off by %g\n", ranks->rank, (long long)t.inner, what,
         difference);
  return 1;
}

static int fail(const struct fg_ranks *ranks) {
  printf("FAIL rank %d: %s\n", ranks->rank, fgsm_last_error());
  return 1;
}

/* Statistics of the whole batch; and the gradient, whose dscale and dbias are the rank's alone. */
static int forward(struct fg_ranks *ranks, struct fg_device *oracle, struct fg_device *card) {
  union fg_attrs whole = {.batch_norm = {.epsilon = 1e-3}}, across = whole;
  int64_t share = BATCH / RANKS, n = share * C * t.inner, from = ranks->rank * n;
  across.batch_norm.across = true;
  struct fg_call want = {.op = FG_OP_batch_norm_train, .n_in = 3, .n_out = 3, .attrs = &whole};
  want.in[0] = tensor(t.x, FG_F64, BATCH);
  want.in[1] = tensor(t.scale, FG_F64, 0);
  want.in[2] = tensor(t.bias, FG_F64, 0);
  want.out[0] = tensor(t.y, FG_F64, BATCH);
  want.out[1] = tensor(t.mean, FG_F64, 0);
  want.out[2] = tensor(t.var, FG_F64, 0);
  struct fg_call got = want;
  got.attrs = &across;
  got.in[0] = tensor(floats(card, t.x + from, n), FG_F32, share);
  got.in[1] = tensor(floats(card, t.scale, C), FG_F32, 0);
  got.in[2] = tensor(floats(card, t.bias, C), FG_F32, 0);
  got.out[0] = tensor(on_card(card, (size_t)n), FG_F32, share);
  got.out[1] = tensor(on_card(card, C), FG_F32, 0);
  got.out[2] = tensor(on_card(card, C), FG_F32, 0);
  if (run(&want, oracle) != FGSM_OK || run(&got, card) != FGSM_OK)
    return fail(ranks);
  return judge(ranks, "y", apart(got.out[0].data, t.y + from, n)) +
         judge(ranks, "the mean", apart(got.out[1].data, t.mean, C)) +
         judge(ranks, "the variance", apart(got.out[2].data, t.var, C));
}

static int backward(struct fg_ranks *ranks, struct fg_device *oracle, struct fg_device *card) {
  union fg_attrs whole = {.batch_norm = {.epsilon = 1e-3}}, across = whole;
  int64_t share = BATCH / RANKS, n = share * C * t.inner, from = ranks->rank * n;
  across.batch_norm.across = true;
  struct fg_call want = {.op = FG_OP_batch_norm_train_grad, .n_in = 5, .n_out = 3, .attrs = &whole};
  want.in[0] = tensor(t.dy, FG_F64, BATCH);
  want.in[1] = tensor(t.x, FG_F64, BATCH);
  want.in[2] = tensor(t.scale, FG_F64, 0);
  want.in[3] = tensor(t.mean, FG_F64, 0);
  want.in[4] = tensor(t.var, FG_F64, 0);
  want.out[0] = tensor(t.y, FG_F64, BATCH);
  struct fg_call own = want; /* the rank's samples alone, by the statistics of all */
  own.in[0] = tensor(t.dy + from, FG_F64, share);
  own.in[1] = tensor(t.x + from, FG_F64, share);
  own.out[0].type = FG_NONE;
  own.out[1] = tensor(t.dscale, FG_F64, 0);
  own.out[2] = tensor(t.dbias, FG_F64, 0);
  struct fg_call got = want;
  got.attrs = &across;
  got.in[0] = tensor(floats(card, t.dy + from, n), FG_F32, share);
  got.in[1] = tensor(floats(card, t.x + from, n), FG_F32, share);
  got.in[2] = tensor(floats(card, t.scale, C), FG_F32, 0);
  got.in[3] = tensor(floats(card, t.mean, C), FG_F32, 0);
  got.in[4] = tensor(floats(card, t.var, C), FG_F32, 0);
  got.out[0] = tensor(on_card(card, (size_t)n), FG_F32, share);
  got.out[1] = tensor(on_card(card, C), FG_F32, 0);
  got.out[2] = tensor(on_card(card, C), FG_F32, 0);
  if (run(&want, oracle) != FGSM_OK || run(&own, oracle) != FGSM_OK || run(&got, card) != FGSM_OK)
    return fail(ranks);
  return judge(ranks, "dx", apart(got.out[0].data, t.y + from, n)) +
         judge(ranks, "dscale", apart(got.out[1].data, t.dscale, C)) +
         judge(ranks, "dbias", apart(got.out[2].data, t.dbias, C));
}

/* Samples of the second half lie elsewhere, so that a half's statistics are not the whole's. */
static void draw(int64_t inner) {
  uint32_t state = 7;
  t.inner = inner;
  for (int64_t i = 0; i < BATCH * C * inner; i++) {
    state = state * 1664525u + 1013904223u;
    t.x[i] = (float)(state >> 8) / 0x1p24f + (i < BATCH * C * inner / 2 ? 0 : 2);
    state = state * 1664525u + 1013904223u;
    t.dy[i] = (float)(state >> 8) / 0x1p24f - 0.25f;
  }
  for (int c = 0; c < C; c++) {
    t.scale[c] = 0.5 + c;
    t.bias[c] = c - 2;
  }
}

static int work(struct fg_ranks *ranks) {
  static const int64_t inner[] = {1, 12, 35, 2048}; /* many values of a channel, and not by four */
  struct fg_device *oracle, *card;
  int bad = 0;
  if (fg_ref.open(0, 1, &oracle) != FGSM_OK || fg_cuda_simt.open(0, 1, &card) != FGSM_OK ||
      card->backend->join(card, ranks) != FGSM_OK)
    return fail(ranks);
  for (int i = 0; i < 4; i++) {
    draw(inner[i]);
    bad += forward(ranks, oracle, card) + backward(ranks, oracle, card);
  }
  card->backend->close(card);
  oracle->backend->close(oracle);
  return bad + (simt_error_count() != 0);
}

int main(void) {
  bool good = forked_ranks(RANKS, work);
  if (good)
    printf("%d ranks normalise by the whole batch\n", RANKS);
  return !good;
}
