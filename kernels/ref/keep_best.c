/* keep_best: replaces sample i of best_* where this one is better: success first, then the loss. A
 * sample without a prediction (NaN) or without a label is never a success, and NaN is no loss. */
#include "ref.h"

enum { X, LOSS, PREDICTION, LABELS, BEST_X, BEST_LOSS, BEST_SUCCESS };

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 127, 0));
  FG_TRY(fg_ref_check_real(call, 1 << LOSS | 1 << BEST_LOSS, 0));
  const struct fg_tensor *x = &call->in[X];
  FG_REF_NEED(call, x->rank >= 1, "x has no batch axis");
  FG_REF_NEED(call, x->type == call->in[BEST_X].type && fg_same_shape(x, &call->in[BEST_X]),
              "x and best_x differ in type or shape");
  static const int per_sample[] = {LOSS, PREDICTION, LABELS, BEST_LOSS, BEST_SUCCESS};
  for (size_t i = 0; i < sizeof per_sample / sizeof *per_sample; i++) {
    const struct fg_tensor *t = &call->in[per_sample[i]];
    FG_REF_NEED(call, t->rank == 1 && t->dim[0] == x->dim[0], "input %d is not [N]", per_sample[i]);
  }
  FG_REF_NEED(call,
              call->in[PREDICTION].type == FG_I32 && call->in[LABELS].type == FG_I32 &&
                  call->in[BEST_SUCCESS].type == FG_U8,
              "prediction and labels are int32, best_success is uint8");
  return FGSM_OK;
}

static bool is_better(const struct fg_call *call, int64_t i, bool success) {
  bool targeted = call->attrs->keep_best.targeted;
  bool best_success = fg_ref_get_int(&call->in[BEST_SUCCESS], i) != 0;
  double loss = fg_ref_get(&call->in[LOSS], i), best = fg_ref_get(&call->in[BEST_LOSS], i);
  if (success != best_success)
    return success;
  if (isnan(loss) || isnan(best))
    return !isnan(loss);
  return targeted ? loss < best : loss > best;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_tensor *x = &call->in[X];
  int64_t bytes = fg_ref_features(x) * (int64_t)fg_type_size(x->type);
  for (int64_t i = 0; i < x->dim[0]; i++) {
    int64_t prediction = fg_ref_get_int(&call->in[PREDICTION], i);
    int64_t label = fg_ref_get_int(&call->in[LABELS], i);
    bool hit = prediction == label;
    bool success = prediction >= 0 && label >= 0 && (call->attrs->keep_best.targeted ? hit : !hit);
    if (!is_better(call, i, success))
      continue;
    memcpy((char *)call->in[BEST_X].data + i * bytes, (const char *)x->data + i * bytes,
           (size_t)bytes);
    fg_ref_put(&call->in[BEST_LOSS], i, fg_ref_get(&call->in[LOSS], i));
    fg_ref_put_int(&call->in[BEST_SUCCESS], i, success);
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_keep_best = {prepare, run, NULL};
