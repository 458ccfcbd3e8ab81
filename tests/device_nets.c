/* Whole nets of tests/golden on one backend: logits, losses and input gradients against PyTorch in
 * float64, fused and not, in the device's layout and plain, in float32 and in the half precisions that the backend has. The plan's
 * fusions, views, in-place results, casts and arena meet the kernels here.
 *
 *   device-nets [--device NAME] [NET...]
 *   simt-nets ...      the CUDA kernels on the CPU; what a library computes on a card is products.cpp's */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "net.h"
#include "tested.h"

static const char *const nets[] = {"conv",       "mlp",        "vit_opset17", "vit_opset13",
                                   "vit_dynamo", "nhwc",       "two_inputs",  "arithmetic",
                                   "softmax",    "logsoftmax", NULL};
static const struct fg_backend *backend;
static int failures, compared;

static double *member(const char *net, const char *name, int64_t *n) {
  char path[512];
  int rank;
  int64_t dim[FG_MAX_RANK];
  void *data = NULL;
  snprintf(path, sizeof path, "%s/%s.npz:%s", golden_dir(), net, name);
  if (fg_npy_load(path, FG_F64, &rank, dim, &data) != FGSM_OK) {
    printf("FAIL %s\n", fgsm_last_error());
    exit(1);
  }
  *n = 1;
  for (int i = 0; i < rank; i++)
    *n *= dim[i];
  return data;
}

/* What may be wrong, in units of the largest value wanted; and the share of |g| whose sign is right. In
 * half precision a ReLU or a maximum may go the other way near its kink: a gradient's signs still hold,
 * its largest difference says nothing. */
static const struct {
  double allowed, weighted;
} bounds[FG_PRECISION_COUNT] = {[FG_PRECISION_fp32] = {1e-4, 0.9999},
                                [FG_PRECISION_bf16] = {6e-2, 0.97},
                                [FG_PRECISION_fp16] = {8e-3, 0.997}};

/* Largest difference in units of the largest value wanted, and signs. */
static void expect_close(const struct net *net, fg_id value, const char *name, const char *key) {
  enum fg_precision precision = net->device->precision;
  int64_t n, m, non_zero = 0;
  double *got = net_read(net, value, &n), *want = member(name, key, &m);
  double worst = 0, scale = 0, right = 0, all = 0;
  for (int64_t i = 0; got && i < n && n == m; i++) {
    double d = fabs(got[i] - want[i]);
    worst = d <= worst ? worst : d;
    scale = fmax(scale, fabs(want[i]));
    non_zero += want[i] != 0;
    all += fabs(want[i]);
    right += want[i] * got[i] > 0 ? fabs(want[i]) : 0;
  }
  bool kinks = precision != FG_PRECISION_fp32 && key[0] == 'g';
  bool good = got && n == m && (kinks || worst <= bounds[precision].allowed * scale) &&
              non_zero * 10 > n && right >= bounds[precision].weighted * all;
  printf("%s %-4s %-12s %-7s %.1e of %lld values, signs %.5f\n", good ? "ok  " : "FAIL",
         fg_precision_name(precision), name, key, worst / scale, (long long)n, right / all);
  failures += !good;
  compared++;
  free(want);
  free(got);
}

/* How a net is planned. */
static const struct form {
  const char *text;
  bool no_fuse, plain;
} forms[] = {{"fused", false, false},
             {"fused, in the plain layout", false, true},
             {"not fused", true, true}};
enum { N_FORMS = sizeof forms / sizeof *forms };

/* A device that has a layout for convolutions must have been given some of it. */
static void expect_lying(const struct net *net, const char *name) {
  const struct fg_graph *g = fg_plan_graph(net->plan);
  bool convolves = false, lies = false;
  for (int64_t i = 0; i < g->n_nodes; i++)
    convolves |= g->nodes[i].op == FG_OP_conv && g->nodes[i].attrs.conv.spatial == 2;
  for (fg_id i = 0; i < g->n_values; i++)
    lies |= fg_value(g, i)->layout != FG_PLAIN;
  if (lies == convolves || net->device->layout != FG_NHWC)
    return;
  printf("FAIL %s: %s\n", name,
         lies ? "values lie channels last in vain" : "nothing lies channels last");
  failures++;
}

static void check(const char *name, const struct form *form, enum fg_precision precision) {
  char path[512];
  struct net net;
  int64_t n, n_labels, labels[64];
  double *x[NET_MOST_INPUTS] = {member(name, "x", &n)}, *y = member(name, "y", &n_labels);
  snprintf(path, sizeof path, "%s/%s.onnx", golden_dir(), name);
  fgsm_status status = net_open(
      path, backend, n_labels,
      &(struct net_options){.no_fuse = form->no_fuse, .plain = form->plain, .precision = precision},
      &net);
  if (status == FGSM_OK && net.n_inputs > 1)
    x[1] = member(name, "x2", &n);
  for (int64_t i = 0; i < n_labels && i < 64; i++)
    labels[i] = (int64_t)y[i];
  if (status == FGSM_OK)
    status = net_run(&net, (const double *const *)x, labels);
  if (status != FGSM_OK) {
    printf("FAIL %s: %s\n", name, fgsm_last_error());
    failures++;
  } else {
    if (!form->plain)
      expect_lying(&net, name);
    expect_close(&net, net.logits, name, "logits");
    expect_close(&net, net.loss, name, "loss");
    expect_close(&net, net.grad[0], name, "grad");
    if (net.n_inputs > 1)
      expect_close(&net, net.grad[1], name, "grad2");
    net_close(&net);
  }
  free(x[1]);
  free(x[0]);
  free(y);
}

/* tf32 is float32 wherever it is not a library on a card that computes. */
static void check_all(const char *name, const struct form *form) {
  check(name, form, FG_PRECISION_fp32);
  for (int p = FG_PRECISION_bf16; p <= FG_PRECISION_fp16; p++)
    if (backend->precisions >> p & 1 && backend->takes_half)
      check(name, form, (enum fg_precision)p);
}

int main(int argc, char **argv) {
  int at = argc > 2 && strcmp(argv[1], "--device") == 0 ? 3 : 1;
  backend = tested_backend(at == 3 ? argv[2] : NULL);
  if (!backend)
    return 5;
  for (int f = 0; f < N_FORMS; f++) {
    printf("%s\n", forms[f].text);
    for (int i = 0; nets[i] && argc == at; i++)
      check_all(nets[i], &forms[f]);
    for (int i = at; i < argc; i++)
      check_all(argv[i], &forms[f]);
  }
  if (tested_errors())
    printf("FAIL the harness found %lu errors (above)\n", tested_errors());
  printf("%d results compared, %d wrong\n", compared, failures);
  return failures || tested_errors() || compared == 0;
}
