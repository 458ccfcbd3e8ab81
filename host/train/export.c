/* The model with new weights. */
#include <stdlib.h>

#include "engine.h"

fgsm_status fg_engine_export(struct fg_engine *e, const struct fg_onnx *onnx, bool average,
                             struct fg_onnx **out) {
  const struct fg_weights *w = &e->weights;
  const char **names = calloc((size_t)w->n + 1, sizeof *names);
  float **data = calloc((size_t)w->n + 1, sizeof *data);
  fgsm_status status = names && data ? FGSM_OK : FG_FAIL(MEMORY, "no memory for the weights");
  for (int64_t i = 0; i < w->n && status == FGSM_OK; i++) {
    const struct fg_weight *item = &w->items[i];
    names[i] = item->name;
    data[i] = malloc((size_t)item->count * sizeof **data + 1);
    status = data[i] ? fg_weights_read(w, average && item->average ? item->average : item->data,
                                       item->count, data[i])
                     : FG_FAIL(MEMORY, "no memory for the weights");
  }
  if (status == FGSM_OK)
    status = fg_onnx_replace(onnx, (int)w->n, names, (const float *const *)data, out);
  for (int64_t i = 0; data && i < w->n; i++)
    free(data[i]);
  free(data);
  free(names);
  return status;
}
