/* Memory over time: a column for each call (or for several, the most of them), forward and then
 * backward, in blocks of an eighth of a line where the terminal has them. */
#include <stdlib.h>
#include <string.h>

#include "describe.h"

enum { HEIGHT = 8, MARGIN = 13, WIDEST_CALL = 4 };

/* How calls are spread over columns. */
struct plot {
  const struct fg_described_plan *plan;
  struct fg_text *text;
  int n_calls, columns, peak_column;
  double peak;
  bool unicode, color;
};

/* The calls of column c: [first, last). */
static int first_call(const struct plot *p, int c) {
  return (int)((int64_t)c * p->n_calls / p->columns);
}

static double column_bytes(const struct plot *p, int c) {
  int from = first_call(p, c), to = first_call(p, c + 1);
  double most = 0;
  for (int i = from; i < to || i == from; i++)
    if (fg_call_memory(&p->plan->calls[i]) > most)
      most = fg_call_memory(&p->plan->calls[i]);
  return most;
}

/* One character of column c on line `line` (0: the lowest): how much of it is filled. */
static const char *block(const struct plot *p, int c, int line) {
  static const char *const eighths[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  double filled = column_bytes(p, c) / p->peak * HEIGHT - line;
  int part = filled >= 1 ? 8 : filled <= 0 ? 0 : (int)(filled * 8 + 0.5);
  if (line == 0 && part == 0)
    part = column_bytes(p, c) > 0;
  if (p->unicode)
    return eighths[part];
  return part >= 4 ? "#" : part > 0 ? "." : " ";
}

static void draw_line(const struct plot *p, int line) {
  char label[32] = "";
  if (line == HEIGHT - 1 || line == HEIGHT / 2 - 1)
    fg_scaled(p->peak * (line + 1) / HEIGHT, 1024, "B", label);
  fg_text_add(p->text, "%*s |", MARGIN - 2, label);
  for (int c = 0; c < p->columns; c++) {
    bool marked = p->color && c == p->peak_column;
    fg_text_add(p->text, "%s%s%s", marked ? "\033[1;31m" : "", block(p, c, line),
                marked ? "\033[0m" : "");
  }
  fg_text_add(p->text, "\n");
}

/* An arrow at the peak, and on the side with more room the call that makes it. */
static void draw_peak(const struct plot *p) {
  char label[160];
  const char *on = p->color ? "\033[1;31m" : "", *off = p->color ? "\033[0m" : "";
  fg_call_label(p->plan, p->plan->peak, label, sizeof label);
  int before = MARGIN + p->peak_column, n = (int)strlen(label);
  if (p->peak_column > p->columns / 2 && before > n)
    fg_text_add(p->text, "%*s%s %s^%s\n", before - n - 1, "", label, on, off);
  else
    fg_text_add(p->text, "%*s%s^%s %s\n", before, "", on, off, label);
}

/* Below the axis: where the gradient begins, and the peak. */
static void draw_feet(const struct plot *p) {
  int turn = 0;
  while (turn < p->columns && !fg_call_is_gradient(&p->plan->calls[first_call(p, turn)]))
    turn++;
  fg_text_add(p->text, "%*s +", MARGIN - 2, "0");
  for (int c = 0; c < p->columns; c++)
    fg_text_add(p->text, c == turn ? "+" : "-");
  fg_text_add(p->text, "\n%*s", MARGIN, "");
  int room = turn > 8 ? turn : 8; /* the words may be wider than the columns */
  fg_text_add(p->text, "%-*s%s\n", room, "forward", turn < p->columns ? " gradient" : "");
  draw_peak(p);
}

void fg_describe_plot(const struct fg_described_plan *plan, const struct fgsm_options *options,
                      struct fg_text *text) {
  int width = (options->width ? options->width : 80) - MARGIN - 1;
  struct plot p = {.plan = plan, .text = text, .n_calls = plan->info.n_calls};
  p.peak = p.n_calls ? fg_call_memory(&plan->calls[plan->peak]) : 0;
  if (p.n_calls == 0 || p.peak <= 0)
    return;
  int each = width / p.n_calls < WIDEST_CALL ? width / p.n_calls : WIDEST_CALL;
  p.columns = each > 0 ? each * p.n_calls : width;
  p.unicode = strcmp(options->plot, "unicode") == 0;
  p.color = strcmp(options->color, "always") == 0;
  while (first_call(&p, p.peak_column + 1) <= plan->peak)
    p.peak_column++;
  fg_text_add(text, "\nmemory in use, call by call (%d; weights aside)\n", p.n_calls);
  for (int line = HEIGHT - 1; line >= 0; line--)
    draw_line(&p, line);
  draw_feet(&p);
  fg_text_add(text, "\n");
}
