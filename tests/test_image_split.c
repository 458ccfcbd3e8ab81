/* The gradient of a first convolution from a dy in channel blocks, on a processor's tiles where it has them: every case
 * of it against the oracle, twice and between guards; the same bits for every number of threads; and what says that it
 * goes by tiles, or must be left to plain sums. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "harness.h"
#include "tiles.h"

/* Cases of grad_step that go by tiles, where dy lies in blocks. */
enum { ON_TILES = 7 };
enum { DY = 0, INDEX = 7, GRADIENT = 1 };

static bool may_lie_in_blocks(const struct fg_case *c) {
  return c->op == FG_OP_conv_grad_input_step && c->in[DY].type == FG_F32 &&
         c->in[DY].dim[1] % 16 == 0;
}

/* The i-th case, with dy in blocks or plain; false where the backend declines it. */
static bool ran(struct fg_run *run, int i, int threads, enum fg_convolutions how, bool blocks,
                unsigned char fill) {
  const struct fg_target target = {&fg_cpu, FG_F32, threads, fg_opened(threads, how)};
  const struct fg_run_options o = {
      .lying_in = blocks && target.device->channel_block ? 1 << DY | 1 << INDEX : 0, .fill = fill};
  enum fg_run_result result = fg_run_begin(run, &fg_cases_grad_step.cases[i], &target, &o);
  cr_assert(result == FG_RUN_OK || result == FG_RUN_DECLINED, "%s", run->why);
  return result == FG_RUN_OK;
}

static bool same_bits(const struct fg_run *a, const struct fg_run *b) {
  for (int o = 0; o < a->view.n_out; o++) {
    size_t bytes = fg_bytes(&a->view.out[o]);
    if (bytes && memcmp(a->view.out[o].data, b->view.out[o].data, bytes) != 0)
      return false;
  }
  return true;
}

static bool is_whole(const struct fg_run *run) {
  bool whole = !run->scratch.memory || fg_buffer_is_whole(&run->scratch);
  for (int i = 0; i < run->call.n_in; i++)
    whole = whole && (!run->in[i].memory || fg_buffer_is_whole(&run->in[i]));
  for (int i = 0; i < run->call.n_out; i++)
    whole = whole && (!run->out[i].memory || fg_buffer_is_whole(&run->out[i]));
  return whole;
}

Test(image_split, agrees_in_blocks) {
  struct fg_device *device = fg_opened(2, FG_CONV_FASTEST);
  const struct fg_target target = {&fg_cpu, FG_F32, 2, device};
  int passed = 0;
  for (int i = 0; i < fg_cases_grad_step.n; i++) {
    const struct fg_case *c = &fg_cases_grad_step.cases[i];
    char why[768] = "";
    if (!may_lie_in_blocks(c))
      continue;
    enum fg_verdict verdict = fg_mode_lying(c, &target, why, sizeof why);
    cr_expect(verdict != FG_BROKEN, "%s: %s", c->name, why);
    passed += verdict == FG_PASS;
  }
  cr_expect(!fg_has_tiles() || passed >= ON_TILES);
  fg_cpu.close(device);
}

/* Whatever its buffers held before and how many threads there are, and within its buffers. */
Test(image_split, is_the_same_for_every_number_of_threads) {
  static const int threads[] = {1, 2, 3, 8};
  for (int i = 0; i < fg_cases_grad_step.n; i++) {
    struct fg_run one, run;
    if (!may_lie_in_blocks(&fg_cases_grad_step.cases[i]))
      continue;
    bool is = ran(&one, i, 1, FG_CONV_FASTEST, true, 0xFF);
    for (int t = 0; is && t < 4; t++) {
      cr_assert(ran(&run, i, threads[t], FG_CONV_FASTEST, true, 0x3C));
      cr_expect(same_bits(&one, &run), "%s by %d threads", fg_cases_grad_step.cases[i].name,
                threads[t]);
      cr_expect(is_whole(&run), "%s by %d threads", fg_cases_grad_step.cases[i].name, threads[t]);
      fg_closed(&run);
    }
    fg_closed(&one);
  }
}

/* Those that fill tiles do, where there are any; none does where plain sums are asked for, or dy lies plainly. */
Test(image_split, says_so_and_is_not_taken_unless_it_may_be) {
  int said = 0;
  for (int i = 0; i < fg_cases_grad_step.n; i++) {
    struct fg_run fast, exact, plain;
    const char *name = fg_cases_grad_step.cases[i].name;
    if (!may_lie_in_blocks(&fg_cases_grad_step.cases[i]))
      continue;
    if (ran(&fast, i, 2, FG_CONV_FASTEST, true, 0))
      said += fast.call.fast && strcmp(fast.call.fast, "three bfloat16s") == 0 &&
              fast.call.state_bytes > 0;
    cr_expect(!ran(&exact, i, 2, FG_CONV_DIRECT, true, 0) || !exact.call.fast, "%s", name);
    cr_expect(!ran(&plain, i, 2, FG_CONV_FASTEST, false, 0) || !plain.call.fast, "%s", name);
    fg_closed(&fast);
    fg_closed(&exact);
    fg_closed(&plain);
  }
  cr_expect_eq(said, fg_has_tiles() ? ON_TILES : 0, "%d cases", said);
}

/* ---- as close as float32's own sums */

static int find(const char *name) {
  int i = 0;
  while (i < fg_cases_grad_step.n && strcmp(fg_cases_grad_step.cases[i].name, name) != 0)
    i++;
  cr_assert(i < fg_cases_grad_step.n);
  return i;
}

/* Number i of the gradient, of 3 x 3 windows of stride 1 without padding; *size: the sum of |dy| |w|. */
static double exact_sum(const struct fg_run *run, int block, int64_t i, double *size) {
  const struct fg_tensor *dy = &run->view.in[DY], *w = &run->view.in[1];
  const int64_t *d = run->view.out[GRADIENT].dim;
  int64_t x = i % d[3], y = i / d[3] % d[2], c = i / d[3] / d[2] % d[1], n = i / d[3] / d[2] / d[1];
  double sum = 0;
  *size = 0;
  for (int64_t k = 0; k < dy->dim[1]; k++)
    for (int64_t tap = 0; tap < 9; tap++) {
      int64_t p = y - tap / 3, q = x - tap % 3;
      if (p < 0 || p >= dy->dim[2] || q < 0 || q >= dy->dim[3])
        continue;
      double product =
          fg_tensor_real(dy, block, ((n * dy->dim[1] + k) * dy->dim[2] + p) * dy->dim[3] + q) *
          fg_tensor_real(w, 0, (k * d[1] + c) * 9 + tap);
      sum += product;
      *size += fabs(product);
    }
  return sum;
}

Test(image_split, is_as_close_as_float32) {
  struct fg_run run;
  cr_assert(
      ran(&run, find("conv step 3x3 of 4 channels from 48, wide"), 1, FG_CONV_FASTEST, true, 0));
  const struct fg_tensor *dx = &run.view.out[GRADIENT];
  for (int64_t i = 0; i < fg_count(dx); i++) {
    double size, sum = exact_sum(&run, run.device->channel_block, i, &size),
                 got = fg_tensor_real(dx, 0, i);
    cr_assert(fabs(got - sum) <= size * 0x1p-22, "%g, not %g", got, sum);
  }
  fg_closed(&run);
}
