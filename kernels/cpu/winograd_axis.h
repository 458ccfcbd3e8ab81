/* The transforms of winograd.h along one axis, for vectors `vec` of whichever file includes this. */
#ifndef FG_CPU_WINOGRAD_AXIS_H
#define FG_CPU_WINOGRAD_AXIS_H

#include "cpu.h"

/* B' d, for n values. */
FG_INLINE void forward(const vec *d, vec *to, int n) {
  if (n == 4) {
    to[0] = d[0] - d[2];
    to[1] = d[1] + d[2];
    to[2] = d[2] - d[1];
    to[3] = d[1] - d[3];
    return;
  }
  if (n == 5) {
    vec a = d[3] - d[1];
    to[0] = 2 * (d[0] - d[2]) + a;
    to[1] = a - (d[1] + d[2]);
    to[2] = 3 * (d[1] - d[2]) + a;
    to[3] = a;
    to[4] = (d[4] - d[2]) - 2 * a;
    return;
  }
  vec a = d[4] - 4 * d[2], b = d[3] - 4 * d[1], e = d[4] - d[2], f = 2 * (d[3] - d[1]);
  to[0] = (4 * d[0] - 5 * d[2]) + d[4];
  to[1] = a + b;
  to[2] = a - b;
  to[3] = e + f;
  to[4] = e - f;
  to[5] = (4 * d[1] - 5 * d[3]) + d[5];
}

/* A' d, from n to m values. */
FG_INLINE void backward(const vec *d, vec *to, int n, int m) {
  vec a = d[1] + d[2], b = d[1] - d[2];
  if (n == 4) {
    to[0] = d[0] + a;
    to[1] = b - d[3];
    return;
  }
  if (n == 5) {
    to[0] = d[0] + a + d[3];
    to[1] = b + 2 * d[3];
    to[2] = a + 4 * d[3];
    to[3] = b + 8 * d[3] + d[4];
    return;
  }
  vec e = d[3] + d[4], f = d[3] - d[4];
  to[0] = d[0] + a + e;
  to[1] = b + 2 * f;
  if (m == 2) {
    to[1] += d[5];
    return;
  }
  to[2] = a + 4 * e;
  to[3] = b + 8 * f + d[5];
}

#endif
