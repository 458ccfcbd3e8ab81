#include "stress.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Knuth's and Lewis's 32-bit linear congruence. */
static uint32_t advance(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return *state;
}

uint32_t stress_draw(uint32_t *state, uint32_t below) {
  return (advance(state) >> 8) % below;
}

fgsm_status stress_set_words(fgsm_options *options, const char *words) {
  char copy[256], *rest = copy;
  snprintf(copy, sizeof copy, "%s", words);
  for (char *word; (word = strsep(&rest, " "));) {
    char *value = strchr(word, '=');
    *value++ = 0;
    fgsm_status status = fgsm_options_set(options, word, value);
    if (status != FGSM_OK)
      return status;
  }
  return FGSM_OK;
}

void stress_set_number(const char *variable, long value) {
  char text[32];
  snprintf(text, sizeof text, "%ld", value);
  setenv(variable, text, 1);
}

static void write_npy(const char *path, const char *type, const char *shape, const void *values,
                      size_t bytes) {
  char head[128];
  int n = snprintf(head, sizeof head, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                   type, shape);
  int whole = (10 + n + 1 + 63) / 64 * 64;
  uint16_t length = (uint16_t)(whole - 10);
  FILE *file = fopen(path, "we");
  if (!file)
    abort();
  fwrite("\x93NUMPY\x01\x00", 1, 8, file);
  fwrite(&length, 2, 1, file);
  fprintf(file, "%s%*s\n", head, whole - 11 - n, "");
  fwrite(values, 1, bytes, file);
  fclose(file);
}

void stress_make_data(const char *images, const char *labels, int samples, const char *shape,
                      int values, int classes) {
  size_t n = (size_t)samples * (size_t)values;
  uint8_t *x = malloc(n);
  int64_t *y = malloc((size_t)samples * sizeof *y);
  char whole[64];
  uint32_t state = 12345;
  if (!x || !y)
    abort();
  for (size_t i = 0; i < n; i++)
    x[i] = (uint8_t)(advance(&state) >> 24);
  for (int i = 0; i < samples; i++)
    y[i] = i * 7 % classes;
  snprintf(whole, sizeof whole, "%d, %s", samples, shape);
  write_npy(images, "|u1", whole, x, n);
  snprintf(whole, sizeof whole, "%d,", samples);
  write_npy(labels, "<i8", whole, y, (size_t)samples * sizeof *y);
  free(y);
  free(x);
}

bool stress_plan_failure(uint32_t *state, uint32_t most) {
  static const char *const points[] = {"open", "alloc", "host_alloc", "upload",  "download",
                                       "run",  "event", "sync",       "capture", "replay"};
  char fail[64] = "";
  if (stress_draw(state, 2)) {
    const char *point = points[stress_draw(state, sizeof points / sizeof *points)];
    uint32_t below = stress_draw(state, 2) ? 12 : most;
    snprintf(fail, sizeof fail, "%s:%u", point, 1 + stress_draw(state, below));
  }
  setenv("FAKE_FAIL", fail, 1);
  return *fail != 0;
}

bool stress_find(void *library, const char *name, void *function) {
  void *symbol = library ? dlsym(library, name) : NULL;
  memcpy(function, &symbol, sizeof symbol);
  return symbol != NULL;
}
