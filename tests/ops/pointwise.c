/* 1x1 windows, which a backend may compute as one product of all images' places: groups of places that end within an
 * image or reach into the next, channels of half a block of terms and of more than a panel; with every tail. */
#include "conv_tails.h"

static const struct fg_case cases[] = {
    BOTH("1x1 of odd sizes", 0, D(3, 48, 7, 5), D(32, 48, 1, 1), D(3, 32, 7, 5), 32),
    BOTH("1x1 of one block", 0, D(2, 16, 8, 8), D(16, 16, 1, 1), D(2, 16, 8, 8), 16),
    BOTH("1x1 of many channels", 0, D(2, 272, 5, 5), D(112, 272, 1, 1), D(2, 112, 5, 5), 112),
    BOTH("1x1 of one place", 0, D(5, 32, 1, 1), D(64, 32, 1, 1), D(5, 64, 1, 1), 64),
    BOTH("1x1 of many places", 0, D(3, 32, 21, 19), D(80, 32, 1, 1), D(3, 80, 21, 19), 80),
    BOTH("1x1 of odd channels", 0, D(2, 13, 6, 7), D(21, 13, 1, 1), D(2, 21, 6, 7), 21),
};
FG_TABLE(pointwise);
