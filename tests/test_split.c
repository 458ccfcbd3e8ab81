/* Products on a processor's tiles, of numbers in three parts: every case against the oracle, twice and between
 * guards; the same bits for every number of threads; and what says so, or must be left to plain sums. Where
 * the processor has no tiles the same cases go another way. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "harness.h"
#include "tiles.h"

static void sweep(fg_mode mode) {
  struct fg_device *device = fg_opened(2, FG_CONV_FASTEST);
  const struct fg_target target = {&fg_cpu, FG_F32, 2, device};
  for (int i = 0; i < fg_cases_split.n; i++) {
    char why[768] = "";
    enum fg_verdict verdict = mode(&fg_cases_split.cases[i], &target, why, sizeof why);
    cr_expect_eq(verdict, FG_PASS, "%s: %s", fg_cases_split.cases[i].name, why);
  }
  fg_cpu.close(device);
}

Test(split, agrees) {
  sweep(fg_mode_agrees);
}
Test(split, repeats) {
  sweep(fg_mode_repeats);
}
Test(split, keeps_to_its_buffers) {
  sweep(fg_mode_clean);
}

/* Convolutions, in every layout. */
static void convolve(const struct fg_case_table *table, int n, const fg_mode *modes) {
  struct fg_device *device = fg_opened(2, FG_CONV_TILES);
  const struct fg_target target = {&fg_cpu, FG_F32, 2, device};
  for (int i = 0; i < table->n; i++)
    for (int m = 0; m < n; m++) {
      char why[768] = "";
      cr_expect(modes[m](&table->cases[i], &target, why, sizeof why) != FG_BROKEN, "%s: %s",
                table->cases[i].name, why);
    }
  fg_cpu.close(device);
}

Test(split, convolves) {
  static const fg_mode modes[] = {fg_mode_agrees, fg_mode_lying, fg_mode_repeats, fg_mode_clean};
  convolve(&fg_cases_tiles, 4, modes);
  convolve(&fg_cases_pointwise, 4, modes);
  convolve(&fg_cases_winograd, 1, modes);
  convolve(&fg_cases_conv, 1, modes);
}

static struct fg_run ran(const struct fg_case *c, int threads, enum fg_convolutions how) {
  const struct fg_run_options o = {0};
  struct fg_run run;
  const struct fg_target target = {&fg_cpu, FG_F32, threads, fg_opened(threads, how)};
  cr_assert_eq(fg_run_begin(&run, c, &target, &o), FG_RUN_OK, "%s: %s", c->name, run.why);
  return run;
}

Test(split, is_the_same_for_every_number_of_threads) {
  static const int threads[] = {2, 3, 8};
  for (int i = 0; i < fg_cases_split.n; i++) {
    struct fg_run one = ran(&fg_cases_split.cases[i], 1, FG_CONV_FASTEST);
    for (int t = 0; t < 3 && one.call.fast; t++) {
      struct fg_run run = ran(&fg_cases_split.cases[i], threads[t], FG_CONV_FASTEST);
      cr_expect_eq(memcmp(one.view.out[0].data, run.view.out[0].data, fg_bytes(&one.view.out[0])),
                   0, "%s by %d threads", fg_cases_split.cases[i].name, threads[t]);
      fg_closed(&run);
    }
    fg_closed(&one);
  }
}

/* All cases do where there are tiles, and none does where plain sums are asked for. */
Test(split, says_so_and_is_not_taken_unless_it_may_be) {
  int said = 0;
  for (int i = 0; i < fg_cases_split.n; i++) {
    struct fg_run fast = ran(&fg_cases_split.cases[i], 2, FG_CONV_FASTEST),
                  plain = ran(&fg_cases_split.cases[i], 2, FG_CONV_DIRECT);
    said +=
        fast.call.fast && strcmp(fast.call.fast, "three bfloat16s") == 0 && fast.call.state_bytes;
    cr_expect(!plain.call.fast, "%s", fg_cases_split.cases[i].name);
    fg_closed(&fast);
    fg_closed(&plain);
  }
  cr_expect_eq(said, fg_has_tiles() ? fg_cases_split.n : 0, "%d of %d cases", said,
               fg_cases_split.n);
}

/* Convolutions too; but where plain sums are asked for they go that way. */
Test(split, convolves_alike_with_every_number_of_threads) {
  enum { MOST = 4 };
  static const int threads[MOST] = {1, 2, 3, 8};
  for (int i = 0; i < fg_cases_tiles.n; i++) {
    const struct fg_case *c = &fg_cases_tiles.cases[i];
    struct fg_run run[MOST];
    bool slope = c->flags & FG_CASE_MAY_DECLINE; /* which plain sums know nothing of */
    if (!slope) {
      run[0] = ran(c, 2, FG_CONV_DIRECT);
      cr_expect(!run[0].call.fast, "%s", c->name);
      fg_closed(&run[0]);
    }
    if (slope && !fg_has_tiles())
      continue;
    for (int t = 0; t < MOST; t++) {
      run[t] = ran(c, threads[t], FG_CONV_TILES);
      bool said = run[t].call.fast && strcmp(run[t].call.fast, "three bfloat16s") == 0;
      cr_expect_eq(said, fg_has_tiles(), "%s by %d threads", c->name, threads[t]);
      cr_expect(!fg_has_tiles() || memcmp(run[0].view.out[0].data, run[t].view.out[0].data,
                                          fg_bytes(&run[0].view.out[0])) == 0,
                "%s by %d threads", c->name, threads[t]);
    }
    for (int t = 0; t < MOST; t++)
      fg_closed(&run[t]);
  }
}

/* Maxima behind them choose as behind plain sums (ties.c): the number does not depend on a window's place. */
Test(split, gives_equal_windows_equal_sums) {
  struct fg_case c = fg_cases_tiles.cases[0]; /* 3x3, padded by 1 */
  c.in[0].gen.a = c.in[0].gen.b = 0.7;
  c.in[0].gen.kind = FG_GEN_UNIFORM;
  struct fg_run run = ran(&c, 2, FG_CONV_TILES);
  const struct fg_tensor *y = &run.view.out[0];
  const float *at = y->data, *first = at;
  cr_expect_eq(run.call.fast != NULL, fg_has_tiles());
  for (int64_t n = 0; n < y->dim[0]; n++)
    for (int64_t k = 0; k < y->dim[1]; k++, at += y->dim[2] * y->dim[3])
      for (int64_t i = 1; i < y->dim[2] - 1; i++)
        for (int64_t j = 1; j < y->dim[3] - 1; j++)
          cr_expect_eq(at[i * y->dim[3] + j], first[k * y->dim[2] * y->dim[3] + y->dim[3] + 1]);
  fg_closed(&run);
}

/* As close as float32's own sums, whatever the numbers' sizes. */
Test(split, is_as_close_as_float32) {
  const struct fg_case *c = &fg_cases_split.cases[0];
  struct fg_run fast = ran(c, 1, FG_CONV_FASTEST);
  const float *a = fast.view.in[0].data, *b = fast.view.in[1].data, *y = fast.view.out[0].data;
  int64_t k = c->in[0].dim[1], n = c->in[1].dim[1];
  for (int64_t i = 0; i < c->in[0].dim[0] * n; i++) {
    double sum = 0, size = 0;
    for (int64_t t = 0; t < k; t++) {
      double product = (double)a[i / n * k + t] * (double)b[t * n + i % n];
      sum += product;
      size += fabs(product);
    }
    cr_assert(fabs((double)y[i] - sum) <= size * 0x1p-22, "%g, not %g", (double)y[i], sum);
  }
  fg_closed(&fast);
}
