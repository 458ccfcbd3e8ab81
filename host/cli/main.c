/* The command's frame: finds the command, hands its options to the library, and turns the status
 * into an exit code. Standard output holds the result and nothing else; everything else goes to
 * standard error. The first SIGINT, SIGTERM or SIGHUP asks the library to stop, the second kills.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

enum { MAX_OPTIONS = 128, HELP = 1000, FIRST = 1001 };

static const struct command commands[] = {
    {"attack", "MODEL DATA --eps EPS [--out OUT]", "Attack a dataset through an ONNX model.", 2, 2,
     cli_attack},
    {"train", "MODEL|--arch=NAME DATA --method NAME --eps EPS [--out OUT]",
     "Train an ONNX model, or a built-in architecture, on adversarial samples.", 1, 2, cli_train},
    {"inspect", "MODEL", "Show a model's operators, shapes, cost, and what is unsupported.", 1, 1,
     cli_inspect},
    {"bench", "MODEL", "Measure how fast a model is attacked, and what the machine allows.", 1, 1,
     cli_bench},
    {"convert", "DATA OUT", "Copy a dataset into another format.", 2, 2, cli_convert},
    {"devices", "", "List the devices that can compute here.", 0, 0, cli_devices},
    {"version", "", "Print the version.", 0, 0, cli_version},
    {"help", "[COMMAND]", "Explain the command, or one of its commands.", 0, 1, cli_help},
    {"man", "", NULL, 0, 0, cli_man},
    {"completions", "bash|zsh|fish", NULL, 1, 1, cli_completions},
};

static char own_error[1024]; /* of the command itself; else the library's counts */

fgsm_status cli_fail(fgsm_status status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(own_error, sizeof own_error, format, args);
  va_end(args);
  return status;
}

const struct command *cli_command_at(int i) {
  return i >= 0 && i < (int)(sizeof commands / sizeof *commands) ? &commands[i] : NULL;
}

const struct command *cli_command_find(const char *name) {
  const struct command *command;
  for (int i = 0; (command = cli_command_at(i)); i++)
    if (strcmp(command->name, name) == 0)
      return command;
  return NULL;
}

bool cli_takes(const struct command *command, const fgsm_option_info *option) {
  size_t n = strlen(command->name);
  for (const char *word = option->commands; *word; word += strcspn(word, " "), word += *word == ' ')
    if (strcspn(word, " ") == n && strncmp(word, command->name, n) == 0)
      return true;
  return false;
}

bool cli_needs_value(const fgsm_option_info *option) {
  return option->argument && *option->argument != '[';
}

bool cli_switch(const struct call *call, const char *name) {
  const char *value = fgsm_options_get(call->options, name);
  return value && strcmp(value, "true") == 0;
}

/* ---- options */

/* What getopt_long knows: the command's options by their row, and --help. */
static void list_options(const struct command *command, struct option *list) {
  const fgsm_option_info *row;
  int n = 0;
  for (size_t i = 0; (row = fgsm_option_at(i)) && n < MAX_OPTIONS - 2; i++)
    if (cli_takes(command, row))
      list[n++] =
          (struct option){row->name, cli_needs_value(row) ? required_argument : optional_argument,
                          NULL, FIRST + (int)i};
  list[n++] = (struct option){"help", no_argument, NULL, HELP};
  list[n] = (struct option){NULL, 0, NULL, 0};
}

/* Why getopt_long did not take a word: unknown, another command's, ambiguous, or without a value.
 */
static fgsm_status refuse(const struct command *command, fgsm_options *options, const char *word,
                          bool value_missing) {
  char name[64];
  const fgsm_option_info *row;
  if (optopt > 0 && optopt < HELP)
    return cli_fail(FGSM_USAGE, "unknown option '-%c'; options are written --name value", optopt);
  snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
  for (size_t i = 0; (row = fgsm_option_at(i)); i++)
    if (strcmp(row->name, name) == 0 && !cli_takes(command, row))
      return cli_fail(FGSM_USAGE, "option --%s is for %s, not for %s", name, row->commands,
                      command->name);
  if (value_missing)
    return cli_fail(FGSM_USAGE, "option --%s needs a value", name);
  if (strcmp(name, "help") == 0)
    return cli_fail(FGSM_USAGE, "option --help takes no value");
  return fgsm_options_set(options, name, NULL);
}

/* Applies the words of argv: --config files first, so that the command line has the last word. */
static fgsm_status read_options(struct call *call, int argc, char **argv, bool configs,
                                bool *help) {
  struct option list[MAX_OPTIONS];
  list_options(call->command, list);
  opterr = 0;
  optind = 0;
  for (;;) {
    int found = getopt_long(argc, argv, ":hq", list, NULL);
    if (found < 0)
      break;
    if (found == 'h' || found == HELP) {
      *help = true;
      return FGSM_OK;
    }
    if (found == ':' || found == '?')
      return refuse(call->command, call->options, argv[optind - 1], found == ':');
    const char *name = found == 'q' ? "quiet" : fgsm_option_at((size_t)(found - FIRST))->name;
    if ((strcmp(name, "config") == 0) != configs)
      continue;
    fgsm_status status = fgsm_options_set(call->options, name, optarg);
    if (status != FGSM_OK)
      return status;
  }
  call->args = argv + optind;
  call->n_args = argc - optind;
  return FGSM_OK;
}

static fgsm_status check_args(const struct call *call) {
  const struct command *c = call->command;
  if (call->n_args < c->least)
    return cli_fail(FGSM_USAGE, "too few arguments: fgsm %s %s", c->name, c->usage);
  if (call->n_args > c->most)
    return cli_fail(FGSM_USAGE, "one argument too many: '%.200s'; fgsm %s %s", call->args[c->most],
                    c->name, c->usage);
  return FGSM_OK;
}

/* ---- running */

/* The first signal asks the library to stop. A later one kills; one right behind the first is its
 * echo (timeout(1) signals the process and then its group). */
static void on_signal(int number) {
  static volatile sig_atomic_t asked;
  static struct timespec first;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (!asked) {
    asked = 1;
    first = now;
    fgsm_interrupt();
  } else if ((double)(now.tv_sec - first.tv_sec) + 1e-9 * (double)(now.tv_nsec - first.tv_nsec) >
             0.3) {
    signal(number, SIG_DFL);
    raise(number);
  }
}

/* A signal that the caller had us ignore (nohup, a shell's background job) stays ignored. SIGPIPE
 * and SIGXFSZ are ignored, so that a closed pipe or a file limit is an error and not a death that
 * leaves half-written files. */
static void catch_signals(void) {
  static const int stopping[] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction stop = {.sa_handler = on_signal}, before;
  sigemptyset(&stop.sa_mask);
  for (size_t i = 0; i < sizeof stopping / sizeof *stopping; i++)
    sigaddset(&stop.sa_mask, stopping[i]);
  for (size_t i = 0; i < sizeof stopping / sizeof *stopping; i++)
    if (sigaction(stopping[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
      sigaction(stopping[i], &stop, NULL);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
}

static fgsm_status run(struct call *call, int argc, char **argv) {
  bool help = false;
  fgsm_status status = read_options(call, argc, argv, true, &help);
  if (status == FGSM_OK && !help)
    status = read_options(call, argc, argv, false, &help);
  if (status == FGSM_OK && help) {
    cli_print_help(stdout, call->command);
    return FGSM_OK;
  }
  if (status == FGSM_OK)
    status = check_args(call);
  return status == FGSM_OK ? call->command->run(call) : status;
}

/* Whether nobody reads standard output any more: an earlier write may have met it, and kept no errno. */
static bool nobody_reads(void) {
  struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
  return poll(&out, 1, 0) == 1 && (out.revents & POLLERR);
}

/* Says why, and gives the exit code. A closed pipe ends as it would have without us: by SIGPIPE. */
static int finish(const struct command *command, fgsm_status status) {
  errno = 0;
  bool written = fflush(stdout) == 0 && !ferror(stdout);
  if (!written && (errno == EPIPE || nobody_reads())) {
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
  }
  if (!written && status == FGSM_OK)
    status = cli_fail(FGSM_IO, "standard output: %s", errno ? strerror(errno) : "write failed");
  if (status == FGSM_OK)
    return 0;
  const char *reason = *own_error ? own_error : fgsm_last_error();
  fprintf(stderr, "fgsm: %s\n", *reason ? reason : fgsm_status_text(status));
  if (status == FGSM_USAGE)
    fprintf(stderr, "fgsm: `fgsm help%s%s` explains the options\n", command ? " " : "",
            command ? command->name : "");
  return fgsm_status_exit_code(status);
}

int main(int argc, char **argv) {
  struct call call = {0};
  catch_signals();
  if (argc < 2) {
    cli_print_help(stderr, NULL);
    return fgsm_status_exit_code(FGSM_USAGE);
  }
  const char *word = argv[1];
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
    word = "help";
  else if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
    word = "version";
  call.command = cli_command_find(word);
  if (!call.command)
    return finish(NULL, cli_fail(FGSM_USAGE, "there is no command '%.40s'", word));
  fgsm_status status = fgsm_options_create(&call.options);
  if (status == FGSM_OK)
    status = run(&call, argc - 1, argv + 1);
  int code = finish(call.command, status);
  fgsm_options_destroy(call.options);
  return code;
}
