/* A convolution net over images of any size: x [N,16,S,S] -> conv 32 -> relu -> conv 32 -> relu -> mean ->
 * y [N,10]. With 16 channels no kernel is chosen by a race, so that what it needs is the same each time. */
#ifndef TEST_IMAGE_NET_H
#define TEST_IMAGE_NET_H

#include "attack.h"

enum { IMAGE_NET_CHANNELS = 16 };

/* batch -1: open. The caller closes it. */
struct fg_onnx *image_net(int64_t side, int64_t batch);
struct fg_sample_shape image_net_shape(int64_t side);

#endif
