/* Sources, their lists, and how a sweep hands origins on. */
#include "provenance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAME = 255 };

/* ---- lists */

fgsm_status fg_lists_add(struct fg_lists *l, int64_t n, const fg_id *items, fg_id *out) {
  FG_TRY(fg_grow(&l->begin, &l->capacity, l->n + 3, sizeof *l->begin));
  FG_TRY(fg_grow(&l->items, &l->items_capacity, l->n_items + n + 1, sizeof *l->items));
  if (l->n == 0) { /* the empty one */
    l->begin[0] = l->begin[1] = 0;
    l->n = 1;
  }
  if (n == 0) {
    *out = 0;
    return FGSM_OK;
  }
  memcpy(l->items + l->n_items, items, (size_t)n * sizeof *items);
  l->n_items += n;
  *out = (fg_id)l->n++;
  l->begin[l->n] = l->n_items;
  return FGSM_OK;
}

const fg_id *fg_lists_at(const struct fg_lists *l, fg_id list, int64_t *n) {
  *n = list > 0 ? l->begin[list + 1] - l->begin[list] : 0;
  return list > 0 ? l->items + l->begin[list] : NULL;
}

void fg_lists_free(struct fg_lists *l) {
  free(l->items);
  free(l->begin);
  *l = (struct fg_lists){0};
}

/* ---- sources */

/* A copy of at most MOST_NAME bytes, cut between characters: a file may give many nodes a name that
 * is as long as the file. */
static const char *copy_name(struct fg_graph *g, const char *outer, const char *name) {
  char text[MOST_NAME + 1];
  int n = snprintf(text, sizeof text, "%s%s%s", outer, *outer ? "/" : "", name);
  if (n > MOST_NAME) {
    for (n = MOST_NAME; n > 0 && (text[n - 1] & 0xc0) == 0x80;)
      n--;
    text[n > 0 ? n - 1 : 0] = 0;
  }
  return fg_arena_text(&g->arena, text);
}

fgsm_status fg_source_begin(struct fg_graph *g, const char *op, const char *name,
                            struct fg_provenance *outer) {
  int64_t n;
  const fg_id *around = fg_lists_at(&g->source_lists, g->from.sources, &n);
  struct fg_source source = {copy_name(g, "", op),
                             copy_name(g, n ? g->sources[around[0]].name : "", name), false};
  if (!source.op || !source.name)
    return FG_FAIL(MEMORY, "no memory for a node's name");
  if (n)
    g->sources[around[0]].body = true;
  fg_id id = (fg_id)g->n_sources;
  FG_TRY(fg_grow(&g->sources, &g->sources_capacity, g->n_sources + 1, sizeof *g->sources));
  g->sources[g->n_sources++] = source;
  *outer = g->from;
  return fg_lists_add(&g->source_lists, 1, &id, &g->from.sources);
}

void fg_source_end(struct fg_graph *g, struct fg_provenance outer) {
  g->from = outer;
}

fgsm_status fg_sources_copy(const struct fg_graph *from, struct fg_graph *to) {
  const struct fg_lists *a = &from->source_lists;
  struct fg_lists *b = &to->source_lists;
  FG_TRY(fg_grow(&to->sources, &to->sources_capacity, from->n_sources, sizeof *to->sources));
  FG_TRY(fg_grow(&b->begin, &b->capacity, a->n + 1, sizeof *b->begin));
  FG_TRY(fg_grow(&b->items, &b->items_capacity, a->n_items, sizeof *b->items));
  for (int64_t i = 0; i < from->n_sources; i++) {
    to->sources[i] =
        (struct fg_source){fg_arena_text(&to->arena, from->sources[i].op),
                           fg_arena_text(&to->arena, from->sources[i].name), from->sources[i].body};
    if (!to->sources[i].op || !to->sources[i].name)
      return FGSM_MEMORY;
  }
  if (a->n)
    memcpy(b->begin, a->begin, (size_t)(a->n + 1) * sizeof *a->begin);
  if (a->n_items)
    memcpy(b->items, a->items, (size_t)a->n_items * sizeof *a->items);
  b->n = a->n;
  b->n_items = a->n_items;
  to->n_sources = from->n_sources;
  to->from = from->from;
  return FGSM_OK;
}

/* ---- a sweep's lineage */

static void note_readers(const struct fg_graph *g, struct fg_lineage *l) {
  for (int64_t i = 0; i < g->n_nodes; i++)
    for (int k = 0; k < g->nodes[i].n_in; k++)
      if (g->nodes[i].in[k] != FG_ABSENT)
        l->first_user[g->nodes[i].in[k] + 1]++;
  for (int64_t v = 0; v < l->n_values; v++)
    l->first_user[v + 1] += l->first_user[v];
  for (int64_t i = g->n_nodes - 1; i >= 0; i--) /* each list fills from its end */
    for (int k = 0; k < g->nodes[i].n_in; k++)
      if (g->nodes[i].in[k] != FG_ABSENT)
        l->user[--l->first_user[g->nodes[i].in[k] + 1]] = (fg_id)i;
  /* Filling has moved every end to its list's beginning. */
  memmove(l->first_user, l->first_user + 1, (size_t)l->n_values * sizeof *l->first_user);
}

fgsm_status fg_lineage_begin(const struct fg_graph *g, struct fg_lineage *l) {
  int64_t n_uses = 0;
  *l = (struct fg_lineage){.n_nodes = g->n_nodes, .n_values = g->n_values};
  for (int64_t i = 0; i < g->n_nodes; i++)
    for (int k = 0; k < g->nodes[i].n_in; k++)
      n_uses += g->nodes[i].in[k] != FG_ABSENT;
  l->origin = malloc((size_t)(g->n_nodes + 1) * sizeof *l->origin);
  l->out = malloc((size_t)(g->n_nodes + 1) * sizeof *l->out);
  l->first_user = calloc((size_t)g->n_values + 2, sizeof *l->first_user);
  l->user = malloc((size_t)(n_uses + 1) * sizeof *l->user);
  if (!l->origin || !l->out || !l->first_user || !l->user)
    return FG_FAIL(MEMORY, "no memory for a graph pass");
  for (int64_t i = 0; i < g->n_nodes; i++) {
    const struct fg_node *node = &g->nodes[i];
    l->origin[i] = node->from;
    for (int k = 0; k < FG_MAX_OUT; k++)
      l->out[i][k] = k < node->n_out ? node->out[k] : FG_ABSENT;
  }
  note_readers(g, l);
  l->first_user[l->n_values] = n_uses;
  return FGSM_OK;
}

void fg_lineage_free(struct fg_lineage *l) {
  free(l->user);
  free(l->first_user);
  free(l->out);
  free(l->origin);
  *l = (struct fg_lineage){0};
}

/* Ids that grow, to be put in order without repetitions. */
struct bag {
  fg_id *items;
  int64_t n, capacity;
};

static fgsm_status put(struct bag *bag, int64_t n, const fg_id *items) {
  FG_TRY(fg_grow(&bag->items, &bag->capacity, bag->n + n, sizeof *bag->items));
  if (n)
    memcpy(bag->items + bag->n, items, (size_t)n * sizeof *items);
  bag->n += n;
  return FGSM_OK;
}

static int by_id(const void *a, const void *b) {
  fg_id x = *(const fg_id *)a, y = *(const fg_id *)b;
  return (x > y) - (x < y);
}

/* Empties the bag into a list. */
static fgsm_status pour(struct bag *bag, struct fg_lists *lists, fg_id *list) {
  int64_t n = 0;
  if (bag->n > 1)
    qsort(bag->items, (size_t)bag->n, sizeof *bag->items, by_id);
  for (int64_t i = 0; i < bag->n; i++)
    if (i == 0 || bag->items[i] != bag->items[i - 1])
      bag->items[n++] = bag->items[i];
  bag->n = 0;
  return fg_lists_add(lists, n, bag->items, list);
}

struct settling {
  struct fg_graph *g;
  const struct fg_lineage *l;
  const fg_id *now;
  struct fg_lists heirs; /* lists of nodes of now  */
  fg_id *heir;           /* per node of before: its list  */
  struct bag bag;
  struct bag *inherited; /* per node of now: the nodes of before whose work it does */
};

/* Whose work node `at` of before has become. Its readers' heirs are known. */
static fgsm_status find_heirs(struct settling *s, int64_t at) {
  const struct fg_lineage *l = s->l;
  for (int k = 0; k < FG_MAX_OUT; k++) {
    fg_id v = l->out[at][k], maker = v == FG_ABSENT ? FG_ABSENT : s->g->values[s->now[v]].producer;
    if (maker != FG_ABSENT)
      FG_TRY(put(&s->bag, 1, &maker));
  }
  for (int k = 0; k < FG_MAX_OUT && s->bag.n == 0; k++) {
    fg_id v = l->out[at][k];
    for (int64_t u = v == FG_ABSENT ? 0 : l->first_user[v];
         v != FG_ABSENT && u < l->first_user[v + 1]; u++) {
      int64_t n;
      const fg_id *items = fg_lists_at(&s->heirs, s->heir[l->user[u]], &n);
      FG_TRY(put(&s->bag, n, items));
    }
  }
  return pour(&s->bag, &s->heirs, &s->heir[at]);
}

/* Node `at` of now takes the origins of those whose work it does. */
static fgsm_status inherit(struct settling *s, int64_t at) {
  const struct bag *from = &s->inherited[at];
  struct fg_provenance *origin = &s->g->nodes[at].from;
  *origin = s->l->origin[from->items[0]];
  for (int64_t i = 0; i < from->n; i++) {
    const struct fg_provenance *one = &s->l->origin[from->items[i]];
    int64_t n;
    const fg_id *items = fg_lists_at(&s->g->source_lists, one->sources, &n);
    origin->gradient |= one->gradient;
    if (from->n > 1)
      FG_TRY(put(&s->bag, n, items));
  }
  return from->n > 1 ? pour(&s->bag, &s->g->source_lists, &origin->sources) : FGSM_OK;
}

/* What nobody of before became belongs to what reads it; nodes are in order. */
static fgsm_status adopt(struct settling *s) {
  struct fg_graph *g = s->g;
  fg_id *reader = malloc((size_t)(g->n_values + 1) * sizeof *reader);
  if (!reader)
    return FG_FAIL(MEMORY, "no memory for a graph pass");
  for (int64_t v = 0; v < g->n_values; v++)
    reader[v] = FG_ABSENT;
  for (int64_t i = g->n_nodes - 1; i >= 0; i--) {
    struct fg_node *node = &g->nodes[i];
    for (int k = 0; k < node->n_out && s->inherited[i].n == 0; k++)
      if (node->out[k] != FG_ABSENT && reader[node->out[k]] != FG_ABSENT)
        node->from = g->nodes[reader[node->out[k]]].from;
    for (int k = 0; k < node->n_in; k++)
      if (node->in[k] != FG_ABSENT)
        reader[node->in[k]] = (fg_id)i;
  }
  free(reader);
  return FGSM_OK;
}

static fgsm_status settle(struct settling *s) {
  for (int64_t i = s->l->n_nodes - 1; i >= 0; i--) {
    int64_t n;
    FG_TRY(find_heirs(s, i));
    const fg_id *heirs = fg_lists_at(&s->heirs, s->heir[i], &n);
    for (int64_t k = 0; k < n; k++)
      FG_TRY(put(&s->inherited[heirs[k]], 1, &(fg_id){(fg_id)i}));
  }
  for (int64_t i = 0; i < s->g->n_nodes; i++)
    if (s->inherited[i].n)
      FG_TRY(inherit(s, i));
  return adopt(s);
}

fgsm_status fg_lineage_settle(struct fg_graph *g, const struct fg_lineage *l, const fg_id *now) {
  struct settling s = {.g = g, .l = l, .now = now};
  s.heir = calloc((size_t)l->n_nodes + 1, sizeof *s.heir);
  s.inherited = calloc((size_t)g->n_nodes + 1, sizeof *s.inherited);
  fgsm_status status =
      s.heir && s.inherited ? settle(&s) : FG_FAIL(MEMORY, "no memory for a graph pass");
  for (int64_t i = 0; s.inherited && i < g->n_nodes; i++)
    free(s.inherited[i].items);
  free(s.inherited);
  free(s.heir);
  free(s.bag.items);
  fg_lists_free(&s.heirs);
  return status;
}
