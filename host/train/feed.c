/* The dataset in memory. What an epoch does to a sample depends on seed, epoch and the sample's
 * number alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "philox.h"
#include "train.h"

enum { PAD = 4 };
/* A stream of randomness beside those of noise, which are numbered by epochs, and that of moves. */
static const uint32_t STREAM_ORDER = 0xFFFFFFFEu;

static fgsm_status read_all(struct fg_feed *feed, struct fg_dataset *dataset, const char *data) {
  size_t bytes = (size_t)feed->count * fg_type_size(feed->info.type);
  int64_t got;
  for (int64_t done = 0; done < feed->n; done += got) {
    FG_TRY(fg_check_interrupt());
    FG_TRY(fg_dataset_read(dataset, feed->n - done, feed->x + (size_t)done * bytes,
                           feed->labels + done, NULL, &got));
    if (got < 1)
      return FG_FAIL(DATA, "%s: ends before its last sample", data);
  }
  for (int64_t i = 0; i < feed->n; i++)
    if (feed->labels[i] < 0)
      return FG_FAIL(DATA, "%s: sample %lld has no label", data, (long long)(feed->start + i));
  return FGSM_OK;
}

size_t fg_feed_bytes(const struct fg_feed *feed) {
  size_t sample = (size_t)feed->count * fg_type_size(feed->info.type);
  return (size_t)feed->n * (sample + sizeof *feed->labels + sizeof *feed->order);
}

static fgsm_status allocate(struct fg_feed *feed, const struct fgsm_options *options) {
  char need[32], limit[32];
  int64_t bytes;
  feed->count = 1;
  for (int i = 0; i < feed->info.rank; i++)
    if (!fg_mul_ok(feed->count, feed->info.dim[i], &feed->count))
      return FG_FAIL(DATA, "a sample's shape is too large");
  if (!fg_mul_ok(feed->n, feed->count, &bytes) ||
      !fg_mul_ok(bytes, (int64_t)fg_type_size(feed->info.type), &bytes))
    return FG_FAIL(MEMORY, "%lld samples do not fit into memory", (long long)feed->n);
  if (fg_feed_bytes(feed) > fg_options_memory(options))
    return FG_FAIL(
        UNSUPPORTED,
        "%lld samples take %s of memory, more than the %s of --max-memory; --limit takes "
        "fewer",
        (long long)feed->n, fg_memory_text(fg_feed_bytes(feed), need),
        fg_memory_text(fg_options_memory(options), limit));
  feed->x = malloc((size_t)bytes + 1);
  feed->labels = malloc((size_t)feed->n * sizeof *feed->labels + 1);
  feed->order = malloc((size_t)feed->n * sizeof *feed->order + 1);
  return feed->x && feed->labels && feed->order
             ? FGSM_OK
             : FG_FAIL(MEMORY, "no memory for %lld samples of %lld values", (long long)feed->n,
                       (long long)feed->count);
}

static fgsm_status split(struct fg_feed *feed, const char *data,
                         const struct fgsm_options *options) {
  FG_TRY(fg_dataset_range(data, &feed->info, options->start, options->limit, &feed->n));
  int64_t tenth = feed->n / 10, held = options->validation;
  if (held < 0)
    held = tenth < 1000 ? tenth : 1000;
  feed->n_train = feed->n - held;
  if (feed->n_train < 1)
    return FG_FAIL(DATA,
                   "%s: %lld samples from sample %lld on, of which %lld are held out: none is "
                   "left to train on",
                   data, (long long)feed->n, (long long)options->start, (long long)held);
  return FGSM_OK;
}

fgsm_status fg_feed_open(const char *data, const struct fgsm_options *options,
                         struct fg_feed *feed) {
  struct fg_dataset *dataset = NULL;
  *feed = (struct fg_feed){.start = options->start, .seed = options->seed, .epoch = -1};
  feed->crop = strstr(options->augment, "crop") != NULL;
  feed->flip = strstr(options->augment, "flip") != NULL;
  FG_TRY(fg_dataset_open(data, options->labels, &dataset));
  feed->info = *fg_dataset_info(dataset);
  feed->shape = (struct fg_sample_shape){.type = feed->info.type, .rank = feed->info.rank};
  memcpy(feed->shape.dim, feed->info.dim, sizeof feed->shape.dim);
  fgsm_status status = split(feed, data, options);
  if (status == FGSM_OK && !feed->info.has_labels)
    status = FG_FAIL(DATA, "%s: has no labels; name a file with --labels", data);
  if (status == FGSM_OK && (feed->crop || feed->flip) && feed->info.rank != 2 &&
      feed->info.rank != 3)
    status = FG_FAIL(USAGE, "--augment: samples with %d axes are no images", feed->info.rank);
  if (status == FGSM_OK)
    status = allocate(feed, options);
  if (status == FGSM_OK)
    status = fg_dataset_seek(dataset, options->start);
  if (status == FGSM_OK)
    status = read_all(feed, dataset, data);
  fg_dataset_close(dataset);
  if (status != FGSM_OK)
    fg_feed_close(feed);
  return status;
}

void fg_feed_close(struct fg_feed *feed) {
  free(feed->x);
  free(feed->labels);
  free(feed->order);
  *feed = (struct fg_feed){0};
}

static void warn_of_missing(const int64_t *counts, int64_t classes, int64_t there) {
  char list[160] = "";
  for (int64_t c = 0; c < classes && strlen(list) + 24 < sizeof list; c++)
    if (counts[c] == 0)
      sprintf(list + strlen(list), "%s%lld", *list ? ", " : "", (long long)c);
  fg_log(FGSM_LOG_WARNING, "%lld of %lld classes have no sample to train on: %s%s",
         (long long)(classes - there), (long long)classes, list,
         strlen(list) + 24 < sizeof list ? "" : ", ...");
}

fgsm_status fg_feed_check(const struct fg_feed *feed, int64_t classes) {
  for (int64_t i = 0; i < feed->n; i++)
    if (feed->labels[i] >= classes)
      return FG_FAIL(DATA, "sample %lld has label %lld, and the model has %lld classes",
                     (long long)(feed->start + i), (long long)feed->labels[i], (long long)classes);
  int64_t *counts = calloc((size_t)classes + 1, sizeof *counts), there = 0;
  if (!counts)
    return FG_FAIL(MEMORY, "no memory for %lld classes", (long long)classes);
  for (int64_t i = 0; i < feed->n_train; i++)
    there += counts[feed->labels[i]]++ == 0;
  if (there > 1 && there < classes)
    warn_of_missing(counts, classes, there);
  int64_t only = feed->labels[0];
  free(counts);
  return there > 1
             ? FGSM_OK
             : FG_FAIL(DATA, "all samples to train on are of class %lld: nothing to tell apart",
                       (long long)only);
}

/* Fisher and Yates, each place's draw keyed by the place. */
void fg_feed_shuffle(struct fg_feed *feed, int64_t epoch) {
  for (int64_t i = 0; i < feed->n_train; i++)
    feed->order[i] = i;
  for (int64_t i = feed->n_train - 1; i > 0; i--) {
    struct fg_philox r = fg_philox_sample(feed->seed, i, STREAM_ORDER, (uint32_t)epoch);
    uint64_t word = (uint64_t)r.word[0] << 32 | r.word[1];
    int64_t j = (int64_t)(word % (uint64_t)(i + 1)), was = feed->order[i];
    feed->order[i] = feed->order[j];
    feed->order[j] = was;
  }
  feed->epoch = epoch;
}

/* One sample as [outer, height, width, inner]. */
struct image {
  int64_t outer, height, width, inner;
};

bool fg_feed_channels_last(const struct fg_feed *feed) {
  const int64_t *d = feed->info.dim;
  return feed->info.rank == 3 && d[0] != 1 && d[0] != 3 && d[0] != 4 &&
         (d[2] == 1 || d[2] == 3 || d[2] == 4);
}

static struct image image_of(const struct fg_feed *feed) {
  const int64_t *d = feed->info.dim;
  if (feed->info.rank == 2)
    return (struct image){1, d[0], d[1], 1};
  return fg_feed_channels_last(feed) ? (struct image){1, d[0], d[1], d[2]}
                                     : (struct image){d[0], d[1], d[2], 1};
}

/* Moved by dy, dx, zeros where it comes from outside, then mirrored. */
static void move(const struct image *m, size_t size, const unsigned char *from, int64_t dy,
                 int64_t dx, bool flip, unsigned char *to) {
  size_t place = (size_t)m->inner * size;
  for (int64_t o = 0; o < m->outer; o++)
    for (int64_t y = 0; y < m->height; y++)
      for (int64_t x = 0; x < m->width; x++) {
        int64_t sy = y + dy, sx = (flip ? m->width - 1 - x : x) + dx;
        unsigned char *t = to + (size_t)((o * m->height + y) * m->width + x) * place;
        if (sy < 0 || sy >= m->height || sx < 0 || sx >= m->width)
          memset(t, 0, place);
        else
          memcpy(t, from + (size_t)((o * m->height + sy) * m->width + sx) * place, place);
      }
}

struct fg_augment_attrs fg_feed_augment(const struct fg_feed *feed) {
  bool first = feed->info.rank == 2 || fg_feed_channels_last(feed);
  return (struct fg_augment_attrs){first ? 1 : 2, feed->crop ? PAD : 0, feed->flip};
}

void fg_feed_batch(const struct fg_feed *feed, int64_t at, int64_t n, void *x, int64_t *labels,
                   int64_t *index) {
  size_t size = fg_type_size(feed->info.type), bytes = (size_t)feed->count * size;
  struct image image = {0};
  if (feed->crop || feed->flip)
    image = image_of(feed);
  for (int64_t i = 0; i < n; i++) {
    int64_t sample = feed->order[at + i];
    const unsigned char *from = feed->x + (size_t)sample * bytes;
    labels[i] = feed->labels[sample];
    index[i] = sample;
    if (!x)
      continue;
    unsigned char *to = (unsigned char *)x + (size_t)i * bytes;
    if (!feed->crop && !feed->flip) {
      memcpy(to, from, bytes);
      continue;
    }
    struct fg_philox_move m =
        fg_philox_move(feed->seed, sample, (uint32_t)feed->epoch, feed->crop ? PAD : 0, feed->flip);
    move(&image, size, from, m.dy, m.dx, m.mirrored, to);
  }
}
