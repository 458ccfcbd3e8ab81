/* Operators, timed on one backend: calls of the sizes that attacks have (sizes.c, and attention's in
 * shapes.c) and, with --cases, the tables of tests/ops, which are small and mostly show what a call costs.
 *
 * Each runs in batches of about a millisecond, which are waited for once; the table shows the median
 * batch, what the call must move and compute (cost.c), and the share of its floor: the time that
 * those take at the rates of this backend, over the time that was taken. The rates are measured
 * first, through the same seam: bytes by a copy, FLOPs by a product of matrices. A call whose tensors
 * stay in a cache may pass 100 %.
 *
 *   bench-ops [--backend NAME] [--threads N] [--cases] [--json FILE] [PART OF A NAME]
 *   bench-ops --count [PART OF A NAME]     bytes and FLOPs alone, as a table; nothing is run  */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "cost.h"
#include "device.h"
#include "harness.h"

extern const struct fg_case_table bench_sizes, bench_cases_shapes;

enum { ROUNDS = 9 };

struct bench {
  struct fg_target target;
  double copy_rate, product_rate; /* bytes and FLOPs a second; 0: not measured */
  FILE *json;
  int lines;
};

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
    if (fg_run_again(run, calls) != FGSM_OK)
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

/* The least seconds that the call can take at the measured rates; 0 where there is none. */
static double floor_seconds(const struct bench *b, const struct fg_call *call) {
  double moved = b->copy_rate > 0 ? bench_bytes(call) / b->copy_rate : 0;
  double computed =
      bench_is_product(call->op) && b->product_rate > 0 ? bench_flops(call) / b->product_rate : 0;
  return moved > computed ? moved : computed;
}

static void show(struct bench *b, const struct fg_case *c, const struct fg_call *call,
                 double seconds) {
  double bytes = bench_bytes(call), flops = bench_flops(call), least = floor_seconds(b, call);
  printf("%-22s %-58s %12.0f ns %12.0f B %8.2f GB/s %9.2f GFLOP/s", fg_op_name(c->op), c->name,
         seconds * 1e9, bytes, bytes / seconds * 1e-9, flops / seconds * 1e-9);
  if (least > 0)
    printf(" %6.1f %% of its floor", 100 * least / seconds);
  printf("\n");
  if (b->json)
    fprintf(b->json,
            "%s\n  {\"operator\": \"%s\", \"case\": \"%s\", \"seconds\": %.9g, \"bytes\": %.0f, "
            "\"flops\": %.0f, \"floor_seconds\": %.9g}",
            b->lines++ ? "," : "", fg_op_name(c->op), c->name, seconds, bytes, flops, least);
}

/* The seconds of a case, shown; 0 where the backend has no such kernel, negative if it failed, which
 * a test would say better. */
static double time_case(struct bench *b, const struct fg_case *c) {
  struct fg_run run;
  struct fg_run_options options = {0};
  enum fg_run_result result = fg_run_begin(&run, c, &b->target, &options);
  double seconds = result == FG_RUN_OK ? median_seconds(&run) : result == FG_RUN_FAILED ? -1 : 0;
  if (seconds > 0)
    show(b, c, &run.call, seconds);
  else if (seconds < 0)
    fprintf(stderr, "%s, %s: %s\n", fg_op_name(c->op), c->name,
            result == FG_RUN_FAILED ? run.why : fgsm_last_error());
  fg_run_end(&run);
  return seconds;
}

/* What bench_bytes or bench_flops counts of one of the first two sizes, a second; 0 where the backend
 * has no such kernel, negative if it failed. */
static double rate_of(struct bench *b, const struct fg_case *c,
                      double (*amount)(const struct fg_call *)) {
  struct fg_call call;
  union fg_attrs attrs;
  double seconds = time_case(b, c);
  fg_case_call(c, b->target.real, &attrs, &call);
  return seconds > 0 ? amount(&call) / seconds : seconds;
}

static bool is_named(const struct fg_case *c, const char *part) {
  return strstr(c->name, part) || strstr(fg_op_name(c->op), part);
}

static bool time_all(struct bench *b, bool small, const char *part) {
  const struct fg_case *sizes = bench_sizes.cases, *c;
  double copy = rate_of(b, &sizes[0], bench_bytes), product = rate_of(b, &sizes[1], bench_flops);
  bool whole = copy >= 0 && product >= 0;
  b->copy_rate = copy;
  b->product_rate = product;
  for (int i = 2; i < bench_sizes.n; i++)
    if (is_named(&sizes[i], part))
      whole &= time_case(b, &sizes[i]) >= 0;
  for (int i = 0; i < bench_cases_shapes.n; i++)
    if (is_named(&bench_cases_shapes.cases[i], part))
      whole &= time_case(b, &bench_cases_shapes.cases[i]) >= 0;
  for (int i = 0; small && (c = fg_case_at(i)); i++)
    if (is_named(c, part))
      whole &= time_case(b, c) >= 0;
  return whole;
}

/* A row for each of the sizes: what it must move and compute, and of that a sample's part. */
static void count_all(const char *part) {
  printf("| operator | call | bytes | FLOPs | bytes a sample | FLOPs a sample |\n"
         "|---|---|---|---|---|---|\n");
  for (int i = 2; i < bench_sizes.n; i++) {
    const struct fg_case *c = &bench_sizes.cases[i];
    struct fg_call call;
    union fg_attrs attrs;
    if (!is_named(c, part))
      continue;
    fg_case_call(c, FG_F32, &attrs, &call);
    double bytes = bench_bytes(&call), flops = bench_flops(&call);
    double samples = (double)call.out[0].dim[0];
    printf("| %s | %s | %.0f | %.0f | %.0f | %.0f |\n", fg_op_name(c->op), c->name, bytes, flops,
           bytes / samples, flops / samples);
  }
}

int main(int argc, char **argv) {
  struct bench b = {.target = {.threads = fg_cpu_count()}};
  const char *part = "", *json = NULL, *backend = "cpu";
  bool small = false, count = false;
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "--backend") == 0 && i + 1 < argc)
      backend = argv[++i];
    else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
      b.target.threads = atoi(argv[++i]);
    else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc)
      json = argv[++i];
    else if (strcmp(argv[i], "--cases") == 0)
      small = true;
    else if (strcmp(argv[i], "--count") == 0)
      count = true;
    else
      part = argv[i];
  if (count) {
    count_all(part);
    return 0;
  }
  const struct fg_backend *found;
  if (fg_backend_find(backend, &found) != FGSM_OK ||
      found->open(0, b.target.threads, &b.target.device) != FGSM_OK) {
    fprintf(stderr, "bench-ops: %s\n", fgsm_last_error());
    return 2;
  }
  b.target.backend = b.target.device->backend;
  b.target.real = b.target.backend->real;
  if (json && !(b.json = fopen(json, "w"))) {
    fprintf(stderr, "bench-ops: %s cannot be written\n", json);
    return 3;
  }
  if (b.json)
    fprintf(b.json, "[");
  bool whole = time_all(&b, small, part);
  if (b.json)
    whole = fprintf(b.json, "\n]\n") > 0 && fclose(b.json) == 0 && whole;
  found->close(b.target.device);
  return whole ? 0 : 6;
}
