/* An ONNX file being composed, node after node, of the operators that the built-in architectures
 * need. A step takes the name of what it reads and gives that of what it makes. Failure sticks: after
 * one every step does nothing, and fg_compose_end says which it was. */
#ifndef FG_COMPOSE_H
#define FG_COMPOSE_H

#include "onnx.h"

struct fg_compose;

/* Begins a graph with the input "x" [N, dim...] of floats. */
fgsm_status fg_compose_begin(int rank, const int64_t *dim, struct fg_compose **out) FGSM_MUST_USE;

/* Weights are initializers "name.weight" and "name.bias", zeros (a normalisation's scale and variance
 * ones): to be given values. */
const char *fg_compose_conv(struct fg_compose *c, const char *name, const char *x, int64_t in,
                            int64_t out, int kernel, int stride, int pad, bool bias);
const char *fg_compose_norm(struct fg_compose *c, const char *name, const char *x,
                            int64_t channels);
const char *fg_compose_dense(struct fg_compose *c, const char *name, const char *x, int64_t in,
                             int64_t out);
const char *fg_compose_relu(struct fg_compose *c, const char *x);
const char *fg_compose_max_pool(struct fg_compose *c, const char *x, int size);
const char *fg_compose_mean(struct fg_compose *c, const char *x); /* over each plane */
const char *fg_compose_flatten(struct fg_compose *c, const char *x);
const char *fg_compose_add(struct fg_compose *c, const char *a, const char *b);

/* The model whose output "logits" [N, classes] is y. Frees the composition, also when it fails. */
fgsm_status fg_compose_end(struct fg_compose *c, const char *y, int64_t classes, const char *name,
                           struct fg_onnx **out) FGSM_MUST_USE;

#endif
