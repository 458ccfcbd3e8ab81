/* Weights in panels (product.h), once for all products that want them so (kept.h). */
#include <string.h>

#include "kept.h"
#include "product.h"

static int64_t deep_of(const struct fg_product *p) {
  return p->k_pitch;
}

struct weights {
  const struct fg_product *plan;
  const float *b;
  int64_t ldb;
  bool turned;
  float *panels;
};

/* Numbers of a row that are read before the next row: those of a cache line, of a b that is turned. */
enum { LINE = 16 };

static void order_panels(const void *ctx, int64_t begin, int64_t end) {
  const struct weights *w = ctx;
  const struct fg_product *p = w->plan;
  int64_t wide = (int64_t)p->lanes * p->panel, all = p->n_vecs * p->lanes, deep = deep_of(p);
  for (int64_t first = begin * wide; first < end * wide && first < all; first += wide) {
    int64_t width = all - first < wide ? all - first : wide;
    int64_t there = p->shape.n - first < width ? p->shape.n - first : width;
    float *to = w->panels + first * deep;
    memset(to, 0, (size_t)(deep * width) * sizeof *to);
    for (int64_t k = 0; k < p->shape.k; k += LINE)
      for (int64_t j = 0; j < there; j++)
        for (int64_t i = k; i < k + LINE && i < p->shape.k; i++)
          to[i * width + j] =
              w->turned ? w->b[(first + j) * w->ldb + i] : w->b[i * w->ldb + first + j];
  }
}

/* Kept under a shape that tells panels of b and of b turned apart: the last axis of the one alone is 1. */
fgsm_status fg_product_take(const struct fg_product *p, const float *b, int64_t ldb, bool turned,
                            float **panels, size_t *kept_bytes) {
  const int64_t like_b[] = {p->n_vecs, 1, deep_of(p), p->lanes},
                like_turned[] = {p->n_vecs, deep_of(p), p->lanes, 1};
  fg_dnnl_md like = NULL;
  void *memory = NULL;
  bool fresh;
  FG_TRY(fg_dnnl_md_create(4, turned ? like_turned : like_b, dnnl_abcd, &like));
  fgsm_status status = fg_cpu_kept_take(b, like, &memory, &fresh);
  fg_dnnl_md_destroy(like);
  if (status != FGSM_OK)
    return status;
  *panels = memory;
  *kept_bytes = fresh ? (size_t)(p->n_vecs * p->lanes * deep_of(p)) * sizeof(float) : 0;
  struct weights w = {p, b, ldb, turned, memory};
  if (fresh)
    fg_cpu_parallel(p->panels, 1, (double)(deep_of(p) * p->lanes * p->panel), order_panels, &w);
  return FGSM_OK;
}
