/* Real models on real data (../shared/data or FGSM_TEST_DATA; skipped with a message where absent):
 * accuracies against the ones that PyTorch gave, gradients against finite differences. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

/* Runs an attack through the public interface; options are "name=value" strings, NULL last. */
static json_t *attack(const char *dir, const char *model_name, const char *data_name,
                      const char *const *settings) {
  char path[512], data[512], *text = NULL;
  fgsm_model *model = NULL;
  fgsm_options *options = NULL;
  snprintf(path, sizeof path, "%s/%s", dir, model_name);
  snprintf(data, sizeof data, "%s/%s", dir, data_name);
  cr_assert_eq(fgsm_model_load(path, &model), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fgsm_options_create(&options), FGSM_OK);
  for (; *settings; settings++) {
    char name[64];
    const char *equals = strchr(*settings, '=');
    snprintf(name, sizeof name, "%.*s", (int)(equals - *settings), *settings);
    cr_assert_eq(fgsm_options_set(options, name, equals + 1), FGSM_OK, "%s", fgsm_last_error());
  }
  cr_assert_eq(fgsm_attack_dataset(model, data, options, NULL, NULL, &text), FGSM_OK, "%s",
               fgsm_last_error());
  json_t *result = json_loads(text, 0, NULL);
  cr_assert(result, "not JSON: %s", text);
  fgsm_free(text);
  fgsm_options_destroy(options);
  fgsm_model_destroy(model);
  return result;
}

static double field(const json_t *object, const char *name) {
  json_t *value = json_object_get(object, name);
  cr_assert(json_is_number(value), "no number '%s'", name);
  return json_number_value(value);
}

/* Accuracies in percent, within the 0.1 points that the contract allows. */
static void expect_percent(double got, double want, const char *what) {
  cr_expect(fabs(100 * got - want) <= 0.1 + 1e-9, "%s: %.2f %%, not %.2f %%", what, 100 * got,
            want);
}

Test(models, resnet20_on_cifar10) {
  const char *dir = test_data("ResNet-20 on CIFAR-10");
  if (!dir)
    return;
  json_t *r =
      attack(dir, "models/cifar10_resnet20_input01.onnx", "cifar10/test_batch_first1000.bin",
             (const char *const[]){"eps=2/255", "loss-parity=torch", NULL});
  cr_expect_eq(field(r, "samples"), 1000);
  expect_percent(field(r, "clean_accuracy"), 91.50, "clean");
  expect_percent(field(r, "adversarial_accuracy"), 29.50, "eps 2/255");
  if (field(r, "fast_calls") > 0) /* 0 where plain sums are as fast */
    cr_expect_geq(field(json_object_get(r, "agreement"), "weighted"), 0.995);
  json_t *exact =
      attack(dir, "models/cifar10_resnet20_input01.onnx", "cifar10/test_batch_first1000.bin",
             (const char *const[]){"eps=2/255", "exact=true", "limit=64", NULL});
  cr_expect(field(exact, "fast_calls") == 0 && !json_object_get(exact, "agreement"));
  json_decref(exact);
  cr_expect(field(r, "linf_max") <= 2 / 255.0 + 1e-12);
  json_decref(r);
}

static void lenet(const char *model, double clean, double small, double large) {
  const char *dir = test_data("LeNet-5 on MNIST");
  if (!dir)
    return;
  json_t *r = attack(
      dir, model, "mnist/t10k-images-idx3-ubyte.gz",
      (const char *const[]){"eps=0.1,0.3", "out-type=f32", "loss-parity=torch", "batch=250", NULL});
  json_t *curve = json_object_get(r, "curve");
  cr_assert_eq(json_array_size(curve), 2);
  expect_percent(field(r, "clean_accuracy"), clean, "clean");
  /* Float output, because bytes are perturbed by whole levels: 0.1 would be 25 of 255 (0.098). */
  printf("%s: %.2f %.2f %.2f\n", model, 100 * field(r, "clean_accuracy"),
         100 * field(json_array_get(curve, 0), "adversarial_accuracy"),
         100 * field(json_array_get(curve, 1), "adversarial_accuracy"));
  expect_percent(field(json_array_get(curve, 0), "adversarial_accuracy"), small, "eps 0.1");
  expect_percent(field(json_array_get(curve, 1), "adversarial_accuracy"), large, "eps 0.3");
  json_decref(r);
}

Test(models, lenet_plain_on_mnist) {
  lenet("models/mnist_lenet5_clntrained_input01.onnx", 98.89, 79.96, 0.98);
}

Test(models, lenet_adversarially_trained_on_mnist) {
  lenet("models/mnist_lenet5_advtrained_input01.onnx", 98.64, 97.79, 96.52);
}

Test(models, a_saturated_softmax_is_reported_with_parity_and_attacked_without) {
  const char *dir = test_data("the saturated CNTK model");
  if (!dir)
    return;
  static const char model[] = "models/mnist_cntk_saturated.onnx";
  static const char data[] = "mnist/t10k-images-idx3-ubyte.gz";
  json_t *torch = attack(dir, model, data,
                         (const char *const[]){"eps=0.1", "scale=255", "limit=1000", "out-type=f32",
                                               "loss-parity=torch", NULL});
  json_t *ours =
      attack(dir, model, data,
             (const char *const[]){"eps=0.1", "scale=255", "limit=1000", "out-type=f32", NULL});
  expect_percent(field(torch, "clean_accuracy"), 98.70, "clean");
  cr_expect(field(torch, "zero_gradient_samples") >= 980, "%g samples with zero gradient",
            field(torch, "zero_gradient_samples"));
  expect_percent(field(torch, "adversarial_accuracy"), 98.30, "masked");
  cr_expect_eq(field(ours, "zero_gradient_samples"), 0);
  cr_expect(field(ours, "adversarial_accuracy") < 0.9, "really attacked: %.2f %%",
            100 * field(ours, "adversarial_accuracy"));
  json_decref(ours);
  json_decref(torch);
}

/* The class with the least logit at x: its loss never saturates, in nets whose logits reach
 * hundreds. */
static int64_t least_likely(struct net *net, const double *x) {
  int64_t n, least = 0;
  cr_assert_eq(net_run(net, (const double *const[]){x}, NULL), FGSM_OK);
  double *logits = net_read(net, net->logits, &n);
  for (int64_t i = 1; i < n; i++)
    if (logits[i] < logits[least])
      least = i;
  free(logits);
  return least;
}

static double loss_at(struct net *net, const double *x, int64_t label) {
  int64_t n;
  cr_assert_eq(net_run(net, (const double *const[]){x}, &label), FGSM_OK);
  double *loss = net_read(net, net->loss, &n), value = loss[0];
  free(loss);
  return value;
}

/* Central differences of the loss at x, every input component; the gradient's largest magnitude. A
 * component with a kink between the two sides (they disagree with each other) is counted instead.
 */
static double check_differences(struct net *net, double x[5], const char *path, int *kinks) {
  const double step = 1e-6;
  int64_t n, label = least_likely(net, x);
  cr_assert_eq(net_run(net, (const double *const[]){x}, &label), FGSM_OK);
  double *grad = net_read(net, net->grad[0], &n), top = 0;
  cr_assert_eq(n, 5);
  for (int i = 0; i < 5; i++)
    top = fmax(top, fabs(grad[i]));
  double here = loss_at(net, x, label);
  for (int i = 0; i < 5; i++) {
    double keep = x[i];
    x[i] = keep + step;
    double above = (loss_at(net, x, label) - here) / step;
    x[i] = keep - step;
    double below = (here - loss_at(net, x, label)) / step;
    x[i] = keep;
    if (fabs(above - below) > 1e-3 * top + 1e-6) {
      ++*kinks;
      continue;
    }
    cr_expect(fabs((above + below) / 2 - grad[i]) <= 1e-4 * top + 1e-6,
              "%s: d/dx%d is %.9g, differences give %.9g", path, i, grad[i], (above + below) / 2);
  }
  free(grad);
  return top;
}

/* Where a collision is far, whole regions of these nets are flat; enough points are not there. */
static void check_acas(const char *path, int *kinks) {
  enum { POINTS = 12 };
  struct net net;
  int sloping = 0;
  cr_assert_eq(net_open(path, &fg_ref, 1, &(struct net_options){0}, &net), FGSM_OK, "%s: %s", path,
               fgsm_last_error());
  for (int p = 0; p < POINTS; p++) {
    double x[5];
    for (int i = 0; i < 5; i++)
      x[i] = fmod(0.137 + 0.618034 * p + 0.2718 * i * (p + 1), 1) - 0.5;
    sloping += check_differences(&net, x, path, kinks) > 1e-3;
  }
  cr_expect(sloping >= 2, "%s: a gradient at %d of %d points only", path, sloping, POINTS);
  net_close(&net);
}

Test(models, acasxu_gradients_match_finite_differences) {
  const char *dir = test_data("ACAS Xu");
  if (!dir)
    return;
  int kinks = 0;
  for (int a = 1; a <= 5; a++)
    for (int b = 1; b <= 9; b++) {
      char path[512];
      snprintf(path, sizeof path, "%s/acasxu/ACASXU_experimental_v2a_%d_%d.onnx", dir, a, b);
      check_acas(path, &kinks);
    }
  cr_expect(kinks <= 10, "%d of 2700 components lie at kinks", kinks);
}

static void small_model(const char *dir, const char *name, double clean, double adversarial,
                        const char *limit) {
  char model[128], limit_setting[32];
  snprintf(model, sizeof model, "models/small/%s.onnx", name);
  snprintf(limit_setting, sizeof limit_setting, "limit=%s", limit);
  json_t *r = attack(dir, model, "mnist/t10k-images-idx3-ubyte.gz",
                     (const char *const[]){"eps=0.05", limit_setting, "out-type=f32",
                                           "loss-parity=torch", "batch=250", NULL});
  printf("%s: %.2f %.2f\n", name, 100 * field(r, "clean_accuracy"),
         100 * field(r, "adversarial_accuracy"));
  expect_percent(field(r, "clean_accuracy"), clean, name);
  expect_percent(field(r, "adversarial_accuracy"), adversarial, name);
  json_decref(r);
}

Test(models, small_models_of_many_exporters) {
  const char *dir = test_data("small models on MNIST");
  if (!dir)
    return;
  small_model(dir, "mnist2x10", 92.26, 28.32, "0");
  small_model(dir, "mnist2x5_sigmoid", 85.16, 39.39, "0");
  small_model(dir, "mnist5x20_leaky_relu", 94.51, 32.45, "0");
  small_model(dir, "cnn_max_mninst2", 98.23, 83.00, "0");
  small_model(dir, "cnn_max_mninst3", 98.04, 91.28, "0");
  small_model(dir, "softmax-last-layer", 88.95, 65.20, "0");
  small_model(dir, "self-attention-mnist-pgd-medium-sim", 97.40, 91.90, "1000");
}
