/* Every case of every operator family through the CUDA kernels on the CPU, in the modes of the case
 * harness, and cases of its own with sizes that the kernels' chunks and warps do not divide.
 *
 *   simt-tests [FAMILY...]      SIMT_SCHED chooses the order of threads
 *
 * A case fails if a mode does or if the harness has a word to say. */
#include <stdio.h>
#include <string.h>

#include "harness.h"

extern const struct fg_backend fg_cuda_simt;
unsigned long simt_error_count(void);
extern const struct fg_case_table simt_cases_sizes;

static const struct fg_target target = {&fg_cuda_simt, FG_F32, 1};

static const struct {
  const char *name;
  fg_mode run;
} modes[] = {{"agrees", fg_mode_agrees},
             {"repeats", fg_mode_repeats},
             {"keeps to its buffers", fg_mode_clean},
             {"in place", fg_mode_in_place}};

static const struct fg_case_table *const tables[] = {
#define X(family) &fg_cases_##family,
    FG_CASE_FAMILIES(X)
#undef X
    & simt_cases_sizes};

struct tally {
  int passed, skipped, broken;
};

static void run_case(const struct fg_case_table *table, const struct fg_case *c, bool *seen,
                     struct tally *tally) {
  for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
    char why[768] = "";
    unsigned long before = simt_error_count();
    enum fg_verdict verdict = modes[m].run(c, &target, why, sizeof why);
    if (verdict != FG_BROKEN && simt_error_count() != before) {
      verdict = FG_BROKEN;
      snprintf(why, sizeof why, "the SIMT harness found %lu errors (above)",
               simt_error_count() - before);
    }
    if (verdict == FG_BROKEN)
      printf("FAIL %s/%s %s: %s\n", table->family, c->name, modes[m].name, why);
    tally->passed += verdict == FG_PASS;
    tally->skipped += verdict == FG_SKIP;
    tally->broken += verdict == FG_BROKEN;
    seen[c->op] |= verdict == FG_PASS;
  }
}

static bool is_wanted(const char *family, int argc, char **argv) {
  for (int i = 1; i < argc; i++)
    if (!strcmp(argv[i], family))
      return true;
  return argc == 1;
}

int main(int argc, char **argv) {
  bool seen[FG_OP_COUNT] = {false};
  struct tally all = {0};
  for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
    for (int i = 0; is_wanted(tables[t]->family, argc, argv) && i < tables[t]->n; i++)
      run_case(tables[t], &tables[t]->cases[i], seen, &all);
  for (int op = 0; argc == 1 && op < FG_OP_COUNT; op++)
    if (fg_cuda_simt.kernels[op]->run && !seen[op]) {
      printf("FAIL %s: no case ran\n", fg_op_name((enum fg_op)op));
      all.broken++;
    }
  printf("%d passed, %d skipped (no kernel, or not that mode's), %d broken\n", all.passed,
         all.skipped, all.broken);
  return all.broken != 0 || all.passed == 0;
}
