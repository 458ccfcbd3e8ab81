/* Winograd's way of a convolution, asked for by force: every case against the oracle in double, in
 * blocks, twice and between guards; the same bits for every number of threads; what it must leave to
 * plain sums; and a whole net's gradient beside plain sums'. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "net.h"
#include "tiles.h"

static const struct {
  enum fg_convolutions how;
  const char *name;
  double tolerance; /* of the largest: rounding grows with the tile */
} ways[] = {{FG_CONV_WINOGRAD_2, "winograd 2x2", 2e-5}, {FG_CONV_WINOGRAD_4, "winograd 4x4", 2e-4}};

/* 5x5 windows have the small tile alone, and round as the larger one does. */
static bool is_wide(const struct fg_case *c) {
  return c->in[1].rank == 4 && c->in[1].dim[2] == 5;
}

static void sweep(const struct fg_case_table *table, fg_mode mode) {
  struct fg_device *device[2] = {fg_opened(2, ways[0].how), fg_opened(2, ways[1].how)};
  int ran[2] = {0};
  for (int i = 0; i < table->n; i++)
    for (int w = 0; w < 2; w++) {
      struct fg_target target = {&fg_cpu, FG_F32, 2, device[w]};
      struct fg_case c = table->cases[i];
      char why[768] = "";
      c.tolerance = fmax(c.tolerance, ways[is_wide(&c) ? 1 : w].tolerance);
      enum fg_verdict verdict = mode(&c, &target, why, sizeof why);
      cr_expect(verdict != FG_BROKEN, "%s by %s: %s", c.name, ways[w].name, why);
      ran[w] += verdict == FG_PASS;
    }
  for (int w = 0; w < 2; w++) {
    cr_expect(ran[w] > 0 || !device[w]->channel_block, "nothing ran by %s", ways[w].name);
    fg_cpu.close(device[w]);
  }
}

Test(winograd, agrees) {
  sweep(&fg_cases_winograd, fg_mode_agrees);
  sweep(&fg_cases_conv, fg_mode_agrees);
  sweep(&fg_cases_tiles, fg_mode_agrees);
}
Test(winograd, in_blocks) {
  sweep(&fg_cases_winograd, fg_mode_lying);
  sweep(&fg_cases_tiles, fg_mode_lying);
}
Test(winograd, repeats) {
  sweep(&fg_cases_winograd, fg_mode_repeats);
}
Test(winograd, keeps_to_its_buffers) {
  sweep(&fg_cases_winograd, fg_mode_clean);
  sweep(&fg_cases_tiles, fg_mode_clean);
}

/* What the call says of itself once it is prepared; "" for plain sums, NULL where it is declined. */
static const char *way_of(const struct fg_case *c, struct fg_device *device) {
  const struct fg_target target = {&fg_cpu, FG_F32, 2, device};
  const struct fg_run_options o = {.only_prepare = true};
  struct fg_run run;
  enum fg_run_result result = fg_run_begin(&run, c, &target, &o);
  const char *fast = run.call.fast;
  fg_run_end(&run);
  return result != FG_RUN_OK ? NULL : fast ? fast : "";
}

Test(winograd, takes_what_it_can_and_says_so) {
  for (int w = 0; w < 2; w++) {
    struct fg_device *device = fg_opened(2, ways[w].how);
    for (int i = 0; i < fg_cases_winograd.n; i++) {
      const char *want = ways[is_wide(&fg_cases_winograd.cases[i]) ? 0 : w].name;
      const char *way = way_of(&fg_cases_winograd.cases[i], device);
      cr_expect(!device->channel_block || (way && strcmp(way, want) == 0), "%s: '%s', not '%s'",
                fg_cases_winograd.cases[i].name, way ? way : "declined", want);
    }
    fg_cpu.close(device);
  }
}

/* In tiles of 4 x 4, where vectors are of 8 channels. */
Test(winograd, takes_a_stride_of_two) {
  for (int w = 0; w < 2; w++) {
    struct fg_device *device = fg_opened(2, ways[w].how);
    int found = 0;
    for (int i = 0; i < fg_cases_tiles.n; i++) {
      const struct fg_case *c = &fg_cases_tiles.cases[i];
      if (!strstr(c->name, "3x3") || !strstr(c->name, "stride 2") || strstr(c->name, "dilated"))
        continue;
      const char *way = way_of(c, device);
      const char *want = device->channel_block == 8 && w == 1 ? ways[1].name : "";
      bool taken = way && *way; /* plain sums decline some tails */
      cr_expect(taken ? strcmp(way, want) == 0 : !*want, "%s: '%s', not '%s'", c->name,
                taken ? way : "", want);
      found++;
    }
    cr_expect(found >= 25, "%d cases", found);
    fg_cpu.close(device);
  }
}

Test(winograd, leaves_the_rest_to_plain_sums) {
  static const char *const names[] = {"conv 1x1",          "conv 1x1 stride 2",
                                      "conv 7x7 stride 2", "conv dilated",
                                      "conv in groups",    "conv in groups, input gradient",
                                      "conv depthwise",    "conv with weights that are computed",
                                      "conv with sigmoid", "conv 3x3, weight gradient",
                                      "conv 3x3x3"};
  struct fg_device *device = fg_opened(2, FG_CONV_WINOGRAD_4);
  size_t found = 0;
  for (int i = 0; i < fg_cases_conv.n; i++)
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
      if (strcmp(fg_cases_conv.cases[i].name, names[k]) == 0) {
        const char *way = way_of(&fg_cases_conv.cases[i], device);
        cr_expect(way && !*way, "%s: %s", names[k], way ? way : "declined");
        found++;
      }
  cr_expect_eq(found, sizeof names / sizeof *names);
  fg_cpu.close(device);
}

Test(winograd, is_not_taken_unless_it_may_be) {
  struct fg_device *device = fg_opened(2, FG_CONV_DIRECT);
  const char *way = way_of(&fg_cases_winograd.cases[0], device);
  cr_expect(way && !*way);
  fg_cpu.close(device);
}

/* One sample alone is too little work for a trial, and goes by plain sums. */
Test(winograd, is_chosen_as_for_a_larger_batch_where_that_is_asked_for) {
  enum { TIMES = 64 };
  struct fg_case small = fg_cases_winograd.cases[0];
  small.in[0] = small.out[0] = (struct fg_case_tensor){
      .type = FG_F32, .rank = 4, .dim = {1, 64, 7, 7}, .gen = small.in[0].gen};
  small.in[1].dim[0] = small.in[1].dim[1] = small.in[2].dim[0] = 64;
  struct fg_case large = small;
  large.in[0].dim[0] = large.out[0].dim[0] = TIMES;
  struct fg_device *device = fg_opened(1, FG_CONV_FASTEST);
  const char *alone = way_of(&small, device), *whole = way_of(&large, device);
  device->chosen_for = TIMES;
  const char *part = way_of(&small, device);
  cr_assert(alone && whole && part);
  cr_expect_str_empty(alone);
  cr_expect_str_eq(part, whole);
  fg_cpu.close(device);
}

static void same_for_every_number_of_threads(const struct fg_case_table *table) {
  static const struct fg_run_options o = {0};
  for (int i = 0; i < table->n; i++) {
    struct fg_run run[2];
    bool taken = true; /* and not by plain sums, which are not ours */
    for (int t = 0; t < 2; t++) {
      struct fg_device *device = fg_opened(t ? 3 : 1, FG_CONV_WINOGRAD_4);
      const struct fg_target target = {&fg_cpu, FG_F32, t ? 3 : 1, device};
      enum fg_run_result result = fg_run_begin(&run[t], &table->cases[i], &target, &o);
      taken = taken && result == FG_RUN_OK && run[t].call.fast;
    }
    cr_expect(taken || table != &fg_cases_winograd || !run[0].device->channel_block, "%s: %s",
              table->cases[i].name, run[0].why);
    if (taken)
      cr_expect_eq(
          memcmp(run[0].view.out[0].data, run[1].view.out[0].data, fg_bytes(&run[0].view.out[0])),
          0, "%s", table->cases[i].name);
    for (int t = 0; t < 2; t++) {
      struct fg_device *device = run[t].device;
      fg_run_end(&run[t]);
      fg_cpu.close(device);
    }
  }
}

Test(winograd, is_the_same_for_every_number_of_threads) {
  same_for_every_number_of_threads(&fg_cases_winograd);
  same_for_every_number_of_threads(&fg_cases_tiles);
}

/* Where vectors are of 8 channels, and no others have both directions' weights of so many channels in one place. */
Test(winograd, a_gradient_borrows_its_convolutions_weights) {
  struct fg_device *device = fg_opened(2, FG_CONV_WINOGRAD_4);
  const struct fg_target target = {&fg_cpu, FG_F32, 2, device};
  const struct fg_run_options o = {.only_prepare = true};
  struct fg_run of[2];
  int found = 0;
  for (int i = 0; i < fg_cases_winograd.n; i++) {
    const struct fg_case *c = &fg_cases_winograd.cases[i];
    bool gradient = strcmp(c->name, "winograd of lent weights, input gradient") == 0;
    if (gradient || strcmp(c->name, "winograd of lent weights") == 0) {
      cr_assert_eq(fg_run_begin(&of[gradient], c, &target, &o), FG_RUN_OK, "%s", of[gradient].why);
      found++;
    }
  }
  cr_assert_eq(found, 2);
  struct fg_call call = of[1].call;
  call.in[1].data = of[0].call.in[1].data;
  call.state = NULL;
  call.state_bytes = 0;
  cr_assert_eq(fg_cpu.kernels[call.op]->prepare(&call, device), FGSM_OK);
  if (device->channel_block == 8)
    cr_expect_eq(call.state_bytes, 0, "%zu bytes of its own", call.state_bytes);
  fg_cpu.kernels[call.op]->release(&call);
  fg_run_end(&of[0]);
  fg_run_end(&of[1]);
  fg_cpu.close(device);
}

/* ---- a whole net */

/* The net's gradient at the samples, and what its plan came to. */
static double *gradient_by(const char *model, const double *x, const int64_t *labels, int64_t batch,
                           enum fg_convolutions how, struct fg_plan_info *info, int64_t *n) {
  struct net net;
  const struct net_options options = {.convolutions = how};
  cr_assert_eq(net_open(model, &fg_cpu, batch, &options, &net), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(net_run(&net, &x, labels), FGSM_OK, "%s", fgsm_last_error());
  double *g = net_read(&net, net.grad[0], n);
  *info = *fg_plan_info(net.plan);
  net_close(&net);
  return g;
}

Test(winograd, keeps_the_signs_of_resnet20) {
  enum { BATCH = 16, PIXELS = 3 * 32 * 32, RECORD = PIXELS + 1 };
  const char *dir = test_data("ResNet-20 by Winograd's way");
  if (!dir)
    return;
  char model[512], data[512];
  static unsigned char bytes[BATCH * RECORD];
  static double x[BATCH * PIXELS];
  int64_t labels[BATCH], n;
  struct fg_plan_info plain, info;
  struct fg_device *device = fg_opened(1, FG_CONV_DIRECT);
  int block = device->channel_block;
  fg_cpu.close(device);
  snprintf(model, sizeof model, "%s/models/cifar10_resnet20_input01.onnx", dir);
  snprintf(data, sizeof data, "%s/cifar10/test_batch_first1000.bin", dir);
  FILE *file = fopen(data, "rb");
  cr_assert(file && fread(bytes, 1, sizeof bytes, file) == sizeof bytes, "%s", data);
  fclose(file);
  for (int s = 0; s < BATCH; s++) {
    labels[s] = bytes[s * RECORD];
    for (int i = 0; i < PIXELS; i++)
      x[s * PIXELS + i] = bytes[s * RECORD + 1 + i] / 255.0;
  }
  double *want = gradient_by(model, x, labels, BATCH, FG_CONV_DIRECT, &plain, &n);
  cr_expect_eq(plain.n_fast, 0);
  for (int w = 0; w < 2; w++) {
    double *got = gradient_by(model, x, labels, BATCH, ways[w].how, &info, &n), same = 0, all = 0;
    for (int64_t i = 0; i < n; i++) {
      all += fabs(want[i]);
      same += (got[i] > 0) == (want[i] > 0) && (got[i] < 0) == (want[i] < 0) ? fabs(want[i]) : 0;
    }
    cr_expect(info.n_fast > 30 || !block, "%s: only %d calls", ways[w].name, info.n_fast);
    /* Under AVX2 they are none by plain sums either. */
    cr_expect(info.n_calls <= plain.n_calls - (block == 16 ? 14 : 0) || !block,
              "slopes of ReLU are calls of their own");
    cr_expect(same / all >= 0.9999, "%s: signs agree in %.6f by weight", ways[w].name, same / all);
    free(got);
  }
  free(want);
}
