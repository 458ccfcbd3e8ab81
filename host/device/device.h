/* Where to compute: the one place that knows which backends there are, and turns what a user names
 * (option "device") into devices. cpu and ref are part of the library; cuda is a plugin, opened when
 * it is first asked for. And with whom: the processes that compute together (ranks.h), which meet
 * through another plugin. */
#ifndef FG_DEVICE_H
#define FG_DEVICE_H

#include "options.h"
#include "ranks.h"

/* The devices that an option names: of one backend, numbered. */
struct fg_device_choice {
  const struct fg_backend *backend;
  int n;
  int index[FG_MOST_DEVICES];
};

/* The i-th backend's name, in the order of being listed; NULL past the end. */
const char *fg_backend_name(int i);
/* A backend by name, its plugin loaded. FGSM_USAGE for an unknown name; FGSM_DEVICE with what to do
 * about it where the plugin is missing, does not load, or is of another fgsm. */
fgsm_status fg_backend_find(const char *name, const struct fg_backend **out) FGSM_MUST_USE;

/* What `name` (auto, cpu, ref, cuda, cuda:1, cuda:0,1, cuda:all) stands for here. auto is the first
 * card, or, with a line in the log that says why there is none, the cpu. */
fgsm_status fg_device_choose(const char *name, struct fg_device_choice *out) FGSM_MUST_USE;
/* Opens the i-th of the choice with the options' precision and threads. */
fgsm_status fg_device_open(const struct fg_device_choice *choice, int i,
                           const struct fgsm_options *options,
                           struct fg_device **out) FGSM_MUST_USE;

/* Meets the other processes that mpirun, mpiexec, srun or torchrun started with this one, as their
 * environment variables tell; by the plugin mpi, torchrun's by TCP (tcp.h). *ranks NULL: this process is
 * alone. Once in a process. FGSM_USAGE for processes that have no way to meet. */
fgsm_status fg_ranks_open(struct fg_ranks **ranks) FGSM_MUST_USE;
void fg_ranks_close(struct fg_ranks *ranks);

/* Loads libfgsm_<name>.so, cuda or mpi: from the folder FGSM_PLUGIN_PATH, beside this library, or from
 * where the system looks. What is found and does not fit is a failure, never a reason to look on. */
struct fg_plugin;
fgsm_status fg_plugin_load(const char *name, const struct fg_plugin **out) FGSM_MUST_USE;

#endif
