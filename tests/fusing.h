/* Graphs whose parts a backend may fuse, each run unfused on the oracle and fused on a backend: what
 * the fuse pass promises, for any backend. Used by the suite `fuse` and by the CUDA kernels' harness;
 * free of any test framework. */
#ifndef FG_TEST_FUSING_H
#define FG_TEST_FUSING_H

#include "graph.h"

enum fusing_result { FUSING_OK, FUSING_DECLINED, FUSING_WRONG };

int fusing_count(void);
const char *fusing_name(int i);
enum fg_op fusing_op(int i); /* what it may become; FG_OP_COUNT: nothing */

/* Fuses graph i for the backend and compares what it computes with the oracle's unfused graph.
 * DECLINED: the backend left it as it was, which computed the same. `why` says what is wrong. */
enum fusing_result fusing_run(int i, const struct fg_backend *backend, char *why, size_t size);

#endif
