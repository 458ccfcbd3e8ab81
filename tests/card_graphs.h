/* What programs share that build cuDNN's graphs without a card, against descriptions of cards. Their engines
 * ask for the driver's library before they answer, and a stub of CUDA's serves; plans are not made. */
#ifndef FG_TEST_CARD_GRAPHS_H
#define FG_TEST_CARD_GRAPHS_H

#include "dnn_graph.h"

/* The card that a file describes; false, and a line that says why, where it does not. */
bool card_read(const char *path, fg_cudnn *out);

/* Whether cuDNN lists the engines that it compiles at run time. */
bool card_has_driver(void);
/* Whether the call is one of that precision, by what it stores. */
bool card_computes(const struct fg_call *call, enum fg_precision precision);

/* The engines that the plugin would list; or, because cuDNN takes its time for each configuration that it
 * names, if not the whole list, no more than the first that there is. */
void card_engines(const struct fg_cudnn_graph *g, const struct fg_cudnn_target *target,
                  unsigned forbidden, bool whole, struct fg_cudnn_engines *out);

typedef fgsm_status card_graph(const struct fg_call *call, const struct fg_cudnn_target *target,
                               struct fg_cudnn_graph *g);

/* Lists the engines that take a call's graph on the card, in a line; whether there is none: 0 or 1. */
int card_lacks(const char *path, fg_cudnn card, const struct fg_call *call, const char *shape,
               enum fg_precision precision, card_graph *graph);

/* A program's main: PROGRAM CARD.json..., check for each, which counts failures. 77, saying why, where cuDNN
 * or a driver's library is not. */
int card_main(int argc, char **argv, int (*check)(const char *path, fg_cudnn card));

#endif
