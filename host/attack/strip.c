/* How many samples a processor takes through the model at once. A batch of which every layer's values
 * fill more than the caches is read from memory and written to it by each layer, and its arena is pages that
 * the system has to clear first. So a batch is taken in strips: as small as caches would have them, but so
 * large that reading the weights once a strip costs little beside computing with them, and that every thread
 * has samples enough. A card has thousands of threads to feed, and takes the whole batch. */
#include <math.h>
#include <unistd.h>

#include "attacker.h"

/* FLOPs of the forward pass for each byte of the weights. Two cores that do 450 GFLOP/s take about as long for so
 * many as 50 bytes take from memory at 20 GB/s: kernels read weights in blocks, more than once, and Winograd's
 * are four times as large. Found by timing nets at several batches (bench/notes.md). */
static const double FLOPS_PER_BYTE = 1280;
enum { SAMPLES_PER_THREAD = 4 };

/* Of all threads' cores; 1 MiB each where the system does not say. */
static double cache_bytes(const struct fg_device *device) {
  long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return (bytes > 0 ? (double)bytes : 1048576.0) * (device->threads > 1 ? device->threads : 1);
}

/* What a node reads and writes that grows with the batch. */
static double moving_bytes(const struct fg_graph *g, const struct fg_node *node) {
  double sum = 0;
  for (int i = 0; i < node->n_in; i++)
    if (node->in[i] != FG_ABSENT && fg_value(g, node->in[i])->role != FG_ROLE_CONSTANT)
      sum += (double)fg_value_bytes(g, node->in[i]);
  for (int i = 0; i < node->n_out; i++)
    if (node->out[i] != FG_ABSENT)
      sum += (double)fg_value_bytes(g, node->out[i]);
  return sum;
}

/* At least `least`, and less than twice that: such that strips are equal, or the last one nearly is, and begin
 * where kernels want buffers to begin. */
static int64_t even(int64_t batch, int64_t least, int64_t sample_elements) {
  int64_t step = 1;
  while (step * sample_elements % 16 != 0)
    step *= 2;
  least = (least + step - 1) / step * step;
  for (int64_t strip = least; strip < 2 * least && strip < batch; strip += step)
    if (batch % strip == 0)
      return strip;
  int64_t strips = batch / least, equal = strips > 1 ? (batch + strips - 1) / strips : batch;
  return strips > 1 ? (equal + step - 1) / step * step : batch;
}

int64_t fg_strip_samples(const struct fg_graph *net, const struct fg_device *device, int64_t batch,
                         int64_t sample_elements) {
  double flops = 0, weights = 0, most = 0, threads = device->threads > 1 ? device->threads : 1;
  if (!device->backend->host_memory)
    return batch;
  for (int64_t i = 0; i < net->n_nodes; i++) {
    flops += fg_node_flops(net, &net->nodes[i]);
    most = fmax(most, moving_bytes(net, &net->nodes[i]));
  }
  for (int64_t v = 0; v < net->n_values; v++)
    if (fg_value(net, (fg_id)v)->role == FG_ROLE_CONSTANT)
      weights += (double)fg_value_bytes(net, (fg_id)v);
  double samples = (double)batch, least = SAMPLES_PER_THREAD * threads;
  least = fmax(least, cache_bytes(device) / (most / samples));
  least = fmax(least, FLOPS_PER_BYTE * weights / (flops / samples));
  return least < samples ? even(batch, (int64_t)ceil(least), sample_elements) : batch;
}
