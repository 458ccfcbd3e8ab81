/* ONNX's own backend node tests (node_samples.h). Every folder must pass on every backend, or stand in
 * the table of skips with a reason; a skip that would pass fails, so that the table cannot outlive
 * its reasons. Gradients are held against differences in test_onnx_node_gradients.c. */
#include <criterion/criterion.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node_samples.h"

/* Folders whose numbers were written with four places or made with pi as 3.1415, or where rounding
 * of what cancels is all that is left. */
static const char *const coarse[] = {"gridsample*", "roialign*", "*window*", "stft*",
                                     "dft_inverse*"};

static bool is_coarse(const char *name) {
  for (size_t i = 0; i < sizeof coarse / sizeof *coarse; i++)
    if (fnmatch(coarse[i], name, 0) == 0)
      return true;
  return false;
}

static fgsm_status compare(const struct node_sample *s, int k, const struct fg_value *v,
                           const double *got, double rtol, double atol) {
  const struct node_tensor *want = &s->want[k];
  bool real = fg_type_is_real(want->type), same = v->rank == want->rank;
  for (int i = 0; same && i < want->rank; i++)
    same = v->dim[i] == want->dim[i];
  if (!same)
    return FG_FAIL(CHECK, "output %d has another shape than expected", k);
  if (real ? !fg_type_is_real(v->type) : v->type != want->type)
    return FG_FAIL(CHECK, "output %d is %s, not %s", k, fg_type_name(v->type),
                   fg_type_name(want->type));
  if (want->type == FG_F16)
    rtol = 1e-3;
  if (want->type == FG_BF16)
    rtol = 8e-3;
  for (int64_t i = 0; i < want->n; i++) {
    double w = fg_element_real(want->type, want->data, i), d = fabs(got[i] - w);
    bool ok = real ? d <= atol + rtol * fabs(w) || got[i] == w || (isnan(w) && isnan(got[i]))
                   : got[i] == w;
    if (!ok)
      return FG_FAIL(CHECK, "output %d differs at %lld: %.9g, expected %.9g", k, (long long)i,
                     got[i], w);
  }
  return FGSM_OK;
}

static fgsm_status check_values(const struct node_sample *s, struct fg_device *device, double rtol,
                                double atol) {
  struct node_runner r = {.device = device};
  struct fg_graph *g = NULL;
  fg_id outputs[NODE_PORTS];
  fgsm_status status = node_build(s, device->backend->real, &g, r.inputs, outputs);
  for (int k = 0; k < s->n_out && status == FGSM_OK; k++)
    status = outputs[k] == FG_ABSENT ? FG_FAIL(UNSUPPORTED, "output %d is absent", k)
                                     : fg_graph_output(g, outputs[k], NULL);
  if (status != FGSM_OK) {
    fg_graph_destroy(g);
    return status;
  }
  status = node_start(&r, s, g);
  if (status == FGSM_OK)
    status = fg_plan_run(r.plan, NULL);
  for (int k = 0; k < s->n_out && status == FGSM_OK; k++) {
    struct fg_value v;
    double *got = NULL;
    status = node_fetch(&r, s, k, &v, &got);
    if (status == FGSM_OK)
      status = compare(s, k, &v, got, rtol, atol);
    free(got);
  }
  node_stop(&r);
  return status;
}

/* How many folders were left out for each reason, of which there are few. */
struct tally {
  const char *reason;
  int n;
};
enum { MOST_REASONS = 64 };

static void count_reason(struct tally *tally, const char *reason) {
  for (int i = 0; i < MOST_REASONS; i++)
    if (!tally[i].n || strcmp(tally[i].reason, reason) == 0) {
      tally[i].reason = reason;
      tally[i].n++;
      return;
    }
  cr_assert_fail("more than %d reasons", MOST_REASONS);
}

static void check_backend(const struct fg_backend *backend, double rtol, double atol) {
  static char *names[NODE_FOLDERS];
  struct tally tally[MOST_REASONS] = {{0}};
  int n = node_folders(names), passed = 0, skipped = 0;
  struct fg_device *device = NULL;
  cr_assert(backend->open(0, 1, &device) == FGSM_OK, "%s", fgsm_last_error());
  for (int i = 0; i < n; i++) {
    struct node_sample s;
    const char *reason = node_skip_reason(names[i], backend->real);
    bool rough = is_coarse(names[i]);
    fgsm_status status = node_open(names[i], &s);
    if (status == FGSM_OK)
      status = check_values(&s, device, rough ? fmax(rtol, 1e-3) : rtol, rough ? 1e-6 : atol);
    if (reason) {
      cr_expect(status != FGSM_OK, "%s: passes, but is to be skipped: %s", names[i], reason);
      count_reason(tally, reason);
      skipped++;
    } else {
      cr_expect(status == FGSM_OK, "%s: %s", names[i], fgsm_last_error());
      passed += status == FGSM_OK;
    }
    node_close(&s);
    free(names[i]);
  }
  backend->close(device);
  fprintf(stderr, "onnx_node on %s, %s tests: %d folders, %d passed, %d skipped, %d failed\n",
          backend->name, node_suite_is_newer() ? "newer" : "Debian's", n, passed, skipped,
          n - passed - skipped);
  for (int i = 0; i < MOST_REASONS && tally[i].n; i++)
    fprintf(stderr, "onnx_node skipped %4d  %s\n", tally[i].n, tally[i].reason);
}

Test(onnx_node, ref_gives_the_expected_outputs) {
  check_backend(&fg_ref, 2e-6, 2e-7);
}

Test(onnx_node, cpu_gives_the_expected_outputs) {
  check_backend(&fg_cpu, 1e-3, 1e-7);
}

Test(onnx_node, ref_gives_the_expected_outputs_of_the_newer_tests) {
  node_suite_enter();
  check_backend(&fg_ref, 5e-4, 1e-7); /* some of their numbers have four places */
  node_suite_leave();
}

Test(onnx_node, cpu_gives_the_expected_outputs_of_the_newer_tests) {
  node_suite_enter();
  check_backend(&fg_cpu, 1e-3, 1e-7);
  node_suite_leave();
}

/* Each row must still skip something, in the test data that this table was made for. */
Test(onnx_node, every_skip_has_a_folder) {
  enum { MOST = 256 };
  static char *names[NODE_FOLDERS];
  int fits[MOST] = {0};
  const char *pattern, *reason;
  for (int newer = 0; newer < 2; newer++) {
    if (newer)
      node_suite_enter();
    int n = node_folders(names);
    for (int i = 0; i < n; i++) {
      for (int k = 0; k < MOST && node_skip_row(k, &pattern, &reason); k++)
        fits[k] += fnmatch(pattern, names[i], 0) == 0;
      free(names[i]);
    }
  }
  node_suite_leave();
  for (int k = 0; k < MOST && node_skip_row(k, &pattern, &reason); k++)
    cr_expect(fits[k] > 0 || getenv("FGSM_ONNX_TESTDATA"), "'%s' skips nothing", pattern);
  cr_expect_not(node_skip_row(MOST, &pattern, &reason));
}
