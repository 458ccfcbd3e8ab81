/* What can compute a cuDNN graph: engines listed, plans made of them, kept as text. */
#include <stdlib.h>
#include <string.h>

#include "dnn_graph.h"

unsigned fg_cudnn_forbidden(enum fg_precision precision) {
  unsigned notes = 1u << CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
  if (precision == FG_PRECISION_bf16 || precision == FG_PRECISION_fp16)
    notes |= 1u << CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION;
  if (precision == FG_PRECISION_fp32)
    notes |= 1u << CUDNN_NUMERICAL_NOTE_TENSOR_CORE |
             1u << CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS |
             1u << CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION |
             1u << CUDNN_NUMERICAL_NOTE_FFT | 1u << CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6 |
             1u << CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13;
  return notes;
}

static fg_cudnn create(cudnnBackendDescriptorType_t type) {
  fg_cudnn object = NULL;
  return fg_nv.cudnnBackendCreateDescriptor(type, &object) == CUDNN_STATUS_SUCCESS ? object : NULL;
}

static bool put(fg_cudnn object, cudnnBackendAttributeName_t name, fg_cudnn value) {
  return fg_nv.cudnnBackendSetAttribute(object, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value) ==
         CUDNN_STATUS_SUCCESS;
}

static unsigned notes_of(fg_cudnn engine, cudnnBackendAttributeName_t name,
                         cudnnBackendAttributeType_t type) {
  enum { MOST = 32 };
  int notes[MOST] = {0}; /* both kinds of note are enumerations */
  int64_t n = 0;
  unsigned bits = 0;
  _Static_assert(sizeof(cudnnBackendNumericalNote_t) == sizeof(int) &&
                     sizeof(cudnnBackendBehaviorNote_t) == sizeof(int),
                 "notes are read as ints");
  if (fg_nv.cudnnBackendGetAttribute(engine, name, type, MOST, &n, notes) != CUDNN_STATUS_SUCCESS)
    return ~0u; /* unknown: as if it had them all */
  for (int64_t i = 0; i < n && i < MOST; i++)
    if (notes[i] >= 0 && notes[i] < 32)
      bits |= 1u << notes[i];
  return bits;
}

/* Takes `config` over: into the list, or away. */
static void keep(fg_cudnn config, unsigned forbidden, struct fg_cudnn_engines *out) {
  struct fg_cudnn_engine e = {.config = config, .index = -1};
  fg_cudnn engine = create(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  int64_t n = 0;
  if (engine &&
      fg_nv.cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n,
                                     &engine) == CUDNN_STATUS_SUCCESS &&
      fg_nv.cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1,
                                     &n, &e.index) == CUDNN_STATUS_SUCCESS) {
    e.notes = notes_of(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE);
    e.compiles = notes_of(engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE) &
                 1u << CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION;
  }
  fg_cudnn_destroy(engine);
  if (e.index < 0 || e.notes & forbidden || out->n == FG_CUDNN_ENGINES)
    fg_cudnn_destroy(config);
  else
    out->item[out->n++] = e;
}

/* An answer of none is no failure. */
void fg_cudnn_ask(const struct fg_cudnn_graph *g, const struct fg_cudnn_target *target,
                  cudnnBackendHeurMode_t mode, int most, unsigned forbidden,
                  struct fg_cudnn_engines *out) {
  fg_cudnn configs[FG_CUDNN_ENGINES] = {NULL};
  fg_cudnn heuristic = create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  int64_t n = 0, have = 0;
  if (!heuristic || !put(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, g->graph) ||
      fg_nv.cudnnBackendSetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1,
                                     &mode) != CUDNN_STATUS_SUCCESS ||
      (target->properties &&
       !put(heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, target->properties)) ||
      fg_nv.cudnnBackendFinalize(heuristic) != CUDNN_STATUS_SUCCESS ||
      fg_nv.cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &n,
                                     NULL) != CUDNN_STATUS_SUCCESS)
    goto done;
  most = most < FG_CUDNN_ENGINES ? most : FG_CUDNN_ENGINES;
  n = n < most ? n : most;
  for (int64_t i = 0; i < n; i++)
    configs[i] = create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  if (fg_nv.cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, n, &have,
                                     configs) != CUDNN_STATUS_SUCCESS)
    have = 0;
  for (int64_t i = 0; i < n; i++)
    if (i < have && configs[i])
      keep(configs[i], forbidden, out);
    else
      fg_cudnn_destroy(configs[i]);
done:
  fg_cudnn_destroy(heuristic);
}

/* Its knobs as they come; most engines have no use for this graph. */
void fg_cudnn_ask_for(const struct fg_cudnn_graph *g, const struct fg_cudnn_target *target,
                      int64_t index, unsigned forbidden, struct fg_cudnn_engines *out) {
  for (int i = 0; i < out->n; i++)
    if (out->item[i].index == index)
      return;
  fg_cudnn engine = create(CUDNN_BACKEND_ENGINE_DESCRIPTOR), config = NULL;
  if (engine && put(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, g->graph) &&
      fg_nv.cudnnBackendSetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1,
                                     &index) == CUDNN_STATUS_SUCCESS &&
      (!target->properties || put(engine, CUDNN_ATTR_ENGINE_DEVICEPROP, target->properties)) &&
      fg_nv.cudnnBackendFinalize(engine) == CUDNN_STATUS_SUCCESS)
    config = create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  if (config && put(config, CUDNN_ATTR_ENGINECFG_ENGINE, engine) &&
      fg_nv.cudnnBackendFinalize(config) == CUDNN_STATUS_SUCCESS)
    keep(config, forbidden, out);
  else
    fg_cudnn_destroy(config);
  fg_cudnn_destroy(engine);
}

fgsm_status fg_cudnn_list(const struct fg_cudnn_graph *g, const struct fg_cudnn_target *target,
                          unsigned forbidden, struct fg_cudnn_engines *out) {
  /* 2 is the one with sm_90 kernels for fused graphs, which the heuristics pass over; 1 and 7 are the
   * sm_80 ones; 8 is the only one that fuses without tensor cores. */
  static const int64_t unmentioned[] = {2, 1, 7, 8};
  out->n = 0;
  fg_cudnn_ask(g, target, CUDNN_HEUR_MODE_A, FG_CUDNN_ENGINES, forbidden, out);
  fg_cudnn_ask(g, target, CUDNN_HEUR_MODE_FALLBACK, FG_CUDNN_ENGINES, forbidden, out);
  for (size_t i = 0; i < sizeof unmentioned / sizeof *unmentioned; i++)
    fg_cudnn_ask_for(g, target, unmentioned[i], forbidden, out);
  return out->n ? FGSM_OK : FG_FAIL(UNSUPPORTED, "no engine of cuDNN takes it in this precision");
}

void fg_cudnn_engines_free(struct fg_cudnn_engines *engines) {
  while (engines->n > 0)
    fg_cudnn_destroy(engines->item[--engines->n].config);
}

/* ---- plans */

static fgsm_status finish_plan(fg_cudnn object, bool set, fg_cudnn *plan, size_t *bytes) {
  int64_t workspace = 0, n = 0;
  cudnnStatus_t status = set ? fg_nv.cudnnBackendFinalize(object) : CUDNN_STATUS_BAD_PARAM;
  if (status == CUDNN_STATUS_SUCCESS)
    status = fg_nv.cudnnBackendGetAttribute(object, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                            CUDNN_TYPE_INT64, 1, &n, &workspace);
  if (status != CUDNN_STATUS_SUCCESS) {
    char why[640] = "";
    fg_nv.cudnnGetLastErrorString(why, sizeof why);
    fg_cudnn_destroy(object);
    return FG_FAIL(UNSUPPORTED, "cuDNN makes no plan of it: %s: %s",
                   fg_nv.cudnnGetErrorString(status), why);
  }
  *plan = object;
  *bytes = (size_t)workspace;
  return FGSM_OK;
}

static bool aim(fg_cudnn plan, const struct fg_cudnn_target *target) {
  if (target->properties)
    return put(plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, target->properties);
  return fg_nv.cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE,
                                        1, &target->handle) == CUDNN_STATUS_SUCCESS;
}

fgsm_status fg_cudnn_plan(const struct fg_cudnn_engine *engine,
                          const struct fg_cudnn_target *target, fg_cudnn *plan,
                          size_t *workspace_bytes) {
  fg_cudnn object = create(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  bool set = object && put(object, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine->config) &&
             aim(object, target);
  return finish_plan(object, set, plan, workspace_bytes);
}

fgsm_status fg_cudnn_plan_save(fg_cudnn plan, char **json) {
  int64_t n = 0, have = 0;
  *json = NULL;
  if (fg_nv.cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                                     CUDNN_TYPE_CHAR, 0, &n, NULL) != CUDNN_STATUS_SUCCESS ||
      n < 1)
    return FG_FAIL(UNSUPPORTED, "cuDNN does not write this plan down");
  char *text = calloc((size_t)n + 1, 1);
  if (!text)
    return FG_FAIL(MEMORY, "no memory for a plan's text");
  if (fg_nv.cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                                     CUDNN_TYPE_CHAR, n, &have, text) != CUDNN_STATUS_SUCCESS) {
    free(text);
    return FG_FAIL(UNSUPPORTED, "cuDNN does not write this plan down");
  }
  *json = text;
  return FGSM_OK;
}

fgsm_status fg_cudnn_plan_load(const char *json, const struct fg_cudnn_target *target,
                               fg_cudnn *plan, size_t *workspace_bytes) {
  fg_cudnn object = create(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  bool set = object && aim(object, target) &&
             fg_nv.cudnnBackendSetAttribute(object, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                                            CUDNN_TYPE_CHAR, (int64_t)strlen(json),
                                            json) == CUDNN_STATUS_SUCCESS;
  return finish_plan(object, set, plan, workspace_bytes);
}
