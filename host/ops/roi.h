/* RoiAlign, as its two ways see it: by tables, where regions are known while loading (roi.c), and by
 * a computed grid (roi_grid.c). */
#ifndef FG_ROI_H
#define FG_ROI_H

#include "rules.h"

enum { FG_ROI_MOST = 1 << 24 }; /* samples of all regions */

struct roi {
  int64_t regions, out[2], size[2], batch, channels;
  int64_t ratio;   /* samples along each axis; 0: as many as a region's places are long */
  int64_t samples; /* what every region has room for, along each axis */
  double scale, offset;
  bool half_pixel, largest;
};

/* RoiAlign of in (x, regions, images) where the regions depend on the data. */
fgsm_status fg_roi_by_grid(struct fg_import *im, const struct roi *r,
                           const fg_id in[3]) FGSM_MUST_USE;

#endif
