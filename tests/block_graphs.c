/* The attention and layer normalisation that was planned, and the engines for its graphs. */
#include <stdio.h>
#include <stdlib.h>

#include "attention_graph.h"
#include "card_graphs.h"
#include "layer_norm_graph.h"
#include "noted_graphs.h"

enum { MOST_CALLS = 1024 };

static struct noted {
  struct fg_call call;
  union fg_attrs attrs;
  bool strict; /* an engine of fp32 takes it, which is one of tf32 too */
} calls[MOST_CALLS];
static int n_calls;

static fgsm_status add(const struct fg_call *call) {
  struct noted *n = &calls[n_calls];
  for (int i = 0; i < n_calls; i++)
    if (noted_alike(&calls[i].call, call))
      return FGSM_OK; /* scale and epsilon are numbers that a graph is run with */
  if (n_calls == MOST_CALLS)
    return FG_FAIL(INTERNAL, "more than %d calls", MOST_CALLS);
  n->call = *call;
  n->attrs = *call->attrs;
  n->call.attrs = &n->attrs;
  n_calls++;
  return FGSM_OK;
}

static void to_fp16(struct fg_tensor *t) {
  if (t->type == FG_BF16)
    t->type = FG_F16;
}

fgsm_status block_take(const struct fg_call *call) {
  struct fg_call other = *call;
  for (int i = 0; i < call->n_in; i++)
    to_fp16(&other.in[i]);
  for (int i = 0; i < call->n_out; i++)
    to_fp16(&other.out[i]);
  FG_TRY(add(call));
  return add(&other);
}

/* What was found for one operator in one precision. */
struct found {
  int calls, ours;
};

static int list(fg_cudnn card, const struct fg_call *call, enum fg_precision precision,
                bool attention) {
  const struct fg_cudnn_target target = {.properties = card};
  struct fg_cudnn_graph g;
  struct fg_cudnn_engines engines = {.n = 0};
  if ((attention ? fg_cuda_sdpa_graph : fg_cuda_norm_graph)(call, &target, &g) != FGSM_OK)
    return 0;
  card_engines(&g, &target, fg_cudnn_forbidden(precision), getenv("FGSM_VERBOSE") != NULL,
               &engines);
  int n = engines.n;
  fg_cudnn_engines_free(&engines);
  fg_cudnn_graph_destroy(&g);
  return n;
}

static bool check_call(const char *card_name, fg_cudnn card, struct noted *noted,
                       enum fg_precision precision, struct found *found) {
  const struct fg_call *call = &noted->call;
  bool attention = call->op == FG_OP_attention || call->op == FG_OP_attention_grad;
  bool can = attention ? fg_cuda_sdpa_can(call) : fg_cuda_norm_can(call);
  found->calls++;
  found->ours += !can;
  if (!can || (precision == FG_PRECISION_tf32 && noted->strict))
    return true;
  int n = list(card, call, precision, attention);
  noted->strict = precision == FG_PRECISION_fp32 && n > 0;
  if (n && !getenv("FGSM_VERBOSE"))
    return true;
  printf("%s%s: %s %s", n ? "" : "FAIL ", card_name, fg_op_name(call->op),
         fg_precision_name(precision));
  for (int d = 0; d < call->in[0].rank; d++)
    printf("%c%lld", d ? 'x' : ' ', (long long)call->in[0].dim[d]);
  printf(": %d engines\n", n);
  return n > 0;
}

int block_check(const char *name, fg_cudnn card) {
  static const enum fg_op ops[] = {FG_OP_attention, FG_OP_attention_grad, FG_OP_layer_norm,
                                   FG_OP_layer_norm_grad};
  int failures = 0;
  if (!card_has_driver()) {
    printf("%s: attention and layer normalisation are not looked at: no driver or stub of one\n",
           name);
    return 0;
  }
  for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
    for (int p = 0; p < FG_PRECISION_COUNT; p++) {
      struct found found = {0, 0};
      for (int i = 0; i < n_calls; i++)
        if (calls[i].call.op == ops[k] && card_computes(&calls[i].call, (enum fg_precision)p))
          failures += !check_call(name, card, &calls[i], (enum fg_precision)p, &found);
      printf("%s, %s, %s: %d calls, %d of them for our own kernels alone\n", name,
             fg_op_name(ops[k]), fg_precision_name((enum fg_precision)p), found.calls, found.ours);
    }
  return failures;
}
