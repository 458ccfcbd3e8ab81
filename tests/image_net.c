#include "image_net.h"

#include <criterion/criterion.h>

#include "onnx_bytes.h"

enum { CHANNELS = IMAGE_NET_CHANNELS };

struct fg_onnx *image_net(int64_t side, int64_t batch) {
  struct onnx_bytes g = {0}, node;
  float *w = calloc(32 * 32 * 9, sizeof *w);
  struct fg_onnx *onnx = NULL;
  cr_assert(w);
  for (int i = 0; i < 32 * 32 * 9; i++)
    w[i] = (float)(i % 13 - 6) / 64;
  for (int k = 0; k < 2; k++) {
    node = onnx_node("Conv", "", k ? "r0 w1" : "x w0", k ? "c1" : "c0");
    onnx_put(&node, 5, onnx_ints("pads", 4, (int64_t[]){1, 1, 1, 1}));
    onnx_put(&g, 1, node);
    onnx_put(&g, 1, onnx_node("Relu", "", k ? "c1" : "c0", k ? "r1" : "r0"));
    int64_t dim[4] = {32, k ? 32 : CHANNELS, 3, 3};
    onnx_put(&g, 5,
             onnx_tensor(k ? "w1" : "w0", ONNX_FLOAT, 4, dim, w,
                         (size_t)(dim[0] * dim[1] * 9) * sizeof *w));
  }
  onnx_put(&g, 1, onnx_node("GlobalAveragePool", "", "r1", "p"));
  onnx_put(&g, 1, onnx_node("Flatten", "", "p", "f"));
  onnx_put(&g, 1, onnx_node("MatMul", "", "f m", "y"));
  onnx_put(&g, 5, onnx_tensor("m", ONNX_FLOAT, 2, (int64_t[]){32, 10}, w, 320 * sizeof *w));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 4, (int64_t[]){batch, CHANNELS, side, side}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){batch, 10}));
  struct onnx_bytes b = onnx_model(g, 13);
  cr_assert_eq(fg_onnx_parse(b.data, b.n, "image net", &onnx), FGSM_OK, "%s", fgsm_last_error());
  free(b.data);
  free(w);
  return onnx;
}

struct fg_sample_shape image_net_shape(int64_t side) {
  return (struct fg_sample_shape){.type = FG_F32, .rank = 3, .dim = {CHANNELS, side, side}};
}
