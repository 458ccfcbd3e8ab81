/* The attack: objectives, step rules and schedules of steps as data; their graphs; their loop.
 *
 * An attack is a row of a table (spec.c). From the model it builds graphs (build.c): the attacked
 * model is dequantize -> scale, mean, std -> ONNX -> logits -> loss; `gradient` adds the gradient
 * with respect to x and the step; `evaluate` runs forward on what will be written. run.c loops:
 * start, steps, restarts of what still stands, and keeps the best of each sample. */
#ifndef FG_ATTACK_H
#define FG_ATTACK_H

#include "graph.h"
#include "onnx.h"
#include "options.h"

/* One attack, as data. Lengths are in units of eps, so that the table serves every budget. */
struct fg_attack_spec {
  const char *name;
  const char *source; /* the paper */
  enum fg_norm norm;
  int steps;    /* 0: noise only, no gradient */
  double alpha; /* step length / eps          */
  double step;  /* step length in the units of x; < 0: alpha times eps */
  enum fg_start start;
  double radius; /* of the start / eps         */
  bool project;  /* onto the eps ball after each step */
  double decay;  /* momentum's mu; < 0: no momentum   */
  int restarts;  /* at least 1 */
  int halvings;  /* 0; else look for the least eps, with so many halvings of the range at most */
};

/* The i-th attack, NULL past the end; by name, NULL if unknown. */
const struct fg_attack_spec *fg_attack_at(int i);
const struct fg_attack_spec *fg_attack_find(const char *name);
/* The table's row with what the user changed (norm, alpha, steps, ...). FGSM_USAGE if they clash.
 */
fgsm_status fg_attack_resolve(const struct fgsm_options *options,
                              struct fg_attack_spec *spec) FGSM_MUST_USE;

/* What the data looks like, for the graph's front: U8 is divided by 255. */
struct fg_sample_shape {
  enum fg_type type; /* U8 or F32 */
  int rank;
  int64_t dim[FG_MAX_RANK];
};

/* Its values; of a shape that a dataset's reader, or fg_attacker_create, has checked against overflow. */
static inline int64_t fg_sample_count(const struct fg_sample_shape *shape) {
  int64_t n = 1;
  for (int i = 0; i < shape->rank; i++)
    n *= shape->dim[i];
  return n;
}

/* An input that is not attacked: the same values for every sample. */
struct fg_attack_feed {
  const char *name;
  int rank;
  int64_t dim[FG_MAX_RANK];
  const double *data;
};

struct fg_attack_arrays;

/* The input that is attacked (option input, or the only one), and the output that holds the logits
 * (option output, or the first). */
fgsm_status fg_attack_input(const struct fg_onnx *onnx, const struct fgsm_options *options,
                            int *which) FGSM_MUST_USE;
fgsm_status fg_attack_output(const struct fg_onnx *onnx, const struct fgsm_options *options,
                             int *which) FGSM_MUST_USE;
/* Fills in[], all but the attacked one, with constants from the feeds; FG_ABSENT where none is. */
fgsm_status fg_attack_inputs(struct fg_graph *g, const struct fg_onnx *onnx,
                             const struct fg_attack_arrays *arrays, int attacked, int64_t batch,
                             fg_id *in) FGSM_MUST_USE;

/* The attacked model's front: a value x (float, unit space, [batch, sample...]) -> logits [batch,
 * K]. Adds scale, mean and std, adapts the shape ([28,28] to [1,28,28], NHWC to NCHW where asked or
 * plain), builds the model (`trainable`: with its weights as parameters), strips a final softmax
 * unless kept. `note` (256 bytes) says what was stripped or adapted, "" if nothing. */
fgsm_status fg_attack_logits(struct fg_graph *g, const struct fg_onnx *onnx,
                             const struct fgsm_options *options,
                             const struct fg_attack_arrays *arrays,
                             const struct fg_sample_shape *shape, int64_t batch, bool trainable,
                             fg_id x, fg_id *logits, char *note) FGSM_MUST_USE;

/* The batch that the model works on: `batch`, or the file's where its first dimension is fixed. */
fgsm_status fg_attack_batch(const struct fg_onnx *onnx, const struct fgsm_options *options,
                            const struct fg_sample_shape *shape, int64_t batch,
                            int64_t *out) FGSM_MUST_USE;

/* The samples of one pass on this device: all of the batch, or a part. `net`: the model's graph for the whole
 * batch, from x to logits, as it was read. */
int64_t fg_strip_samples(const struct fg_graph *net, const struct fg_device *device, int64_t batch,
                         int64_t sample_elements);

/* What options name by path, loaded: one value per feature of a sample, in its order. Copied. */
struct fg_attack_arrays {
  const float *eps_map; /* each feature's eps, in the units of x; NULL: one eps for all */
  const float *mask;    /* 0 keeps a feature as it is; NULL: none is kept               */
  int64_t n_eps_map, n_mask;
  const struct fg_attack_feed *feeds; /* of the model's other inputs */
  int n_feeds;
};

struct fg_attacker; /* compiled for one batch size on one device */

/* What the caller takes beside an attacker, which counts towards option max-memory too; and how many
 * attackers share that. */
struct fg_attack_besides {
  size_t bytes, sample_bytes; /* in all, and for each sample of a batch */
  int attackers;
};

/* Opens one more device of those that were asked for. */
struct fg_device_opener {
  fgsm_status (*open)(void *user, struct fg_device **out);
  void *user;
};

/* device: the attacker's from here on, closed with it and when this fails. batch: as asked; info's
 * batch is the model's own where that is fixed (it is looped over). arrays: NULL for none. With an
 * eps_map there is one eps, the map's largest. What would take more memory than option max-memory
 * allows is FGSM_UNSUPPORTED, before it is taken. */
fgsm_status fg_attacker_create(const struct fg_onnx *onnx, const struct fgsm_options *options,
                               struct fg_device *device, const struct fg_sample_shape *shape,
                               const struct fg_attack_arrays *arrays, int64_t batch,
                               struct fg_attacker **out) FGSM_MUST_USE;
/* The same for the options' batch, or where none is given and memory does not suffice for the usual
 * one, for the largest batch for which it does; *batch is which. `besides` may be NULL. */
fgsm_status fg_attacker_fit(const struct fg_onnx *onnx, const struct fgsm_options *options,
                            const struct fg_device_opener *opener,
                            const struct fg_sample_shape *shape,
                            const struct fg_attack_arrays *arrays,
                            const struct fg_attack_besides *besides, int64_t *batch,
                            struct fg_attacker **out) FGSM_MUST_USE;
void fg_attacker_destroy(struct fg_attacker *attacker);

struct fg_attacker_info {
  int64_t batch; /* samples that are attacked together: as asked, or as the model's file fixes it */
  int64_t strip; /* of them in one pass over the device (strip.c) */
  int64_t classes;
  int n_eps;
  double eps[FG_MAX_EPS]; /* as applied: for bytes in linf, floor(255 eps) / 255 */
  enum fg_type out_type;  /* of x_adv: U8 or F32 */
  const char *device, *precision;
  struct fg_attack_spec spec;
  struct fg_plan_info gradient, evaluate;
  bool verifies;       /* looks at what is written */
  bool sees_clean;     /* looks at the clean samples, or a pass begins there anyway */
  size_t memory_bytes; /* everything: the model, weights, arena, buffers, what is taken besides */
  char notes[512];
};
const struct fg_attacker_info *fg_attacker_info(const struct fg_attacker *attacker);

/* Attacks n samples (any n: it loops over strips and pads the last).
 * Restarts: a sample is broken once the attack's aim is reached on what would be written (another class than the
 * label; targeted: the target), and is not climbed from again: its result is that of the restart which broke
 * it, as AutoAttack (Croce, Hein 2020) counts too. One that stands to the end has the result of the climb whose
 * loss is the highest (targeted: lowest). What stands is gathered from all n into full strips, so that the
 * more samples a call has, the fewer passes restarts take. A restart's climb depends on seed, index and the restart's
 * number alone.
 * x: n samples of the shape's type. labels: n classes, -1 for none (only with predicted labels);
 * out of range is FGSM_DATA naming index[i]. targets: n classes or NULL. index: n.
 * x_adv: n_eps pointers to n samples of out_type apart from x, each may be NULL (measured only).
 * results: n_eps pointers to n results; what is not looked at (info's verifies, sees_clean) is flagged
 * in them and not known. Values of x outside the clip range are FGSM_DATA. */
fgsm_status fg_attacker_run(struct fg_attacker *attacker, int64_t n, const void *x,
                            const int64_t *labels, const int64_t *targets, const int64_t *index,
                            void *const *x_adv, fgsm_result *const *results) FGSM_MUST_USE;

/* Samples that climbed in all runs so far, each once for every eps and restart. */
int64_t fg_attacker_climbs(const struct fg_attacker *attacker);

#endif
