/* What fixed small pieces of work cost in instructions, for callgrind to count: each kind of call
 * (small.c), reading a model, planning an attack on it, attacking a few samples. Everything runs in one
 * thread, each piece once before it is counted, so that what is done once in a process is not.
 * tests/check_instructions.sh runs it and compares with the counts that are kept.
 *
 *   instructions MODEL      the pieces' names in their order, a line each
 *   instructions --made-by  what the counts depend on: compiler and oneDNN */
#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attack.h"
#include "device.h"
#include "harness.h"
#include "onnx.h"
#include "options.h"

extern const struct fg_case_table bench_cases_small;

enum { SAMPLES = 8 };

struct bench {
  struct fg_target target;
  const char *path;
  fgsm_options *options;
  struct fg_sample_shape shape;
  int64_t labels[SAMPLES], index[SAMPLES];
  float *x, *x_adv;
  fgsm_result results[SAMPLES];
  struct fg_onnx *onnx;
  struct fg_attacker *attacker;
  struct fg_run run; /* of the case that is counted */
};

typedef fgsm_status (*work_fn)(struct bench *b);

/* No copies of a function for what it is called with, which would have other names. */
#ifdef __clang__
#define AS_WRITTEN __attribute__((noinline))
#else
#define AS_WRITTEN __attribute__((noipa))
#endif

/* The one function that callgrind looks into (by its name). */
AS_WRITTEN fgsm_status counted(work_fn work, struct bench *b);
AS_WRITTEN fgsm_status counted(work_fn work, struct bench *b) {
  fgsm_status status = work(b);
  __asm__ volatile("" ::: "memory"); /* no jump to `work` in place of a call */
  return status;
}

static fgsm_status run_case(struct bench *b) {
  return fg_run_again(&b->run, 1);
}

static fgsm_status load(struct bench *b) {
  return fg_onnx_open(b->path, &b->onnx);
}

static fgsm_status plan(struct bench *b) {
  struct fg_device *device;
  FG_TRY(fg_cpu.open(0, 1, &device));
  return fg_attacker_create(b->onnx, b->options, device, &b->shape, NULL, SAMPLES, &b->attacker);
}

static fgsm_status attack(struct bench *b) {
  void *x_adv[] = {b->x_adv};
  fgsm_result *results[] = {b->results};
  return fg_attacker_run(b->attacker, SAMPLES, b->x, b->labels, NULL, b->index, x_adv, results);
}

static fgsm_status count_case(struct bench *b, const struct fg_case *c,
                              const struct fg_run_options *options, const char *how) {
  fgsm_status status = FGSM_INTERNAL;
  if (fg_run_begin(&b->run, c, &b->target, options) == FG_RUN_OK) {
    printf("%s%s\n", c->name, how);
    status = counted(run_case, b);
  } else {
    fprintf(stderr, "%s: %s\n", c->name, *b->run.why ? b->run.why : fgsm_last_error());
  }
  fg_run_end(&b->run);
  return status;
}

/* Convolutions and pools with their images in channel blocks too, as nets of them mostly have those, and then
 * those of all channels by Winograd's filtering. */
static fgsm_status count_cases(struct bench *b) {
  const struct fg_run_options plain = {0};
  for (int i = 0; i < bench_cases_small.n; i++) {
    const struct fg_case *c = &bench_cases_small.cases[i];
    bool conv = c->op == FG_OP_conv || c->op == FG_OP_conv_grad_input;
    bool pool = c->op == FG_OP_max_pool || c->op == FG_OP_max_pool_grad;
    const struct fg_run_options blocked = {.lying_in = conv ? 1 : 3, .lying_out = conv ? 1 : 3};
    FG_TRY(count_case(b, c, &plain, ""));
    if (conv || pool)
      FG_TRY(count_case(b, c, &blocked, ", in channel blocks"));
    if (conv && c->attrs.conv.group == 1) {
      b->target.device->convolutions = FG_CONV_WINOGRAD_4;
      FG_TRY(count_case(b, c, &blocked, ", by Winograd's filtering"));
      b->target.device->convolutions = FG_CONV_DIRECT;
    }
  }
  return FGSM_OK;
}

static fgsm_status count_attack(struct bench *b) {
  for (int counts = 0; counts < 2; counts++) {
    FG_TRY(counts ? counted(load, b) : load(b));
    FG_TRY(counts ? counted(plan, b) : plan(b));
    FG_TRY(attack(b));
    FG_TRY(counts ? counted(attack, b) : FGSM_OK);
    fg_attacker_destroy(b->attacker);
    fg_onnx_close(b->onnx);
    b->attacker = NULL;
    b->onnx = NULL;
  }
  puts("reading a model\nplanning an attack\nattacking 8 samples");
  return FGSM_OK;
}

static fgsm_status prepare(struct bench *b) {
  FG_TRY(fgsm_options_create(&b->options));
  FG_TRY(fgsm_options_set(b->options, "eps", "8/255"));
  FG_TRY(fgsm_options_set(b->options, "device", "cpu"));
  /* A race of algorithms at plan time would be counted, and its outcome. */
  FG_TRY(fgsm_options_set(b->options, "exact", "true"));
  FG_TRY(fg_cpu.open(0, 1, &b->target.device));
  b->target = (struct fg_target){&fg_cpu, FG_F32, 1, b->target.device};
  int64_t features = 1;
  for (int i = 0; i < b->shape.rank; i++)
    features *= b->shape.dim[i];
  b->x = calloc((size_t)(SAMPLES * features), sizeof *b->x);
  b->x_adv = calloc((size_t)(SAMPLES * features), sizeof *b->x_adv);
  if (!b->x || !b->x_adv)
    return FG_FAIL(MEMORY, "no memory for %d samples", SAMPLES);
  for (int64_t i = 0; i < SAMPLES * features; i++)
    b->x[i] = (float)(i * 7919 % 1000) / 1000;
  for (int i = 0; i < SAMPLES; i++) {
    b->index[i] = i;
    b->labels[i] = i % 4;
  }
  return FGSM_OK;
}

int main(int argc, char **argv) {
  struct bench b = {.shape = {.type = FG_F32, .rank = 3, .dim = {3, 13, 13}}};
  if (argc == 2 && strcmp(argv[1], "--made-by") == 0) {
    const dnnl_version_t *v = dnnl_version();
    printf("compiler %s; oneDNN %d.%d.%d %s\n", __VERSION__, v->major, v->minor, v->patch, v->hash);
    return 0;
  }
  if (argc != 2) {
    fprintf(stderr, "usage: instructions MODEL | --made-by\n");
    return 2;
  }
  b.path = argv[1];
  fgsm_status status = prepare(&b);
  if (status == FGSM_OK)
    status = count_cases(&b);
  if (status == FGSM_OK)
    status = count_attack(&b);
  if (status != FGSM_OK)
    fprintf(stderr, "instructions: %s\n", fgsm_last_error());
  fg_attacker_destroy(b.attacker);
  fg_onnx_close(b.onnx);
  if (b.target.device)
    fg_cpu.close(b.target.device);
  fgsm_options_destroy(b.options);
  free(b.x);
  free(b.x_adv);
  return status == FGSM_OK ? 0 : 6;
}
