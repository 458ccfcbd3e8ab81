/* Opening a plugin's library and checking that it was made for this one. A plugin that was opened
 * stays: its code may be behind any device. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "plugin.h"

enum { PATH_SIZE = 4096 };

static void pass_failure(fgsm_status status, const char *file, int line, const char *words) {
  (void)fg_fail(status, file, line, "%s", words);
}

static void pass_log(fgsm_log_level level, const char *words) {
  fg_log(level, "%s", words);
}

static const struct fg_plugin_host host = {FG_PLUGIN_ABI, pass_failure, pass_log};

/* The folder of the library (or program) that this code is in; "" if that cannot be told. */
static void own_folder(char *folder) {
  Dl_info info;
  *folder = 0;
  if (!dladdr(&host, &info) || !info.dli_fname)
    return;
  const char *slash = strrchr(info.dli_fname, '/');
  if (slash && (size_t)(slash - info.dli_fname) < PATH_SIZE)
    snprintf(folder, PATH_SIZE, "%.*s", (int)(slash - info.dli_fname), info.dli_fname);
}

/* Opens FOLDER/FILE if there is such a file; *out NULL if not. */
static fgsm_status open_in(const char *folder, const char *file, void **out) {
  char path[PATH_SIZE];
  *out = NULL;
  if (!*folder || (size_t)snprintf(path, sizeof path, "%s/%s", folder, file) >= sizeof path ||
      access(path, F_OK) != 0)
    return FGSM_OK;
  *out = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  return *out ? FGSM_OK
              : FG_FAIL(DEVICE,
                        "%s does not load: %s; install what it names, or set "
                        "LD_LIBRARY_PATH to where that is",
                        path, dlerror());
}

static fgsm_status open_library(const char *name, const char *instead, void **out) {
  char file[64], beside[PATH_SIZE];
  const char *given = secure_getenv("FGSM_PLUGIN_PATH");
  snprintf(file, sizeof file, "libfgsm_%s.so", name);
  own_folder(beside);
  FG_TRY(open_in(given ? given : "", file, out));
  if (!*out)
    FG_TRY(open_in(beside, file, out));
  if (!*out)
    *out = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (*out)
    return FGSM_OK;
  return FG_FAIL(DEVICE,
                 "there is no %s in FGSM_PLUGIN_PATH (%s), beside the library (%s), or where the "
                 "system looks: install or build fgsm with it, or %s",
                 file, given ? given : "not set", *beside ? beside : "unknown", instead);
}

static fgsm_status check(const char *name, const struct fg_plugin *plugin) {
  if (!plugin || plugin->abi != FG_PLUGIN_ABI)
    return FG_FAIL(DEVICE,
                   "libfgsm_%s.so speaks another version of the interface (%u, this is "
                   "%u): install the one of fgsm %s",
                   name, plugin ? plugin->abi : 0, FG_PLUGIN_ABI, FGSM_VERSION);
  if (plugin->backend_bytes != sizeof(struct fg_backend) ||
      plugin->device_bytes != sizeof(struct fg_device) ||
      plugin->call_bytes != sizeof(struct fg_call) ||
      plugin->attrs_bytes != sizeof(union fg_attrs) ||
      plugin->ranks_bytes != sizeof(struct fg_ranks_kind) ||
      strcmp(plugin->ops, fg_plugin_ops) != 0)
    return FG_FAIL(DEVICE,
                   "libfgsm_%s.so was built from other sources (it calls itself %s): build "
                   "library and plugin together",
                   name, plugin->version);
  const char *is = plugin->backend ? plugin->backend->name : plugin->ranks->name;
  if (strcmp(is, name) != 0)
    return FG_FAIL(DEVICE, "libfgsm_%s.so holds %s", name, is);
  return FGSM_OK;
}

static fgsm_status load(const char *name, const char *instead, const struct fg_plugin **out) {
  void *library;
  FG_TRY(open_library(name, instead, &library));
  void *symbol = dlsym(library, FG_PLUGIN_SYMBOL);
  fgsm_status status;
  if (!symbol) {
    status =
        FG_FAIL(DEVICE, "libfgsm_%s.so is no plugin of fgsm: it has no %s", name, FG_PLUGIN_SYMBOL);
  } else {
    fg_plugin_fn function;
    memcpy(&function, &symbol, sizeof function); /* C has no other way from object to function */
    const struct fg_plugin *plugin = function(&host);
    status = check(name, plugin);
    *out = status == FGSM_OK ? plugin : NULL;
  }
  if (status != FGSM_OK)
    dlclose(library);
  return status;
}

fgsm_status fg_plugin_load(const char *name, const struct fg_plugin **out) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static struct {
    const char *name, *instead;     /* what to do where it is not to be had */
    const struct fg_plugin *loaded; /* NULL: not yet */
  } plugins[] = {{"cuda", "compute with --device cpu", NULL}, {"mpi", "start one process", NULL}};
  int i = strcmp(name, plugins[0].name) == 0 ? 0 : 1;
  fgsm_status status = FGSM_OK;
  pthread_mutex_lock(&lock);
  if (!plugins[i].loaded)
    status = load(plugins[i].name, plugins[i].instead, &plugins[i].loaded);
  *out = plugins[i].loaded;
  pthread_mutex_unlock(&lock);
  return status;
}
