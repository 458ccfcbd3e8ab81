/* See tiny_onnx.h. */
#include <criterion/criterion.h>

#include "onnx_bytes.h"
#include "tiny_onnx.h"

struct fg_onnx *tiny_onnx(const struct tiny *tiny) {
  struct onnx_bytes g = {0}, model;
  const char *at = "x";
  struct fg_onnx *onnx = NULL;
  int64_t y[2] = {-1, tiny->n_out}, w[2] = {tiny->n_in, tiny->n_out};
  if (tiny->front) {
    onnx_put(&g, 1, onnx_node(tiny->front, "front", at, "front"));
    at = "front";
  }
  if (!tiny->bare) {
    onnx_put(&g, 1, onnx_node("Flatten", "flat", at, "flat"));
    onnx_put(&g, 1, onnx_node("MatMul", "product", "flat w", tiny->tail ? "product" : "y"));
    onnx_put(&g, 5,
             onnx_tensor("w", ONNX_FLOAT, 2, w, tiny->weight,
                         (size_t)(tiny->n_in * tiny->n_out) * sizeof *tiny->weight));
    at = "product";
  }
  if (tiny->tail)
    onnx_put(&g, 1, onnx_node(tiny->tail, "tail", at, "y"));
  onnx_text(&g, 2, "tiny");
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, tiny->rank, tiny->dim));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, y));
  model = onnx_model(g, 13);
  cr_assert_eq(fg_onnx_parse(model.data, model.n, "tiny", &onnx), FGSM_OK, "%s", fgsm_last_error());
  free(model.data);
  return onnx;
}
