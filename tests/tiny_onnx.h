/* ONNX files made in memory, for what the golden nets cannot be: saturated, broken, misshapen. */
#ifndef TEST_TINY_ONNX_H
#define TEST_TINY_ONNX_H

#include "onnx.h"

struct tiny {
  int rank; /* of the input, batch included; a dim of -1 is open */
  int64_t dim[6];
  const char *front;   /* an operator without attributes before the product: "Sqrt"; NULL: none */
  const char *tail;    /* and after it: "Softmax" */
  int n_in, n_out;     /* the product's: the input is flattened to [batch, n_in] first */
  const float *weight; /* [n_in, n_out] */
  bool bare;           /* no product: front and tail alone                   */
};

/* x -> front -> Flatten -> MatMul -> tail -> y. The caller closes it. */
struct fg_onnx *tiny_onnx(const struct tiny *tiny);

#endif
