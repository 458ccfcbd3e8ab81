/* Every case of every operator family on one backend, in the modes of the case harness, and cases
 * with sizes that the CUDA kernels' chunks and warps do not divide. Needs no test framework, so that
 * it runs on a machine that has nothing but a card.
 *
 *   device-cases [--device NAME] [--mode agrees|repeats|clean|in-place|lying|half]
 *                [--without-cpu-sizes] [--once] [FAMILY...]
 *   simt-tests ...                 the CUDA kernels on the CPU; SIMT_SCHED chooses the order of threads
 *
 * --once leaves out the modes that run a call again as it was run before, repeats and clean, for programs that
 * look at accesses. A case fails if a mode does or if the backend has a word to say. */
#include <stdio.h>
#include <string.h>

#include "half.h"
#include "harness.h"
#include "tested.h"

extern const struct fg_case_table device_cases_sizes;

static const struct mode {
  const char *name;
  fg_mode run;
  bool again; /* nothing but what `agrees` has run, and on the same values */
} modes[] = {{"agrees", fg_mode_agrees, false}, {"repeats", fg_mode_repeats, true},
             {"clean", fg_mode_clean, true},    {"in-place", fg_mode_in_place, false},
             {"lying", fg_mode_lying, false},   {"half", fg_mode_half, false}};
enum { N_MODES = sizeof modes / sizeof *modes };

static const struct fg_case_table *const tables[] = {
#define X(family) &fg_cases_##family,
    FG_CASE_FAMILIES(X)
#undef X
    & device_cases_sizes};
enum { N_TABLES = sizeof tables / sizeof *tables };

struct job {
  struct fg_target target;
  const char *mode; /* NULL: all */
  char **families;
  int n_families;         /* 0: all */
  bool without_cpu_sizes; /* fg_case_is_of_cpu */
  bool once;
  bool seen[FG_OP_COUNT], seen_half[FG_OP_COUNT], seen_lying[FG_OP_COUNT];
  int passed, skipped, broken;
};

static void run_mode(struct job *job, const struct fg_case_table *table, const struct fg_case *c,
                     const struct mode *mode) {
  if ((job->without_cpu_sizes && fg_case_is_of_cpu(c)) || (job->once && mode->again))
    return;
  char why[768] = "";
  unsigned long before = tested_errors();
  enum fg_verdict verdict = mode->run(c, &job->target, why, sizeof why);
  if (verdict != FG_BROKEN && tested_errors() != before) {
    verdict = FG_BROKEN;
    snprintf(why, sizeof why, "the harness found %lu errors (above)", tested_errors() - before);
  }
  if (verdict == FG_BROKEN)
    printf("FAIL %s/%s %s: %s\n", table->family, c->name, mode->name, why);
  job->passed += verdict == FG_PASS;
  job->skipped += verdict == FG_SKIP;
  job->broken += verdict == FG_BROKEN;
  job->seen[c->op] |= verdict == FG_PASS;
  job->seen_half[c->op] |= verdict == FG_PASS && mode->run == fg_mode_half;
  job->seen_lying[c->op] |= verdict == FG_PASS && mode->run == fg_mode_lying;
}

static bool is_wanted(const struct job *job, const char *family) {
  bool wanted = job->n_families == 0;
  for (int i = 0; i < job->n_families; i++)
    wanted |= strcmp(job->families[i], family) == 0;
  return wanted;
}

/* What half.h lists, but for views, which have no kernel, and what has cases of its own. */
static bool needs_half(const struct job *job, enum fg_op op) {
  const struct fg_backend *backend = job->target.backend;
  return backend->takes_half && backend->kernels[op]->run && fg_half_slots(op).in &&
         !fg_half_rounds(op) && op != FG_OP_reshape;
}

/* What convolutional nets consist of: a device that lies channels last must take it so. */
static bool needs_lying(const struct job *job, enum fg_op op) {
  static const enum fg_op ops[] = {FG_OP_unary,
                                   FG_OP_unary_grad,
                                   FG_OP_binary,
                                   FG_OP_affine,
                                   FG_OP_cast,
                                   FG_OP_batch_norm,
                                   FG_OP_batch_norm_train,
                                   FG_OP_batch_norm_train_grad,
                                   FG_OP_conv,
                                   FG_OP_conv_grad_input,
                                   FG_OP_conv_grad_weight,
                                   FG_OP_max_pool,
                                   FG_OP_max_pool_grad,
                                   FG_OP_avg_pool,
                                   FG_OP_avg_pool_grad,
                                   FG_OP_reduce,
                                   FG_OP_expand,
                                   FG_OP_concat,
                                   FG_OP_slice,
                                   FG_OP_slice_grad,
                                   FG_OP_pad,
                                   FG_OP_conv_grad_input_step,
                                   FG_OP_reorder};
  bool listed = false;
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
    listed |= ops[i] == op;
  return listed && job->target.device->layout == FG_NHWC;
}

static void run_all(struct job *job) {
  for (int t = 0; t < N_TABLES; t++)
    for (int i = 0; is_wanted(job, tables[t]->family) && i < tables[t]->n; i++)
      for (int m = 0; m < N_MODES; m++)
        if (!job->mode || strcmp(job->mode, modes[m].name) == 0)
          run_mode(job, tables[t], &tables[t]->cases[i], &modes[m]);
  for (int op = 0; !job->n_families && !job->mode && op < FG_OP_COUNT; op++)
    if (job->target.backend->kernels[op]->run && !job->seen[op] && op != FG_OP_reshape) {
      printf("FAIL %s: no case ran\n", fg_op_name((enum fg_op)op));
      job->broken++;
    }
  for (int op = 0; !job->n_families && !job->mode && op < FG_OP_COUNT; op++)
    if (needs_half(job, (enum fg_op)op) && !job->seen_half[op]) {
      printf("FAIL %s: no case ran in half precision\n", fg_op_name((enum fg_op)op));
      job->broken++;
    }
  for (int op = 0; !job->n_families && !job->mode && op < FG_OP_COUNT; op++)
    if (needs_lying(job, (enum fg_op)op) && !job->seen_lying[op]) {
      printf("FAIL %s: no case ran channels last\n", fg_op_name((enum fg_op)op));
      job->broken++;
    }
}

static int usage(void) {
  fprintf(stderr,
          "usage: device-cases [--device NAME] [--mode agrees|repeats|clean|in-place|lying|half] "
          "[--without-cpu-sizes] [--once] [FAMILY...]\n");
  return 2;
}

int main(int argc, char **argv) {
  struct job job = {.target = {.threads = 1}};
  const char *name = NULL;
  int at = 1;
  for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
    bool mode = strcmp(argv[at], "--mode") == 0, device = strcmp(argv[at], "--device") == 0;
    if (strcmp(argv[at], "--without-cpu-sizes") == 0)
      job.without_cpu_sizes = true;
    else if (strcmp(argv[at], "--once") == 0)
      job.once = true;
    else if ((mode || device) && at + 1 < argc)
      *(mode ? &job.mode : &name) = argv[++at];
    else
      return usage();
  }
  bool known = !job.mode;
  for (int m = 0; m < N_MODES && !known; m++)
    known = strcmp(job.mode, modes[m].name) == 0;
  if (!known)
    return usage();
  job.families = argv + at;
  job.n_families = argc - at;
  const struct fg_backend *backend = tested_backend(name);
  if (!backend)
    return 5;
  if (backend->open(0, 1, &job.target.device) != FGSM_OK) {
    fprintf(stderr, "%s\n", fgsm_last_error());
    return 5;
  }
  job.target.backend = job.target.device->backend;
  job.target.real = job.target.backend->real;
  run_all(&job);
  backend->close(job.target.device);
  printf("%d passed, %d skipped (no kernel, or not that mode's), %d broken\n", job.passed,
         job.skipped, job.broken);
  return job.broken != 0 || job.passed == 0;
}
