/* See mlp_order.h. */
#include "mlp_order.h"

#include <math.h>
#include <string.h>

/* Samples whose features' deviation stands for all of them; cuts of all features together. */
enum { SOME = 32, MOST_CUTS = 8 };

/* A feature is cut into 2^bits like parts of [low, low + 2^bits / scale]. */
struct cut {
  int64_t feature;
  float low, scale;
  int bits;
};

/* Of every step-th sample. */
static void measure(const float *x, int64_t n, int64_t features, int64_t step, float *mean,
                    float *deviation) {
  float sum = 0, squares = 0, from = x[0], count = (float)fg_up(n, step);
  for (int64_t s = 0; s < n; s += step) {
    float v = x[s * features] - from;
    sum += v;
    squares += v * v;
  }
  float variance = squares / count - sum / count * (sum / count);
  *mean = from + sum / count;
  *deviation = variance > 0 ? sqrtf(variance) : 0;
}

/* Halves, `cuts` times, what then deviates most; returns how many features are cut. Parts are those of an even
 * distribution of the feature's mean and deviation. */
static int choose_cuts(const float *x, int64_t n, int64_t features, const float *reach, int cuts,
                       float *memory, struct cut *cut) {
  float *mean = memory, *deviation = memory + features, *weight = deviation + features;
  int count = 0;
  for (int64_t f = 0; f < features; f++) {
    measure(x + f, n, features, fg_up(n, SOME), &mean[f], &deviation[f]);
    weight[f] = deviation[f] * reach[f];
  }
  for (; cuts; cuts--) {
    int64_t widest = 0;
    int i = 0;
    for (int64_t f = 1; f < features; f++)
      widest = weight[f] > weight[widest] ? f : widest;
    weight[widest] /= 2;
    while (i < count && cut[i].feature != widest)
      i++;
    if (i == count)
      cut[count++] = (struct cut){.feature = widest};
    cut[i].bits++;
  }
  for (int i = 0; i < count; i++) {
    int64_t f = cut[i].feature;
    float half = sqrtf(3) * deviation[f];
    cut[i].low = mean[f] - half;
    cut[i].scale = (float)(1 << cut[i].bits) / (2 * half);
  }
  return count;
}

/* The samples' cells; those of like numbers lie beside each other, for every other row of them is counted backwards. */
FG_CLONES static void mlp_cells(const float *x, int64_t n, int64_t features, const struct cut *cut,
                                int count, int32_t *cell) {
  memset(cell, 0, (size_t)n * sizeof *cell);
  for (int i = 0; i < count; i++) {
    const float *from = x + cut[i].feature, low = cut[i].low, scale = cut[i].scale;
    const int bits = cut[i].bits, last = (1 << bits) - 1;
#pragma omp simd
    for (int64_t s = 0; s < n; s++) {
      float at = (from[s * features] - low) * scale;
      at = at < (float)last ? at : (float)last;
      int32_t part = (int32_t)(at > 0 ? at : 0); /* the last of a NaN */
      part = cell[s] & 1 ? last - part : part;
      cell[s] = cell[s] << bits | part;
    }
  }
}

void fg_mlp_order(const float *x, int64_t first, int64_t n, const struct fg_mlp_net *net,
                  float *memory, int32_t *order) {
  struct cut cut[MOST_CUTS];
  int32_t cell[FG_MLP_RUN], begin[(1 << MOST_CUTS) + 1];
  int64_t features = net->a->width[0];
  int cuts = 0;
  while (cuts < MOST_CUTS && net->tile << cuts < 2 * n)
    cuts++;
  x += first * features;
  int count = choose_cuts(x, n, features, net->packed + net->reach, cuts, memory, cut);
  memset(begin, 0, sizeof *begin * ((1 << cuts) + 1));
  mlp_cells(x, n, features, cut, count, cell);
  for (int64_t s = 0; s < n; s++)
    begin[cell[s] + 1]++;
  for (int i = 0; i < 1 << cuts; i++)
    begin[i + 1] += begin[i];
  for (int64_t s = 0; s < n; s++)
    order[begin[cell[s]]++] = (int32_t)(first + s);
}
