/* Offsets in one arena: largest first, each at the lowest place that is free during its life.
 *
 * What is placed lies in blocks of a few dozen, in the order of offsets. A block knows within what
 * bounds the lives of its members lie, so that most blocks are passed over as a whole: either nobody
 * in it lives at the same time, or everybody does and no gap between them is large enough. What is
 * known of blocks lies densely, apart from their members. Graphs of tens of thousands of values are
 * thus placed in a fraction of a second. */
#include <stdlib.h>
#include <string.h>

#include "op.h"

enum { BLOCK = 128 };

struct block {
  int64_t born_first, born_last, dies_first, dies_last;
  size_t start, end, gap; /* of the members: where the first begins and the last ends, the widest
                             space between two */
  struct fg_place *member;
  int n;
};

struct blocks {
  struct block *at;
  int64_t n, capacity;
};

static void summarise(struct block *b) {
  b->born_first = b->dies_first = INT64_MAX;
  b->born_last = b->dies_last = INT64_MIN;
  b->start = b->end = b->member[0].offset;
  b->gap = 0;
  for (int i = 0; i < b->n; i++) {
    const struct fg_place *m = &b->member[i];
    b->born_first = m->born < b->born_first ? m->born : b->born_first;
    b->born_last = m->born > b->born_last ? m->born : b->born_last;
    b->dies_first = m->dies < b->dies_first ? m->dies : b->dies_first;
    b->dies_last = m->dies > b->dies_last ? m->dies : b->dies_last;
    if (m->offset > b->end && m->offset - b->end > b->gap)
      b->gap = m->offset - b->end;
    if (m->offset + m->bytes > b->end)
      b->end = m->offset + m->bytes;
  }
}

/* Moves *at past the block's members that live when p does; true if p fits before one of them. */
static bool look_through(const struct block *b, const struct fg_place *p, size_t *at) {
  if (b->born_first > p->dies || b->dies_last < p->born)
    return false;
  bool all = b->born_last <= p->dies && b->dies_first >= p->born;
  if (all && b->gap < p->bytes && b->start < *at + p->bytes) {
    *at = b->end > *at ? b->end : *at;
    return false;
  }
  for (int i = 0; i < b->n; i++) {
    const struct fg_place *m = &b->member[i];
    if (m->born > p->dies || p->born > m->dies)
      continue;
    if (m->offset >= *at + p->bytes)
      return true;
    if (m->offset + m->bytes > *at)
      *at = m->offset + m->bytes;
  }
  return false;
}

static size_t lowest_place(const struct blocks *blocks, const struct fg_place *p) {
  size_t at = 0;
  for (int64_t i = 0; i < blocks->n; i++)
    if (look_through(&blocks->at[i], p, &at))
      break;
  return at;
}

/* Makes room for an empty block `at`. False if memory ran out. */
static bool add_block(struct blocks *blocks, int64_t at) {
  if (blocks->n == blocks->capacity) {
    int64_t capacity = 2 * blocks->capacity + 16;
    struct block *more = realloc(blocks->at, (size_t)capacity * sizeof *more);
    if (!more)
      return false;
    blocks->at = more;
    blocks->capacity = capacity;
  }
  struct fg_place *member = malloc(BLOCK * sizeof *member);
  if (!member)
    return false;
  struct block *b = blocks->at + at;
  memmove(b + 1, b, (size_t)(blocks->n++ - at) * sizeof *b);
  *b = (struct block){.member = member};
  return true;
}

/* The last block that starts at or before the offset, or the first. */
static int64_t find(const struct blocks *blocks, size_t offset) {
  int64_t low = 0, high = blocks->n;
  while (high - low > 1) {
    int64_t middle = low + (high - low) / 2;
    if (blocks->at[middle].start <= offset)
      low = middle;
    else
      high = middle;
  }
  return low;
}

/* Keeps members in the order of offsets; a full block is halved. False if memory ran out. */
static bool insert(struct blocks *blocks, const struct fg_place *p) {
  if (blocks->n == 0 && !add_block(blocks, 0))
    return false;
  int64_t at = find(blocks, p->offset);
  if (blocks->at[at].n == BLOCK) {
    if (!add_block(blocks, at + 1))
      return false;
    struct block *full = &blocks->at[at], *half = full + 1;
    full->n = half->n = BLOCK / 2;
    memcpy(half->member, full->member + BLOCK / 2, BLOCK / 2 * sizeof *full->member);
    summarise(full);
    summarise(half);
    at += half->start <= p->offset;
  }
  struct block *b = &blocks->at[at];
  int i = b->n++;
  for (; i > 0 && b->member[i - 1].offset > p->offset; i--)
    b->member[i] = b->member[i - 1];
  b->member[i] = *p;
  summarise(b);
  return true;
}

static int by_size(const void *a, const void *b) {
  const struct fg_place *x = *(struct fg_place *const *)a, *y = *(struct fg_place *const *)b;
  if (x->bytes != y->bytes)
    return x->bytes < y->bytes ? 1 : -1;
  return x < y ? -1 : x > y;
}

fgsm_status fg_place_all(struct fg_place **items, int64_t n, size_t *bytes) {
  struct blocks blocks = {0};
  bool whole = true;
  *bytes = 0;
  qsort(items, (size_t)n, sizeof *items, by_size);
  for (int64_t i = 0; i < n && whole; i++) {
    items[i]->offset = lowest_place(&blocks, items[i]);
    whole = insert(&blocks, items[i]);
    if (items[i]->offset + items[i]->bytes > *bytes)
      *bytes = items[i]->offset + items[i]->bytes;
  }
  for (int64_t i = 0; i < blocks.n; i++)
    free(blocks.at[i].member);
  free(blocks.at);
  return whole ? FGSM_OK : FG_FAIL(MEMORY, "no memory for a graph pass");
}
