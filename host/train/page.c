/* The log as a page: curves as SVG, without scripts or other files. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

enum { WIDTH = 640, HEIGHT = 220, LEFT = 56, RIGHT = 12, TOP = 12, BOTTOM = 28 };

struct curve {
  const char *event, *key, *name, *color;
};

/* Where on the way through the epochs the line was written. */
static double place(const struct fg_run *run, const json_t *line) {
  double epoch = json_number_value(json_object_get(line, "epoch"));
  const json_t *step = json_object_get(line, "step");
  return step ? epoch - 1 + json_number_value(step) / (double)run->per_epoch : epoch;
}

static bool is_of(const json_t *line, const struct curve *c) {
  const char *event = json_string_value(json_object_get(line, "event"));
  return event && strcmp(event, c->event) == 0 && json_is_number(json_object_get(line, c->key));
}

static double largest(const struct fg_run *run, const struct curve *c) {
  double top = -INFINITY;
  size_t i;
  json_t *line;
  json_array_foreach(run->lines, i, line) {
    if (is_of(line, c))
      top = fmax(top, json_number_value(json_object_get(line, c->key)));
  }
  return top;
}

/* Not below v, and a round number in quarters. */
static double round_top(double v) {
  static const double steps[] = {1, 2, 2.5, 5};
  if (v <= 0)
    return 1;
  double unit = 4 * pow(10, floor(log10(v / 4)));
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
    if (steps[i] * unit >= v)
      return steps[i] * unit;
  return 10 * unit;
}

static double across(const struct fg_run *run, double epoch) {
  return LEFT + (WIDTH - LEFT - RIGHT) * epoch / (double)run->options->epochs;
}

static double down(double v, double top) {
  return TOP + (HEIGHT - TOP - BOTTOM) * (1 - v / top);
}

static void add_axes(struct fg_text *page, const struct fg_run *run, double top, bool percent) {
  for (int i = 0; i <= 4; i++) {
    double v = top * i / 4, y = down(v, top);
    fg_text_add(page, "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class='grid'/>", LEFT,
                WIDTH - RIGHT, y, y);
    fg_text_add(page, "<text x='%d' y='%.1f' class='v'>%.3g%s</text>\n", LEFT - 6, y + 4,
                percent ? 100 * v : v, percent ? " %" : "");
  }
  fg_text_add(page, "<text x='%d' y='%d'>0</text><text x='%d' y='%d' class='v'>epoch %lld</text>\n",
              LEFT, HEIGHT - 8, WIDTH - RIGHT, HEIGHT - 8, (long long)run->options->epochs);
}

/* The first point comes twice, so that one alone is seen too. */
static void add_curve(struct fg_text *page, const struct fg_run *run, double top,
                      const struct curve *c) {
  size_t i;
  json_t *line;
  bool first = true;
  fg_text_add(page, "<polyline stroke='%s' points='", c->color);
  json_array_foreach(run->lines, i, line) {
    double y = down(fmax(0, json_number_value(json_object_get(line, c->key))), top);
    for (int times = is_of(line, c) ? 1 + first : 0; times > 0; times--, first = false)
      fg_text_add(page, "%.1f,%.1f ", across(run, place(run, line)), y);
  }
  fg_text_add(page, "'/>\n");
}

/* Of those curves of which the log tells something. */
static void add_chart(struct fg_text *page, const struct fg_run *run, const char *title,
                      bool percent, int n, const struct curve *curves) {
  double top = 0;
  fg_text_add(page, "<h2>%s</h2>\n<p class='key'>", title);
  for (int c = 0; c < n; c++) {
    double most = largest(run, &curves[c]);
    top = fmax(top, most);
    if (isfinite(most))
      fg_text_add(page, "<span style='color:%s'>&#9632; %s</span> ", curves[c].color,
                  curves[c].name);
  }
  top = percent ? 1 : round_top(top);
  fg_text_add(page, "</p>\n<svg viewBox='0 0 %d %d' role='img' aria-label='%s'>\n", WIDTH, HEIGHT,
              title);
  add_axes(page, run, top, percent);
  for (int c = 0; c < n; c++)
    if (isfinite(largest(run, &curves[c])))
      add_curve(page, run, top, &curves[c]);
  fg_text_add(page, "</svg>\n");
}

static void add_head(struct fg_text *page, const struct fg_run *run) {
  fg_text_add(page,
              "<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>fgsm train</title>\n"
              "<style>body{font:15px/1.5 sans-serif;max-width:44em;margin:2em auto;padding:0 1em}"
              "svg{width:100%%;height:auto}text{font-size:11px;fill:#555}.v{text-anchor:end}"
              ".grid{stroke:#ddd}polyline{fill:none;stroke-width:2;stroke-linecap:round}.bad{color:"
              "#b00}</style>\n");
  fg_text_add(page, "<h1>%s, eps %.4g, %lld epochs</h1>\n", run->spec.method.name, run->spec.eps,
              (long long)run->done);
  if (run->watch.times > 0)
    fg_text_add(page,
                "<p class='bad'>Catastrophic overfitting was seen %lld time%s%s; rollbacks: "
                "%lld.</p>\n",
                (long long)run->watch.times, run->watch.times == 1 ? "" : "s",
                fg_watch_is_overfit(&run->watch) ? ", and the run ends in it" : "",
                (long long)run->watch.rollbacks);
}

fgsm_status fg_run_page(const struct fg_run *run) {
  static const struct curve held[] = {
      {"epoch", "clean_accuracy", "held out, clean", "#1769aa"},
      {"epoch", "robust_accuracy", "held out, under PGD", "#c2410c"},
      {"epoch", "train_robust_accuracy", "training, as crafted", "#7c7c7c"}};
  static const struct curve loss[] = {{"epoch", "loss", "loss", "#1769aa"}};
  static const struct curve rate[] = {{"epoch", "learning_rate", "at the epoch's end", "#1769aa"}};
  static const struct curve watch[] = {
      {"watch", "fgsm_accuracy", "under FGSM", "#1769aa"},
      {"watch", "pgd_accuracy", "under PGD", "#c2410c"},
      {"watch", "cosine", "cosine of gradients (1 = 100 %)", "#2e7d32"}};
  struct fg_text page = {0};
  struct fg_file *file = NULL;
  add_head(&page, run);
  add_chart(&page, run, "Accuracy", true, 3, held);
  add_chart(&page, run, "Loss", false, 1, loss);
  if (run->spec.watched)
    add_chart(&page, run, "The watch for overfitting: training samples", true, 3, watch);
  add_chart(&page, run, "Learning rate", false, 1, rate);
  fgsm_status status = page.failed ? FG_FAIL(MEMORY, "no memory for the report")
                                   : fg_file_create(run->options->report, &file);
  if (status == FGSM_OK)
    status = fg_file_write(file, page.data, page.length);
  if (status == FGSM_OK)
    status = fg_file_commit(file);
  fg_file_close(file);
  fg_text_free(&page);
  return status;
}
