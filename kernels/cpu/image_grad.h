/* The gradient of a first convolution from a dy in blocks of 16 channels, a row of dx at a time. An image has
 * few channels, so the lanes of a vector are dy's: neighbours along the row, with all channels of dx,
 * are summed side by side, each over all taps and blocks, and a sum's lanes are added at the end. */
#ifndef FG_CPU_IMAGE_GRAD_H
#define FG_CPU_IMAGE_GRAD_H

#include "cpu.h"

enum { FG_IMAGE_CHANNELS = 4, FG_IMAGE_WINDOW = 64 };

/* dx [samples, c, h, w] from dy [samples, k, p, q] and windows [k, c, r, s]. */
struct fg_image_shape {
  int64_t samples, c, h, w, k, p, q;
  int64_t r, s, stride[2], dilation[2], pad[2];
};

/* The taps of one axis that reach a place of dx: where dy is, and which tap. */
struct fg_image_taps {
  int n;
  int64_t at[FG_IMAGE_WINDOW], tap[FG_IMAGE_WINDOW];
};

/* The taps of rows, those alone that fall on dy; and of columns with one residue, dy's column for the
 * first of them. */
void fg_image_rows(const struct fg_image_shape *t, int64_t y, struct fg_image_taps *to);
void fg_image_columns(const struct fg_image_shape *t, int64_t residue, struct fg_image_taps *to);

/* Windows as they are read: [k / lanes][r][s][c][lanes]. */
void fg_image_pack(const struct fg_image_shape *t, int lanes, const float *w, float *to);

/* Row y of sample n of dx, of all channels, from a dy in blocks of 16. */
void fg_image_row_16(const struct fg_image_shape *t, const float *packed, const float *dy,
                     int64_t n, int64_t y, float *dx);

#endif
