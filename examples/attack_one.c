/* attack_one: the library in thirty lines. Attacks one image in memory (the first of an IDX file of
 * 28x28 bytes, such as the demo draws) and prints what the model saw before and after:
 *   attack_one examples/glyphs.onnx demo/glyphs-test-images-idx3-ubyte 8/255 */
#include <fgsm.h>
#include <stdio.h>

int main(int argc, char **argv) {
  unsigned char bytes[16 + 784];
  FILE *file = argc == 4 ? fopen(argv[2], "rb") : NULL;
  if (!file || fread(bytes, 1, sizeof bytes, file) != sizeof bytes)
    return fprintf(stderr, "usage: attack_one MODEL.onnx IMAGES-idx3-ubyte EPS\n"), 2;
  fclose(file);
  float x[784];
  for (int i = 0; i < 784; i++)
    x[i] = (float)bytes[16 + i] / 255;

  fgsm_options *options = NULL;
  fgsm_model *model = NULL;
  fgsm_attack *attack = NULL;
  fgsm_result result = {0};
  int64_t label = -1; /* none is known: the model's own prediction is attacked */
  fgsm_status status = fgsm_options_create(&options);
  if (status == FGSM_OK)
    status = fgsm_options_set(options, "eps", argv[3]);
  if (status == FGSM_OK)
    status = fgsm_options_set(options, "labels", "predicted");
  if (status == FGSM_OK)
    status = fgsm_model_load(argv[1], &model);
  if (status == FGSM_OK)
    status = fgsm_attack_create(model, options, 1, &attack);
  if (status == FGSM_OK)
    status = fgsm_attack_run(attack, 1, x, &label, NULL, x, &result); /* x becomes adversarial */
  if (status == FGSM_OK)
    printf("class %d before, class %d after moving pixels by at most %g\n",
           (int)result.clean_prediction, (int)result.adversarial_prediction, (double)result.linf);
  else
    fprintf(stderr, "attack_one: %s\n", fgsm_last_error());
  fgsm_attack_destroy(attack);
  fgsm_model_destroy(model);
  fgsm_options_destroy(options);
  return fgsm_status_exit_code(status);
}
