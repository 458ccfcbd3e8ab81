/* The graph's passes: what they may change (the form) and what they may not (the numbers). A graph
 * with everything that the passes know is run before and after each pass and compared. */
#include <criterion/criterion.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

long test_allocations(void); /* alloc_count.c; negative where it cannot count */

enum { FOLD = 1, FUSE = 2, LAYOUT = 4 };

/* A repeatable number in -1..1. */
static double number(uint64_t i) {
  i = (i + 1) * 0x9E3779B97F4A7C15u;
  i ^= i >> 29;
  i *= 0xBF58476D1CE4E5B9u;
  return (double)(int64_t)i * 0x1p-63;
}

static fg_id constant(struct fg_graph *g, int rank, const int64_t *dim, double scale, double shift,
                      uint64_t seed) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++)
    n *= dim[i];
  double *data = malloc((size_t)n * sizeof *data);
  for (int64_t i = 0; i < n; i++)
    data[i] = shift + scale * number(seed * 100003 + (uint64_t)i);
  fg_id id;
  cr_assert_eq(fg_graph_constant(g, "", FG_F64, rank, dim, data, &id), FGSM_OK);
  free(data);
  return id;
}

static fg_id add(struct fg_graph *g, enum fg_op op, union fg_attrs a, int n, const fg_id *in) {
  fg_id out[FG_MAX_OUT];
  cr_assert_eq(fg_graph_add(g, op, fg_op_name(op), &a, n, in, out), FGSM_OK, "%s",
               fgsm_last_error());
  return out[0];
}

static fg_id conv_with(struct fg_graph *g, fg_id x, fg_id w, int stride, int pad) {
  union fg_attrs a = {.conv = {.spatial = 2,
                               .group = 1,
                               .stride = {stride, stride},
                               .dilation = {1, 1},
                               .pad_lo = {pad, pad},
                               .pad_hi = {pad, pad}}};
  return add(g, FG_OP_conv, a, 2, (fg_id[]){x, w});
}

static fg_id conv(struct fg_graph *g, fg_id x, int64_t k, int64_t c, int r, int stride, int pad,
                  uint64_t seed) {
  return conv_with(g, x, constant(g, 4, (int64_t[]){k, c, r, r}, 0.3, 0, seed), stride, pad);
}

static fg_id batch_norm(struct fg_graph *g, fg_id x, int64_t c, uint64_t seed) {
  fg_id in[5] = {x, constant(g, 1, &c, 0.3, 1, seed), constant(g, 1, &c, 0.2, 0, seed + 1),
                 constant(g, 1, &c, 0.2, 0.1, seed + 2), constant(g, 1, &c, 0.3, 1, seed + 3)};
  return add(g, FG_OP_batch_norm, (union fg_attrs){.batch_norm = {.epsilon = 1e-5}}, 5, in);
}

static fg_id unary(struct fg_graph *g, enum fg_unary_kind kind, fg_id x) {
  fg_id y;
  cr_assert_eq(fg_unary(g, kind, 0, 0, x, &y), FGSM_OK);
  return y;
}

/* (x - mean) / std, a padded convolution, BN, ReLU, a residual block, pooling, flatten, a product
 * with bias: the loss's place is taken by a seed. Outputs: logits and the gradient for x. */
static struct fg_graph *residual_net(enum fg_type real, fg_id *x) {
  struct fg_graph *g;
  cr_assert_eq(fg_graph_create(real, &g), FGSM_OK);
  cr_assert_eq(fg_graph_input(g, "x", real, 4, (int64_t[]){2, 3, 8, 8}, x), FGSM_OK);
  fg_id t, channels = constant(g, 4, (int64_t[]){1, 3, 1, 1}, 0.1, 0.5, 1);
  cr_assert_eq(fg_binary(g, FG_BINARY_sub, *x, channels, &t), FGSM_OK);
  fg_id std = constant(g, 4, (int64_t[]){1, 3, 1, 1}, 0.05, 0.25, 2);
  cr_assert_eq(fg_binary(g, FG_BINARY_div, t, std, &t), FGSM_OK);
  fg_id h = unary(g, FG_UNARY_relu, batch_norm(g, conv(g, t, 16, 3, 3, 1, 1, 3), 16, 4));
  fg_id r = unary(g, FG_UNARY_relu, batch_norm(g, conv(g, h, 16, 16, 3, 1, 1, 10), 16, 11));
  r = batch_norm(g, conv(g, r, 16, 16, 3, 1, 1, 20), 16, 21);
  cr_assert_eq(fg_binary(g, FG_BINARY_add, r, h, &h), FGSM_OK);
  h = unary(g, FG_UNARY_relu, h);
  union fg_attrs pool = {
      .pool = {.spatial = 2, .window = {2, 2}, .stride = {2, 2}, .dilation = {1, 1}}};
  h = add(g, FG_OP_max_pool, pool, 1, &h);
  h = conv(g, h, 32, 16, 3, 2, 1, 30);
  cr_assert_eq(fg_reshape(g, h, 2, (int64_t[]){2, 128}, &h), FGSM_OK);
  fg_id w = constant(g, 2, (int64_t[]){128, 10}, 0.2, 0, 40);
  cr_assert_eq(fg_matmul(g, h, w, false, false, 1, &h), FGSM_OK);
  int64_t ten = 10;
  fg_id logits, grad, seed = constant(g, 2, (int64_t[]){2, 10}, 1, 0, 50);
  cr_assert_eq(fg_binary(g, FG_BINARY_add, h, constant(g, 1, &ten, 1, 0, 41), &logits), FGSM_OK);
  cr_assert_eq(fg_graph_output(g, logits, NULL), FGSM_OK);
  cr_assert_eq(fg_grad(g, 1, &logits, &seed, 1, x, &grad), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fg_graph_output(g, grad, NULL), FGSM_OK);
  return g;
}

static int count(const struct fg_graph *g, enum fg_op op) {
  int n = 0;
  for (int64_t i = 0; i < g->n_nodes; i++)
    n += g->nodes[i].op == op;
  return n;
}

/* Runs the graph (taking it over) and returns the outputs one after another as doubles. */
static double *run(struct fg_graph *g, fg_id x, const struct fg_backend *backend, int64_t *n,
                   struct fg_plan_info *info) {
  struct fg_device *device;
  struct fg_plan *plan;
  cr_assert_eq(backend->open(0, 2, &device), FGSM_OK);
  cr_assert_eq(fg_plan_create(g, device, false, &plan), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fg_plan_place(plan, NULL), FGSM_OK);
  int64_t n_x = fg_value_count(g, x);
  void *data = aligned_alloc(64, (size_t)(n_x * 8 + 63) / 64 * 64);
  for (int64_t i = 0; i < n_x; i++)
    if (fg_value(g, x)->type == FG_F32)
      ((float *)data)[i] = (float)number((uint64_t)i);
    else
      ((double *)data)[i] = (float)number((uint64_t)i);
  cr_assert_eq(fg_plan_bind(plan, x, data), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fg_plan_run(plan, NULL), FGSM_OK, "%s", fgsm_last_error());
  double *out = malloc(sizeof *out * 100000);
  *n = 0;
  for (int i = 0; i < g->n_outputs; i++)
    for (int64_t k = 0; k < fg_value_count(g, g->outputs[i]); k++) {
      const void *y = fg_plan_data(plan, g->outputs[i]);
      out[(*n)++] = fg_value(g, g->outputs[i])->type == FG_F32 ? ((const float *)y)[k]
                                                               : ((const double *)y)[k];
    }
  if (info)
    *info = *fg_plan_info(plan);
  free(data);
  fg_plan_destroy(plan);
  backend->close(device);
  return out;
}

static struct fg_graph *after(int passes, enum fg_type real, const struct fg_backend *backend,
                              fg_id *x) {
  struct fg_graph *g = residual_net(real, x);
  struct fg_device *device;
  cr_assert_eq(backend->open(0, 2, &device), FGSM_OK);
  if (passes & FOLD)
    cr_assert_eq(fg_fold(g), FGSM_OK, "%s", fgsm_last_error());
  if (passes & FUSE)
    cr_assert_eq(fg_fuse(g, device), FGSM_OK, "%s", fgsm_last_error());
  if (passes & LAYOUT)
    cr_assert_eq(fg_layout(g, device), FGSM_OK, "%s", fgsm_last_error());
  backend->close(device);
  return g;
}

static void expect_same(int passes, enum fg_type real, const struct fg_backend *backend,
                        double tolerance) {
  fg_id x, y;
  int64_t n, m;
  struct fg_graph *plain = after(0, FG_F64, &fg_ref, &x),
                  *changed = after(passes, real, backend, &y);
  double *want = run(plain, x, &fg_ref, &n, NULL), *got = run(changed, y, backend, &m, NULL);
  cr_assert_eq(n, m);
  double worst = 0, top = 0;
  for (int64_t i = 0; i < n; i++) {
    worst = fmax(worst, fabs(got[i] - want[i]));
    top = fmax(top, fabs(want[i]));
  }
  cr_expect(worst <= tolerance * top, "passes %d on %s: error %g", passes, backend->name,
            worst / top);
  free(got);
  free(want);
}

Test(graph, passes_change_the_form_and_not_the_numbers) {
  expect_same(FOLD, FG_F64, &fg_ref, 1e-12);
  expect_same(FOLD | FUSE, FG_F64, &fg_ref, 1e-12);
  expect_same(0, FG_F32, &fg_cpu, 1e-5);
  expect_same(FOLD, FG_F32, &fg_cpu, 1e-5);
  expect_same(FOLD | FUSE, FG_F32, &fg_cpu, 1e-5);
  expect_same(FOLD | FUSE | LAYOUT, FG_F32, &fg_cpu, 1e-5);
}

Test(graph, folding_leaves_one_shift_before_a_padded_convolution) {
  fg_id x;
  struct fg_graph *g = after(0, FG_F64, &fg_ref, &x);
  cr_expect_eq(count(g, FG_OP_batch_norm), 3);
  fg_graph_destroy(g);
  /* The gradient is taken in residual_net before folding here, so fold sees both directions: no
   * normalisation may remain in the forward part except x + t in front of the first convolution. */
  g = after(FOLD, FG_F64, &fg_ref, &x);
  cr_expect_eq(count(g, FG_OP_batch_norm), 0);
  int shifts = 0;
  for (int64_t i = 0; i < g->n_nodes; i++)
    if (g->nodes[i].op == FG_OP_affine && g->nodes[i].in[0] == x) {
      shifts++;
      cr_expect_eq(g->nodes[i].in[1], FG_ABSENT, "the scale belongs into the weights");
      cr_expect_neq(g->nodes[i].in[2], FG_ABSENT);
    }
  cr_expect_eq(shifts, 1);
  fg_graph_destroy(g);
}

Test(graph, fusing_swallows_residuals_and_activations) {
  fg_id x;
  struct fg_graph *g = after(FOLD | FUSE, FG_F64, &fg_ref, &x);
  cr_expect_eq(count(g, FG_OP_unary), 0, "%d activations stand alone", count(g, FG_OP_unary));
  bool residual = false;
  for (int64_t i = 0; i < g->n_nodes; i++)
    residual |= g->nodes[i].op == FG_OP_conv && g->nodes[i].n_in == 4;
  cr_expect(residual, "the residual is added inside the convolution");
  fg_graph_destroy(g);
}

Test(graph, blocks_are_reordered_once_at_each_border) {
  fg_id x;
  struct fg_device *device;
  cr_assert_eq(fg_cpu.open(0, 2, &device), FGSM_OK);
  struct fg_graph *g = after(FOLD | FUSE | LAYOUT, FG_F32, &fg_cpu, &x);
  if (device->channel_block)
    cr_expect(count(g, FG_OP_reorder) <= 4, "%d reorders", count(g, FG_OP_reorder));
  else
    cr_expect_eq(count(g, FG_OP_reorder), 0);
  fg_cpu.close(device);
  fg_graph_destroy(g);
}

Test(graph, a_weight_gradient_is_not_computed_for_an_attack) {
  fg_id x;
  struct fg_graph *g = after(0, FG_F64, &fg_ref, &x);
  cr_expect_eq(count(g, FG_OP_conv_grad_weight), 0);
  cr_expect_eq(count(g, FG_OP_conv_grad_input), 3); /* the last one is of constants: computed */
  fg_graph_destroy(g);
}

Test(graph, constants_are_computed_while_building) {
  struct fg_graph *g;
  cr_assert_eq(fg_graph_create(FG_F32, &g), FGSM_OK);
  int64_t two[2] = {3, INT64_MAX}, n = 2, one = 1;
  fg_id a, b, sum;
  cr_assert_eq(fg_graph_constant(g, "", FG_I64, 1, &n, two, &a), FGSM_OK);
  cr_assert_eq(fg_graph_constant(g, "", FG_I64, 1, &one, (int64_t[]){-5}, &b), FGSM_OK);
  cr_assert_eq(fg_binary(g, FG_BINARY_add, a, b, &sum), FGSM_OK, "%s", fgsm_last_error());
  cr_expect_eq(g->n_nodes, 0);
  cr_expect_eq(fg_constant_int(g, sum, 0), -2);
  cr_expect_eq(fg_constant_int(g, sum, 1), INT64_MAX - 5, "integers are never rounded");
  fg_graph_destroy(g);
}

Test(graph, a_copy_is_independent) {
  fg_id x;
  struct fg_graph *g = residual_net(FG_F64, &x), *copy;
  cr_assert_eq(fg_graph_copy(g, &copy), FGSM_OK);
  int64_t n, m;
  double *a = run(g, x, &fg_ref, &n, NULL); /* frees g */
  double *b = run(copy, x, &fg_ref, &m, NULL);
  cr_assert_eq(n, m);
  cr_expect_arr_eq(a, b, (size_t)n * sizeof *a);
  free(b);
  free(a);
}

/* Whose weights lie in one place, and whose unfolded ones are gone. */
Test(graph, copies_that_share_their_weights_compute_the_same) {
  fg_id x, y;
  struct fg_graph *g = after(FOLD, FG_F64, &fg_ref, &x), *shared, *whole;
  int64_t elements = 1 << 14, n, m;
  double *unread = calloc((size_t)elements, sizeof *unread);
  cr_assert(unread);
  cr_assert_eq(fg_graph_constant(g, "unread", FG_F64, 1, &elements, unread, &y), FGSM_OK);
  free(unread);
  cr_assert_eq(fg_graph_copy(g, &whole), FGSM_OK);
  size_t before = g->arena.total_bytes;
  cr_assert_eq(fg_graph_strip(&g, NULL), FGSM_OK, "%s", fgsm_last_error());
  cr_expect(g->arena.total_bytes + (size_t)elements * 8 <= before, "%zu of %zu",
            g->arena.total_bytes, before);
  cr_expect_null(fg_value(g, y)->data);
  cr_assert_eq(fg_graph_share(g, &shared), FGSM_OK);
  for (fg_id i = 0; i < g->n_values; i++)
    cr_expect_eq(fg_value(g, i)->data, fg_value(shared, i)->data);
  double *a = run(whole, x, &fg_ref, &n, NULL), *b = run(shared, x, &fg_ref, &m, NULL);
  cr_assert_eq(n, m);
  cr_expect_arr_eq(a, b, (size_t)n * sizeof *a);
  free(b);
  free(a);
  fg_graph_destroy(g);
}

/* But for one that differs, which the borrower keeps. */
Test(graph, equal_weights_are_borrowed) {
  fg_id x, equal, other;
  int64_t elements = 1 << 14;
  double *weights = calloc((size_t)elements, sizeof *weights);
  struct fg_graph *pair[2];
  cr_assert(weights);
  for (int k = 0; k < 2; k++) {
    pair[k] = residual_net(FG_F64, &x);
    cr_assert_eq(fg_graph_constant(pair[k], "", FG_F64, 1, &elements, weights, &equal), FGSM_OK);
    weights[elements - 1] = k;
    cr_assert_eq(fg_graph_constant(pair[k], "", FG_F64, 1, &elements, weights, &other), FGSM_OK);
    weights[elements - 1] = 0;
    pair[k]->outputs[pair[k]->n_outputs++] = equal;
    pair[k]->outputs[pair[k]->n_outputs++] = other;
  }
  free(weights);
  cr_assert_eq(fg_graph_strip(&pair[1], pair[0]), FGSM_OK, "%s", fgsm_last_error());
  cr_expect_eq(fg_value(pair[1], equal)->data, fg_value(pair[0], equal)->data);
  cr_expect_neq(fg_value(pair[1], other)->data, fg_value(pair[0], other)->data);
  cr_expect_eq(fg_constant_real(pair[1], other, elements - 1), 1);
  for (int k = 0; k < 2; k++)
    fg_graph_destroy(pair[k]);
}

/* Only where the graph borrows, and kernels can read it where it lies. */
Test(graph, a_models_weights_are_read_where_they_lie) {
  enum { ELEMENTS = 1 << 15 };
  const int64_t most = ELEMENTS, fewer = ELEMENTS - 1;
  float *weights = aligned_alloc(64, ELEMENTS * sizeof *weights);
  cr_assert(weights);
  for (int i = 0; i < ELEMENTS; i++)
    weights[i] = (float)i;
  for (int borrows = 0; borrows < 2; borrows++) {
    struct fg_graph *g, *copy;
    fg_id there, shifted, view[FG_MAX_OUT], unread;
    cr_assert_eq(fg_graph_create(FG_F32, &g), FGSM_OK);
    g->borrows = borrows;
    cr_assert_eq(fg_graph_weight(g, "", FG_F32, 1, &most, weights, &there), FGSM_OK);
    cr_assert_eq(fg_graph_weight(g, "", FG_F32, 1, &fewer, weights + 1, &shifted), FGSM_OK);
    cr_assert_eq(fg_graph_weight(g, "", FG_F32, 1, &most, weights, &unread), FGSM_OK);
    cr_assert_eq(fg_reshape(g, there, 2, (int64_t[]){2, ELEMENTS / 2}, view), FGSM_OK);
    g->outputs[g->n_outputs++] = view[0];
    g->outputs[g->n_outputs++] = shifted;
    cr_assert_eq(fg_graph_strip(&g, NULL), FGSM_OK, "%s", fgsm_last_error());
    cr_assert_eq(fg_graph_copy(g, &copy), FGSM_OK);
    const struct fg_graph *both[] = {g, copy};
    for (int k = 0; k < 2; k++) {
      cr_expect_eq(fg_value(both[k], view[0])->data == (void *)weights, borrows != 0);
      cr_expect_neq(fg_value(both[k], shifted)->data, (void *)(weights + 1));
      cr_expect_eq(fg_constant_real(both[k], view[0], 7), 7);
      cr_expect_eq(fg_constant_real(both[k], shifted, 7), 8);
      cr_expect_null(fg_value(both[k], unread)->data);
    }
    fg_graph_destroy(copy);
    fg_graph_destroy(g);
  }
  free(weights);
}

Test(graph, absurd_shapes_are_refused) {
  struct fg_graph *g;
  fg_id x;
  cr_assert_eq(fg_graph_create(FG_F32, &g), FGSM_OK);
  cr_expect_eq(fg_graph_input(g, "x", FG_F32, 3, (int64_t[]){1 << 30, 1 << 30, 1 << 30}, &x),
               FGSM_UNSUPPORTED);
  cr_expect_eq(fg_graph_input(g, "x", FG_F32, 1, (int64_t[]){-1}, &x), FGSM_UNSUPPORTED);
  fg_graph_destroy(g);
}

/* ---- plan */

Test(plan, the_arena_shares_bytes_between_lives) {
  fg_id x;
  int64_t n;
  struct fg_plan_info info;
  struct fg_graph *g = after(FOLD | FUSE | LAYOUT, FG_F32, &fg_cpu, &x);
  free(run(g, x, &fg_cpu, &n, &info));
  cr_expect(info.arena_bytes < info.unshared_bytes, "arena %zu, unshared %zu", info.arena_bytes,
            info.unshared_bytes);
  cr_expect(info.flops > 0 && info.n_calls > 0);
}

Test(plan, a_run_allocates_nothing) {
  fg_id x;
  struct fg_graph *g = after(FOLD | FUSE | LAYOUT, FG_F32, &fg_cpu, &x);
  struct fg_device *device;
  struct fg_plan *plan;
  cr_assert_eq(fg_cpu.open(0, 1, &device), FGSM_OK);
  cr_assert_eq(fg_plan_create(g, device, false, &plan), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fg_plan_place(plan, NULL), FGSM_OK);
  void *data = aligned_alloc(64, 4096);
  memset(data, 0, 4096);
  cr_assert_eq(fg_plan_bind(plan, x, data), FGSM_OK);
  cr_assert_eq(fg_plan_run(plan, NULL), FGSM_OK); /* OpenMP makes its threads */
  long before = test_allocations();
  if (before < 0)
    cr_skip_test("sanitizers count allocations themselves");
  cr_assert_eq(fg_plan_run(plan, NULL), FGSM_OK);
  cr_expect_eq(test_allocations() - before, 0, "%ld allocations", test_allocations() - before);
  void *volatile probe = malloc(10); /* volatile: else the pair is optimised away */
  cr_expect_eq(test_allocations() - before, 1, "the counter counts");
  free(probe);
  free(data);
  fg_plan_destroy(plan);
  fg_cpu.close(device);
}

Test(plan, a_missing_kernel_is_named) {
  struct fg_backend gap = fg_ref;
  static const struct fg_kernel none;
  struct fg_device device = {.backend = &gap};
  struct fg_graph *g;
  struct fg_plan *plan;
  fg_id x, y;
  gap.kernels[FG_OP_unary] = &none;
  cr_assert_eq(fg_graph_create(FG_F64, &g), FGSM_OK);
  cr_assert_eq(fg_graph_input(g, "x", FG_F64, 1, (int64_t[]){4}, &x), FGSM_OK);
  cr_assert_eq(fg_unary(g, FG_UNARY_tanh, 0, 0, x, &y), FGSM_OK);
  cr_assert_eq(fg_graph_output(g, y, NULL), FGSM_OK);
  cr_expect_eq(fg_plan_create(g, &device, false, &plan), FGSM_UNSUPPORTED);
  cr_expect(strstr(fgsm_last_error(), "unary"), "%s", fgsm_last_error());
}

Test(plan, an_output_that_is_a_view_has_bytes_of_its_own) {
  struct fg_graph *g;
  fg_id x, y;
  int64_t n;
  cr_assert_eq(fg_graph_create(FG_F64, &g), FGSM_OK);
  cr_assert_eq(fg_graph_input(g, "x", FG_F64, 2, (int64_t[]){2, 3}, &x), FGSM_OK);
  cr_assert_eq(fg_reshape(g, x, 1, (int64_t[]){6}, &y), FGSM_OK);
  cr_assert_eq(fg_graph_output(g, y, NULL), FGSM_OK);
  double *out = run(g, x, &fg_ref, &n, NULL);
  cr_assert_eq(n, 6);
  for (int i = 0; i < 6; i++)
    cr_expect_eq(out[i], (double)(float)number((uint64_t)i));
  free(out);
}

/* n convolutions in a row, of one weight. */
static double *run_of_one_weight(int convolutions, const struct fg_backend *backend, int64_t *n,
                                 struct fg_plan_info *info) {
  struct fg_graph *g;
  struct fg_device *device;
  fg_id x;
  cr_assert_eq(fg_graph_create(backend->real, &g), FGSM_OK);
  cr_assert_eq(fg_graph_input(g, "x", g->real, 4, (int64_t[]){2, 32, 9, 9}, &x), FGSM_OK);
  fg_id y = x, w = constant(g, 4, (int64_t[]){32, 32, 3, 3}, 0.1, 0, 7);
  for (int i = 0; i < convolutions; i++)
    y = conv_with(g, y, w, 1, 1);
  cr_assert_eq(fg_graph_output(g, y, NULL), FGSM_OK);
  cr_assert_eq(backend->open(0, 2, &device), FGSM_OK);
  cr_assert_eq(fg_layout(g, device), FGSM_OK, "%s", fgsm_last_error());
  backend->close(device);
  return run(g, x, backend, n, info);
}

Test(plan, convolutions_of_one_weight_keep_it_once) {
  struct fg_plan_info one, four;
  int64_t n, m;
  free(run_of_one_weight(1, &fg_cpu, &n, &one));
  double *got = run_of_one_weight(4, &fg_cpu, &n, &four);
  double *want = run_of_one_weight(4, &fg_ref, &m, NULL);
  cr_assert_eq(n, m);
  for (int64_t i = 0; i < n; i++)
    cr_expect(fabs(got[i] - want[i]) < 1e-5, "%g, not %g", got[i], want[i]);
  cr_expect_eq(four.state_bytes, one.state_bytes, "%zu bytes kept by four, %zu by one",
               four.state_bytes, one.state_bytes);
  free(want);
  free(got);
}
