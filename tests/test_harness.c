/* The harness against faults on purpose: a backend that is the oracle with one thing broken must
 * fail the mode that looks for it, and the whole oracle must not. */
#include <criterion/criterion.h>
#include <string.h>

#include "harness.h"

/* The oracle's run, then the fault. */
static fgsm_status run_oracle(const struct fg_call *call, void *scratch, void *stream) {
  return fg_ref.kernels[call->op]->run(call, scratch, stream);
}

static float *elements(const struct fg_tensor *t) {
  return t->data;
}

static fgsm_status add_to_one_channel(const struct fg_call *call, void *scratch, void *stream) {
  FG_TRY(run_oracle(call, scratch, stream));
  elements(&call->out[0])[1] += 1e-3f;
  return FGSM_OK;
}

static fgsm_status answer_nothing(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  memset(call->out[0].data, 0, fg_bytes(&call->out[0]));
  return FGSM_OK;
}

static fgsm_status leave_out_the_last(const struct fg_call *call, void *scratch, void *stream) {
  int64_t last = fg_count(&call->out[0]) - 1;
  float before = elements(&call->out[0])[last];
  FG_TRY(run_oracle(call, scratch, stream));
  elements(&call->out[0])[last] = before;
  return FGSM_OK;
}

#ifndef FG_SANITIZED /* there a write beside a buffer is ASan's own report */
static fgsm_status write_past_the_end(const struct fg_call *call, void *scratch, void *stream) {
  FG_TRY(run_oracle(call, scratch, stream));
  volatile unsigned char *at = call->out[0].data;
  at[fg_bytes(&call->out[0])] = 0;
  return FGSM_OK;
}

static fgsm_status write_before_the_start(const struct fg_call *call, void *scratch, void *stream) {
  FG_TRY(run_oracle(call, scratch, stream));
  volatile unsigned char *at = call->out[0].data;
  at[-1] = 0;
  return FGSM_OK;
}

static fgsm_status write_past_the_scratch(const struct fg_call *call, void *scratch, void *stream) {
  FG_TRY(run_oracle(call, scratch, stream));
  volatile unsigned char *at = scratch;
  at[call->scratch_bytes] = 0;
  return FGSM_OK;
}
#endif

static fgsm_status change_an_input(const struct fg_call *call, void *scratch, void *stream) {
  FG_TRY(run_oracle(call, scratch, stream));
  elements(&call->in[0])[2] += 1;
  return FGSM_OK;
}

static fgsm_status differ_from_run_to_run(const struct fg_call *call, void *scratch, void *stream) {
  static int runs;
  FG_TRY(run_oracle(call, scratch, stream));
  elements(&call->out[0])[3] *= 1 + (float)(runs++ % 2) * 0x1p-23f;
  return FGSM_OK;
}

static fgsm_status clear_before_reading(const struct fg_call *call, void *scratch, void *stream) {
  elements(&call->out[0])[0] = 0;
  return run_oracle(call, scratch, stream);
}

static fgsm_status fail_in_run(const struct fg_call *call, void *scratch, void *stream) {
  (void)call, (void)scratch, (void)stream;
  return FG_FAIL(DATA, "the fake fails");
}

static const struct fg_case *find(const char *name) {
  for (int i = 0; fg_case_at(i); i++)
    if (strcmp(fg_case_at(i)->name, name) == 0)
      return fg_case_at(i);
  cr_assert_fail("no case is called %s", name);
  return NULL;
}

/* The verdict of a mode on the oracle whose kernel for the case's operator runs `run`. */
static enum fg_verdict judge(const char *name, fg_mode mode,
                             fgsm_status (*run)(const struct fg_call *, void *, void *), char *why,
                             size_t size) {
  const struct fg_case *c = find(name);
  struct fg_kernel kernel = *fg_ref.kernels[c->op];
  struct fg_backend backend = fg_ref;
  kernel.run = run;
  backend.kernels[c->op] = &kernel;
  why[0] = 0;
  return mode(c, &(struct fg_target){&backend, FG_F32, 1, NULL}, why, size);
}

#define EXPECT_CAUGHT(name, mode, run, words)                                                      \
  do {                                                                                             \
    char why[768];                                                                                 \
    cr_expect(judge(name, mode, run_oracle, why, sizeof why) == FG_PASS, "whole: %s", why);        \
    cr_expect(judge(name, mode, run, why, sizeof why) == FG_BROKEN, #run " was not caught");       \
    cr_expect(strstr(why, words) != NULL, "said: %s", why);                                        \
  } while (0)

Test(harness, sees_wrong_values) {
  EXPECT_CAUGHT("conv 3x3", fg_mode_agrees, add_to_one_channel, "tensor 0[1] is");
  EXPECT_CAUGHT("conv 3x3", fg_mode_agrees, answer_nothing, "tensor 0[0] is");
  EXPECT_CAUGHT("transpose a matrix", fg_mode_agrees, add_to_one_channel, "tensor 0[1] is");
}

Test(harness, sees_what_was_not_written) {
  EXPECT_CAUGHT("add", fg_mode_agrees, leave_out_the_last, "tensor 0[479] is");
  EXPECT_CAUGHT("add", fg_mode_repeats, leave_out_the_last, "differs from one run");
}

Test(harness, sees_writes_beside_the_buffers) {
#ifndef FG_SANITIZED /* there such a write is ASan's own report */
  EXPECT_CAUGHT("conv 3x3", fg_mode_clean, write_past_the_end, "beside output 0");
  EXPECT_CAUGHT("add", fg_mode_clean, write_before_the_start, "beside output 0");
  EXPECT_CAUGHT("conv 3x3", fg_mode_clean, write_past_the_scratch, "beside its scratch");
#endif
  EXPECT_CAUGHT("conv 3x3", fg_mode_clean, change_an_input, "changed input 0");
}

Test(harness, sees_results_that_change) {
  EXPECT_CAUGHT("softmax", fg_mode_repeats, differ_from_run_to_run, "differs from one run");
}

Test(harness, sees_operands_lost_in_place) {
  EXPECT_CAUGHT("add", fg_mode_in_place, clear_before_reading, "differs from one run");
}

Test(harness, sees_failures_and_their_reason) {
  EXPECT_CAUGHT("softmax", fg_mode_agrees, fail_in_run, "the fake fails");
}

/* Faults in what a call is, not in what it holds. */
Test(harness, tells_a_gap_from_a_refusal) {
  const struct fg_case *c = find("softmax");
  static const struct fg_kernel gap = {NULL, NULL, NULL};
  struct fg_backend backend = fg_ref;
  struct fg_case refused = *c;
  char why[768] = "";
  refused.attrs.softmax.axis = 9;
  cr_expect(fg_mode_agrees(&refused, &(struct fg_target){&fg_ref, FG_F32, 1, NULL}, why,
                           sizeof why) == FG_BROKEN);
  cr_expect(strstr(why, "axis 9 of rank 2") != NULL, "said: %s", why);
  backend.kernels[FG_OP_softmax] = &gap;
  cr_expect(fg_mode_agrees(c, &(struct fg_target){&backend, FG_F32, 1, NULL}, why, sizeof why) ==
            FG_SKIP);
}

/* A case whose answer is all zeros proves nothing and must say so. */
Test(harness, mistrusts_zeros) {
  struct fg_case c = {.name = "zeros",
                      .op = FG_OP_unary,
                      .attrs = {.unary = {.kind = FG_UNARY_relu}},
                      .in = {FG_R(FG_UNIFORM(-2, -1), 32)},
                      .out = {FG_Y(32)}};
  char why[768] = "";
  cr_expect(fg_mode_agrees(&c, &(struct fg_target){&fg_ref, FG_F32, 1, NULL}, why, sizeof why) ==
            FG_BROKEN);
  cr_expect(strstr(why, "not to be trusted") != NULL, "said: %s", why);
}

/* What a case states is checked even where backend and oracle agree with each other. */
Test(harness, sees_an_oracle_that_is_wrong) {
  struct fg_case c = {.name = "stated",
                      .op = FG_OP_unary,
                      .attrs = {.unary = {.kind = FG_UNARY_relu}},
                      .in = {FG_R(FG_VALUES(-1, 1), 2)},
                      .out = {FG_T(F32, FG_VALUES(0, 2), 2)}};
  char why[768] = "";
  cr_expect(fg_mode_agrees(&c, &(struct fg_target){&fg_ref, FG_F32, 1, NULL}, why, sizeof why) ==
            FG_BROKEN);
  cr_expect(strstr(why, "the case states 2") != NULL, "said: %s", why);
}
