/* Operator cases as data, and the machine that runs them.
 *
 * A case is one call: operator, attributes, shapes, types and how values are made. Tables of cases
 * (tests/ops/<family>.c) are written once and run in every mode: backend against the oracle, in
 * another layout, twice bit for bit, in place, against finite differences; the bench times them.
 *
 * Reals are written as F32 in a case and mean "the backend's real type"; values are drawn as
 * float32 whatever that type is, so that every backend sees the same numbers. F64 stays F64
 * (params). */
#ifndef FG_HARNESS_H
#define FG_HARNESS_H

#include "kernel.h"

enum fg_gen_kind {
  FG_GEN_NORMAL,   /* standard normal                                                          */
  FG_GEN_AWAY,     /* +-(a .. b): away from 0                                                  */
  FG_GEN_UNIFORM,  /* a .. b                                                                   */
  FG_GEN_DISTINCT, /* a shuffle of a + i b: no two equal                                       */
  FG_GEN_INTEGER,  /* whole numbers a .. b                                                     */
  FG_GEN_VALUES    /* the list, repeated                                                       */
};

struct fg_gen {
  enum fg_gen_kind kind;
  double a, b;
  const double *values;
  int n;
};

struct fg_case_tensor {
  enum fg_type type; /* FG_NONE: absent */
  int rank;
  int64_t dim[FG_MAX_RANK];
  struct fg_gen gen; /* of inputs; an output may carry VALUES: what it must be */
};

enum {
  FG_CASE_EXACT = 1,         /* equal bits after conversion: movement and integers                */
  FG_CASE_SPARSE = 2,        /* mostly zeros by nature: excused from the non-zero check           */
  FG_CASE_NO_GRADIENT = 4,   /* at a kink, or a form that only later passes make                 */
  FG_CASE_MAY_DECLINE = 8,   /* a form of a fused operator that a backend may leave unfused       */
  FG_CASE_CPU_DECLINES = 16, /* the CPU's backend may, where its library is faster, or bfloat16 */
  FG_CASE_OF_CPU = 32        /* as large as the CPU's backend needs it to go another way         */
};

struct fg_case {
  const char *name;
  enum fg_op op;
  union fg_attrs attrs;
  struct fg_case_tensor in[FG_MAX_IN], out[FG_MAX_OUT];
  uint32_t constant; /* as in fg_call: weights                                                 */
  uint32_t written;  /* inputs that the operator updates (descend)                             */
  double tolerance;  /* relative, for float32; 0: 2e-5                                         */
  unsigned flags;
  /* Checks what must hold of any backend's answer exactly; says what does not, or NULL. */
  const char *(*check)(const struct fg_call *call);
};

struct fg_case_table {
  const char *family;
  const struct fg_case *cases;
  int n;
};

/* The families: one file tests/ops/<name>.c each, which defines fg_cases_<name>. */
#define FG_CASE_FAMILIES(X)                                                                        \
  X(unary)                                                                                         \
  X(binary)                                                                                        \
  X(affine)                                                                                        \
  X(cast)                                                                                          \
  X(norm)                                                                                          \
  X(softmax)                                                                                       \
  X(matmul)                                                                                        \
  X(mask)                                                                                          \
  X(attention)                                                                                     \
  X(conv)                                                                                          \
  X(winograd)                                                                                      \
  X(packed)                                                                                        \
  X(split)                                                                                         \
  X(pointwise)                                                                                     \
  X(tiles)                                                                                         \
  X(pool)                                                                                          \
  X(reduce)                                                                                        \
  X(move)                                                                                          \
  X(gather)                                                                                        \
  X(grid)                                                                                          \
  X(scatter)                                                                                       \
  X(loss)                                                                                          \
  X(attack)                                                                                        \
  X(grad_step)                                                                                     \
  X(mlp)                                                                                           \
  X(train)
#define X(family) extern const struct fg_case_table fg_cases_##family;
FG_CASE_FAMILIES(X)
#undef X

/* Calls that every oracle kernel must decline in prepare. */
extern const struct fg_case_table fg_cases_refused;

/* The i-th case of all families, NULL past the end. */
const struct fg_case *fg_case_at(int i);

/* Whether a case's sizes are those of the CPU's own kernels' tiles and parts, as are whole families': to the
 * oracle, whose loops know of neither, it is a convolution or a product like others, only larger. */
bool fg_case_is_of_cpu(const struct fg_case *c);

/* ---- writing cases. Lists travel through macros in parentheses: FG_GEN and FG_DIMS open them. */
#define FG_OPEN(...) __VA_ARGS__
#define FG_GEN(gen)                                                                                \
  { FG_OPEN gen }
#define FG_DIMS(dims)                                                                              \
  { FG_OPEN dims }
#define FG_CASE_RANK(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
/* A tensor: type, generator, dims; or with its rank and dims in parentheses. */
#define FG_T(type, gen, ...)                                                                       \
  { FG_##type, FG_CASE_RANK(__VA_ARGS__), {__VA_ARGS__}, FG_GEN(gen) }
#define FG_TD(type, gen, rank, dims)                                                               \
  { FG_##type, rank, FG_DIMS(dims), FG_GEN(gen) }
#define FG_R(gen, ...) FG_T(F32, gen, __VA_ARGS__)
#define FG_Y(...) FG_T(F32, FG_NORMAL, __VA_ARGS__)
#define FG_SCALAR(type, gen)                                                                       \
  { FG_##type, 0, {0}, FG_GEN(gen) }
#define FG_NORMAL (FG_GEN_NORMAL, 0, 0, NULL, 0)
#define FG_AWAY (FG_GEN_AWAY, 0.1, 1.6, NULL, 0)
#define FG_UNIT (FG_GEN_UNIFORM, 0, 1, NULL, 0)
#define FG_POSITIVE (FG_GEN_UNIFORM, 0.5, 2, NULL, 0)
#define FG_DISTINCT (FG_GEN_DISTINCT, -1, 0.0078125, NULL, 0)
#define FG_UNIFORM(a, b) (FG_GEN_UNIFORM, a, b, NULL, 0)
#define FG_INTEGER(a, b) (FG_GEN_INTEGER, a, b, NULL, 0)
#define FG_VALUES(...)                                                                             \
  (FG_GEN_VALUES, 0, 0, (const double[]){__VA_ARGS__},                                             \
   (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)))
#define FG_TABLE(family)                                                                           \
  const struct fg_case_table fg_cases_##family = {#family, cases,                                  \
                                                  (int)(sizeof cases / sizeof *cases)}

/* ---- running them */

/* A backend as the modes see it: what F32 in a case becomes on it. */
struct fg_target {
  const struct fg_backend *backend;
  enum fg_type real;
  int threads;
  struct fg_device *device; /* open already, the caller's; NULL: opened for each run */
};

/* A tensor's memory on the device and its image on the host, guards on both sides of each. */
struct fg_buffer {
  unsigned char *image;
  void *memory;
  size_t bytes;
};

enum fg_run_result {
  FG_RUN_OK,
  FG_RUN_NO_KERNEL, /* the backend lacks the operator on purpose */
  FG_RUN_DECLINED,  /* prepare said UNSUPPORTED                  */
  FG_RUN_FAILED
};

/* One run of one case. After it, `view` is the call with the host's images for data. */
struct fg_run {
  struct fg_call call, view;
  union fg_attrs attrs;
  struct fg_device *device;
  struct fg_buffer in[FG_MAX_IN], out[FG_MAX_OUT], scratch;
  unsigned char *before[FG_MAX_IN]; /* the inputs as they were */
  bool prepared, opened;            /* opened: the device is the run's own */
  char why[512];
};

struct fg_run_options {
  uint32_t lying_in, lying_out; /* masks: which tensors lie in the device's layout */
  unsigned char fill;           /* what outputs and scratch hold before       */
  bool in_place;                /* out[0] over in[0]                          */
  bool only_prepare;
  /* Inputs that half.h lets be are rounded to this type; where the target's real type is F32, they and
   * such outputs are stored in it. FG_NONE: not. */
  enum fg_type half;
};

/* Draws the inputs, prepares and runs; on anything but OK the reason is in run->why. To be ended
 * whatever the result. */
enum fg_run_result fg_run_begin(struct fg_run *run, const struct fg_case *c,
                                const struct fg_target *target,
                                const struct fg_run_options *options);
/* Runs the prepared call so many times more, on the same buffers, and waits for the last. */
fgsm_status fg_run_again(const struct fg_run *run, int times) FGSM_MUST_USE;
void fg_run_end(struct fg_run *run);

/* The case's call on a real type: shapes, types, attributes (those that repeat the result's shape
 * or type filled in), no data. */
void fg_case_call(const struct fg_case *c, enum fg_type real, union fg_attrs *attrs,
                  struct fg_call *call);
/* Stores in half precision what half.h lets be. */
void fg_case_halve(struct fg_call *call, union fg_attrs *attrs, enum fg_type half);
/* Fills input i of the case, in plain order; t's type and data are set. False without memory. */
bool fg_case_fill(const struct fg_case *c, int i, const struct fg_tensor *t);

/* Whether both guards around a buffer are as they were laid. */
bool fg_buffer_is_whole(const struct fg_buffer *buffer);

/* An element, i counting in plain order whatever the layout. */
double fg_tensor_real(const struct fg_tensor *t, int block, int64_t i);
int64_t fg_tensor_int(const struct fg_tensor *t, int block, int64_t i);

/* ---- the modes. Each runs one case on one target and says what is wrong. */

enum fg_verdict { FG_PASS, FG_SKIP, FG_BROKEN };
typedef enum fg_verdict (*fg_mode)(const struct fg_case *c, const struct fg_target *target,
                                   char *why, size_t size);

/* Same answer as the oracle in double, and as the case states; enough of it not zero. */
enum fg_verdict fg_mode_agrees(const struct fg_case *c, const struct fg_target *target, char *why,
                               size_t size);
/* The same with tensors in the device's layout, in every combination that the backend takes; channels
 * last also in half precision, as fg_mode_half. */
enum fg_verdict fg_mode_lying(const struct fg_case *c, const struct fg_target *target, char *why,
                              size_t size);
/* Bit for bit the same twice, whatever outputs and scratch held before. */
enum fg_verdict fg_mode_repeats(const struct fg_case *c, const struct fg_target *target, char *why,
                                size_t size);
/* Nothing written outside outputs and scratch; inputs unchanged. */
enum fg_verdict fg_mode_clean(const struct fg_case *c, const struct fg_target *target, char *why,
                              size_t size);
/* In both half precisions, against the oracle on the same rounded inputs, as near as roundings of what
 * is stored allow. FG_SKIP for what the backend does not store so. */
enum fg_verdict fg_mode_half(const struct fg_case *c, const struct fg_target *target, char *why,
                             size_t size);
/* INPLACE operators: the same bits when the result lies over its operand. */
enum fg_verdict fg_mode_in_place(const struct fg_case *c, const struct fg_target *target, char *why,
                                 size_t size);

#endif
