/* Whole nets against their frameworks in float64 (tests/golden, made by python/make_goldens.py from
 * PyTorch, and by python/make_exporter_goldens.py for other exporters): logits,
 * loss and input gradient, on the oracle in double and on the CPU in float32, fused and not. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "net.h"

static double *member(const char *net, const char *name, int64_t *n) {
  char path[512];
  int rank;
  int64_t dim[FG_MAX_RANK];
  void *data = NULL;
  snprintf(path, sizeof path, "%s/%s.npz:%s", golden_dir(), net, name);
  cr_assert_eq(fg_npy_load(path, FG_F64, &rank, dim, &data), FGSM_OK, "%s", fgsm_last_error());
  *n = 1;
  for (int i = 0; i < rank; i++)
    *n *= dim[i];
  return data;
}

/* The largest difference, in units of the largest magnitude wanted; enough must be non-zero. */
static double error(const double *got, const double *want, int64_t n) {
  double worst = 0, scale = 0;
  int64_t non_zero = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = fabs(got[i] - want[i]);
    if (!(d <= worst))
      worst = d;
    scale = fmax(scale, fabs(want[i]));
    non_zero += want[i] != 0;
  }
  cr_expect(non_zero * 10 > n, "only %lld of %lld values are not zero", (long long)non_zero,
            (long long)n);
  return worst / scale;
}

/* Share of components whose sign agrees, weighted by |want|. */
static double sign_agreement(const double *got, const double *want, int64_t n) {
  double agree = 0, all = 0;
  for (int64_t i = 0; i < n; i++) {
    all += fabs(want[i]);
    if ((got[i] > 0) - (got[i] < 0) == (want[i] > 0) - (want[i] < 0))
      agree += fabs(want[i]);
  }
  return agree / all;
}

static void expect_close(const struct net *net, fg_id value, const char *name, const char *key,
                         double tolerance) {
  int64_t n, n_want;
  double *got = net_read(net, value, &n), *want = member(name, key, &n_want);
  cr_assert_eq(n, n_want, "%s %s: %lld values, not %lld", name, key, (long long)n,
               (long long)n_want);
  double e = error(got, want, n);
  cr_expect(e <= tolerance, "%s %s on %s: relative error %.3g > %.3g", name, key,
            net->device->backend->name, e, tolerance);
  if (key[0] == 'g')
    cr_expect(sign_agreement(got, want, n) >= 0.9999, "%s %s: signs agree in %.6f by weight", name,
              key, sign_agreement(got, want, n));
  free(want);
  free(got);
}

/* Loads, runs, compares; keys are the npz members to compare with. */
static void check(const char *name, const struct fg_backend *backend, struct net_options options,
                  double tolerance) {
  char path[512];
  struct net net;
  int64_t n, n_labels;
  snprintf(path, sizeof path, "%s/%s.onnx", golden_dir(), name);
  double *y = member(name, "y", &n_labels), *x[2] = {member(name, "x", &n), NULL};
  cr_assert_eq(net_open(path, backend, n_labels, &options, &net), FGSM_OK, "%s: %s", name,
               fgsm_last_error());
  if (net.n_inputs > 1)
    x[1] = member(name, "x2", &n);
  int64_t labels[64];
  for (int64_t i = 0; i < n_labels; i++)
    labels[i] = (int64_t)y[i];
  cr_assert_eq(net_run(&net, (const double *const *)x, labels), FGSM_OK, "%s", fgsm_last_error());
  bool ends_in_softmax = strstr(name, "softmax") != NULL;
  cr_expect_eq(net.softmax_stripped, ends_in_softmax && !options.keep_softmax);
  bool as_is = ends_in_softmax && options.keep_softmax;
  expect_close(&net, net.logits, name, as_is ? "outputs" : "logits", tolerance);
  expect_close(&net, net.loss, name, as_is ? "loss_at_outputs" : "loss", tolerance);
  expect_close(&net, net.grad[0], name, as_is ? "grad_at_outputs" : "grad", tolerance);
  if (net.n_inputs > 1)
    expect_close(&net, net.grad[1], name, "grad2", tolerance);
  net_close(&net);
  free(x[1]);
  free(x[0]);
  free(y);
}

static const char *const nets[] = {
    "conv",       "mlp",     "vit_opset17", "vit_opset13", "vit_dynamo", "nhwc",       "two_inputs",
    "arithmetic", "softmax", "logsoftmax",  "external",    "swin",       "swin_cosine"};
enum { N_NETS = sizeof nets / sizeof *nets };

/* These exporters round in float32 what they fold, and scikit-learn's weights are float64. */
static const struct {
  const char *name;
  int output;
} others[] = {{"tf2onnx", 0},         {"tf_transformer", 0}, {"keras", 0},
              {"keras_attention", 0}, {"cntk", 0},           {"skl2onnx_softmax", 1}};
enum { N_OTHERS = sizeof others / sizeof *others };

Test(golden, other_exporters_agree_with_their_frameworks) {
  for (int i = 0; i < N_OTHERS; i++) {
    struct net_options options = {.output = others[i].output};
    check(others[i].name, &fg_ref, options, 1e-6);
    check(others[i].name, &fg_cpu, options, 1e-4);
    options.no_fuse = true;
    check(others[i].name, &fg_cpu, options, 1e-4);
  }
}

Test(golden, oracle_agrees_with_pytorch_in_double) {
  for (int i = 0; i < N_NETS; i++)
    check(nets[i], &fg_ref, (struct net_options){0}, 1e-7);
}

Test(golden, cpu_agrees_with_pytorch) {
  for (int i = 0; i < N_NETS; i++)
    check(nets[i], &fg_cpu, (struct net_options){0}, 1e-4);
}

Test(golden, cpu_agrees_without_fusion) {
  for (int i = 0; i < N_NETS; i++)
    check(nets[i], &fg_cpu, (struct net_options){.no_fuse = true}, 1e-4);
}

Test(golden, a_final_softmax_can_be_kept) {
  check("softmax", &fg_ref, (struct net_options){.keep_softmax = true}, 1e-7);
  check("logsoftmax", &fg_ref, (struct net_options){.keep_softmax = true}, 1e-7);
  check("softmax", &fg_cpu, (struct net_options){.keep_softmax = true}, 1e-4);
}

Test(golden, never_zero_slope_is_the_softmax_gradient_times_a_positive_factor) {
  for (int i = 0; i < 2; i++) {
    char path[512];
    struct net net;
    int64_t n, m;
    snprintf(path, sizeof path, "%s/%s.onnx", golden_dir(), nets[i]);
    double *x = member(nets[i], "x", &n), *y = member(nets[i], "y", &m);
    cr_assert_eq(net_open(path, &fg_ref, m, &(struct net_options){.never_zero = true}, &net),
                 FGSM_OK, "%s", fgsm_last_error());
    int64_t labels[64], n_grad;
    for (int64_t k = 0; k < m; k++)
      labels[k] = (int64_t)y[k];
    cr_assert_eq(net_run(&net, (const double *const[]){x}, labels), FGSM_OK);
    double *got = net_read(&net, net.grad[0], &n), *want = member(nets[i], "grad", &n_grad);
    for (int64_t s = 0; s < m; s++) { /* one factor per sample */
      const double *g = got + s * n / m, *w = want + s * n / m;
      double dot = 0, ww = 0, worst = 0, top = 0;
      for (int64_t k = 0; k < n / m; k++) {
        dot += g[k] * w[k];
        ww += w[k] * w[k];
      }
      for (int64_t k = 0; k < n / m; k++) {
        worst = fmax(worst, fabs(g[k] - dot / ww * w[k]));
        top = fmax(top, fabs(g[k]));
      }
      cr_expect(dot / ww > 0 && worst <= 1e-7 * top, "%s sample %d: factor %g, error %g", nets[i],
                (int)s, dot / ww, worst / top);
    }
    free(want);
    free(got);
    net_close(&net);
    free(y);
    free(x);
  }
}
