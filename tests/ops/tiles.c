/* Windows of all kinds, which a backend may compute on a processor's tiles: strides and dilations that leave residues out,
 * uneven padding, images of more than one strip, samples done together, channels that fill no block and more than
 * a panel; with every tail. */
#include "conv_tails.h"

#define OF(...) (__VA_ARGS__)
#define PASTE(...) __VA_ARGS__
#define WITH(label, geometry, x, w, y, k)                                                          \
  WITH_(label, (PASTE geometry, FG_UNARY_identity), (PASTE geometry, FG_UNARY_relu), x, w, y, k)
#define WITH_(label, bare, relu, x, w, y, k)                                                       \
  CONV_TAILS(label, ATTRS_OF bare, ATTRS_OF relu, x, w, y, k, FG_CASE_SPARSE)

static const struct fg_case cases[] = {
    WITH("tiles 3x3", OF(1, 1, 1, 1, 1, 1, 1, 1), D(2, 32, 8, 8), D(48, 32, 3, 3), D(2, 48, 8, 8),
         48),
    WITH("tiles 3x3 stride 2", OF(2, 2, 1, 1, 1, 1, 1, 1), D(3, 32, 9, 11), D(64, 32, 3, 3),
         D(3, 64, 5, 6), 64),
    WITH("tiles 3x3 stride 2, even", OF(2, 2, 1, 1, 1, 1, 1, 1), D(1, 48, 14, 14), D(80, 48, 3, 3),
         D(1, 80, 7, 7), 80),
    WITH("tiles 3x3 stride 2, without padding", OF(2, 2, 1, 1, 0, 0, 0, 0), D(2, 16, 10, 13),
         D(32, 16, 3, 3), D(2, 32, 4, 6), 32),
    WITH("tiles 3x3 stride 2, padded unevenly", OF(2, 2, 1, 1, 2, 0, 1, 2), D(2, 13, 10, 77),
         D(21, 13, 3, 3), D(2, 21, 6, 39), 21),
    WITH("tiles 3x3 stride 2 of many channels", OF(2, 2, 1, 1, 1, 1, 1, 1), D(2, 208, 9, 8),
         D(224, 208, 3, 3), D(2, 224, 5, 4), 224),
    WITH("tiles 3x3 stride 2 of many channels, padded unevenly", OF(2, 2, 1, 1, 2, 0, 1, 2),
         D(1, 224, 10, 7), D(208, 224, 3, 3), D(1, 208, 6, 4), 208),
    WITH("tiles 1x1 stride 2", OF(2, 2, 1, 1, 0, 0, 0, 0), D(2, 32, 7, 8), D(48, 32, 1, 1),
         D(2, 48, 4, 4), 48),
    WITH("tiles 3x2, all uneven", OF(1, 2, 2, 1, 1, 0, 2, 1), D(2, 16, 6, 9), D(32, 16, 3, 2),
         D(2, 32, 5, 5), 32),
    WITH("tiles 5x5 stride 3", OF(3, 3, 1, 1, 2, 2, 2, 2), D(2, 16, 13, 13), D(32, 16, 5, 5),
         D(2, 32, 5, 5), 32),
    WITH("tiles 2x2 stride 3", OF(3, 3, 1, 1, 0, 0, 0, 0), D(4, 16, 10, 10), D(32, 16, 2, 2),
         D(4, 32, 3, 3), 32),
    WITH("tiles 7x7 without padding", OF(1, 1, 1, 1, 0, 0, 0, 0), D(3, 16, 11, 10), D(32, 16, 7, 7),
         D(3, 32, 5, 4), 32),
    WITH("tiles 3x3 of padding 2", OF(1, 1, 1, 1, 2, 2, 2, 2), D(2, 16, 5, 6), D(16, 16, 3, 3),
         D(2, 16, 7, 8), 16),
    WITH("tiles 3x3 dilated with stride 2", OF(2, 2, 3, 2, 3, 2, 3, 2), D(2, 16, 12, 13),
         D(32, 16, 3, 3), D(2, 32, 6, 7), 32),
    WITH("tiles 3x3 of many samples", OF(1, 1, 1, 1, 1, 1, 1, 1), D(70, 32, 4, 4), D(32, 32, 3, 3),
         D(70, 32, 4, 4), 32),
    WITH("tiles 3x3 of many places", OF(1, 1, 1, 1, 1, 1, 1, 1), D(1, 16, 80, 70), D(16, 16, 3, 3),
         D(1, 16, 80, 70), 16),
    WITH("tiles 3x3 of many places, stride 2", OF(2, 2, 1, 1, 1, 1, 1, 1), D(1, 16, 90, 79),
         D(16, 16, 3, 3), D(1, 16, 45, 40), 16),
    WITH("tiles 3x3 of many channels", OF(1, 1, 1, 1, 1, 1, 1, 1), D(1, 272, 6, 6),
         D(144, 272, 3, 3), D(1, 144, 6, 6), 144),
};
FG_TABLE(tiles);
