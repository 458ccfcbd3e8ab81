/* The command, which knows the library through fgsm.h alone. A command is a row of a table
 * (main.c); its options are the rows of the library's option table that name it. */
#ifndef FG_CLI_H
#define FG_CLI_H

#include <stdbool.h>
#include <stdio.h>

#include "fgsm.h"

struct call; /* one invocation */

struct command {
  const char *name;
  const char *usage;   /* what follows the name */
  const char *summary; /* one sentence; NULL: not listed */
  int least, most;     /* arguments that are not options */
  fgsm_status (*run)(const struct call *call);
};

struct call {
  const struct command *command;
  fgsm_options *options;
  char **args;
  int n_args;
};

/* The i-th command, NULL past the end; by name, NULL if unknown. */
const struct command *cli_command_at(int i);
const struct command *cli_command_find(const char *name);

/* Whether the option is one of the command's. */
bool cli_takes(const struct command *command, const fgsm_option_info *option);
/* Whether it must be given a value: no switch, and no value that may be left out ("[=FILE]"). */
bool cli_needs_value(const fgsm_option_info *option);
/* Whether a switch is on. */
bool cli_switch(const struct call *call, const char *name);

/* A failure of the command itself: keeps the words for the end, and hands the status on. */
fgsm_status cli_fail(fgsm_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- the commands */
fgsm_status cli_attack(const struct call *call);
fgsm_status cli_train(const struct call *call);
fgsm_status cli_inspect(const struct call *call);
fgsm_status cli_bench(const struct call *call);
fgsm_status cli_convert(const struct call *call);
fgsm_status cli_devices(const struct call *call);
fgsm_status cli_version(const struct call *call);
fgsm_status cli_help(const struct call *call);
fgsm_status cli_man(const struct call *call);
fgsm_status cli_completions(const struct call *call);

/* The help of one command, or of all (NULL). */
void cli_print_help(FILE *to, const struct command *command);

/* The attack's result, read from its JSON text, as a table for people. */
fgsm_status cli_print_summary(const char *json);

/* The columns of the terminal that a file is; COLUMNS where it is none; 0 if nobody knows. */
int cli_columns(int file);

/* Settles what the options leave to the terminal that standard output is, or is not: width, the
 * characters that it can show, colour. */
fgsm_status cli_suit_terminal(fgsm_options *options);

/* ---- progress: a bar on standard error if that is a terminal */

struct progress {
  bool on, color;
  double drawn; /* seconds at the last drawing */
};
void cli_progress_begin(struct progress *progress, bool quiet);
void cli_progress_show(void *progress, const fgsm_progress *state);
void cli_progress_train(void *progress, const fgsm_train_progress *state);
void cli_progress_end(struct progress *progress);

/* Receives the library's messages. */
void cli_log(void *progress, fgsm_log_level level, const char *message);

#endif
