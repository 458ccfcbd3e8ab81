/* Numbers as users write them: 8/255, 0.1, 2, 1e-3. Read digit by digit, so that the process's
 * locale and strtod's extensions (hexadecimal, "inf") have no say; kept as a fraction wherever a
 * small one is exactly what was written, because bytes are perturbed by floor(255 num / den). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "options.h"

/* Beyond these a fraction is not "small": 255 * MOST_NUM still fits, and both are exact doubles. */
#define MOST_NUM 1000000000000000LL
#define MOST_DEN 1000000000000LL
#define MOST_VALUE 1e9

static int64_t gcd(int64_t a, int64_t b) {
  while (b) {
    int64_t r = a % b;
    a = b;
    b = r;
  }
  return a;
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* num / den in lowest terms; den 0 where it would not be small. */
static void reduce(struct fg_ratio *r, int64_t num, int64_t den) {
  int64_t common = gcd(num, den);
  r->num = num / common;
  r->den = den / common;
  if (r->num > MOST_NUM || r->den > MOST_DEN)
    r->num = r->den = 0;
}

/* digits[.digits][e[+-]digits] from text[0..n) without a sign; false if it is anything else. */
static bool parse_decimal(const char *text, size_t n, struct fg_ratio *r) {
  int64_t mantissa = 0;
  int exponent = 0, digits = 0, written = 0;
  size_t i = 0;
  bool point = false;
  for (; i < n && (is_digit(text[i]) || (text[i] == '.' && !point)); i++) {
    if (text[i] == '.') {
      point = true;
      continue;
    }
    digits++;
    if (mantissa < MOST_NUM) {
      mantissa = mantissa * 10 + (text[i] - '0');
      exponent -= point;
    } else if (text[i] == '0' && point) {
      continue; /* trailing zeros of a fraction say nothing */
    } else {
      exponent += !point;
    }
  }
  if (!digits)
    return false;
  if (i < n && (text[i] == 'e' || text[i] == 'E')) {
    i++;
    bool minus = i < n && text[i] == '-';
    i += i < n && (text[i] == '-' || text[i] == '+');
    int power = 0;
    for (; i < n && is_digit(text[i]); i++, written++)
      power = power < 1000 ? power * 10 + (text[i] - '0') : power;
    if (!written)
      return false;
    exponent += minus ? -power : power;
  }
  if (i != n)
    return false;
  *r = (struct fg_ratio){.value = (double)(mantissa * powl(10, exponent))};
  while (exponent < 0 && mantissa % 10 == 0 && mantissa) {
    mantissa /= 10;
    exponent++;
  }
  int64_t num = mantissa, den = 1;
  for (; exponent < 0 && den <= MOST_NUM; exponent++)
    den *= 10;
  for (; exponent > 0 && num <= MOST_NUM; exponent--)
    num *= 10;
  if (mantissa == 0)
    reduce(r, 0, 1);
  else if (exponent == 0)
    reduce(r, num, den);
  if (r->den)
    r->value = (double)r->num / (double)r->den;
  return isfinite(r->value);
}

fgsm_status fg_ratio_parse(const char *text, struct fg_ratio *out) {
  struct fg_ratio above = {0}, below = {.value = 1, .num = 1, .den = 1}, r = {0};
  size_t n = strlen(text), slash = strcspn(text, "/");
  if (n == 0 || n >= sizeof r.text)
    return FG_FAIL(USAGE, "'%.40s' is not a number: write 8/255, 0.1 or 2 (at most %zu characters)",
                   text, sizeof r.text - 1);
  if (!parse_decimal(text, slash, &above) ||
      (slash < n && !parse_decimal(text + slash + 1, n - slash - 1, &below)))
    return FG_FAIL(USAGE, "'%s' is not a number of 0 or more: write 8/255, 0.1 or 2", text);
  if (below.value == 0)
    return FG_FAIL(USAGE, "'%s' divides by zero", text);
  int64_t num, den;
  r.value = above.value / below.value;
  if (above.den && below.den && fg_mul_ok(above.num, below.den, &num) &&
      fg_mul_ok(above.den, below.num, &den)) {
    reduce(&r, num, den);
    if (r.den)
      r.value = (double)r.num / (double)r.den;
  }
  if (!(r.value <= MOST_VALUE))
    return FG_FAIL(USAGE, "'%s' is too large: at most %g", text, MOST_VALUE);
  memcpy(r.text, text, n + 1);
  *out = r;
  return FGSM_OK;
}

int64_t fg_ratio_levels(const struct fg_ratio *ratio) {
  if (ratio->den)
    return 255 * ratio->num / ratio->den;
  return (int64_t)floor(255 * ratio->value);
}

fgsm_status fg_real_parse(const char *text, double *out) {
  bool minus = text[0] == '-';
  struct fg_ratio r;
  if (!parse_decimal(text + minus, strlen(text + minus), &r) || fabs(r.value) > 1e30)
    return FG_FAIL(USAGE, "'%.40s' is not a number: write 0.485, -1 or 1e-3", text);
  *out = minus ? -r.value : r.value;
  return FGSM_OK;
}

fgsm_status fg_int_parse(const char *text, int64_t least, int64_t most, int64_t *out) {
  uint64_t value = 0;
  size_t i = 0;
  for (; is_digit(text[i]) && value <= (uint64_t)most / 10; i++)
    value = value * 10 + (uint64_t)(text[i] - '0');
  if (i == 0 || text[i] || value < (uint64_t)least || value > (uint64_t)most)
    return FG_FAIL(USAGE, "'%.40s' is not a whole number from %lld to %lld", text, (long long)least,
                   (long long)most);
  *out = (int64_t)value;
  return FGSM_OK;
}

fgsm_status fg_size_parse(const char *text, int64_t *out) {
  static const char units[] = "KMGT";
  struct fg_ratio r;
  size_t n = strcspn(text, "KMGTkmgtiBb");
  const char *unit = text + n, *found = *unit ? strchr(units, *unit & ~32) : NULL;
  double factor = found ? ldexp(1, 10 * (int)(found - units + 1)) : 1;
  const char *rest = found ? unit + 1 : unit;
  bool ends = !*rest || strcmp(rest, "B") == 0 || (found && strcmp(rest, "iB") == 0);
  if (!ends || !parse_decimal(text, n, &r) || r.value * factor > 0x1p60)
    return FG_FAIL(USAGE, "'%.40s' is not an amount of memory: write 2G, 512M or 1.5G", text);
  if (r.value * factor < 1 << 20)
    return FG_FAIL(USAGE, "'%.40s' is less than a megabyte: write 2G, 512M or 1.5G", text);
  *out = (int64_t)(r.value * factor);
  return FGSM_OK;
}

size_t fg_options_memory(const struct fgsm_options *options) {
  return options->max_memory ? (size_t)options->max_memory : fg_memory_share();
}
