/* 3x3 and 5x5 windows of stride 1, which a backend may convolve by Winograd's minimal filtering: sizes that no
 * tile divides, every padding, channels that fill no vector, one sample and several; with every tail that
 * such a kernel computes itself, forward and for the input gradient. */
#include "conv_tails.h"

static const struct fg_case cases[] = {
    BOTH("winograd 8x8", 1, D(2, 32, 8, 8), D(48, 32, 3, 3), D(2, 48, 8, 8), 48),
    BOTH("winograd of one tile", 1, D(3, 16, 4, 4), D(16, 16, 3, 3), D(3, 16, 4, 4), 16),
    BOTH("winograd of odd sizes", 1, D(2, 16, 7, 9), D(32, 16, 3, 3), D(2, 32, 7, 9), 32),
    BOTH("winograd of a row", 1, D(1, 16, 1, 13), D(16, 16, 3, 3), D(1, 16, 1, 13), 16),
    BOTH("winograd of one place", 1, D(2, 16, 1, 1), D(16, 16, 3, 3), D(2, 16, 1, 1), 16),
    BOTH("winograd without padding", 0, D(2, 16, 9, 6), D(16, 16, 3, 3), D(2, 16, 7, 4), 16),
    BOTH("winograd of padding 2", 2, D(2, 16, 5, 6), D(16, 16, 3, 3), D(2, 16, 7, 8), 16),
    BOTH("winograd of odd channels", 1, D(2, 13, 6, 7), D(21, 13, 3, 3), D(2, 21, 6, 7), 21),
    BOTH("winograd of few channels", 1, D(2, 3, 10, 10), D(5, 3, 3, 3), D(2, 5, 10, 10), 5),
    BOTH("winograd from odd channels", 1, D(1, 13, 6, 6), D(32, 13, 3, 3), D(1, 32, 6, 6), 32),
    BOTH("winograd of many tiles", 1, D(5, 16, 27, 30), D(16, 16, 3, 3), D(5, 16, 27, 30), 16),
    BOTH("winograd of long rows", 1, D(2, 16, 3, 75), D(24, 16, 3, 3), D(2, 24, 3, 75), 24),
    CONV_TAILS("winograd of rows padded at one end",
               ATTRS_OF(1, 1, 1, 1, 1, 1, 0, 40, FG_UNARY_identity),
               ATTRS_OF(1, 1, 1, 1, 1, 1, 0, 40, FG_UNARY_relu), D(2, 16, 6, 7), D(16, 16, 3, 3),
               D(2, 16, 5, 46), 16, 0),
    BOTH("winograd of many channels", 1, D(2, 80, 5, 5), D(144, 80, 3, 3), D(2, 144, 5, 5), 144),
    BOTH("winograd of lent weights", 1, D(2, 256, 5, 6), D(272, 256, 3, 3), D(2, 272, 5, 6), 272),
    BOTH("winograd of lent weights without padding", 0, D(1, 272, 6, 5), D(256, 272, 3, 3),
         D(1, 256, 4, 3), 256),
    BOTH("winograd 5x5 of lent weights", 2, D(1, 256, 5, 4), D(272, 256, 5, 5), D(1, 272, 5, 4),
         272),
    BOTH("winograd 5x5", 2, D(2, 32, 14, 14), D(48, 32, 5, 5), D(2, 48, 14, 14), 48),
    BOTH("winograd 5x5 of odd sizes", 2, D(2, 16, 7, 9), D(32, 16, 5, 5), D(2, 32, 7, 9), 32),
    BOTH("winograd 5x5 without padding", 0, D(2, 16, 9, 6), D(16, 16, 5, 5), D(2, 16, 5, 2), 16),
    BOTH("winograd 5x5 of padding 4", 4, D(2, 16, 5, 6), D(16, 16, 5, 5), D(2, 16, 9, 10), 16),
    BOTH("winograd 5x5 of odd channels", 1, D(2, 13, 6, 7), D(21, 13, 5, 5), D(2, 21, 4, 5), 21),
};
FG_TABLE(winograd);
