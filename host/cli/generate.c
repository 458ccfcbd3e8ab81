/* What the build makes of the two tables: the manual page and completions for three shells. The
 * commands `man` and `completions` are not listed in the help. */
#include <string.h>

#include "cli.h"

/* ---- manual page */

/* roff: a backslash and a leading dot or quote would be read as commands; - is a minus. */
static void put_roff(const char *text) {
  for (const char *c = text; *c; c++)
    if (*c == '\\')
      fputs("\\e", stdout);
    else if (*c == '-')
      fputs("\\-", stdout);
    else if (c == text && (*c == '.' || *c == '\''))
      printf("\\&%c", *c);
    else
      putchar(*c);
}

static void man_option(const fgsm_option_info *o) {
  fputs(".TP\n.B \\-\\-", stdout);
  put_roff(o->name);
  if (o->argument) {
    fputs(cli_needs_value(o) ? " \\fI" : "\\fI", stdout);
    put_roff(o->argument);
    fputs("\\fR", stdout);
  }
  putchar('\n');
  put_roff(o->help);
  if (o->choices) {
    fputs(" One of ", stdout);
    put_roff(o->choices);
    putchar('.');
  }
  if (o->initial && o->argument) {
    fputs(" Default: ", stdout);
    put_roff(o->initial);
    putchar('.');
  }
  printf(" (%s)\n", o->commands);
}

fgsm_status cli_man(const struct call *call) {
  const struct command *c;
  const fgsm_option_info *o;
  (void)call;
  printf(".TH FGSM 1 \"\" \"fgsm %s\" \"User Commands\"\n", fgsm_version());
  puts(
      ".SH NAME\nfgsm \\- attack neural networks with the fast gradient sign method and its kin\n"
      ".SH SYNOPSIS\n.B fgsm\n.I COMMAND\n[\\fIOPTION\\fR]... \\fIFILE\\fR...\n.SH DESCRIPTION\n"
      "An ONNX model and a dataset go in; a verified adversarial dataset and its measurements come "
      "out.\nResults go to standard output, messages to standard error.\n.SH COMMANDS");
  for (int i = 0; (c = cli_command_at(i)); i++)
    if (c->summary) {
      printf(".TP\n.B fgsm %s \\fR", c->name);
      put_roff(c->usage);
      putchar('\n');
      put_roff(c->summary);
      putchar('\n');
    }
  puts(".SH OPTIONS\nThe commands that take an option stand behind it.");
  for (size_t i = 0; (o = fgsm_option_at(i)); i++)
    man_option(o);
  puts(".SH FILES\nBeside every output \\fIOUT\\fR lie \\fIOUT\\fR.json, which says how it came "
       "about (versions, hashes, options, seed, results), and \\fIOUT\\fR.records.csv with one row "
       "per sample. A file under its final name is complete.\n"
       ".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nNo colours in the progress bar.\n.TP\n.B FGSM_LOG\n"
       "error, warning, info or debug: which messages appear.\n"
       ".SH EXIT STATUS\n0 done; 1 a \\-\\-fail\\-under check failed; 2 usage; 3 unsupported or "
       "invalid model; 4 invalid or unreadable data; 5 device; 6 internal; 130 interrupted.");
  return FGSM_OK;
}

/* ---- completions */

static bool is_path(const fgsm_option_info *o) {
  return o->argument && !o->choices && strstr(o->argument, "FILE");
}

static void put_words(const char *choices) {
  for (const char *c = choices; *c; c++)
    putchar(*c == '|' ? ' ' : *c);
}

/* Text inside single quotes of sh, zsh and fish; : and [ mean something to zsh's _arguments. */
static void put_quoted(const char *text, const char *special) {
  for (const char *c = text; *c; c++) {
    if (*c == '\'')
      fputs("'\\''", stdout);
    else if (strchr(special, *c))
      printf("\\%c", *c);
    else
      putchar(*c);
  }
}

static void bash(void) {
  const struct command *c;
  const fgsm_option_info *o;
  puts("# bash completion for fgsm\n_fgsm() {\n  local cur=${COMP_WORDS[COMP_CWORD]} "
       "prev=${COMP_WORDS[COMP_CWORD-1]}\n  COMPREPLY=()\n  if [ \"$COMP_CWORD\" -eq 1 ]; then");
  fputs("    COMPREPLY=($(compgen -W '", stdout);
  for (int i = 0; (c = cli_command_at(i)); i++)
    if (c->summary)
      printf("%s%s", i ? " " : "", c->name);
  puts("' -- \"$cur\"))\n    return\n  fi\n  case $prev in");
  for (size_t i = 0; (o = fgsm_option_at(i)); i++)
    if (o->argument && o->choices) {
      printf("  --%s) COMPREPLY=($(compgen -W '", o->name);
      put_words(o->choices);
      puts("' -- \"$cur\")); return ;;");
    }
  puts("  esac\n  case $cur in\n  -*)\n    case ${COMP_WORDS[1]} in");
  for (int i = 0; (c = cli_command_at(i)); i++) {
    if (!c->summary)
      continue;
    printf("    %s) COMPREPLY=($(compgen -W '--help", c->name);
    for (size_t k = 0; (o = fgsm_option_at(k)); k++)
      if (cli_takes(c, o))
        printf(" --%s", o->name);
    puts("' -- \"$cur\")) ;;");
  }
  puts("    esac\n    return ;;\n  esac\n  COMPREPLY=($(compgen -f -- \"$cur\"))\n}\n"
       "complete -o filenames -F _fgsm fgsm");
}

static void zsh(void) {
  const struct command *c;
  const fgsm_option_info *o;
  puts("#compdef fgsm\n_fgsm() {\n  if (( CURRENT == 2 )); then\n    local -a commands=(");
  for (int i = 0; (c = cli_command_at(i)); i++)
    if (c->summary) {
      printf("      '%s:", c->name);
      put_quoted(c->summary, "");
      puts("'");
    }
  puts("    )\n    _describe command commands\n    return\n  fi\n  case $words[2] in");
  for (int i = 0; (c = cli_command_at(i)); i++) {
    if (!c->summary)
      continue;
    printf("  %s) _arguments", c->name);
    for (size_t k = 0; (o = fgsm_option_at(k)); k++) {
      if (!cli_takes(c, o))
        continue;
      printf(" \\\n    '--%s[", o->name);
      put_quoted(o->help, "[]:");
      fputs("]", stdout);
      if (cli_needs_value(o))
        printf(":%s:", o->argument);
      if (o->argument && o->choices) {
        fputs("(", stdout);
        put_words(o->choices);
        fputs(")", stdout);
      } else if (is_path(o) && cli_needs_value(o)) {
        fputs("_files", stdout);
      }
      fputs("'", stdout);
    }
    puts(" \\\n    '*:file:_files' ;;");
  }
  puts("  esac\n}\n_fgsm \"$@\"");
}

static void fish(void) {
  const struct command *c;
  const fgsm_option_info *o;
  for (int i = 0; (c = cli_command_at(i)); i++)
    if (c->summary) {
      printf("complete -c fgsm -f -n __fish_use_subcommand -a %s -d '", c->name);
      put_quoted(c->summary, "");
      puts("'");
    }
  for (size_t i = 0; (o = fgsm_option_at(i)); i++) {
    printf("complete -c fgsm -n '__fish_seen_subcommand_from %s' -l %s", o->commands, o->name);
    if (cli_needs_value(o))
      fputs(is_path(o) ? " -r" : " -x", stdout);
    if (o->argument && o->choices) {
      fputs(" -a '", stdout);
      put_words(o->choices);
      fputs("'", stdout);
    }
    fputs(" -d '", stdout);
    put_quoted(o->help, "");
    puts("'");
  }
}

fgsm_status cli_completions(const struct call *call) {
  const char *shell = call->args[0];
  if (strcmp(shell, "bash") == 0)
    bash();
  else if (strcmp(shell, "zsh") == 0)
    zsh();
  else if (strcmp(shell, "fish") == 0)
    fish();
  else
    return cli_fail(FGSM_USAGE, "completions are for bash, zsh and fish, not '%.40s'", shell);
  return FGSM_OK;
}
