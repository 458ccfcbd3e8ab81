/* Layer normalisation as cuDNN's graphs, forward, for inference, and backward, built without a card against
 * descriptions of cards: in float32 and both half precisions an engine must take each. Its engines ask for the
 * driver's library before they answer, and a stub of CUDA's serves; plans are not made here.
 *
 *   norm-graphs CARD.json...
 *
 * Exits with 77, saying why, where cuDNN or a driver's library is not. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "layer_norm_graph.h"

enum { MOST_CARD = 8192 };

struct shape {
  int64_t batch, tokens, width;
};

/* ViT-B/16, ViT-Tiny, Swin-T's first and last stage, and of ConvNeXt-T, channels last, the second. */
static const struct shape shapes[] = {
    {32, 197, 768}, {32, 197, 192}, {32, 3136, 96}, {32, 49, 768}, {32, 784, 192}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static const struct {
  const char *name;
  enum fg_op op;
  bool saves;
} forms[] = {{"layer_norm", FG_OP_layer_norm, true},
             {"layer_norm for inference", FG_OP_layer_norm, false},
             {"layer_norm_grad", FG_OP_layer_norm_grad, true}};
enum { N_FORMS = sizeof forms / sizeof *forms };

static const struct {
  enum fg_type type;
  enum fg_precision precision;
} kinds[] = {{FG_F32, FG_PRECISION_fp32},
             {FG_F32, FG_PRECISION_tf32},
             {FG_BF16, FG_PRECISION_bf16},
             {FG_F16, FG_PRECISION_fp16}};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static void make_call(const struct shape *s, enum fg_type type, int form, struct fg_call *call) {
  static const union fg_attrs attrs = {.layer_norm = {.axis = 2, .epsilon = 1e-6}};
  const struct fg_tensor x = {.type = type, .rank = 3, .dim = {s->batch, s->tokens, s->width}};
  const struct fg_tensor scale = {.type = FG_F32, .rank = 1, .dim = {s->width}};
  const struct fg_tensor mean = {
      .type = forms[form].saves ? FG_F32 : FG_NONE, .rank = 3, .dim = {s->batch, s->tokens, 1}};
  *call = (struct fg_call){.op = forms[form].op, .n_out = 3, .attrs = &attrs};
  if (call->op == FG_OP_layer_norm_grad) {
    const struct fg_tensor in[] = {x, x, scale, mean, mean}, out[] = {x, scale, scale};
    call->n_in = 5;
    memcpy(call->in, in, sizeof in);
    memcpy(call->out, out, sizeof out);
  } else {
    const struct fg_tensor in[] = {x, scale, scale}, out[] = {x, mean, mean};
    call->n_in = 3;
    memcpy(call->in, in, sizeof in);
    memcpy(call->out, out, sizeof out);
  }
}

static int check(const char *path, fg_cudnn card, const struct shape *s, int kind, int form) {
  const struct fg_cudnn_target target = {.properties = card};
  struct fg_cudnn_graph g;
  struct fg_cudnn_engines engines = {.n = 0};
  struct fg_call call;
  make_call(s, kinds[kind].type, form, &call);
  bool taken = fg_cuda_norm_can(&call) && fg_cuda_norm_graph(&call, &target, &g) == FGSM_OK;
  if (taken) {
    taken =
        fg_cudnn_list(&g, &target, fg_cudnn_forbidden(kinds[kind].precision), &engines) == FGSM_OK;
    fg_cudnn_graph_destroy(&g);
  }
  printf("%s%s: %s %s %lldx%lldx%lld: %d engines%s%s\n", taken ? "" : "FAIL ", path,
         forms[form].name, fg_precision_name(kinds[kind].precision), (long long)s->batch,
         (long long)s->tokens, (long long)s->width, engines.n, taken ? "" : ": ",
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
    for (int kind = 0; kind < N_KINDS; kind++)
      for (int form = 0; form < N_FORMS; form++)
        failures += check(path, card, &shapes[i], kind, form);
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
