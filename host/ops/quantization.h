/* What QuantizeLinear and the integer products share. */
#ifndef FG_QUANTIZATION_H
#define FG_QUANTIZATION_H

#include "rules.h"

/* The range of a type that values are quantised to. */
fgsm_status fg_quantized_range(enum fg_type type, double *low, double *high) FGSM_MUST_USE;

/* x as floats: where it was cast from whole numbers (QuantizeLinear, an integer product), those. */
fgsm_status fg_quantized_floats(struct fg_graph *g, fg_id x, fg_id *out) FGSM_MUST_USE;

#endif
