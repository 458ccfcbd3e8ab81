/* oneDNN through a slit: descriptors, primitives and operands, the same for 2.6 and 3.x.
 *
 * A primitive runs on operands. An operand knows the caller's memory format and the primitive's;
 * where they differ it owns a reorder and a place in scratch. Every dnnl_status is looked at and
 * reported in words. All scratch is the caller's: nothing is allocated when a primitive runs. */
#ifndef FG_DNNL_SHIM_H
#define FG_DNNL_SHIM_H

#include <dnnl.h>

#include "cpu.h"

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t fg_dnnl_md;
#else
typedef const dnnl_memory_desc_t *fg_dnnl_md;
#endif

/* Records "what: words" and maps the status. */
fgsm_status fg_dnnl_status(dnnl_status_t status, const char *what) FGSM_MUST_USE;
#define FG_DNNL_TRY(call) FG_TRY(fg_dnnl_status((call), #call))

/* An owned memory descriptor of float32s in a named format. */
fgsm_status fg_dnnl_md_create(int rank, const int64_t *dim, dnnl_format_tag_t tag,
                              fg_dnnl_md *out) FGSM_MUST_USE;
fgsm_status fg_dnnl_md_copy(fg_dnnl_md md, fg_dnnl_md *out) FGSM_MUST_USE; /* any; owned */
void fg_dnnl_md_destroy(fg_dnnl_md md);

/* Attributes: scratchpad is the caller's; a residual (added from a tensor, or from what dst already
 * holds), then an activation. */
enum fg_dnnl_residual { FG_DNNL_NO_RESIDUAL, FG_DNNL_ADD_TENSOR, FG_DNNL_ADD_DST };
/* FGSM_UNSUPPORTED where oneDNN has no such activation. */
fgsm_status fg_dnnl_attr_create(enum fg_dnnl_residual residual, fg_dnnl_md residual_md,
                                const struct fg_unary_attrs *act,
                                dnnl_primitive_attr_t *out) FGSM_MUST_USE;

/* One of a convolution's three directions; x, w, y are its source, weights and destination (or
 * their gradients). bias may be NULL. Dilation counts as in attrs.h (1: dense). */
enum fg_dnnl_direction { FG_DNNL_FORWARD, FG_DNNL_GRAD_INPUT, FG_DNNL_GRAD_WEIGHT };
struct fg_dnnl_conv {
  enum fg_dnnl_direction direction;
  fg_dnnl_md x, w, bias, y;
  const struct fg_conv_attrs *attrs;
};
/* dnnl_unimplemented is answered as FGSM_UNSUPPORTED. `hint` (of the forward direction, or NULL)
 * must outlive *out. */
fgsm_status fg_dnnl_conv_create(dnnl_engine_t engine, const struct fg_dnnl_conv *conv,
                                dnnl_primitive_attr_t attr, dnnl_primitive_desc_t hint,
                                dnnl_primitive_desc_t *out) FGSM_MUST_USE;

/* Whether the implementation behind a descriptor is one of oneDNN's unoptimised reference loops. */
bool fg_dnnl_is_slow(dnnl_primitive_desc_t pd);
const char *fg_dnnl_name(dnnl_primitive_desc_t pd);

/* One operand of a primitive. */
struct fg_dnnl_operand {
  int arg;             /* DNNL_ARG_... */
  bool is_output;      /* reordered after the primitive, not before */
  dnnl_memory_t user;  /* in the caller's format                               */
  dnnl_memory_t inner; /* in the primitive's; the same object where formats agree */
  dnnl_primitive_t reorder;
  size_t offset; /* of inner in scratch */
  void *kept;    /* inner's memory, for a constant that was reordered once (kept.h) */
};

#define FG_DNNL_MAX_OPERANDS 5

/* A primitive, its operands and its place in scratch. Zero-initialised, then filled; destroy frees
 * whatever there is. */
struct fg_dnnl_primitive {
  struct fg_cpu_device *device;
  dnnl_stream_t stream;
  dnnl_primitive_desc_t pd, hint;
  dnnl_primitive_t primitive;
  dnnl_memory_t scratchpad;
  size_t scratchpad_offset, scratch_bytes;
  size_t kept_bytes; /* of constants that were reordered, and by nobody before */
  int n;
  struct fg_dnnl_operand operand[FG_DNNL_MAX_OPERANDS];
};

/* Takes over pd and hint (also on failure). */
fgsm_status fg_dnnl_primitive_create(struct fg_dnnl_primitive *p, struct fg_cpu_device *device,
                                     dnnl_primitive_desc_t pd,
                                     dnnl_primitive_desc_t hint) FGSM_MUST_USE;
/* Adds an operand: `user` is the caller's format, `wanted` the primitive's. `constant`: the data of
 * an input that never changes (reordered now, if it must be, and kept), or NULL. */
fgsm_status fg_dnnl_operand_add(struct fg_dnnl_primitive *p, int arg, bool is_output,
                                fg_dnnl_md user, fg_dnnl_md wanted, void *constant) FGSM_MUST_USE;
/* data[i] is operand i's memory in the caller's format. */
fgsm_status fg_dnnl_primitive_run(const struct fg_dnnl_primitive *p, void *const *data,
                                  void *scratch) FGSM_MUST_USE;
void fg_dnnl_primitive_destroy(struct fg_dnnl_primitive *p);

/* The CPU device, as its backend opened it. */
struct fg_cpu_device {
  struct fg_device base;
  dnnl_engine_t engine;
  double trial_seconds; /* spent so far on ways to compute convolutions (conv_choice.c) */
};

#endif
