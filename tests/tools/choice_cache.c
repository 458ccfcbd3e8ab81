/* The plugin's cache of choices, one call a process, for test_choice_cache.sh:
 *   choice-cache keep KEY TEXT | find KEY       find prints the text; 1 if there is none */
#include "choice_cache.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

void fg_plugin_log(fgsm_log_level level, const char *format, ...) {
  va_list args;
  (void)level;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
}

int main(int argc, char **argv) {
  if (argc == 4 && strcmp(argv[1], "keep") == 0) {
    fg_choice_keep(argv[2], argv[3]);
    char *again = fg_choice_find(argv[2]); /* from memory, whatever the disk did */
    bool same = again && strcmp(again, argv[3]) == 0;
    free(again);
    return !same;
  }
  if (argc != 3 || strcmp(argv[1], "find") != 0)
    return 2;
  char *text = fg_choice_find(argv[2]);
  if (!text)
    return 1;
  printf("%s\n", text);
  free(text);
  return 0;
}
