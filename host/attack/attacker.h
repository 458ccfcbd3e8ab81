/* An attacker from inside: device buffers ("wires") and the passes that read and write them.
 *
 * A pass is one plan with, for each wire, the value of its graph that the wire binds. All passes
 * share one arena and one set of wires, all made once, so that running allocates nothing. Which
 * buffer stands for the iterate before and after a pass (x and next) is said at each run; every
 * other wire is always the same buffer. */
#ifndef FG_ATTACKER_H
#define FG_ATTACKER_H

#include "attack.h"

enum { FG_NOTE_SIZE = 256 };

/* Appends a sentence to `note` (of `size` bytes), "; " between; cut where it does not fit. */
void fg_note_add(char *note, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

enum fg_wire {
  FG_WIRE_x,     /* the iterate that a pass reads ...                       */
  FG_WIRE_next,  /* ... and the one that it writes: given at each run       */
  FG_WIRE_x0,    /* the clean samples, real                                 */
  FG_WIRE_bytes, /* U8: the samples as read, later as written              */
  FG_WIRE_gradient,
  FG_WIRE_m, /* momentum before and after a step                           */
  FG_WIRE_m_next,
  FG_WIRE_eps_map,
  FG_WIRE_mask,
  FG_WIRE_params,
  FG_WIRE_rows,   /* params of each sample, where they differ              */
  FG_WIRE_labels, /* I32: the classes attacked (targets, if targeted)      */
  FG_WIRE_index,
  FG_WIRE_stats,
  FG_WIRE_logits,
  FG_WIRE_loss,
  FG_WIRE_prediction,
  FG_WIRE_labels64, /* I64: a view's classes, before they are labels */
  FG_WIRE_COUNT
};

/* What a pass is made of, in this order; each is optional. */
struct fg_recipe {
  const char *name;
  bool dequantize; /* bytes -> next                                             */
  bool start;      /* x0 -> next, the random start                              */
  bool model;      /* x -> logits, loss, prediction                             */
  bool gradient;   /* and its gradient, an output unless a step follows         */
  bool step;       /* x0, x, gradient -> next (and stats, m_next)               */
  bool rows;       /* step and quantize take wire rows for params               */
  bool settle;     /* a step of length 0: x into the ball around x0 and the box */
  bool quantize;   /* x, x0 -> bytes                                            */
  bool copy;       /* x -> next                                                 */
  bool narrow;     /* labels64 -> labels                                        */
  /* The pass is wanted only where the backend takes model, gradient and step as one call, which
   * then makes so many steps, or a search with so many halvings. */
  int repeat, halvings;
};

struct fg_pass {
  struct fg_plan *plan; /* NULL: this attack has no use for it */
  fg_id wire[FG_WIRE_COUNT];
  void *bound[FG_WIRE_COUNT]; /* what each was bound to last */
  double seconds;             /* that its runs took, where the attacker is timed */
};

/* The attacked model from x to its logits, recognised and folded: every pass's graph with the model in it
 * begins as this one, and reads the same weights. */
struct fg_net {
  struct fg_graph *graph; /* lives longer than the passes */
  fg_id x;                /* its one output is the logits */
};

/* Kinds of traffic: each has a stream, and an event that is recorded at its end. */
enum fg_traffic { FG_TRAFFIC_up, FG_TRAFFIC_compute, FG_TRAFFIC_down, FG_TRAFFIC_COUNT };

/* What an attacker was refused for want of: memory of the host, or of the card. */
struct fg_shortage {
  bool any, of_card;
  size_t need, have; /* bytes; need 0: not known */
};

struct fg_attacker {
  struct fg_attacker_info info;
  struct fg_onnx *onnx; /* whose weights the net reads */
  struct fg_sample_shape shape;
  const struct fg_attack_arrays *arrays; /* the caller's, while the passes are made */
  int64_t count;                         /* elements of a sample */
  struct fg_device *device;
  void *stream[FG_TRAFFIC_COUNT], *event[FG_TRAFFIC_COUNT];
  enum fg_type real;
  struct {
    size_t limit, model, besides; /* bytes: of all, of the file as read, of the caller's */
    size_t card; /* of a device with memory of its own: what is this attacker's share of
                                     what was free there; 0: it has none */
    int sharers; /* of the device's memory */
    struct fg_shortage shortage; /* why the attacker was refused */
  } memory;
  struct fg_loss_attrs loss;
  bool only_gradient; /* made for agreement.c: no step, nothing written */
  bool timed;         /* passes are waited for, and say what they took */
  struct fg_net net;
  /* Of the net's weights, where they are the same, and of its arena, while it does not run; NULL: none. */
  const struct fg_attacker *lender;
  struct fg_pass dequantize, start, gradient, step, settle, evaluate, quantize;
  struct fg_pass rest;   /* all steps but the first, in one call; plan NULL: one by one       */
  struct fg_pass search; /* minimal-eps in one call; plan NULL: by passes                     */
  struct fg_view_parts *view; /* NULL until samples are attacked on the device (view.c) */
  void *arena, *wire[FG_WIRE_COUNT];
  size_t arena_bytes;
  bool arena_is_lent;
  void *ring[2]; /* two iterates: a pass reads one and writes the other */
  /* What wires m and m_next alternate between, and what m is before the first step; NULL: none. */
  void *momentum[2], *zeros;

  /* what the options say, resolved */
  double clip_lo, clip_hi; /* what x may be ...                                     */
  double lo, hi;           /* ... and x': ends that the output can hold             */
  double seed;
  bool has_map, has_mask, labels_predicted, least_likely, targets_given;
  int64_t target; /* one class for all, or -1 */

  /* host staging for one strip; the first two are the device's to transfer from and to */
  void *stage;     /* samples as the device holds them, to it and back; see fg_stage_wait */
  void *written;   /* samples of out_type */
  int32_t *labels; /* the classes attacked */
  int64_t *index;
  double *reals;            /* strip x max(classes, 4) */
  double *rows;             /* strip x FG_PARAM_COUNT  */
  struct fg_bounds *bounds; /* minimal-eps: strip */
  int32_t *predictions;
  struct fg_clean *clean;
  uint32_t *flags;

  int64_t *place; /* in the caller's arrays, of the samples that climb: room for n_places */
  int64_t n_places, climbs;
};

/* What is known of a clean sample. */
struct fg_clean {
  int32_t prediction;
  double loss;
  double stats[3]; /* of the first gradient: as the step operator gives them */
  double factor;   /* by which the loss operator's gradient falls short of the loss's own */
};

/* Where minimal-eps has a sample: between lo, where the aim is not reached, and hi, where it is, in
 * units of eps; a look is at t. */
struct fg_bounds {
  double lo, hi, t;
  bool any; /* the aim is reached at 1 */
};

/* Some samples of a caller, at most a strip: where they are in the caller's arrays, ascending. */
struct fg_batch {
  int64_t n;
  const int64_t *place;
  const void *x;
  const int64_t *labels, *targets, *index;
};

/* Whether climbs begin beside the clean samples. */
static inline bool fg_has_start(const struct fg_attacker *a) {
  return a->info.spec.start != FG_START_none;
}

/* ---- deciding (decide.c) */

/* What the attack is to be; all but what the model has to say. */
fgsm_status fg_decide(const struct fgsm_options *options, const struct fg_sample_shape *shape,
                      const struct fg_attack_arrays *arrays, struct fg_attacker *a) FGSM_MUST_USE;
/* What can only be checked once the model is built. */
fgsm_status fg_decide_classes(const struct fg_attacker *a) FGSM_MUST_USE;
/* An eps of bytes, in whole levels of them. */
double fg_whole_levels(double eps);

/* ---- memory (memory.c) */

enum { FG_ATTACK_PASSES = 9 };
void fg_attacker_passes(struct fg_attacker *a, struct fg_pass *list[FG_ATTACK_PASSES]);
/* An attacker of this batch with what the caller takes besides; NULL there, and shortage->any, where it
 * is refused for want of memory. */
fgsm_status fg_attacker_try(const struct fg_onnx *onnx, const struct fgsm_options *options,
                            struct fg_device *device, const struct fg_sample_shape *shape,
                            const struct fg_attack_arrays *arrays,
                            const struct fg_attack_besides *besides, int64_t batch,
                            struct fg_attacker **out, struct fg_shortage *shortage) FGSM_MUST_USE;
/* As fg_attacker_create, for an attacker that stops at the gradient of the loss, which is wire
 * gradient once pass gradient ran. Weights that are `lender`'s too it reads there, and where that one's
 * arena is large enough it computes in it; NULL: none. */
fgsm_status fg_attacker_create_gradient(
    const struct fg_onnx *onnx, const struct fgsm_options *options, struct fg_device *device,
    const struct fg_sample_shape *shape, const struct fg_attack_arrays *arrays, int64_t batch,
    const struct fg_attacker *lender, struct fg_attacker **out) FGSM_MUST_USE;
/* The bytes of every wire that some pass has, 0 for the others; x and next are counted as rings. */
void fg_memory_wires(struct fg_attacker *a, size_t bytes[FG_WIRE_COUNT]);
/* What a pass still to be made needs, as far as is known: bytes of its graph, of those of its constants
 * that the device reads, and of the arena. */
struct fg_coming {
  size_t graph, constants, arena;
};
/* Bytes that the attacker takes: passes made so far and the one to come, their arena, wires, staging. */
size_t fg_memory_need(struct fg_attacker *a, const struct fg_coming *coming);
/* Bytes of the device's own memory: constants and what kernels hold, wires, the arena. */
size_t fg_memory_on_card(struct fg_attacker *a, const struct fg_coming *coming);
/* Asks the device, once it is entered, how much memory is this attacker's. */
fgsm_status fg_memory_ask_card(struct fg_attacker *a) FGSM_MUST_USE;
/* FGSM_MEMORY if that is short of, FGSM_UNSUPPORTED if the limit does not allow for what the passes so
 * far and the one to come need. */
fgsm_status fg_memory_check(struct fg_attacker *a, const struct fg_coming *coming) FGSM_MUST_USE;

/* Makes the net, once it is read decides how long strips are; `note` as in fg_attack_logits. */
fgsm_status fg_net_create(struct fg_attacker *a, const struct fg_onnx *onnx,
                          const struct fgsm_options *options, char *note) FGSM_MUST_USE;
/* Builds a pass: graph, passes over the graph, plan. One with the model in it is made after the net. */
fgsm_status fg_pass_create(struct fg_attacker *a, const struct fgsm_options *options,
                           const struct fg_recipe *recipe, struct fg_pass *out) FGSM_MUST_USE;
/* Runs it from iterate `x` to iterate `next` (NULL where it has none). */
fgsm_status fg_pass_run(struct fg_attacker *a, struct fg_pass *pass, void *x,
                        void *next) FGSM_MUST_USE;

/* Every restart's climb of a strip once more, broken or not, its passes alone, nothing read back: from x0 to
 * x_adv, device memory for a strip of iterates, or NULL for what the last run left and for a ring's. For
 * measuring. */
fgsm_status fg_attacker_replay(struct fg_attacker *a, void *x0, void *x_adv) FGSM_MUST_USE;

/* Whether the pass is one call of mlp_fgsm. */
bool fg_pass_is_whole(const struct fg_pass *pass);

/* ---- views (view.c) */

/* What follows on the stream comes after the last view's work. */
fgsm_status fg_view_wait(struct fg_attacker *a, void *stream) FGSM_MUST_USE;
/* Waits for it, and frees what views needed. */
void fg_view_destroy(struct fg_attacker *a);

/* ---- parts of a run (run.c) that minimal.c needs too */

/* The params of a run at eps times t. */
void fg_run_params(const struct fg_attacker *a, double eps, double t, double radius, int restart,
                   double params[FG_PARAM_COUNT]);
/* Settles the class that each loaded sample is attacked with, and uploads it. */
fgsm_status fg_run_labels(struct fg_attacker *a, const struct fg_batch *b) FGSM_MUST_USE;
/* Makes a->place that of n samples in their order. */
fgsm_status fg_run_places(struct fg_attacker *a, int64_t n) FGSM_MUST_USE;
/* Whether the attack's aim is reached: another class than the label; targeted: the target. */
bool fg_run_reached(const struct fg_attacker *a, int64_t label, int32_t prediction);
/* Prediction and loss of the last forward pass, of the whole batch. */
fgsm_status fg_run_outcome(struct fg_attacker *a, int32_t *prediction, double *loss) FGSM_MUST_USE;
/* After the first gradient pass: its statistics; flags. `columns`: of the stats. */
fgsm_status fg_run_first_gradient(struct fg_attacker *a) FGSM_MUST_USE;
fgsm_status fg_run_stats(struct fg_attacker *a, bool first, int columns) FGSM_MUST_USE;
/* Turns iterate *x into what will be written, and looks at that; *x becomes what holds exactly it. */
fgsm_status fg_run_look(struct fg_attacker *a, const struct fg_batch *b, void **x) FGSM_MUST_USE;
void *fg_run_other(const struct fg_attacker *a, const void *x);
/* Sets wires m and m_next for a step, from 0, of a climb. */
void fg_run_momentum(struct fg_attacker *a, int step);

/* minimal.c: fills a->bounds; *out is the iterate at each sample's least eps, or at eps. */
fgsm_status fg_minimal_climb(struct fg_attacker *a, const struct fg_batch *b,
                             void **out) FGSM_MUST_USE;
/* The least eps of sample s, infinity for none. */
double fg_minimal_eps(const struct fg_attacker *a, int64_t s);

/* ---- between host and device (samples.c) */

/* Checks the samples against the clip range and brings them into wire x0, the last one repeated to
 * fill the batch. */
fgsm_status fg_samples_load(struct fg_attacker *a, const struct fg_batch *b) FGSM_MUST_USE;
/* Sets the flagged samples of `x` back to what they were. */
fgsm_status fg_samples_restore(struct fg_attacker *a, const struct fg_batch *b,
                               void *x) FGSM_MUST_USE;
/* For a device that computes in double: `to` becomes what floats can hold of `x`, rounded toward
 * the clean samples; the floats themselves go to a->written. */
fgsm_status fg_samples_round(struct fg_attacker *a, const struct fg_batch *b, const void *x,
                             void *to) FGSM_MUST_USE;
/* Brings what is written (wire bytes, or `x`) into a->written. */
fgsm_status fg_samples_fetch(struct fg_attacker *a, const void *x) FGSM_MUST_USE;
/* linf, l2 and the flag of sample i of a->written against that of the batch. */
void fg_samples_measure(const struct fg_attacker *a, const struct fg_batch *b, int64_t i,
                        double eps, fgsm_result *result);

/* ---- traffic.c */

fgsm_status fg_traffic_create(struct fg_attacker *a) FGSM_MUST_USE;
/* Waits until nothing is under way. */
void fg_traffic_end(struct fg_attacker *a);
void fg_traffic_destroy(struct fg_attacker *a);

/* Puts `bytes` at `to` before anything is computed from here on. Returns before that is done: `from`
 * stays as it is until the next wait if it is memory of the device's host_alloc. */
fgsm_status fg_upload(struct fg_attacker *a, void *to, const void *from,
                      size_t bytes) FGSM_MUST_USE;
/* Before a->stage is written: waits until no upload reads it. */
fgsm_status fg_stage_wait(struct fg_attacker *a) FGSM_MUST_USE;
/* Waits for what was computed and brings it to the host. */
fgsm_status fg_download(struct fg_attacker *a, const void *from, size_t bytes,
                        void *to) FGSM_MUST_USE;
/* n numbers of the device's float type. */
fgsm_status fg_download_reals(struct fg_attacker *a, const void *from, int64_t n,
                              double *to) FGSM_MUST_USE;

#endif
