/* Cases as processes, and the files that they leave each other. */
#include "choosing.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_dnn.h"

static char folder[] = "/tmp/fgsm-choice-XXXXXX", kept[sizeof folder + 8];

bool choosing_passes(void (*begin)(void), void (*test)(void), const char *name) {
  int status = 0;
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    begin();
    test();
    fflush(stdout);
    exit(fake_errors != 0);
  }
  bool good = child > 0 && waitpid(child, &status, 0) == child && status == 0;
  printf("%s %s\n", good ? "ok  " : "FAIL", name);
  return good;
}

static void (*then)(void); /* of choosing_anew */
static struct fg_device *const *opened;

static void another_version_chooses(void) {
  fake_dnn.version++;
  then();
}

static void another_card_chooses(void) {
  strcat(fake_card.card, ", with more memory");
  then();
}

static void another_precision_chooses(void) {
  (*opened)->precision = FG_PRECISION_tf32;
  then();
}

int choosing_anew(void (*begin)(void), void (*chooses)(void), struct fg_device *const *device) {
  then = chooses;
  opened = device;
  return !choosing_passes(begin, another_version_chooses, "another_version_chooses") +
         !choosing_passes(begin, another_card_chooses, "another_card_chooses") +
         !choosing_passes(begin, another_precision_chooses, "another_precision_chooses");
}

bool choosing_keeps(void (*begin)(void), void (*test)(void), const char *name) {
  if (!mkdtemp(folder) || setenv("XDG_CACHE_HOME", folder, 1) != 0)
    return false;
  snprintf(kept, sizeof kept, "%s/fgsm", folder);
  if (!choosing_passes(begin, test, name)) /* which makes the folder */
    return false;
  if (chdir(kept) == 0 && choosing_forgets() == 1)
    return true;
  printf("FAIL %s: %s\n", kept, strerror(errno));
  return false;
}

void choosing_ends(void) {
  choosing_forgets();
  if (chdir("/") != 0 || rmdir(kept) != 0 || rmdir(folder) != 0)
    printf("%s is left\n", folder);
}

int choosing_spoils(long from_end, bool cut) {
  DIR *dir = opendir(".");
  struct dirent *entry;
  int n = 0;
  while (dir && (entry = readdir(dir))) {
    FILE *file = strstr(entry->d_name, ".choice") ? fopen(entry->d_name, "r+") : NULL;
    if (!file)
      continue;
    fseek(file, -from_end, SEEK_END);
    long at = ftell(file);
    int c = fgetc(file);
    fseek(file, at, SEEK_SET);
    if (!cut)
      fputc(c == '1' ? '2' : '1', file);
    n += fclose(file) == 0 && (!cut || truncate(entry->d_name, at) == 0);
  }
  if (dir)
    closedir(dir);
  return n;
}

int choosing_forgets(void) {
  DIR *dir = opendir(".");
  struct dirent *entry;
  int n = 0;
  while (dir && (entry = readdir(dir)))
    n += strstr(entry->d_name, ".choice") && unlink(entry->d_name) == 0;
  if (dir)
    closedir(dir);
  return n;
}
