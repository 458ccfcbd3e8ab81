/* loss: kinds, targets, labels that are none, NaN, confident samples. */
#include <math.h>

#include "harness.h"

#define LOSS(label, k, targeted_, parity_, n, c, gen, last)                                        \
  {                                                                                                \
    .name = label, .op = FG_OP_loss, .attrs = {.loss = {FG_LOSS_##k, targeted_, parity_}},         \
    .in = {FG_R(gen, n, c), FG_T(I32, FG_INTEGER(0, last), n)}, .out = {                           \
      FG_Y(n, c),                                                                                  \
      FG_Y(n),                                                                                     \
      FG_T(I32, FG_NORMAL, n)                                                                      \
    }                                                                                              \
  }
#define SPARSE_LOSS(label, k, targeted_, n, c, gen, last)                                          \
  {                                                                                                \
    .name = label, .op = FG_OP_loss, .attrs = {.loss = {FG_LOSS_##k, targeted_, false}},           \
    .in = {FG_R(gen, n, c), FG_T(I32, FG_INTEGER(0, last), n)},                                    \
    .out = {FG_Y(n, c), FG_Y(n), FG_T(I32, FG_NORMAL, n)}, .flags = FG_CASE_SPARSE                 \
  }
#define POINTS(label, k, targeted_, parity_, n, c, z, y, d, l, p)                                  \
  {                                                                                                \
    .name = label, .op = FG_OP_loss, .attrs = {.loss = {FG_LOSS_##k, targeted_, parity_}},         \
    .in = {FG_R(z, n, c), FG_T(I32, y, n)}, .out = {                                               \
      FG_T(F32, d, n, c),                                                                          \
      FG_T(F32, l, n),                                                                             \
      FG_T(I32, p, n)                                                                              \
    }                                                                                              \
  }
#define LIST(...) FG_VALUES(__VA_ARGS__)
#define LINEAR(label, targeted_, n, c)                                                             \
  {                                                                                                \
    .name = label, .op = FG_OP_loss, .attrs = {.loss = {FG_LOSS_linear, targeted_, false}},        \
    .in = {FG_R(FG_NORMAL, n, c), FG_T(I32, FG_INTEGER(-1, 2), n), FG_R(FG_NORMAL, c)}, .out = {   \
      FG_Y(n, c),                                                                                  \
      FG_Y(n),                                                                                     \
      FG_T(I32, FG_NORMAL, n)                                                                      \
    }                                                                                              \
  }

/* In no sample is the never-zero slope zero, and its components sum to nearly nothing. */
static const char *slope_is_alive(const struct fg_call *call) {
  const struct fg_tensor *d = &call->out[0];
  for (int64_t i = 0; i < d->dim[0]; i++) {
    int64_t y = fg_tensor_int(&call->in[1], 0, i);
    if (!(fg_tensor_real(d, 0, i * d->dim[1] + y) <= -1))
      return "the label's slope is not at least 1 downward";
    for (int64_t j = 0; j < d->dim[1]; j++)
      if (j != y && !(fg_tensor_real(d, 0, i * d->dim[1] + j) >= 0))
        return "another class's slope is negative";
  }
  return NULL;
}

static const struct fg_case cases[] = {
    LOSS("ce", ce, false, false, 9, 10, FG_NORMAL, 9),
    LOSS("ce of 1000 classes", ce, false, false, 2, 1000, FG_NORMAL, 999),
    LOSS("ce of 2 classes", ce, false, false, 7, 2, FG_NORMAL, 1),
    LOSS("ce targeted", ce, true, false, 9, 10, FG_NORMAL, 9),
    LOSS("ce as in torch", ce, false, true, 9, 10, FG_NORMAL, 9),
    LOSS("ce as in torch, targeted", ce, true, true, 9, 13, FG_NORMAL, 12),
    LOSS("ce of an empty batch", ce, false, false, 0, 10, FG_NORMAL, 9),
    SPARSE_LOSS("margin", margin, false, 9, 10, FG_NORMAL, 9),
    SPARSE_LOSS("margin targeted", margin, true, 9, 10, FG_NORMAL, 9),
    SPARSE_LOSS("dlr", dlr, false, 9, 10, FG_DISTINCT, 9),
    SPARSE_LOSS("dlr targeted", dlr, true, 9, 13, FG_DISTINCT, 12),
    {.name = "ce of confident samples stays alive",
     .op = FG_OP_loss,
     .attrs = {.loss = {FG_LOSS_ce, false, false}},
     .in = {FG_R(FG_VALUES(400, 1, -300, 2, 0, 500, 499, -9, 0, 0, 800, 0), 3, 4),
            FG_T(I32, FG_VALUES(0, 1, 2), 3)},
     .out = {FG_Y(3, 4), FG_Y(3), FG_T(I32, FG_NORMAL, 3)},
     .flags = FG_CASE_SPARSE,
     .check = slope_is_alive},
    {.name = "ce gradient alone",
     .op = FG_OP_loss,
     .attrs = {.loss = {FG_LOSS_ce, false, false}},
     .in = {FG_R(FG_NORMAL, 5, 10), FG_T(I32, FG_INTEGER(0, 9), 5)},
     .out = {FG_Y(5, 10)}},
    {.name = "ce loss and prediction alone",
     .op = FG_OP_loss,
     .attrs = {.loss = {FG_LOSS_ce, false, false}},
     .in = {FG_R(FG_NORMAL, 5, 10), FG_T(I32, FG_INTEGER(0, 9), 5)},
     .out = {{0}, FG_Y(5), FG_T(I32, FG_NORMAL, 5)}},
    POINTS("ce at points", ce, false, false, 2, 3, LIST(0, 1, 2, 0, 1, 2), LIST(2, 0),
           LIST(0.36787944, 1, -1.36787944, -1.36787944, 0.36787944, 1),
           LIST(0.40760596, 2.40760596), LIST(2, 2)),
    POINTS("ce as in torch at points", ce, false, true, 1, 3, LIST(0, 1, 2), LIST(2),
           LIST(0.09003057, 0.24472847, -0.33475904), LIST(0.40760596), LIST(2)),
    POINTS("ce targeted at points", ce, true, false, 1, 3, LIST(0, 1, 2), LIST(0),
           LIST(1.36787944, -0.36787944, -1), LIST(2.40760596), LIST(2)),
    POINTS("margin at points", margin, false, false, 2, 3, LIST(5, 1, 2, 3, 3, 1), LIST(0, 1),
           LIST(-1, 0, 1, 1, -1, 0), LIST(-3, 0), LIST(0, 0)),
    POINTS("dlr at points", dlr, false, false, 1, 4, LIST(4, 1, 2, 0.5), LIST(0),
           LIST(-0.11111111, -0.22222222, 0.33333333, 0), LIST(-0.66666667), LIST(0)),
    LINEAR("linear", false, 9, 10),
    LINEAR("linear targeted", true, 9, 13),
    LINEAR("linear over 1500 logits", false, 2, 1500),
    LINEAR("linear of an empty batch", false, 0, 10),
    {.name = "linear at points, without a label and with NaN logits",
     .op = FG_OP_loss,
     .attrs = {.loss = {FG_LOSS_linear, false, false}},
     .in = {FG_R(FG_VALUES(1, 2, 3, 4, -1, 2, 0, NAN, 2), 3, 3), FG_T(I32, FG_VALUES(-1, 7, 0), 3),
            FG_R(FG_VALUES(2, -1, 0.5), 3)},
     .out = {FG_T(F32, FG_VALUES(2, -1, 0.5, 2, -1, 0.5, NAN, NAN, NAN), 3, 3),
             FG_T(F32, FG_VALUES(1.5, 10, NAN), 3), FG_T(I32, FG_VALUES(2, 0, -1), 3)}},
    POINTS("labels that are none", ce, false, false, 3, 3, LIST(0, 1, 2), LIST(-1, 3, 1),
           LIST(0, 0, 0, 0, 0, 0, 0.13533528, -1.13533528, 1), LIST(NAN, NAN, 1.40760596),
           LIST(2, 2, 2)),
    POINTS("NaN logits", ce, false, false, 2, 3, LIST(0, NAN, 2, 1, 3, 2), LIST(0, 1),
           LIST(NAN, NAN, NAN, 0.36787944, -1.36787944, 1), LIST(NAN, 0.40760596), LIST(-1, 1)),
    POINTS("NaN logits, margin", margin, true, false, 1, 3, LIST(0, NAN, 2), LIST(0),
           LIST(NAN, NAN, NAN), LIST(NAN), LIST(-1)),
    POINTS("NaN logits without a label", margin, false, false, 1, 3, LIST(0, NAN, 2), LIST(-1),
           LIST(0, 0, 0), LIST(NAN), LIST(-1)),
};
FG_TABLE(loss);
