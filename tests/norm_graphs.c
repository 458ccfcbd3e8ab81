/* Layer normalisation as cuDNN's graphs, forward, for inference, and backward, built without a card against
 * descriptions of cards: in float32 and both half precisions an engine must take each. The plugin's whole list; those
 * that nets have, cudnn-graphs looks at.
 *
 *   norm-graphs CARD.json...
 */
#include <stdio.h>
#include <string.h>

#include "card_graphs.h"
#include "layer_norm_graph.h"

struct shape {
  int64_t batch, tokens, width;
};

/* ViT-Tiny's rows, and the narrow ones of Swin-T's first stage. */
static const struct shape shapes[] = {{32, 197, 192}, {32, 3136, 96}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static const struct {
  enum fg_op op;
  bool saves;
} forms[] = {{FG_OP_layer_norm, true}, {FG_OP_layer_norm, false}, {FG_OP_layer_norm_grad, true}};
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
  char shape[100];
  struct fg_call call;
  make_call(s, kinds[kind].type, form, &call);
  snprintf(shape, sizeof shape, "%lldx%lldx%lld%s", (long long)s->batch, (long long)s->tokens,
           (long long)s->width, forms[form].saves ? "" : " for inference");
  if (fg_cuda_norm_can(&call))
    return card_lacks(path, card, &call, shape, kinds[kind].precision, fg_cuda_norm_graph);
  printf("FAIL %s: no words for layer normalisation of %s\n", path, shape);
  return 1;
}

static int check_card(const char *path, fg_cudnn card) {
  int failures = 0;
  for (int i = 0; i < N_SHAPES; i++)
    for (int kind = 0; kind < N_KINDS; kind++)
      for (int form = 0; form < N_FORMS; form++)
        failures += check(path, card, &shapes[i], kind, form);
  return failures;
}

int main(int argc, char **argv) {
  return card_main(argc, argv, check_card);
}
