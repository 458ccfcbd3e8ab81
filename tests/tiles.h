/* The processor's tiles (Intel AMX), as tests know of them. */
#ifndef FG_TILES_H
#define FG_TILES_H

#include <stdbool.h>

/* Whether the processor has the tiles and the system lets them be used, asked of both themselves. */
bool fg_has_tiles(void);

#endif
