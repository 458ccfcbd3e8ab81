/* The harness doubted: each planted defect must be found by the builds that claim it (faults.h),
 * and the same kernels without a defect must pass in silence. A process for each, as a sanitizer
 * ends the process that it catches. */
#include "faults.h"

#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

#include "simt_internal.h"

enum { WRONG = 1, HARNESS = 2, SANITIZER_EXIT = 97 };

/* Sanitizers read these before main. */
extern "C" const char *__asan_default_options(void);
extern "C" const char *__ubsan_default_options(void);
extern "C" const char *__asan_default_options(void) {
  return "exitcode=97:detect_leaks=0";
}
extern "C" const char *__ubsan_default_options(void) {
  return "exitcode=97";
}

static const char *const names[] = {
#define X(name, found) #name,
    FAULTS(X)
#undef X
};
static const char *const claims[] = {
#define X(name, found) found,
    FAULTS(X)
#undef X
};

/* The exit status of a process that runs with the fault, its words sent to `log`. */
static int attempt(int fault, FILE *log) {
  fflush(nullptr);
  pid_t child = fork();
  if (child == 0) {
    dup2(fileno(log), STDERR_FILENO);
    bool right = run_with_fault((enum fault)fault);
    _exit((right ? 0 : WRONG) | (simt_error_count() ? HARNESS : 0));
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(void) {
  const char *schedule = getenv("SIMT_SCHED");
  const bool in_order = !schedule || !*schedule || !std::strcmp(schedule, "fwd");
  const char build = SIMT_CHECKED ? 'C' : SIMT_ASAN ? 'A' : 'P';
  int bad = 0, caught = 0;
  for (int f = 0; f < FAULT_COUNT; f++) {
    FILE *log = tmpfile();
    if (!log) {
      perror("test_faults");
      return 2;
    }
    const int status = attempt(f, log);
    const bool claimed =
        strchr(claims[f], build) ? build != 'P' || in_order : strchr(claims[f], 'S') != nullptr;
    const bool found = build == 'P' ? status != 0 : (status & HARNESS) || status >= SANITIZER_EXIT;
    /* Only the plain build may take a wrong result for a finding, or a refused launch. */
    const bool ok = f == FAULT_none                  ? status == 0
                    : f == FAULT_shared_beyond_limit ? status == WRONG
                    : claimed                        ? found
                                                     : true;
    caught += f != FAULT_none && claimed;
    bad += !ok;
    printf("%-4s %-30s claimed %-4s exit %d\n", ok ? "ok" : "FAIL", names[f], claims[f], status);
    if (!ok) {
      char line[512];
      rewind(log);
      while (fgets(line, sizeof line, log))
        printf("     %s", line);
    }
    fclose(log);
  }
  printf("%d faults claimed and looked for in this build, %d not as claimed\n", caught, bad);
  return bad != 0;
}
