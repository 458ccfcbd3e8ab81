/* --max-memory: what an attack says it needs, what is refused, which batch is chosen, and that the
 * process really takes about as much as was said. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "attacking.h"
#include "image_net.h"
#include "onnx_bytes.h"

static const int64_t MIB = 1 << 20;
enum { CHANNELS = IMAGE_NET_CHANNELS };

static fgsm_status open_cpu(void *user, struct fg_device **out) {
  (void)user;
  return fg_cpu.open(0, 16, out); /* a batch for so many threads is not cut into strips */
}

static fgsm_status fit(const struct fg_onnx *onnx, int64_t side, const char *words, int64_t *batch,
                       struct fg_attacker_info *info) {
  struct fg_attacker *a = NULL;
  struct fg_sample_shape shape = image_net_shape(side);
  char all[256];
  snprintf(all, sizeof all, "eps=0.1 threads=1 device=cpu %s", words);
  fgsm_options *o = options_from(all);
  struct fg_device_opener opener = {open_cpu, NULL};
  fgsm_status status = fg_attacker_fit(onnx, o, &opener, &shape, NULL, NULL, batch, &a);
  if (status == FGSM_OK)
    *info = *fg_attacker_info(a);
  fg_attacker_destroy(a);
  fgsm_options_destroy(o);
  return status;
}

static size_t need_of(const struct fg_onnx *onnx, int64_t side, int64_t batch) {
  struct fg_attacker_info info;
  int64_t got = 0;
  char words[64];
  snprintf(words, sizeof words, "batch=%lld max-memory=64G", (long long)batch);
  cr_assert_eq(fit(onnx, side, words, &got, &info), FGSM_OK, "%s", fgsm_last_error());
  cr_assert_eq(got, batch);
  return info.memory_bytes;
}

Test(memory, a_batch_that_is_asked_for_is_refused_with_one_that_fits) {
  struct fg_onnx *onnx = image_net(32, -1);
  struct fg_attacker_info info;
  int64_t got = 0;
  size_t one = need_of(onnx, 32, 1), all = need_of(onnx, 32, 64);
  cr_expect(all > one + 16 * (size_t)MIB, "%zu and %zu", one, all);
  char words[96], text[32];
  snprintf(words, sizeof words, "batch=64 max-memory=%zu", all - 1);
  cr_expect_eq(fit(onnx, 32, words, &got, &info), FGSM_UNSUPPORTED);
  cr_expect(strstr(fgsm_last_error(), "at batch 64"), "%s", fgsm_last_error());
  cr_expect(strstr(fgsm_last_error(), "--max-memory"), "%s", fgsm_last_error());
  cr_expect(strstr(fgsm_last_error(), "--batch 63 would fit"), "%s", fgsm_last_error());
  snprintf(words, sizeof words, "batch=64 max-memory=%zu", all);
  cr_expect_eq(fit(onnx, 32, words, &got, &info), FGSM_OK, "%s", fgsm_last_error());
  fg_memory_text(one, text);
  snprintf(words, sizeof words, "batch=64 max-memory=%zu", one - 1);
  cr_expect_eq(fit(onnx, 32, words, &got, &info), FGSM_UNSUPPORTED);
  cr_expect_null(strstr(fgsm_last_error(), "would fit"), "%s", fgsm_last_error());
  fg_onnx_close(onnx);
}

Test(memory, without_a_batch_the_largest_that_fits_is_chosen) {
  struct fg_onnx *onnx = image_net(32, -1);
  struct fg_attacker_info info;
  int64_t got = 0;
  for (int64_t want = 1; want < 64; want = want * 3 + 1) {
    char words[64];
    size_t limit = need_of(onnx, 32, want);
    snprintf(words, sizeof words, "max-memory=%zu", limit);
    cr_assert_eq(fit(onnx, 32, words, &got, &info), FGSM_OK, "%s", fgsm_last_error());
    cr_expect(info.memory_bytes <= limit, "%zu of %zu", info.memory_bytes, limit);
    cr_expect(got <= want && got >= want * 9 / 10, "%lld, not %lld", (long long)got,
              (long long)want);
    cr_expect(strstr(info.notes, "the batch is"), "%s", info.notes);
  }
  cr_assert_eq(fit(onnx, 32, "max-memory=64G", &got, &info), FGSM_OK);
  cr_expect_eq(got, 64);
  cr_expect_null(strstr(info.notes, "the batch is"), "%s", info.notes);
  fg_onnx_close(onnx);
}

Test(memory, a_model_too_large_at_any_batch_is_refused) {
  struct fg_onnx *onnx = image_net(512, -1), *fixed = image_net(256, 32);
  struct fg_attacker_info info;
  int64_t got = 0;
  cr_expect_eq(fit(onnx, 512, "max-memory=40M", &got, &info), FGSM_UNSUPPORTED);
  cr_expect(strstr(fgsm_last_error(), "more than the 40 MiB"), "%s", fgsm_last_error());
  cr_expect_eq(fit(fixed, 256, "max-memory=100M", &got, &info), FGSM_UNSUPPORTED);
  cr_expect(strstr(fgsm_last_error(), "at batch 32"), "%s", fgsm_last_error());
  fg_onnx_close(fixed);
  fg_onnx_close(onnx);
}

/* Not even what a kernel might take while it is being chosen: the limit is the machine's memory many
 * times over. */
Test(memory, nothing_is_taken_before_it_is_refused) {
  struct fg_onnx *onnx = image_net(1 << 14, -1);
  struct fg_attacker_info info;
  struct rusage before, after;
  int64_t got = 0;
  getrusage(RUSAGE_SELF, &before);
  cr_expect_eq(fit(onnx, 1 << 14, "max-memory=8G", &got, &info), FGSM_UNSUPPORTED, "%s",
               fgsm_last_error());
  getrusage(RUSAGE_SELF, &after);
  long mib = (after.ru_maxrss - before.ru_maxrss) >> 10;
  cr_expect(mib < 128, "%ld MiB", mib);
  fg_onnx_close(onnx);
}

/* 16 MiB of weights: x [N,16,8,8] -> y [N,4096]. */
static struct fg_onnx *wide_net(void) {
  struct fg_onnx *onnx = NULL;
  struct onnx_bytes g = {0};
  float *w = calloc(4 << 20, sizeof *w);
  onnx_put(&g, 1, onnx_node("Flatten", "", "x", "f"));
  onnx_put(&g, 1, onnx_node("MatMul", "", "f w", "y"));
  onnx_put(&g, 5, onnx_tensor("w", ONNX_FLOAT, 2, (int64_t[]){1024, 4096}, w, 1024 * 4096 * 4));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 4, (int64_t[]){-1, CHANNELS, 8, 8}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){-1, 4096}));
  free(w);
  struct onnx_bytes b = onnx_model(g, 13);
  cr_assert_eq(fg_onnx_parse(b.data, b.n, "wide", &onnx), FGSM_OK, "%s", fgsm_last_error());
  free(b.data);
  return onnx;
}

Test(memory, the_weights_alone_may_be_too_many) {
  struct fg_onnx *onnx = image_net(8, -1);
  struct fg_attacker_info info;
  int64_t got = 0;
  size_t one = need_of(onnx, 8, 1);
  cr_assert(one > 0);
  fg_onnx_close(onnx);
  onnx = wide_net();
  cr_expect_eq(fit(onnx, 8, "max-memory=14M", &got, &info), FGSM_UNSUPPORTED);
  cr_expect(strstr(fgsm_last_error(), "14 MiB of --max-memory"), "%s", fgsm_last_error());
  fg_onnx_close(onnx);
}

/* The product reads them where the file as read holds them. */
Test(memory, weights_are_held_once) {
  struct fg_onnx *onnx = wide_net();
  size_t one = need_of(onnx, 8, 1);
  cr_expect(one > 16 * (size_t)MIB && one < 20 * (size_t)MIB, "%zu", one);
  fg_onnx_close(onnx);
}

/* One convolution whose weights take a while to bring into the kernel's order. */
static struct fg_onnx *deep_net(void) {
  enum { DEEP = 512 };
  struct onnx_bytes g = {0}, node = onnx_node("Conv", "", "x w", "c");
  struct fg_onnx *onnx = NULL;
  float *w = malloc((size_t)DEEP * DEEP * 9 * sizeof *w);
  cr_assert(w);
  for (int i = 0; i < DEEP * DEEP * 9; i++)
    w[i] = (float)(i % 1013 - 506) / 8192;
  onnx_put(&node, 5, onnx_ints("pads", 4, (int64_t[]){1, 1, 1, 1}));
  onnx_put(&g, 1, node);
  onnx_put(&g, 1, onnx_node("GlobalAveragePool", "", "c", "p"));
  onnx_put(&g, 1, onnx_node("Flatten", "", "p", "y"));
  onnx_put(&g, 5,
           onnx_tensor("w", ONNX_FLOAT, 4, (int64_t[]){DEEP, DEEP, 3, 3}, w,
                       (size_t)DEEP * DEEP * 9 * sizeof *w));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 4, (int64_t[]){-1, DEEP, 1, 1}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){-1, DEEP}));
  struct onnx_bytes b = onnx_model(g, 13);
  cr_assert_eq(fg_onnx_parse(b.data, b.n, "deep net", &onnx), FGSM_OK, "%s", fgsm_last_error());
  free(b.data);
  free(w);
  return onnx;
}

struct starter {
  pthread_t thread;
  pthread_barrier_t *start;
  const struct fg_onnx *onnx;
  float adv[512];
  fgsm_result result;
  fgsm_status status;
};

static fgsm_status attack_one(struct starter *s, const fgsm_options *o) {
  static const struct fg_sample_shape shape = {.type = FG_F32, .rank = 3, .dim = {512, 1, 1}};
  float x[512];
  int64_t label = 3, index = 0;
  struct fg_attacker *a = NULL;
  struct fg_device *device;
  fgsm_result *results = &s->result;
  void *out = s->adv;
  for (int i = 0; i < 512; i++)
    x[i] = (float)(i % 17) / 16;
  FG_TRY(open_cpu(NULL, &device));
  FG_TRY(fg_attacker_create(s->onnx, o, device, &shape, NULL, 1, &a));
  fgsm_status status = fg_attacker_run(a, 1, x, &label, NULL, &index, &out, &results);
  fg_attacker_destroy(a);
  return status;
}

static void *attack_alone(void *argument) {
  struct starter *s = argument;
  fgsm_options *o = options_from("eps=0.1 threads=1 device=cpu");
  if (s->start)
    pthread_barrier_wait(s->start);
  s->status = attack_one(s, o);
  fgsm_options_destroy(o);
  return NULL;
}

/* Weights in the kernels' order are kept once for all of them, by whoever is first. */
Test(memory, attackers_of_one_model_begin_at_once) {
  enum { THREADS = 4, ROUNDS = 10 };
  struct starter s[THREADS + 1] = {{.onnx = deep_net()}}, *first = &s[THREADS];
  pthread_barrier_t start;
  *first = s[0];
  attack_alone(first);
  cr_assert_eq(first->status, FGSM_OK, "%s", fgsm_last_error());
  for (int round = 0; round < ROUNDS; round++) {
    cr_assert_eq(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++) {
      s[i] = (struct starter){.start = &start, .onnx = first->onnx};
      cr_assert_eq(pthread_create(&s[i].thread, NULL, attack_alone, &s[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
      pthread_join(s[i].thread, NULL);
    pthread_barrier_destroy(&start);
    for (int i = 0; i < THREADS; i++) {
      cr_assert_eq(s[i].status, FGSM_OK);
      cr_assert_arr_eq(s[i].adv, first->adv, sizeof first->adv);
      cr_assert_eq(s[i].result.clean_loss, first->result.clean_loss);
    }
  }
  fg_onnx_close((struct fg_onnx *)first->onnx);
}

/* ---- a card's own memory */

static struct fg_backend card; /* the cpu's, of limited memory */
static size_t card_free, card_taken;

static fgsm_status card_memory(struct fg_device *device, size_t *free, size_t *total) {
  (void)device;
  *free = *total = card_free;
  return FGSM_OK;
}

static fgsm_status card_alloc(struct fg_device *device, size_t bytes, void **out) {
  card_taken += bytes;
  return fg_cpu.alloc(device, bytes, out);
}

static fgsm_status attack_on_card(const struct fg_onnx *onnx, size_t bytes) {
  struct fg_attacker *a = NULL;
  struct fg_device *device = NULL;
  struct fg_sample_shape shape = image_net_shape(8);
  fgsm_options *o = options_from("eps=0.1 threads=1");
  card = fg_cpu;
  card.host_memory = false;
  card.memory = card_memory;
  card.alloc = card_alloc;
  card_free = bytes;
  card_taken = 0;
  cr_assert_eq(open_cpu(NULL, &device), FGSM_OK);
  device->backend = &card;
  fgsm_status status = fg_attacker_create(onnx, o, device, &shape, NULL, 4, &a);
  fg_attacker_destroy(a);
  fgsm_options_destroy(o);
  return status;
}

/* Two passes have the weights. */
Test(memory, weights_that_a_card_has_no_room_for_are_refused_before_they_are_uploaded) {
  struct fg_onnx *onnx = wide_net();
  cr_expect_eq(attack_on_card(onnx, 64 << 20), FGSM_OK, "%s", fgsm_last_error());
  cr_expect_leq(card_taken, (size_t)64 << 20);
  cr_expect_eq(attack_on_card(onnx, 24 << 20), FGSM_MEMORY);
  cr_expect(strstr(fgsm_last_error(), "needs at least 32"), "%s", fgsm_last_error());
  cr_expect_leq(card_taken, (size_t)24 << 20, "%zu", card_taken);
  cr_expect_eq(attack_on_card(onnx, 8 << 20), FGSM_MEMORY);
  cr_expect_eq(card_taken, 0, "%zu", card_taken);
  fg_onnx_close(onnx);
}

/* ---- what is said is what is taken */

#ifndef FG_SANITIZED /* which takes much more */
static void run_once(const struct fg_onnx *onnx, int64_t side, int64_t batch, size_t *said) {
  struct fg_sample_shape shape = image_net_shape(side);
  struct fg_attacker *a = NULL;
  struct fg_device *device = NULL;
  cr_assert_eq(open_cpu(NULL, &device), FGSM_OK);
  fgsm_options *o = options_from("eps=0.1 threads=1 device=cpu max-memory=64G");
  size_t n = (size_t)(batch * CHANNELS * side * side);
  cr_assert_eq(fg_attacker_create(onnx, o, device, &shape, NULL, batch, &a), FGSM_OK, "%s",
               fgsm_last_error());
  *said = fg_attacker_info(a)->memory_bytes;
  float *x = calloc(n, sizeof *x), *adv = malloc(n * sizeof *adv);
  int64_t *labels = calloc((size_t)batch, sizeof *labels), *index = calloc((size_t)batch, 8);
  fgsm_result *results = calloc((size_t)batch, sizeof *results);
  cr_assert(x && adv && labels && index && results);
  void *out = adv;
  cr_assert_eq(fg_attacker_run(a, batch, x, labels, NULL, index, &out, &results), FGSM_OK, "%s",
               fgsm_last_error());
  free(results);
  free(index);
  free(labels);
  free(adv);
  free(x);
  fg_attacker_destroy(a);
  fgsm_options_destroy(o);
}

Test(memory, the_peak_is_near_what_was_said) {
  static const int64_t sides[] = {64, 128};
  for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
    int64_t side = sides[i], batch = 32;
    struct fg_onnx *onnx = image_net(side, -1), *small = image_net(8, -1);
    size_t said = 0, ignored = 0;
    struct rusage before, after;
    run_once(small, 8, 1, &ignored); /* libraries come in with the first */
    getrusage(RUSAGE_SELF, &before);
    run_once(onnx, side, batch, &said);
    getrusage(RUSAGE_SELF, &after);
    /* the caller's own arrays of samples are not the attacker's */
    double took = 1024.0 * (double)(after.ru_maxrss - before.ru_maxrss) -
                  2.0 * (double)(batch * CHANNELS * side * side) * sizeof(float);
    cr_expect(took < 1.1 * (double)said + 16.0 * (double)MIB, "side %lld: %.0f MiB, %.0f were said",
              (long long)side, took / (double)MIB, (double)said / (double)MIB);
    cr_expect(took > 0.5 * (double)said, "side %lld: %.0f MiB, %.0f were said", (long long)side,
              took / (double)MIB, (double)said / (double)MIB);
    fg_onnx_close(onnx);
  }
}
#endif

Test(memory, the_share_respects_the_process_own_limit) {
  struct rlimit limit = {(rlim_t)4 << 30, RLIM_INFINITY};
  size_t before = fg_memory_share();
  cr_expect(before >= (size_t)(64 * MIB), "%zu", before);
#ifndef FG_SANITIZED
  cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
  cr_expect(fg_memory_share() <= (size_t)3 << 30, "%zu", fg_memory_share());
#endif
  (void)limit;
}
