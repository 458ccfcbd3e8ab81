/* The node tests that are left out, and why. Patterns as of the shell; the first that fits counts. */
#include <fnmatch.h>
#include <stddef.h>

#include "node_samples.h"

/* Where a row holds: in both collections, in Debian's, or on backends in double precision. */
enum { BOTH, OLD, IN_DOUBLE };

static const struct {
  const char *pattern, *reason;
  int where;
} skips[] = {
    /* types */
    {"*string*", "text", BOTH},
    {"cast*_*STRING*", "text", BOTH},
    {"strnormalizer*", "text", BOTH},
    {"regex*", "text", BOTH},
    {"tfidf*", "text", BOTH},
    {"ai_onnx_ml_label_encoder_*", "text", BOTH},
    {"cast*FLOAT[48]*", "floats of 4 and 8 bits", BOTH},
    {"quantizelinear_[ef]*", "floats of 4 and 8 bits", BOTH},
    {"dequantizelinear_[ef]*", "floats of 4 and 8 bits", BOTH},
    {"cast*_*INT[24]*", "integers of 2 and 4 bits", BOTH},
    {"*quantizelinear_*int[24]", "integers of 2 and 4 bits", BOTH},
    {"*_uint16", "unsigned integers beyond bytes", BOTH},
    {"*_uint32", "unsigned integers beyond bytes", BOTH},
    {"*_uint64", "unsigned integers beyond bytes", BOTH},
    {"*_uint[136][246]_expanded", "unsigned integers beyond bytes", BOTH},
    {"*_ui64_*", "unsigned integers beyond bytes", BOTH},
    {"bitwise_not_3d", "unsigned integers beyond bytes", BOTH},
    {"bitcast_uint16_to_int16", "unsigned integers beyond bytes", BOTH},
    {"bitcast_uint32_to_int32", "unsigned integers beyond bytes", BOTH},
    {"cast_*BFLOAT16*", "bfloat16 data stored as uint16", OLD},
    {"castlike_*BFLOAT16*", "bfloat16 data stored as uint16", OLD},
    /* values that are no tensors */
    {"sequence_*", "sequences", BOTH},
    {"split_to_sequence*", "sequences", BOTH},
    {"identity_sequence", "sequences", BOTH},
    {"if_seq", "sequences", BOTH},
    {"loop13_seq", "sequences", BOTH},
    {"loop16_seq_none", "sequences", BOTH},
    {"identity_opt", "optional values", BOTH},
    {"if_opt", "optional values", BOTH},
    {"optional_*", "optional values", BOTH},
    /* values without elements */
    {"reshape_allowzero_reordered", "values without elements", BOTH},
    {"slice_start_out_of_bounds", "values without elements", BOTH},
    {"reduce_*_empty_set*", "values without elements", BOTH},
    {"rotary_embedding_expanded", "values without elements", BOTH},
    {"rotary_embedding_3d_input_expanded", "values without elements", BOTH},
    {"rotary_embedding_interleaved_expanded", "values without elements", BOTH},
    {"rotary_embedding_no_position_ids_expanded", "values without elements", BOTH},
    {"rotary_embedding_no_position_ids_interleaved_expanded", "values without elements", BOTH},
    {"causal_conv_with_state_kernel_size_one*", "values without elements", BOTH},
    /* training and chance */
    {"batchnorm_*_training_mode", "training mode", BOTH},
    {"training_dropout*", "training mode", BOTH},
    {"adagrad*", "optimisers", BOTH},
    {"adam*", "optimisers", BOTH},
    {"momentum*", "optimisers", BOTH},
    {"nesterov*", "optimisers", BOTH},
    {"bernoulli*", "random numbers", BOTH},
    /* what is in front of or behind a network */
    {"image_decoder*", "image decoding", BOTH},
    {"nonmaxsuppression*", "the choice among detected boxes", BOTH},
    {"ai_onnx_ml_*", "classical machine learning (ai.onnx.ml)", BOTH},
    /* forms */
    {"dynamicquantizelinear", "a tie of rounding in float32 alone", IN_DOUBLE},
    {"dynamicquantizelinear_expanded", "a tie of rounding in float32 alone", IN_DOUBLE},
    {"flexattention*", "drafts: ai.onnx.preview", BOTH},
    {"linear_attention_*", "drafts: operator set 27", BOTH},
    /* operator sets */
    {"elu*", "operator sets before 7", OLD},
    {"selu*", "operator sets before 7", OLD},
    {"hardsigmoid*", "operator sets before 7", OLD},
    {"softplus*", "operator sets before 7", OLD},
    {"softsign*", "operator sets before 7", OLD},
    {"not_?d", "operator sets before 7", BOTH},
    {"reduce_log_sum", "operator sets before 7", OLD},
    {"globalaveragepool*", "operator sets before 7", OLD},
    {"globalmaxpool*", "operator sets before 7", OLD},
    {"instancenorm_*", "operator sets before 7", OLD},
    {"scan_sum", "Scan over a batch, before operator set 9", BOTH},
};

/* Folders that the patterns above would catch and that pass: as functions of other operators. */
static const char *const kept[] = {"flexattention*_expanded*", "linear_attention_*_expanded"};

bool node_skip_row(int i, const char **pattern, const char **reason) {
  if (i < 0 || (size_t)i >= sizeof skips / sizeof *skips)
    return false;
  *pattern = skips[i].pattern;
  *reason = skips[i].reason;
  return true;
}

const char *node_skip_reason(const char *name, enum fg_type real) {
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
    if (fnmatch(kept[i], name, 0) == 0)
      return NULL;
  for (size_t i = 0; i < sizeof skips / sizeof *skips; i++) {
    bool holds = skips[i].where == BOTH || (skips[i].where == OLD && !node_suite_is_newer()) ||
                 (skips[i].where == IN_DOUBLE && real == FG_F64);
    if (holds && fnmatch(skips[i].pattern, name, 0) == 0)
      return skips[i].reason;
  }
  return NULL;
}
