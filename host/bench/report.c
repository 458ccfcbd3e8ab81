/* A bench's result for people, and as a table of comma-separated values. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { SLOWEST = 12 };

/* "1.23 ms" */
static const char *duration(double seconds, char text[32]) {
  if (seconds >= 1)
    snprintf(text, 32, "%.3g s", seconds);
  else if (seconds >= 1e-3)
    snprintf(text, 32, "%.3g ms", seconds * 1e3);
  else
    snprintf(text, 32, "%.3g us", seconds * 1e6);
  return text;
}

/* "61 %", "-" where the ceilings are not known. */
static const char *share(const struct fg_bench *b, double floor, double seconds, char text[32]) {
  if (b->ceilings.known)
    snprintf(text, 32, "%.1f %%", 100 * fg_bench_share(floor, seconds));
  else
    snprintf(text, 32, "-");
  return text;
}

static void add_head(struct fg_text *t, const struct fg_bench *b) {
  const struct fg_attacker_info *info = fg_measure_info(b->rows[0].m);
  const struct fg_ceilings *c = &b->ceilings;
  char path[4096], flops[32], bytes[32];
  fg_clean_text(b->path, false, path, sizeof path);
  fg_text_add(t, "%-11s%s\n%-11s%s: %s; %s\n", "model", path, "device", info->device,
              b->device_text, info->precision);
  fg_text_add(t, "%-11s%s, %s loss, eps %g%s; medians of %d runs\n", "attack", info->spec.name,
              b->options->loss, info->eps[0], info->verifies ? "" : ", not verified", b->rounds);
  for (int i = 0; i < c->n_threads; i++)
    fg_text_add(t, "%-11s%d thread%s: %s, copying %s\n", i ? "" : "ceilings", c->threads[i].threads,
                c->threads[i].threads > 1 ? "s" : "",
                fg_scaled(c->threads[i].flops_per_second, 1000, "FLOP/s", flops),
                fg_scaled(c->threads[i].bytes_per_second, 1000, "B/s", bytes));
  if (!c->known)
    fg_text_add(t, "%-11snot to be had on %s\n", "ceilings", info->device);
  fg_text_add(t, "%-11s%s\n", "energy", b->energy.source);
  fg_text_add(t, "%-11s%s at most in this process, before the ceilings were measured\n\n", "memory",
              fg_scaled((double)b->peak_process_bytes, 1024, "B", bytes));
}

static void add_rates(struct fg_text *t, const struct fg_bench *b) {
  char of[32], memory[32], seconds[32];
  fg_text_add(t, "%6s %6s %16s %16s %16s %12s %12s %12s %12s %12s\n", "batch", "strip",
              "end to end", "attack", "device only", "a plan's run", "of roofline", "of FMAs",
              "memory", "energy");
  for (int i = 0; i < b->n_rows; i++) {
    const struct fg_bench_row *r = &b->rows[i];
    char joules[32] = "-", fmas[32] = "-";
    if (r->multiply_adds.n)
      snprintf(fmas, sizeof fmas, "%.1f %%", 100 * r->multiply_adds.median);
    if (r->joules_per_image >= 0)
      snprintf(joules, sizeof joules, "%.3g J/image", r->joules_per_image);
    fg_text_add(t, "%6lld %6lld %10.1f img/s %10.1f img/s %10.1f img/s %12s %12s %12s %12s %12s\n",
                (long long)r->asked, (long long)fg_measure_info(r->m)->strip,
                fg_bench_rate(r, r->piped.median), fg_bench_rate(r, r->attack.median),
                fg_bench_rate(r, r->climb.median), duration(r->whole.median, seconds),
                share(b, r->floor, r->whole.median, of), fmas,
                fg_scaled((double)(r->plan.arena_bytes + r->plan.constant_bytes + r->buffer_bytes),
                          1024, "B", memory),
                joules);
  }
}

/* What a row's rates were bought with, where its arithmetic is not the exact one. */
static void add_agreement(struct fg_text *t, const struct fg_bench_row *r) {
  if (!r->approximates)
    return;
  fg_text_add(t, "\nagreement, batch %lld, ", (long long)r->asked);
  fg_agree_add_text(&r->agreement, t);
  fg_text_add(t, "\n");
}

static int by_time(const void *a, const void *b) {
  double x = (*(const struct fg_bench_call *const *)a)->seconds.median;
  double y = (*(const struct fg_bench_call *const *)b)->seconds.median;
  return (x < y) - (x > y);
}

static fgsm_status add_calls(struct fg_text *t, const struct fg_bench *b,
                             const struct fg_bench_row *r) {
  const struct fg_bench_call **order = calloc((size_t)r->plan.n_calls + 1, sizeof *order);
  double rest = 0;
  if (!order)
    return FG_FAIL(MEMORY, "no memory for %d calls", r->plan.n_calls);
  for (int i = 0; i < r->plan.n_calls; i++)
    order[i] = &r->calls[i];
  qsort(order, (size_t)r->plan.n_calls, sizeof(*order), by_time);
  fg_text_add(t, "\ncalls, batch %lld: %d, the slowest first\n", (long long)r->asked,
              r->plan.n_calls);
  for (int i = 0; i < r->plan.n_calls; i++) {
    const struct fg_bench_call *c = order[i];
    char seconds[32], of[32], flops[32], name[44];
    if (i >= SLOWEST) {
      rest += c->seconds.median;
      continue;
    }
    fg_clean_text(c->name, false, name, sizeof name);
    fg_text_add(t, "  %10s %5.1f %%  %-22s %s%s  (%s, %s of roofline)\n",
                duration(c->seconds.median, seconds), 100 * c->seconds.median / r->calls_seconds,
                c->what, c->node->from.gradient ? "gradient of " : "", name,
                fg_scaled(c->cost.flops, 1000, "FLOP", flops),
                share(b, c->floor, c->seconds.median, of));
  }
  free(order);
  char seconds[32];
  if (rest > 0)
    fg_text_add(t, "  %10s %5.1f %%  the others\n", duration(rest, seconds),
                100 * rest / r->calls_seconds);
  return FGSM_OK;
}

static void add_stages(struct fg_text *t, const struct fg_bench_row *r) {
  char seconds[32];
  double rest = r->attack.median;
  fg_text_add(t, "\nstages of an attack, batch %lld\n", (long long)r->asked);
  for (int i = 0; i < FG_STAGES; i++)
    if (r->stage[i].n) {
      rest -= r->stage[i].median;
      fg_text_add(t, "  %10s %5.1f %%  %s\n", duration(r->stage[i].median, seconds),
                  100 * r->stage[i].median / r->attack.median, fg_stage_name(i));
    }
  if (rest > 0)
    fg_text_add(t, "  %10s %5.1f %%  between them, on the host\n", duration(rest, seconds),
                100 * rest / r->attack.median);
}

fgsm_status fg_bench_text(const struct fg_bench *b, char **text) {
  struct fg_text t = {0};
  fgsm_status status = FGSM_OK;
  add_head(&t, b);
  add_rates(&t, b);
  for (int i = 0; i < b->n_rows && status == FGSM_OK; i++) {
    add_agreement(&t, &b->rows[i]);
    add_stages(&t, &b->rows[i]);
    status = add_calls(&t, b, &b->rows[i]);
  }
  if (status == FGSM_OK && t.failed)
    status = FG_FAIL(MEMORY, "no memory for the result");
  if (status == FGSM_OK)
    *text = t.data;
  else
    fg_text_free(&t);
  return status;
}

/* ---- comma-separated: a line for each measurement, empty where a column has no meaning */

static void add_field(struct fg_text *t, const char *text) {
  fg_text_add(t, "\"");
  for (const char *c = text; *c; c++)
    fg_text_add(t, *c == '"' ? "\"\"" : "%c", *c);
  fg_text_add(t, "\"");
}

static void add_line(struct fg_text *t, const struct fg_bench_row *r, const char *kind,
                     const char *name, const char *what, const struct fg_spread *s, bool rate) {
  fg_text_add(t, "%lld,%s,", (long long)r->asked, kind);
  add_field(t, name);
  fg_text_add(t, ",");
  add_field(t, what);
  fg_text_add(t, ",%.9g,%.9g,%.9g,", s->median, s->q1, s->q3);
  if (rate)
    fg_text_add(t, "%.9g", fg_bench_rate(r, s->median));
}

/* A rate, and beside it the shares of signs that agree with the exact gradient's. */
static void add_rate(struct fg_text *t, const struct fg_bench_row *r, const char *name,
                     const struct fg_spread *s) {
  add_line(t, r, "rate", name, "", s, true);
  if (r->approximates && r->agreement.samples)
    fg_text_add(t, ",,,,,%.9g,%.9g\n", r->agreement.signs, r->agreement.weighted);
  else
    fg_text_add(t, ",,,,,,\n");
}

static void add_work(struct fg_text *t, const struct fg_bench *b, double flops, double bytes,
                     double floor, double seconds, const struct fg_spread *multiply_adds) {
  fg_text_add(t, ",%.9g,%.9g,", flops, bytes);
  if (b->ceilings.known)
    fg_text_add(t, "%.9g", fg_bench_share(floor, seconds));
  fg_text_add(t, ",");
  if (multiply_adds && multiply_adds->n)
    fg_text_add(t, "%.9g", multiply_adds->median);
  fg_text_add(t, ",,\n");
}

static void add_row(struct fg_text *t, const struct fg_bench *b, const struct fg_bench_row *r) {
  double bytes = 0;
  add_rate(t, r, "end_to_end", &r->piped);
  add_rate(t, r, "attack", &r->attack);
  add_rate(t, r, "device_only", &r->climb);
  for (int i = 0; i < FG_STAGES; i++)
    if (r->stage[i].n) {
      add_line(t, r, "stage", fg_stage_name(i), "", &r->stage[i], false);
      fg_text_add(t, ",,,,,,\n");
    }
  for (int i = 0; i < r->plan.n_calls; i++) {
    const struct fg_bench_call *c = &r->calls[i];
    double moved = c->cost.read_bytes + c->cost.written_bytes;
    bytes += moved;
    add_line(t, r, c->node->from.gradient ? "gradient_node" : "node", c->name, c->what, &c->seconds,
             false);
    add_work(t, b, c->cost.flops, moved, c->floor, c->seconds.median, NULL);
  }
  add_line(t, r, "plan", "whole", "", &r->whole, false);
  add_work(t, b, r->plan.flops, bytes, r->floor, r->whole.median, &r->multiply_adds);
}

fgsm_status fg_bench_csv(const struct fg_bench *b, char **text) {
  struct fg_text t = {0};
  locale_t c_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
  if (!c_locale)
    return FG_FAIL(MEMORY, "no memory for the result");
  locale_t before = uselocale(c_locale); /* decimal points whatever the process's locale */
  fg_text_add(&t, "batch,kind,name,operator,seconds_median,seconds_q1,seconds_q3,"
                  "images_per_second,flops,bytes,roofline_share,multiply_add_share,agreement_signs,"
                  "agreement_weighted\n");
  for (int i = 0; i < b->n_rows; i++)
    add_row(&t, b, &b->rows[i]);
  uselocale(before);
  freelocale(c_locale);
  if (t.failed) {
    fg_text_free(&t);
    return FG_FAIL(MEMORY, "no memory for the result");
  }
  *text = t.data;
  return FGSM_OK;
}
