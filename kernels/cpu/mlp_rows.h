/* Loss and step of the samples of a tile (mlp_net.h), which lie beside each other: a row is one number
 * of each. For mlp_fgsm.c, where samples have few numbers, so that one after another would mostly cost
 * what a sample costs before anything is computed. `tile`: the net's or 1; either way a sample's
 * numbers are computed in one order. */
#ifndef FG_CPU_MLP_ROWS_H
#define FG_CPU_MLP_ROWS_H

#include "mlp_net.h"
#include "step.h"

enum { FG_MLP_MOST_ROWS = 64 };

/* Cross-entropy of rows z [k][tile] for the labels [tile] of the first n samples: rows of d [k][tile] (NULL: not
 * wanted), loss (NULL likewise) and prediction, as loss.h's fg_cpu_loss_sample has them. Both of the latter have
 * FG_MLP_TILE places, of which more than n may be written. */
void fg_mlp_rows_loss(const float *z, int64_t k, const int32_t *labels, int64_t n, int64_t tile,
                      bool targeted, float *d, float *loss, int32_t *prediction);

/* A plain step of the samples who[0 .. n), of at most FG_MLP_MOST_ROWS features, along the rows g from the rows x; c:
 * sample 0. False, with nothing written, where it takes more care. */
bool fg_mlp_rows_step(const struct fg_cpu_step *c, const int32_t *who, const float *x,
                      const float *g, int64_t n, int64_t tile, float (*stats)[3]);

#endif
