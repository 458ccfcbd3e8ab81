/* Samples attacked where they lie: what comes of it is what comes of arrays, whatever the attack, in place
 * or not; the host waits for nothing; and memory that cannot be meant is refused. */
#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attacking.h"
#include "base.h"
#include "net.h"
#include "view.h"

enum { N = 4, C = 3, SIDE = 13, PIXELS = C * SIDE * SIDE };

/* DLPack's own (dlpack.h, version 1.0): what a view must be, member for member. */
struct dl_tensor {
  void *data;
  struct {
    int32_t device_type, device_id;
  } device;
  int32_t ndim;
  struct {
    uint8_t code, bits;
    uint16_t lanes;
  } dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
};

Test(view, is_a_tensor_of_dlpack) {
#define SAME(ours, theirs)                                                                         \
  cr_expect_eq(offsetof(fgsm_view, ours), offsetof(struct dl_tensor, theirs));
  cr_expect_eq(sizeof(fgsm_view), sizeof(struct dl_tensor));
  SAME(data, data)
  SAME(device.type, device.device_type)
  SAME(device.id, device.device_id)
  SAME(ndim, ndim)
  SAME(dtype.code, dtype.code)
  SAME(dtype.bits, dtype.bits)
  SAME(dtype.lanes, dtype.lanes)
  SAME(shape, shape)
  SAME(strides, strides)
  SAME(byte_offset, byte_offset)
#undef SAME
}

static void *aligned(size_t bytes) {
  void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
  cr_assert(memory);
  return memory;
}

/* What is attacked, in memory that views may be of. */
static struct {
  float *x, *x_adv;
  int32_t *labels;
  int64_t *labels64, shape[4], strides[4];
  fgsm_view view, view_adv, view_labels;
} world;

static fgsm_view view_of(void *data, int code, int bits, int ndim) {
  return (fgsm_view){.data = data,
                     .device = {1, 0},
                     .ndim = ndim,
                     .dtype = {(uint8_t)code, (uint8_t)bits, 1},
                     .shape = world.shape};
}

static void open_world(void) {
  memcpy(world.shape, (int64_t[]){N, C, SIDE, SIDE}, sizeof world.shape);
  world.x = aligned(N * PIXELS * sizeof *world.x);
  world.x_adv = aligned(N * PIXELS * sizeof *world.x);
  world.labels = aligned(N * sizeof *world.labels);
  world.labels64 = aligned(N * sizeof *world.labels64);
  fill_floats(world.x, N * PIXELS, 7);
  fill_labels(world.labels64, N, 10, 8);
  for (int i = 0; i < N; i++)
    world.labels[i] = (int32_t)world.labels64[i];
  world.view = view_of(world.x, 2, 32, 4);
  world.view_adv = view_of(world.x_adv, 2, 32, 4);
  world.view_labels = view_of(world.labels64, 0, 64, 1);
}

static void close_world(void) {
  free(world.x);
  free(world.x_adv);
  free(world.labels);
  free(world.labels64);
}

TestSuite(view, .init = open_world, .fini = close_world);

static fgsm_attack *attack_with(const char *words) {
  fgsm_model *model = NULL;
  fgsm_attack *attack = NULL;
  char path[1024];
  fgsm_options *options = options_from(words);
  snprintf(path, sizeof path, "%s/conv.onnx", golden_dir());
  cr_assert_eq(fgsm_model_load(path, &model), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(fgsm_attack_create(model, options, N, &attack), FGSM_OK, "%s", fgsm_last_error());
  fgsm_options_destroy(options);
  fgsm_model_destroy(model);
  return attack;
}

static const char *const attacks[] = {"device=cpu eps=0.1",
                                      "device=cpu eps=0.1 attack=pgd steps=1",
                                      "device=cpu eps=0.1 attack=pgd steps=2",
                                      "device=cpu eps=0.1 attack=pgd steps=3",
                                      "device=cpu eps=0.1 attack=bim steps=4",
                                      "device=cpu eps=0.1 attack=bim steps=3",
                                      "device=cpu eps=0.1 attack=mi-fgsm steps=4",
                                      "device=cpu eps=0.5 attack=pgd norm=l2 steps=3",
                                      "device=cpu eps=0.1 attack=noise-sign",
                                      "device=cpu eps=0.1 attack=noise-sign no-verify",
                                      "device=cpu eps=0.1 attack=pgd steps=3 no-verify",
                                      "device=cpu eps=0"};

Test(view, gives_what_arrays_give_in_place_and_again) {
  float *want = aligned(N * PIXELS * sizeof *want), *clean = aligned(N * PIXELS * sizeof *clean);
  memcpy(clean, world.x, N * PIXELS * sizeof *clean);
  for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
    fgsm_attack *a = attack_with(attacks[i]);
    int64_t index[N] = {5, 6, 7, 8};
    const fgsm_view narrow = view_of(world.labels, 0, 32, 1);
    memcpy(world.x, clean, N * PIXELS * sizeof *clean);
    cr_assert_eq(fgsm_attack_run(a, N, clean, world.labels64, index, want, NULL), FGSM_OK, "%s",
                 fgsm_last_error());
    for (int again = 0; again < 2; again++) {
      memset(world.x_adv, 0xFF, N * PIXELS * sizeof *want);
      cr_assert_eq(fgsm_attack_run_view(a, &world.view, again ? &narrow : &world.view_labels, 5,
                                        &world.view_adv, NULL),
                   FGSM_OK, "%s: %s", attacks[i], fgsm_last_error());
      cr_expect_arr_eq(world.x_adv, want, N * PIXELS * sizeof *want, "%s", attacks[i]);
    }
    cr_expect_arr_eq(world.x, clean, N * PIXELS * sizeof *want, "%s wrote on x", attacks[i]);
    cr_assert_eq(fgsm_attack_run_view(a, &world.view, &world.view_labels, 5, &world.view, NULL),
                 FGSM_OK, "%s", fgsm_last_error());
    cr_expect_arr_eq(world.x, want, N * PIXELS * sizeof *want, "%s, in place", attacks[i]);
    cr_assert_eq(fgsm_attack_run(a, N, clean, world.labels64, index, world.x_adv, NULL), FGSM_OK);
    cr_expect_arr_eq(world.x_adv, want, N * PIXELS * sizeof *want, "%s, arrays after", attacks[i]);
    fgsm_attack_destroy(a);
  }
  free(want);
  free(clean);
}

Test(view, takes_one_target_for_all) {
  float want[N * PIXELS];
  fgsm_attack *a = attack_with("device=cpu eps=0.1 target=3");
  cr_assert_eq(fgsm_attack_run(a, N, world.x, world.labels64, NULL, want, NULL), FGSM_OK);
  cr_assert_eq(fgsm_attack_run_view(a, &world.view, NULL, 0, &world.view_adv, NULL), FGSM_OK, "%s",
               fgsm_last_error());
  cr_expect_arr_eq(world.x_adv, want, sizeof want);
  cr_expect_eq(fgsm_attack_run_view(a, &world.view, &world.view_labels, 0, &world.view_adv, NULL),
               FGSM_USAGE);
  fgsm_attack_destroy(a);
}

/* One member of one view changed at a time, and a word of what is said. */
Test(view, memory_that_cannot_be_meant_is_refused) {
  fgsm_attack *a = attack_with("device=cpu eps=0.1");
  static int64_t other[4] = {N, C, SIDE, SIDE + 1}, turned[4] = {1, N, N * C, N * C * SIDE};
  fgsm_view v[10];
  for (int i = 0; i < 10; i++)
    v[i] = world.view;
  v[0].data = NULL;
  v[1].device.type = 2;
  v[2].ndim = 3;
  v[3].shape = other;
  v[4].strides = turned;
  v[5].byte_offset = 4;
  v[6].dtype.bits = 64;
  v[7].dtype.code = 0;
  v[8].dtype.lanes = 4;
  v[9].shape = NULL;
  static const char *const words[10] = {"no data",   "lies on device 2:0",
                                        "is not [4", "is not [4",
                                        "not dense", "64 bytes",
                                        "float32",   "float32",
                                        "float32",   "no data"};
  for (int i = 0; i < 10; i++)
    for (int side = 0; side < 2; side++) {
      cr_expect_eq(fgsm_attack_run_view(a, side ? &world.view : &v[i], &world.view_labels, 0,
                                        side ? &v[i] : &world.view_adv, NULL),
                   FGSM_USAGE, "%d", i);
      cr_expect(strstr(fgsm_last_error(), words[i]), "%d: %s", i, fgsm_last_error());
    }
  fgsm_view floats = view_of(world.x, 2, 32, 1);
  cr_expect_eq(fgsm_attack_run_view(a, &world.view, &floats, 0, &world.view_adv, NULL), FGSM_USAGE);
  cr_expect_eq(fgsm_attack_run_view(a, &world.view, NULL, 0, &world.view_adv, NULL), FGSM_USAGE);
  cr_expect_eq(fgsm_attack_run_view(a, &world.view, &world.view_labels, -1, &world.view_adv, NULL),
               FGSM_USAGE);
  cr_expect_eq(fgsm_attack_run_view(NULL, &world.view, NULL, 0, &world.view_adv, NULL), FGSM_USAGE);
  fgsm_view strided = world.view;
  memcpy(world.strides, (int64_t[]){PIXELS, SIDE * SIDE, SIDE, 1}, sizeof world.strides);
  strided.strides = world.strides;
  cr_expect_eq(fgsm_attack_run_view(a, &strided, &world.view_labels, 0, &world.view_adv, NULL),
               FGSM_OK, "%s", fgsm_last_error());
  fgsm_attack_destroy(a);
}

Test(view, an_attack_that_needs_results_is_refused) {
  static const char *const words[] = {
      "device=cpu eps=0.1 attack=minimal-eps", "device=cpu eps=0.1 attack=pgd steps=2 restarts=2",
      "device=cpu eps=0.1 labels=predicted", "device=cpu eps=0.1 target=least-likely",
      "device=ref eps=0.1"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    fgsm_attack *a = attack_with(words[i]);
    cr_expect_eq(fgsm_attack_run_view(a, &world.view, &world.view_labels, 0, &world.view_adv, NULL),
                 FGSM_USAGE, "%s", words[i]);
    fgsm_attack_destroy(a);
  }
}

/* ---- nothing is waited for */

static struct fg_backend counting;
static int waits, foreign, n_events, ordered, ended;
static char stream_of_mine, events[8];

static fgsm_status counted_sync(struct fg_device *device, void *stream) {
  waits++;
  return fg_cpu.sync(device, stream);
}
static fgsm_status counted_event_sync(struct fg_device *device, void *event) {
  waits++;
  return fg_cpu.event_sync(device, event);
}
static fgsm_status counted_download(struct fg_device *device, void *to, const void *from,
                                    size_t bytes, void *stream) {
  waits++;
  return fg_cpu.download(device, to, from, bytes, stream);
}
/* The event made last is the view's own: one view's work is done before the next begins. */
static bool is_last(const void *event) {
  return event == &events[n_events - 1];
}
static fgsm_status counted_create(struct fg_device *device, void **out) {
  (void)device;
  cr_assert(n_events < (int)sizeof events);
  *out = &events[n_events++];
  return FGSM_OK;
}
static fgsm_status counted_record(struct fg_device *device, void *event, void *stream) {
  foreign += stream == &stream_of_mine;
  ended += is_last(event) && stream == &stream_of_mine;
  return fg_cpu.event_record(device, NULL, NULL);
}
static fgsm_status counted_wait(struct fg_device *device, void *event, void *stream) {
  ordered += is_last(event) && stream == &stream_of_mine && ordered == ended;
  return fg_cpu.event_wait(device, NULL, NULL);
}

Test(view, waits_for_nothing) {
  struct fg_onnx *onnx = golden_model("conv");
  fgsm_options *options = options_from("eps=0.1 attack=mi-fgsm steps=3");
  const struct fg_sample_shape shape = {FG_F32, 3, {C, SIDE, SIDE}};
  struct fg_device *device;
  struct fg_attacker *a = NULL;
  counting = fg_cpu;
  counting.sync = counted_sync;
  counting.event_sync = counted_event_sync;
  counting.download = counted_download;
  counting.event_record = counted_record;
  counting.event_wait = counted_wait;
  counting.event_create = counted_create;
  cr_assert_eq(fg_cpu.open(0, 1, &device), FGSM_OK);
  device->backend = &counting;
  cr_assert_eq(fg_attacker_create(onnx, options, device, &shape, NULL, N, &a), FGSM_OK);
  struct fg_view view = {world.x, world.x_adv, world.labels64, FG_I64, 0, &stream_of_mine};
  waits = foreign = 0;
  for (int i = 0; i < 2; i++)
    cr_assert_eq(fg_attacker_run_view(a, &view), FGSM_OK, "%s", fgsm_last_error());
  cr_expect_eq(waits, 0);
  cr_expect_eq(ordered, 2, "a view began %d times after the one before", ordered);
  cr_expect_eq(ended, 2);
  cr_expect_gt(foreign, 2, "the caller's stream was used %d times", foreign);
  fg_attacker_destroy(a);
  fgsm_options_destroy(options);
  fg_onnx_close(onnx);
}
