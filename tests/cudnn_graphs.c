/* Every cuDNN graph that nets and their training need for convolutions, built without a card, and the engines for it listed
 * against the descriptions of cards in tests/cards. A call whose bare product no engine takes is a failure, in
 * every precision; so is one channels last of which no engine takes all, where there is a driver or a
 * stub of one. Other fused forms that none takes are only counted, because the bare one stands in.
 *
 *   cudnn-graphs CARD.json... -- [training] MODEL.onnx... [zoo MODEL.onnx...]
 *
 * The calls are those that the plan would prepare for the plugin: nets are planned for a backend that
 * takes what the plugin's check takes and notes it; so are, for the word training, the passes that train
 * the built-in architectures. Models behind the word zoo are planned as the plugin prefers them only: in
 * half precision not in N C H W. A graph that several calls or nets have is built once a card. Of the first
 * models' graphs all engines are listed that the plugin would try; of training's and the zoo's others no
 * more than the first that there is.
 *
 * FGSM_VERBOSE tells what each plan holds and moves, and has all engines listed. FGSM_ZOO names a folder of python/export_zoo.py's
 * (FOLDER/NAME/model.onnx), whose models are added, in all forms. Exits with 77, saying why, where cuDNN is not. */
#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "base.h"
#include "card_graphs.h"
#include "conv.h"
#include "conv_tail.h"
#include "half.h"
#include "halves.h"
#include "layouts.h"
#include "net.h"
#include "train.h"

enum { BATCH = 32, MOST_CALLS = 16384, MOST_GRAPHS = 16384, MOST_LINKS = 4 };

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
static bool channels_last; /* how the nets are planned; and their training */
static enum fg_precision training_precision;
static bool whole; /* what is noted has all its engines listed */

/* What the passes do to them: nothing, all but masks, all with masks of bytes, or of bits where those can be. */
enum form { PLAIN_FORM, FUSED, BYTES, BITS, FORMS };
static enum form form;
static const char *const form_names[] = {"unfused", "fused", "masks of bytes",
                                         "masks of bits or bytes"};

static bool same_tensor(const struct fg_tensor *a, const struct fg_tensor *b) {
  return !a || !b ? a == b : a->type == b->type && a->layout == b->layout && fg_same_shape(a, b);
}

static bool same(const struct noted *a, const struct noted *b) {
  if (a->call.op != b->call.op || memcmp(&a->attrs.conv, &b->attrs.conv, sizeof a->attrs.conv) != 0)
    return false;
  for (int i = 0; i < 2; i++)
    if (!same_tensor(fg_cuda_out(&a->call, i), fg_cuda_out(&b->call, i)))
      return false;
  for (int i = 0; i < 4; i++)
    if (!same_tensor(fg_cuda_in(&a->call, i), fg_cuda_in(&b->call, i)))
      return false;
  return true;
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
  n->whole = whole;
  n->call.attrs = &n->attrs;
  table->n++;
  return FGSM_OK;
}

static fgsm_status note(struct fg_call *call, struct fg_device *device) {
  struct fg_call head;
  union fg_attrs attrs;
  int at, known = calls.n;
  (void)device;
  FG_TRY(fg_cuda_conv_check(call));
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

/* Planned only, so that nothing is ever run. */
static fgsm_status no_run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch;
  (void)stream;
  return FG_FAIL(INTERNAL, "%s was run", fg_op_name(call->op));
}

static fgsm_status open_noting(int index, int threads, struct fg_device **out);
static struct fg_backend noting;

static fgsm_status open_noting(int index, int threads, struct fg_device **out) {
  static struct fg_device device = {.backend = &noting, .threads = 1, .lanes = 1};
  device.layout = channels_last ? FG_NHWC : FG_PLAIN;
  device.precision = training_precision;
  (void)index;
  (void)threads;
  *out = &device;
  return FGSM_OK;
}

/* The first output that may hold logits: classifiers of some exporters give a label before them. */
static fgsm_status find_logits(const char *path, int *output) {
  struct fg_onnx *onnx = NULL;
  FG_TRY(fg_onnx_open(path, &onnx));
  int n = fg_onnx_n_outputs(onnx);
  for (*output = 0; *output < n && !fg_type_is_real(fg_onnx_output(onnx, *output)->type);)
    ++*output;
  fg_onnx_close(onnx);
  return *output < n ? FGSM_OK : FG_FAIL(UNSUPPORTED, "%s: no output holds floats", path);
}

static void close_noting(struct fg_device *device) {
  (void)device;
}

static bool takes_layout(struct fg_device *device, const struct fg_call *call) {
  (void)device;
  return fg_cuda_takes_nhwc(call);
}

static bool takes_mask(struct fg_device *device, const struct fg_call *masked,
                       const struct fg_call *plain, int n) {
  (void)device, (void)plain, (void)n;
  return form == BITS || (form == BYTES && masked[0].out[1].type == FG_BOOL);
}

/* The oracle says what fits together, but knows no layout. */
static fgsm_status prepare_other(struct fg_call *call, struct fg_device *device) {
  const struct fg_kernel *kernel = fg_ref.kernels[call->op];
  return fg_cuda_lies(call) || !kernel->prepare ? FGSM_OK : kernel->prepare(call, device);
}

static void make_noting(void) {
  static struct fg_kernel others[FG_OP_COUNT];
  static const struct fg_kernel kernel = {note, no_run, NULL};
  noting = fg_ref;
  noting.real = FG_F32;
  noting.takes_half = fg_cuda_takes_half;
  noting.takes_layout = takes_layout;
  noting.takes_mask = takes_mask;
  for (int op = 0; op < FG_OP_COUNT; op++)
    if (fg_ref.kernels[op]->run || op == FG_OP_reorder) {
      others[op] = (struct fg_kernel){prepare_other, no_run, fg_ref.kernels[op]->release};
      noting.kernels[op] = &others[op];
    }
  noting.open = open_noting;
  noting.close = close_noting;
  noting.kernels[FG_OP_conv] = noting.kernels[FG_OP_conv_grad_input] =
      noting.kernels[FG_OP_conv_grad_weight] = &kernel;
}

/* What a plan holds and moves, by shapes alone: temporaries that live at the same time, and what calls read
 * and write. */
static void tell_bytes(const char *path, int64_t batch, const struct fg_plan *plan,
                       enum fg_precision precision) {
  int n = fg_plan_info(plan)->n_calls;
  struct fg_plan_call *costs = calloc((size_t)n + 1, sizeof *costs);
  double moved = 0;
  size_t most = 0;
  if (!costs || fg_plan_calls(plan, costs) != FGSM_OK)
    n = 0;
  for (int i = 0; i < n; i++) {
    moved += costs[i].read_bytes + costs[i].written_bytes;
    most = costs[i].alive_bytes > most ? costs[i].alive_bytes : most;
  }
  printf("%s, %s, %s, stored as %s: %d calls; a sample holds at most %.2f MiB of temporaries and "
         "moves %.2f MiB\n",
         path, channels_last ? "NHWC" : "NCHW", form_names[form],
         precision == FG_PRECISION_fp32 ? "float32" : fg_precision_name(precision), n,
         (double)most / (double)batch / (1 << 20), moved / (double)batch / (1 << 20));
  free(costs);
}

/* Plans the net with the batch, or with the one that its file fixes. */
static fgsm_status note_model(const char *path, bool fused, enum fg_precision precision) {
  static const int64_t batches[] = {BATCH, 2, 1};
  struct net_options options = {.no_fuse = !fused, .precision = precision};
  fgsm_status status = FGSM_OK;
  FG_TRY(find_logits(path, &options.output));
  for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
    struct net net;
    status = net_open(path, &noting, batches[i], &options, &net);
    if (status != FGSM_OK)
      continue;
    if (getenv("FGSM_VERBOSE"))
      tell_bytes(path, batches[i], net.plan, precision);
    net_close(&net);
    break;
  }
  return status;
}

/* ---- training */

static fgsm_status note_engine(const struct fg_onnx *onnx, const struct fg_sample_shape *shape,
                               const fgsm_options *options) {
  struct fg_engine_spec spec;
  struct fg_engine *engine = NULL;
  struct fg_device *device;
  FG_TRY(fg_engine_spec_resolve(options, shape->type, &spec));
  spec.watched = true;
  FG_TRY(noting.open(0, 1, &device));
  fgsm_status status = fg_engine_create(onnx, options, &spec, device, shape, BATCH, &engine);
  fg_engine_destroy(engine);
  return status;
}

/* All passes of a built-in architecture's training: crafting, descending, spectral norms, the watch. */
static fgsm_status note_training(const char *arch, const struct fg_sample_shape *shape,
                                 const char *method, const char *option, const char *value) {
  struct fg_onnx *onnx = NULL;
  fgsm_options *options = NULL;
  FG_TRY(fg_arch_create(arch, shape->rank, shape->dim, 10, &onnx));
  fgsm_status status = fgsm_options_create(&options);
  if (status == FGSM_OK)
    status = fgsm_options_set(options, "method", method);
  if (status == FGSM_OK)
    status = fgsm_options_set(options, "eps", "8/255");
  if (status == FGSM_OK && option)
    status = fgsm_options_set(options, option, value);
  if (status == FGSM_OK)
    status = note_engine(onnx, shape, options);
  fgsm_options_destroy(options);
  fg_onnx_close(onnx);
  return status;
}

/* Methods differ in which passes there are; the convolutions of each pass are those of the model. What
 * regularises an input's gradient, the last rows, is refused in half precision. */
static int note_trainings(void) {
  static const struct fg_sample_shape digit = {FG_U8, 3, {1, 28, 28}};
  static const struct fg_sample_shape color = {FG_U8, 3, {3, 32, 32}};
  static const struct {
    const char *arch;
    const struct fg_sample_shape *shape;
    const char *method, *option, *value;
  } rows[] = {
      {"mnist-cnn", &digit, "n-fgsm", "spectral-norm", "1"},
      {"lenet5", &digit, "trades", NULL, NULL},
      {"resnet18", &color, "n-fgsm", NULL, NULL},
      {"preact-resnet18", &color, "n-fgsm", NULL, NULL},
      {"preact-resnet18", &color, "trades", NULL, NULL},
      {"preact-resnet18", &color, "free", NULL, NULL},
      {"wrn-16-4", &color, "fgsm", NULL, NULL},
      {"preact-resnet18", &color, "grad-align", NULL, NULL},
      {"wrn-16-4", &color, "clean", "gradient-penalty", "0.5"},
  };
  enum { ROWS = sizeof rows / sizeof *rows, REGULARISED = 2 };
  static const enum fg_precision stored[] = {FG_PRECISION_fp32, FG_PRECISION_bf16,
                                             FG_PRECISION_fp16};
  int failures = 0;
  for (int i = 0; i < 6 * ROWS; i++) {
    int row = i / 6;
    channels_last = i % 2;
    training_precision = stored[i / 2 % 3];
    if (row >= ROWS - REGULARISED && training_precision != FG_PRECISION_fp32)
      continue;
    if (note_training(rows[row].arch, rows[row].shape, rows[row].method, rows[row].option,
                      rows[row].value) != FGSM_OK) {
      printf("FAIL training %s, %s, %s: %s\n", rows[row].arch, rows[row].method,
             fg_precision_name(training_precision), fgsm_last_error());
      failures++;
    }
  }
  return failures;
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

/* Whether the call is one of that precision, by what it stores. */
static bool computes(const struct fg_call *call, enum fg_precision precision) {
  enum fg_type type = precision == FG_PRECISION_bf16   ? FG_BF16
                      : precision == FG_PRECISION_fp16 ? FG_F16
                                                       : FG_F32;
  return call->in[0].type == type;
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

/* What the plugin would list; or, because cuDNN takes its time for each configuration that it names, no
 * more than the first of them that there is. */
static void ask(const struct noted *graph, const struct fg_cudnn_graph *g,
                const struct fg_cudnn_target *target, unsigned forbidden,
                struct fg_cudnn_engines *engines) {
  enum { FIRST = 1, FUSES_PLAINLY = 1 };
  engines->n = 0;
  if (!graph->whole) {
    fg_cudnn_ask(g, target, CUDNN_HEUR_MODE_A, FIRST, forbidden, engines);
    if (!engines->n)
      fg_cudnn_ask(g, target, CUDNN_HEUR_MODE_FALLBACK, FG_CUDNN_ENGINES, forbidden, engines);
    if (!engines->n)
      fg_cudnn_ask_for(g, target, FUSES_PLAINLY, forbidden, engines);
  }
  if (!engines->n)
    (void)!fg_cudnn_list(g, target, forbidden, engines);
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
    if (!computes(&graph->call, p))
      continue;
    if (!engines.n)
      ask(graph, &g, &target, fg_cudnn_forbidden(p), &engines);
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

/* Whether cuDNN lists the engines that it compiles at run time. */
static bool has_driver(void) {
  void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver)
    dlclose(driver);
  return driver != NULL;
}

/* Channels last, of whole vectors of channels, everything that can be said must be had in one graph. */
static bool must_fuse(const struct fg_call *call) {
  const struct fg_tensor *x = &call->in[0], *y = &call->out[0];
  return y->layout == FG_NHWC && call->attrs->conv.group == 1 && x->dim[1] % 8 == 0 &&
         y->dim[1] % 8 == 0 && has_driver();
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

static int check_card(const char *path) {
  fg_cudnn card;
  int failures = 0;
  struct found found[2][FG_PRECISION_COUNT] = {{{0}}};
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  if (!card_read(path, &card))
    return 1;
  for (int i = 0; i < graphs.n; i++)
    list(&graphs.item[i], card);
  for (int i = 0; i < calls.n; i++)
    for (int p = 0; p < FG_PRECISION_COUNT; p++)
      if (computes(&calls.item[i].call, (enum fg_precision)p))
        failures += !check_call(name, &calls.item[i], (enum fg_precision)p,
                                &found[calls.item[i].call.out[0].layout == FG_NHWC][p]);
  printf("%s: %d graphs of %d calls\n", name, graphs.n, calls.n);
  for (int last = 0; last < 2; last++)
    for (int p = 0; p < FG_PRECISION_COUNT; p++)
      tell(name, last, (enum fg_precision)p, &found[last][p]);
  fg_cudnn_destroy(card);
  return failures;
}

/* ---- what is made is destroyed. Looking for leaks at the end cannot tell: cuDNN keeps memory. */

static long n_objects;
static cudnnStatus_t (*make_object)(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *);
static cudnnStatus_t (*destroy_object)(cudnnBackendDescriptor_t object);

static cudnnStatus_t make_counted(cudnnBackendDescriptorType_t type,
                                  cudnnBackendDescriptor_t *out) {
  cudnnStatus_t status = make_object(type, out);
  n_objects += status == CUDNN_STATUS_SUCCESS;
  return status;
}

static cudnnStatus_t destroy_counted(cudnnBackendDescriptor_t object) {
  n_objects--;
  return destroy_object(object);
}

static void count_objects(void) {
  make_object = fg_nv.cudnnBackendCreateDescriptor;
  destroy_object = fg_nv.cudnnBackendDestroyDescriptor;
  fg_nv.cudnnBackendCreateDescriptor = make_counted;
  fg_nv.cudnnBackendDestroyDescriptor = destroy_counted;
}

/* As the plugin prefers it, channels last and fused; fp16 has the graphs of bf16. */
static bool is_preferred(enum fg_precision precision) {
  return channels_last && precision != FG_PRECISION_fp16 && (form == FUSED || form == BYTES);
}

/* In N C H W and channels last, in each of the forms; or as the plugin prefers it. */
static int note_all(int n, char **paths, bool preferred) {
  static const enum fg_precision stored[] = {FG_PRECISION_fp32, FG_PRECISION_bf16,
                                             FG_PRECISION_fp16};
  int failures = 0;
  for (int i = 0; i < 6 * FORMS * n; i++) {
    const char *path = paths[i / (6 * FORMS)];
    enum fg_precision precision = stored[i / 2 % 3];
    channels_last = i % 2;
    form = (enum form)(i / 6 % FORMS);
    if (preferred && !is_preferred(precision))
      continue;
    if (note_model(path, form != PLAIN_FORM, precision) != FGSM_OK) {
      printf("FAIL %s: %s\n", path, fgsm_last_error());
      failures++;
    }
  }
  return failures;
}

/* Where the word is among the arguments from `first`; argc if it is not. */
static int find_word(int argc, char **argv, int first, const char *word) {
  while (first < argc && strcmp(argv[first], word) != 0)
    first++;
  return first < argc ? first : argc;
}

int main(int argc, char **argv) {
  int failures = 0, cards = find_word(argc, argv, 1, "--");
  if (fg_nv_open_cudnn() != FGSM_OK) {
    printf("skipped: %s\n", fgsm_last_error());
    return 77;
  }
  count_objects();
  make_noting();
  int models = cards + 1, zoo_models = find_word(argc, argv, models, "zoo");
  bool training = models < argc && strcmp(argv[models], "training") == 0;
  models += training;
  whole = true;
  failures += note_all(zoo_models - models, argv + models, false);
  whole = getenv("FGSM_VERBOSE") != NULL;
  if (training)
    failures += note_trainings();
  failures += note_all(argc - zoo_models - 1, argv + zoo_models + 1, true);
  const char *zoo = getenv("FGSM_ZOO");
  if (zoo) {
    char pattern[4096];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*/model.onnx", zoo);
    if (glob(pattern, 0, NULL, &found) == 0)
      failures += note_all((int)found.gl_pathc, found.gl_pathv, false);
    else
      printf("FAIL FGSM_ZOO=%s: no */model.onnx\n", zoo), failures++;
    globfree(&found);
  }
  for (int i = 1; i < cards; i++)
    failures += check_card(argv[i]);
  if (calls.n == 0 || cards < 2)
    printf("FAIL no call or no card: nothing was checked\n"), failures++;
  if (n_objects != 0)
    printf("FAIL %ld cuDNN objects were not destroyed\n", n_objects), failures++;
  return failures != 0;
}
