/* An engine from inside: the passes of a step, and the buffers that they read and write. Weights are
 * bound by name, everything else by wire. */
#ifndef FG_ENGINE_H
#define FG_ENGINE_H

#include "ranks.h"
#include "train.h"

#define FG_TRAIN_WIRE_MAP(X)                                                                       \
  X(data) /* the dataset, where it lies on the device */                                           \
  X(bytes)                                                                                         \
  X(x0)   /* clean                                    */                                           \
  X(x)    /* the iterate that a pass reads, and the    */                                          \
  X(next) /* one that it writes: given at each run */                                              \
  X(labels)                                                                                        \
  X(index)                                                                                         \
  X(params)                                                                                        \
  X(eta)    /* params of the noise that GradAlign looks at */                                      \
  X(delta)  /* x - x0, carried on             */                                                   \
  X(target) /* log p of the clean samples     */                                                   \
  X(plus)   /* views that a regulariser wants, */                                                  \
  X(minus)  /* what their difference is multi- */                                                  \
  X(slope)  /* plied with, and its value       */                                                  \
  X(penalty)                                                                                       \
  X(cosine) /* of gradients at a sample and beside it */                                           \
  X(rates)                                                                                         \
  X(scale)    /* of the loss, and what of its use is */                                            \
  X(overflow) /* not finite: 0, or NaN               */                                            \
  X(loss)                                                                                          \
  X(prediction)                                                                                    \
  X(clean_loss)                                                                                    \
  X(clean_prediction)

enum fg_train_wire {
#define X(name) FG_TRAIN_##name,
  FG_TRAIN_WIRE_MAP(X)
#undef X
      FG_TRAIN_WIRES
};

/* In the order in which they are made; a step runs them in this order too. */
enum fg_train_part {
  FG_TRAIN_LOAD,
  FG_TRAIN_START,
  FG_TRAIN_TARGET,
  FG_TRAIN_CRAFT,
  FG_TRAIN_REGULATE,
  FG_TRAIN_DESCEND,
  FG_TRAIN_BOUND,
  FG_TRAIN_WATCH, /* no part of a step */
  FG_TRAIN_PARTS
};

struct fg_train_pass {
  struct fg_plan *plan; /* NULL: the method has no use for it */
  fg_id wire[FG_TRAIN_WIRES];
};

/* A step's passes as the device recorded them. */
struct fg_train_recording {
  void *handle; /* NULL: not yet */
  void *crafted;
  bool has_run;
};

/* What is looked at after a step, at once. */
enum { FG_TRAIN_SEEN = 5 };

struct fg_engine {
  struct fg_engine_spec spec;
  struct fg_sample_shape shape;
  int64_t batch, total; /* samples of a step: on this rank, on all */
  int64_t classes;
  struct fg_device *device;
  enum fg_type real;
  struct fg_weights weights;
  struct fg_train_pass pass[FG_TRAIN_PARTS];
  void *arena, *wire[FG_TRAIN_WIRES], *ring[2];
  void *crafted; /* the last step's adversarial samples: x0, or of the ring */
  /* between host and device (traffic.c) */
  void *stream, *sent; /* sent: the event after the last transfer of `control`           */
  struct fg_train_recording recordings[FG_CAUTION_MOST + 1]; /* by `cautious`             */
  bool records;
  void *control, *stage; /* the wires that change from step to step, there and here      */
  size_t control_bytes, at[FG_TRAIN_WIRES];
  void *seen[FG_TRAIN_SEEN];
  int64_t steps;
  struct fg_loss_scale scale;
  int cautious;  /* doublings of the steps of crafting */
  int8_t *kept;  /* each sample's last perturbation, in 127ths of eps; NULL: none are kept */
  int64_t count; /* values of a sample */
  /* host staging for one batch */
  float *reals;
  int32_t *labels;
};

size_t fg_train_wire_bytes(const struct fg_engine *e, enum fg_train_wire wire);
/* Bytes of the arena that all passes share. */
size_t fg_train_arena_bytes(const struct fg_engine *e);
/* Whether a pass reads or writes the wire; never of x and next, whose memory is the ring's. */
bool fg_train_uses(const struct fg_engine *e, enum fg_train_wire wire);
/* Once the passes are made: bytes of the host's memory; FGSM_UNSUPPORTED where option max-memory
 * allows less. */
size_t fg_train_memory_need(const struct fg_engine *e);
fgsm_status fg_train_check_memory(const struct fg_engine *e,
                                  const struct fgsm_options *options) FGSM_MUST_USE;

/* ---- between host and device: one stream, on which everything of a step is in order */

fgsm_status fg_train_traffic_begin(struct fg_engine *e) FGSM_MUST_USE;
/* Waits for what is under way. Nothing may be put on the stream after it. */
void fg_train_traffic_end(struct fg_engine *e);
/* Lays the wires that change from step to step (all that is counted per sample or fewer, and read)
 * into one block, there and in pinned memory; the others' memory is their own. Zeros at first. */
fgsm_status fg_train_make_wires(struct fg_engine *e) FGSM_MUST_USE;
void fg_train_free_wires(struct fg_engine *e);
/* The wire's bytes as they are to be when the step runs: of a wire in the block at the next
 * fg_train_send, of another at once. Nothing where no pass reads it. */
fgsm_status fg_train_upload(struct fg_engine *e, enum fg_train_wire wire,
                            const void *from) FGSM_MUST_USE;
fgsm_status fg_train_send(struct fg_engine *e) FGSM_MUST_USE;
/* Floats as the device's reals, onto a wire that is not in the block. */
fgsm_status fg_train_upload_reals(struct fg_engine *e, enum fg_train_wire wire,
                                  const float *x) FGSM_MUST_USE;
/* Nothing where the method has no use for the part. */
fgsm_status fg_train_run(struct fg_engine *e, enum fg_train_part part, void *x,
                         void *next) FGSM_MUST_USE;
/* Puts a step's passes on the stream: the first time one by one, later as one recording where the
 * device offers that. */
fgsm_status fg_train_replay(struct fg_engine *e, fg_issue_fn passes) FGSM_MUST_USE;
/* Brings n wires into seen[0..n-1], n at most FG_TRAIN_SEEN, and waits for all that is on the stream. A
 * wire that no pass writes is left out. */
fgsm_status fg_train_bring(struct fg_engine *e, int n,
                           const enum fg_train_wire *wires) FGSM_MUST_USE;

/* The mean on this rank of a wire of numbers that was brought to `place`; 0 where there is none. */
double fg_train_mean(const struct fg_engine *e, enum fg_train_wire wire, int place);

/* ---- loss scaling: nothing where the engine does not scale */

/* Whether a step's products work in half precision. */
bool fg_train_halves(const struct fg_engine *e);
void fg_scale_begin(struct fg_engine *e);
/* The scale onto its wire; what it is to be after the step that has been put on the stream, for which
 * this waits. FGSM_CHECK: there is no scale at which gradients are finite. */
fgsm_status fg_scale_send(struct fg_engine *e) FGSM_MUST_USE;
fgsm_status fg_scale_follow(struct fg_engine *e) FGSM_MUST_USE;

/* ---- FG_CARRY_sample: memory for it; the batch's perturbations onto the wire `delta`; those of the
 * last step's adversarial samples kept. */
fgsm_status fg_carry_begin(struct fg_engine *e) FGSM_MUST_USE;
fgsm_status fg_carry_take(struct fg_engine *e, const struct fg_train_batch *batch,
                          uint32_t stream) FGSM_MUST_USE;
fgsm_status fg_carry_keep(struct fg_engine *e, const struct fg_train_batch *batch) FGSM_MUST_USE;

/* ---- making a pass */

struct fg_train_builder {
  struct fg_engine *e;
  const struct fg_onnx *onnx;
  const struct fgsm_options *options;
  struct fg_graph *g;
  fg_id value[FG_TRAIN_WIRES];
  int slot[FG_TRAIN_WIRES]; /* of an output, -1 otherwise */
};

/* A builder with an empty graph, which is the caller's until fg_train_finish has succeeded. */
fgsm_status fg_train_begin(struct fg_engine *e, const struct fg_onnx *onnx,
                           const struct fgsm_options *options,
                           struct fg_train_builder *b) FGSM_MUST_USE;
/* The wire as an input; the value as the wire. */
fgsm_status fg_train_take(struct fg_train_builder *b, enum fg_train_wire wire,
                          fg_id *out) FGSM_MUST_USE;
fgsm_status fg_train_give(struct fg_train_builder *b, enum fg_train_wire wire,
                          fg_id value) FGSM_MUST_USE;
/* The sum over all ranks of what is a part on each. */
fgsm_status fg_train_all_ranks(struct fg_train_builder *b, fg_id part, fg_id *out) FGSM_MUST_USE;
/* The model's logits at x, with the weights as parameters. */
fgsm_status fg_train_model(struct fg_train_builder *b, fg_id x, enum fg_norm_mode norms,
                           fg_id *logits) FGSM_MUST_USE;
/* x0 and uniform noise of those params. */
fgsm_status fg_train_noise(struct fg_train_builder *b, enum fg_train_wire params, bool box,
                           fg_id *out) FGSM_MUST_USE;
/* The attack's step from x along the gradient. */
fgsm_status fg_train_step(struct fg_train_builder *b, fg_id x, fg_id gradient,
                          fg_id *next) FGSM_MUST_USE;
/* The loss operator's outputs, plain cross-entropy; log-softmax over the classes. */
fgsm_status fg_train_cross_entropy(struct fg_train_builder *b, fg_id logits,
                                   fg_id out[FG_MAX_OUT]) FGSM_MUST_USE;
fgsm_status fg_train_log_softmax(struct fg_train_builder *b, fg_id logits,
                                 fg_id *out) FGSM_MUST_USE;
/* The optimiser's step on every weight that the n_of values depend on, whose gradients are `seeds`,
 * times `factor` [1]. x, if there is one: *dx becomes its gradient. */
fgsm_status fg_train_optimise(struct fg_train_builder *b, int n_of, const fg_id *of,
                              const fg_id *seeds, fg_id factor, fg_id x, fg_id *dx) FGSM_MUST_USE;
/* The gradient of a loss, as it is to be led back through the model. */
fgsm_status fg_scale_up(struct fg_train_builder *b, fg_id slope, fg_id *out) FGSM_MUST_USE;
/* The factor [1] becomes one that makes the weights' gradients unscaled, or what is not finite where
 * one of them is not. */
fgsm_status fg_scale_down(struct fg_train_builder *b, int n, const fg_id *grads,
                          fg_id *factor) FGSM_MUST_USE;
/* Averaged weights follow the weights as they have become. */
fgsm_status fg_train_follow(struct fg_train_builder *b) FGSM_MUST_USE;
fgsm_status fg_train_add_regulate(struct fg_train_builder *b) FGSM_MUST_USE;
fgsm_status fg_train_add_descend(struct fg_train_builder *b) FGSM_MUST_USE;
fgsm_status fg_train_add_watch(struct fg_train_builder *b) FGSM_MUST_USE;
fgsm_status fg_train_add_bound(struct fg_train_builder *b) FGSM_MUST_USE;
/* The graph as a plan, fused and laid out where `fused`, and then in half precision where `halved` and
 * the device's precision says so; to be placed and bound. */
fgsm_status fg_train_finish(struct fg_train_builder *b, bool fused, bool halved,
                            struct fg_train_pass *out) FGSM_MUST_USE;
/* Binds what the pass reads and writes, but for the iterates. */
fgsm_status fg_train_bind(struct fg_engine *e, struct fg_train_pass *pass) FGSM_MUST_USE;

fgsm_status fg_train_pass_create(struct fg_engine *e, const struct fg_onnx *onnx,
                                 const struct fgsm_options *options, enum fg_train_part part,
                                 struct fg_train_pass *out) FGSM_MUST_USE;

#endif
