/* A card that is not there, under the plugin's own C files: memory is the harness's, streams and events are
 * names, and the clock is advanced by what the fake libraries say that their work takes, and by each kernel. */
#ifndef FAKE_CARD_H
#define FAKE_CARD_H

#include "device.h"

/* Each puts its functions into fg_nv. */
void fake_cublaslt(void);
void fake_cudnn(void);

extern struct fg_cuda_device fake_card;
/* Handles that libraries must be called with. */
#define FAKE_CUBLAS ((cublasLtHandle_t)(void *)&fake_card.cublas)
#define FAKE_CUDNN ((cudnnHandle_t)(void *)&fake_card.cudnn)

/* Opens the card anew. */
struct fg_device *fake_card_open(const struct fg_backend *backend, enum fg_layout layout,
                                 enum fg_precision precision);
/* The card as a backend without kernels (fake_backend.c). */
struct fg_backend *fake_backend(enum fg_layout layout);
/* Says what is wrong, and counts it. */
void fake_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern unsigned long fake_errors;

/* A library's work has taken so long; a kernel takes FAKE_LAUNCH milliseconds. */
#define FAKE_LAUNCH .05
void fake_passes(double milliseconds);
/* Trials are on a stream of their own, all else here is on none. */
bool fake_is_trial(cudaStream_t stream);
/* Told of trials, where it is not NULL: that one begins, what a way that a library
 * is in took, that it ends. */
enum fake_trial { FAKE_BEGINS, FAKE_TIMED, FAKE_ENDS };
extern void (*fake_watch)(enum fake_trial what, double milliseconds);

#endif
