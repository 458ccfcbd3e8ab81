/* The seam: what the host may ask of a backend. Knows tensors and calls; never graphs or files.
 *
 * A call is one operator on concrete shapes. `prepare` validates, picks an implementation, states
 * its scratch and may decline with FGSM_UNSUPPORTED and a reason; `run` only computes: it never
 * allocates and never waits, so that a plan can be recorded and replayed; `release` cannot fail.
 * The planner, never a kernel, decides what follows when a kernel declines. */
#ifndef FG_KERNEL_H
#define FG_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attrs.h"
#include "fgsm.h"

#ifdef __cplusplus
extern "C" {
#endif

enum fg_op {
#define OP(name, max_in, n_out, trait) FG_OP_##name,
#include "ops.def"
#undef OP
  FG_OP_COUNT
};

#define FG_MAX_IN 16
#define FG_MAX_OUT 5

#define FG_TYPE_MAP(X)                                                                             \
  X(F32, "float32", 4)                                                                             \
  X(F64, "float64", 8)                                                                             \
  X(F16, "float16", 2)                                                                             \
  X(BF16, "bfloat16", 2)                                                                           \
  X(I64, "int64", 8)                                                                               \
  X(I32, "int32", 4)                                                                               \
  X(I16, "int16", 2)                                                                               \
  X(I8, "int8", 1)                                                                                 \
  X(U8, "uint8", 1)                                                                                \
  X(BOOL, "bool", 1)

enum fg_type {
  FG_NONE, /* an absent optional tensor */
#define X(name, text, size) FG_##name,
  FG_TYPE_MAP(X)
#undef X
      FG_TYPE_COUNT
};

/* How a 4-D value lies in memory. Dims are N C H W whatever the layout. BLOCKED groups channels by
 * the backend's channel_block: [N, C/block, H, W, block]; only values whose C divides are so laid.
 * NHWC has the channels of a place side by side: [N, H, W, C], and so for weights [K, C/group, R, S].
 */
enum fg_layout { FG_PLAIN, FG_BLOCKED, FG_NHWC };

struct fg_tensor {
  void *data;
  enum fg_type type; /* FG_NONE: absent */
  enum fg_layout layout;
  int rank;
  int64_t dim[FG_MAX_RANK];
};

/* One operator applied to concrete buffers. Buffers are 64-byte aligned. */
struct fg_call {
  enum fg_op op;
  int n_in, n_out;
  struct fg_tensor in[FG_MAX_IN], out[FG_MAX_OUT];
  uint32_t constant; /* bit i: in[i]'s data is valid in prepare and never changes */
  const union fg_attrs *attrs;
  size_t scratch_bytes; /* set by prepare; run gets that much, 64-byte aligned */
  void *state;          /* prepare's own; freed by release */
  size_t state_bytes;   /* what state holds of weights, set by prepare, for the record */
  const char *fast; /* set by prepare: the algorithm, where it rounds otherwise than plain sums */
  bool trial;       /* prepare says whether, and need not choose how: a release follows, no run */
};

/* How products are computed. In fp32 and tf32 everything is stored as float32; in bf16 and fp16 what
 * half.h says may be is stored so, and sums are still float32's. */
#define FG_PRECISION_MAP(X)                                                                        \
  X(fp32)                                                                                          \
  X(tf32)                                                                                          \
  X(bf16)                                                                                          \
  X(fp16)
enum fg_precision {
#define X(name) FG_PRECISION_##name,
  FG_PRECISION_MAP(X)
#undef X
      FG_PRECISION_COUNT
};

/* Convolutions (and products) by plain sums alone; or by whatever was found fastest, which may round otherwise;
 * or, for tests, by Winograd's minimal filtering, or on the processor's tiles, wherever it can be done. */
enum fg_convolutions {
  FG_CONV_DIRECT,
  FG_CONV_FASTEST,
  FG_CONV_WINOGRAD_2,
  FG_CONV_WINOGRAD_4,
  FG_CONV_TILES
};

/* A backend, opened: its handles and limits. Each backend extends it with its own struct. A device
 * is used by one thread at a time; threads that work side by side open one each. */
struct fg_device {
  const struct fg_backend *backend;
  enum fg_layout layout; /* what takes_layout may be asked for; FG_PLAIN: nothing */
  int channel_block;     /* channels per block, where that is FG_BLOCKED */
  int threads;           /* that a kernel may use; a backend without threads ignores it */
  int lanes; /* batches that are worth having under way at once, a device opened for each */
  enum fg_precision precision;       /* set by whoever opened it, before anything is prepared */
  enum fg_convolutions convolutions; /* likewise; a backend without a choice ignores it */
  /* Likewise; convolutions are chosen as for batches so many times as large. 0: as for what they are. */
  int64_t chosen_for;
  struct fg_ranks *ranks; /* set by join, NULL: it computes alone */
};

/* What bounds every kernel: arithmetic and memory. */
enum fg_burst { FG_BURST_fma, FG_BURST_copy };

struct fg_kernel {
  fgsm_status (*prepare)(struct fg_call *call, struct fg_device *device); /* NULL: nothing to do */
  fgsm_status (*run)(const struct fg_call *call, void *scratch, void *stream);
  void (*release)(struct fg_call *call); /* NULL: nothing to do */
};

/* One table per backend. Memory is the device's. Kernels, uploads, downloads and event_record are
 * ordered on their stream (NULL: the device's own) and may return before they are done; between
 * streams only events order. A backend that is done when it returns has nothing to order: its
 * streams and events are those of synchronous.h.
 *
 * Failures are sticky: once a call failed with FGSM_DEVICE, so does every later one that may fail,
 * with the first one's words. What cannot fail (free, destroy, close) stays legal. */
struct fg_backend {
  const char *name;
  bool host_memory;    /* the device's memory is the host's: constants are used where they lie */
  enum fg_type real;   /* the float type that graphs for this backend are built in */
  unsigned precisions; /* bit p: enum fg_precision p is to be had */
  /* How many devices there are; where none can be used, a failure that says why and what to do. */
  fgsm_status (*count)(int *n);
  fgsm_status (*open)(int index, int threads, struct fg_device **out);
  void (*close)(struct fg_device *device);
  /* Makes the device current for the calling thread (its thread count, its card). The plan calls it
   * before it prepares and before it runs. */
  fgsm_status (*enter)(struct fg_device *device);
  fgsm_status (*describe)(const struct fg_device *device, char *text, size_t size);
  /* The device's place on the machine's bus, "0000:3b:00.0": a name that no renumbering changes. NULL:
   * it has none. */
  fgsm_status (*bus_id)(struct fg_device *device, char *text, size_t size);
  /* The device computes all_reduce with those of the other ranks (ranks.h) from here on: made by all
   * of them, before anything is prepared. `ranks` outlives the device. NULL: not offered. */
  fgsm_status (*join)(struct fg_device *device, struct fg_ranks *ranks);

  /* memory: 64-byte aligned; host_alloc's is the host's, of the kind that transfers are fastest
   * from and to. Both frees take NULL. memory: bytes that are free, and that there are in all. */
  fgsm_status (*alloc)(struct fg_device *device, size_t bytes, void **out);
  void (*free)(struct fg_device *device, void *memory);
  fgsm_status (*host_alloc)(struct fg_device *device, size_t bytes, void **out);
  void (*host_free)(struct fg_device *device, void *memory);
  fgsm_status (*memory)(struct fg_device *device, size_t *free, size_t *total);
  /* What host_alloc gave is read and written while the transfer runs: it may be touched again after
   * an event or sync says so. Other host memory is the caller's again after an upload's return,
   * and after the sync that follows a download. */
  fgsm_status (*upload)(struct fg_device *device, void *to, const void *from, size_t bytes,
                        void *stream);
  fgsm_status (*download)(struct fg_device *device, void *to, const void *from, size_t bytes,
                          void *stream);

  /* order. sync waits for all that is on the stream, also where it then fails. */
  fgsm_status (*sync)(struct fg_device *device, void *stream);
  fgsm_status (*stream_create)(struct fg_device *device, void **out);
  void (*stream_destroy)(struct fg_device *device, void *stream); /* after what is on it */
  fgsm_status (*event_create)(struct fg_device *device, void **out);
  void (*event_destroy)(struct fg_device *device, void *event);
  fgsm_status (*event_record)(struct fg_device *device, void *event, void *stream);
  /* What follows on the stream waits for the event as it was last recorded; never recorded: done. */
  fgsm_status (*event_wait)(struct fg_device *device, void *event, void *stream);
  fgsm_status (*event_sync)(struct fg_device *device, void *event); /* the caller waits for it */
  fgsm_status (*event_query)(struct fg_device *device, void *event, bool *done);

  /* Recording: between begin and end, calls on the stream are noted and not run; replay runs what
   * was noted, on the same addresses, as one piece. A recording may be destroyed while it runs. All
   * four NULL: not offered. */
  fgsm_status (*capture_begin)(struct fg_device *device, void *stream);
  fgsm_status (*capture_end)(struct fg_device *device, void *stream, void **recording);
  fgsm_status (*replay)(struct fg_device *device, void *recording, void *stream);
  void (*recording_destroy)(struct fg_device *device, void *recording);

  /* Whether the call may lie as it is marked: some of its tensors in the device's layout; asked by
   * the layout pass before prepare. A backend that times what it chooses from says whether it gains
   * by it. NULL: never. */
  bool (*takes_layout)(struct fg_device *device, const struct fg_call *call);
  /* Whether the call may be as it is typed: some of its tensors (of fg_half_slots, half.h) in half
   * precision; asked by the pass that would store them so, before prepare. NULL: never. */
  bool (*takes_half)(const struct fg_device *device, const struct fg_call *call);
  /* Whether n calls gain by a mask (attrs.h): masked[0] makes it and the others read it, in place of what
   * they read as plain[1], ...; all of them as they lie and are typed. Asked by the pass after those, of
   * calls that prepare takes. A backend that times what it chooses from says whether that is faster.
   * NULL: never. */
  bool (*takes_mask)(struct fg_device *device, const struct fg_call *masked,
                     const struct fg_call *plain, int n);
  /* Nothing but multiply-adds, or copying from one half of `memory` (`bytes` of the device's) to the
   * other, `rounds` times over with all that the device has: for a roofline. *amount: the FLOPs, or
   * the bytes read and written. NULL: not to be had. */
  fgsm_status (*burst)(struct fg_device *device, enum fg_burst kind, void *memory, size_t bytes,
                       int64_t rounds, void *stream, double *amount);
  const struct fg_kernel *kernels[FG_OP_COUNT]; /* never NULL; run NULL: a deliberate gap */
  /* Whether a fused call that its kernel accepts is worth more than its parts. NULL: always. */
  bool (*prefers)(const struct fg_device *device, const struct fg_call *call);
};

extern const struct fg_backend fg_ref, fg_cpu;

/* In a backend's table file: a line for each operator that it deliberately lacks. */
#define FG_NO_KERNEL(backend, op) const struct fg_kernel fg_##backend##_##op = {NULL, NULL, NULL}

/* Records the calling thread's error and returns `status`. FG_FAIL's value is a constant, so that
 * the compiler sees that a failed call did not succeed. */
fgsm_status fg_fail(fgsm_status status, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define FG_FAIL(status, ...)                                                                       \
  ((void)fg_fail(FGSM_##status, __FILE__, __LINE__, __VA_ARGS__), FGSM_##status)

/* Where nothing is held: pass a failure on. */
#define FG_TRY(call)                                                                               \
  do {                                                                                             \
    fgsm_status fg_try_status_ = (call);                                                           \
    if (fg_try_status_ != FGSM_OK)                                                                 \
      return fg_try_status_;                                                                       \
  } while (0)

static inline size_t fg_type_size(enum fg_type type) {
  static const unsigned char size[FG_TYPE_COUNT] = {
    0,
#define X(name, text, bytes) bytes,
    FG_TYPE_MAP(X)
#undef X
  };
  return size[type];
}

static inline const char *fg_type_name(enum fg_type type) {
  static const char *const name[FG_TYPE_COUNT] = {
    "none",
#define X(name, text, bytes) text,
    FG_TYPE_MAP(X)
#undef X
  };
  return name[type];
}

static inline bool fg_type_is_real(enum fg_type type) {
  return type == FG_F32 || type == FG_F64 || type == FG_F16 || type == FG_BF16;
}

/* Elements of a tensor; shapes were checked against overflow when the graph was built. */
static inline int64_t fg_count(const struct fg_tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++)
    n *= t->dim[i];
  return n;
}

static inline size_t fg_bytes(const struct fg_tensor *t) {
  return (size_t)fg_count(t) * fg_type_size(t->type);
}

static inline bool fg_same_shape(const struct fg_tensor *a, const struct fg_tensor *b) {
  if (a->rank != b->rank)
    return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i])
      return false;
  return true;
}

static inline const char *fg_op_name(enum fg_op op) {
  static const char *const name[FG_OP_COUNT] = {
#define OP(name, max_in, n_out, trait) #name,
#include "ops.def"
#undef OP
  };
  return op < FG_OP_COUNT ? name[op] : "none";
}

static inline const char *fg_precision_name(enum fg_precision precision) {
  static const char *const name[FG_PRECISION_COUNT] = {
#define X(name) #name,
    FG_PRECISION_MAP(X)
#undef X
  };
  return name[precision];
}

static inline const char *fg_unary_name(enum fg_unary_kind kind) {
  static const char *const name[FG_UNARY_COUNT] = {
#define X(name, from) #name,
    FG_UNARY_MAP(X)
#undef X
  };
  return name[kind];
}

/* Whether the kind's result is BOOL; whether it is defined for integers alone. */
static inline bool fg_binary_compares(enum fg_binary_kind kind) {
  return kind == FG_BINARY_equal || kind == FG_BINARY_greater || kind == FG_BINARY_less;
}
static inline bool fg_binary_is_whole(enum fg_binary_kind kind) {
  return kind >= FG_BINARY_mod;
}

/* Whether the kind's gradient is computed from its result (then its argument need not be kept). */
static inline bool fg_unary_from_y(const struct fg_unary_attrs *a) {
  static const char from[FG_UNARY_COUNT] = {
#define X(name, from) from,
    FG_UNARY_MAP(X)
#undef X
  };
  return from[a->kind] == 'y' && !(a->kind == FG_UNARY_leaky_relu && a->alpha <= 0);
}

#ifdef __cplusplus
}
#endif
#endif
