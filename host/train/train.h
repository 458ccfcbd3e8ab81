/* Training: the attack's graphs and the weights' gradient, in one loop.
 *
 *   method.c    how adversarial samples are made while training, as a table
 *   schedule.c  the learning rate of every step
 *   weights.c   parameters, moments and averages, in the device's memory
 *   norms.c     BatchNormalization in its training form
 *   passes.c    the graphs of a step: load, start, target, craft
 *   regulate.c  ... what regularisers of the input's gradient need
 *   objective.c ... the losses;  optimise.c  ... from a loss to new weights
 *   scale.c     ... loss scaling
 *   bound.c     ... spectral normalisation
 *   spec.c      what the options say of a step
 *   engine.c    passes and memory, made once;  step.c  ... and what a step runs them for
 *   traffic.c   ... on the device: transfers, and all passes of a step as one recording
 *   export.c    the model with new weights
 *   feed.c      the dataset in memory: shuffled, augmented
 *   carry.c     perturbations that are kept from epoch to epoch
 *   state.c     what an engine must be given back to go on
 *   memory.c    how much memory that takes
 *   diagnose.c  where a loss that is not a number began
 *   train.c     epochs; with together.c, judge.c, watch.c, log.c, page.c, identity.c, checkpoint.c
 *               (run.h)
 *
 * Crafting never computes a weight's gradient: craft and descend are plans of their own, which share
 * the arena and read the same weights. */
#ifndef FG_TRAIN_H
#define FG_TRAIN_H

#include "attack.h"
#include "graph.h"
#include "io.h"
#include "onnx.h"
#include "options.h"

/* ---- methods. Lengths are in units of eps. */

enum fg_objective {
  FG_OBJECTIVE_mixed, /* cross-entropy: clean_share of it on clean samples */
  FG_OBJECTIVE_trades,
  FG_OBJECTIVE_mart
};
/* Where crafting begins if not at x0 or noise around it: with the perturbation that the last step left
 * at this place of the batch, or that this sample had last (the first time: noise). */
enum fg_carry { FG_CARRY_none, FG_CARRY_place, FG_CARRY_sample };

struct fg_method {
  const char *name;
  const char *source; /* the paper, and where the defaults are from */
  enum fg_start start;
  double radius;      /* of the random start                                        */
  bool start_in_box;  /* the start is brought into the data box                     */
  int steps;          /* of the gradient; 0: clean samples                          */
  double alpha;       /* length of a step                                           */
  bool project;       /* onto the eps ball                                          */
  double clean_share; /* of the loss: a J(x) + (1 - a) J(x')                        */
  enum fg_carry carry;
  int replays;  /* of each batch, without crafting; 0: the usual              */
  double align; /* GradAlign's weight                                         */
  enum fg_objective objective;
  double beta; /* weight of the divergence in trades and mart                */
  bool frozen; /* crafted by running statistics unless the user says otherwise */
};
const struct fg_method *fg_method_at(int i);
/* The table's row with what the user changed. FGSM_USAGE if they clash. */
fgsm_status fg_method_resolve(const struct fgsm_options *options,
                              struct fg_method *method) FGSM_MUST_USE;

/* ---- the learning rate */

enum fg_schedule_kind {
  FG_SCHEDULE_constant,
  FG_SCHEDULE_triangular, /* 0 -> rate at `peak` of the way -> 0 (Smith 2017; Wong et al. 2020) */
  FG_SCHEDULE_piecewise,  /* rate, a tenth after 1/2, a hundredth after 3/4 (Rice et al. 2020)  */
  FG_SCHEDULE_cosine,     /* half a cosine to 0 (Loshchilov & Hutter 2017)                      */
  FG_SCHEDULE_one_cycle /* rate/25 -> rate at `peak` -> rate/1e4, by cosines (Smith & Topin 2018) */
};
struct fg_schedule {
  enum fg_schedule_kind kind;
  double rate, peak;
  double warmup; /* share of the way over which the rate rises from 0, linearly; 0: none */
};
/* The rate of step `at` of `n`, at in 0 .. n - 1. */
double fg_schedule_rate(const struct fg_schedule *schedule, int64_t at, int64_t n);
fgsm_status fg_schedule_parse(const struct fgsm_options *options,
                              struct fg_schedule *out) FGSM_MUST_USE;

/* ---- weights */

/* What a parameter is, by who reads it. */
enum fg_weight_kind {
  FG_WEIGHT_matrix, /* of a convolution or product; also whatever is none of the others */
  FG_WEIGHT_bias,   /* of a convolution or product                                     */
  FG_WEIGHT_scale,  /* of a normalisation                                              */
  FG_WEIGHT_shift,
  FG_WEIGHT_mean, /* running statistics: averaged, never descended                   */
  FG_WEIGHT_variance
};
struct fg_weight {
  const char *name;
  enum fg_weight_kind kind;
  int rank;
  int64_t dim[FG_MAX_RANK], count;
  int64_t fan_in;        /* of matrix and bias: how many products a result sums */
  void *data;            /* on the device, of its real type                     */
  void *m, *v, *average; /* moments and averaged weights; NULL where there are none */
  void *direction;       /* of the last power iteration, or NULL                    */
  int64_t n_direction;
};
static inline bool fg_weight_descends(const struct fg_weight *w) {
  return w->kind < FG_WEIGHT_mean;
}
struct fg_weights {
  struct fg_device *device;
  enum fg_type real;
  struct fg_weight *items;
  int64_t n, capacity;
  struct fg_arena names;
};
/* Takes up the parameters of a graph as it was imported (before fg_train_norms replaces
 * nodes), those not yet known by name, with the values they have there. */
fgsm_status fg_weights_collect(struct fg_weights *weights, const struct fg_graph *g) FGSM_MUST_USE;
/* Allocates what the optimiser keeps, zero, and the averages, at the weights' values. */
fgsm_status fg_weights_prepare(struct fg_weights *weights, bool m, bool v,
                               bool average) FGSM_MUST_USE;
/* Allocates the weight's direction, n equal numbers of norm 1. */
fgsm_status fg_weights_direct(struct fg_weights *weights, struct fg_weight *w,
                              int64_t n) FGSM_MUST_USE;
struct fg_weight *fg_weights_find(const struct fg_weights *weights, const char *name);
/* The memory that a graph's parameter, or an input "m:NAME", "v:NAME", "a:NAME" or "s:NAME", stands for. NULL
 * if there is none. */
void *fg_weights_memory(const struct fg_weights *weights, const char *name);
/* n = count floats, from the device and to it. */
fgsm_status fg_weights_read(const struct fg_weights *weights, const void *from, int64_t n,
                            float *to) FGSM_MUST_USE;
fgsm_status fg_weights_write(const struct fg_weights *weights, void *to, const float *from,
                             int64_t n) FGSM_MUST_USE;
/* New values by `init`: "torch" (uniform within 1 / sqrt(fan in), as PyTorch's layers begin) or "he"
 * (normal, He et al. 2015, biases 0); scales 1, statistics 0 and 1. Keyed by seed and name. */
fgsm_status fg_weights_init(struct fg_weights *weights, const char *init,
                            uint64_t seed) FGSM_MUST_USE;
void fg_weights_free(struct fg_weights *weights);

/* ---- BatchNormalization */

enum fg_norm_mode {
  FG_NORM_FROZEN, /* by the running statistics                                   */
  FG_NORM_BATCH,  /* by the batch's own                                          */
  FG_NORM_UPDATE  /* by the batch's own, which the running ones are averaged with */
};
/* The statistics of every batch_norm become parameters. */
fgsm_status fg_train_statistics(struct fg_graph *g) FGSM_MUST_USE;
/* Puts every batch_norm, whose statistics are parameters, into that mode. The batch is that of so many
 * ranks together. */
fgsm_status fg_train_norms(struct fg_graph *g, int ranks, enum fg_norm_mode mode) FGSM_MUST_USE;

/* ---- a step */

struct fg_engine;
enum { FG_CAUTION_MOST = FG_MAX_HARDENINGS }; /* doublings of the steps of crafting */

/* What options say, resolved. */
struct fg_engine_spec {
  struct fg_method method;
  struct fg_descend_attrs optimiser; /* decays is set per weight */
  double momentum, beta2, epsilon, decay;
  bool keeps_m, keeps_v; /* moments of the gradients */
  bool decay_vectors;    /* biases and scales decay too, as PyTorch's optimisers do */
  double clip;           /* of the gradient's norm; 0: none */
  double average_decay;  /* of averaged weights; 0: none */
  enum fg_norm_mode craft_norms;
  double smoothing; /* of labels */
  bool smooth_others;
  double align, penalty; /* weights of the regularisers of the input's gradient; at most one */
  double spectral;       /* limit of each layer's norm; 0: none                              */
  bool watched;          /* fg_engine_cosine is wanted                                       */
  bool resident; /* the samples lie on the device (fg_engine_settle), and are moved there: */
  struct fg_augment_attrs augment;
  int64_t samples; /* whose perturbations may be kept                                  */
  size_t besides;  /* bytes that the caller holds: model and data                            */
  double eps, lo, hi;
  uint64_t seed;
};
fgsm_status fg_engine_spec_resolve(const struct fgsm_options *options, enum fg_type data,
                                   struct fg_engine_spec *spec) FGSM_MUST_USE;

/* A batch as it comes from the feed: this rank's part of it. */
struct fg_train_batch {
  const void *x; /* samples of the shape's type */
  const int64_t *labels, *index;
};
/* Over the batch of all ranks, but for `own`. */
struct fg_train_losses {
  double loss, own;           /* the objective's mean; this rank's       */
  int64_t clean, adversarial; /* how many were right; clean -1: not seen */
};

/* device: the engine's from here on, closed with it and when this fails. Where it has joined ranks,
 * `batch` is this one's part of a step's samples, as large as every other's, and whatever the engine is
 * asked for, all ranks ask for. */
fgsm_status fg_engine_create(const struct fg_onnx *onnx, const struct fgsm_options *options,
                             const struct fg_engine_spec *spec, struct fg_device *device,
                             const struct fg_sample_shape *shape, int64_t batch,
                             struct fg_engine **out) FGSM_MUST_USE;
void fg_engine_destroy(struct fg_engine *engine);
/* Gives a `resident` engine the samples that batches are drawn from by their index. */
fgsm_status fg_engine_settle(struct fg_engine *engine, const void *x) FGSM_MUST_USE;
/* Whether a device may hold so many bytes of samples, and draw from them. */
bool fg_engine_may_settle(struct fg_device *device, enum fg_type type, int64_t bytes);
/* One step at that learning rate. `stream` numbers the pass over the data: with the sample's number
 * it keys the noise. FGSM_DATA for a label out of range. Where the loss is not a number the weights
 * stay as they are. */
fgsm_status fg_engine_step(struct fg_engine *engine, const struct fg_train_batch *batch,
                           double rate, uint32_t stream, struct fg_train_losses *out) FGSM_MUST_USE;
/* The mean cosine of the angle between the loss's gradients at a sample and at noise in the ball
 * around it, by running statistics: near 1 where the loss is as good as linear, near 0 after
 * catastrophic overfitting (Andriushchenko & Flammarion 2020). For an engine that is `watched`. */
fgsm_status fg_engine_cosine(struct fg_engine *engine, const struct fg_train_batch *batch,
                             double *out) FGSM_MUST_USE;
/* From here on, crafting takes twice the method's steps of half their length, so many times over. */
void fg_engine_cautious(struct fg_engine *engine, int doublings);
/* The adversarial samples of the last step, float32. */
fgsm_status fg_engine_adversarial(struct fg_engine *engine, float *x) FGSM_MUST_USE;
struct fg_weights *fg_engine_weights(struct fg_engine *engine);
int64_t fg_engine_classes(const struct fg_engine *engine);
int64_t *fg_engine_steps(struct fg_engine *engine); /* taken so far: part of the state */
/* After a step whose loss was not a number: which value of the forward pass was the first that is not
 * finite, in words. */
fgsm_status fg_engine_diagnose(struct fg_engine *engine, const struct fg_onnx *onnx,
                               const struct fgsm_options *options, char *text,
                               size_t size) FGSM_MUST_USE;

/* What dynamic loss scaling has come to: the scale; steps since it last changed; steps left out. */
struct fg_loss_scale {
  double scale, since, skipped;
};
/* NULL where the loss is not scaled. */
const struct fg_loss_scale *fg_engine_scale(const struct fg_engine *engine);

/* A piece of what the rest of a run depends on beside the number of steps. */
struct fg_engine_piece {
  /* w weight, m and v moments, a averaged weight, s direction; d and k perturbations; l loss scale */
  char kind;
  const char *name;
  void *memory; /* the device's */
  bool host;    /* no, the host's */
  bool shared;  /* and a part of it, as large as every other rank's */
  size_t bytes;
};
/* The i-th piece; false past the last. */
bool fg_engine_piece_at(struct fg_engine *engine, int64_t i, struct fg_engine_piece *out);
fgsm_status fg_engine_piece_read(const struct fg_engine *engine,
                                 const struct fg_engine_piece *piece, void *to) FGSM_MUST_USE;
fgsm_status fg_engine_piece_write(struct fg_engine *engine, const struct fg_engine_piece *piece,
                                  const void *from) FGSM_MUST_USE;

/* The model with the weights as they are now, or with the averaged ones. */
fgsm_status fg_engine_export(struct fg_engine *engine, const struct fg_onnx *onnx, bool average,
                             struct fg_onnx **out) FGSM_MUST_USE;

/* ---- the data */

/* A dataset in memory, its last samples held out. Batches are drawn without replacement, an epoch's
 * order and every sample's augmentation keyed by seed, epoch and sample: independent of threads and
 * batch size. */
struct fg_feed {
  struct fg_dataset_info info;
  struct fg_sample_shape shape;
  unsigned char *x; /* n samples */
  int64_t *labels;
  int64_t start;             /* the first sample's number in the file */
  int64_t n, n_train, count; /* samples, those trained on, values of a sample */
  int64_t *order;            /* of the epoch */
  int64_t epoch;
  uint64_t seed;
  bool crop, flip;
};
/* What would take more memory than option max-memory allows is FGSM_UNSUPPORTED. */
fgsm_status fg_feed_open(const char *data, const struct fgsm_options *options,
                         struct fg_feed *feed) FGSM_MUST_USE;
void fg_feed_close(struct fg_feed *feed);
/* Of its samples, labels and order. */
size_t fg_feed_bytes(const struct fg_feed *feed);
/* Whether images of rank 3 look like [H, W, C] rather than [C, H, W]. */
bool fg_feed_channels_last(const struct fg_feed *feed);
/* That every label is a class of the model, and there are at least two to tell apart; classes without
 * a sample to train on are warned of. */
fgsm_status fg_feed_check(const struct fg_feed *feed, int64_t classes) FGSM_MUST_USE;
/* Shuffles the training samples for that epoch. */
void fg_feed_shuffle(struct fg_feed *feed, int64_t epoch);
/* What an engine does to samples that lie on the device; the same as fg_feed_batch. */
struct fg_augment_attrs fg_feed_augment(const struct fg_feed *feed);
/* The n samples from place `at` of the epoch's order on, augmented, into x; x NULL: their labels and
 * numbers alone. */
void fg_feed_batch(const struct fg_feed *feed, int64_t at, int64_t n, void *x, int64_t *labels,
                   int64_t *index);

/* ---- the whole */

/* Trains `onnx`, or where it is NULL the architecture that option arch names, on the dataset at `data`
 * as fgsm_train_dataset promises. */
fgsm_status fg_train(const struct fg_onnx *onnx, const char *model_path, const char *data,
                     const struct fgsm_options *options, fgsm_train_progress_fn progress,
                     void *user, char **json) FGSM_MUST_USE;

#endif
