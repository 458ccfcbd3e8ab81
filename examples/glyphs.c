/* glyphs: draws the demo's dataset, 16 classes of 28x28 grey glyphs, as IDX files.
 *
 * Idea: a glyph is a few lines and arcs; a sample is that glyph bent, warped, thickened, drawn
 * with anti-aliasing and covered with noise, every number taken from Philox4x32-10 with the seed
 * as its key and (sample, split, stream) as its counter.
 * Invariant: all the arithmetic is on integers and sample i uses no other sample, so the bytes of
 * sample i are the same for every compiler, optimisation level and sample count, and each run of
 * 16 samples that starts at a multiple of 16 holds every class once. A file has its final name
 * only when it is whole. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { SIDE = 28, PIXELS = SIDE * SIDE, CLASSES = 16, MAX_STROKES = 4 };
enum { EXIT_USAGE = 2, EXIT_DATA = 4 };
enum { ONE = 256 };      /* lengths in the image are in 1/256 of a pixel ("q8") */
enum { FULL_TURN = 24 }; /* angles are in steps of 15 degrees, clockwise from "right" */

/* ---- randomness ------------------------------------------------------------------------------ */

struct rng {
  uint32_t key[2], counter[4], out[4];
  int left; /* words of out not yet given away */
};

/* Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). */
static void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t c[4]) {
  memcpy(c, counter, 4 * sizeof *c);
  for (uint32_t round = 0; round < 10; round++) {
    uint32_t k0 = key[0] + round * 0x9E3779B9u, k1 = key[1] + round * 0xBB67AE85u;
    uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b,
                        (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a};
    memcpy(c, next, sizeof next);
  }
}

enum stream { STREAM_LABEL, STREAM_SHAPE, STREAM_NOISE };

static struct rng rng_open(uint64_t seed, uint32_t split, uint32_t index, enum stream stream) {
  return (struct rng){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                      .counter = {0, index, split, (uint32_t)stream}};
}

static uint32_t rng_word(struct rng *r) {
  if (r->left == 0) {
    philox(r->counter, r->key, r->out);
    r->counter[0]++;
    r->left = 4;
  }
  return r->out[--r->left];
}

/* Uniform integer in lo..hi, both included. */
static int rng_in(struct rng *r, int lo, int hi) {
  return lo + (int)(((uint64_t)rng_word(r) * (uint64_t)(hi - lo + 1)) >> 32);
}

/* ---- the alphabet ---------------------------------------------------------------------------- */

/* Coordinates: x to the right and y down from the glyph's centre, about +-28 by +-44 units.
 * A line goes from (a, b) to (c, d); an arc lies on the ellipse centred on (a, b) with radii
 * (c, d) and goes clockwise from angle `from` to angle `to`. */
struct stroke {
  enum { END, LINE, ARC } kind;
  int a, b, c, d, from, to;
};

struct glyph {
  char name;
  struct stroke strokes[MAX_STROKES + 1];
};

#define L(a, b, c, d)                                                                              \
  { LINE, a, b, c, d, 0, 0 }
#define A(a, b, c, d, from, to)                                                                    \
  { ARC, a, b, c, d, from, to }
static const struct glyph alphabet[CLASSES] = {
    {'0', {A(0, 0, 27, 44, 0, 24)}},
    {'1', {L(-14, -28, 4, -44), L(4, -44, 4, 44)}},
    {'2', {A(0, -20, 25, 24, 13, 26), L(22, -8, -27, 44), L(-27, 44, 28, 44)}},
    {'3', {A(-2, -22, 24, 22, 14, 30), A(-2, 22, 27, 22, 18, 34)}},
    {'4', {L(12, -44, -28, 16), L(-28, 16, 28, 16), L(12, -44, 12, 44)}},
    {'5', {L(24, -44, -20, -44), L(-20, -44, -21, -3), A(-2, 16, 27, 27, 15, 34)}},
    {'6', {A(0, 20, 26, 24, 0, 24), A(20, 18, 46, 62, 12, 18)}},
    {'7', {L(-27, -44, 27, -44), L(27, -44, -8, 44)}},
    {'8', {A(0, -22, 22, 22, 0, 24), A(0, 22, 26, 22, 0, 24)}},
    {'9', {A(0, -20, 26, 24, 0, 24), A(-20, -18, 46, 62, 0, 6)}},
    {'A', {L(-28, 44, 0, -44), L(0, -44, 28, 44), L(-17, 12, 17, 12)}},
    {'C', {A(2, 0, 29, 44, 3, 21)}},
    {'E', {L(-24, -44, -24, 44), L(-24, -44, 24, -44), L(-24, 0, 18, 0), L(-24, 44, 24, 44)}},
    {'F', {L(-24, -44, -24, 44), L(-24, -44, 24, -44), L(-24, 0, 18, 0)}},
    {'H', {L(-25, -44, -25, 44), L(25, -44, 25, 44), L(-25, 0, 25, 0)}},
    {'T', {L(-28, -44, 28, -44), L(0, -44, 0, 44)}},
};

/* cos(15 degrees * step) * 2^14 for any step >= 0. */
static int cosine(int step) {
  static const int quarter[7] = {16384, 15826, 14189, 11585, 8192, 4240, 0};
  step %= FULL_TURN;
  if (step > FULL_TURN / 2)
    step = FULL_TURN - step;
  return step <= 6 ? quarter[step] : -quarter[12 - step];
}

static int sine(int step) {
  return cosine(step + 18);
}

/* ---- drawing --------------------------------------------------------------------------------- */

struct point {
  int x, y;
};

/* How one sample differs from the alphabet. */
struct hand {
  int m[2][2];          /* warp, 2^16 * pixels per unit */
  int shift_x, shift_y; /* centre, q8 */
  int bend_x, bend_y;   /* units moved at the glyph's ends */
  int radius;           /* half the stroke's width, q8 */
  int paper, ink;       /* grey of the background and of the stroke, 0..255 */
  int noise;            /* amplitude, 0..255 */
};

/* Squared distance of the nearest stroke to every pixel's centre, q8 * q8. */
typedef int32_t field[SIDE][SIDE];

static struct hand hand_draw(struct rng *r) {
  struct hand h;
  int64_t one = 1 << 16;
  int64_t t = rng_in(r, -11600, 11600); /* tan(half the rotation) * 2^16: +-20 degrees */
  int64_t c = (one * one - t * t) * one / (one * one + t * t);
  int64_t s = 2 * t * one * one / (one * one + t * t);
  int64_t shear = rng_in(r, -22000, 22000);
  int64_t size_x = rng_in(r, 9800, 15700), size_y = rng_in(r, 10500, 15700); /* 0.15..0.24 px */
  int64_t slant = shear * size_y / one;
  h.m[0][0] = (int)(c * size_x / one);
  h.m[0][1] = (int)((c * slant - s * size_y) / one);
  h.m[1][0] = (int)(s * size_x / one);
  h.m[1][1] = (int)((s * slant + c * size_y) / one);
  h.shift_x = SIDE * ONE / 2 + rng_in(r, -640, 640);
  h.shift_y = SIDE * ONE / 2 + rng_in(r, -512, 512);
  h.bend_x = rng_in(r, -14, 14);
  h.bend_y = rng_in(r, -14, 14);
  h.radius = rng_in(r, 130, 380);
  h.paper = rng_in(r, 0, 70);
  h.ink = rng_in(r, 140, 255);
  h.noise = rng_in(r, 8, 80);
  return h;
}

/* Maps a point in units * 256 to the image: first the bend (a parabola), then the warp. */
static struct point hand_map(const struct hand *h, int x, int y) {
  const int64_t reach = 45 * ONE;
  int64_t u = x + (int64_t)h->bend_x * ONE * y / reach * y / reach;
  int64_t v = y + (int64_t)h->bend_y * ONE * x / reach * x / reach;
  return (struct point){(int)((h->m[0][0] * u + h->m[0][1] * v) / 65536) + h->shift_x,
                        (int)((h->m[1][0] * u + h->m[1][1] * v) / 65536) + h->shift_y};
}

static int clamp(int v, int lo, int hi) {
  return v < lo ? lo : v > hi ? hi : v;
}
static int min(int a, int b) {
  return a < b ? a : b;
}
static int max(int a, int b) {
  return a > b ? a : b;
}

/* Lowers `near` around the segment p-q, as far as a stroke of this radius can be seen. */
static void draw_segment(field near, struct point p, struct point q, int radius) {
  int margin = radius + ONE;
  int x0 = clamp((min(p.x, q.x) - margin) / ONE, 0, SIDE);
  int x1 = clamp((max(p.x, q.x) + margin) / ONE + 1, 0, SIDE);
  int y0 = clamp((min(p.y, q.y) - margin) / ONE, 0, SIDE);
  int y1 = clamp((max(p.y, q.y) + margin) / ONE + 1, 0, SIDE);
  int64_t dx = q.x - p.x, dy = q.y - p.y, length2 = dx * dx + dy * dy;
  for (int y = y0; y < y1; y++)
    for (int x = x0; x < x1; x++) {
      int64_t ux = x * ONE + ONE / 2 - p.x, uy = y * ONE + ONE / 2 - p.y;
      int64_t along = ux * dx + uy * dy, d2 = ux * ux + uy * uy;
      if (along >= length2) /* beyond q, or p and q are the same point */
        d2 = (ux - dx) * (ux - dx) + (uy - dy) * (uy - dy);
      else if (along > 0)
        d2 -= along * along / length2;
      if (d2 < near[y][x])
        near[y][x] = (int32_t)d2;
    }
}

static void draw_stroke(field near, const struct hand *h, const struct stroke *s) {
  bool line = s->kind == LINE;
  int pieces = line ? 4 : s->to - s->from; /* a line too has pieces, so that it can bend */
  struct point p = {0, 0};
  for (int i = 0; i <= pieces; i++) {
    int angle = s->from + i;
    int x = line ? (s->a * (4 - i) + s->c * i) * (ONE / 4)
                 : s->a * ONE + s->c * cosine(angle) / (16384 / ONE);
    int y = line ? (s->b * (4 - i) + s->d * i) * (ONE / 4)
                 : s->b * ONE + s->d * sine(angle) / (16384 / ONE);
    struct point q = hand_map(h, x, y);
    if (i > 0)
      draw_segment(near, p, q, h->radius);
    p = q;
  }
}

/* Floor of the square root. */
static int root(int32_t v) {
  int r = 0;
  for (int bit = 1 << 15; bit; bit >>= 1)
    if ((int64_t)(r + bit) * (r + bit) <= v)
      r += bit;
  return r;
}

/* Draws sample `index` of `split` and returns its label; row-major, 0 = black. */
static int sample_draw(uint64_t seed, uint32_t split, uint32_t index, uint8_t pixels[PIXELS]) {
  struct rng order = rng_open(seed, split, index / CLASSES, STREAM_LABEL);
  int label = (int)((index ^ rng_word(&order)) % CLASSES); /* XOR permutes 0..15 */
  struct rng shape = rng_open(seed, split, index, STREAM_SHAPE);
  struct rng noise = rng_open(seed, split, index, STREAM_NOISE);
  struct hand h = hand_draw(&shape);
  field near;
  for (int i = 0; i < PIXELS; i++)
    near[i / SIDE][i % SIDE] = INT32_MAX;
  for (const struct stroke *s = alphabet[label].strokes; s->kind != END; s++)
    draw_stroke(near, &h, s);
  for (int i = 0; i < PIXELS; i++) {
    int cover = clamp(h.radius + ONE / 2 - root(near[i / SIDE][i % SIDE]), 0, ONE);
    uint32_t w = rng_word(&noise); /* the sum of four bytes is nearly normal, sigma 148 */
    int sum = (int)((w & 255) + (w >> 8 & 255) + (w >> 16 & 255) + (w >> 24)) - 510;
    int grey = h.paper + (h.ink - h.paper) * cover / ONE + sum * h.noise / 256;
    pixels[i] = (uint8_t)clamp(grey, 0, 255);
  }
  return label;
}

/* ---- files ----------------------------------------------------------------------------------- */

struct options {
  const char *out;
  uint32_t count[2]; /* train, test */
  uint64_t seed;
  bool gz;
};

/* One IDX file being written under a temporary name. */
struct file {
  char name[PATH_MAX], part[PATH_MAX];
  gzFile z;
};

static bool complain(const char *what, const char *path, const char *why) {
  fprintf(stderr, "glyphs: %s %s: %s\n", what, path, why);
  return false;
}

static void put_be32(uint8_t *p, uint32_t v) {
  for (int i = 0; i < 4; i++)
    p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static bool file_write(struct file *f, const void *data, unsigned n_bytes) {
  if (gzwrite(f->z, data, n_bytes) == (int)n_bytes)
    return true;
  int code = 0;
  const char *why = gzerror(f->z, &code);
  return complain("cannot write", f->part, code == Z_ERRNO ? strerror(errno) : why);
}

/* Opens the temporary file and writes the IDX header of uint8 data with `rank` dimensions. */
static bool file_open(struct file *f, const struct options *o, int split, int rank) {
  const char *set = split == 0 ? "train" : "test", *what = rank == 3 ? "images" : "labels";
  int n = snprintf(f->name, sizeof f->name, "%s/glyphs-%s-%s-idx%d-ubyte%s", o->out, set, what,
                   rank, o->gz ? ".gz" : "");
  if (n < 0 || n >= PATH_MAX - 32)
    return complain("cannot create", o->out, strerror(ENAMETOOLONG));
  snprintf(f->part, sizeof f->part, "%.*s.%ld.part", n, f->name, (long)getpid());
  errno = 0;
  f->z = gzopen(f->part, o->gz ? "wb6" : "wbT"); /* T: as it is, not compressed */
  if (!f->z)
    return complain("cannot create", f->part, strerror(errno ? errno : ENOMEM));
  uint8_t head[16] = {0, 0, 8, (uint8_t)rank};
  put_be32(head + 4, o->count[split]);
  put_be32(head + 8, SIDE);
  put_be32(head + 12, SIDE);
  return file_write(f, head, rank == 3 ? 16 : 8);
}

static bool file_close(struct file *f) {
  int code = gzclose(f->z);
  f->z = NULL;
  if (code == Z_OK)
    return true;
  return complain("cannot write", f->part, code == Z_ERRNO ? strerror(errno) : "zlib failed");
}

static bool write_split(const struct options *o, int split, struct file *images,
                        struct file *labels) {
  if (!file_open(images, o, split, 3) || !file_open(labels, o, split, 1))
    return false;
  for (uint32_t i = 0; i < o->count[split]; i++) {
    uint8_t pixels[PIXELS];
    uint8_t label = (uint8_t)sample_draw(o->seed, (uint32_t)split, i, pixels);
    if (!file_write(images, pixels, PIXELS) || !file_write(labels, &label, 1))
      return false;
  }
  return file_close(images) && file_close(labels);
}

/* Writes all four files, and only then gives them their names. */
static bool write_dataset(const struct options *o) {
  static struct file files[4];
  if (mkdir(o->out, 0777) != 0 && errno != EEXIST)
    return complain("cannot create", o->out, strerror(errno));
  bool ok = write_split(o, 0, &files[0], &files[1]) && write_split(o, 1, &files[2], &files[3]);
  for (int i = 0; i < 4 && ok; i++)
    ok = rename(files[i].part, files[i].name) == 0 ||
         complain("cannot create", files[i].name, strerror(errno));
  for (int i = 0; i < 4; i++) { /* leave nothing behind that has not got its final name */
    if (files[i].z)
      gzclose(files[i].z);
    unlink(files[i].part);
  }
  return ok;
}

/* ---- the command ----------------------------------------------------------------------------- */

static void usage(FILE *to) {
  fprintf(to, "usage: glyphs --out DIR [--train N] [--test N] [--seed N] [--gz]\n"
              "Draws glyphs of 16 classes, 28x28 grey bytes, into four IDX files in DIR.\n"
              "  --out DIR    folder of the files; made if its parent exists\n"
              "  --train N    training samples (default 20000)\n"
              "  --test N     test samples (default 5000)\n"
              "  --seed N     another dataset for every seed (default 1)\n"
              "  --gz         compress the files\n"
              "classes:");
  for (int i = 0; i < CLASSES; i++)
    fprintf(to, " %d=%c", i, alphabet[i].name);
  fprintf(to, "\nexit codes: 0 ok, 2 bad option, 4 the files could not be written\n");
}

static bool parse_number(const char *option, const char *text, uint64_t most, uint64_t *value) {
  char *end = NULL;
  errno = 0;
  unsigned long long v = strtoull(text, &end, 10);
  if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || v > most) {
    fprintf(stderr, "glyphs: --%s takes a number from 0 to %" PRIu64 ", not '%s'\n", option, most,
            text);
    return false;
  }
  *value = v;
  return true;
}

int main(int argc, char **argv) {
  enum { OUT, TRAIN, TEST, SEED, GZ, HELP };
  static const struct option table[] = {{"out", required_argument, NULL, OUT},
                                        {"train", required_argument, NULL, TRAIN},
                                        {"test", required_argument, NULL, TEST},
                                        {"seed", required_argument, NULL, SEED},
                                        {"gz", no_argument, NULL, GZ},
                                        {"help", no_argument, NULL, HELP},
                                        {NULL, 0, NULL, 0}};
  struct options o = {.count = {20000, 5000}, .seed = 1};
  for (int c = 0; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
    uint64_t v = 0;
    bool ok = c != '?';
    if (c == HELP)
      return usage(stdout), fflush(stdout) ? EXIT_DATA : 0;
    if (c == OUT)
      o.out = optarg;
    if (c == GZ)
      o.gz = true;
    if (c == TRAIN || c == TEST) {
      ok = parse_number(table[c].name, optarg, INT32_MAX, &v);
      o.count[c == TEST] = (uint32_t)v;
    }
    if (c == SEED)
      ok = parse_number("seed", optarg, UINT64_MAX, &o.seed);
    if (!ok)
      return usage(stderr), EXIT_USAGE;
  }
  if (optind < argc)
    fprintf(stderr, "glyphs: unexpected argument '%s'\n", argv[optind]);
  if (optind < argc || !o.out || !o.out[0])
    return usage(stderr), EXIT_USAGE;
  if (!write_dataset(&o))
    return EXIT_DATA;
  printf("%s: %" PRIu32 " train and %" PRIu32 " test glyphs of %d classes, seed %" PRIu64 "\n",
         o.out, o.count[0], o.count[1], CLASSES, o.seed);
  return fflush(stdout) ? EXIT_DATA : 0;
}
