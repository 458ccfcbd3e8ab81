/* The built-in architectures. Layers have the names that PyTorch's modules would give them. */
#include "arch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compose.h"

enum { MOST_WIDTH = 1 << 20, MOST_LAYERS = 32, MOST_NAME = 64 };

/* A value on its way: its name and shape. */
struct at {
  const char *x;
  int64_t channels, height, width;
};

static int64_t conv_size(int64_t n, int kernel, int stride, int pad) {
  return (n + 2 * pad - kernel) / stride + 1;
}

static struct at conv(struct fg_compose *c, struct at at, const char *name, int64_t out, int kernel,
                      int stride, int pad, bool bias) {
  return (struct at){fg_compose_conv(c, name, at.x, at.channels, out, kernel, stride, pad, bias),
                     out, conv_size(at.height, kernel, stride, pad),
                     conv_size(at.width, kernel, stride, pad)};
}

static struct at relu(struct fg_compose *c, struct at at) {
  at.x = fg_compose_relu(c, at.x);
  return at;
}

static struct at pool(struct fg_compose *c, struct at at) {
  return (struct at){fg_compose_max_pool(c, at.x, 2), at.channels, at.height / 2, at.width / 2};
}

/* "prefix.part" */
static struct at norm(struct fg_compose *c, struct at at, const char *prefix, const char *part) {
  char name[MOST_NAME];
  snprintf(name, sizeof name, "%s%s", prefix, part);
  at.x = fg_compose_norm(c, name, at.x, at.channels);
  return at;
}

static struct at conv3(struct fg_compose *c, struct at at, const char *prefix, const char *part,
                       int64_t out, int stride) {
  char name[MOST_NAME];
  snprintf(name, sizeof name, "%s%s", prefix, part);
  return conv(c, at, name, out, 3, stride, 1, false);
}

static struct at conv1(struct fg_compose *c, struct at at, const char *prefix, int64_t out,
                       int stride) {
  char name[MOST_NAME];
  snprintf(name, sizeof name, "%sshortcut.0", prefix);
  return conv(c, at, name, out, 1, stride, 0, false);
}

/* ---- small nets */

/* Two convolutions of stride 2 and two dense layers (the MNIST net of Wong, Rice, Kolter 2020). */
static const char *mnist_cnn(struct fg_compose *c, struct at at, int64_t classes) {
  at = relu(c, conv(c, at, "0", 16, 4, 2, 1, true));
  at = relu(c, conv(c, at, "2", 32, 4, 2, 1, true));
  const char *x = fg_compose_flatten(c, at.x);
  x = fg_compose_relu(c, fg_compose_dense(c, "5", x, at.channels * at.height * at.width, 100));
  return fg_compose_dense(c, "7", x, 100, classes);
}

/* One convolution of 4 filters and a dense layer: what Andriushchenko & Flammarion 2020, section 4, find
 * enough to overfit catastrophically. */
static const char *tiny_cnn(struct fg_compose *c, struct at at, int64_t classes) {
  at = relu(c, conv(c, at, "conv", 4, 3, 1, 1, true));
  const char *x = fg_compose_flatten(c, at.x);
  return fg_compose_dense(c, "fc", x, at.channels * at.height * at.width, classes);
}

/* LeCun et al. 1998, with ReLU and max pooling as it is built today. */
static const char *lenet5(struct fg_compose *c, struct at at, int64_t classes) {
  at = pool(c, relu(c, conv(c, at, "conv1", 6, 5, 1, 2, true)));
  at = pool(c, relu(c, conv(c, at, "conv2", 16, 5, 1, 0, true)));
  const char *x = fg_compose_flatten(c, at.x);
  x = fg_compose_relu(c, fg_compose_dense(c, "fc1", x, at.channels * at.height * at.width, 120));
  x = fg_compose_relu(c, fg_compose_dense(c, "fc2", x, 120, 84));
  return fg_compose_dense(c, "fc3", x, 84, classes);
}

/* ---- residual nets for small images: 3 x 3 at first, no pooling there */

/* He et al. 2016a: norm after each convolution, ReLU after the sum. */
static struct at basic_block(struct fg_compose *c, struct at at, const char *p, int64_t out,
                             int stride) {
  struct at y = relu(c, norm(c, conv3(c, at, p, "conv1", out, stride), p, "bn1"));
  struct at past = at;
  y = norm(c, conv3(c, y, p, "conv2", out, 1), p, "bn2");
  if (stride != 1 || at.channels != out)
    past = norm(c, conv1(c, at, p, out, stride), p, "shortcut.1");
  y.x = fg_compose_add(c, y.x, past.x);
  return relu(c, y);
}

/* He et al. 2016b: norm and ReLU before each convolution. The shortcut's convolution takes what comes
 * in; of a wide net (Zagoruyko & Komodakis 2016), what has been normalised. */
static struct at pre_block(struct fg_compose *c, struct at at, const char *p, int64_t out,
                           int stride, bool wide) {
  struct at first = relu(c, norm(c, at, p, "bn1")), past = at;
  struct at y = conv3(c, first, p, "conv1", out, stride);
  y = conv3(c, relu(c, norm(c, y, p, "bn2")), p, "conv2", out, 1);
  if (stride != 1 || at.channels != out)
    past = conv1(c, wide ? first : at, p, out, stride);
  y.x = fg_compose_add(c, y.x, past.x);
  return y;
}

enum residual { BASIC, PRE, WIDE };

/* Stages of two blocks each, the first of every stage but the first at stride 2. */
static const char *residual(struct fg_compose *c, struct at at, int64_t classes, enum residual kind,
                            int64_t stem, int stages, const int64_t *widths) {
  at = conv3(c, at, "", "conv1", stem, 1);
  if (kind == BASIC)
    at = relu(c, norm(c, at, "", "bn1"));
  for (int s = 0; s < stages; s++)
    for (int b = 0; b < 2; b++) {
      char prefix[MOST_NAME / 2];
      int stride = b == 0 && s > 0 ? 2 : 1;
      snprintf(prefix, sizeof prefix, "layer%d.%d.", s + 1, b);
      at = kind == BASIC ? basic_block(c, at, prefix, widths[s], stride)
                         : pre_block(c, at, prefix, widths[s], stride, kind == WIDE);
    }
  if (kind != BASIC)
    at = relu(c, norm(c, at, "", "bn"));
  return fg_compose_dense(c, "linear", fg_compose_flatten(c, fg_compose_mean(c, at.x)), at.channels,
                          classes);
}

static const char *resnet18(struct fg_compose *c, struct at at, int64_t classes) {
  return residual(c, at, classes, BASIC, 64, 4, (const int64_t[]){64, 128, 256, 512});
}

static const char *preact_resnet18(struct fg_compose *c, struct at at, int64_t classes) {
  return residual(c, at, classes, PRE, 64, 4, (const int64_t[]){64, 128, 256, 512});
}

static const char *wrn_16_4(struct fg_compose *c, struct at at, int64_t classes) {
  return residual(c, at, classes, WIDE, 16, 3, (const int64_t[]){64, 128, 256});
}

/* ---- by name */

static const struct {
  const char *name;
  const char *(*make)(struct fg_compose *c, struct at at, int64_t classes);
  int64_t least; /* height and width */
} table[] = {
    {"tiny-cnn", tiny_cnn, 1}, {"mnist-cnn", mnist_cnn, 4}, {"lenet5", lenet5, 12},
    {"resnet18", resnet18, 8}, {"wrn-16-4", wrn_16_4, 4},   {"preact-resnet18", preact_resnet18, 8},
};

static fgsm_status make_mlp(const char *name, int rank, const int64_t *dim, int64_t classes,
                            struct fg_onnx **out) {
  int64_t widths[MOST_LAYERS], in = 1;
  int n = 0;
  for (const char *at = strchr(name, ':'); at; at = strchr(at + 1, ',')) {
    char *end;
    long width = strtol(at + 1, &end, 10);
    if (width < 1 || width > MOST_WIDTH || (*end && *end != ',') || n == MOST_LAYERS)
      return FG_FAIL(USAGE,
                     "--arch %s: widths are up to %d numbers from 1 to %d, as in mlp:300,100", name,
                     (int)MOST_LAYERS, (int)MOST_WIDTH);
    widths[n++] = width;
  }
  for (int i = 0; i < rank; i++)
    in *= dim[i];
  struct fg_compose *c;
  FG_TRY(fg_compose_begin(rank, dim, &c));
  const char *x = fg_compose_flatten(c, "x");
  for (int i = 0; i < n; i++) {
    char layer[MOST_NAME];
    snprintf(layer, sizeof layer, "%d", 1 + 2 * i);
    x = fg_compose_relu(c, fg_compose_dense(c, layer, x, in, widths[i]));
    in = widths[i];
  }
  return fg_compose_end(c, fg_compose_dense(c, "out", x, in, classes), classes, name, out);
}

fgsm_status fg_arch_create(const char *name, int rank, const int64_t *dim, int64_t classes,
                           struct fg_onnx **out) {
  if (strcmp(name, "mlp") == 0 || strncmp(name, "mlp:", 4) == 0)
    return make_mlp(name, rank, dim, classes, out);
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    struct fg_compose *c;
    if (strcmp(table[i].name, name) != 0)
      continue;
    if (rank != 3 || dim[1] < table[i].least || dim[2] < table[i].least)
      return FG_FAIL(USAGE, "--arch %s: takes images of at least %lld x %lld", name,
                     (long long)table[i].least, (long long)table[i].least);
    FG_TRY(fg_compose_begin(rank, dim, &c));
    const char *y = table[i].make(c, (struct at){"x", dim[0], dim[1], dim[2]}, classes);
    return fg_compose_end(c, y, classes, name, out);
  }
  return FG_FAIL(USAGE,
                 "--arch %s: there is tiny-cnn, mnist-cnn, lenet5, resnet18, preact-resnet18, "
                 "wrn-16-4 and mlp:WIDTH,...",
                 name);
}
