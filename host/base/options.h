/* The options that a user can set, parsed. option_table.c holds the one table that names, documents and
 * parses them; the command line, its help, the manual page, shell completions and config files all
 * come from it. */
#ifndef FG_OPTIONS_H
#define FG_OPTIONS_H

#include "base.h"

/* A number as the user wrote it. 8/255 stays exact: bytes are perturbed by floor(255 num / den). */
struct fg_ratio {
  double value;
  int64_t num, den; /* den 0: written as a decimal that no small fraction equals */
  char text[32];
};

#define FG_MAX_EPS 64
#define FG_MAX_BATCHES 16
#define FG_MAX_HARDENINGS 4
#define FG_USUAL_BATCH 64
#define FG_MAX_FEEDS 16
#define FG_MAX_CHANNELS 16
#define FG_MAX_OPTIONS 96 /* rows of the table */
#define FG_MOST_DEVICES 64
#define FG_ALL_DEVICES (-1)

struct fgsm_options {
  char *text[FG_MAX_OPTIONS]; /* each option as it was set, by its row in the table; or NULL */
  /* attack */
  char attack[24];                 /* a name of the attack table */
  char loss[16];                   /* ce | margin | dlr | linear */
  char norm[8];                    /* "" : the attack's own       */
  struct fg_ratio eps[FG_MAX_EPS]; /* no two of equal value */
  int n_eps;                       /* 0: not given */
  char *eps_map;         /* path of an .npy with one eps per feature, or NULL; then eps[0] is 1/1 */
  char *mask;            /* path of an .npy; 0 keeps a feature */
  struct fg_ratio alpha; /* value < 0: the attack's own */
  int steps;             /* 0: the attack's own */
  int restarts;          /* 0: the attack's own */
  double decay;          /* < 0: the attack's own */
  char *input, *output;  /* of the model, by name; NULL: the only one, the first */
  char *feed;            /* NAME=FILE,...: checked; NULL: none */
  char *functional;      /* numbers; NULL: none */
  char *target;          /* NULL: untargeted; a class, "least-likely", or a file of labels */
  char loss_parity[8];   /* "" or "torch" */
  bool keep_softmax;
  bool no_verify; /* what is written is not looked at */
  uint64_t seed;
  /* data */
  char *labels; /* file, "predicted", or NULL: from the data */
  double mean[FG_MAX_CHANNELS], std[FG_MAX_CHANNELS]; /* n 0: none given */
  int n_mean, n_std;
  struct fg_ratio scale;
  bool clip_none;
  double clip_lo, clip_hi;
  char data_layout[8]; /* auto | nchw | nhwc */
  int64_t limit;       /* samples; 0: all */
  int64_t start;       /* first sample */
  /* output */
  char *out;
  char out_type[8];  /* "" : the data's own; u8 | f32 */
  double fail_under; /* adversarial accuracy; < 0: no check */
  /* training */
  char *arch;                           /* instead of a model, or NULL */
  char method[16];                      /* a name of the method table */
  double clean_share, beta, grad_align; /* < 0: the method's own */
  int replays;                          /* 0: the method's own */
  double harden[FG_MAX_HARDENINGS];     /* shares of the way */
  int n_harden;
  double gradient_penalty, label_smoothing, spectral_norm; /* 0: none */
  char smoothing[8];                                       /* all | others */
  int64_t epochs;
  char optimizer[8]; /* sgd | adam | adamw */
  double lr, lr_peak, lr_warmup, momentum, weight_decay;
  char lr_schedule[16];
  bool nesterov, decay_matrices;
  double clip_norm, ema; /* 0: none */
  char craft_norms[8];   /* "": the method's own; update | batch | frozen */
  char init[8];          /* keep | he | torch */
  char augment[16];      /* none | crop | flip | crop-flip */
  int64_t validation;    /* samples held out; < 0: a tenth, at most 1000 */
  int eval_steps;        /* of the PGD that every epoch is judged by */
  int64_t watch;         /* steps between two looks for overfitting */
  char on_overfit[16];   /* continue | stop | rollback */
  char *report;          /* a page, or NULL */
  char *log;             /* a JSON object per line, or NULL */
  char *checkpoint;      /* NULL: beside out */
  bool resume;
  /* device */
  char device[64]; /* auto | cpu | ref | cuda | cuda:i,... | cuda:all */
  char precision[8];
  bool exact;
  int64_t batch; /* the first of */
  int64_t batches[FG_MAX_BATCHES];
  int n_batches;
  bool batch_given, batch_auto; /* auto: to be found by measuring; then batch is the default */
  int64_t max_memory;           /* bytes; 0: fg_memory_share */
  int threads;                  /* 0: all that this process may use */
  /* how things are shown */
  char *dot;     /* NULL: no graph; "-": instead of the text; else a file */
  int width;     /* columns; 0: unsaid */
  char plot[8];  /* auto | unicode | ascii */
  char color[8]; /* auto | always | never */
  /* bench */
  int runs;       /* 0: as many as `seconds` allow */
  double seconds; /* for each batch size */
  /* the command's own, read by it through fgsm_options */
  bool json, csv, quiet;
};

/* Whether the option was set, be it to its default. */
bool fg_options_given(const struct fgsm_options *options, const char *name);

/* One entry of `feed`, at *list, which moves on; false at the end. The texts are not terminated. */
struct fg_feed_text {
  const char *name, *path;
  int n_name, n_path;
};
bool fg_feed_next(const char **list, struct fg_feed_text *out);

/* "0", "0,2" or "all" -> *n numbers of devices, or FG_ALL_DEVICES. FGSM_USAGE. */
fgsm_status fg_device_list(const char *text, int *n, int *index) FGSM_MUST_USE;

/* "8/255", "0.1", "2" -> ratio; FGSM_USAGE otherwise. Negative values and den 0 are refused. */
fgsm_status fg_ratio_parse(const char *text, struct fg_ratio *out) FGSM_MUST_USE;
/* floor(255 * ratio), exactly where the ratio is rational. */
int64_t fg_ratio_levels(const struct fg_ratio *ratio);
/* A decimal with an optional minus; a whole number in [least, most], 0 <= least. FGSM_USAGE. */
fgsm_status fg_real_parse(const char *text, double *out) FGSM_MUST_USE;
/* "1,-0.5,0" -> *n of them, to be freed. FGSM_USAGE. */
fgsm_status fg_reals_parse(const char *text, double **items, int *n) FGSM_MUST_USE;
/* "2G", "512M", "1.5GiB", "1000000" -> bytes, 1 MiB or more; units are powers of 1024. FGSM_USAGE. */
fgsm_status fg_size_parse(const char *text, int64_t *out) FGSM_MUST_USE;
/* What option max-memory comes to. */
size_t fg_options_memory(const struct fgsm_options *options);
fgsm_status fg_int_parse(const char *text, int64_t least, int64_t most, int64_t *out) FGSM_MUST_USE;

#endif
