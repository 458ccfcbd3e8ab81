/* Help for people: `fgsm help`, `fgsm help COMMAND`, `--help`. All of it comes from the two tables.
 */
#include <string.h>

#include "cli.h"

enum { COLUMNS = 80, INDENT = 6 };

static const char *const groups[] = {"attack", "training", "data", "output", "device"};

/* Words of `text` from column INDENT on, in lines of at most COLUMNS. */
static void print_wrapped(FILE *to, const char *text) {
  size_t column = 0;
  for (const char *word = text; *word;) {
    size_t n = strcspn(word, " ");
    if (column == 0 || column + 1 + n > COLUMNS) {
      fprintf(to, "%s%*s", column ? "\n" : "", INDENT, "");
      column = INDENT;
    } else {
      fputc(' ', to);
      column++;
    }
    fprintf(to, "%.*s", (int)n, word);
    column += n;
    word += n;
    word += strspn(word, " ");
  }
  fputc('\n', to);
}

static void print_option(FILE *to, const fgsm_option_info *o) {
  char text[1024];
  fprintf(to, "  --%s%s%s\n", o->name, cli_needs_value(o) ? " " : "",
          o->argument ? o->argument : "");
  int n = snprintf(text, sizeof text, "%s", o->help);
  if (o->choices && n > 0 && (size_t)n < sizeof text)
    n += snprintf(text + n, sizeof text - (size_t)n, " One of %s.", o->choices);
  if (o->initial && o->argument && n > 0 && (size_t)n < sizeof text)
    snprintf(text + n, sizeof text - (size_t)n, " Default: %s.", o->initial);
  print_wrapped(to, text);
}

static void print_options(FILE *to, const struct command *command) {
  const fgsm_option_info *o;
  for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
    bool titled = false;
    for (size_t i = 0; (o = fgsm_option_at(i)); i++) {
      if (strcmp(o->group, groups[g]) != 0 || !cli_takes(command, o))
        continue;
      if (!titled)
        fprintf(to, "\n%c%s options\n", groups[g][0] - 'a' + 'A', groups[g] + 1);
      titled = true;
      print_option(to, o);
    }
  }
}

static void print_overview(FILE *to) {
  const struct command *c;
  fprintf(to, "fgsm attacks neural networks with the fast gradient sign method and its kin.\n\n");
  for (int i = 0; (c = cli_command_at(i)); i++)
    if (c->summary)
      fprintf(to, "  fgsm %s %s\n      %s\n", c->name, c->usage, c->summary);
  fprintf(to, "\n`fgsm help COMMAND` lists a command's options.\n"
              "Exit codes: 0 done, 1 a --fail-under check failed, 2 usage, 3 model, 4 data,\n"
              "5 device, 6 internal, 130 interrupted.\n");
}

void cli_print_help(FILE *to, const struct command *command) {
  if (!command) {
    print_overview(to);
    return;
  }
  fprintf(to, "fgsm %s %s\n\n%s\n", command->name, command->usage,
          command->summary ? command->summary : "");
  print_options(to, command);
}

fgsm_status cli_help(const struct call *call) {
  const struct command *command = NULL;
  if (call->n_args && !(command = cli_command_find(call->args[0])))
    return cli_fail(FGSM_USAGE, "there is no command '%.40s'", call->args[0]);
  cli_print_help(stdout, command);
  return FGSM_OK;
}
