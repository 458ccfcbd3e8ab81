#include "card_graphs.h"

#include <dlfcn.h>
#include <stdio.h>

enum { MOST_CARD = 8192 };

bool card_read(const char *path, fg_cudnn *out) {
  char json[MOST_CARD] = "";
  FILE *file = fopen(path, "re");
  size_t n = file ? fread(json, 1, sizeof json - 1, file) : 0;
  if (file)
    fclose(file);
  bool good = n && fg_cudnn_properties(json, out) == FGSM_OK;
  if (!good)
    printf("FAIL %s: %s\n", path, n ? fgsm_last_error() : "cannot be read");
  return good;
}

bool card_has_driver(void) {
  void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver)
    dlclose(driver);
  return driver != NULL;
}

bool card_computes(const struct fg_call *call, enum fg_precision precision) {
  enum fg_type type = precision == FG_PRECISION_bf16   ? FG_BF16
                      : precision == FG_PRECISION_fp16 ? FG_F16
                                                       : FG_F32;
  return call->in[0].type == type;
}

void card_engines(const struct fg_cudnn_graph *g, const struct fg_cudnn_target *target,
                  unsigned forbidden, bool whole, struct fg_cudnn_engines *out) {
  enum { FIRST = 1, FUSES_PLAINLY = 1 };
  out->n = 0;
  if (!whole) {
    fg_cudnn_ask(g, target, CUDNN_HEUR_MODE_A, FIRST, forbidden, out);
    if (!out->n)
      fg_cudnn_ask(g, target, CUDNN_HEUR_MODE_FALLBACK, FG_CUDNN_ENGINES, forbidden, out);
    if (!out->n)
      fg_cudnn_ask_for(g, target, FUSES_PLAINLY, forbidden, out);
  }
  if (!out->n)
    (void)!fg_cudnn_list(g, target, forbidden, out);
}

int card_lacks(const char *path, fg_cudnn card, const struct fg_call *call, const char *shape,
               enum fg_precision precision, card_graph *graph) {
  const struct fg_cudnn_target target = {.properties = card};
  struct fg_cudnn_graph g;
  struct fg_cudnn_engines engines = {.n = 0};
  bool taken = graph(call, &target, &g) == FGSM_OK;
  if (taken) {
    taken = fg_cudnn_list(&g, &target, fg_cudnn_forbidden(precision), &engines) == FGSM_OK;
    fg_cudnn_graph_destroy(&g);
  }
  printf("%s%s: %s %s %s: %d engines%s%s\n", taken ? "" : "FAIL ", path, fg_op_name(call->op),
         fg_precision_name(precision), shape, engines.n, taken ? "" : ": ",
         taken ? "" : fgsm_last_error());
  fg_cudnn_engines_free(&engines);
  return !taken;
}

int card_main(int argc, char **argv, int (*check)(const char *path, fg_cudnn card)) {
  fg_cudnn card;
  int failures = argc < 2;
  if (fg_nv_open_cudnn() != FGSM_OK) {
    printf("skipped: %s\n", fgsm_last_error());
    return 77;
  }
  if (!dlopen("libcuda.so.1", RTLD_NOW) && !dlopen(FGSM_CUDA_STUB, RTLD_NOW)) {
    printf("skipped: neither a driver nor CUDA's stub of one: %s\n", dlerror());
    return 77;
  }
  for (int i = 1; i < argc; i++) {
    if (card_read(argv[i], &card)) {
      failures += check(argv[i], card);
      fg_cudnn_destroy(card);
    } else {
      failures++;
    }
  }
  return failures != 0;
}
