/* From a name to devices. */
#include <stdio.h>
#include <string.h>

#include "device.h"
#include "plugin.h"

static const struct {
  const char *name;
  const struct fg_backend *backend; /* NULL: in a plugin */
} backends[] = {{"cpu", &fg_cpu}, {"ref", &fg_ref}, {"cuda", NULL}};
enum { N_BACKENDS = sizeof backends / sizeof *backends };

const char *fg_backend_name(int i) {
  return i >= 0 && i < N_BACKENDS ? backends[i].name : NULL;
}

fgsm_status fg_backend_find(const char *name, const struct fg_backend **out) {
  for (int i = 0; i < N_BACKENDS; i++)
    if (strcmp(backends[i].name, name) == 0) {
      const struct fg_plugin *plugin = NULL;
      if (!backends[i].backend)
        FG_TRY(fg_plugin_load(name, &plugin));
      *out = plugin ? plugin->backend : backends[i].backend;
      return FGSM_OK;
    }
  return FG_FAIL(USAGE, "--device %.40s: there is auto, cpu, ref and cuda", name);
}

/* The cards that `list` (fg_device_list's form) numbers, or why they are not to be had. */
static fgsm_status choose_cards(const char *list, struct fg_device_choice *out) {
  int have;
  FG_TRY(fg_backend_find("cuda", &out->backend));
  FG_TRY(out->backend->count(&have));
  FG_TRY(fg_device_list(list, &out->n, out->index));
  if (out->n == FG_ALL_DEVICES)
    for (out->n = 0; out->n < have && out->n < FG_MOST_DEVICES; out->n++)
      out->index[out->n] = out->n;
  for (int i = 0; i < out->n; i++)
    if (out->index[i] >= have)
      return FG_FAIL(DEVICE, "--device cuda:%d: there %s %d (CUDA_VISIBLE_DEVICES may hide some)",
                     out->index[i], have == 1 ? "is only device 0 of" : "are devices 0 to below",
                     have);
  return FGSM_OK;
}

fgsm_status fg_device_choose(const char *name, struct fg_device_choice *out) {
  bool any = !*name || strcmp(name, "auto") == 0;
  *out = (struct fg_device_choice){.n = 1};
  if (strncmp(name, "cuda", 4) == 0 && (!name[4] || name[4] == ':'))
    return choose_cards(name[4] ? name + 5 : "0", out);
  if (!any)
    return fg_backend_find(name, &out->backend);
  fgsm_status status = choose_cards("0", out);
  if (status == FGSM_DEVICE) {
    fg_log(FGSM_LOG_INFO, "computing on the cpu: %s", fgsm_last_error());
    *out = (struct fg_device_choice){.backend = &fg_cpu, .n = 1};
    return FGSM_OK;
  }
  return status;
}

static fgsm_status find_precision(const struct fg_backend *backend, const char *name,
                                  enum fg_precision *out) {
  int p = 0;
  while (p < FG_PRECISION_COUNT && *name && strcmp(fg_precision_name((enum fg_precision)p), name))
    p++;
  if (p == FG_PRECISION_COUNT || !(backend->precisions >> p & 1))
    return FG_FAIL(USAGE, "--precision %s is not to be had on %s; use fp32", name, backend->name);
  *out = (enum fg_precision)p;
  return FGSM_OK;
}

fgsm_status fg_device_open(const struct fg_device_choice *choice, int i,
                           const struct fgsm_options *options, struct fg_device **out) {
  enum fg_precision precision;
  FG_TRY(find_precision(choice->backend, options->precision, &precision));
  FG_TRY(choice->backend->open(choice->index[i],
                               options->threads > 0 ? options->threads : fg_cpu_count(), out));
  (*out)->precision = precision;
  (*out)->convolutions = options->exact ? FG_CONV_DIRECT : FG_CONV_FASTEST;
  return FGSM_OK;
}
