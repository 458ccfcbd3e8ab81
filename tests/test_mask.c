/* The mask pass: which ReLUs leave masks, of which form, who reads them; and that no number changes. The
 * oracle computes, as a backend that takes what each test lets it. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"
#include "mask.h"

static struct fg_backend masking;
static struct fg_kernel declining;
static enum fg_type refused; /* by the kernel of input gradients, as what a slope is of */
static bool gains;
static int asked, asked_readers;

static bool takes_mask(struct fg_device *device, const struct fg_call *masked,
                       const struct fg_call *plain, int n) {
  (void)device;
  asked++;
  asked_readers = n - 1;
  cr_expect(fg_is_mask(&masked[0].out[1]) && plain[0].out[1].type == FG_NONE);
  for (int i = 1; i < n; i++) {
    int slot = masked[i].op == FG_OP_matmul ? 4 : masked[i].op == FG_OP_unary_grad ? 1 : 2;
    cr_expect(fg_is_mask(&masked[i].in[slot]) && fg_type_is_real(plain[i].in[slot].type));
  }
  return gains;
}

static fgsm_status prepare_declining(struct fg_call *call, struct fg_device *device) {
  if (call->n_in > 2 && call->in[2].type == refused)
    return FG_FAIL(UNSUPPORTED, "a slope of %s", fg_type_name(refused));
  return fg_ref.kernels[FG_OP_conv_grad_input]->prepare(call, device);
}

static fgsm_status open_masking(int index, int threads, struct fg_device **out) {
  FG_TRY(fg_ref.open(index, threads, out));
  (*out)->backend = &masking;
  return FGSM_OK;
}

static void backend_that(bool does_gain, enum fg_type refuses) {
  masking = fg_ref;
  masking.open = open_masking;
  masking.takes_mask = takes_mask;
  declining = *fg_ref.kernels[FG_OP_conv_grad_input];
  declining.prepare = prepare_declining;
  masking.kernels[FG_OP_conv_grad_input] = &declining;
  gains = does_gain;
  refused = refuses;
  asked = asked_readers = 0;
}

/* ---- graphs */

static fg_id constant(struct fg_graph *g, int rank, const int64_t *dim, uint64_t seed) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++)
    n *= dim[i];
  float *data = malloc((size_t)n * sizeof *data);
  fg_id id;
  for (int64_t i = 0; i < n; i++) /* small whole numbers, so that some sums are exactly 0 */
    data[i] = (float)((int)((uint64_t)(i + 1) * (2654435761u + seed) >> 7 & 3) - 1);
  cr_assert_eq(fg_graph_constant(g, "", FG_F32, rank, dim, data, &id), FGSM_OK);
  free(data);
  return id;
}

static fg_id conv_relu(struct fg_graph *g, fg_id x, int64_t k, int r, uint64_t seed) {
  union fg_attrs a = {.conv = {.spatial = 2,
                               .group = 1,
                               .stride = {1, 1},
                               .dilation = {1, 1},
                               .pad_lo = {r / 2, r / 2},
                               .pad_hi = {r / 2, r / 2}}};
  fg_id out[FG_MAX_OUT], y;
  fg_id w = constant(g, 4, (int64_t[]){k, fg_value(g, x)->dim[1], r, r}, seed);
  cr_assert_eq(fg_graph_add(g, FG_OP_conv, "conv", &a, 2, (fg_id[]){x, w}, out), FGSM_OK);
  cr_assert_eq(fg_unary(g, FG_UNARY_relu, 0, 0, out[0], &y), FGSM_OK);
  return y;
}

struct made {
  struct fg_graph *g;
  struct fg_device *device;
  fg_id x, relu[3], hidden;
};

/* Convolutions of 8, 128 and 8 channels, each with a ReLU; two products with a ReLU between them; the
 * gradient for x of half the sum of squares. The residual around the middle gives the first ReLU's gradient two parts. */
static struct made build(const struct fg_backend *backend) {
  struct made m;
  struct fg_graph *g;
  fg_id y, dx, sum;
  cr_assert_eq(backend->open(0, 1, &m.device), FGSM_OK);
  cr_assert_eq(fg_graph_create(FG_F32, &g), FGSM_OK);
  cr_assert_eq(fg_graph_input(g, "x", FG_F32, 4, (int64_t[]){2, 3, 4, 5}, &m.x), FGSM_OK);
  m.relu[0] = conv_relu(g, m.x, 8, 3, 1);
  m.relu[1] = conv_relu(g, m.relu[0], 128, 1, 2);
  m.relu[2] = conv_relu(g, m.relu[1], 8, 1, 3);
  bool ok =
      fg_binary(g, FG_BINARY_add, m.relu[2], m.relu[0], &sum) == FGSM_OK &&
      fg_reshape(g, sum, 2, (int64_t[]){2, 160}, &y) == FGSM_OK &&
      fg_matmul(g, y, constant(g, 2, (int64_t[]){160, 128}, 4), false, false, 1, &y) == FGSM_OK &&
      fg_unary(g, FG_UNARY_relu, 0, 0, y, &m.hidden) == FGSM_OK &&
      fg_matmul(g, m.hidden, constant(g, 2, (int64_t[]){128, 3}, 5), false, false, 1, &y) ==
          FGSM_OK;
  ok = ok && fg_grad(g, 1, &y, &y, 1, &m.x, &dx) == FGSM_OK &&
       fg_graph_output(g, y, NULL) == FGSM_OK && fg_graph_output(g, dx, NULL) == FGSM_OK &&
       fg_fuse(g, m.device) == FGSM_OK;
  cr_assert(ok, "%s", fgsm_last_error());
  m.g = g;
  return m;
}

static void discard(struct made *m) {
  m->device->backend->close(m->device);
  fg_graph_destroy(m->g);
}

static const struct fg_node *maker(const struct made *m, fg_id value) {
  return &m->g->nodes[fg_value(m->g, value)->producer];
}

/* The mask's type; FG_NONE where there is none. */
static enum fg_type form_of(const struct made *m, fg_id value) {
  const struct fg_node *node = maker(m, value);
  return node->out[1] == FG_ABSENT ? FG_NONE : fg_value(m->g, node->out[1])->type;
}

static void run(struct made *m, float *out, struct fg_plan_info *info) {
  struct fg_plan *plan;
  float x[2 * 3 * 4 * 5];
  for (int i = 0; i < 120; i++)
    x[i] = (float)(i * 7 % 5 - 2);
  fg_id logits = m->g->outputs[0], dx = m->g->outputs[1];
  cr_assert_eq(fg_plan_create(m->g, m->device, false, &plan), FGSM_OK, "%s", fgsm_last_error());
  bool ok = fg_plan_bind(plan, m->x, memcpy(aligned_alloc(64, 512), x, sizeof x)) == FGSM_OK &&
            fg_plan_place(plan, NULL) == FGSM_OK && fg_plan_run(plan, NULL) == FGSM_OK;
  cr_assert(ok, "%s", fgsm_last_error());
  memcpy(out, fg_plan_data(plan, logits), 6 * sizeof *out);
  memcpy(out + 6, fg_plan_data(plan, dx), 120 * sizeof *out);
  *info = *fg_plan_info(plan);
  free(fg_plan_data(plan, m->x));
  fg_plan_destroy(plan);
  m->device->backend->close(m->device);
}

Test(mask, changes_no_number) {
  float want[126], got[126];
  struct fg_plan_info plain, masked;
  backend_that(true, FG_NONE);
  struct made a = build(&masking), b = build(&masking);
  cr_assert_eq(fg_mask(b.g, b.device), FGSM_OK, "%s", fgsm_last_error());
  cr_expect_eq(form_of(&b, b.relu[0]), FG_BOOL);
  cr_expect_eq(form_of(&b, b.relu[1]), FG_U8);
  cr_expect_eq(form_of(&b, b.relu[2]), FG_BOOL);
  cr_expect_eq(form_of(&b, b.hidden), FG_U8);
  run(&a, want, &plain);
  run(&b, got, &masked);
  int zeros = 0;
  for (int i = 0; i < 126; i++)
    zeros += want[i] == 0;
  cr_expect(zeros < 63, "%d of 126 numbers are 0: nothing is shown", zeros);
  cr_expect_arr_eq(got, want, sizeof got);
  cr_expect(masked.arena_bytes < plain.arena_bytes, "%zu bytes with masks, %zu without",
            masked.arena_bytes, plain.arena_bytes);
}

Test(mask, is_left_alone_where_nothing_is_gained) {
  backend_that(false, FG_NONE);
  struct made m = build(&masking);
  int64_t n = m.g->n_nodes;
  cr_assert_eq(fg_mask(m.g, m.device), FGSM_OK);
  cr_expect_eq(asked, 6, "asked %d times", asked); /* in both forms, of 128 channels */
  cr_expect_eq(m.g->n_nodes, n);
  for (int i = 0; i < 3; i++)
    cr_expect_eq(form_of(&m, m.relu[i]), FG_NONE);
  discard(&m);
  masking.takes_mask = NULL;
  m = build(&masking);
  asked = 0;
  cr_assert_eq(fg_mask(m.g, m.device), FGSM_OK);
  cr_expect_eq(asked, 0);
  discard(&m);
}

/* A form stands only if the kernels at both ends take it. */
Test(mask, is_what_all_kernels_take) {
  backend_that(true, FG_U8);
  struct made m = build(&masking);
  cr_assert_eq(fg_mask(m.g, m.device), FGSM_OK);
  cr_expect_eq(form_of(&m, m.relu[1]), FG_BOOL, "bits are declined, bytes are not");
  cr_expect_eq(form_of(&m, m.hidden), FG_U8, "a product's are not asked of convolutions");
  discard(&m);
  backend_that(true, FG_BOOL);
  m = build(&masking);
  cr_assert_eq(fg_mask(m.g, m.device), FGSM_OK);
  cr_expect_eq(form_of(&m, m.relu[0]), FG_NONE);
  cr_expect_eq(form_of(&m, m.relu[1]), FG_U8);
  discard(&m);
}

/* Bytes lie as what they are of; bits have an order of their own. */
Test(mask, lies_as_the_values_do) {
  backend_that(true, FG_NONE);
  static struct fg_kernel kernels[FG_OP_COUNT];
  for (int op = 0; op < FG_OP_COUNT; op++) { /* the oracle's kernels know no layout */
    kernels[op] = (struct fg_kernel){.run = fg_ref.kernels[op]->run};
    masking.kernels[op] = &kernels[op];
  }
  struct made m = build(&masking);
  for (fg_id i = 0; i < m.g->n_values; i++)
    if (fg_value(m.g, i)->rank == 4)
      fg_value(m.g, i)->layout = FG_NHWC;
  cr_assert_eq(fg_mask(m.g, m.device), FGSM_OK);
  cr_assert_eq(form_of(&m, m.relu[0]), FG_BOOL);
  cr_assert_eq(form_of(&m, m.relu[1]), FG_U8);
  cr_expect_eq(fg_value(m.g, maker(&m, m.relu[0])->out[1])->layout, FG_NHWC);
  cr_expect_eq(fg_value(m.g, maker(&m, m.relu[1])->out[1])->layout, FG_PLAIN);
  discard(&m);
}

/* Two bytes a value: written and read, a byte mask moves as many. It then stands for the memory alone, which
 * is not had where the values are read behind the slope. */
Test(mask, of_half_precision_is_for_memory) {
  for (int kept = 0; kept < 2; kept++) {
    backend_that(true, FG_NONE);
    struct made m = build(&masking);
    fg_value(m.g, m.relu[2])->type = FG_BF16;
    if (kept)
      cr_assert_eq(fg_graph_output(m.g, m.relu[2], NULL), FGSM_OK);
    cr_assert_eq(fg_mask(m.g, m.device), FGSM_OK);
    cr_expect_eq(form_of(&m, m.relu[2]), kept ? FG_NONE : FG_BOOL, "kept %d", kept);
    cr_expect_eq(form_of(&m, m.relu[0]), FG_BOOL, "of four bytes");
    discard(&m);
  }
}
