/* Products on a processor's tiles, of numbers in three parts: every case against the oracle, twice and between
 * guards; the same bits for every number of threads; and what says so, or must be left to plain sums. Where
 * the processor has no tiles the same cases go another way. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "harness.h"
#include "tiles.h"

static struct fg_device *opened(int threads, enum fg_convolutions how) {
  struct fg_device *device;
  cr_assert_eq(fg_cpu.open(0, threads, &device), FGSM_OK, "%s", fgsm_last_error());
  device->convolutions = how;
  return device;
}

static void sweep(fg_mode mode) {
  struct fg_device *device = opened(2, FG_CONV_FASTEST);
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

/* 1x1 convolutions, in every layout: whole images in blocks go by the tiles, the rest by plain sums. */
Test(split, convolves) {
  struct fg_device *device = opened(2, FG_CONV_FASTEST);
  const struct fg_target target = {&fg_cpu, FG_F32, 2, device};
  static const fg_mode modes[] = {fg_mode_agrees, fg_mode_lying, fg_mode_repeats, fg_mode_clean};
  for (int i = 0; i < fg_cases_pointwise.n; i++)
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
      char why[768] = "";
      cr_expect(modes[m](&fg_cases_pointwise.cases[i], &target, why, sizeof why) != FG_BROKEN,
                "%s: %s", fg_cases_pointwise.cases[i].name, why);
    }
  fg_cpu.close(device);
}

static struct fg_run ran(const struct fg_case *c, int threads, enum fg_convolutions how) {
  const struct fg_run_options o = {0};
  struct fg_run run;
  const struct fg_target target = {&fg_cpu, FG_F32, threads, opened(threads, how)};
  cr_assert_eq(fg_run_begin(&run, c, &target, &o), FG_RUN_OK, "%s: %s", c->name, run.why);
  return run;
}

static void end(struct fg_run *run) {
  struct fg_device *device = run->device;
  fg_run_end(run);
  fg_cpu.close(device);
}

Test(split, is_the_same_for_every_number_of_threads) {
  static const int threads[] = {2, 3, 8};
  for (int i = 0; i < fg_cases_split.n; i++) {
    struct fg_run one = ran(&fg_cases_split.cases[i], 1, FG_CONV_FASTEST);
    for (int t = 0; t < 3 && one.call.fast; t++) {
      struct fg_run run = ran(&fg_cases_split.cases[i], threads[t], FG_CONV_FASTEST);
      cr_expect_eq(memcmp(one.view.out[0].data, run.view.out[0].data, fg_bytes(&one.view.out[0])),
                   0, "%s by %d threads", fg_cases_split.cases[i].name, threads[t]);
      end(&run);
    }
    end(&one);
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
    end(&fast);
    end(&plain);
  }
  cr_expect_eq(said, fg_has_tiles() ? fg_cases_split.n : 0, "%d of %d cases", said,
               fg_cases_split.n);
}

/* Of channels in blocks, by any number of threads; where it must not be, or lies plainly, it is left alone. */
Test(split, convolves_alike_with_every_number_of_threads) {
  enum { X_AND_RESIDUAL = 1 << 0 | 1 << 3, Y = 1 };
  const struct fg_case *c = &fg_cases_pointwise.cases[1]; /* with residual and relu */
  static const struct {
    int threads;
    enum fg_convolutions how;
    bool in_blocks;
  } ways[] = {{1, FG_CONV_FASTEST, true},
              {3, FG_CONV_FASTEST, true},
              {2, FG_CONV_DIRECT, true},
              {2, FG_CONV_FASTEST, false}};
  struct fg_run run[4];
  for (int i = 0; i < 4; i++) {
    const struct fg_target target = {&fg_cpu, FG_F32, ways[i].threads,
                                     opened(ways[i].threads, ways[i].how)};
    bool blocks = ways[i].in_blocks && target.device->channel_block == 16;
    const struct fg_run_options o = {.lying_in = blocks ? X_AND_RESIDUAL : 0,
                                     .lying_out = blocks ? Y : 0};
    cr_assert_eq(fg_run_begin(&run[i], c, &target, &o), FG_RUN_OK, "%s", run[i].why);
    cr_expect_eq(run[i].call.fast != NULL, i < 2 && fg_has_tiles(), "way %d", i);
  }
  cr_expect(!fg_has_tiles() || memcmp(run[0].call.out[0].data, run[1].call.out[0].data,
                                      fg_bytes(&run[0].call.out[0])) == 0);
  for (int i = 0; i < 4; i++)
    end(&run[i]);
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
  end(&fast);
}
