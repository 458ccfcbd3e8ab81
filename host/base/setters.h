/* Setters: text -> field of struct fgsm_options. `field` and `size` say where the field lies;
 * FGSM_USAGE with the reason (without the option's name, which the table adds), and the field
 * unchanged. */
#ifndef FG_SETTERS_H
#define FG_SETTERS_H

#include "options.h"

typedef fgsm_status fg_set_fn(struct fgsm_options *o, size_t field, size_t size, const char *value);

fg_set_fn fg_set_word;
fg_set_fn fg_set_path;
fg_set_fn fg_set_path_or_dash;
fg_set_fn fg_set_switch;
fg_set_fn fg_set_ratio;
fg_set_fn fg_set_steps;
fg_set_fn fg_set_threads;
fg_set_fn fg_set_width;
fg_set_fn fg_set_count;
fg_set_fn fg_set_batch;
fg_set_fn fg_set_memory;
fg_set_fn fg_set_decay;
fg_set_fn fg_set_share;
fg_set_fn fg_set_seconds;
fg_set_fn fg_set_mean;
fg_set_fn fg_set_std;
fg_set_fn fg_set_clip;
fg_set_fn fg_set_harden;
fg_set_fn fg_set_functional;
fg_set_fn fg_set_eps;
fg_set_fn fg_set_device;
fg_set_fn fg_set_feed;
fg_set_fn fg_set_config; /* all that a file says */

/* An option: what people read of it, and how it is set. */
struct fg_option_row {
  fgsm_option_info info;
  fg_set_fn *set;
  size_t field, size;
};
extern const struct fg_option_row fg_option_rows[]; /* option_table.c */
extern const size_t fg_option_count;

#endif
