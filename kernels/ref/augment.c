/* augment: samples of a dataset, moved and mirrored. attrs.h has the formula. */
#include <string.h>

#include "philox.h"
#include "ref.h"

enum { DATA, INDEX, PARAMS };

/* A sample as [outer, height, width, inner]. */
struct image {
  int64_t outer, height, width, inner;
};

static struct image image_of(const struct fg_tensor *x, const struct fg_augment_attrs *a) {
  if (!a->pad && !a->flip)
    return (struct image){1, 1, 1, fg_ref_span(x, 1, x->rank)};
  return (struct image){fg_ref_span(x, 1, a->axis), x->dim[a->axis], x->dim[a->axis + 1],
                        fg_ref_span(x, a->axis + 2, x->rank)};
}

static fgsm_status prepare(struct fg_call *call, struct fg_device *device) {
  (void)device;
  FG_TRY(fg_ref_check(call, 1 << DATA | 1 << INDEX | 1 << PARAMS, 1));
  const struct fg_augment_attrs *a = &call->attrs->augment;
  const struct fg_tensor *data = &call->in[DATA], *index = &call->in[INDEX], *x = &call->out[0];
  FG_REF_NEED(call, data->type == x->type && data->rank == x->rank && x->rank >= 1,
              "types or ranks differ");
  for (int i = 1; i < x->rank; i++)
    FG_REF_NEED(call, data->dim[i] == x->dim[i], "a sample's shape differs");
  FG_REF_NEED(call, index->type == FG_I64 && index->rank == 1 && index->dim[0] == x->dim[0],
              "index is not int64 [N]");
  FG_REF_NEED(call, fg_ref_is_params(&call->in[PARAMS]), "params are not float64 [%d]",
              FG_PARAM_COUNT);
  FG_REF_NEED(call,
              a->pad >= 0 && ((!a->pad && !a->flip) || (a->axis >= 1 && a->axis + 2 <= x->rank)),
              "no image at axis %d", a->axis);
  return FGSM_OK;
}

static fgsm_status run(const struct fg_call *call, void *scratch, void *stream) {
  (void)scratch, (void)stream;
  const struct fg_augment_attrs *a = &call->attrs->augment;
  const double *params = call->in[PARAMS].data;
  const int64_t *index = call->in[INDEX].data;
  const struct fg_tensor *x = &call->out[0];
  struct image m = image_of(x, a);
  size_t place = (size_t)m.inner * fg_type_size(x->type);
  size_t sample = (size_t)(m.outer * m.height * m.width) * place;
  for (int64_t i = 0; i < x->dim[0]; i++) {
    if (index[i] < 0 || index[i] >= call->in[DATA].dim[0])
      return FG_FAIL(DATA, "ref: augment: there is no sample %lld", (long long)index[i]);
    const char *from = (const char *)call->in[DATA].data + (size_t)index[i] * sample;
    char *to = (char *)x->data + (size_t)i * sample;
    struct fg_philox_move v =
        fg_philox_move((uint64_t)params[FG_PARAM_seed], index[i],
                       (uint32_t)(uint64_t)params[FG_PARAM_stream], a->pad, a->flip);
    for (int64_t o = 0; o < m.outer; o++)
      for (int64_t h = 0; h < m.height; h++)
        for (int64_t w = 0; w < m.width; w++, to += place) {
          int64_t sh = h + v.dy, sw = (v.mirrored ? m.width - 1 - w : w) + v.dx;
          if (sh < 0 || sh >= m.height || sw < 0 || sw >= m.width)
            memset(to, 0, place);
          else
            memcpy(to, from + (size_t)((o * m.height + sh) * m.width + sw) * place, place);
        }
  }
  return FGSM_OK;
}

const struct fg_kernel fg_ref_augment = {prepare, run, NULL};
