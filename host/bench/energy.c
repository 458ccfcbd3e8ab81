/* Meters: the processor's through the powercap files (RAPL), the card's through NVML, which is
 * opened at run time so that nothing depends on it. */
#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { MOST_DOMAINS = 16, MAX_PATH = 512 };

struct fg_meter {
  /* RAPL: microjoules, which wrap */
  int n_domains;
  struct {
    char path[MAX_PATH];
    double range, last;
  } domains[MOST_DOMAINS];
  /* NVML: millijoules */
  void *library, *card;
  int (*shut_down)(void);
  int (*total_energy)(void *card, unsigned long long *millijoules);
  unsigned long long last;
};

static bool read_number(const char *path, double *out) {
  FILE *f = fopen(path, "re");
  if (!f)
    return false;
  bool found = fscanf(f, "%lf", out) == 1;
  fclose(f);
  return found;
}

/* A package ("intel-rapl:0"); its parts ("intel-rapl:0:1") are within it already. */
static bool is_package(const char *name) {
  const char *colon = strchr(name, ':');
  return colon && !strchr(colon + 1, ':');
}

static void open_rapl(struct fg_energy *e, const char *root) {
  struct fg_meter *m = e->meter;
  DIR *folder = opendir(root);
  bool hidden = false;
  for (struct dirent *entry; folder && (entry = readdir(folder));) {
    char range[MAX_PATH + 32];
    if (!is_package(entry->d_name) || m->n_domains == MOST_DOMAINS)
      continue;
    char *path = m->domains[m->n_domains].path;
    if (snprintf(path, MAX_PATH, "%.200s/%.200s/energy_uj", root, entry->d_name) >= MAX_PATH)
      continue;
    snprintf(range, sizeof range, "%.200s/%.200s/max_energy_range_uj", root, entry->d_name);
    if (read_number(range, &m->domains[m->n_domains].range) &&
        read_number(path, &m->domains[m->n_domains].last))
      m->n_domains++;
    else
      hidden = true;
  }
  if (folder)
    closedir(folder);
  e->available = m->n_domains > 0;
  snprintf(e->source, sizeof e->source, "%s",
           e->available ? "RAPL"
           : hidden     ? "unavailable: the processor's meters may not be read (root may)"
                        : "unavailable: no meter of the processor's is to be found");
}

/* A function of the library's, as a pointer of the right kind. */
static bool find(void *library, const char *name, void *function) {
  void *symbol = dlsym(library, name);
  memcpy(function, &symbol, sizeof symbol);
  return symbol != NULL;
}

static void open_nvml(struct fg_energy *e, const char *name, const char *card) {
  struct fg_meter *m = e->meter;
  int (*initialise)(void) = NULL, (*handle)(const char *, void **) = NULL;
  m->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  bool whole = m->library && find(m->library, "nvmlInit_v2", &initialise) &&
               find(m->library, "nvmlShutdown", &m->shut_down) &&
               find(m->library, "nvmlDeviceGetHandleByPciBusId_v2", &handle) &&
               find(m->library, "nvmlDeviceGetTotalEnergyConsumption", &m->total_energy);
  if (whole && initialise() != 0) {
    whole = false;
    m->shut_down = NULL;
  }
  bool found = whole && handle(card, &m->card) == 0;
  e->available = found && m->total_energy(m->card, &m->last) == 0;
  snprintf(e->source, sizeof e->source, "%s",
           e->available ? "NVML"
           : found      ? "unavailable: NVML does not tell the card's energy"
           : m->library ? "unavailable: NVML does not know the card"
                        : "unavailable: NVML is not to be found");
}

void fg_energy_open(struct fg_energy *e, const char *powercap, const char *nvml, const char *card) {
  *e = (struct fg_energy){.meter = calloc(1, sizeof *e->meter)};
  if (!e->meter)
    snprintf(e->source, sizeof e->source, "unavailable: no memory");
  else if (card)
    open_nvml(e, nvml, card);
  else
    open_rapl(e, powercap);
}

void fg_energy_close(struct fg_energy *e) {
  if (!e->meter)
    return;
  if (e->meter->library) {
    if (e->meter->shut_down)
      e->meter->shut_down();
    dlclose(e->meter->library);
  }
  free(e->meter);
  e->meter = NULL;
}

/* Reads the meters; the joules since the last reading. */
static double advance(struct fg_energy *e) {
  struct fg_meter *m = e->meter;
  double joules = 0;
  if (m->card) {
    unsigned long long now = m->last;
    e->available &= m->total_energy(m->card, &now) == 0;
    joules = (double)(now - m->last) * 1e-3;
    m->last = now;
    return joules;
  }
  for (int i = 0; i < m->n_domains; i++) {
    double now = m->domains[i].last;
    e->available &= read_number(m->domains[i].path, &now);
    double spent = now - m->domains[i].last;
    joules += (spent < 0 ? spent + m->domains[i].range : spent) * 1e-6;
    m->domains[i].last = now;
  }
  return joules;
}

void fg_energy_start(struct fg_energy *e) {
  if (e->available)
    (void)advance(e);
}

void fg_energy_stop(struct fg_energy *e) {
  if (e->available)
    e->joules += advance(e);
}
