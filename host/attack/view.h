/* One batch that lies in the device's memory, attacked there (view.c). */
#ifndef FG_VIEW_H
#define FG_VIEW_H

#include "attack.h"

struct fg_view {
  void *x, *x_adv; /* info.batch samples of float32 each, dense, on 64 bytes; may be the same */
  void *labels;    /* as many classes; NULL where one target serves all */
  enum fg_type labels_type; /* I32 or I64 */
  int64_t first_index;      /* samples are numbered from it on: what their randomness is keyed by */
  void *stream;             /* the backend's; NULL: the device's own */
};

/* Puts the attack on the stream and returns; x_adv is there once what is on the stream now is done, and
 * until then neither x nor labels may change. Neither values nor labels are looked at. A sample whose
 * gradient is not finite is set back to what it was by that step. FGSM_USAGE for an attack that cannot
 * do without looking at what came of it. The first call makes what views need beside the attack. */
fgsm_status fg_attacker_run_view(struct fg_attacker *attacker,
                                 const struct fg_view *view) FGSM_MUST_USE;

#endif
