/* Attention as cuDNN's graph, built without a card against descriptions of cards: in both half precisions it
 * must be taken by an engine. Its engines ask for the driver's library before they answer, and a stub of
 * CUDA's serves; what they compile is loaded through it too, so plans are not made here.
 *
 *   sdpa-graphs CARD.json...
 *
 * Exits with 77, saying why, where cuDNN or a driver's library is not. */
#include <dlfcn.h>
#include <stdio.h>

#include "attention_graph.h"

enum { MOST_CARD = 8192 };

struct shape {
  int64_t batch, heads, queries, keys, width;
};

/* ViT-B/16, a window of Swin's, one that attends across, and a small one. */
static const struct shape shapes[] = {
    {32, 12, 197, 197, 64}, {64, 3, 49, 49, 32}, {2, 3, 5, 37, 128}, {4, 2, 17, 17, 8}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static int check(const char *path, fg_cudnn card, const struct shape *s, enum fg_type type) {
  static const union fg_attrs attrs = {.attention = {0.125}};
  const struct fg_tensor q = {
      .type = type, .rank = 4, .dim = {s->batch, s->heads, s->queries, s->width}};
  const struct fg_tensor k = {
      .type = type, .rank = 4, .dim = {s->batch, s->heads, s->keys, s->width}};
  const struct fg_call call = {
      .op = FG_OP_attention,
      .n_in = 3,
      .n_out = 2,
      .attrs = &attrs,
      .in = {q, k, k},
      .out = {q, {.type = FG_F32, .rank = 3, .dim = {s->batch, s->heads, s->queries}}}};
  const struct fg_cudnn_target target = {.properties = card};
  struct fg_cudnn_graph g;
  struct fg_cudnn_engines engines = {.n = 0};
  bool taken = fg_cuda_sdpa_can(&call) && fg_cuda_sdpa_graph(&call, &target, &g) == FGSM_OK;
  if (taken) {
    taken = fg_cudnn_list(&g, &target, fg_cudnn_forbidden(FG_PRECISION_bf16), &engines) == FGSM_OK;
    fg_cudnn_graph_destroy(&g);
  }
  printf("%s%s: %s %lldx%lldx%lldx%lldx%lld: %d engines%s%s\n", taken ? "" : "FAIL ", path,
         fg_type_name(type), (long long)s->batch, (long long)s->heads, (long long)s->queries,
         (long long)s->keys, (long long)s->width, engines.n, taken ? "" : ": ",
         taken ? "" : fgsm_last_error());
  fg_cudnn_engines_free(&engines);
  return !taken;
}

static int check_card(const char *path) {
  char json[MOST_CARD] = "";
  fg_cudnn card;
  int failures = 0;
  FILE *file = fopen(path, "re");
  size_t n = file ? fread(json, 1, sizeof json - 1, file) : 0;
  if (file)
    fclose(file);
  if (!n || fg_cudnn_properties(json, &card) != FGSM_OK) {
    printf("FAIL %s: %s\n", path, n ? fgsm_last_error() : "cannot be read");
    return 1;
  }
  for (int i = 0; i < N_SHAPES; i++)
    for (int half = 0; half < 2; half++)
      failures += check(path, card, &shapes[i], half ? FG_F16 : FG_BF16);
  fg_cudnn_destroy(card);
  return failures;
}

int main(int argc, char **argv) {
  int failures = argc < 2;
  if (fg_nv_open_cudnn() != FGSM_OK) {
    printf("skipped: %s\n", fgsm_last_error());
    return 77;
  }
  if (!dlopen("libcuda.so.1", RTLD_NOW) && !dlopen(FGSM_CUDA_STUB, RTLD_NOW)) {
    printf("skipped: neither a driver nor CUDA's stub of one: %s\n", dlerror());
    return 77;
  }
  for (int i = 1; i < argc; i++)
    failures += check_card(argv[i]);
  return failures != 0;
}
