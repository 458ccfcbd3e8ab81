/* The operators' rules, one row per line of ops.def: a forgotten rule is a link error that names
 * it. */
#include "rules.h"

const struct fg_op_def *const fg_op_defs[FG_OP_COUNT] = {
#define OP(name, max_in, n_out, trait) [FG_OP_##name] = &fg_def_##name,
#include "ops.def"
#undef OP
};
