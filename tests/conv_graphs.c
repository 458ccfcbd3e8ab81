/* The convolutions that were planned: the graphs of each, and the engines for them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "card_graphs.h"
#include "conv.h"
#include "conv_tail.h"
#include "noted_graphs.h"

enum { MOST_CALLS = 16384, MOST_GRAPHS = 16384, MOST_LINKS = 4 };

/* What is noted once, however many nets have it: calls, and the graphs of their forms, of which calls share
 * many. */
struct noted {
  struct fg_call call;
  union fg_attrs attrs;
  bool whole; /* of a graph: all engines are listed, and not the first that serve alone */
  int graph[MOST_LINKS + 1]; /* of a call: that with the first n links of its tail */
  /* of a graph, by precision, on the card that is looked at: */
  int engines[FG_PRECISION_COUNT];
  bool planned[FG_PRECISION_COUNT]; /* of an engine that need not be compiled */
};
struct table {
  struct noted *item;
  int n, most;
};
static struct noted all_calls[MOST_CALLS], all_graphs[MOST_GRAPHS];
static struct table calls = {all_calls, 0, MOST_CALLS}, graphs = {all_graphs, 0, MOST_GRAPHS};
bool conv_whole;

static bool same(const struct noted *a, const struct noted *b) {
  return noted_alike(&a->call, &b->call) &&
         memcmp(&a->attrs.conv, &b->attrs.conv, sizeof a->attrs.conv) == 0;
}

/* Its place in the table, where it is put unless it is there. */
static fgsm_status find(struct table *table, const struct fg_call *call, int *at) {
  struct noted *n = &table->item[table->n];
  if (table->n == table->most)
    return FG_FAIL(INTERNAL, "more than %d calls or graphs", table->most);
  n->call = *call;
  memset(&n->attrs, 0, sizeof n->attrs);
  n->attrs.conv = call->attrs->conv;
  for (*at = 0; *at < table->n; ++*at)
    if (same(&table->item[*at], n))
      return FGSM_OK;
  n->whole = conv_whole;
  n->call.attrs = &n->attrs;
  table->n++;
  return FGSM_OK;
}

fgsm_status conv_take(const struct fg_call *call) {
  struct fg_call head;
  union fg_attrs attrs;
  int at, known = calls.n;
  if (fg_cuda_conv_has_bits(call))
    return FGSM_OK; /* a product of cuBLASLt's */
  FG_TRY(find(&calls, call, &at));
  if (at < known)
    return FGSM_OK;
  for (int fused = 0; fused <= fg_cuda_conv_fusible(call); fused++) {
    fg_cuda_conv_head(call, fused, &head, &attrs);
    FG_TRY(find(&graphs, &head, &calls.item[at].graph[fused]));
  }
  return FGSM_OK;
}

/* ---- engines */

static bool is_masked(const struct fg_call *call) {
  return fg_cuda_out(call, 1) ||
         (call->op == FG_OP_conv_grad_input && fg_cuda_in(call, 2) && fg_is_mask(&call->in[2]));
}

static void text_of(const struct fg_call *call, char *text, size_t size) {
  const struct fg_conv_attrs *a = &call->attrs->conv;
  size_t n = (size_t)snprintf(text, size, "%s", fg_op_name(call->op));
  for (int k = 0; k < 3 && n < size; k++) {
    const struct fg_tensor *t = k < 2 ? &call->in[k] : &call->out[0];
    for (int d = 0; d < t->rank && n < size; d++)
      n += (size_t)snprintf(text + n, size - n, "%c%lld", d ? 'x' : ' ', (long long)t->dim[d]);
  }
  if (n < size)
    snprintf(text + n, size - n, "%s group %d stride %d%s%s%s%s%s",
             call->out[0].layout == FG_NHWC ? " last" : "", a->group, a->stride[0],
             fg_cuda_in(call, 3) ? " +second" : "",
             call->op == FG_OP_conv && fg_cuda_in(call, 2) ? " +bias" : "",
             a->act.kind == FG_UNARY_identity ? "" : " then ",
             a->act.kind == FG_UNARY_identity ? "" : fg_unary_name(a->act.kind),
             is_masked(call) ? " by a mask" : "");
}

/* What of the engines serves in the precision. */
static void count(struct noted *graph, const struct fg_cudnn_engines *engines,
                  const struct fg_cudnn_target *target, enum fg_precision precision) {
  for (int i = 0; i < engines->n; i++) {
    fg_cudnn plan = NULL;
    size_t bytes;
    if (engines->item[i].notes & fg_cudnn_forbidden(precision))
      continue;
    graph->engines[precision]++;
    if (engines->item[i].compiles || graph->planned[precision])
      continue;
    graph->planned[precision] = fg_cudnn_plan(&engines->item[i], target, &plan, &bytes) == FGSM_OK;
    fg_cudnn_destroy(plan);
  }
}

/* Engines for the graph in each precision that stores what it does. fp32 and tf32 share a list: all of
 * tf32's, of which some serve fp32, or the first of fp32's, which serve both. */
static void list(struct noted *graph, fg_cudnn card) {
  static const enum fg_precision first_strict[] = {FG_PRECISION_fp32, FG_PRECISION_tf32,
                                                   FG_PRECISION_bf16, FG_PRECISION_fp16},
                                 first_loose[] = {FG_PRECISION_tf32, FG_PRECISION_fp32,
                                                  FG_PRECISION_bf16, FG_PRECISION_fp16};
  const struct fg_cudnn_target target = {.properties = card};
  struct fg_cudnn_graph g;
  memset(graph->engines, 0, sizeof graph->engines);
  memset(graph->planned, 0, sizeof graph->planned);
  if (fg_cuda_conv_graph(&graph->call, &target, &g) != FGSM_OK)
    return;
  struct fg_cudnn_engines engines = {.n = 0};
  for (int i = 0; i < FG_PRECISION_COUNT; i++) {
    enum fg_precision p = graph->whole ? first_loose[i] : first_strict[i];
    if (!card_computes(&graph->call, p))
      continue;
    if (!engines.n)
      card_engines(&g, &target, fg_cudnn_forbidden(p), graph->whole, &engines);
    count(graph, &engines, &target, p);
  }
  fg_cudnn_engines_free(&engines);
  fg_cudnn_graph_destroy(&g);
}

/* Channels last there need not be an engine where NCHW has one: the layout is then not taken. But in
 * half precision, without groups, there must be, for that is what it is for. */
static bool may_lack(const struct fg_call *call, enum fg_precision precision) {
  bool half = precision == FG_PRECISION_bf16 || precision == FG_PRECISION_fp16;
  return call->out[0].layout == FG_NHWC && !(half && call->attrs->conv.group == 1);
}

/* Channels last, of whole vectors of channels, everything that can be said must be had in one graph. */
static bool must_fuse(const struct fg_call *call) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  return y->layout == FG_NHWC && call->attrs->conv.group == 1 && x->dim[1] % 8 == 0 &&
         y->dim[1] % 8 == 0 && card_has_driver();
}

/* What was found for the calls of one precision, in N C H W or channels last. */
struct found {
  int calls, without, planned, forms, fused;
};

/* Looks at each form of the call (FGSM_VERBOSE shows them): the bare product, and those with the first, the
 * second, ... of what follows it in the graph. False if one is missing that must be there. */
static bool check_call(const char *card_name, const struct noted *noted,
                       enum fg_precision precision, struct found *found) {
  const struct fg_call *call = &noted->call;
  const struct noted *product = &graphs.item[noted->graph[0]];
  char text[512], forms[64] = "";
  int bare = product->engines[precision], engines = bare;
  text_of(call, text, sizeof text);
  found->calls++;
  found->without += !bare;
  found->planned += product->planned[precision];
  for (int n = 1; n <= fg_cuda_conv_fusible(call); n++) {
    engines = graphs.item[noted->graph[n]].engines[precision];
    size_t used = strlen(forms);
    snprintf(forms + used, sizeof forms - used, ", %d fused %d", n, engines);
    found->forms++;
    found->fused += engines > 0;
  }
  if (getenv("FGSM_VERBOSE"))
    printf("%s: %s: %s: %d engines%s\n", card_name, text, fg_precision_name(precision), bare,
           forms);
  if ((bare || may_lack(call, precision)) && (engines || !must_fuse(call)))
    return true;
  printf("FAIL %s: %s: no engine in %s for %s\n", card_name, text, fg_precision_name(precision),
         bare ? "all of it" : "the product");
  return false;
}

static void tell(const char *card, bool last, enum fg_precision precision, const struct found *f) {
  printf("%s, %s, %s: %d calls, %d without an engine; a plan of a ready engine for %d; of %d forms "
         "that fuse, engines take %d\n",
         card, last ? "NHWC" : "NCHW", fg_precision_name(precision), f->calls, f->without,
         f->planned, f->forms, f->fused);
}

int conv_check(const char *name, fg_cudnn card) {
  int failures = 0;
  struct found found[2][FG_PRECISION_COUNT] = {{{0}}};
  for (int i = 0; i < graphs.n; i++)
    list(&graphs.item[i], card);
  for (int i = 0; i < calls.n; i++)
    for (int p = 0; p < FG_PRECISION_COUNT; p++)
      if (card_computes(&calls.item[i].call, (enum fg_precision)p))
        failures += !check_call(name, &calls.item[i], (enum fg_precision)p,
                                &found[calls.item[i].call.out[0].layout == FG_NHWC][p]);
  printf("%s: %d graphs of %d convolutions\n", name, graphs.n, calls.n);
  for (int last = 0; last < 2; last++)
    for (int p = 0; p < FG_PRECISION_COUNT; p++)
      tell(name, last, (enum fg_precision)p, &found[last][p]);
  if (calls.n == 0)
    printf("FAIL no convolution was planned\n"), failures++;
  return failures;
}
