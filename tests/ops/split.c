/* Products of many rows with constant weights, which a backend may compute of parts of numbers: rows, columns
 * and terms that no tile divides, rows of more than one chunk, numbers far apart in size; with every tail. */
#include "packed.h"

static const struct fg_case cases[] = {
    BARE(113, 32, 32),
    BARE(32, 70, 64),
    BARE(47, 64, 40),
    BARE(130, 100, 257),
    BARE(144, 1030, 35),
    BARE(272, 600, 33),
    TAILS(129, 37, 71),
    TAILS(300, 64, 48),
    MATMUL("split, of small numbers", true, 1, identity, FG_R(FG_UNIFORM(-1e-20, 3e-20), 128, 64),
           N2(40, 64), NONE, NONE, N2(128, 40)),
    {.name = "split, of a batch of 3",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.trans_b = true, .alpha = 1, .act = ACT(relu)}},
     .in = {N2(3, 51, 40), N2(50, 40), N2(50)},
     .out = {N2(3, 51, 50)},
     .constant = 6,
     .flags = FG_CASE_NO_GRADIENT},
};
FG_TABLE(split);
