/* What cuDNN's engines are asked of what was planned (noted_calls.h), by kind of operator: each takes calls
 * and then looks at them on a card. The check tells what it found, and counts failures. */
#ifndef FG_TEST_NOTED_GRAPHS_H
#define FG_TEST_NOTED_GRAPHS_H

#include "dnn_graph.h"
#include "noted_calls.h"

/* Whether what is taken from now on has all the engines listed that the plugin would try, or no more than the
 * first that there is. */
extern bool conv_whole;
/* Convolutions. One whose bare product no engine takes is a failure, in every precision; so is one channels
 * last of which no engine takes all, where there is a driver or a stub of one. Other fused forms that none
 * takes are only counted, because the bare one stands in. */
fgsm_status conv_take(const struct fg_call *call);
int conv_check(const char *name, fg_cudnn card);

/* Attention and layer normalisation, which kernels of our own compute too. What cuDNN has words for must have
 * an engine; the rest, which is ours alone, is only counted. What is planned in bf16 is looked at in fp16 too. */
fgsm_status block_take(const struct fg_call *call);
int block_check(const char *name, fg_cudnn card);

#endif
