/* A split's gradient. Each part's comes back between zeros, in room for the whole, and those are added up. Parts
 * that fill the whole side by side are its concatenation: every number is written once. */
#include "fuse.h"

/* A sum, with all sums that only it is of, and what those add. */
struct split {
  struct fg_node *sum[FG_MAX_IN], *part[FG_MAX_IN];
  int sums, parts;
};

/* Whether the sum is of gradients of slices alone, which nothing else reads. */
static bool find(const struct fg_rewrite *rw, int64_t at, struct split *s) {
  s->sum[0] = &rw->g->nodes[at];
  s->sums = 1;
  s->parts = 0;
  if (!fg_fuse_is_sum(rw->g, s->sum[0]))
    return false;
  for (int i = 0; i < s->sums; i++)
    for (int k = 0; k < 2; k++) {
      fg_id term = s->sum[i]->in[k];
      struct fg_node *part = fg_rewrite_only_feeds(rw, term, FG_OP_slice_grad);
      struct fg_node *sum = fg_rewrite_only_feeds(rw, term, FG_OP_binary);
      if (s->sums + s->parts == FG_MAX_IN)
        return false;
      if (part)
        s->part[s->parts++] = part;
      else if (sum && fg_fuse_is_sum(rw->g, sum))
        s->sum[s->sums++] = sum;
      else
        return false;
    }
  return true;
}

/* The one axis along which the part is not the whole; -1 if there is another way in which it is not. */
static int axis_of(const struct fg_graph *g, const struct fg_node *part) {
  const struct fg_slice_attrs *a = &part->attrs.slice;
  const struct fg_value *dy = fg_value(g, part->in[0]);
  int axis = -1;
  for (int i = 0; i < dy->rank; i++) {
    if (a->step[i] != 1)
      return -1;
    if (dy->dim[i] == a->dim[i])
      continue;
    if (axis >= 0)
      return -1;
    axis = i;
  }
  return axis;
}

/* Puts the parts in the order in which they lie along the axis. */
static void sort(struct split *s, int axis) {
  for (int i = 1; i < s->parts; i++)
    for (int k = i;
         k > 0 && s->part[k]->attrs.slice.start[axis] < s->part[k - 1]->attrs.slice.start[axis];
         k--) {
      struct fg_node *later = s->part[k - 1];
      s->part[k - 1] = s->part[k];
      s->part[k] = later;
    }
}

/* Whether the parts fill the whole, each place once; *axis is along which. */
static bool fills(const struct fg_graph *g, struct split *s, int *axis) {
  int64_t end = 0;
  *axis = axis_of(g, s->part[0]);
  for (int i = 0; i < s->parts; i++)
    if (*axis < 0 || axis_of(g, s->part[i]) != *axis)
      return false;
  sort(s, *axis);
  for (int i = 0; i < s->parts; i++) {
    if (s->part[i]->attrs.slice.start[*axis] != end)
      return false;
    end += fg_value(g, s->part[i]->in[0])->dim[*axis];
  }
  return end == s->part[0]->attrs.slice.dim[*axis];
}

bool fg_fuse_concat(struct fg_rewrite *rw, int64_t at, struct fg_device *device) {
  struct fg_graph *g = rw->g;
  struct split s;
  int axis;
  if (!find(rw, at, &s) || !fills(g, &s, &axis))
    return false;
  struct fg_node fused = g->nodes[at];
  fused.op = FG_OP_concat;
  fused.attrs.axis = (struct fg_axis_attrs){.axis = axis};
  fused.n_in = s.parts;
  for (int i = 0; i < s.parts; i++)
    fused.in[i] = s.part[i]->in[0];
  if (!fg_fuse_accepts(g, &fused, device))
    return false;
  for (int i = 0; i < s.parts; i++)
    fg_rewrite_kill(rw, s.part[i]);
  for (int i = 1; i < s.sums; i++)
    fg_rewrite_kill(rw, s.sum[i]);
  fg_rewrite_touch(rw, &fused);
  g->nodes[at] = fused;
  return true;
}
