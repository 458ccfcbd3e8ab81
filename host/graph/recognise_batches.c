/* Two groupings of the same matrices share what their axes are merged from: it is found by walking
 * along both, as one walks along two rulers, and cutting where either has a mark. */
#include "recognise_batches.h"

void fg_batches_of(const struct fg_value *v, struct fg_batches *batches) {
  batches->n = v->rank - 2;
  for (int i = 0; i < batches->n; i++)
    batches->dim[i] = v->dim[i];
}

bool fg_batches_refine(struct fg_batches *batches, const struct fg_value *v) {
  struct fg_batches finer = {0}, other;
  int i = 0, k = 0;
  fg_batches_of(v, &other);
  int64_t *a = batches->dim, *b = other.dim;
  while (i < batches->n && k < other.n) {
    bool same = a[i] == b[k], first = a[i] < b[k];
    int64_t least = first ? a[i] : b[k], most = first ? b[k] : a[i];
    if (least < 1 || most % least || finer.n == FG_MAX_RANK - 2)
      return false;
    finer.dim[finer.n++] = least;
    if (!same && first)
      b[k] /= least;
    if (!same && !first)
      a[i] /= least;
    i += same || first;
    k += same || !first;
  }
  for (; i < batches->n; i++)
    if (a[i] != 1)
      return false;
  for (; k < other.n; k++)
    if (b[k] != 1)
      return false;
  *batches = finer;
  return true;
}

void fg_batches_part(const struct fg_batches *batches, const struct fg_value *large,
                     const struct fg_value *small, int64_t *dim) {
  int k = 0;
  for (int i = 0; i < large->rank - 2; i++) {
    int at = i - (large->rank - small->rank);
    bool broadcast = at < 0 || small->dim[at] == 1;
    for (int64_t parted = 1; parted < large->dim[i]; k++) {
      parted *= batches->dim[k];
      dim[k] = broadcast ? 1 : batches->dim[k];
    }
  }
  for (; k < batches->n; k++)
    dim[k] = 1;
  for (int i = 1; i <= 2; i++)
    dim[batches->n + 2 - i] = small->rank >= i ? small->dim[small->rank - i] : 1;
}

/* The product of axes [from, to), and of dim's; whether dim has all of it or is broadcast. */
static bool merge(const struct fg_batches *batches, const int64_t *dim, int from, int to,
                  int64_t *whole, int64_t *of_dim) {
  *whole = *of_dim = 1;
  for (int i = from; i < to; i++) {
    *whole *= batches->dim[i];
    *of_dim *= dim[i];
  }
  return *of_dim == 1 || *of_dim == *whole;
}

bool fg_batches_merge(const struct fg_batches *batches, const int64_t *dim, int64_t two[2],
                      int64_t of_dim[2]) {
  for (int turn = 0; turn <= batches->n; turn++) {
    int at = turn == 0   ? batches->n > 0
             : turn == 1 ? 0
                         : turn; /* samples apart, if that is possible */
    if (merge(batches, dim, 0, at, &two[0], &of_dim[0]) &&
        merge(batches, dim, at, batches->n, &two[1], &of_dim[1]))
      return true;
  }
  return false;
}
