/* How dnn_contest.c chooses between our own kernels and cuDNN's engines, over a cuDNN that is fake: who wins,
 * what is passed over, what is kept for the next process and what is not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "choosing.h"
#include "dnn_contest.h"
#include "fake_dnn.h"

unsigned long simt_launch_count(void);

static enum fg_op op; /* what is contested */
static const struct fg_kernel *kernel;
static struct fg_device *device;
static union fg_attrs attrs;
static struct fg_call call;

/* ---- calls */

static struct fg_tensor tensor(enum fg_type type, int rank, int64_t a, int64_t b, int64_t c,
                               int64_t d) {
  struct fg_tensor t = {.type = type, .rank = rank, .dim = {a, b, c, d}};
  if (fg_cuda_alloc(device, fg_bytes(&t), &t.data) != FGSM_OK)
    exit(2);
  memset(t.data, 0, fg_bytes(&t));
  return t;
}

static void make_normalisation(bool grad) {
  const struct fg_tensor x = tensor(FG_F32, 2, 6, 24, 0, 0), row = tensor(FG_F32, 1, 24, 0, 0, 0),
                         of_rows = tensor(FG_F32, 2, 6, 1, 0, 0);
  attrs = (union fg_attrs){.layer_norm = {.axis = 1, .epsilon = 1e-5}};
  kernel = grad ? &fg_cuda_layer_norm_grad : &fg_cuda_layer_norm;
  if (grad)
    call = (struct fg_call){.n_in = 5, .in = {x, x, row, of_rows, of_rows}, .n_out = 3};
  else
    call = (struct fg_call){.n_in = 3, .in = {x, row, row}, .n_out = 3};
  call.out[0] = tensor(FG_F32, 2, 6, 24, 0, 0);
  for (int i = 1; !grad && i < 3; i++)
    call.out[i] = tensor(FG_F32, 2, 6, 1, 0, 0);
}

static void make_attention(bool grad) {
  const struct fg_tensor q = tensor(FG_BF16, 4, 2, 3, 5, 8), k = tensor(FG_BF16, 4, 2, 3, 7, 8),
                         v = tensor(FG_BF16, 4, 2, 3, 7, 16), y = tensor(FG_BF16, 4, 2, 3, 5, 16),
                         lse = tensor(FG_F32, 3, 2, 3, 5, 0);
  attrs = (union fg_attrs){.attention = {.scale = .25}};
  device->precision = FG_PRECISION_bf16;
  kernel = grad ? &fg_cuda_attention_grad : &fg_cuda_attention;
  if (grad)
    call = (struct fg_call){.n_in = 7, .in = {y, q, k, v, y, lse}, .n_out = 4, .out = {q, k, v}};
  else
    call = (struct fg_call){.n_in = 4, .in = {q, k, v}, .n_out = 2, .out = {y, lse}};
}

static void make_call(void) {
  if (op == FG_OP_layer_norm || op == FG_OP_layer_norm_grad)
    make_normalisation(op == FG_OP_layer_norm_grad);
  else
    make_attention(op == FG_OP_attention_grad);
  call.op = op;
  call.attrs = &attrs;
}

/* Prepares the call, runs it once and releases it; the scratch is aligned no better than it must be, and
 * ends where it does. */
static fgsm_status compute(void) {
  enum { ASIDE = 64, BEHIND = 64 };
  struct fg_call c = call;
  char *scratch = NULL;
  FG_TRY(kernel->prepare(&c, device));
  FG_TRY(fg_cuda_alloc(device, ASIDE + c.scratch_bytes + BEHIND, (void **)&scratch));
  char *end = scratch + ASIDE + c.scratch_bytes;
  memset(end, 1, BEHIND);
  fgsm_status status = kernel->run(&c, scratch + ASIDE, NULL);
  for (int i = 0; i < BEHIND; i++)
    MUST(end[i] == 1);
  fg_cuda_free(device, scratch);
  kernel->release(&c);
  MUST(c.state == NULL);
  return status;
}

/* ---- scripts */

static double milliseconds = 1e-3; /* of an engine whose slowness is 1 */

static double in_time(const struct fake_program *program) {
  (void)program;
  return milliseconds;
}
static bool refuse_all(const struct fake_program *program) {
  (void)program;
  return true;
}
static bool refuse_none(const struct fake_program *program) {
  (void)program;
  return false;
}
static bool lose(const struct fake_program *program) {
  (void)program;
  return true;
}

/* The fastest of those that may be taken and that there is no reason to pass over, and its slowness. */
static int winner(double *slowness) {
  bool exact = device->precision == FG_PRECISION_fp32;
  *slowness = exact ? 1.25 : .5;
  return exact ? 45 : 44;
}

static void give_no_engine(void) {
  fake_dnn.no_engine = true;
}

static double time_of_own(void) {
  give_no_engine();
  strcat(fake_card.card, " of nothing"); /* so that this is a choice of its own */
  MUST(compute() == FGSM_OK);
  unsigned long before = simt_launch_count();
  MUST(compute() == FGSM_OK && fake_dnn.runs == 0);
  *strstr(fake_card.card, " of nothing") = '\0';
  fake_dnn.no_engine = false;
  return FAKE_LAUNCH * (double)(simt_launch_count() - before);
}

/* ---- who wins */

static void cudnn_wins_by_a_little(void) {
  double slowness;
  int engine = winner(&slowness);
  milliseconds = .95 * time_of_own() / slowness;
  MUST(compute() == FGSM_OK && fake_dnn.runs == 1);
  MUST(fake_dnn.ran.engine == engine && fake_dnn.asked > 0);
}

static void our_own_win_by_a_little(void) {
  double slowness;
  winner(&slowness);
  milliseconds = 1.05 * time_of_own() / slowness;
  MUST(compute() == FGSM_OK && fake_dnn.runs == 0 && fake_dnn.planned > 0);
}

static void a_refused_graph_leaves_our_own(void) {
  fake_dnn.refuses = refuse_all;
  MUST(compute() == FGSM_OK && fake_dnn.runs == 0 && fake_dnn.asked == 0);
}

static void no_engine_leaves_our_own(void) {
  give_no_engine();
  MUST(compute() == FGSM_OK && fake_dnn.runs == 0 && fake_dnn.asked > 0);
}

static void a_trial_chooses_nothing(void) {
  struct fg_call c = call;
  c.trial = true;
  MUST(kernel->prepare(&c, device) == FGSM_OK && fake_dnn.asked == 0);
  if (kernel->release)
    kernel->release(&c);
}

/* Normalisation without a scale; attention with a bias. */
static void what_has_no_words_is_our_own(void) {
  const bool normalises = op == FG_OP_layer_norm || op == FG_OP_layer_norm_grad;
  if (normalises)
    call.in[op == FG_OP_layer_norm ? 1 : 2] = (struct fg_tensor){.type = FG_NONE};
  else
    call.in[op == FG_OP_attention ? 3 : 6] = tensor(FG_F32, 2, 5, 7, 0, 0);
  MUST(compute() == FGSM_OK && fake_dnn.runs == 0 && fake_dnn.asked == 0);
}

/* ---- what is kept */

static void it_chooses(void) {
  MUST(compute() == FGSM_OK && fake_dnn.runs == 1);
  MUST(fake_dnn.asked > 0 && fake_dnn.planned > 0 && fake_dnn.loaded == 0);
  int asked = fake_dnn.asked;
  MUST(compute() == FGSM_OK && fake_dnn.asked == asked && fake_dnn.loaded == 1);
}

static void it_recalls(void) {
  double slowness;
  milliseconds = 100; /* which nobody asks for */
  MUST(compute() == FGSM_OK && fake_dnn.runs == 1);
  MUST(fake_dnn.asked == 0 && fake_dnn.planned == 0 && fake_dnn.loaded == 1);
  MUST(fake_dnn.ran.engine == winner(&slowness));
}

static void our_own_are_kept(void) {
  milliseconds = 100;
  MUST(compute() == FGSM_OK && fake_dnn.runs == 0 && fake_dnn.planned > 0);
}

static void our_own_are_recalled(void) {
  MUST(compute() == FGSM_OK && fake_dnn.runs == 0);
  MUST(fake_dnn.asked == 0 && fake_dnn.planned == 0 && fake_dnn.loaded == 0);
}

/* Half of the first axis. */
static void another_shape_chooses(void) {
  for (int i = 0; i < call.n_in; i++)
    if (call.in[i].rank > 1)
      call.in[i].dim[0] /= 2;
  for (int i = 0; i < call.n_out; i++)
    if (call.out[i].rank > 1)
      call.out[i].dim[0] /= 2;
  it_chooses();
}

static void a_lost_card_is_said(void) {
  fake_dnn.loses = lose;
  MUST(compute() == FGSM_DEVICE);
  MUST(strstr(fgsm_last_error(), "the card is lost"));
}

/* ---- all of it */

static void begin(void) {
  fake_cudnn();
  device = fake_card_open(NULL, FG_PLAIN, FG_PRECISION_fp32);
  fake_dnn.refuses = refuse_none;
  fake_dnn.time_of = in_time;
  make_call();
}

#define PASSES(test) (choosing_passes(begin, test, #test) ? 0 : 1)

static int check_winners(void) {
  return PASSES(cudnn_wins_by_a_little) + PASSES(our_own_win_by_a_little) +
         PASSES(a_refused_graph_leaves_our_own) + PASSES(no_engine_leaves_our_own) +
         PASSES(a_trial_chooses_nothing) + PASSES(what_has_no_words_is_our_own);
}

static int check_keeping(void) {
  enum { IN_THE_PLAN = 40 };
  int failures = PASSES(it_chooses) + PASSES(it_recalls);
  failures += choosing_anew(begin, it_chooses, &device) + PASSES(another_shape_chooses) +
              PASSES(it_recalls);
  failures += choosing_spoils(IN_THE_PLAN, false) < 1;
  failures += PASSES(it_chooses) + PASSES(it_recalls);
  failures += choosing_spoils(IN_THE_PLAN, true) < 1;
  failures += PASSES(it_chooses) + PASSES(it_recalls);
  failures += choosing_forgets() < 1;
  failures += PASSES(our_own_are_kept) + PASSES(our_own_are_recalled);
  failures += choosing_forgets() != 1;
  failures += PASSES(a_lost_card_is_said) + (choosing_forgets() != 0) + PASSES(it_chooses);
  return failures + (choosing_forgets() != 1);
}

int main(void) {
  static const enum fg_op contested[] = {FG_OP_layer_norm, FG_OP_layer_norm_grad, FG_OP_attention,
                                         FG_OP_attention_grad};
  enum { N = sizeof contested / sizeof *contested };
  int failures = 0;
  for (int i = 0; i < N; i++) {
    op = contested[i];
    printf("%s\n", fg_op_name(op));
    failures += check_winners();
  }
  failures += !choosing_keeps(begin, it_chooses, "it_chooses");
  for (int i = 0; i < N; i++) {
    op = contested[i];
    printf("%s\n", fg_op_name(op));
    failures += check_keeping();
  }
  choosing_ends();
  return failures != 0;
}
