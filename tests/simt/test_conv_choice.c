/* How conv.c chooses, over libraries that are fake: which form and engine wins, what is passed over, what is kept
 * for the next process and what is not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choosing.h"
#include "fake_dnn.h"

static struct fg_device *device;
static union fg_attrs attrs;
static struct fg_call call;

static struct fg_tensor tensor(int rank, int64_t n, int64_t c, int64_t h, int64_t w,
                               enum fg_layout layout) {
  struct fg_tensor t = {.type = FG_F32, .layout = layout, .rank = rank, .dim = {n, c, h, w}};
  if (fg_cuda_alloc(device, fg_bytes(&t), &t.data) != FGSM_OK)
    exit(2);
  memset(t.data, 0, fg_bytes(&t));
  return t;
}

/* relu(x * w + bias + residual), a window of `size`. */
static void make_call(int size, enum fg_layout layout) {
  int pad = size / 2;
  attrs = (union fg_attrs){.conv = {.spatial = 2,
                                    .group = 1,
                                    .stride = {1, 1},
                                    .dilation = {1, 1},
                                    .pad_lo = {pad, pad},
                                    .pad_hi = {pad, pad},
                                    .act = {.kind = FG_UNARY_relu}}};
  call = (struct fg_call){.op = FG_OP_conv, .n_in = 4, .n_out = 2, .attrs = &attrs};
  call.in[0] = tensor(4, 2, 8, 5, 6, layout);
  call.in[1] = tensor(4, 16, 8, size, size, layout);
  call.in[2] = tensor(1, 16, 0, 0, 0, FG_PLAIN);
  call.in[3] = tensor(4, 2, 16, 5, 6, layout);
  call.out[0] = tensor(4, 2, 16, 5, 6, layout);
}

/* Prepares the call, runs it once and releases it. */
static fgsm_status compute(void) {
  struct fg_call c = call;
  void *scratch = NULL;
  FG_TRY(fg_cuda_conv.prepare(&c, device));
  FG_TRY(fg_cuda_alloc(device, c.scratch_bytes + 1, &scratch));
  fgsm_status status = fg_cuda_conv.run(&c, scratch, NULL);
  fg_cuda_free(device, scratch);
  fg_cuda_conv.release(&c);
  return status;
}

/* ---- scripts */

static int favoured = 4; /* operations of the graph that is fastest */

static double favour(const struct fake_program *program) {
  return program->n_ops == favoured ? .1 : 1;
}
static double slow(const struct fake_program *program) {
  (void)program;
  return 100;
}
static double fast(const struct fake_program *program) {
  (void)program;
  return .01;
}
static double slow_last(const struct fake_program *program) {
  return program->op[0].x.stride[1] == 1 ? 2 : 1;
}
static double slow_first(const struct fake_program *program) {
  return program->op[0].x.stride[1] == 1 ? 1 : 2;
}
static bool is_masked(const struct fake_program *program) {
  for (int i = 0; i < program->n_ops; i++)
    if (program->op[i].mode == CUDNN_POINTWISE_CMP_GT && i > 0)
      return true;
  return false;
}
static double slow_masks(const struct fake_program *program) {
  return is_masked(program) ? 2 : 1;
}
static double fast_masks(const struct fake_program *program) {
  return is_masked(program) ? .5 : 1;
}
static bool refuse_fused(const struct fake_program *program) {
  return program->n_ops > 1;
}
static bool refuse_none(const struct fake_program *program) {
  (void)program;
  return false;
}
static bool lose(const struct fake_program *program) {
  return program->engine == 45;
}

/* ---- who wins */

static void the_fastest_form_wins(void) {
  fake_dnn.time_of = favour;
  MUST(compute() == FGSM_OK && fake_dnn.runs == 1);
  MUST(fake_dnn.ran.n_ops == favoured);
  MUST(fake_dnn.ran.engine == 8); /* the fastest without tensor cores */
}

static void tensor_cores_win_in_tf32(void) {
  device->precision = FG_PRECISION_tf32;
  fake_dnn.time_of = favour;
  MUST(compute() == FGSM_OK);
  MUST(fake_dnn.ran.n_ops == favoured && fake_dnn.ran.engine == 44);
}

static void what_is_not_fused_is_done_behind(void) {
  fake_dnn.refuses = refuse_fused;
  MUST(compute() == FGSM_OK);
  MUST(fake_dnn.ran.n_ops == 1);
}

static void a_product_wins(void) {
  make_call(1, FG_NHWC);
  fake_dnn.time_of = slow;
  MUST(compute() == FGSM_OK && fake_dnn.runs == 0);
}

static void a_product_loses(void) {
  make_call(1, FG_NHWC);
  fake_dnn.time_of = fast;
  MUST(compute() == FGSM_OK && fake_dnn.runs == 1);
}

static void no_engine_is_said(void) {
  fake_dnn.no_engine = true;
  MUST(compute() == FGSM_UNSUPPORTED);
  MUST(strstr(fgsm_last_error(), "no library computes it in fp32"));
}

static void an_empty_batch_is_nothing(void) {
  struct fg_tensor x = call.in[0], w = call.in[1];
  struct fg_call grad = {.op = FG_OP_conv_grad_weight, .n_in = 2, .n_out = 1, .attrs = &attrs};
  call.in[0].dim[0] = call.in[3].dim[0] = call.out[0].dim[0] = 0;
  MUST(compute() == FGSM_OK && fake_dnn.asked == 0);
  attrs.conv.act.kind = FG_UNARY_identity;
  grad.in[0] = x;
  grad.in[1] = call.out[0];
  grad.out[0] = w;
  grad.in[0].dim[0] = 0;
  memset(w.data, 1, fg_bytes(&w));
  MUST(fg_cuda_conv_grad_weight.prepare(&grad, device) == FGSM_OK);
  MUST(fg_cuda_conv_grad_weight.run(&grad, NULL, NULL) == FGSM_OK);
  for (int64_t i = 0; i < fg_count(&w); i++)
    MUST(((const float *)w.data)[i] == 0);
}

static void layouts_compete(void) {
  fake_dnn.time_of = slow_last;
  MUST(!fg_cuda_conv_gains(device, &call));
  make_call(5, FG_NHWC);
  fake_dnn.time_of = slow_first;
  MUST(fg_cuda_conv_gains(device, &call));
}

static void masks_compete(void) {
  struct fg_call masked = call;
  masked.out[1] = call.out[0];
  masked.out[1].type = FG_BOOL;
  fake_dnn.time_of = slow_masks;
  MUST(!fg_cuda_takes_mask(device, &masked, &call, 1));
  make_call(5, FG_NHWC);
  masked = call;
  masked.out[1] = call.out[0];
  masked.out[1].type = FG_BOOL;
  fake_dnn.time_of = fast_masks;
  MUST(fg_cuda_takes_mask(device, &masked, &call, 1));
}

/* ---- what is kept */

static void it_chooses(void) {
  MUST(compute() == FGSM_OK);
  MUST(fake_dnn.asked > 0 && fake_dnn.planned > 0 && fake_dnn.loaded == 0);
  int asked = fake_dnn.asked;
  MUST(compute() == FGSM_OK && fake_dnn.asked == asked && fake_dnn.loaded == 1);
}

static void it_recalls(void) {
  MUST(compute() == FGSM_OK);
  MUST(fake_dnn.asked == 0 && fake_dnn.planned == 0 && fake_dnn.loaded == 1);
  MUST(fake_dnn.ran.n_ops == 4 && fake_dnn.ran.engine == 8);
}

static void a_lost_card_is_said(void) {
  fake_dnn.loses = lose;
  MUST(compute() == FGSM_DEVICE);
  MUST(strstr(fgsm_last_error(), "the card is lost"));
}

/* ---- all of it */

static void begin(void) {
  fake_cublaslt();
  fake_cudnn();
  device = fake_card_open(NULL, FG_NHWC, FG_PRECISION_fp32);
  fake_dnn.refuses = refuse_none;
  fake_dnn.time_of = favour;
  make_call(3, FG_NHWC);
}

#define PASSES(test) (choosing_passes(begin, test, #test) ? 0 : 1)

static int check_keeping(void) {
  enum { IN_THE_PLAN = 40, IN_THE_HEAD = 28 + 2 * (int)sizeof(struct fake_program) + 8 };
  int failures = PASSES(it_chooses) + PASSES(it_recalls);
  failures += choosing_anew(begin, it_chooses, &device) + PASSES(it_recalls);
  failures += choosing_spoils(IN_THE_PLAN, false) < 1;
  failures += PASSES(it_chooses) + PASSES(it_recalls);
  failures += choosing_spoils(IN_THE_HEAD, false) < 1;
  failures += PASSES(it_chooses) + PASSES(it_recalls);
  failures += choosing_spoils(IN_THE_PLAN, true) < 1;
  failures += PASSES(it_chooses) + PASSES(it_recalls);
  failures += choosing_forgets() < 1;
  failures += PASSES(a_lost_card_is_said) + (choosing_forgets() != 0) + PASSES(it_chooses);
  return failures;
}

int main(void) {
  int failures = 0;
  for (int n = 1; n <= 4; n++) {
    favoured = n;
    failures += PASSES(the_fastest_form_wins) + PASSES(tensor_cores_win_in_tf32);
  }
  failures += PASSES(what_is_not_fused_is_done_behind) + PASSES(a_product_wins) +
              PASSES(a_product_loses) + PASSES(no_engine_is_said) +
              PASSES(an_empty_batch_is_nothing) + PASSES(layouts_compete) + PASSES(masks_compete);
  failures += !choosing_keeps(begin, it_chooses, "it_chooses");
  failures += check_keeping();
  choosing_ends();
  return failures != 0;
}
