/* Numbers for people. */
#include <stdio.h>

#include "base.h"

const char *fg_scaled(double v, double step, const char *unit, char text[32]) {
  const char *prefixes = step == 1024 ? "\0KMGTPE" : "\0kMGTPE";
  int k = 0;
  while (v >= step && k < 6) {
    v /= step;
    k++;
  }
  if (k)
    snprintf(text, 32, "%.4g %c%s%s", v, prefixes[k], step == 1024 ? "i" : "", unit);
  else
    snprintf(text, 32, "%.0f %s", v, unit);
  return text;
}

const char *fg_memory_text(size_t bytes, char text[32]) {
  return fg_scaled((double)bytes, 1024, "B", text);
}
