/* The plugin's one symbol, and the gaps in its table. */
#include <stdarg.h>
#include <stdio.h>

#include "device.h"
#include "gaps.h"
#include "plugin.h"

FG_PLUGIN_DEFINE(&fg_cuda, NULL)
