/* fgsm - attack neural networks with the fast gradient sign method and its kin.
 *
 * The whole public interface. A model is loaded once (fgsm_model_load); every choice a user can
 * make is a named option (fgsm_options_set: the same names as on the command line); a dataset file
 * is attacked with fgsm_attack_dataset, arrays in memory with fgsm_attack_create / _run.
 *
 * Rules. Every call that can fail returns a status, which must be looked at; fgsm_last_error() then
 * says, for the calling thread, what failed, where, and what to do. Every create has a destroy that
 * accepts NULL and cannot fail. What a caller passes in stays the caller's. Text handed out by the
 * library as `char **` is freed with fgsm_free. The library never prints and never exits: messages
 * go to the callback set with fgsm_set_log. */
#ifndef FGSM_H
#define FGSM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FGSM_VERSION_MAJOR 0
#define FGSM_VERSION_MINOR 1
#define FGSM_VERSION_PATCH 0
#define FGSM_VERSION "0.1.0"

#if defined(__GNUC__)
#define FGSM_API __attribute__((visibility("default")))
#define FGSM_MUST_USE __attribute__((warn_unused_result))
#else
#define FGSM_API
#define FGSM_MUST_USE
#endif

/* Every status: name, the command's exit code, meaning. */
#define FGSM_STATUS_MAP(X)                                                                         \
  X(OK, 0, "success")                                                                              \
  X(CHECK, 1, "a check that was asked for failed")                                                 \
  X(USAGE, 2, "invalid argument or option")                                                        \
  X(UNSUPPORTED, 3, "operator, attribute or shape not supported")                                  \
  X(MODEL, 3, "invalid model file")                                                                \
  X(DATA, 4, "invalid or unreadable data")                                                         \
  X(IO, 4, "a file could not be read or written")                                                  \
  X(DEVICE, 5, "a device or its library failed")                                                   \
  X(MEMORY, 6, "out of memory")                                                                    \
  X(INTERNAL, 6, "a fault in fgsm itself")                                                         \
  X(INTERRUPTED, 130, "interrupted")

typedef enum fgsm_status {
#define X(name, code, text) FGSM_##name,
  FGSM_STATUS_MAP(X)
#undef X
} fgsm_status;

FGSM_API const char *fgsm_version(void);
FGSM_API const char *fgsm_status_name(fgsm_status status);
FGSM_API const char *fgsm_status_text(fgsm_status status);
FGSM_API int fgsm_status_exit_code(fgsm_status status);

/* The calling thread's last error, in words; never NULL, "" if nothing failed yet. */
FGSM_API const char *fgsm_last_error(void);

/* Frees text that the library handed out. Accepts NULL. */
FGSM_API void fgsm_free(void *text);

typedef enum fgsm_log_level {
  FGSM_LOG_ERROR,
  FGSM_LOG_WARNING,
  FGSM_LOG_INFO,
  FGSM_LOG_DEBUG
} fgsm_log_level;
typedef void (*fgsm_log_fn)(void *user, fgsm_log_level level, const char *message);

/* Sends messages up to `level` to `fn` (NULL: to nobody). `fn` may be called from any thread. */
FGSM_API void fgsm_set_log(fgsm_log_fn fn, void *user, fgsm_log_level level);

/* Asks running calls to stop soon with FGSM_INTERRUPTED. Safe in a signal handler. */
FGSM_API void fgsm_interrupt(void);
FGSM_API void fgsm_interrupt_clear(void);

/* ---- Options: one table serves the command line, its help and manual, config files, bindings. */

typedef struct fgsm_options fgsm_options;

typedef struct fgsm_option_info {
  const char *name;     /* "eps": on the command line --eps                                   */
  const char *argument; /* "LIST"; "[=FILE]" if it may be left out; NULL for a switch         */
  const char *initial;  /* the default, in words; NULL if there is none                       */
  const char *choices;  /* "ce|margin" or NULL                                                */
  const char *help;     /* one sentence                                                       */
  const char *group;    /* "attack", "data", "device", "output"                               */
  const char *commands; /* the commands that take it, space-separated: "attack bench"         */
} fgsm_option_info;

/* The i-th option of the table, or NULL past its end. */
FGSM_API const fgsm_option_info *fgsm_option_at(size_t i);

FGSM_API fgsm_status fgsm_options_create(fgsm_options **out) FGSM_MUST_USE;
FGSM_API void fgsm_options_destroy(fgsm_options *options);

/* Sets one option from text. A switch takes NULL, "", "true" or "false". FGSM_USAGE with the reason
 * if the name is unknown or the value does not parse; the option then keeps its old value. */
FGSM_API fgsm_status fgsm_options_set(fgsm_options *options, const char *name,
                                      const char *value) FGSM_MUST_USE;

/* The option as it was set, or its default in words; NULL if the name is unknown or it has neither.
 * Valid until the option is set again. */
FGSM_API const char *fgsm_options_get(const fgsm_options *options, const char *name);

/* Sets options from a file of lines `name = value`; `#` begins a comment. Errors name the line. */
FGSM_API fgsm_status fgsm_options_read(fgsm_options *options, const char *path) FGSM_MUST_USE;

/* ---- Models */

typedef struct fgsm_model fgsm_model;

/* Reads an ONNX file. FGSM_MODEL, FGSM_UNSUPPORTED or FGSM_IO with the node and the reason. */
FGSM_API fgsm_status fgsm_model_load(const char *path, fgsm_model **out) FGSM_MUST_USE;
/* The same; what would take more memory than option "max-memory" allows is FGSM_UNSUPPORTED. */
FGSM_API fgsm_status fgsm_model_load_within(const char *path, const fgsm_options *options,
                                            fgsm_model **out) FGSM_MUST_USE;
FGSM_API void fgsm_model_destroy(fgsm_model *model);

/* Describes operators, shapes, FLOPs and bytes forward and backward, what is computed in one call,
 * memory over time, and everything that is unsupported with the reason; as a table, or as one JSON
 * object if `json` is not 0. Where option "dot" is a file, the graph is written there too, in
 * Graphviz' language; where it is "-", that is the text. Works for models that cannot be attacked
 * too. The text is the caller's: fgsm_free. */
FGSM_API fgsm_status fgsm_model_describe(const fgsm_model *model, const fgsm_options *options,
                                         int json, char **text) FGSM_MUST_USE;

/* How a result is laid out: for people, as one JSON object, as a table with a header line. */
typedef enum fgsm_format { FGSM_FORMAT_TEXT, FGSM_FORMAT_JSON, FGSM_FORMAT_CSV } fgsm_format;

/* Measures how fast the model is attacked as the options say (eps: 8/255 unless set), on generated
 * samples: images a second end to end through the pipeline and on the device alone, the share of what
 * the machine could do at most (measured in the same run), seconds of each stage and call, memory,
 * joules where a meter can be read. Each is the median of repetitions ("runs", "seconds"), which
 * alternate between the batch sizes of option "batch". The text is the caller's: fgsm_free. */
FGSM_API fgsm_status fgsm_model_bench(const fgsm_model *model, const fgsm_options *options,
                                      fgsm_format format, char **text) FGSM_MUST_USE;

/* Writes the model back as ONNX (graph unchanged, weights as they are now). */
FGSM_API fgsm_status fgsm_model_save(const fgsm_model *model, const char *path) FGSM_MUST_USE;

/* ---- Attacking a dataset file */

typedef struct fgsm_progress {
  int64_t done, total;                        /* samples; total is -1 while unknown */
  double seconds;                             /* since the first batch              */
  int64_t clean_correct, adversarial_correct; /* -1: not looked at (option "no-verify") */
} fgsm_progress;
typedef void (*fgsm_progress_fn)(void *user, const fgsm_progress *progress);

/* Attacks every sample of the dataset at `data` and, where option "out" is set, writes the
 * adversarial dataset, OUT.json and OUT.records.csv; without it, only measures. `progress` may be
 * NULL; it is called from a thread of the library. On success *json holds the result as one JSON
 * object (the caller's: fgsm_free); `json` may be NULL. Where option "fail-under" is set and the
 * adversarial accuracy at some eps lies below it, everything is done and written as otherwise, *json
 * included, and the status is FGSM_CHECK. Files appear under their final names only when complete. */
FGSM_API fgsm_status fgsm_attack_dataset(const fgsm_model *model, const char *data,
                                         const fgsm_options *options, fgsm_progress_fn progress,
                                         void *user, char **json) FGSM_MUST_USE;

/* Copies a dataset into another format (chosen by OUT's suffix). */
FGSM_API fgsm_status fgsm_convert_dataset(const char *data, const char *out,
                                          const fgsm_options *options, int64_t *n) FGSM_MUST_USE;

/* ---- Training */

typedef struct fgsm_train_progress {
  int64_t epoch, epochs; /* the running epoch, from 1 */
  int64_t step, steps;   /* of this epoch             */
  double seconds, samples_per_second;
  double loss;                            /* mean since the epoch began */
  double clean_accuracy, robust_accuracy; /* of the training samples of this epoch, as it saw them;
                                             NaN: not seen */
  double held_clean_accuracy, held_robust_accuracy; /* of what is held out, clean and under PGD,
                                                       at the last epoch's end; NaN: not judged */
} fgsm_train_progress;
typedef void (*fgsm_train_progress_fn)(void *user, const fgsm_train_progress *progress);

/* Trains the model, or where that is NULL the architecture that option "arch" names, on the dataset at
 * `data` by option "method", judges every epoch on samples that
 * are held out, and writes the model, normalisations in their inference form, to option "out" when
 * it is done. `progress` may be NULL. On success *json holds the result as one JSON object (the
 * caller's: fgsm_free); `json` may be NULL. Where mpirun or srun started several processes, they train
 * together: the first alone writes, sees progress and has a result, *json is NULL in the others; one
 * that fails by itself logs why, and ends all of them. */
FGSM_API fgsm_status fgsm_train_dataset(const fgsm_model *model, const char *data,
                                        const fgsm_options *options,
                                        fgsm_train_progress_fn progress, void *user,
                                        char **json) FGSM_MUST_USE;

/* ---- Attacking arrays in memory */

typedef struct fgsm_attack fgsm_attack;

/* What happened to one sample. */
typedef struct fgsm_result {
  int64_t label; /* the label attacked (the target, if targeted)                */
  int32_t clean_prediction, adversarial_prediction;
  float clean_loss, adversarial_loss;
  float gradient_l1;         /* sum |dL/dx| at the clean sample (or the first random start) */
  float zero_gradient_share; /* share of components with an exactly zero gradient, 0..1     */
  float linf, l2;            /* of x' - x, in the units of x (bytes: fractions of 255)      */
  uint32_t flags;            /* FGSM_FLAG_...                                               */
  /* Attack minimal-eps: the least eps that reaches the attack's aim, 0 where the clean sample does,
   * infinity where eps itself does not. Other attacks: 0. */
  float minimal_eps;
} fgsm_result;

#define FGSM_FLAG_ZERO_GRADIENT 1u /* every component of the gradient was exactly zero        */
#define FGSM_FLAG_NONFINITE 2u     /* a NaN or Inf gradient: the sample was left unperturbed  */
#define FGSM_FLAG_OFF_LATTICE 4u   /* no byte lies within eps of some value: nearest written  */
/* Option "no-verify": adversarial_prediction is -1 and adversarial_loss NaN, for what was made was not
 * read back through the model ... */
#define FGSM_FLAG_UNVERIFIED 8u
/* ... and where the attack starts from a random point, nor was the clean sample looked at:
 * clean_prediction is -1 and clean_loss NaN. */
#define FGSM_FLAG_CLEAN_UNSEEN 16u

/* Prepares the attack that `options` describe, for batches of up to `batch` samples. */
FGSM_API fgsm_status fgsm_attack_create(const fgsm_model *model, const fgsm_options *options,
                                        int64_t batch, fgsm_attack **out) FGSM_MUST_USE;
FGSM_API void fgsm_attack_destroy(fgsm_attack *attack);

/* Attacks n samples. x and x_adv: n x (the model's input shape without the batch), float32, rows
 * dense; they may be the same array. labels: n class indices. index: each sample's number in its
 * dataset, which keys its random numbers; NULL means 0..n-1. results: n, or NULL. With option
 * "no-verify" x_adv is the same, and results lack what its flags name. */
FGSM_API fgsm_status fgsm_attack_run(fgsm_attack *attack, int64_t n, const float *x,
                                     const int64_t *labels, const int64_t *index, float *x_adv,
                                     fgsm_result *results) FGSM_MUST_USE;

/* A tensor in a device's memory, member for member DLPack's DLTensor: the address of one (of
 * __dlpack__'s capsule: of its managed tensor's dl_tensor) is the address of the other. The library
 * keeps none of it. */
typedef struct fgsm_view {
  void *data;
  struct {
    int32_t type; /* DLDeviceType: 1 the host's memory, 2 a card's (CUDA) */
    int32_t id;   /* which card */
  } device;
  int32_t ndim;
  struct {
    uint8_t code, bits; /* DLDataType: code 0 an integer, 2 a float */
    uint16_t lanes;     /* 1 */
  } dtype;
  int64_t *shape;
  int64_t *strides; /* in elements; NULL: dense, row after row */
  uint64_t byte_offset;
} fgsm_view;

/* Attacks one batch where it lies, without a copy between host and device and without waiting: puts the
 * work on `stream` (a cudaStream_t on a card; NULL: the device's own; the cpu ignores it and is done
 * when it returns) and returns. x and x_adv: float32 [batch, the model's input shape without the
 * batch], `batch` being what fgsm_attack_create was given, dense, 64-byte aligned, in the memory of the
 * attack's device; they may be the same memory. labels: int32 or int64 [batch], the classes attacked;
 * NULL where option target names one class. first_index: the number of the first sample in its dataset,
 * which keys the random numbers.
 *
 * x_adv is there, and x and labels may change, once the work on the stream is done. Nothing is read
 * back: values outside the clip range, labels out of range and gradients that are not finite are not
 * reported; a step with such a gradient sets its sample back to what it was. What needs results to go
 * on (minimal-eps, restarts, predicted labels, least-likely) is FGSM_USAGE. The first call takes memory
 * and prepares. Calls on one attack, on whatever streams, follow one after the other. One that fails
 * returns when what it had put on the stream is done; x_adv is undefined then. */
FGSM_API fgsm_status fgsm_attack_run_view(fgsm_attack *attack, const fgsm_view *x,
                                          const fgsm_view *labels, int64_t first_index,
                                          const fgsm_view *x_adv, void *stream) FGSM_MUST_USE;

/* The backends that can be opened here, as a table or JSON (fgsm_free). */
FGSM_API fgsm_status fgsm_devices_describe(int json, char **text) FGSM_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
