/* Products whose weights the CPU's backend orders once: that it does so, what it leaves to its library,
 * and that every number is one sum, whatever the threads. */
#include <criterion/criterion.h>
#include <string.h>

#include "harness.h"

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
