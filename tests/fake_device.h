/* A card that is not there: an asynchronous backend around cpu's or ref's kernels, for tests. Built as
 * a plugin named cuda (fake_plugin.c), so that everything above it is what users run.
 *
 * A stream is a queue and a thread; events order them; nothing else does, and every piece of work
 * takes a random while first. Device memory begins as NaN; what was not pinned by host_alloc is copied
 * at once, what was is read when the transfer's turn comes. So a missing event, or a buffer that is
 * written too soon, shows as wrong results. In bf16 it rounds what products give to that many digits.
 * Ranks join by NCCL, as real cards do (tools/fake_nccl.c).
 * Set by the environment:
 *
 *   FAKE_INNER=cpu|ref      whose kernels compute, in whose real type (cpu)
 *   FAKE_DEVICES=N          how many cards there are (2)
 *   FAKE_LANES=N            lanes of each (2)
 *   FAKE_DELAY=N            most microseconds that a piece of work waits (0)
 *   FAKE_MEMORY=N           MiB that all of them have together (8192)
 *   FAKE_RECORDS=0|1        whether it offers recordings (1)
 *   FAKE_FAIL=POINT:K       the K-th call, from 1, at a point fails: open, alloc, host_alloc, upload,
 *                           download, run, event, sync, capture, replay. The card is then lost; only
 *                           memory that runs out (alloc, host_alloc) leaves it well. */
#ifndef FAKE_DEVICE_H
#define FAKE_DEVICE_H

#include "kernel.h"

extern const struct fg_backend fake_backend;

/* In the plugin, found with dlsym: forgets what was counted, reads the environment anew. Not while a
 * device is open. */
FGSM_API void fake_reset(void);
/* What was made and not freed, as text: "" if nothing. */
FGSM_API const char *fake_leaks(void);
/* Pieces of work that ran while another stream's ran; replays. */
FGSM_API long fake_overlaps(void);
FGSM_API long fake_replays(void);
/* Bytes that went up from pinned memory, which in an attack are samples. */
FGSM_API long fake_uploaded(void);
/* Pieces of work that are on streams and not done. */
FGSM_API long fake_pending(void);

#endif
