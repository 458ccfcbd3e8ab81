/* weights-apart A.onnx B.onnx : the largest difference between weights of the same name, in units of the
 * largest magnitude of that weight in A. Exit code 1 where the models' weights are not the same ones. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "onnx/onnx.pb-c.h"

static Onnx__ModelProto *read_model(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file)
    return NULL;
  static unsigned char bytes[1 << 24];
  size_t n = fread(bytes, 1, sizeof bytes, file);
  fclose(file);
  return onnx__model_proto__unpack(NULL, n, bytes);
}

/* -1 where they are no floats of one shape. */
static double apart(const Onnx__TensorProto *a, const Onnx__TensorProto *b) {
  size_t n = a->raw_data.len / sizeof(float);
  double most = 0, scale = 0;
  if (strcmp(a->name, b->name) != 0 || a->raw_data.len != b->raw_data.len)
    return -1;
  if (a->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT)
    return 0;
  for (size_t i = 0; i < n; i++) {
    float x, y;
    memcpy(&x, a->raw_data.data + i * sizeof x, sizeof x);
    memcpy(&y, b->raw_data.data + i * sizeof y, sizeof y);
    most = fmax(most, fabs((double)x - y));
    scale = fmax(scale, fabs((double)x));
  }
  return most / (scale > 0 ? scale : 1);
}

int main(int argc, char **argv) {
  Onnx__ModelProto *a = argc == 3 ? read_model(argv[1]) : NULL;
  Onnx__ModelProto *b = argc == 3 ? read_model(argv[2]) : NULL;
  double most = 0;
  if (!a || !b || a->graph->n_initializer != b->graph->n_initializer)
    return 1;
  for (size_t i = 0; i < a->graph->n_initializer; i++) {
    double d = apart(a->graph->initializer[i], b->graph->initializer[i]);
    if (!(d >= 0))
      return 1;
    most = fmax(most, d);
  }
  printf("%.3g\n", most);
  onnx__model_proto__free_unpacked(a, NULL);
  onnx__model_proto__free_unpacked(b, NULL);
  return 0;
}
