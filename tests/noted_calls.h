/* Nets and trainings planned for a card that is not there, for what cuDNN would be asked to compute: a backend
 * that takes what the plugin's checks take, and runs nothing. */
#ifndef FG_TEST_NOTED_CALLS_H
#define FG_TEST_NOTED_CALLS_H

#include "call.h"

enum { NOTED_BATCH = 32 };

/* Is handed each convolution, attention and layer normalisation that a plan would prepare, forward and
 * backward, as often as plans have it. */
typedef fgsm_status call_taker(const struct fg_call *call);
void noted_begin(call_taker *take);

/* Whether both are of one operator and one shape, type and layout all through; attributes are not looked at. */
bool noted_alike(const struct fg_call *a, const struct fg_call *b);

/* Plans models, as float32 and both half precisions, in N C H W and channels last, with nothing fused, all
 * but masks, and masks of either kind; or, if only `preferred`, as the plugin prefers them: channels last and
 * fused, and not in fp16, which has the graphs of bf16. Each with a batch of NOTED_BATCH, or with the one that its
 * file fixes. Failures are told, and counted.
 *
 * FGSM_VERBOSE tells what each plan holds and moves. */
int noted_models(int n, char **paths, bool preferred);
/* Plans all passes that train the built-in architectures, likewise. */
int noted_trainings(void);

#endif
