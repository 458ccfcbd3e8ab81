/* Networks of the graphs that fusing.c builds: x, of a sample's shape, becomes logits [N, 5]. */
#ifndef FG_TEST_FUSING_NETS_H
#define FG_TEST_FUSING_NETS_H

#include "graph.h"

/* The i-th of a seed's numbers in (-1, 1), and a constant of such, times `scale`. */
float fusing_draw(uint64_t seed, int64_t i);
fgsm_status fusing_constant(struct fg_graph *g, int rank, const int64_t *dim, double scale,
                            uint64_t seed, fg_id *out);

fgsm_status fusing_net_relu(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_curved(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_normalised(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_of_one_layer(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_residual(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_softplus(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_conv(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_pooled_relu(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_pooled_plain(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_pooled_gelu(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_split(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_split_in_four(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_split_with_a_gap(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_split_without_the_end(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_split_twice_at_a_place(struct fg_graph *g, fg_id *x);
fgsm_status fusing_net_split_by_turns(struct fg_graph *g, fg_id *x);

#endif
