/* A hash table from names to numbers: open addressing, at most half full, so that a model with a
 * hundred thousand names is read in linear time. The hash is FNV-1a from a start that differs from
 * run to run, mixed at its end: who writes a file cannot choose names that all fall on one place.
 * Nothing depends on the order of places. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "model.h"

static uint64_t hash(const char *name, uint64_t key) {
  uint64_t h = 0xcbf29ce484222325u ^ key;
  for (; *name; name++) {
    h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    h ^= h >> 32;
  }
  h = (h ^ key) * 0x9e3779b97f4a7c15u;
  return h ^ h >> 29;
}

/* Where `name` is, or would be put. */
static int64_t slot_of(const char *const *keys, int64_t slots, uint64_t key, const char *name) {
  int64_t mask = slots - 1, i = (int64_t)(hash(name, key) & (uint64_t)mask);
  while (keys[i] && strcmp(keys[i], name) != 0)
    i = (i + 1) & mask;
  return i;
}

int64_t fg_names_find(const struct fg_names *names, const char *name) {
  if (!names->slots)
    return -1;
  int64_t i = slot_of(names->keys, names->slots, names->key, name);
  return names->keys[i] ? names->values[i] : -1;
}

static fgsm_status widen(struct fg_names *names) {
  int64_t slots = names->slots ? names->slots * 2 : 64;
  if (!names->slots && getrandom(&names->key, sizeof names->key, GRND_NONBLOCK) < 0)
    names->key = (uint64_t)(uintptr_t)names; /* early at boot: better than none */
  const char **keys = calloc((size_t)slots, sizeof *keys);
  int64_t *values = calloc((size_t)slots, sizeof *values);
  if (!keys || !values) {
    free(keys);
    free(values);
    return FG_FAIL(MEMORY, "no memory for %lld names", (long long)slots);
  }
  for (int64_t i = 0; i < names->slots; i++)
    if (names->keys[i]) {
      int64_t to = slot_of(keys, slots, names->key, names->keys[i]);
      keys[to] = names->keys[i];
      values[to] = names->values[i];
    }
  free(names->keys);
  free(names->values);
  names->keys = keys;
  names->values = values;
  names->slots = slots;
  return FGSM_OK;
}

fgsm_status fg_names_add(struct fg_names *names, const char *name, int64_t value) {
  if (2 * (names->n + 1) > names->slots)
    FG_TRY(widen(names));
  int64_t i = slot_of(names->keys, names->slots, names->key, name);
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
