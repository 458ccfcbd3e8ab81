/* The operator cases, timed: the tables of tests/ops once more, on one backend. Each case runs in
 * batches of about a millisecond; the table shows the median batch, the bytes that inputs and
 * outputs hold, and their rate. Those cases are small, and mostly show what a call costs; the large
 * ones of shapes.c follow them.
 *
 *   bench-ops [--backend cpu|ref] [--threads N] [PART OF A NAME]  */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "harness.h"

extern const struct fg_case_table bench_cases_shapes;

enum { ROUNDS = 9 };

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Seconds of one call, the median of ROUNDS batches; negative if a run failed. */
static double median_seconds(const struct fg_run *run) {
  double batch[ROUNDS];
  int calls = 1;
  for (int round = -1; round < ROUNDS; round++) {
    double start = fg_now();
    for (int i = 0; i < calls; i++)
      if (fg_run_again(run) != FGSM_OK)
        return -1;
    double each = (fg_now() - start) / calls;
    if (round < 0) /* the first says how many make a millisecond */
      calls = each < 1e-3 ? (int)(1e-3 / (each + 1e-9)) + 1 : 1;
    else
      batch[round] = each;
  }
  qsort(batch, ROUNDS, sizeof *batch, ascending);
  return batch[ROUNDS / 2];
}

static double moved_bytes(const struct fg_call *call) {
  double bytes = 0;
  for (int i = 0; i < call->n_in; i++)
    if (call->in[i].type != FG_NONE)
      bytes += (double)fg_bytes(&call->in[i]);
  for (int i = 0; i < call->n_out; i++)
    if (call->out[i].type != FG_NONE)
      bytes += (double)fg_bytes(&call->out[i]);
  return bytes;
}

/* False if the case failed, which a test would say better. */
static bool time_case(const struct fg_case *c, const struct fg_target *target) {
  struct fg_run run;
  struct fg_run_options options = {0};
  enum fg_run_result result = fg_run_begin(&run, c, target, &options);
  double seconds = result == FG_RUN_OK ? median_seconds(&run) : 0, bytes = moved_bytes(&run.call);
  if (result == FG_RUN_OK && seconds >= 0)
    printf("%-22s %-44s %12.0f ns %12.0f B %8.2f GB/s\n", fg_op_name(c->op), c->name, seconds * 1e9,
           bytes, bytes / seconds * 1e-9);
  else if (result == FG_RUN_FAILED || seconds < 0)
    fprintf(stderr, "%s, %s: %s\n", fg_op_name(c->op), c->name, run.why);
  fg_run_end(&run);
  return result != FG_RUN_FAILED && seconds >= 0;
}

int main(int argc, char **argv) {
  struct fg_target target = {.backend = &fg_cpu, .threads = fg_cpu_count()};
  const char *part = "";
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "--backend") == 0 && i + 1 < argc)
      target.backend = strcmp(argv[++i], "ref") == 0 ? &fg_ref : &fg_cpu;
    else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
      target.threads = atoi(argv[++i]);
    else
      part = argv[i];
  target.real = target.backend->real;
  bool whole = true;
  const struct fg_case *c;
  for (int i = 0, tested = 0; i < tested + bench_cases_shapes.n; i++) {
    if (i == tested && (c = fg_case_at(i)))
      tested++;
    else
      c = &bench_cases_shapes.cases[i - tested];
    if (strstr(c->name, part) || strstr(fg_op_name(c->op), part))
      whole &= time_case(c, &target);
  }
  return whole ? 0 : 6;
}
