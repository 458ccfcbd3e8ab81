/* The fake card as the plugin libfgsm_cuda.so. Compiled with ODD_ABI or ODD_OPS it is one that this
 * library must refuse. */
#include <stdarg.h>
#include <stdio.h>

#include "plugin.h"

#if defined(ODD_ABI)
#undef FG_PLUGIN_ABI
#define FG_PLUGIN_ABI 999u
#elif defined(ODD_OPS)
#define fg_plugin_ops "another set of operators"
#endif

#if defined(ODD_ABI) || defined(ODD_OPS)
static const struct fg_backend odd = {.name = "cuda"};
FG_PLUGIN_DEFINE(&odd, NULL)
#else
#include "fake_device.h"
FG_PLUGIN_DEFINE(&fake_backend, NULL)
#endif
