/* What each operator means: its inputs, outputs, attributes and formula. This page is the contract
 * between host/ops (which builds calls) and the backends (which compute them).
 *
 * Shapes are row-major, N C H W; a tensor's `layout` may say that a 4-D value lies in channel
 * blocks instead, its dims stay N C H W. `?` marks an optional input (absent: type FG_NONE). Float
 * means F32, or F64 where a graph is built for the oracle; every float tensor of a call has the
 * same type. Structs are plain data without padding games: they are hashed field by field, copied
 * freely, and initialised to zero before being filled. */
#ifndef FG_ATTRS_H
#define FG_ATTRS_H

#include <stdbool.h>
#include <stdint.h>

#define FG_MAX_RANK 8

/* unary: x -> y = f(x). alpha and beta are the parameters named here.
 *   name, gradient is a function of x ('x') or of y ('y'; then x need not be kept).
 * Gradients at kinks are PyTorch's: relu'(0) = 0, leaky_relu'(0) = alpha, abs'(0) = 0, clamp is 1
 * on its bounds; clip(0, 6) is ReLU6, whose gradient is 0 on its bounds (hardtanh); elu'(0) = alpha
 * beta; hard_sigmoid is 0 on its bounds, hard_swish 0 at -3 and 1 at 3. */
#define FG_UNARY_PLAIN_MAP(X)                                                                      \
  X(identity, 'y')   /* x                                                                       */ \
  X(relu, 'y')       /* max(x, 0); NaN stays NaN                                                */ \
  X(leaky_relu, 'y') /* x > 0 ? x : alpha x            ('x' when alpha <= 0)                    */ \
  X(relu6, 'y')      /* min(max(x, 0), 6)                                                       */ \
  X(sigmoid, 'y')    /* 1 / (1 + exp(-x))                                                       */ \
  X(tanh, 'y')       /* tanh(x)                                                                 */ \
  X(exp, 'y')        /* exp(x)                                                                  */ \
  X(sqrt, 'y')       /* sqrt(x)                                                                 */ \
  X(clip, 'x')       /* min(max(x, alpha), beta)                                                */ \
  X(gelu, 'x')       /* x Phi(x) with erf                                                       */ \
  X(gelu_tanh, 'x')  /* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))                         */ \
  X(erf, 'x')        /* erf(x)                                                                  */ \
  X(log, 'x')        /* log(x)                                                                  */ \
  X(neg, 'x')        /* -x                                                                      */ \
  X(abs, 'x')        /* |x|                                                                     */ \
  X(power, 'x')      /* x^alpha, alpha constant                                                 */ \
  X(elu, 'x')        /* x > 0 ? x : alpha (exp(beta x) - 1)                                     */ \
  X(softplus, 'x')   /* log(1 + exp(x))                                                         */ \
  X(silu, 'x')       /* x / (1 + exp(-alpha x))                                                 */ \
  X(mish, 'x')       /* x tanh(log(1 + exp(x)))                                                 */ \
  X(hard_sigmoid, 'y') /* min(max(alpha x + beta, 0), 1)                                        */ \
  X(hard_swish, 'x') /* x min(max(x / 6 + 1/2, 0), 1)                                           */ \
  X(sign, 'x')       /* -1, 0 or 1, NaN for NaN; slope 0                                        */ \
  X(floor, 'x')      /* slope 0                                                                 */ \
  X(ceil, 'x')       /* slope 0                                                                 */ \
  X(round, 'x')      /* half to even; slope alpha: 0, or 1 for a quantiser's straight-through   */

/* Those that the C library computes, one by one. */
#define FG_UNARY_LIBM_MAP(X)                                                                       \
  X(sin, 'x')                                                                                      \
  X(cos, 'x')                                                                                      \
  X(tan, 'y')                                                                                      \
  X(asin, 'x')                                                                                     \
  X(acos, 'x')                                                                                     \
  X(atan, 'x')                                                                                     \
  X(sinh, 'x')                                                                                     \
  X(cosh, 'x')                                                                                     \
  X(asinh, 'x')                                                                                    \
  X(acosh, 'x')                                                                                    \
  X(atanh, 'x')
#define FG_UNARY_MAP(X) FG_UNARY_PLAIN_MAP(X) FG_UNARY_LIBM_MAP(X)

enum fg_unary_kind {
#define X(name, from) FG_UNARY_##name,
  FG_UNARY_MAP(X)
#undef X
      FG_UNARY_COUNT
};

/* unary:      x -> y.
 * unary_grad: x?, y?, dy, dy2? -> dx = f'(x or y) * (dy + dy2). Only the one of x, y that the kind
 *             names is present. */
struct fg_unary_attrs {
  enum fg_unary_kind kind;
  double alpha, beta;
};

/* binary: a, b -> y, NumPy broadcasting. Float or integer arithmetic in the operands' type;
 * comparisons give BOOL. max and min propagate NaN; integer division truncates; fmod's sign is
 * a's, mod's is b's. The second row is for integers alone (the bit operations for BOOL too): a
 * shift by less than 0 or more than 63 places gives 0, one to the right repeats the sign. */
#define FG_BINARY_REAL_MAP(X)                                                                      \
  X(add)                                                                                           \
  X(sub)                                                                                           \
  X(mul)                                                                                           \
  X(div)                                                                                           \
  X(pow)                                                                                           \
  X(max)                                                                                           \
  X(min)                                                                                           \
  X(fmod)                                                                                          \
  X(equal)                                                                                         \
  X(greater)                                                                                       \
  X(less)
#define FG_BINARY_WHOLE_MAP(X)                                                                     \
  X(mod)                                                                                           \
  X(bit_and)                                                                                       \
  X(bit_or)                                                                                        \
  X(bit_xor)                                                                                       \
  X(shift_left)                                                                                    \
  X(shift_right)
#define FG_BINARY_MAP(X) FG_BINARY_REAL_MAP(X) FG_BINARY_WHOLE_MAP(X)
enum fg_binary_kind {
#define X(name) FG_BINARY_##name,
  FG_BINARY_MAP(X)
#undef X
      FG_BINARY_COUNT
};
struct fg_binary_attrs {
  enum fg_binary_kind kind;
};

/* where: c (BOOL), a, b -> y = c ? a : b, broadcasting all three. No attributes. */

/* affine: x, scale[C]?, shift[C]? -> y = act(x * scale[c] + shift[c]), c along `axis`. */
struct fg_affine_attrs {
  int axis;
  struct fg_unary_attrs act; /* identity for none */
};

/* cast: x -> y in `type`. Float to integer truncates toward zero and saturates; to BOOL, x != 0.
 * U8 to float divides by `divisor` (correctly rounded) when it is not 0. */
struct fg_cast_attrs {
  int type; /* enum fg_type of y */
  double divisor;
};

/* batch_norm: x, scale[C], bias[C], mean[C], var[C] -> y = (x - mean) / sqrt(var + eps) * scale +
 * bias, c along axis 1; statistics are given (inference form).
 * batch_norm_train: x, scale[C]?, bias[C]? -> y, mean[C], var[C]: the same with the batch's own
 *   statistics, over every axis but 1; var is biased, the mean of (x - mean)^2 (Ioffe & Szegedy
 *   2015).
 * batch_norm_train_grad: dy, x, scale?, mean, var -> dx?, dscale?, dbias? (an output that is absent
 *   is not computed). With xhat = (x - mean) / sqrt(var + eps) and g = dy scale:
 *   dx = (g - mean(g) - xhat mean(g xhat)) / sqrt(var + eps), dscale = sum dy xhat, dbias = sum dy,
 *   means and sums over every axis but 1. (attributes: batch_norm)
 * `across`: the batch is that of all ranks that the device has joined (ranks.h), mean and var are its,
 *   and so are the means in dx; dscale and dbias are sums over this rank's part. */
struct fg_batch_norm_attrs {
  double epsilon;
  bool across;
};

/* layer_norm: x, scale?, bias? -> y, mean, rstd. Normalises over the last axes from `axis` on;
 *   scale and bias have those axes' shape; mean and rstd have x's shape with those axes 1.
 * layer_norm_grad: dy, x, scale?, mean, rstd -> dx, dscale?, dbias? (an output that is absent is
 *   not computed). */
struct fg_layer_norm_attrs {
  int axis;
  double epsilon;
};

/* softmax: x -> y along `axis`; log: log-softmax.
 * softmax_grad: y, dy -> dx. */
struct fg_softmax_attrs {
  int axis;
  bool log;
};

/* A mask is what a ReLU's slope can be had from where its result y need not be kept: 1 where y > 0, else
 * 0, of a NaN either; y before or after it was rounded to half precision. It has one of two forms:
 *   bytes  BOOL, of y's shape and layout;
 *   bits   U8 [n / 8] of y's n elements, the columns of a product or the channels of a convolution next
 *          to each other (N, spatial..., C whatever the layout): element i is bit i % 8 of byte i / 8.
 *          There are a multiple of 128 columns or channels.
 * A v from which a slope is computed may be one, where act is relu: unary_grad's y (bytes alone), matmul's,
 * conv_grad_input's. Only a late pass makes them (host/graph/mask.c). */

/* matmul: a [..., M, K], b [..., K, N], bias? [N], residual? [..., M, N], v? [..., M, N]
 *   -> y = act(alpha * op(a) op(b) + bias + residual), mask?; leading axes broadcast; trans_a: a is
 *   [..., K, M]; trans_b: b is [..., N, K]. Ranks of a and b are at least 2. mask is y's, of a relu.
 *   With v, which goes without bias and mask, y is a gradient: y = act'(v) * (alpha * op(a) op(b) +
 *   residual), v being what `act` has its gradient from (unary_grad's x or y). */
struct fg_matmul_attrs {
  bool trans_a, trans_b;
  double alpha;
  struct fg_unary_attrs act;
};

/* attention: q [B, H, S, D], k [B, H, T, D], v [B, H, T, E], bias? (broadcast to [B, H, S, T])
 *   -> y [B, H, S, E], lse? [B, H, S]:  z = scale q kT + bias, p = softmax(z) along T, y = p v;
 *   lse = log(sum exp z), natural. A row of z that is -inf throughout gives NaN, as softmax does.
 * attention_grad: dy, q, k, v, y, lse, bias? -> dq?, dk?, dv?, dbias? (an output that is absent is
 *   not computed), with p = exp(z - lse), dz = p (dy vT - sum_e dy y):
 *   dq = scale dz k, dk = scale dzT q, dv = pT dy, dbias = dz summed to bias's shape.
 * No kernel holds z of all heads at once. */
struct fg_attention_attrs {
  double scale;
};

/* conv: x [N, C, spatial...], w [K, C/group, window...], b? [K], residual? (as y)
 *   -> y = act(conv(x, w) + b + residual), mask?, cross-correlation, zero padding. An activation fused
 *   here may turn NaN into 0, where a library computes it as a maximum; standing alone it never does.
 *   mask is y's, of a relu.
 * conv_grad_input: dy, w, v?, dx2? -> dx, of shape `dim`: act'(v) * (the gradient + dx2), v being
 *   what `act` has its gradient from (unary_grad's x or y). act is identity where v is absent.
 * conv_grad_weight: x, dy -> dw, of shape `dim`. */
struct fg_conv_attrs {
  int spatial; /* 2 or 3 */
  int group;
  int stride[3], dilation[3], pad_lo[3], pad_hi[3];
  struct fg_unary_attrs act;
  int64_t dim[FG_MAX_RANK]; /* of the gradient operators' result */
  bool plain_sums;          /* conv: equal windows have equal sums (host/graph/ties.c) */
};

/* max_pool: x -> y, index. index has y's shape and holds the position in the window (row * width +
 *   column) of the first maximum, as U8 where the window has at most 255 places, else I32; NaN
 *   counts as a maximum. The planner may leave index absent.
 * max_pool_grad: dy, index -> dx, of shape `dim`.
 * avg_pool: x -> y, the mean over the window; include_pad: padding counts in the divisor.
 * avg_pool_grad: dy -> dx, of shape `dim`. */
struct fg_pool_attrs {
  int spatial;
  int window[3], stride[3], dilation[3], pad_lo[3], pad_hi[3];
  bool include_pad;
  int64_t dim[FG_MAX_RANK]; /* of the gradient operators' result */
};

/* reduce: x -> y over the axes in the bit mask `axes`; y keeps them as 1 where `keep`. */
#define FG_REDUCE_MAP(X)                                                                           \
  X(sum)                                                                                           \
  X(mean)                                                                                          \
  X(max)                                                                                           \
  X(min)                                                                                           \
  X(prod)
enum fg_reduce_kind {
#define X(name) FG_REDUCE_##name,
  FG_REDUCE_MAP(X)
#undef X
      FG_REDUCE_COUNT
};
struct fg_reduce_attrs {
  enum fg_reduce_kind kind;
  uint32_t axes;
  bool keep;
};

/* reshape: x -> y, same elements in the same order, y's shape from `dim`.
 * expand: x -> y broadcast to `dim` (x's rank may be lower). */
struct fg_shape_attrs {
  int rank;
  int64_t dim[FG_MAX_RANK];
};

/* transpose: y.dim[i] = x.dim[perm[i]]. */
struct fg_transpose_attrs {
  int perm[FG_MAX_RANK];
};

/* concat: 1..16 inputs -> y along `axis`.  gather: x, index (I64 or I32; negative counts from the
 * end) -> y along `axis`.  gather_grad: dy, index -> dx, whose dim along
 * `axis` is `size` (sums where an index repeats). */
struct fg_axis_attrs {
  int axis;
  int64_t size;
};

/* slice: x -> y[i] = x[start + i * step] on each axis (step may be negative; start is in range).
 * slice_grad: dy -> dx, zero where the slice did not reach. `dim` is the result's shape: y's, or
 * dx's for slice_grad. */
struct fg_slice_attrs {
  int64_t start[FG_MAX_RANK], step[FG_MAX_RANK], dim[FG_MAX_RANK];
};

/* pad: x -> y with lo/hi places added on each axis (negative: cut away), filled with `value`. */
struct fg_pad_attrs {
  int64_t lo[FG_MAX_RANK], hi[FG_MAX_RANK];
  double value;
};

/* scatter: x [R, ...], index [M] (I64 or I32; negative counts from the end), u [M, ...] -> y, x
 * with u's row m put into row index[m], in the order of the index: in its place (none), or combined
 * with what is there. max and min propagate NaN. */
#define FG_SCATTER_MAP(X)                                                                          \
  X(none)                                                                                          \
  X(add)                                                                                           \
  X(mul)                                                                                           \
  X(max)                                                                                           \
  X(min)
enum fg_scatter_kind {
#define X(name) FG_SCATTER_##name,
  FG_SCATTER_MAP(X)
#undef X
      FG_SCATTER_COUNT
};
struct fg_scatter_attrs {
  enum fg_scatter_kind kind;
};

/* top: x -> index (I64), of x's shape but `k` along `axis`: where the k largest elements along the
 * axis lie (`smallest`: the least), the best first; NaN is better than any number; among equals the
 * first comes first (`last`: the last). */
struct fg_top_attrs {
  int axis;
  int64_t k;
  bool smallest, last;
};

/* cumsum: x -> y, the sums of x along `axis` up to each place (`reverse`: from it on), which itself
 * counts unless `exclusive`. Floats or integers, which wrap. */
struct fg_cumsum_attrs {
  int axis;
  bool exclusive, reverse;
};

/* grid_sample: x [N, C, spatial...], grid [N, out..., axes] -> y [N, C, out...], x looked up at the
 *   places that the grid names; two or three spatial axes, as many out. A place's coordinates count
 *   from x's last axis backward; -1 and 1 are the centres of an axis's first and last element where
 *   `align`, else their outer edges. u, in elements, is then rounded half to even (nearest), and
 *   where it lies beyond the edge -1/2 or size - 1/2 (align: beyond 0 or size - 1) it is clamped to
 *   0 and size - 1 (border) or mirrored at that edge, as often as needed (reflection). nearest takes
 *   the element at u; linear two an axis, weighted; cubic four, by the cubic convolution of a =
 *   -3/4. An element outside of x is 0 (zeros), the nearest inside (border) or its mirror image
 *   (reflection). A coordinate that is no number gives NaN.
 * grid_sample_grad: dy, x?, grid -> dx, dgrid?. dx has the shape `dim`, its sums run in the order of
 *   the grid; dgrid is there where x is: the derivative of the above, between two elements that to the right, 0
 *   for nearest, where u was clamped, and (border and reflection, linear) for u at or beyond an
 *   axis's first and last element. */
enum fg_grid_mode { FG_GRID_nearest, FG_GRID_linear, FG_GRID_cubic };
enum fg_grid_outside { FG_GRID_zeros, FG_GRID_border, FG_GRID_reflection };
struct fg_grid_attrs {
  enum fg_grid_mode mode;
  enum fg_grid_outside outside;
  bool align;
  int64_t dim[FG_MAX_RANK]; /* of the gradient's dx */
};

/* reorder: x -> y, the same values in y's layout. No attributes. */

/* loss: logits [N, K], labels [N] (I32, in 0..K-1), c? [K] -> dlogits [N, K], loss [N],
 *   prediction [N] I32.
 * Per sample, never averaged. Any output may be absent. The reported loss is plain:
 *   ce      log(sum_j exp z_j) - z_y.  d_j = exp(z_j - max_{i != y} z_i) for j != y and d_y =
 *           -(sum of the others): the softmax gradient times a positive factor per sample, never
 *           zero for finite logits; `parity` gives softmax - onehot, zeros included.
 *   margin  max_{j != y} z_j - z_y     (Carlini & Wagner 2017, f_6 without the floor)
 *   dlr     -(z_y - max_{j != y} z_j) / (z_(1) - z_(3) + 1e-12)    (Croce & Hein 2020)
 *   linear  sum_j c_j z_j, a linear functional of the logits, whatever the label; c is there for it
 *           alone
 * targeted: labels are targets; dlogits is negated (still ascended), loss is the plain loss at the
 * target. Prediction is the first maximum; NaN logits give prediction -1. A label out of range
 * (-1: none) gives zero gradient and NaN loss. */
enum fg_loss_kind { FG_LOSS_ce, FG_LOSS_margin, FG_LOSS_dlr, FG_LOSS_linear };
struct fg_loss_attrs {
  enum fg_loss_kind kind;
  bool targeted, parity;
};

enum fg_norm { FG_NORM_linf, FG_NORM_l2, FG_NORM_l1 };

/* Numbers that change from run to run lie in a tensor of doubles, so that a recorded plan can be
 * replayed: params[FG_PARAM_...]. step and quantize take a row of them for each sample, too: params
 * [N, FG_PARAM_COUNT]. */
enum fg_param {
  FG_PARAM_eps,   /* the budget, in the units of x                                           */
  FG_PARAM_alpha, /* the step length, in the units of x                                      */
  FG_PARAM_decay, /* momentum's mu                                                           */
  FG_PARAM_lo,    /* the data box; -inf and inf for none                                     */
  FG_PARAM_hi,
  FG_PARAM_radius, /* of the random start, in the units of x                                  */
  FG_PARAM_seed,   /* seed, below 2^53                                                        */
  FG_PARAM_stream, /* numbers the random start within a sample (restart), below 2^32          */
  FG_PARAM_COUNT
};

/* perturb: x0 [N, ...], index [N] I64, eps_map? [...], mask? [...], params -> x, the random start.
 *   Philox4x32-10 keyed by seed, counter (index low, index high, stream, element / 4); see
 * philox.h. uniform   x0 + U(-radius, radius), in L2: a Gaussian direction times radius times U(0,
 * 1) sign      x0 + radius * sign(N(0, 1)) then the data box where `box`. With eps_map the radius
 * of feature i is radius / eps * eps_map[i]; mask 0 keeps the feature: it is x0, and no part of an
 * L2 direction.
 *
 * step: x0, x, g, m? (momentum), eps_map?, mask?, params -> x', m'?, stats? [N, 3] float.
 *   g is first masked; stats = sum |g|, share of exactly zero components (of those not masked),
 *   count of components that are not finite. A sample with a non-finite component: x' = x0, m' = 0.
 *   m? present: g <- m' = decay * m + g / mean |g| (the second term is 0 where g is all zero).
 *   direction: linf sign(g) (0 stays 0), l2 g / |g|_2, l1 one-hot at the first largest |g|.
 *   d = x + alpha * direction - x0, alpha of feature i scaled by eps_map[i] / eps as in perturb;
 *   project: linf clamps d to +-eps (or eps_map); l2 and l1 scale d back onto the ball (l1: the
 *   Euclidean projection of Duchi et al. 2008); then the box: x' in [lo, hi]. For linf, box and
 *   ball are one clamp, and x' is rounded toward x0 so that |x' - x0| <= eps holds in real
 *   arithmetic. Without `project` only the box holds.
 *
 * conv_grad_input_step: dy, w, x0, x, eps_map?, mask?, params, index? -> x', gradient?, stats?,
 *   bytes?: step applied to conv_grad_input's dx, without momentum; bytes is quantize's q of x'.
 *   With index, dy and index are what max_pool_grad takes, and what that makes of them (attributes
 *   pool) is the convolution's dy. A ReLU between convolution and pool is no obstacle: its gradient
 *   may as well be taken after the pool, whose values are the convolution's.
 *   (attributes: conv, step, pool)  dy and w may both be BF16, here and below: then so are the
 * values that are multiplied (a pool's sums rounded to it), and the sums are floats.
 *
 * gemm_grad_input_step: dy [N, M], w, x0 [N, ...], x, eps_map?, mask?, params -> x', gradient?,
 *   stats?: step applied to matmul's product of dy and w, read in x0's shape. w is [M, D], with
 *   trans_b [D, M]; D is the number of features. (attributes: matmul, without trans_a and act;
 * step) */
enum fg_start { FG_START_none, FG_START_uniform, FG_START_sign };
struct fg_perturb_attrs {
  enum fg_start kind;
  enum fg_norm norm;
  bool box;
};
struct fg_step_attrs {
  enum fg_norm norm;
  bool project;
};
struct fg_conv_step_attrs {
  struct fg_conv_attrs conv;
  struct fg_step_attrs step;
  struct fg_pool_attrs pool; /* where there is an index */
};
struct fg_gemm_step_attrs {
  struct fg_matmul_attrs matmul;
  struct fg_step_attrs step;
};

/* mlp_fgsm: x0 [N, ...], x, weights [P], labels [N], eps_map?, mask?, params, c? [K] -> x', loss?,
 *   prediction?, stats?, logits? [N, K]: the whole attack of a dense network, `steps` times over
 *     logits = the network at x; loss's dlogits; their gradient with respect to x; step,
 *   without momentum, each step from where the last one came to. loss, prediction, logits and
 *   stats [N, 3] are those of the last step, taken where it started from; but the third number
 *   counts the components that were not finite in any step.
 *   Without steps (0) it only looks: loss, prediction and logits at x. x0, eps_map, mask and params
 *   are then absent, and so are x' and stats.
 *   The network: h_0 = x; h_l = act[l - 1](w_l h_(l-1) + b_l) for l = 1 .. layers; logits are the
 *   last h. width[l] is h_l's length, width[0] the number of features. `weights` is one vector: for
 *   each layer w_l [width[l], width[l-1]], row-major, then b_l [width[l]] (zeros for none). The
 *   activations are identity, relu, leaky_relu, sigmoid, tanh, gelu or gelu_tanh, the last one
 *   identity. Weights may be BF16 where x is a float: then what they multiply is rounded to BF16
 *   too, forward x and each h_l, backward dlogits and the gradient of each w_l h_(l-1) + b_l; and so
 *   is the slope of an activation that is curved. Sums are floats, and what is made of them before
 *   it is rounded: logits, loss, the gradient of x, the step.
 *   `search`: the gradient is taken once, at x. With x(t) the step from there whose eps, eps_map
 * and alpha are multiplied by t, it finds the least t at which the prediction is what the attack is
 *   after (another class than the label; targeted: the label): 0, where that holds at x0; none,
 *   where it does not hold at 1; else the upper end of [0, 1] after `steps` halvings that keep the
 *   aim reached there and not reached at the lower end. stats is [N, 4]: the fourth number is t
 * eps, inf where there is none (a prediction of -1 or a label out of range reaches nothing). x' is
 * x0 for t = 0, x(t), or x(1) where there is none. */
#define FG_MLP_LAYERS 16
struct fg_mlp_attrs {
  int layers;
  int width[FG_MLP_LAYERS + 1];
  struct fg_unary_attrs act[FG_MLP_LAYERS];
  struct fg_loss_attrs loss;
  struct fg_step_attrs step; /* linf */
  int steps;                 /* of a search 1 to 50 halvings */
  bool search;
};

/* quantize: x' (float), x0 (float), params -> q (U8), stats [N, 2] float: linf, l2 of q/255 - x0.
 *   q is the byte nearest to 255 x' within [ceil(255 (x0 - eps)), floor(255 (x0 + eps))] and
 *   [0, 255]; where that range is empty, the byte nearest to x0. With `project` false (or a norm
 *   other than linf) only [0, 255] bounds it.  Bounds are found in double with a slack of 2e-5
 *   levels (one step of float32 below 1), so that an x0 that is a byte over 255, rounded to float,
 *   stays exact.
 *   (attributes: step) */

/* descend: w, g, m?, v?, rates (F64 [FG_RATE_COUNT]), factor? [1] - one step of an optimiser, written
 *   into w, m and v. g is first multiplied by factor (of a clipped gradient), if there is one; where
 *   that is not finite nothing is written. n is the rates' count of steps, this one included.
 *     sgd    g += decay w;  m = momentum m + g (where m is there; m = g in step 1);  w -= rate m,
 *            with nesterov w -= rate (g + momentum m)     (as PyTorch's SGD, dampening 0)
 *     adam   g += decay w;  m += (1 - beta1) (g - m);  v += (1 - beta2) (g g - v);
 *            w -= rate m' / (sqrt(v') + epsilon), m' = m / (1 - beta1^n), v' = v / (1 - beta2^n)
 *            (Kingma & Ba 2015, as PyTorch's Adam)
 *     adamw  w -= rate decay w first, g as it is          (Loshchilov & Hutter 2019)
 *   without `decays`, decay counts as 0. No outputs; in[0], in[2], in[3] are read and written.
 *
 * average: a, b - a += rate (gain b - a), written into a, of b's shape: running statistics, averaged
 *   weights. No outputs.
 *
 * augment: data [M, ...], index [N] I64, params -> x [N, ...] of data's type: sample i of x is sample
 *   s = index[i] of data, an image whose height is x's axis `axis` and whose width is the next, moved by
 *   up to `pad` places each way, zeros coming in, and with `flip` mirrored half of the time:
 *     x[i, .., h, w, ..] = data[s, .., h + dy, (mirrored ? width - 1 - w : w) + dx, ..]
 *   dy, dx and mirrored are fg_philox_move's, keyed by params' seed and stream and by s. Neither pad
 *   nor flip: samples of any shape as they are.
 *
 * all_reduce: x -> y, the sum of x over the ranks that the device has joined (ranks.h), the same bits
 *   on each; of a device alone, x. (no attributes) */
#define FG_DESCEND_MAP(X)                                                                          \
  X(sgd)                                                                                           \
  X(adam)                                                                                          \
  X(adamw)
enum fg_descend_kind {
#define X(name) FG_DESCEND_##name,
  FG_DESCEND_MAP(X)
#undef X
      FG_DESCEND_COUNT
};
struct fg_descend_attrs {
  enum fg_descend_kind kind;
  bool nesterov, decays;
};
/* What changes from step to step lies in a tensor of doubles, as the attack's parameters do. */
enum fg_rate {
  FG_RATE_rate,     /* the learning rate                   */
  FG_RATE_momentum, /* sgd's; beta1 of adam and adamw      */
  FG_RATE_beta2,
  FG_RATE_epsilon,
  FG_RATE_decay, /* of the weights                      */
  FG_RATE_step,  /* counted from 1                      */
  FG_RATE_COUNT
};
struct fg_average_attrs {
  double rate, gain;
};
struct fg_augment_attrs {
  int axis, pad;
  bool flip;
};

union fg_attrs {
  struct fg_unary_attrs unary;
  struct fg_binary_attrs binary;
  struct fg_affine_attrs affine;
  struct fg_cast_attrs cast;
  struct fg_batch_norm_attrs batch_norm;
  struct fg_layer_norm_attrs layer_norm;
  struct fg_softmax_attrs softmax;
  struct fg_matmul_attrs matmul;
  struct fg_attention_attrs attention;
  struct fg_conv_attrs conv;
  struct fg_pool_attrs pool;
  struct fg_reduce_attrs reduce;
  struct fg_shape_attrs shape;
  struct fg_transpose_attrs transpose;
  struct fg_axis_attrs axis;
  struct fg_slice_attrs slice;
  struct fg_pad_attrs pad;
  struct fg_scatter_attrs scatter;
  struct fg_top_attrs top;
  struct fg_cumsum_attrs cumsum;
  struct fg_grid_attrs grid;
  struct fg_loss_attrs loss;
  struct fg_perturb_attrs perturb;
  struct fg_step_attrs step;
  struct fg_conv_step_attrs conv_step;
  struct fg_gemm_step_attrs gemm_step;
  struct fg_mlp_attrs mlp;
  struct fg_descend_attrs descend;
  struct fg_average_attrs average;
  struct fg_augment_attrs augment;
};

#endif
