/* Labels from a file of their own: IDX, .npy, a .npz member, or text with one integer a line (a
 * first line of letters is taken for a column's name). Labels are streamed like samples, so a file
 * that promises many costs nothing. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_format.h"

enum { LINE_MAX_BYTES = 64, CHUNK = 32 << 10 };

struct fg_labels {
  char *path;
  struct fg_array array;
  struct fg_bytes *text; /* NULL: array holds the labels */
  int64_t n;
  int64_t line, offset; /* text: the next line and, in the file, the next byte of buffer */
  int64_t next;         /* text: the label that comes next */
  size_t used, have;    /* of buffer */
  char buffer[CHUNK];
};

int64_t fg_labels_count(const struct fg_labels *labels) {
  return labels->n;
}

const char *fg_labels_path(const struct fg_labels *labels) {
  return labels->path;
}

/* ---- text */

static fgsm_status next_byte(struct fg_labels *labels, int *byte) {
  if (labels->used == labels->have) {
    labels->used = 0;
    FG_TRY(fg_bytes_read(labels->text, labels->offset, labels->buffer, CHUNK, &labels->have));
  }
  *byte = labels->used < labels->have ? (unsigned char)labels->buffer[labels->used] : -1;
  labels->offset += *byte >= 0;
  labels->used += *byte >= 0;
  return FGSM_OK;
}

/* The next line without its end and without spaces around it; *more false at the end. */
static fgsm_status next_line(struct fg_labels *labels, char line[LINE_MAX_BYTES], bool *more) {
  size_t n = 0;
  int byte;
  FG_TRY(next_byte(labels, &byte));
  *more = byte >= 0;
  for (; byte >= 0 && byte != '\n';) {
    if (n == LINE_MAX_BYTES - 1 || byte == 0)
      return FG_FAIL(DATA, "%s:%lld: one integer was expected, found %s (byte %lld)",
                     fg_bytes_name(labels->text), (long long)labels->line + 1,
                     byte ? "a long line" : "a zero byte", (long long)labels->offset - 1);
    if (n || !isspace(byte))
      line[n++] = (char)byte;
    FG_TRY(next_byte(labels, &byte));
  }
  while (n && isspace((unsigned char)line[n - 1]))
    n--;
  line[n] = 0;
  labels->line += *more;
  return FGSM_OK;
}

static bool is_title(const char *line) {
  static const char mark[] = "\xef\xbb\xbf"; /* of UTF-8, before the first line */
  if (strncmp(line, mark, 3) == 0)
    line += 3;
  size_t n = strspn(line, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_");
  return n && !line[n];
}

/* The next label; *more false at the end, before which lines may be empty. */
static fgsm_status next_label(struct fg_labels *labels, int64_t *label, bool *more) {
  char line[LINE_MAX_BYTES], *end = NULL;
  bool gap = false;
  for (;;) {
    FG_TRY(next_line(labels, line, more));
    if (!*more)
      return FGSM_OK;
    if (*line && !(labels->line == 1 && is_title(line)))
      break;
    gap = gap || !*line;
  }
  const char *digits = labels->line == 1 && strncmp(line, "\xef\xbb\xbf", 3) == 0 ? line + 3 : line;
  errno = 0;
  *label = strtoll(digits, &end, 10);
  if (gap || end == digits || *end || errno || *label < -1)
    return FG_FAIL(DATA, "%s:%lld: one integer from 0 (-1: none) was expected, found %s'%s'",
                   fg_bytes_name(labels->text), (long long)labels->line,
                   gap ? "an empty line, then " : "", line);
  return FGSM_OK;
}

static void rewind_text(struct fg_labels *labels) {
  labels->line = labels->offset = labels->next = 0;
  labels->used = labels->have = 0;
}

static fgsm_status count_text(struct fg_labels *labels) {
  bool more = true;
  for (int64_t label;; labels->n++) {
    if (labels->n % 65536 == 0)
      FG_TRY(fg_check_interrupt());
    FG_TRY(next_label(labels, &label, &more));
    if (!more)
      break;
  }
  rewind_text(labels);
  return FGSM_OK;
}

static fgsm_status read_text(struct fg_labels *labels, int64_t first, int64_t n, int64_t *to) {
  if (first < labels->next)
    rewind_text(labels);
  for (int64_t label; labels->next < first + n; labels->next++) {
    bool more = true;
    FG_TRY(next_label(labels, &label, &more));
    if (!more)
      return FG_FAIL(DATA, "%s: ends at byte %lld, before label %lld of %lld",
                     fg_bytes_name(labels->text), (long long)labels->offset,
                     (long long)labels->next, (long long)labels->n);
    if (labels->next >= first)
      to[labels->next - first] = label;
  }
  return FGSM_OK;
}

/* ---- any kind */

static fgsm_status open_content(struct fg_labels *labels, const char *member) {
  unsigned char head[6] = {0};
  size_t n = 0;
  struct fg_bytes *bytes = NULL;
  FG_TRY(fg_bytes_open(labels->path, &bytes));
  fgsm_status status = fg_bytes_read(bytes, 0, head, sizeof head, &n);
  bool zip = status == FGSM_OK && fg_npz_is(head);
  if (status != FGSM_OK || zip || member) {
    fg_bytes_close(bytes);
    FG_TRY(status);
    FG_TRY(fg_npz_labels(labels->path, member, &labels->array));
  } else if (n == sizeof head && fg_npy_is(head)) {
    FG_TRY(fg_npy_array(bytes, &labels->array));
  } else if (n == sizeof head && fg_idx_is(head)) {
    FG_TRY(fg_idx_array(bytes, &labels->array));
  } else {
    labels->text = bytes;
    if (!n || head[0] == 0 || (head[0] > 127 && head[0] != 0xef))
      return FG_FAIL(DATA,
                     "%s: labels are read from IDX, .npy, .npz, or text with one integer a "
                     "line; this begins with byte %02x%s",
                     labels->path, head[0], n ? "" : " (it is empty)");
    return count_text(labels);
  }
  FG_TRY(fg_array_check_labels(&labels->array));
  labels->n = labels->array.rows;
  return FGSM_OK;
}

fgsm_status fg_labels_open(const char *path, struct fg_labels **out) {
  char *member = NULL;
  *out = NULL;
  struct fg_labels *labels = calloc(1, sizeof *labels);
  if (!labels)
    return FG_FAIL(MEMORY, "no memory to open %s", path);
  fgsm_status status = fg_path_split(path, &labels->path, &member);
  if (status == FGSM_OK)
    status = open_content(labels, member);
  free(member);
  if (status != FGSM_OK)
    fg_labels_close(labels);
  else
    *out = labels;
  return status;
}

fgsm_status fg_labels_read(struct fg_labels *labels, int64_t first, int64_t n, int64_t *to) {
  return labels->text ? read_text(labels, first, n, to)
                      : fg_array_read_labels(&labels->array, first, n, to);
}

void fg_labels_close(struct fg_labels *labels) {
  if (!labels)
    return;
  fg_array_close(&labels->array);
  fg_bytes_close(labels->text);
  free(labels->path);
  free(labels);
}
