/* Writes the seeds of every corpus that are made by hand: fuzz-seeds FOLDER makes FOLDER/<target>/.
 * scripts/fuzz adds the models and arrays that other tests have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "io.h"
#include "onnx_bytes.h"

static const char *folder;

static const char *path_of(const char *target, const char *name) {
  static char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, target);
  (void)mkdir(path, 0777);
  snprintf(path, sizeof path, "%s/%s/%s", folder, target, name);
  return path;
}

static void save(const char *target, const char *name, const void *data, size_t n) {
  FILE *f = fopen(path_of(target, name), "wb");
  if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) {
    perror(name);
    exit(1);
  }
}

static void save_text(const char *target, const char *name, const char *text) {
  save(target, name, text, strlen(text));
}

static void save_model(const char *name, struct onnx_bytes b) {
  save("model", name, b.data, b.n);
  free(b.data);
}

/* ---- datasets, by our own writers and by hand */

static void save_dataset(const char *target, const char *name, enum fg_type type, int rank,
                         const int64_t *dim, int extra) {
  unsigned char x[6 * 3072] = {0};
  const int64_t labels[6] = {0, 1, 2, 3, 4, 5};
  const uint8_t more[6] = {1, 2, 3, 4, 5, 6};
  struct fg_dataset_info info = {
      .n = 6, .type = type, .stored = type, .rank = rank, .has_labels = true, .extra_bytes = extra};
  struct fg_sink *sink = NULL;
  memcpy(info.dim, dim, (size_t)rank * sizeof *dim);
  if (fg_sink_open(path_of(target, name), &info, &sink) != FGSM_OK ||
      fg_sink_write(sink, 6, x, labels, extra ? more : NULL) != FGSM_OK ||
      fg_sink_commit(sink) != FGSM_OK) {
    fprintf(stderr, "%s: %s\n", name, fgsm_last_error());
    exit(1);
  }
  fg_sink_close(sink);
}

static size_t npy(unsigned char *to, int version, const char *dict, size_t items) {
  size_t n = strlen(dict) + 1, at = version == 1 ? 10 : 12;
  memcpy(to, "\x93NUMPY", 6);
  to[6] = (unsigned char)version;
  to[7] = 0;
  to[8] = n & 255;
  to[9] = (unsigned char)(n >> 8);
  to[10] = to[11] = 0;
  memcpy(to + at, dict, n - 1);
  to[at + n - 1] = '\n';
  for (size_t i = 0; i < items; i++)
    to[at + n + i] = (unsigned char)i;
  return at + n + items;
}

static void save_arrays(void) {
  static const struct {
    const char *name, *dict;
    int version;
    size_t items;
  } t[] = {
      {"f2", "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 2, 5), }", 2, 60},
      {"f8", "{'descr': '>f8', 'fortran_order': False, 'shape': (3, 2), }", 1, 48},
      {"fortran", "{'descr': '>i2', 'fortran_order': True, 'shape': (3, 2, 5), }", 1, 60},
      {"bool", "{'descr': '|b1', 'fortran_order': False, 'shape': (5,), }", 3, 5},
      {"u8", "{'descr': '|u1', 'fortran_order': False, 'shape': (6,), }", 1, 6},
      {"i8", "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }", 1, 16},
      {"scalar", "{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 1, 4},
      {"empty", "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", 1, 0},
  };
  unsigned char bytes[512];
  for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
    size_t n = npy(bytes, t[i].version, t[i].dict, t[i].items);
    save("npy", t[i].name, bytes, n);
    save("labels", t[i].name, bytes, n);
  }
}

static void save_gz(const char *target, const char *name, const void *data, size_t n) {
  gzFile f = gzopen(path_of(target, name), "wb");
  if (!f || gzwrite(f, data, (unsigned)n) != (int)n || gzclose(f) != Z_OK)
    exit(1);
}

static void save_idx(void) {
  unsigned char images[16 + 6 * 20] = {0, 0, 8, 3, 0, 0, 0, 6, 0, 0, 0, 4, 0, 0, 0, 5};
  unsigned char labels[8 + 6] = {0, 0, 8, 1, 0, 0, 0, 6, 0, 1, 2, 3, 4, 5};
  unsigned char floats[12 + 24] = {0, 0, 13, 2, 0, 0, 0, 2, 0, 0, 0, 3, 63, 128};
  save("idx", "images", images, sizeof images);
  save("idx", "labels", labels, sizeof labels);
  save("idx", "floats", floats, sizeof floats);
  save("labels", "idx", labels, sizeof labels);
  save_gz("idx", "images.gz", images, sizeof images);
  save_gz("idx", "labels.gz", labels, sizeof labels);
  save_gz("labels", "idx.gz", labels, sizeof labels);
}

static void save_cifar(void) {
  static unsigned char ten[2 * 3073], hundred[2 * 3074];
  ten[3073] = 7;
  hundred[0] = 19;
  hundred[1] = 99;
  save("cifar", "ten", ten, sizeof ten);
  save("cifar", "hundred", hundred, sizeof hundred);
  save_gz("cifar", "ten.gz", ten, sizeof ten);
}

/* ---- models */

/* y = OP(x, ...) with constants, for what no other test has a file of. */
static void save_node(const char *name, struct onnx_bytes node, struct onnx_bytes rest) {
  onnx_put(&rest, 1, node);
  onnx_put(&rest, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){-1, 4}));
  onnx_put(&rest, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){-1, 4}));
  save_model(name, onnx_model(rest, 18));
}

static struct onnx_bytes external_tensor(void) {
  static const char *const entries[][2] = {
      {"location", "x.data"}, {"offset", "0"}, {"length", "16"}};
  struct onnx_bytes b = {0};
  onnx_int(&b, 1, 4);
  onnx_int(&b, 2, ONNX_FLOAT);
  onnx_text(&b, 8, "w");
  for (int i = 0; i < 3; i++) {
    struct onnx_bytes entry = {0};
    onnx_text(&entry, 1, entries[i][0]);
    onnx_text(&entry, 2, entries[i][1]);
    onnx_put(&b, 13, entry);
  }
  onnx_int(&b, 14, 1);
  return b;
}

static void save_models(void) {
  struct onnx_bytes rest = {0};
  save_model("small", onnx_small_net());
  onnx_put(&rest, 5, external_tensor());
  save_node("external", onnx_node("Mul", "", "x w", "y"), rest);
  rest = (struct onnx_bytes){0};
  onnx_put(&rest, 5, onnx_tensor("s", ONNX_INT64, 1, (int64_t[]){2}, (int64_t[]){2, 4}, 16));
  onnx_put(&rest, 1, onnx_node("ConstantOfShape", "", "s", "c"));
  save_node("fill", onnx_node("Add", "", "x c", "y"), rest);
}

/* ---- text */

static void save_texts(void) {
  save_text("labels", "text", "label\n0\n1\n2\n-1\n");
  save_text("labels", "windows",
            "\xef\xbb\xbf"
            "class\r\n3\r\n4\r\n");
  save_text("options", "file",
            "# a comment\nattack = pgd\neps = 1/255,2/255\nsteps = 3\nmean = 0.1,0.2,0.3\nclip = "
            "0,1\nbatch = 8\njson = true\nfeed = a=b.npy,c=d.npy\nmax-memory = 2G\n");
  save_text("options", "value", "8/255");
}

/* Words of the options' table, in libFuzzer's form. */
static void save_words(void) {
  char path[4096];
  const fgsm_option_info *info;
  snprintf(path, sizeof path, "%s/options.dict", folder);
  FILE *f = fopen(path, "w");
  if (!f)
    exit(1);
  for (size_t i = 0; (info = fgsm_option_at(i)); i++) {
    fprintf(f, "\"%s = \"\n", info->name);
    for (const char *c = info->choices; c && *c; c += strcspn(c, "|"), c += *c == '|')
      fprintf(f, "\"%.*s\"\n", (int)strcspn(c, "|"), c);
  }
  fclose(f);
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: fuzz-seeds FOLDER\n");
    return 2;
  }
  folder = argv[1];
  (void)mkdir(folder, 0777);
  save_idx();
  save_cifar();
  save_arrays();
  (void)path_of("npz", "");
  save_dataset("npz", "u8.npz", FG_U8, 2, (int64_t[]){4, 5}, 0);
  save_dataset("npz", "f32.npz", FG_F32, 3, (int64_t[]){1, 2, 3}, 0);
  save_texts();
  save_words();
  save_models();
  return 0;
}
