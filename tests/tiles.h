/* The processor's tiles (Intel AMX), as tests know of them, and devices that compute one way or another. */
#ifndef FG_TILES_H
#define FG_TILES_H

#include "harness.h"

/* Whether the processor has the tiles and the system lets them be used, asked of both themselves. */
bool fg_has_tiles(void);

struct fg_device *fg_opened(int threads, enum fg_convolutions how); /* the cpu */
void fg_closed(struct fg_run *run);                                 /* and its device */

#endif
