/* Offsets in one arena: largest first, each at the lowest place that is free during its life.
 *
 * What is placed lies in blocks of a few dozen, in the order of offsets. A block knows within what
 * bounds the lives of its members lie, so that most blocks are passed over as a whole: either nobody
 * in it lives at the same time, or everybody does and no gap between them is large enough. Graphs of
 * tens of thousands of values are thus placed in a fraction of a second. */
#include <stdlib.h>
#include <string.h>

#include "op.h"

enum { BLOCK = 64 };

struct block {
  struct block *next;
  int n;
  int64_t born_first, born_last, dies_first, dies_last;
  size_t end, gap; /* of the members: where the last ends, the widest space between two */
  struct fg_place member[BLOCK];
};

static void summarise(struct block *b) {
  b->born_first = b->dies_first = INT64_MAX;
  b->born_last = b->dies_last = INT64_MIN;
  b->end = b->n ? b->member[0].offset : 0;
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
  if (all && b->n && b->gap < p->bytes && b->member[0].offset < *at + p->bytes) {
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

static size_t lowest_place(const struct block *first, const struct fg_place *p) {
  size_t at = 0;
  for (const struct block *b = first; b; b = b->next)
    if (look_through(b, p, &at))
      break;
  return at;
}

/* Keeps members in the order of offsets; a full block is halved. False if memory ran out. */
static bool insert(struct block *b, const struct fg_place *p) {
  while (b->next && b->next->member[0].offset <= p->offset)
    b = b->next;
  if (b->n == BLOCK) {
    struct block *half = calloc(1, sizeof *half);
    if (!half)
      return false;
    half->n = BLOCK / 2;
    memcpy(half->member, b->member + BLOCK / 2, sizeof b->member / 2);
    half->next = b->next;
    b->next = half;
    b->n = BLOCK / 2;
    summarise(b);
    summarise(half);
    b = half->member[0].offset <= p->offset ? half : b;
  }
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
  struct block first = {0};
  bool whole = true;
  *bytes = 0;
  qsort(items, (size_t)n, sizeof *items, by_size);
  for (int64_t i = 0; i < n && whole; i++) {
    items[i]->offset = lowest_place(&first, items[i]);
    whole = insert(&first, items[i]);
    if (items[i]->offset + items[i]->bytes > *bytes)
      *bytes = items[i]->offset + items[i]->bytes;
  }
  for (struct block *b = first.next, *next; b; b = next) {
    next = b->next;
    free(b);
  }
  return whole ? FGSM_OK : FG_FAIL(MEMORY, "no memory for a graph pass");
}
