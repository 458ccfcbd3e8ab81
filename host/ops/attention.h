/* Attention as a composition, for the importers of ONNX's operator and of contrib's. */
#ifndef FG_ATTENTION_H
#define FG_ATTENTION_H

#include "rules.h"

/* softmax(cap(scale q k^T) + bias) v. The bias is a float or BOOL (true: looked at) mask that
 * broadcasts to [batch, heads, rows, columns]. Query head h looks at head h / (heads / kv_heads) of
 * k and v. A row that may look at nothing gives zeros, and takes no gradient. */
struct fg_attention {
  fg_id q, k, v; /* [batch, heads, rows, size], [batch, kv_heads, columns, size] twice */
  fg_id mask;    /* FG_ABSENT for none; fewer columns than k has: the others are not looked at */
  fg_id hidden;  /* BOOL: places that are not looked at, or FG_ABSENT */
  double scale, softcap; /* softcap 0: none */
};

/* *stages, where not NULL: the products, the capped ones, those with the bias, the weights. */
fgsm_status fg_attend(struct fg_graph *g, const struct fg_attention *a, fg_id stages[4],
                      fg_id *out) FGSM_MUST_USE;

/* [batch, rows, heads * size] to [batch, heads, rows, size], and back. */
fgsm_status fg_attention_split(struct fg_graph *g, fg_id x, int64_t heads,
                               fg_id *out) FGSM_MUST_USE;
fgsm_status fg_attention_merge(struct fg_graph *g, fg_id x, fg_id *out) FGSM_MUST_USE;

/* Which of `columns` places lie outside of [row + offset - left, row + offset + right], as BOOL
 * [.., rows, columns]; -1 for no bound. offset: I64 that broadcasts to [batch, 1, 1, 1]. */
fgsm_status fg_attention_window(struct fg_graph *g, int64_t rows, int64_t columns, fg_id offset,
                                int64_t left, int64_t right, fg_id *out) FGSM_MUST_USE;

/* a or b, either of which may be FG_ABSENT. */
fgsm_status fg_attention_either(struct fg_graph *g, fg_id a, fg_id b, fg_id *out) FGSM_MUST_USE;

#endif
