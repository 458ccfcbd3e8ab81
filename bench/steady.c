/* How long one batch takes that lies on the device already, told whenever it is asked. For comparisons
 * in turns (torch_fgsm.py), where a model is loaded and planned once and not in every round.
 *
 *   bench-steady MODEL [OPTION VALUE]...    options as the command has them: batch 64 threads 2
 *
 * Prints what the device is, and then for each line of its input the seconds of a batch, as `fgsm bench`
 * takes those of the device alone. */
#include <stdio.h>
#include <stdlib.h>

#include "device.h"
#include "measure.h"
#include "onnx.h"
#include "options.h"

static fgsm_status open_measure(const struct fg_onnx *onnx, const fgsm_options *options,
                                struct fg_measure **out) {
  struct fg_device_choice choice;
  struct fg_sample_shape shape;
  struct fg_device *device;
  FG_TRY(fg_measure_shape(onnx, options, &shape));
  FG_TRY(fg_device_choose(options->device, &choice));
  FG_TRY(fg_device_open(&choice, 0, options, &device));
  FG_TRY(fg_measure_create(onnx, options, device, &shape, NULL, options->batch, out));
  return fg_measure_warm_up(*out);
}

static fgsm_status answer(struct fg_measure *m) {
  struct fg_device *device = fg_measure_device(m);
  char text[256], line[16];
  double seconds;
  FG_TRY(device->backend->describe(device, text, sizeof text));
  puts(text);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    FG_TRY(fg_measure_climb(m, &seconds));
    printf("%.9g\n", seconds);
    fflush(stdout);
  }
  return FGSM_OK;
}

int main(int argc, char **argv) {
  struct fg_onnx *onnx = NULL;
  struct fg_measure *m = NULL;
  fgsm_options *options = NULL;
  if (argc < 2 || argc % 2) {
    fprintf(stderr, "usage: bench-steady MODEL [OPTION VALUE]...\n");
    return 2;
  }
  fgsm_status status = fgsm_options_create(&options);
  for (int i = 2; i < argc && status == FGSM_OK; i += 2)
    status = fgsm_options_set(options, argv[i], argv[i + 1]);
  if (status == FGSM_OK)
    status = fg_onnx_open(argv[1], &onnx);
  if (status == FGSM_OK)
    status = open_measure(onnx, options, &m);
  if (status == FGSM_OK)
    status = answer(m);
  if (status != FGSM_OK)
    fprintf(stderr, "bench-steady: %s\n", fgsm_last_error());
  fg_measure_destroy(m);
  fg_onnx_close(onnx);
  fgsm_options_destroy(options);
  return status == FGSM_OK ? 0 : 6;
}
