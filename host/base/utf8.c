/* Text from strangers that people will see: which of it is printable, and how the rest is shown. */
#include <stdio.h>
#include <string.h>

#include "base.h"

/* C0, DEL and C1 move cursors and change colours; U+202A..E and U+2066..9 turn the order of text
 * around, so that it reads as what it is not. */
static bool is_control(uint32_t c) {
  return c < 32 || (c >= 127 && c < 160) || (c >= 0x202a && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069);
}

/* Bytes of the character at text (n > 0 bytes are left), and its code; 0 if it is none. */
static size_t decode(const char *text, size_t n, uint32_t *code) {
  const unsigned char *p = (const unsigned char *)text;
  *code = *p;
  if (*p < 0x80)
    return 1;
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
  *code = c;
  return overlong || none ? 0 : length;
}

size_t fg_utf8_printable(const char *text, size_t n) {
  uint32_t code;
  size_t length = decode(text, n, &code);
  return is_control(code) ? 0 : length;
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

size_t fg_clean_text(const char *text, bool controls, char *out, size_t size) {
  size_t n = strlen(text), at = 0;
  for (size_t i = 0; i < n;) {
    uint32_t code;
    size_t length = decode(text + i, n - i, &code);
    bool good = length && (controls || !is_control(code));
    size_t room = good ? length : 1;
    if (at + room >= size)
      break;
    if (good)
      memcpy(out + at, text + i, length);
    else
      out[at] = '?';
    at += room;
    i += length ? length : 1;
  }
  out[at] = 0;
  return at;
}
