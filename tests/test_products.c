/* Products whose weights the CPU's backend orders once: that it does so, what it leaves to its library,
 * and that every number is one sum, whatever the threads. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "harness.h"
#include "tiles.h"

static struct fg_device *opened(int threads) {
  struct fg_device *device;
  cr_assert_eq(fg_cpu.open(0, threads, &device), FGSM_OK, "%s", fgsm_last_error());
  return device;
}

/* The case, run by so many threads. */
static struct fg_run ran(const struct fg_case *c, int threads) {
  const struct fg_run_options o = {0};
  struct fg_run run;
  const struct fg_target target = {&fg_cpu, FG_F32, threads, opened(threads)};
  enum fg_run_result result = fg_run_begin(&run, c, &target, &o);
  cr_expect(result == FG_RUN_OK || !run.device->channel_block, "%s: %s", c->name, run.why);
  return run;
}

static void end(struct fg_run *run) {
  struct fg_device *device = run->device;
  fg_run_end(run);
  fg_cpu.close(device);
}

Test(products, order_their_weights_once) {
  for (int i = 0; i < fg_cases_packed.n; i++) {
    const struct fg_case *c = &fg_cases_packed.cases[i];
    struct fg_run run = ran(c, 2);
    size_t weights = (size_t)fg_count(&run.view.in[1]) * sizeof(float);
    cr_expect(!run.device->channel_block || run.call.state_bytes >= weights, "%s: %zu bytes kept",
              c->name, run.call.state_bytes);
    end(&run);
  }
}

Test(products, leave_the_rest_to_the_library) {
  static const int64_t rows[] = {1, 15, 113, 16};
  for (int i = 0; i < 4; i++) {
    const bool constant = rows[i] != 16;
    const struct fg_case c = {.name = "product",
                              .op = FG_OP_matmul,
                              .attrs = {.matmul = {.alpha = 1}},
                              .in = {FG_R(FG_NORMAL, rows[i], 64), FG_R(FG_NORMAL, 64, 64)},
                              .out = {FG_R(FG_NORMAL, rows[i], 64)},
                              .constant = constant ? 2 : 0};
    struct fg_run run = ran(&c, 2);
    cr_expect_eq(run.call.state_bytes, 0, "%d rows by a %s", (int)rows[i],
                 constant ? "constant" : "matrix that may change");
    end(&run);
  }
}

/* With vectors of 8, whatever the rows. */
Test(products, order_large_weights_of_many_rows_too) {
  static const struct fg_case c = {.name = "product",
                                   .op = FG_OP_matmul,
                                   .attrs = {.matmul = {.alpha = 1}},
                                   .in = {FG_R(FG_NORMAL, 361, 760), FG_R(FG_NORMAL, 760, 700)},
                                   .out = {FG_R(FG_NORMAL, 361, 700)},
                                   .constant = 2};
  struct fg_run one = ran(&c, 1), two = ran(&c, 2);
  if (one.device->channel_block == 8) {
    cr_expect_geq(one.call.state_bytes + two.call.state_bytes, 760 * 700 * sizeof(float));
    cr_expect_eq(memcmp(one.view.out[0].data, two.view.out[0].data, fg_bytes(&one.view.out[0])), 0);
  }
  end(&one);
  end(&two);
}

Test(products, are_the_same_for_every_number_of_threads) {
  static const int threads[] = {1, 2, 3, 8};
  for (int i = 0; i < fg_cases_packed.n; i++) {
    struct fg_run one = ran(&fg_cases_packed.cases[i], 1);
    for (int t = 1; t < 4 && one.device->channel_block; t++) {
      struct fg_run run = ran(&fg_cases_packed.cases[i], threads[t]);
      cr_expect_eq(memcmp(one.view.out[0].data, run.view.out[0].data, fg_bytes(&one.view.out[0])),
                   0, "%s by %d threads", fg_cases_packed.cases[i].name, threads[t]);
      end(&run);
    }
    end(&one);
  }
}

/* ---- zeros, which may be skipped where there are many of them */

enum { ROWS = 64, TERMS = 1030, COLUMNS = 300 };

static const struct fg_case with_zeros = {
    .name = "product",
    .op = FG_OP_matmul,
    .attrs = {.matmul = {.alpha = 1}},
    .in = {FG_R(FG_NORMAL, ROWS, TERMS), FG_R(FG_NORMAL, TERMS, COLUMNS)},
    .out = {FG_R(FG_NORMAL, ROWS, COLUMNS)},
    .constant = 2};

/* By plain sums, whatever the processor has. */
static void run_plainly(struct fg_run *run, const struct fg_case *c, int threads) {
  const struct fg_run_options o = {0};
  const struct fg_target target = {&fg_cpu, FG_F32, threads, fg_opened(threads, FG_CONV_DIRECT)};
  cr_assert_eq(fg_run_begin(run, c, &target, &o), FG_RUN_OK, "%s: %s", c->name, run->why);
}

/* Which terms of a row are there. */
enum kind { NOTHING, EVERYTHING, HALF, THE_LAST, A_STEP, KINDS };

static bool is_there(enum kind kind, int row, int term) {
  switch (kind) {
  case EVERYTHING:
    return true;
  case HALF:
    return (row * 7919 + term * 104729) >> 5 & 1;
  case THE_LAST:
    return term == TERMS - 1;
  case A_STEP:
    return term >= 64 && term < 128;
  default:
    return false;
  }
}

static void fill_row(float *a, int row, enum kind kind) {
  for (int k = 0; k < TERMS; k++)
    a[row * TERMS + k] = is_there(kind, row, k) ? (float)((row * 31 + k * 17) % 23 - 11.5) : 0;
}

/* Odd rows are of one kind, and even ones, of which there are enough to choose a way by, nothing or everything. */
static void fill(float *a, enum kind odd, enum kind even) {
  for (int row = 0; row < ROWS; row++)
    fill_row(a, row, row % 2 ? odd : even);
}

static void expect_sums(const struct fg_run *run, const char *what) {
  const float *a = run->call.in[0].data, *b = run->call.in[1].data, *y = run->call.out[0].data;
  for (int i = 0; i < ROWS * COLUMNS; i++) {
    double sum = 0, size = 0;
    for (int k = 0; k < TERMS; k++) {
      double product = (double)a[i / COLUMNS * TERMS + k] * (double)b[k * COLUMNS + i % COLUMNS];
      sum += product;
      size += fabs(product);
    }
    cr_assert(fabs((double)y[i] - sum) <= size * 0x1p-20, "%s: %g, not %g", what, (double)y[i],
              sum);
  }
}

Test(products, give_a_row_the_same_sums_whatever_zeros_the_others_have) {
  static float zeros[ROWS * COLUMNS];
  for (int threads = 1; threads <= 3; threads++) {
    struct fg_run run;
    run_plainly(&run, &with_zeros, threads);
    float *a = run.call.in[0].data, *y = run.call.out[0].data;
    for (enum kind kind = 0; kind < KINDS; kind++) {
      fill(a, kind, NOTHING);
      cr_assert_eq(fg_run_again(&run, 1), FGSM_OK);
      memcpy(zeros, y, sizeof zeros);
      expect_sums(&run, "among zeros");
      fill(a, kind, EVERYTHING);
      cr_assert_eq(fg_run_again(&run, 1), FGSM_OK);
      expect_sums(&run, "among others");
      for (int row = 1; row < ROWS; row += 2)
        cr_expect_arr_eq(y + row * COLUMNS, zeros + row * COLUMNS, COLUMNS * sizeof *y,
                         "row %d of kind %d by %d threads", row, (int)kind, threads);
    }
    fg_closed(&run);
  }
}

/* By one thread rows are cut into chunks, by eight they are few enough for one. */
Test(products, skip_zeros_chunk_by_chunk) {
  enum { MANY = 800, DEEP = 1024, WIDE = 512 };
  static float whole[MANY * WIDE];
  struct fg_case c = with_zeros;
  c.in[0] = (struct fg_case_tensor)FG_R(FG_VALUES(0, 0.75, -1.25, 0, 0, 2.5, 0.375), MANY, DEEP);
  c.in[1] = (struct fg_case_tensor)FG_R(FG_NORMAL, DEEP, WIDE);
  c.out[0] = (struct fg_case_tensor)FG_R(FG_NORMAL, MANY, WIDE);
  for (int threads = 8; threads >= 1; threads -= 7) {
    struct fg_run run;
    run_plainly(&run, &c, threads);
    cr_assert_eq(fg_run_again(&run, 1), FGSM_OK);
    const float *y = run.call.out[0].data;
    if (threads == 8)
      memcpy(whole, y, sizeof whole);
    else
      cr_expect_arr_eq(y, whole, sizeof whole);
    fg_closed(&run);
  }
}

Test(products, do_not_take_a_nan_for_a_zero) {
  enum { ROW = 5, TERM = 777 };
  struct fg_run run;
  run_plainly(&run, &with_zeros, 2);
  float *a = run.call.in[0].data, *y = run.call.out[0].data;
  fill(a, HALF, NOTHING);
  a[ROW * TERMS + TERM] = NAN;
  cr_assert_eq(fg_run_again(&run, 1), FGSM_OK);
  for (int i = 0; i < ROWS * COLUMNS; i++)
    cr_assert_eq(isnan(y[i]) != 0, i / COLUMNS == ROW, "%g in row %d", (double)y[i], i / COLUMNS);
  fg_closed(&run);
}

/* Zero times infinity is no number, and so all rows' are not. */
Test(products, multiply_zeros_by_what_is_not_finite) {
  static const double values[] = {INFINITY, NAN};
  for (int v = 0; v < 2; v++) {
    static double weights[TERMS * COLUMNS];
    struct fg_case c = with_zeros;
    for (int i = 0; i < TERMS * COLUMNS; i++)
      weights[i] = i % 13 - 6;
    weights[700 * COLUMNS + 123] = values[v];
    c.in[1].gen = (struct fg_gen){.kind = FG_GEN_VALUES, .values = weights, .n = TERMS * COLUMNS};
    struct fg_run run;
    run_plainly(&run, &c, 2);
    const float *y = run.call.out[0].data;
    fill(run.call.in[0].data, HALF, NOTHING);
    fill_row(run.call.in[0].data, 3, NOTHING);
    cr_assert_eq(fg_run_again(&run, 1), FGSM_OK);
    for (int i = 0; i < ROWS * COLUMNS; i++)
      if (i % COLUMNS != 123)
        cr_assert(isfinite(y[i]), "%g", (double)y[i]);
      else if (((float *)run.call.in[0].data)[i / COLUMNS * TERMS + 700] == 0 || v)
        cr_assert(isnan(y[i]), "%g in row %d", (double)y[i], i / COLUMNS);
    fg_closed(&run);
  }
}
