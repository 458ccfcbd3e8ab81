/* A batch taken in strips: how long they are, and that what comes of them is what comes of batches of their
 * length, of arrays and of views. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "attacker.h"
#include "attacking.h"
#include "image_net.h"
#include "view.h"

/* Images of which one fills 1 MiB with the values of a layer, so that caches of up to 4 MiB want no more than
 * the four that a thread is given at least. */
enum { SIDE = 64, BATCH = 11, STRIP = 6, PIXELS = IMAGE_NET_CHANNELS * SIDE * SIDE };

static struct fg_attacker *attacker_of(const char *device, int64_t side, int64_t batch,
                                       int64_t fixed, const char *words) {
  struct fg_onnx *onnx = image_net(side, fixed);
  struct fg_sample_shape shape = image_net_shape(side);
  struct fg_attacker *a = NULL;
  struct fg_device *opened = NULL;
  const struct fg_backend *backend = strcmp(device, "cpu") == 0 ? &fg_cpu : &fg_ref;
  fgsm_options *o = options_from(words);
  cr_assert_eq(backend->open(0, 1, &opened), FGSM_OK);
  cr_assert_eq(fg_attacker_create(onnx, o, opened, &shape, NULL, batch, &a), FGSM_OK, "%s",
               fgsm_last_error());
  fgsm_options_destroy(o);
  fg_onnx_close(onnx);
  return a;
}

static void expect_strip(int64_t side, int64_t batch, int64_t fixed, int64_t strip) {
  struct fg_attacker *a = attacker_of("cpu", side, batch, fixed, "eps=0.1 device=cpu");
  const struct fg_attacker_info *info = fg_attacker_info(a);
  cr_expect_eq(info->batch, fixed > 0 ? fixed : batch);
  cr_expect_eq(info->strip, strip, "side %lld, batch %lld: strips of %lld, not %lld",
               (long long)side, (long long)batch, (long long)info->strip, (long long)strip);
  fg_attacker_destroy(a);
}

Test(strip, divides_the_batch_or_nearly) {
  expect_strip(SIDE, 3, -1, 3);
  expect_strip(SIDE, 4, -1, 4);
  expect_strip(SIDE, 7, -1, 7); /* twice four are more */
  expect_strip(SIDE, 8, -1, 4);
  expect_strip(SIDE, 10, -1, 5);
  expect_strip(SIDE, BATCH, -1, STRIP);
  expect_strip(SIDE, 64, -1, 4);
}

Test(strip, is_the_whole_batch_where_the_file_fixes_it_or_layers_are_small) {
  expect_strip(SIDE, 16, 16, 16);
  expect_strip(4, 64, -1, 64);
}

/* ---- what comes of them */

static struct {
  float *x;
  int64_t labels[BATCH], index[BATCH];
} world;

static float *floats(void) {
  float *memory = aligned_alloc(64, (size_t)BATCH * PIXELS * sizeof *memory);
  cr_assert(memory);
  return memory;
}

static void open_world(void) {
  world.x = floats();
  fill_floats(world.x, (int64_t)BATCH * PIXELS, 5);
  fill_labels(world.labels, BATCH, 10, 6);
  for (int i = 0; i < BATCH; i++)
    world.index[i] = 100 + i;
}

static void close_world(void) {
  free(world.x);
}

TestSuite(strip, .init = open_world, .fini = close_world);

static float *attacked(const char *words, int64_t batch, fgsm_result results[BATCH]) {
  struct fg_attacker *a = attacker_of("cpu", SIDE, batch, -1, words);
  float *x_adv = floats();
  void *out = x_adv;
  cr_expect_eq(fg_attacker_info(a)->strip, STRIP);
  cr_assert_eq(fg_attacker_run(a, BATCH, world.x, world.labels, NULL, world.index, &out, &results),
               FGSM_OK, "%s", fgsm_last_error());
  fg_attacker_destroy(a);
  return x_adv;
}

static const char *const attacks[] = {
    "device=cpu exact eps=0.1", "device=cpu exact eps=0.1 attack=rs-fgsm",
    "device=cpu exact eps=0.1 attack=pgd steps=2 restarts=2",
    "device=cpu exact eps=0.1 attack=mi-fgsm steps=3",
    "device=cpu exact eps=0.1 attack=minimal-eps steps=4 labels=predicted"};

Test(strip, gives_what_batches_of_its_length_give) {
  for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
    fgsm_result strips[BATCH], batches[BATCH];
    float *got = attacked(attacks[i], BATCH, strips), *want = attacked(attacks[i], STRIP, batches);
    cr_expect_eq(memcmp(got, want, (size_t)BATCH * PIXELS * sizeof *got), 0, "%s", attacks[i]);
    cr_expect_neq(memcmp(got, world.x, (size_t)BATCH * PIXELS * sizeof *got), 0, "%s", attacks[i]);
    cr_expect_eq(memcmp(strips, batches, sizeof strips), 0, "%s", attacks[i]);
    free(got);
    free(want);
  }
}

/* In place or not, with labels of either type or one target. */
static void expect_view(const char *words, bool in_place, int label_bits) {
  struct fg_attacker *a = attacker_of("cpu", SIDE, BATCH, -1, words);
  fgsm_result ignored[BATCH];
  fgsm_result *results = ignored;
  float *want = floats(), *x = floats(), *x_adv = in_place ? x : floats();
  int32_t narrow[BATCH];
  void *out = want, *labels = label_bits == 32 ? (void *)narrow : world.labels;
  size_t bytes = (size_t)BATCH * PIXELS * sizeof *x;
  for (int i = 0; i < BATCH; i++)
    narrow[i] = (int32_t)world.labels[i];
  memcpy(x, world.x, bytes);
  struct fg_view view = {.x = x,
                         .x_adv = x_adv,
                         .labels = label_bits ? labels : NULL,
                         .labels_type = label_bits == 32 ? FG_I32 : FG_I64,
                         .first_index = world.index[0]};
  cr_assert_eq(fg_attacker_run_view(a, &view), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fg_attacker_run(a, BATCH, world.x, world.labels, NULL, world.index, &out, &results),
               FGSM_OK, "%s", fgsm_last_error());
  cr_expect_eq(memcmp(x_adv, want, bytes), 0, "%s, %s, labels of %d bits", words,
               in_place ? "in place" : "elsewhere", label_bits);
  cr_expect(in_place || memcmp(x, world.x, bytes) == 0, "%s", words);
  if (!in_place)
    free(x_adv);
  free(x);
  free(want);
  fg_attacker_destroy(a);
}

Test(strip, of_a_view_gives_what_arrays_give) {
  for (int in_place = 0; in_place < 2; in_place++) {
    expect_view("device=cpu exact eps=0.1", in_place, 64);
    expect_view("device=cpu exact eps=0.1 attack=rs-fgsm", in_place, 32);
    expect_view("device=cpu exact eps=0.1 attack=bim steps=2 target=3", in_place, 0);
    expect_view("device=cpu exact eps=0", in_place, 64);
  }
}
