/* Products of a few rows with constant weights, which a backend may put in an order of its own: rows, columns
 * and terms that no tile divides, terms so many that they are summed up in parts; with every tail; and with zeros
 * enough for them to be skipped, in two, three, four and more panels of columns side by side. */
#include "packed.h"

static const struct fg_case cases[] = {
    BARE(16, 32, 32),
    BARE(17, 33, 33),
    BARE(29, 40, 48),
    BARE(64, 100, 257),
    BARE(33, 1030, 35),
    BARE(111, 1024, 40),
    BARE(50, 400, 130),
    TAILS(19, 37, 71),
    TAILS(43, 2100, 34),
    TAILS(101, 48, 64),
    ZEROS(16, 32, 48),
    ZEROS(17, 65, 75),
    ZEROS(33, 190, 95),
    ZEROS(29, 1030, 146),
    ZEROS(112, 400, 257),
    {.name = "packed, of a batch of 3",
     .op = FG_OP_matmul,
     .attrs = {.matmul = {.trans_b = true, .alpha = 1, .act = ACT(relu)}},
     .in = {N2(3, 19, 40), N2(50, 40), N2(50)},
     .out = {N2(3, 19, 50)},
     .constant = 6,
     .flags = FG_CASE_NO_GRADIENT},
};
FG_TABLE(packed);
