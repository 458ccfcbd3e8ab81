/* The cache of choices, one call a process, for test_choice_cache.sh:
 *   choice-cache keep KEY TEXT | find KEY       find prints the text; 1 if there is none */
#include "choice_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  if (argc == 4 && strcmp(argv[1], "keep") == 0) {
    if (!fg_choice_keep(argv[2], argv[3]))
      fputs("kept in memory alone\n", stderr);
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
