/* The fuse pass: what is fused computes what was there before, and what a backend declines stays. */
#include <criterion/criterion.h>

#include "fusing.h"

Test(fuse, on_the_oracle_everything_is_fused_and_computes_the_same) {
  char why[512];
  for (int i = 0; i < fusing_count(); i++) {
    enum fusing_result result = fusing_run(i, &fg_ref, why, sizeof why);
    bool never = fusing_op(i) == FG_OP_COUNT;
    cr_expect_neq(result, FUSING_WRONG, "%s: %s", fusing_name(i), why);
    cr_expect_eq(result == FUSING_DECLINED, never, "%s: %s", fusing_name(i),
                 never ? "fused" : "not fused");
  }
}

Test(fuse, on_the_cpu_dense_networks_are_fused_and_all_compute_the_same) {
  char why[512];
  for (int i = 0; i < fusing_count(); i++) {
    enum fusing_result result = fusing_run(i, &fg_cpu, why, sizeof why);
    cr_expect_neq(result, FUSING_WRONG, "%s: %s", fusing_name(i), why);
    if (fusing_op(i) == FG_OP_mlp_fgsm)
      cr_expect_eq(result, FUSING_OK, "%s: not fused", fusing_name(i));
  }
}

static fgsm_status decline(struct fg_call *call, struct fg_device *device) {
  (void)device;
  return FG_FAIL(UNSUPPORTED, "declined: %s", fg_op_name(call->op));
}

static struct fg_backend backend; /* the oracle's, whose fused kernels decline */

static fgsm_status open_declining(int index, int threads, struct fg_device **out) {
  FG_TRY(fg_ref.open(index, threads, out));
  (*out)->backend = &backend;
  return FGSM_OK;
}

Test(fuse, what_is_declined_stays) {
  static struct fg_kernel declining[FG_OP_COUNT];
  static const enum fg_op ops[] = {FG_OP_mlp_fgsm, FG_OP_conv_grad_input_step,
                                   FG_OP_gemm_grad_input_step};
  char why[512];
  backend = fg_ref;
  backend.open = open_declining;
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
    declining[ops[i]] = *fg_ref.kernels[ops[i]];
    declining[ops[i]].prepare = decline;
    backend.kernels[ops[i]] = &declining[ops[i]];
  }
  for (int i = 0; i < fusing_count(); i++)
    cr_expect_eq(fusing_run(i, &backend, why, sizeof why), FUSING_DECLINED, "%s", fusing_name(i));
}
