/* Attention as cuDNN's graphs, forward and backward, built without a card against descriptions of cards: in
 * both half precisions an engine must take each. The plugin's whole list, and shapes that no net of tests/golden has;
 * those that nets have, cudnn-graphs looks at.
 *
 *   sdpa-graphs CARD.json...
 */
#include <stdio.h>

#include "attention_graph.h"
#include "card_graphs.h"

struct shape {
  int64_t batch, heads, queries, keys, width;
};

/* ViT-B/16, a window of Swin's, one that attends across, and a small one. */
static const struct shape shapes[] = {
    {32, 12, 197, 197, 64}, {64, 3, 49, 49, 32}, {2, 3, 5, 37, 128}, {4, 2, 17, 17, 8}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void make_call(const struct shape *s, enum fg_type type, bool grad, struct fg_call *call) {
  static const union fg_attrs attrs = {.attention = {0.125}};
  const struct fg_tensor q = {
      .type = type, .rank = 4, .dim = {s->batch, s->heads, s->queries, s->width}};
  const struct fg_tensor k = {
      .type = type, .rank = 4, .dim = {s->batch, s->heads, s->keys, s->width}};
  const struct fg_tensor lse = {.type = FG_F32, .rank = 3, .dim = {s->batch, s->heads, s->queries}};
  if (grad)
    *call = (struct fg_call){.op = FG_OP_attention_grad,
                             .n_in = 6,
                             .n_out = 3,
                             .attrs = &attrs,
                             .in = {q, q, k, k, q, lse},
                             .out = {q, k, k}};
  else
    *call = (struct fg_call){.op = FG_OP_attention,
                             .n_in = 3,
                             .n_out = 2,
                             .attrs = &attrs,
                             .in = {q, k, k},
                             .out = {q, lse}};
}

static int check(const char *path, fg_cudnn card, const struct shape *s, bool half, bool grad) {
  char shape[100];
  struct fg_call call;
  make_call(s, half ? FG_F16 : FG_BF16, grad, &call);
  snprintf(shape, sizeof shape, "%lldx%lldx%lldx%lldx%lld", (long long)s->batch,
           (long long)s->heads, (long long)s->queries, (long long)s->keys, (long long)s->width);
  if (fg_cuda_sdpa_can(&call))
    return card_lacks(path, card, &call, shape, half ? FG_PRECISION_fp16 : FG_PRECISION_bf16,
                      fg_cuda_sdpa_graph);
  printf("FAIL %s: no words for attention of %s\n", path, shape);
  return 1;
}

static int check_card(const char *path, fg_cudnn card) {
  int failures = 0;
  for (int i = 0; i < N_SHAPES; i++)
    for (int form = 0; form < 4; form++)
      failures += check(path, card, &shapes[i], form % 2, form / 2);
  return failures;
}

int main(int argc, char **argv) {
  return card_main(argc, argv, check_card);
}
