/* Text from strangers that people will see: which of it is printable, and how the rest is shown. */
#include <stdio.h>
#include <string.h>

#include "base.h"

/* C0, DEL and C1 move cursors and change colours; U+202A..E and U+2066..9 turn the order of text
 * around, so that it reads as what it is not. */
static bool controls(uint32_t c) {
  return c < 32 || (c >= 127 && c < 160) || (c >= 0x202a && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069);
}

size_t fg_utf8_printable(const char *text, size_t n) {
  const unsigned char *p = (const unsigned char *)text;
  if (*p < 0x80)
    return !controls(*p);
  size_t length = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
  if (*p < 0xc2 || *p > 0xf4 || length > n)
    return 0;
  uint32_t c = *p & (0x7fu >> length);
  for (size_t i = 1; i < length; i++) {
    if ((p[i] & 0xc0) != 0x80)
      return 0;
    c = c << 6 | (p[i] & 0x3fu);
  }
  bool overlong = (length == 3 && c < 0x800) || (length == 4 && c < 0x10000);
  bool none = (c >= 0xd800 && c < 0xe000) || c > 0x10ffff;
  return overlong || none || controls(c) ? 0 : length;
}

void fg_utf8_clean(char *to, size_t size, const char *from) {
  size_t n = strlen(from), at = 0;
  for (size_t i = 0, step; i < n; i += step ? step : 1) {
    char piece[8];
    step = fg_utf8_printable(from + i, n - i);
    if (step)
      snprintf(piece, sizeof piece, "%.*s", (int)step, from + i);
    else
      snprintf(piece, sizeof piece, "\\x%02x", (unsigned char)from[i]);
    size_t length = strlen(piece);
    if (at + length + 1 > size)
      break;
    memcpy(to + at, piece, length);
    at += length;
  }
  to[at] = 0;
}
