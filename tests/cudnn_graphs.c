/* Every cuDNN graph that nets and their training need, of convolutions, attention and layer normalisation, built
 * without a card, and the engines for it listed against the descriptions of cards in tests/cards. What must
 * have one, noted_graphs.h says.
 *
 *   cudnn-graphs CARD.json... -- [training] MODEL.onnx... [zoo MODEL.onnx...]
 *
 * The calls are those that the plan would prepare for the plugin (noted_calls.h); so are, for the word
 * training, those of the passes that train the built-in architectures. Models behind the word zoo are planned as
 * the plugin prefers them only. A graph that several calls or nets have is built once a card. Of the
 * convolutions of the first models all engines are listed that the plugin would try; of all else no more
 * than the first that there is.
 *
 * FGSM_VERBOSE tells what each plan holds and moves, and has all engines listed. FGSM_ZOO names a folder of
 * python/export_zoo.py's (FOLDER/NAME/model.onnx), whose models are added, in all forms. Exits with 77, saying why,
 * where cuDNN is not. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "card_graphs.h"
#include "noted_graphs.h"

/* ---- what is made is destroyed. Looking for leaks at the end cannot tell: cuDNN keeps memory. */

static long n_objects;
static cudnnStatus_t (*make_object)(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *);
static cudnnStatus_t (*destroy_object)(cudnnBackendDescriptor_t object);

static cudnnStatus_t make_counted(cudnnBackendDescriptorType_t type,
                                  cudnnBackendDescriptor_t *out) {
  cudnnStatus_t status = make_object(type, out);
  n_objects += status == CUDNN_STATUS_SUCCESS;
  return status;
}

static cudnnStatus_t destroy_counted(cudnnBackendDescriptor_t object) {
  n_objects--;
  return destroy_object(object);
}

static void count_objects(void) {
  make_object = fg_nv.cudnnBackendCreateDescriptor;
  destroy_object = fg_nv.cudnnBackendDestroyDescriptor;
  fg_nv.cudnnBackendCreateDescriptor = make_counted;
  fg_nv.cudnnBackendDestroyDescriptor = destroy_counted;
}

/* Where the word is among the arguments from `first`; argc if it is not. */
static int find_word(int argc, char **argv, int first, const char *word) {
  while (first < argc && strcmp(argv[first], word) != 0)
    first++;
  return first < argc ? first : argc;
}

static fgsm_status take(const struct fg_call *call) {
  return call->op == FG_OP_conv || call->op == FG_OP_conv_grad_input ||
                 call->op == FG_OP_conv_grad_weight
             ? conv_take(call)
             : block_take(call);
}

static int check_card(const char *path) {
  fg_cudnn card;
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  if (!card_read(path, &card))
    return 1;
  int failures = conv_check(name, card) + block_check(name, card);
  fg_cudnn_destroy(card);
  return failures;
}

int main(int argc, char **argv) {
  int failures = 0, cards = find_word(argc, argv, 1, "--");
  if (fg_nv_open_cudnn() != FGSM_OK) {
    printf("skipped: %s\n", fgsm_last_error());
    return 77;
  }
  count_objects();
  noted_begin(take);
  int models = cards + 1, zoo_models = find_word(argc, argv, models, "zoo");
  bool training = models < argc && strcmp(argv[models], "training") == 0;
  models += training;
  conv_whole = true;
  failures += noted_models(zoo_models - models, argv + models, false);
  conv_whole = getenv("FGSM_VERBOSE") != NULL;
  if (training)
    failures += noted_trainings();
  failures += noted_models(argc - zoo_models - 1, argv + zoo_models + 1, true);
  const char *zoo = getenv("FGSM_ZOO");
  if (zoo) {
    char pattern[4096];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*/model.onnx", zoo);
    if (glob(pattern, 0, NULL, &found) == 0)
      failures += noted_models((int)found.gl_pathc, found.gl_pathv, false);
    else
      printf("FAIL FGSM_ZOO=%s: no */model.onnx\n", zoo), failures++;
    globfree(&found);
  }
  for (int i = 1; i < cards; i++)
    failures += check_card(argv[i]);
  if (cards < 2)
    printf("FAIL no card: nothing was checked\n"), failures++;
  if (n_objects != 0)
    printf("FAIL %ld cuDNN objects were not destroyed\n", n_objects), failures++;
  return failures != 0;
}
