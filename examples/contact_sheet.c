/* contact_sheet: a PNG in which clean and attacked images stand one under the other.
 *
 * Idea: the first row shows the clean images; each attacked file adds a row of its images and a row
 * of what was added to them, amplified around middle grey. The legend is text on standard output:
 * labels and predictions, from the records.csv that fgsm writes beside an attacked file.
 * Invariant: nothing is read of a file beyond the images shown, dimensions are checked before they
 * are multiplied, and the PNG has its name only when it is whole. Reads IDX (bytes) and .npy
 * (bytes, or float32 in 0..1), gzipped or not; grey or RGB, channels first or last. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <png.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { EXIT_USAGE = 2, EXIT_DATA = 4 };
enum { MOST_FILES = 17, MOST_IMAGES = 64, MOST_SIDE = 512, MOST_ZOOM = 16 };
enum { GAP = 2, MIDDLE = 128 };

/* The first images of a file. */
struct images {
  const char *path;
  int n, channels, height, width;
  float *v; /* [n][height][width][channels], 0..255 */
};

static bool complain(const char *path, const char *why) {
  fprintf(stderr, "contact_sheet: %s: %s\n", path, why);
  return false;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* What a file's head says. */
struct head {
  bool is_float;
  int rank;
  long dim[4];
};

static bool read_exactly(gzFile z, const char *path, void *to, unsigned n_bytes) {
  if (gzread(z, to, n_bytes) == (int)n_bytes)
    return true;
  return complain(path, "unreadable, or shorter than its head says");
}

/* The rest of an IDX head, whose first four bytes are `magic`. */
static bool read_idx_head(gzFile z, const char *path, const uint8_t magic[4], struct head *head) {
  head->is_float = false;
  head->rank = magic[3];
  if (magic[2] != 8 || head->rank < 3 || head->rank > 4)
    return complain(path, "an IDX file, but not one of images in bytes");
  for (int i = 0; i < head->rank; i++) {
    uint8_t b[4];
    if (!read_exactly(z, path, b, 4))
      return false;
    head->dim[i] = (long)b[0] << 24 | (long)b[1] << 16 | (long)b[2] << 8 | (long)b[3];
  }
  return true;
}

/* The rest of a .npy head, which is a Python dict such as
 * {'descr': '|u1', 'fortran_order': False, 'shape': (5000, 28, 28), } */
static bool read_npy_head(gzFile z, const char *path, struct head *head) {
  uint8_t b[8]; /* "PY", version, length of the text */
  char text[4096];
  if (!read_exactly(z, path, b, 6))
    return false;
  unsigned length = b[4] | (unsigned)b[5] << 8;
  if (b[2] == 2 || b[2] == 3) {
    if (!read_exactly(z, path, b, 2))
      return false;
    length |= (unsigned)b[0] << 16 | (unsigned)b[1] << 24;
  }
  if (length >= sizeof text)
    return complain(path, "a .npy file with an overlong head");
  if (!read_exactly(z, path, text, length))
    return false;
  text[length] = '\0';
  bool is_byte = strstr(text, "'|u1'");
  head->is_float = strstr(text, "'<f4'");
  const char *at = strstr(text, "'shape': (");
  if (is_byte == head->is_float || !strstr(text, "'fortran_order': False") || !at)
    return complain(path, "a .npy file, but not of bytes or float32 in C order");
  at += strlen("'shape': (");
  for (head->rank = 0; *at >= '0' && *at <= '9'; head->rank++) {
    if (head->rank == 4)
      return complain(path, "more than four dimensions: not images");
    char *end;
    head->dim[head->rank] = strtol(at, &end, 10);
    at = end + strspn(end, ", ");
  }
  return true;
}

/* Finds channels, height and width in n x H x W, n x C x H x W or n x H x W x C. */
static bool interpret(const struct head *head, int count, struct images *im, bool *last) {
  const long *d = head->dim;
  bool first = head->rank == 4 && (d[1] == 1 || d[1] == 3);
  *last = head->rank == 4 && !first;
  long channels = head->rank == 3 ? 1 : first ? d[1] : d[3];
  long height = d[first ? 2 : 1], width = d[first ? 3 : 2];
  if (head->rank < 3 || (channels != 1 && channels != 3) || height < 1 || height > MOST_SIDE ||
      width < 1 || width > MOST_SIDE || d[0] < 1)
    return complain(im->path, "not grey or RGB images of at most 512 x 512");
  im->n = d[0] < count ? (int)d[0] : count;
  im->channels = (int)channels;
  im->height = (int)height;
  im->width = (int)width;
  return true;
}

static bool read_pixels(gzFile z, const struct head *head, bool last, struct images *im) {
  size_t places = (size_t)im->height * (size_t)im->width, c = (size_t)im->channels;
  size_t per_image = places * c, item = head->is_float ? sizeof(float) : 1;
  bool ok = false;
  uint8_t *raw = malloc(per_image * item);
  im->v = malloc((size_t)im->n * per_image * sizeof *im->v);
  if (!raw || !im->v) {
    complain(im->path, "no memory for the images");
    goto done;
  }
  for (size_t i = 0; i < (size_t)im->n; i++) {
    if (!read_exactly(z, im->path, raw, (unsigned)(per_image * item)))
      goto done;
    for (size_t j = 0; j < per_image; j++) {
      size_t from = last ? j : j % c * places + j / c;
      float x = raw[head->is_float ? 0 : from];
      if (head->is_float) {
        memcpy(&x, raw + from * item, item);
        x = x > 0 ? fminf(x, 1) * 255 : 0; /* NaN is black */
      }
      im->v[i * per_image + j] = x;
    }
  }
  ok = true;
done:
  free(raw);
  return ok;
}

/* Reads the first `count` images, or as many as there are. */
static bool images_read(struct images *im, const char *path, int count) {
  uint8_t magic[4];
  struct head head = {0};
  bool last = false;
  im->path = path;
  errno = 0;
  gzFile z = gzopen(path, "rb");
  if (!z)
    return complain(path, strerror(errno ? errno : ENOMEM));
  bool ok = read_exactly(z, path, magic, 4);
  if (ok && magic[0] == 0 && magic[1] == 0)
    ok = read_idx_head(z, path, magic, &head);
  else if (ok && memcmp(magic, "\x93NUM", 4) == 0)
    ok = read_npy_head(z, path, &head);
  else if (ok)
    ok = complain(path, "neither IDX nor .npy");
  ok = ok && interpret(&head, count, im, &last) && read_pixels(z, &head, last, im);
  gzclose(z);
  return ok;
}

/* ---- drawing --------------------------------------------------------------------------------- */

struct canvas {
  int width, height, zoom;
  uint8_t *rgb;
};

/* Image i of `im` (minus that of `less`, amplified, if not NULL) in a row and column of the sheet.
 */
static void draw(struct canvas *canvas, int row, const struct images *im, int i,
                 const struct images *less, float gain) {
  size_t c = (size_t)im->channels, per_image = (size_t)im->height * (size_t)im->width * c;
  const float *v = im->v + (size_t)i * per_image;
  const float *u = less ? less->v + (size_t)i * per_image : NULL;
  int zoom = canvas->zoom, top = GAP + row * (im->height * zoom + GAP);
  int left = GAP + i * (im->width * zoom + GAP);
  for (int y = 0; y < im->height * zoom; y++)
    for (int x = 0; x < im->width * zoom; x++) {
      size_t from = ((size_t)(y / zoom) * (size_t)im->width + (size_t)(x / zoom)) * c;
      uint8_t *to =
          canvas->rgb + ((size_t)(top + y) * (size_t)canvas->width + (size_t)(left + x)) * 3;
      for (size_t k = 0; k < 3; k++) {
        size_t at = from + (c == 3 ? k : 0);
        float p = u ? MIDDLE + gain * (v[at] - u[at]) : v[at];
        to[k] = (uint8_t)lrintf(fmaxf(0, fminf(p, 255)));
      }
    }
}

/* The whole factor by which differences fill the range of grey, at least 1. */
static float amplification(const struct images *a, const struct images *b) {
  size_t n = (size_t)a->n * (size_t)a->height * (size_t)a->width * (size_t)a->channels;
  float most = 0;
  for (size_t i = 0; i < n; i++)
    most = fmaxf(most, fabsf(a->v[i] - b->v[i]));
  return most > 0 ? fmaxf(1, floorf((MIDDLE - 1) / most)) : 1;
}

static bool sheet_write(const char *out, const struct images *im, int n_files, int zoom) {
  char part[PATH_MAX];
  int rows = 2 * n_files - 1;
  struct canvas canvas = {.width = GAP + im->n * (im->width * zoom + GAP),
                          .height = GAP + rows * (im->height * zoom + GAP),
                          .zoom = zoom};
  size_t bytes = (size_t)canvas.width * (size_t)canvas.height * 3;
  int length = snprintf(part, sizeof part, "%s.part", out);
  if (length < 0 || length >= (int)sizeof part)
    return complain(out, strerror(ENAMETOOLONG));
  canvas.rgb = malloc(bytes);
  if (!canvas.rgb)
    return complain(out, "no memory for the sheet");
  memset(canvas.rgb, 255, bytes);
  for (int f = 0; f < n_files; f++) {
    float gain = f ? amplification(&im[f], &im[0]) : 1;
    for (int i = 0; i < im->n; i++) {
      draw(&canvas, f ? 2 * f - 1 : 0, &im[f], i, NULL, 1);
      if (f)
        draw(&canvas, 2 * f, &im[f], i, &im[0], gain);
    }
    if (f)
      printf("rows %d and %d: %s, and what was added to the clean images, times %d around grey\n",
             2 * f, 2 * f + 1, im[f].path, (int)gain);
    else
      printf("row 1: %s\n", im[f].path);
  }
  png_image png = {.version = PNG_IMAGE_VERSION,
                   .width = (png_uint_32)canvas.width,
                   .height = (png_uint_32)canvas.height,
                   .format = PNG_FORMAT_RGB};
  bool ok =
      png_image_write_to_file(&png, part, 0, canvas.rgb, 0, NULL) || complain(part, png.message);
  ok = ok && (rename(part, out) == 0 || complain(out, strerror(errno)));
  if (!ok)
    remove(part);
  free(canvas.rgb);
  return ok;
}

/* ---- legend ---------------------------------------------------------------------------------- */

/* A class under its name if `names` has one for it, else its number. */
static void print_class(long class, const char *names) {
  if (class >= 0 && class < (long)strlen(names))
    printf(" %3c", names[class]);
  else
    printf(" %3ld", class);
}

/* One line of the legend: column `column` of the first n rows of a records.csv (index, label,
 * clean_prediction, adversarial_prediction, ...). */
static bool legend_line(FILE *records, const char *path, const char *title, int column, int n,
                        const char *names) {
  char line[512];
  rewind(records);
  if (!fgets(line, sizeof line, records) || strncmp(line, "index,label,clean_prediction", 28) != 0)
    return complain(path, "not the records of an attack");
  printf("%-40s", title);
  for (int i = 0; i < n && fgets(line, sizeof line, records); i++) {
    char *at = line;
    for (int skip = 0; skip < column && at; skip++)
      at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL;
    if (!at) {
      printf("\n");
      return complain(path, "a record with too few columns");
    }
    if (*at == ',') /* not looked at */
      printf("   ?");
    else
      print_class(strtol(at, NULL, 10), names);
  }
  printf("\n");
  return true;
}

/* Labels and predictions of the images shown; nothing for a file without records. */
static bool legend_print(const struct images *im, int n_files, const char *names) {
  enum { LABEL = 1, CLEAN, ADVERSARIAL };
  bool ok = true, first = true;
  for (int f = 1; f < n_files && ok; f++) {
    char path[PATH_MAX], title[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s.records.csv", im[f].path);
    FILE *records = length > 0 && length < PATH_MAX ? fopen(path, "r") : NULL;
    if (!records)
      continue;
    const char *base = strrchr(im[f].path, '/');
    snprintf(title, sizeof title, "seen in %s", base ? base + 1 : im[f].path);
    ok = (!first || (legend_line(records, path, "label", LABEL, im->n, names) &&
                     legend_line(records, path, "seen in the clean image", CLEAN, im->n, names))) &&
         legend_line(records, path, title, ADVERSARIAL, im->n, names);
    first = false;
    fclose(records);
  }
  return ok;
}

/* ---- the command ----------------------------------------------------------------------------- */

static void usage(FILE *to) {
  fprintf(to,
          "usage: contact_sheet --out SHEET.png [--count N] [--zoom N] [--names ABC...]\n"
          "                     CLEAN ATTACKED...\n"
          "Draws the first images of CLEAN, and under them those of each ATTACKED file and what\n"
          "was added, amplified. Files are IDX or .npy, gzipped or not. Labels and predictions\n"
          "are printed where ATTACKED.records.csv is there.\n"
          "  --out SHEET.png  the picture\n"
          "  --count N        images in a row, 1 to %d (default 16)\n"
          "  --zoom N         screen pixels per pixel, 1 to %d (default 2)\n"
          "  --names ABC...   one character per class, for the legend\n"
          "exit codes: 0 ok, 2 bad option, 4 a file could not be read or written\n",
          MOST_IMAGES, MOST_ZOOM);
}

static bool parse_number(const char *option, const char *text, int most, int *value) {
  char *end = NULL;
  long v = strtol(text, &end, 10);
  if (end == text || *end != '\0' || v < 1 || v > most) {
    fprintf(stderr, "contact_sheet: --%s takes a number from 1 to %d, not '%s'\n", option, most,
            text);
    return false;
  }
  *value = (int)v;
  return true;
}

static bool same_shape(const struct images *a, const struct images *b) {
  if (a->n == b->n && a->channels == b->channels && a->height == b->height && a->width == b->width)
    return true;
  fprintf(stderr, "contact_sheet: %s: %d images of %dx%dx%d, where %s has %d of %dx%dx%d\n",
          a->path, a->n, a->channels, a->height, a->width, b->path, b->n, b->channels, b->height,
          b->width);
  return false;
}

int main(int argc, char **argv) {
  enum { OUT, COUNT, ZOOM, NAMES, HELP };
  static const struct option table[] = {
      {"out", required_argument, NULL, OUT},   {"count", required_argument, NULL, COUNT},
      {"zoom", required_argument, NULL, ZOOM}, {"names", required_argument, NULL, NAMES},
      {"help", no_argument, NULL, HELP},       {NULL, 0, NULL, 0}};
  const char *out = NULL, *names = "";
  int count = 16, zoom = 2;
  for (int c = 0; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
    bool ok = c != '?';
    if (c == HELP)
      return usage(stdout), fflush(stdout) ? EXIT_DATA : 0;
    if (c == OUT)
      out = optarg;
    if (c == NAMES)
      names = optarg;
    if (c == COUNT)
      ok = parse_number("count", optarg, MOST_IMAGES, &count);
    if (c == ZOOM)
      ok = parse_number("zoom", optarg, MOST_ZOOM, &zoom);
    if (!ok)
      return usage(stderr), EXIT_USAGE;
  }
  int n_files = argc - optind;
  if (!out || n_files < 2 || n_files > MOST_FILES)
    return usage(stderr), EXIT_USAGE;
  struct images im[MOST_FILES] = {{0}};
  bool ok = true;
  for (int f = 0; f < n_files && ok; f++)
    ok = images_read(&im[f], argv[optind + f], count) && (f == 0 || same_shape(&im[f], &im[0]));
  ok = ok && sheet_write(out, im, n_files, zoom) && legend_print(im, n_files, names);
  for (int f = 0; f < n_files; f++)
    free(im[f].v);
  if (ok)
    printf("%s: %d images a row, %d rows\n", out, im[0].n, 2 * n_files - 1);
  return fflush(stdout) || !ok ? EXIT_DATA : 0;
}
