/* all_reduce: what ranks do for any backend on host memory. */
#include "synchronous.h"

const struct fg_kernel fg_ref_all_reduce = FG_SYNCHRONOUS_ALL_REDUCE;
