/* See tiles.h. */
#include "tiles.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

bool fg_has_tiles(void) {
#if defined(__x86_64__)
  enum { BF16 = 1 << 22, TILE = 1 << 24, REQUEST = 0x1023, TILE_DATA = 18 };
  unsigned a, b, c, d;
  return !getenv("ONEDNN_MAX_CPU_ISA") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & BF16) &&
         (d & TILE) && syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
#else
  return false;
#endif
}

struct fg_device *fg_opened(int threads, enum fg_convolutions how) {
  struct fg_device *device;
  cr_assert_eq(fg_cpu.open(0, threads, &device), FGSM_OK, "%s", fgsm_last_error());
  device->convolutions = how;
  return device;
}

void fg_closed(struct fg_run *run) {
  struct fg_device *device = run->device;
  fg_run_end(run);
  fg_cpu.close(device);
}
