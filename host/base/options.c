/* The one table of options. A row names an option, documents it and says how its text becomes a
 * field of struct fgsm_options; nothing else in the library or the command knows an option by name
 * twice. Setting is all or nothing: a value that does not parse leaves the old one. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "setters.h"

enum { MAX_TEXT = 4096 };

/* A file may not name further files: no recursion, and a stranger's file reads nothing else. */
static fgsm_status set_config(struct fgsm_options *o, size_t field, size_t size,
                              const char *value) {
  (void)field, (void)size;
  return fgsm_options_read(o, value);
}

/* ---- the table */

struct row {
  fgsm_option_info info;
  fg_set_fn *set;
  size_t field, size;
};

#define FIELD(name) offsetof(struct fgsm_options, name), sizeof((struct fgsm_options *)0)->name
#define ATTACKS                                                                                    \
  "fgsm|fgm|rs-fgsm|n-fgsm|r-fgsm|bim|pgd|mi-fgsm|minimal-eps|noise-sign|noise-uniform"

#define METHODS "clean|fgsm|rs-fgsm|n-fgsm|pgd|free|fgsm-pgi|grad-align|trades|mart"

static const struct row table[] = {
    /* name, argument, default in words, choices, help, group, commands */
    {{"attack", "NAME", "fgsm", ATTACKS, "The attack.", "attack", "attack bench"},
     fg_set_word,
     FIELD(attack)},
    {{"eps", "LIST", NULL, NULL,
      "Budget in the space of the stored pixels: 8/255, 0.1, a list (1/255,2/255,4/255: one result "
      "and output each), or an .npy file with one eps per feature. Bytes count as fractions of "
      "255.",
      "attack", "attack bench train"},
     fg_set_eps,
     FIELD(eps)},
    {{"loss", "NAME", "ce", "ce|margin|dlr|linear",
      "The objective: cross-entropy, the largest other logit minus the label's, that over the "
      "spread of the logits, or a sum of the logits with --functional's factors.",
      "attack", "attack bench"},
     fg_set_word,
     FIELD(loss)},
    {{"functional", "LIST", "none", NULL,
      "Of --loss linear: a factor for each logit, which may be negative; their sum is raised, "
      "whatever the label.",
      "attack", "attack bench"},
     fg_set_functional,
     FIELD(functional)},
    {{"norm", "NAME", "the attack's own", "linf|l2|l1", "The norm in which eps is measured.",
      "attack", "attack bench"},
     fg_set_word,
     FIELD(norm)},
    {{"alpha", "NUMBER", "the attack's own", NULL, "Length of one step, in the units of eps.",
      "attack", "attack bench train"},
     fg_set_ratio,
     FIELD(alpha)},
    {{"steps", "N", "the attack's own", NULL,
      "Steps of an iterated attack; halvings of minimal-eps.", "attack", "attack bench train"},
     fg_set_steps,
     FIELD(steps)},
    {{"restarts", "N", "the attack's own", NULL,
      "Random starts; the best result of each sample is kept.", "attack", "attack bench"},
     fg_set_steps,
     FIELD(restarts)},
    {{"decay", "NUMBER", "the attack's own", NULL, "Momentum's decay factor (mi-fgsm).", "attack",
      "attack bench"},
     fg_set_decay,
     FIELD(decay)},
    {{"target", "CLASS", "untargeted", NULL,
      "Attack towards a class: its number, least-likely, or a file with one class per sample.",
      "attack", "attack bench"},
     fg_set_path,
     FIELD(target)},
    {{"mask", "FILE", "every feature", NULL,
      "An .npy file of the sample's shape; features that are 0 in it stay as they are.", "attack",
      "attack bench"},
     fg_set_path,
     FIELD(mask)},
    {{"input", "NAME", "the only one", NULL, "The model's input to attack, where it has several.",
      "attack", "attack bench train"},
     fg_set_path,
     FIELD(input)},
    {{"feed", "LIST", NULL, NULL,
      "The model's other inputs, the same for every sample: NAME=FILE.npy,NAME=FILE.npy,...",
      "attack", "attack bench"},
     fg_set_feed,
     FIELD(feed)},
    {{"output", "NAME", "the first", NULL, "The model's output that holds the logits.", "attack",
      "attack bench train"},
     fg_set_path,
     FIELD(output)},
    {{"loss-parity", "NAME", "none", "torch",
      "torch: the cross-entropy gradient as PyTorch computes it, zeros of saturated samples "
      "included.",
      "attack", "attack bench"},
     fg_set_word,
     FIELD(loss_parity)},
    {{"keep-softmax", NULL, "false", NULL,
      "Attack a model that ends in a softmax at its probabilities, not at its logits.", "attack",
      "attack bench"},
     fg_set_switch,
     FIELD(keep_softmax)},
    {{"seed", "N", "0", NULL, "Seed of all randomness.", "attack", "attack bench train"},
     fg_set_count,
     FIELD(seed)},
    {{"fail-under", "SHARE", "no check", NULL,
      "Exit with 1 if the adversarial accuracy (a fraction) is lower at any eps.", "attack",
      "attack"},
     fg_set_share,
     FIELD(fail_under)},

    {{"method", "NAME", "n-fgsm", METHODS, "How samples are made adversarial while training.",
      "training", "train"},
     fg_set_word,
     FIELD(method)},
    {{"arch", "NAME", NULL, NULL,
      "Instead of a model: mnist-cnn, lenet5, resnet18, preact-resnet18, wrn-16-4, or mlp:W,W,... "
      "with hidden layers of those widths; for the data's shape and classes.",
      "training", "train"},
     fg_set_path,
     FIELD(arch)},
    {{"clean-share", "SHARE", "the method's own", NULL,
      "The share of the loss that is taken on clean samples.", "training", "train"},
     fg_set_share,
     FIELD(clean_share)},
    {{"replays", "N", "8", NULL, "How often method free takes each batch in turn.", "training",
      "train"},
     fg_set_steps,
     FIELD(replays)},
    {{"beta", "NUMBER", "the method's own", NULL,
      "The weight of the divergence between clean and adversarial predictions (trades, mart).",
      "training", "train"},
     fg_set_decay,
     FIELD(beta)},
    {{"grad-align", "LAMBDA", "0, with method grad-align 0.2", NULL,
      "The weight of 1 - cos of the angle between the gradients at a sample and at a random point "
      "near it.",
      "training", "train"},
     fg_set_decay,
     FIELD(grad_align)},
    {{"gradient-penalty", "LAMBDA", "0 (none)", NULL,
      "The weight of the mean squared norm of the loss's gradient at the clean samples.",
      "training", "train"},
     fg_set_decay,
     FIELD(gradient_penalty)},
    {{"label-smoothing", "SHARE", "0 (none)", NULL,
      "The share of each label that is spread over the classes.", "training", "train"},
     fg_set_share,
     FIELD(label_smoothing)},
    {{"smoothing", "NAME", "all", "all|others",
      "Over which classes: all of them, the label's own included, as PyTorch does; or the others.",
      "training", "train"},
     fg_set_word,
     FIELD(smoothing)},
    {{"spectral-norm", "LIMIT", "0 (none)", NULL,
      "Keeps the largest singular value of every convolution and dense layer below.", "training",
      "train"},
     fg_set_decay,
     FIELD(spectral_norm)},
    {{"epochs", "N", "30", NULL, "Passes over the data.", "training", "train"},
     fg_set_count,
     FIELD(epochs)},
    {{"optimizer", "NAME", "sgd", "sgd|adam|adamw", "The optimiser.", "training", "train"},
     fg_set_word,
     FIELD(optimizer)},
    {{"lr", "NUMBER", "0.1", NULL, "The highest learning rate.", "training", "train"},
     fg_set_decay,
     FIELD(lr)},
    {{"lr-schedule", "NAME", "triangular", "constant|triangular|piecewise|cosine|one-cycle",
      "How the learning rate changes from step to step.", "training", "train"},
     fg_set_word,
     FIELD(lr_schedule)},
    {{"lr-peak", "SHARE", "0.5", NULL,
      "Where on the way the triangle or cycle has its highest rate.", "training", "train"},
     fg_set_share,
     FIELD(lr_peak)},
    {{"lr-warmup", "SHARE", "0", NULL, "The share of the way over which the rate rises from 0.",
      "training", "train"},
     fg_set_share,
     FIELD(lr_warmup)},
    {{"momentum", "NUMBER", "0.9", NULL, "Of sgd.", "training", "train"},
     fg_set_share,
     FIELD(momentum)},
    {{"nesterov", NULL, "false", NULL, "Nesterov's form of the momentum.", "training", "train"},
     fg_set_switch,
     FIELD(nesterov)},
    {{"weight-decay", "NUMBER", "5e-4", NULL, "Pulls weights towards 0.", "training", "train"},
     fg_set_decay,
     FIELD(weight_decay)},
    {{"decay-matrices", NULL, "false", NULL,
      "Weight decay leaves biases and the parameters of normalisations alone.", "training",
      "train"},
     fg_set_switch,
     FIELD(decay_matrices)},
    {{"clip-norm", "NUMBER", "0 (none)", NULL,
      "Scales the gradient down where its norm over all weights is larger.", "training", "train"},
     fg_set_decay,
     FIELD(clip_norm)},
    {{"ema", "DECAY", "0 (none)", NULL,
      "Averages the weights over the steps with this decay (0.999), and writes the average.",
      "training", "train"},
     fg_set_share,
     FIELD(ema)},
    {{"craft-norms", "NAME", "update; of trades and mart frozen", "update|batch|frozen",
      "BatchNormalization while crafting: by the batch's statistics, which the running ones "
      "follow; "
      "by the batch's alone; by the running ones.",
      "training", "train"},
     fg_set_word,
     FIELD(craft_norms)},
    {{"init", "NAME", "keep", "keep|he|torch",
      "Weights to begin with: the file's (of --arch: torch); normal (He et al. 2015); or uniform, "
      "as "
      "PyTorch's layers.",
      "training", "train"},
     fg_set_word,
     FIELD(init)},
    {{"augment", "NAME", "none", "none|crop|flip|crop-flip",
      "Random shifts by up to 4 places, and mirror images.", "training", "train"},
     fg_set_word,
     FIELD(augment)},
    {{"validation", "N", "a tenth, at most 1000", NULL,
      "Samples, the last ones, that are held out and judge every epoch.", "training", "train"},
     fg_set_count,
     FIELD(validation)},
    {{"eval-steps", "N", "10", NULL, "Steps of the PGD that judges every epoch.", "training",
      "train"},
     fg_set_steps,
     FIELD(eval_steps)},
    {{"watch", "N", "200", NULL,
      "Steps between two looks at the gap between FGSM and PGD, and at the gradients, which tell "
      "catastrophic overfitting; 0: at the end of an epoch alone.",
      "training", "train"},
     fg_set_count,
     FIELD(watch)},
    {{"on-overfit", "NAME", "continue", "continue|stop|rollback",
      "What then: go on with a warning; stop, with the weights of the last good epoch; or go back "
      "to "
      "it and craft with twice the steps for a while.",
      "training", "train"},
     fg_set_word,
     FIELD(on_overfit)},
    {{"report", "FILE", "none", NULL, "A page with the curves of the run, HTML.", "training",
      "train"},
     fg_set_path,
     FIELD(report)},
    {{"log", "FILE", "none", NULL, "A JSON object per epoch and look, one a line.", "training",
      "train"},
     fg_set_path,
     FIELD(log)},
    {{"checkpoint", "FILE", "OUT.checkpoint, where there is --out", NULL,
      "Where everything that the rest of the run depends on is kept: after every epoch, and when "
      "it "
      "is interrupted.",
      "training", "train"},
     fg_set_path,
     FIELD(checkpoint)},
    {{"resume", NULL, "false", NULL,
      "Go on from the checkpoint, if there is one: on the same machine, with the same threads, to "
      "the "
      "same weights as without the break.",
      "training", "train"},
     fg_set_switch,
     FIELD(resume)},

    {{"labels", "FILE", "found in or beside the data", NULL,
      "A file with the labels (IDX, .npy, .npz, or text with one number a line), or predicted: the "
      "model's own predictions.",
      "data", "attack convert train"},
     fg_set_path,
     FIELD(labels)},
    {{"mean", "LIST", "none", NULL,
      "Subtracted from the model's input after scale, one number or one per channel.", "data",
      "attack inspect bench train"},
     fg_set_mean,
     FIELD(mean)},
    {{"std", "LIST", "none", NULL, "Divides the model's input after mean.", "data",
      "attack inspect bench train"},
     fg_set_std,
     FIELD(std)},
    {{"scale", "NUMBER", "1", NULL,
      "Multiplies values (bytes: 0..1) before mean and std; 255 for a model that takes 0..255.",
      "data", "attack inspect bench train"},
     fg_set_ratio,
     FIELD(scale)},
    {{"clip", "LO,HI", "0,1", NULL,
      "The range that adversarial values keep to (bytes: as fractions of 255), or none.", "data",
      "attack bench train"},
     fg_set_clip,
     FIELD(clip_lo)},
    {{"data-layout", "NAME", "auto", "auto|nchw|nhwc", "How images lie in the data.", "data",
      "attack inspect bench train"},
     fg_set_word,
     FIELD(data_layout)},
    {{"start", "N", "0", NULL, "The first sample to take.", "data", "attack convert train"},
     fg_set_count,
     FIELD(start)},
    {{"limit", "N", "all", NULL, "Take at most so many samples.", "data", "attack convert train"},
     fg_set_count,
     FIELD(limit)},

    {{"out", "FILE", "measure only", NULL,
      "The adversarial dataset; the suffix chooses the format (.npy, .npz, .bin, "
      "idx...-ubyte[.gz])."
      " FILE.json and FILE.records.csv are written beside it.",
      "output", "attack train"},
     fg_set_path,
     FIELD(out)},
    {{"out-type", "TYPE", "the data's own", "u8|f32", "The type of the written values.", "output",
      "attack convert bench"},
     fg_set_word,
     FIELD(out_type)},
    {{"dot", "[=FILE]", "no graph", NULL,
      "The model as a graph for Graphviz, on standard output or in FILE: operators with shapes and "
      "work, and which of them one call computes.",
      "output", "inspect"},
     fg_set_path_or_dash,
     FIELD(dot)},
    {{"plot", "NAME", "auto", "auto|unicode|ascii",
      "How memory over time is drawn; auto: as the terminal's character set allows.", "output",
      "inspect"},
     fg_set_word,
     FIELD(plot)},
    {{"width", "N", "auto", NULL, "Columns of what is drawn; auto: the terminal's, or 80.",
      "output", "inspect"},
     fg_set_width,
     FIELD(width)},
    {{"color", "NAME", "auto", "auto|always|never",
      "Whether the peak is coloured; auto: on a terminal, unless NO_COLOR is set.", "output",
      "inspect"},
     fg_set_word,
     FIELD(color)},
    {{"json", NULL, "false", NULL, "Print one JSON object on standard output.", "output",
      "attack inspect convert devices version bench train"},
     fg_set_switch,
     FIELD(json)},
    {{"quiet", NULL, "false", NULL, "No progress bar and no notes.", "output",
      "attack inspect convert bench train"},
     fg_set_switch,
     FIELD(quiet)},
    {{"csv", NULL, "false", NULL, "Print a table of comma-separated values.", "output", "bench"},
     fg_set_switch,
     FIELD(csv)},
    {{"runs", "N", "as many as seconds allow", NULL, "Repetitions of each measurement.", "output",
      "bench"},
     fg_set_steps,
     FIELD(runs)},
    {{"seconds", "NUMBER", "3", NULL, "Time to measure each batch size, set-up aside.", "output",
      "bench"},
     fg_set_seconds,
     FIELD(seconds)},
    {{"config", "FILE", NULL, NULL,
      "Read options from lines `name = value`; the command line has the last word.", "output",
      "attack inspect convert bench train"},
     set_config,
     0,
     0},

    {{"device", "NAME", "auto", "auto|cpu|ref|cuda|cuda:N,...|cuda:all",
      "Where to compute: auto is the first card, or else the cpu; several cards share the batches; "
      "ref is the slow double-precision oracle.",
      "device", "attack inspect bench train"},
     fg_set_device,
     FIELD(device)},
    {{"precision", "NAME", "fp32", "fp32|tf32|bf16|fp16", "Arithmetic of the network.", "device",
      "attack inspect bench"},
     fg_set_word,
     FIELD(precision)},
    {{"exact", NULL, "false", NULL,
      "Convolve by plain sums alone: without it, the cpu takes Winograd's minimal filtering for "
      "3x3 "
      "convolutions where that is faster, which rounds otherwise.",
      "device", "attack inspect bench"},
     fg_set_switch,
     FIELD(exact)},
    {{"batch", "N", "64, or fewer if memory is short", NULL,
      "Samples per pass; auto finds a number by measuring; bench takes a list.", "device",
      "attack inspect bench train"},
     fg_set_batch,
     FIELD(batch)},
    {{"max-memory", "SIZE", "three quarters of what the machine, its cgroup and ulimit allow", NULL,
      "Memory to take at most, such as 2G or 512M: what would need more is refused, or with no "
      "--batch given, done in smaller batches (but for training).",
      "device", "attack inspect bench train"},
     fg_set_memory,
     FIELD(max_memory)},
    {{"threads", "N", "all that this process may use", NULL,
      "Processor threads (0: as many as affinity, cgroups and OMP_NUM_THREADS allow).", "device",
      "attack inspect bench train"},
     fg_set_threads,
     FIELD(threads)},
};

enum { ROWS = sizeof table / sizeof table[0] };
_Static_assert(ROWS <= FG_MAX_OPTIONS, "raise FG_MAX_OPTIONS");

const fgsm_option_info *fgsm_option_at(size_t i) {
  return i < ROWS ? &table[i].info : NULL;
}

/* ---- finding a row */

static size_t find(const char *name, size_t n) {
  for (size_t i = 0; i < ROWS; i++)
    if (strlen(table[i].info.name) == n && memcmp(table[i].info.name, name, n) == 0)
      return i;
  return ROWS;
}

/* Levenshtein distance, for names of at most 31 characters. */
static int distance(const char *a, const char *b) {
  int row[32], n = (int)strlen(b);
  for (int j = 0; j <= n; j++)
    row[j] = j;
  for (int i = 1; a[i - 1]; i++) {
    int corner = row[0];
    row[0] = i;
    for (int j = 1; j <= n; j++) {
      int least = corner + (a[i - 1] != b[j - 1]);
      corner = row[j];
      if (row[j] + 1 < least)
        least = row[j] + 1;
      if (row[j - 1] + 1 < least)
        least = row[j - 1] + 1;
      row[j] = least;
    }
  }
  return row[n];
}

static const char *nearest_name(const char *name) {
  const char *nearest = NULL;
  int best = 3;
  if (strlen(name) > 31)
    return NULL;
  for (size_t i = 0; i < ROWS; i++) {
    const char *other = table[i].info.name;
    bool begins = strlen(name) > 1 && strncmp(other, name, strlen(name)) == 0;
    int d = begins ? 1 : distance(name, other);
    if (d < best && d < (int)strlen(other)) {
      best = d;
      nearest = other;
    }
  }
  return nearest;
}

static fgsm_status find_row(const char *name, size_t *row) {
  *row = find(name, strlen(name));
  if (*row < ROWS)
    return FGSM_OK;
  const char *nearest = nearest_name(name);
  if (nearest)
    return FG_FAIL(USAGE, "unknown option '%.40s'; did you mean '%s'?", name, nearest);
  return FG_FAIL(USAGE, "unknown option '%.40s'; fgsm help lists them all", name);
}

static bool is_choice(const char *choices, const char *value) {
  size_t n = strlen(value);
  for (const char *c = choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL)
    if (strcspn(c, "|") == n && memcmp(c, value, n) == 0)
      return true;
  return false;
}

/* ---- options as a whole */

fgsm_status fgsm_options_create(fgsm_options **out) {
  struct fgsm_options *o = calloc(1, sizeof *o);
  if (!o)
    return FG_FAIL(MEMORY, "no memory for options");
  strcpy(o->attack, "fgsm");
  strcpy(o->loss, "ce");
  o->alpha.value = -1;
  o->decay = -1;
  o->scale = (struct fg_ratio){.value = 1, .num = 1, .den = 1, .text = "1"};
  o->clip_hi = 1;
  strcpy(o->data_layout, "auto");
  o->fail_under = -1;
  strcpy(o->method, "n-fgsm");
  o->clean_share = o->beta = o->grad_align = -1;
  strcpy(o->smoothing, "all");
  o->epochs = 30;
  strcpy(o->optimizer, "sgd");
  o->lr = 0.1;
  strcpy(o->lr_schedule, "triangular");
  o->lr_peak = 0.5;
  o->momentum = 0.9;
  o->weight_decay = 5e-4;
  strcpy(o->init, "keep");
  strcpy(o->augment, "none");
  o->validation = -1;
  o->eval_steps = 10;
  o->watch = 200;
  strcpy(o->on_overfit, "continue");
  strcpy(o->device, "auto");
  strcpy(o->precision, "fp32");
  strcpy(o->plot, "auto");
  strcpy(o->color, "auto");
  o->batch = o->batches[0] = FG_USUAL_BATCH;
  o->n_batches = 1;
  o->seconds = 3;
  *out = o;
  return FGSM_OK;
}

void fgsm_options_destroy(fgsm_options *options) {
  if (!options)
    return;
  for (size_t i = 0; i < ROWS; i++)
    free(options->text[i]);
  free(options->eps_map);
  free(options->mask);
  free(options->functional);
  free(options->target);
  free(options->input);
  free(options->output);
  free(options->feed);
  free(options->labels);
  free(options->out);
  free(options->dot);
  free(options->arch);
  free(options->log);
  free(options->report);
  free(options->checkpoint);
  free(options);
}

static fgsm_status set_row(struct fgsm_options *o, const struct row *row, const char *value) {
  if (strlen(value) > MAX_TEXT)
    return FG_FAIL(USAGE, "it is longer than %d characters", MAX_TEXT);
  if (row->set == fg_set_word && row->info.choices && !is_choice(row->info.choices, value))
    return FG_FAIL(USAGE, "'%.40s' is none of %s", value, row->info.choices);
  return row->set(o, row->field, row->size, value);
}

fgsm_status fgsm_options_set(fgsm_options *options, const char *name, const char *value) {
  size_t i;
  if (!options || !name)
    return FG_FAIL(USAGE, "fgsm_options_set: options and name must not be NULL");
  FG_TRY(find_row(name, &i));
  const char *argument = table[i].info.argument;
  if (!value && argument && *argument != '[')
    return FG_FAIL(USAGE, "option '%s' needs a value: %s", name, argument);
  char *text = strdup(value && *value ? value : argument ? "" : "true");
  if (!text)
    return FG_FAIL(MEMORY, "no memory for an option");
  fgsm_status status = set_row(options, &table[i], text);
  if (status != FGSM_OK) {
    free(text);
    if (table[i].set == set_config)
      return status;
    char reason[768];
    fg_error_copy(reason, sizeof reason);
    return fg_fail(status, __FILE__, __LINE__, "option '%s': %s", name, reason);
  }
  free(options->text[i]);
  options->text[i] = text;
  return FGSM_OK;
}

bool fg_options_given(const struct fgsm_options *options, const char *name) {
  size_t i = find(name, strlen(name));
  return i < ROWS && options->text[i];
}

const char *fgsm_options_get(const fgsm_options *options, const char *name) {
  size_t i = options && name ? find(name, strlen(name)) : ROWS;
  if (i == ROWS)
    return NULL;
  return options->text[i] ? options->text[i] : table[i].info.initial;
}
