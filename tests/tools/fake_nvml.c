/* A libnvidia-ml.so.1 for machines without a card: the functions that host/bench/energy.c looks for. The
 * card at 0000:3b:00.0 has spent 1.5 J more whenever it is asked, the one at 0000:5e:00.0 has no meter,
 * and there is no other. */
#include <string.h>

#include "fgsm.h"

enum { UNINITIALISED = 1, NOT_SUPPORTED = 3, NOT_FOUND = 6 };
static int sessions;
static unsigned long long spent; /* mJ */
static char metered, plain;

FGSM_API int nvmlInit_v2(void);
FGSM_API int nvmlShutdown(void);
FGSM_API int nvmlDeviceGetHandleByPciBusId_v2(const char *place, void **card);
FGSM_API int nvmlDeviceGetTotalEnergyConsumption(void *card, unsigned long long *millijoules);

int nvmlInit_v2(void) {
  sessions++;
  return 0;
}

int nvmlShutdown(void) {
  return sessions-- > 0 ? 0 : UNINITIALISED;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *place, void **card) {
  if (!sessions)
    return UNINITIALISED;
  *card = strcmp(place, "0000:3b:00.0") == 0   ? &metered
          : strcmp(place, "0000:5e:00.0") == 0 ? &plain
                                               : NULL;
  return *card ? 0 : NOT_FOUND;
}

int nvmlDeviceGetTotalEnergyConsumption(void *card, unsigned long long *millijoules) {
  if (!sessions)
    return UNINITIALISED;
  if (card != &metered)
    return NOT_SUPPORTED;
  *millijoules = spent += 1500;
  return 0;
}
