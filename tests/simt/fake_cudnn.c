/* A cuDNN that needs no card, for conv.c, dnn_contest.c and what they stand on: the graph API as its manual
 * states it, from the descriptors alone. What a description gets wrong shows as a wrong result
 * (fake_dnn_program.c) or is said.
 *
 * Its engines follow a script: of those that the heuristic names first, one uses tensor cores, the next sums
 * in any order, has no plan, fails when it runs, or wants more memory than there is; each of these would be
 * the fastest. The rest take their time by the graph's looks, so that by turns another form and another
 * engine wins. Of the ways tried on one stream of trials the fastest must be what then runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_card.h"
#include "fake_dnn_object.h"

enum {
  TENSOR_CORES = 1 << CUDNN_NUMERICAL_NOTE_TENSOR_CORE,
  ANY_ORDER = 1 << CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC,
  WORKSPACE = 4096
};

struct fake_dnn fake_dnn = {.version = 91900};

static const struct fake_engine by_heuristic[] =
    {{.index = 40, .notes = ANY_ORDER, .slowness = .01},
     {.index = 41, .plan_fails = true, .slowness = .02},
     {.index = 42, .run_fails = true, .slowness = .03},
     {.index = 43, .workspace = (int64_t)1 << 40, .slowness = .04},
     {.index = 44, .notes = TENSOR_CORES, .workspace = WORKSPACE, .slowness = .5},
     {.index = 45, .slowness = 1.5},
     {.index = 45, .configuration = 1, .workspace = WORKSPACE, .slowness = 1.25},
     {.index = 7, .notes = TENSOR_CORES, .compiles = true, .slowness = .6},
     {.index = 7, .configuration = 1, .notes = TENSOR_CORES, .compiles = true, .slowness = .05}},
                                by_fallback[] = {{.index = 0, .workspace = 256, .slowness = 3}},
                                by_number[] = {{.index = 2,
                                                .notes = TENSOR_CORES,
                                                .compiles = true,
                                                .slowness = .55},
                                               {.index = 8, .compiles = true, .slowness = 1.1}};
#define LENGTH(list) ((int)(sizeof(list) / sizeof *(list)))

/* ---- graphs */

static unsigned looks(const struct fake_program *program) {
  unsigned h = 2166136261u;
  for (size_t i = 0; i < sizeof program->op; i++)
    h = (h ^ ((const unsigned char *)program->op)[i]) * 16777619u;
  return h >> 8;
}

/* Of graphs that fuse one in four is not taken, unless a test says which. */
static bool refuses(const struct fake_program *program) {
  if (fake_dnn.refuses)
    return fake_dnn.refuses(program);
  return program->n_ops > 1 && looks(program) % 4 == 0;
}

static cudnnStatus_t finish_graph(struct object *o) {
  const struct attribute *ops = fake_find(o, CUDNN_ATTR_OPERATIONGRAPH_OPS);
  const cudnnHandle_t *handle;
  const struct attribute *with = fake_find(o, CUDNN_ATTR_OPERATIONGRAPH_HANDLE);
  if (!ops || ops->n > FAKE_MOST_OPS || !with)
    return CUDNN_STATUS_BAD_PARAM;
  handle = with->values;
  if (*handle != FAKE_CUDNN)
    fake_wrong("cuDNN: a graph of another handle");
  for (int64_t i = 0; i < ops->n; i++)
    fake_read_op(((struct object *const *)ops->values)[i], &o->program.op[i]);
  o->program.n_ops = (int32_t)ops->n;
  return refuses(&o->program) ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS;
}

/* ---- engines and plans */

/* Of another graph, what a plan is of is the same graph and the engine. */
static void take_engine(struct object *o, const struct fake_program *of,
                        const struct fake_engine *engine) {
  o->program = *of;
  o->program.engine = (int32_t)engine->index;
  o->program.configuration = engine->configuration;
  o->engine = engine;
  o->ready = true;
}

static const struct fake_engine *search(const struct fake_engine *list, int n, int64_t index,
                                        int configuration) {
  for (int i = 0; i < n; i++)
    if (list[i].index == index && list[i].configuration == configuration)
      return &list[i];
  return NULL;
}

static const struct fake_engine *engine_of(int64_t index, int configuration) {
  const struct fake_engine *e = search(by_heuristic, LENGTH(by_heuristic), index, configuration);
  e = e ? e : search(by_fallback, LENGTH(by_fallback), index, configuration);
  return e ? e : search(by_number, LENGTH(by_number), index, configuration);
}

/* By its number; engine 2 is for what is fused. */
static cudnnStatus_t finish_engine(struct object *o) {
  int64_t index = -1;
  const struct object *graph = fake_part(o, CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
  fake_take(o, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 1, &index, false);
  const struct fake_engine *e = engine_of(index, 0);
  if (!graph || !e || fake_dnn.no_engine || (index == 2 && graph->program.n_ops == 1))
    return CUDNN_STATUS_NOT_SUPPORTED;
  take_engine(o, &graph->program, e);
  return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t finish_configuration(struct object *o) {
  const struct object *e = fake_part(o, CUDNN_ATTR_ENGINECFG_ENGINE);
  if (!e || !e->engine)
    return CUDNN_STATUS_BAD_PARAM;
  take_engine(o, &e->program, e->engine);
  return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t heuristic_results(const struct object *o, int64_t most, int64_t *n,
                                       struct object **to) {
  const struct object *graph = fake_part(o, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
  int mode = 0;
  if (!graph || !fake_take(o, CUDNN_ATTR_ENGINEHEUR_MODE, 1, &mode, false))
    return CUDNN_STATUS_BAD_PARAM;
  bool first = mode == CUDNN_HEUR_MODE_A;
  const struct fake_engine *list = first ? by_heuristic : by_fallback;
  int have = fake_dnn.no_engine ? 0 : first ? LENGTH(by_heuristic) : LENGTH(by_fallback);
  *n = have;
  if (!to)
    return CUDNN_STATUS_SUCCESS;
  fake_dnn.asked++;
  for (*n = 0; *n < most && *n < have; ++*n)
    take_engine(to[*n], &graph->program, &list[*n]);
  return CUDNN_STATUS_SUCCESS;
}

/* ---- plans, and as text: "fake plan SUM BYTES" */

static uint64_t sum_of(const struct fake_program *program) {
  uint64_t sum = 0xcbf29ce484222325u;
  for (size_t i = 0; i < sizeof *program; i++)
    sum = (sum ^ ((const unsigned char *)program)[i]) * 0x100000001b3u;
  return sum;
}

static cudnnStatus_t write_plan(const struct object *plan, int64_t most, int64_t *n, char *to) {
  *n = 28 + 2 * (int64_t)sizeof plan->program;
  if (!to || most < *n)
    return to ? CUDNN_STATUS_BAD_PARAM : CUDNN_STATUS_SUCCESS;
  char text[28 + 2 * sizeof plan->program + 1];
  int at = sprintf(text, "fake plan: %016llx ", (unsigned long long)sum_of(&plan->program));
  for (size_t i = 0; i < sizeof plan->program; i++)
    at += sprintf(text + at, "%02x", ((const unsigned char *)&plan->program)[i]);
  memcpy(to, text, (size_t)*n);
  return CUDNN_STATUS_SUCCESS;
}

static bool read_plan(const struct attribute *text, struct fake_program *program) {
  unsigned long long sum = 0;
  char head[29] = "";
  const char *from = text->values;
  if (text->n != 28 + 2 * (int64_t)sizeof *program)
    return false;
  memcpy(head, from, 28);
  for (size_t i = 0; i < sizeof *program; i++) {
    const char digits[3] = {from[28 + 2 * i], from[29 + 2 * i], '\0'};
    ((unsigned char *)program)[i] = (unsigned char)strtoul(digits, NULL, 16);
  }
  return sscanf(head, "fake plan: %16llx", &sum) == 1 && sum == sum_of(program);
}

static cudnnStatus_t finish_plan(struct object *o) {
  const struct object *configuration = fake_part(o, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
  const struct attribute *text = fake_find(o, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION),
                         *handle = fake_find(o, CUDNN_ATTR_EXECUTION_PLAN_HANDLE);
  if (!handle || *(const cudnnHandle_t *)handle->values != FAKE_CUDNN)
    fake_wrong("cuDNN: a plan without the handle");
  if (text) {
    struct fake_program program;
    const struct fake_engine *e =
        read_plan(text, &program) ? engine_of(program.engine, program.configuration) : NULL;
    if (!e)
      return CUDNN_STATUS_BAD_PARAM;
    fake_dnn.loaded++;
    take_engine(o, &program, e);
    return CUDNN_STATUS_SUCCESS;
  }
  if (!configuration || !configuration->engine)
    return CUDNN_STATUS_BAD_PARAM;
  if (configuration->engine->compiles && configuration->engine->configuration > 0)
    fake_wrong("cuDNN: an engine is compiled in more than its first configuration");
  fake_dnn.planned++;
  if (configuration->engine->plan_fails)
    return CUDNN_STATUS_NOT_SUPPORTED;
  take_engine(o, &configuration->program, configuration->engine);
  return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t finalise(cudnnBackendDescriptor_t object) {
  struct object *o = object;
  cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
  if (!o || o->ready)
    return CUDNN_STATUS_BAD_PARAM;
  if (o->type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)
    status = finish_graph(o);
  else if (o->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR)
    status = finish_engine(o);
  else if (o->type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)
    status = finish_configuration(o);
  else if (o->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)
    status = finish_plan(o);
  o->ready = status == CUDNN_STATUS_SUCCESS;
  return status;
}

static int notes(unsigned bits, int64_t most, int *to) {
  int n = 0;
  for (int note = 0; note < 32; note++)
    if (bits >> note & 1 && n < most)
      to[n++] = note;
  return n;
}

static cudnnStatus_t get(cudnnBackendDescriptor_t object, cudnnBackendAttributeName_t name,
                         cudnnBackendAttributeType_t type, int64_t most, int64_t *n, void *to) {
  struct object *o = object;
  (void)type;
  if (!o || !o->ready)
    return CUDNN_STATUS_BAD_PARAM;
  switch (name) {
  case CUDNN_ATTR_ENGINEHEUR_RESULTS:
    return heuristic_results(o, most, n, to);
  case CUDNN_ATTR_ENGINECFG_ENGINE:
    take_engine(*(struct object **)to, &o->program, o->engine);
    break;
  case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
    *(int64_t *)to = o->engine->index;
    break;
  case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
    *n = notes(o->engine->notes, most, to);
    break;
  case CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE:
    *n = notes(o->engine->compiles ? 1u << CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION : 0, most, to);
    break;
  case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
    *(int64_t *)to = o->engine->workspace;
    break;
  case CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION:
    return write_plan(o, most, n, to);
  default:
    return CUDNN_STATUS_NOT_SUPPORTED;
  }
  return CUDNN_STATUS_SUCCESS;
}

/* ---- running, and what must run */

/* Of the way that is being timed, of the fastest so far, and whether each was a plan at all: what else is
 * tried in these programs is a product, which is its own fake's, or a reordering. */
static struct {
  struct fake_program now, best;
  bool is_plan, best_is_plan;
  double least;
  int depth; /* a product that is tried has trials of its own */
} trial;
enum { MOST_WINNERS = 4096 };
static struct fake_program winners[MOST_WINNERS];
static int n_winners;

static void watch(enum fake_trial what, double milliseconds) {
  if (what == FAKE_BEGINS && trial.depth++ == 0)
    trial.least = -1;
  if (what == FAKE_TIMED && trial.depth == 1 && (trial.least < 0 || milliseconds < trial.least)) {
    trial.least = milliseconds;
    trial.best = trial.now;
    trial.best_is_plan = trial.is_plan;
  }
  if (what == FAKE_ENDS && --trial.depth == 0 && trial.least >= 0 && trial.best_is_plan &&
      n_winners < MOST_WINNERS)
    winners[n_winners++] = trial.best;
  trial.is_plan = false;
}

static bool has_won(const struct fake_program *program) {
  for (int i = 0; i < n_winners; i++)
    if (memcmp(&winners[i], program, sizeof *program) == 0)
      return true;
  return false;
}

static double time_of(const struct fake_program *program) {
  return fake_dnn.time_of ? fake_dnn.time_of(program) : .5 + looks(program) / 16777216.;
}

static cudaStream_t stream_now;

static cudnnStatus_t set_stream(cudnnHandle_t handle, cudaStream_t stream) {
  if (handle != FAKE_CUDNN)
    fake_wrong("cuDNN: another handle");
  stream_now = stream;
  return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t execute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                             cudnnBackendDescriptor_t pack) {
  const struct object *p = plan, *v = pack;
  const struct attribute *uids = fake_find(v, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS),
                         *addresses = fake_find(v, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  void *workspace = NULL;
  if (handle != FAKE_CUDNN || !p->ready || !p->engine || !v->ready || !uids || !addresses ||
      uids->n != addresses->n)
    return CUDNN_STATUS_BAD_PARAM;
  fake_take(v, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, 1, &workspace, false);
  trial.now = p->program;
  trial.is_plan = true;
  fake_passes(time_of(&p->program) * p->engine->slowness);
  if (p->engine->run_fails)
    return CUDNN_STATUS_EXECUTION_FAILED;
  if (fake_dnn.loses && fake_dnn.loses(&p->program)) {
    snprintf(fake_card.lost, sizeof fake_card.lost, "the card is lost");
    return CUDNN_STATUS_EXECUTION_FAILED;
  }
  if ((uintptr_t)workspace % 256)
    fake_wrong("cuDNN: a workspace that is not aligned");
  for (int64_t i = 0; i < addresses->n; i++) {
    uintptr_t bound = (uintptr_t)((void *const *)addresses->values)[i];
    if (bound - (uintptr_t)workspace < (size_t)p->engine->workspace)
      fake_wrong("cuDNN: a tensor in the workspace");
  }
  memset(workspace, 0xff, (size_t)p->engine->workspace);
  if (fake_is_trial(stream_now)) /* whose data nobody looks at */
    return CUDNN_STATUS_SUCCESS;
  fake_dnn.runs++;
  fake_dnn.ran = p->program;
  if (n_winners > 0 && !has_won(&p->program)) /* else it was chosen by another process */
    fake_wrong("cuDNN: engine %d runs a graph of %d operations, and was not the fastest",
               p->program.engine, p->program.n_ops);
  return fake_program_run(&p->program, uids->n, uids->values, addresses->values)
             ? CUDNN_STATUS_SUCCESS
             : CUDNN_STATUS_EXECUTION_FAILED;
}

static size_t version(void) {
  return fake_dnn.version;
}
static const char *words_of(cudnnStatus_t status) {
  return status == CUDNN_STATUS_NOT_SUPPORTED ? "not supported" : "failed";
}
static void last_words(char *to, size_t size) {
  snprintf(to, size, "a fake's");
}

void fake_cudnn(void) {
  fg_nv.cudnnGetVersion = version;
  fg_nv.cudnnGetErrorString = words_of;
  fg_nv.cudnnGetLastErrorString = last_words;
  fg_nv.cudnnSetStream = set_stream;
  fg_nv.cudnnBackendCreateDescriptor = fake_create;
  fg_nv.cudnnBackendDestroyDescriptor = fake_destroy;
  fg_nv.cudnnBackendSetAttribute = fake_set;
  fg_nv.cudnnBackendGetAttribute = get;
  fg_nv.cudnnBackendFinalize = finalise;
  fg_nv.cudnnBackendExecute = execute;
  fake_watch = watch;
  atexit(fake_nothing_left);
}
