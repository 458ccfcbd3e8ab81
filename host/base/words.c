/* Words and numbers for people. What comes from a file may hold anything: terminal commands, line
 * breaks, bytes that are no text. */
#include <stdio.h>
#include <string.h>

#include "base.h"

/* Bytes of the UTF-8 character at `s`, 0 if it is none. */
static size_t character(const unsigned char *s) {
  static const struct {
    unsigned char mask, lead;
    uint32_t least;
  } forms[] = {{0x80, 0, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
  for (size_t n = 1; n <= 4; n++) {
    if ((s[0] & forms[n - 1].mask) != forms[n - 1].lead)
      continue;
    uint32_t code = s[0] & (unsigned char)~forms[n - 1].mask;
    for (size_t i = 1; i < n; i++) {
      if ((s[i] & 0xc0) != 0x80)
        return 0;
      code = code << 6 | (s[i] & 0x3f);
    }
    bool surrogate = code >= 0xd800 && code < 0xe000;
    return code < forms[n - 1].least || code > 0x10ffff || surrogate ? 0 : n;
  }
  return 0;
}

/* Controls of ASCII, and those of Latin 1 (U+0080 to U+009F), which some terminals obey too. */
static bool is_control(const unsigned char *s) {
  return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

size_t fg_clean_text(const char *text, bool controls, char *out, size_t size) {
  const unsigned char *s = (const unsigned char *)text;
  size_t at = 0;
  while (*s) {
    size_t n = character(s);
    bool good = n && (controls || !is_control(s));
    size_t step = n ? n : 1, room = good ? n : 1;
    if (at + room >= size)
      break;
    if (good)
      memcpy(out + at, s, n);
    else
      out[at] = '?';
    at += room;
    s += step;
  }
  out[at] = 0;
  return at;
}

const char *fg_scaled(double v, double step, const char *unit, char text[32]) {
  static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
  int k = 0;
  while (v >= step && k < 5) {
    v /= step;
    k++;
  }
  snprintf(text, 32, k ? "%.4g %s%s%s" : "%.0f %s%s%s", v, prefixes[k],
           k && step == 1024 ? "i" : "", unit);
  return text;
}
