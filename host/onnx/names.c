/* A hash table from names to numbers: open addressing, at most half full, FNV-1a, so that a
 * model with a hundred thousand names is read in linear time. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

static uint64_t hash(const char *name) {
  uint64_t h = 0xcbf29ce484222325u;
  for (; *name; name++)
    h = (h ^ (unsigned char)*name) * 0x100000001b3u;
  return h ^ h >> 29;
}

static int64_t slot_of(const struct fg_names *names, const char *name) {
  int64_t mask = names->slots - 1, i = (int64_t)(hash(name) & (uint64_t)mask);
  while (names->keys[i] && strcmp(names->keys[i], name) != 0)
    i = (i + 1) & mask;
  return i;
}

int64_t fg_names_find(const struct fg_names *names, const char *name) {
  if (!names->slots)
    return -1;
  int64_t i = slot_of(names, name);
  return names->keys[i] ? names->values[i] : -1;
}

static fgsm_status widen(struct fg_names *names) {
  struct fg_names wider = {.slots = names->slots ? names->slots * 2 : 64, .n = names->n};
  wider.keys = calloc((size_t)wider.slots, sizeof *wider.keys);
  wider.values = calloc((size_t)wider.slots, sizeof *wider.values);
  if (!wider.keys || !wider.values) {
    fg_names_free(&wider);
    return FG_FAIL(MEMORY, "no memory for %lld names", (long long)wider.slots);
  }
  for (int64_t i = 0; i < names->slots; i++)
    if (names->keys[i]) {
      int64_t to = slot_of(&wider, names->keys[i]);
      wider.keys[to] = names->keys[i];
      wider.values[to] = names->values[i];
    }
  fg_names_free(names);
  *names = wider;
  return FGSM_OK;
}

fgsm_status fg_names_add(struct fg_names *names, const char *name, int64_t value) {
  if (2 * (names->n + 1) > names->slots)
    FG_TRY(widen(names));
  int64_t i = slot_of(names, name);
  names->keys[i] = name;
  names->values[i] = value;
  names->n++;
  return FGSM_OK;
}

void fg_names_free(struct fg_names *names) {
  free(names->keys);
  free(names->values);
  *names = (struct fg_names){0};
}
