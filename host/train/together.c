/* Ranks of one run: each takes its part of every batch, every look and every judgement; one of them
 * writes. What all of them see (a loss, a look, an interrupt) they act upon alike. Where one fails by
 * itself the others would wait for it in vain, so it ends them. */
#include "run.h"

fgsm_status fg_run_agree(struct fg_run *run, fgsm_status status) {
  double any = status == FGSM_INTERRUPTED;
  if (status != FGSM_OK && status != FGSM_INTERRUPTED)
    return status;
  FG_TRY(fg_ranks_sum(run->ranks, FG_F64, 1, &any));
  run->agreed = any > 0;
  return any > 0 ? FG_FAIL(INTERRUPTED, "interrupted") : FGSM_OK;
}

fgsm_status fg_run_check_interrupt(struct fg_run *run) {
  return fg_run_agree(run, fg_check_interrupt());
}

fgsm_status fg_run_settle(struct fg_run *run, fgsm_status status) {
  int32_t first = (int32_t)status;
  FG_TRY(fg_ranks_broadcast(run->ranks, 0, &first, sizeof first));
  run->agreed = first != FGSM_OK;
  if (first == FGSM_OK || run->writes)
    return status;
  return fg_fail((fgsm_status)first, __FILE__, __LINE__, "rank 0 failed: %s",
                 fgsm_status_text((fgsm_status)first));
}

void fg_run_part(struct fg_run *run, fgsm_status status) {
  /* A check has failed for all: they judge by the same sums. */
  bool alone = status != FGSM_OK && status != FGSM_CHECK && !run->agreed;
  if (run->ranks && alone) {
    fg_log(FGSM_LOG_ERROR, "rank %d of %d: %s", run->ranks->rank, run->ranks->size,
           fgsm_last_error());
    run->ranks->kind->abort(run->ranks, fgsm_status_exit_code(status));
  }
  fg_ranks_close(run->ranks);
  run->ranks = NULL;
}
