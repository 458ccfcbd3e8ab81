/* Every case of every operator family, in every mode, on every backend: one test per family and
 * mode, the case named in each failure. The oracle itself runs too, in float32 against double, but for the families
 * of the CPU's sizes. */
#include <criterion/criterion.h>

#include "harness.h"

static const struct fg_target targets[] = {
    {&fg_ref, FG_F32, 1, NULL}, {&fg_ref, FG_F64, 1, NULL}, {&fg_cpu, FG_F32, 2, NULL}};

/* Runs a mode over a family; the number of cases that were not skipped. */
static int sweep(const struct fg_case_table *table, fg_mode mode) {
  int ran = 0;
  for (int i = 0; i < table->n; i++)
    for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
      const struct fg_case *c = &table->cases[i];
      if (targets[t].backend == &fg_ref && fg_case_is_of_cpu(c))
        continue;
      char why[768] = "";
      enum fg_verdict verdict = mode(c, &targets[t], why, sizeof why);
      cr_expect(verdict != FG_BROKEN, "%s/%s on %s %s: %s", table->family, c->name,
                targets[t].backend->name, fg_type_name(targets[t].real), why);
      ran += verdict == FG_PASS;
    }
  return ran;
}

#define X(family)                                                                                  \
  Test(ops, family##_agrees) {                                                                     \
    cr_expect(sweep(&fg_cases_##family, fg_mode_agrees) >= fg_cases_##family.n);                   \
  }                                                                                                \
  Test(ops, family##_repeats) {                                                                    \
    cr_expect(sweep(&fg_cases_##family, fg_mode_repeats) >= fg_cases_##family.n);                  \
  }                                                                                                \
  Test(ops, family##_keeps_to_its_buffers) {                                                       \
    cr_expect(sweep(&fg_cases_##family, fg_mode_clean) >= fg_cases_##family.n);                    \
  }                                                                                                \
  Test(ops, family##_in_blocks) {                                                                  \
    sweep(&fg_cases_##family, fg_mode_lying);                                                      \
  }
FG_CASE_FAMILIES(X)
#undef X

#define X(family)                                                                                  \
  Test(ops, family##_in_place) {                                                                   \
    cr_expect(sweep(&fg_cases_##family, fg_mode_in_place) > 0);                                    \
  }
X(unary)
X(binary)
X(affine)
X(softmax)
#undef X

/* A backend that takes blocks must have been seen to, or the block mode tested nothing. */
Test(ops, blocks_are_exercised) {
  struct fg_device *device;
  cr_assert_eq(fg_cpu.open(0, 1, &device), FGSM_OK);
  int block = device->channel_block, ran = 0;
  fg_cpu.close(device);
  for (int i = 0; i < fg_cases_conv.n && !ran; i++) {
    char why[768] = "";
    ran = fg_mode_lying(&fg_cases_conv.cases[i], &targets[2], why, sizeof why) == FG_PASS;
  }
  cr_expect(block == 0 || ran > 0, "channel_block is %d and no convolution ran in blocks", block);
}

Test(ops, refused_calls_are_declined_with_a_reason) {
  for (int i = 0; i < fg_cases_refused.n; i++) {
    const struct fg_case *c = &fg_cases_refused.cases[i];
    struct fg_run_options o = {.only_prepare = true};
    struct fg_run run;
    enum fg_run_result result = fg_run_begin(&run, c, &targets[0], &o);
    cr_expect(result == FG_RUN_DECLINED, "%s was not declined", c->name);
    cr_expect(strlen(run.why) > strlen("prepare: "), "%s: no reason", c->name);
    fg_run_end(&run);
  }
}

Test(ops, cases_are_iterable_and_named_once) {
  int n = 0;
  while (fg_case_at(n))
    n++;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < i; j++)
      cr_expect(strcmp(fg_case_at(i)->name, fg_case_at(j)->name) != 0, "two cases are called %s",
                fg_case_at(i)->name);
  for (int op = 0; op < FG_OP_COUNT; op++) {
    bool found = op == FG_OP_reshape;
    for (int i = 0; i < n && !found; i++)
      found = fg_case_at(i)->op == (enum fg_op)op;
    cr_expect(found, "no case for %s", fg_op_name((enum fg_op)op));
  }
}
