/* A backend, or a way for ranks to meet, in a shared library of its own, which the host opens at run
 * time: it shows one symbol.
 *
 * Both sides are compiled from the same headers; what the answer carries beside the table is there
 * so that two that were not refuse each other instead of crashing. */
#ifndef FG_PLUGIN_H
#define FG_PLUGIN_H

#include "ranks.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FG_PLUGIN_ABI 2u
#define FG_PLUGIN_SYMBOL "fgsm_plugin"

/* The operators in order, as one text: a number for each is not enough where two traded places. */
#define OP(name, max_in, n_out, trait) #name " "
static const char fg_plugin_ops[] =
#include "ops.def"
    "";
#undef OP

/* What the plugin may call back: the calling thread's error, and the log. */
struct fg_plugin_host {
  uint32_t abi;
  void (*fail)(fgsm_status status, const char *file, int line, const char *words);
  void (*log)(fgsm_log_level level, const char *words);
};

struct fg_plugin {
  uint32_t abi; /* first, whatever else changes */
  uint32_t backend_bytes, device_bytes, call_bytes, attrs_bytes, ranks_bytes;
  const char *version, *ops;
  const struct fg_backend *backend;  /* NULL: it has none */
  const struct fg_ranks_kind *ranks; /* NULL: it has none */
};

/* The symbol: NULL where the host's abi is another. `host` outlives the plugin. */
typedef const struct fg_plugin *(*fg_plugin_fn)(const struct fg_plugin_host *host);

/* In the plugin: a line for the log. */
void fg_plugin_log(fgsm_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* In one C file of the plugin (which includes stdarg.h and stdio.h): its symbol, and the host's
 * fg_fail under its own name. */
#define FG_PLUGIN_DEFINE(table, kind)                                                              \
  static const struct fg_plugin_host *plugin_host;                                                 \
  fgsm_status fg_fail(fgsm_status status, const char *file, int line, const char *format, ...) {   \
    char words[1024];                                                                              \
    va_list args;                                                                                  \
    va_start(args, format);                                                                        \
    vsnprintf(words, sizeof words, format, args);                                                  \
    va_end(args);                                                                                  \
    plugin_host->fail(status, file, line, words);                                                  \
    return status;                                                                                 \
  }                                                                                                \
  void fg_plugin_log(fgsm_log_level level, const char *format, ...) {                              \
    char words[1024];                                                                              \
    va_list args;                                                                                  \
    va_start(args, format);                                                                        \
    vsnprintf(words, sizeof words, format, args);                                                  \
    va_end(args);                                                                                  \
    plugin_host->log(level, words);                                                                \
  }                                                                                                \
  FGSM_API const struct fg_plugin *fgsm_plugin(const struct fg_plugin_host *host);                 \
  const struct fg_plugin *fgsm_plugin(const struct fg_plugin_host *host) {                         \
    static const struct fg_plugin plugin = {FG_PLUGIN_ABI,                                         \
                                            sizeof(struct fg_backend),                             \
                                            sizeof(struct fg_device),                              \
                                            sizeof(struct fg_call),                                \
                                            sizeof(union fg_attrs),                                \
                                            sizeof(struct fg_ranks_kind),                          \
                                            FGSM_VERSION,                                          \
                                            fg_plugin_ops,                                         \
                                            (table),                                               \
                                            (kind)};                                               \
    plugin_host = host;                                                                            \
    return host->abi == FG_PLUGIN_ABI ? &plugin : NULL;                                            \
  }

#ifdef __cplusplus
}
#endif
#endif
