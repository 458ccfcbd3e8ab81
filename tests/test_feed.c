/* The dataset in memory: each epoch a permutation, augmentation keyed by seed, epoch and sample alone. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "attacking.h"
#include "train.h"

enum { N = 60, SIDE = 8, COUNT = SIDE * SIDE };

/* Sample i, all of whose pixels are told apart: 1 + (i + 7 k) mod 255 at place k. */
static unsigned char pixel(int64_t sample, int64_t k) {
  return (unsigned char)(1 + (sample + 7 * k) % 255);
}

static struct fg_feed make(const char *augment, uint64_t seed) {
  struct fg_feed feed = {.info = {.type = FG_U8, .rank = 2, .dim = {SIDE, SIDE}},
                         .n = N,
                         .n_train = N - 10,
                         .count = COUNT,
                         .seed = seed,
                         .crop = strstr(augment, "crop") != NULL,
                         .flip = strstr(augment, "flip") != NULL};
  feed.x = malloc(N * COUNT);
  feed.labels = malloc(N * sizeof *feed.labels);
  feed.order = malloc(N * sizeof *feed.order);
  cr_assert(feed.x && feed.labels && feed.order);
  for (int64_t i = 0; i < N; i++) {
    feed.labels[i] = i % 3;
    for (int64_t k = 0; k < COUNT; k++)
      feed.x[i * COUNT + k] = pixel(i, k);
  }
  return feed;
}

struct batch {
  unsigned char x[N * COUNT];
  int64_t labels[N], index[N];
};

/* A whole epoch in batches of n. */
static void draw(struct fg_feed *feed, int64_t epoch, int64_t n, struct batch *b) {
  fg_feed_shuffle(feed, epoch);
  for (int64_t at = 0; at < feed->n_train; at += n)
    fg_feed_batch(feed, at, n, b->x + at * COUNT, b->labels + at, b->index + at);
}

Test(feed, an_epoch_is_a_permutation_of_what_is_trained_on) {
  struct fg_feed feed = make("none", 3);
  struct batch *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
  int seen[N] = {0}, moved = 0;
  cr_assert(a && b);
  draw(&feed, 0, 10, a);
  draw(&feed, 1, 10, b);
  for (int64_t i = 0; i < feed.n_train; i++) {
    seen[a->index[i]]++;
    moved += a->index[i] != b->index[i];
    cr_expect_eq(a->labels[i], a->index[i] % 3);
    cr_expect_eq(a->x[i * COUNT + 5], pixel(a->index[i], 5));
  }
  for (int64_t i = 0; i < N; i++)
    cr_expect_eq(seen[i], i < feed.n_train, "sample %lld came %d times", (long long)i, seen[i]);
  cr_expect_gt(moved, N / 2, "two epochs are alike");
  free(a);
  free(b);
  fg_feed_close(&feed);
}

Test(feed, augmentation_depends_on_seed_epoch_and_sample_alone) {
  struct fg_feed feed = make("crop-flip", 3), other = make("crop-flip", 4);
  struct batch *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
  cr_assert(a && b);
  draw(&feed, 2, 10, a);
  draw(&feed, 2, 25, b);
  cr_expect(memcmp(a, b, sizeof *a) == 0, "the batch's size matters");
  draw(&feed, 3, 10, b);
  cr_expect(memcmp(a->x, b->x, sizeof a->x) != 0, "two epochs are alike");
  draw(&other, 2, 10, b);
  cr_expect(memcmp(a->x, b->x, sizeof a->x) != 0, "two seeds are alike");
  free(a);
  free(b);
  fg_feed_close(&feed);
  fg_feed_close(&other);
}

/* Every sample is its original, moved by up to 4 places each way, and mirrored or not. */
Test(feed, crops_and_flips_are_of_the_original) {
  struct fg_feed feed = make("crop-flip", 5);
  struct batch *a = calloc(1, sizeof *a);
  int mirrored = 0, at_rest = 0;
  cr_assert(a);
  draw(&feed, 0, 10, a);
  for (int64_t i = 0; i < feed.n_train; i++) {
    int found = 0;
    for (int flip = 0; flip < 2; flip++)
      for (int dy = -4; dy <= 4; dy++)
        for (int dx = -4; dx <= 4; dx++) {
          bool same = true;
          for (int y = 0; y < SIDE && same; y++)
            for (int x = 0; x < SIDE && same; x++) {
              int sy = y + dy, sx = (flip ? SIDE - 1 - x : x) + dx;
              bool in = sy >= 0 && sy < SIDE && sx >= 0 && sx < SIDE;
              same =
                  a->x[i * COUNT + y * SIDE + x] == (in ? pixel(a->index[i], sy * SIDE + sx) : 0);
            }
          found += same;
          mirrored += same && flip;
          at_rest += same && dy == 0 && dx == 0;
        }
    cr_expect_eq(found, 1, "sample %lld is %d moved originals", (long long)a->index[i], found);
  }
  cr_expect(mirrored > 10 && mirrored < 40, "%d of 50 are mirrored", mirrored);
  cr_expect_lt(at_rest, 10, "%d of 50 did not move", at_rest);
  free(a);
  fg_feed_close(&feed);
}
