/* Tensors in files beside the model: found, checked, mapped, written back into the model itself;
 * and whatever would leave the model's folder, or read past a file's end, refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "onnx.h"
#include "onnx_bytes.h"

static char folder[64];

static const char *in_folder(const char *name) {
  static char path[4][160];
  static int turn;
  turn = (turn + 1) % 4;
  snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
  return path[turn];
}

static void put_file(const char *name, const void *data, size_t n) {
  FILE *f = fopen(in_folder(name), "wb");
  cr_assert(f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
}

static void put_socket(const char *name) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  snprintf(at.sun_path, sizeof at.sun_path, "%s", in_folder(name));
  cr_assert(s >= 0 && bind(s, (void *)&at, sizeof at) == 0);
  close(s);
}

static void setup(void) {
  snprintf(folder, sizeof folder, "/tmp/fgsm-external-XXXXXX");
  cr_assert(mkdtemp(folder));
  float values[6] = {9, 1, 2, 3, 4, 9};
  char odd[17] = {0};
  memcpy(odd + 1, values + 1, 16);
  put_file("w.data", values, sizeof values);
  put_file("odd.data", odd, sizeof odd);
  put_file("empty.data", "", 0);
  cr_assert(mkdir(in_folder("sub"), 0700) == 0);
  put_file("sub/w.data", values, sizeof values);
  cr_assert(symlink("w.data", in_folder("link.data")) == 0);
  cr_assert(symlink("sub", in_folder("linked")) == 0);
  cr_assert(symlink("../..", in_folder("sub/up")) == 0);
  cr_assert(symlink("/dev/zero", in_folder("zero")) == 0);
  cr_assert(mkfifo(in_folder("fifo"), 0600) == 0);
  put_socket("socket");
}

static void teardown(void) {
  static const char *const names[] = {"w.data", "odd.data", "empty.data", "sub/w.data", "link.data",
                                      "linked", "fifo",     "model.onnx", "back.onnx",  "sub/up",
                                      "zero",   "socket",   "new.data"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    (void)!unlink(in_folder(names[i]));
  cr_expect(rmdir(in_folder("sub")) == 0 && rmdir(folder) == 0);
}

static void entry(struct onnx_bytes *t, const char *key, const char *value) {
  struct onnx_bytes e = {0};
  if (!value)
    return;
  onnx_text(&e, 1, key);
  onnx_text(&e, 2, value);
  onnx_put(t, 13, e);
}

/* y = x + w, w [4] in another file. NULL: the entry is left out. */
static fgsm_status open_model(const char *location, const char *offset, const char *length,
                              int copies, struct fg_onnx **out) {
  struct onnx_bytes g = {0};
  onnx_put(&g, 1, onnx_node("Add", "sum", "x w", "y"));
  onnx_text(&g, 2, "g");
  for (int i = 0; i < copies; i++) {
    struct onnx_bytes t = {0};
    char name[16];
    snprintf(name, sizeof name, i ? "w%d" : "w", i);
    onnx_int(&t, 1, 4);
    onnx_int(&t, 2, ONNX_FLOAT);
    onnx_text(&t, 8, name);
    entry(&t, "location", location);
    entry(&t, "offset", offset);
    entry(&t, "length", length);
    onnx_int(&t, 14, 1);
    onnx_put(&g, 5, t);
  }
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 1, (int64_t[]){4}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 1, (int64_t[]){4}));
  struct onnx_bytes b = onnx_model(g, 13);
  put_file("model.onnx", b.data, b.n);
  free(b.data);
  return fg_onnx_open(in_folder("model.onnx"), out);
}

/* The constant that the model adds. */
static void expect_weights(const struct fg_onnx *onnx) {
  struct fg_graph *g = NULL;
  fg_id x, y;
  cr_assert(fg_graph_create(FG_F32, &g) == FGSM_OK);
  cr_assert(fg_onnx_build(onnx, g, 4, false, NULL, &x, &y, NULL) == FGSM_OK, "%s",
            fgsm_last_error());
  int found = 0;
  for (fg_id i = 0; i < g->n_values; i++)
    if (fg_value_is_constant(g, i) && fg_value_count(g, i) == 4) {
      found++;
      for (int k = 0; k < 4; k++)
        cr_expect(fg_constant_real(g, i, k) == k + 1, "%d is %g", k, fg_constant_real(g, i, k));
    }
  cr_expect(found > 0);
  fg_graph_destroy(g);
}

TestSuite(onnx_external, .init = setup, .fini = teardown);

Test(onnx_external, reads_tensors_beside_the_model) {
  static const struct {
    const char *location, *offset, *length;
  } cases[] = {{"w.data", "4", "16"},
               {"w.data", "4", NULL},
               {"sub/w.data", "4", "16"},
               {"odd.data", "1", "16"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct fg_onnx *onnx = NULL;
    fgsm_status status = open_model(cases[i].location, cases[i].offset, cases[i].length, 3, &onnx);
    cr_assert(status == FGSM_OK, "%s: %s", cases[i].location, fgsm_last_error());
    expect_weights(onnx);
    fg_onnx_close(onnx);
  }
}

Test(onnx_external, a_written_model_holds_its_tensors) {
  struct fg_onnx *onnx = NULL, *back = NULL;
  cr_assert(open_model("w.data", "4", "16", 1, &onnx) == FGSM_OK, "%s", fgsm_last_error());
  cr_assert(fg_onnx_write(onnx, in_folder("back.onnx"), 0, NULL, NULL) == FGSM_OK, "%s",
            fgsm_last_error());
  fg_onnx_close(onnx);
  put_file("w.data", "", 0);
  cr_assert(fg_onnx_open(in_folder("back.onnx"), &back) == FGSM_OK, "%s", fgsm_last_error());
  expect_weights(back);
  fg_onnx_close(back);
}

Test(onnx_external, refuses_what_leads_elsewhere) {
  char absolute[160];
  snprintf(absolute, sizeof absolute, "%s", in_folder("w.data"));
  const struct {
    const char *location, *offset, *length, *says;
  } cases[] = {
      {NULL, "4", "16", "plain path"},
      {absolute, "4", "16", "plain path"},
      {"../w.data", "4", "16", "plain path"},
      {"sub/../w.data", "4", "16", "plain path"},
      {"sub//w.data", "4", "16", "plain path"},
      {"./w.data", "4", "16", "plain path"},
      {"sub\\w.data", "4", "16", "plain path"},
      {"sub/../../w.data", "4", "16", "plain path"},
      {"..", "4", "16", "plain path"},
      {"sub/", "4", "16", "plain path"},
      {"/dev/zero", "0", "16", "plain path"},
      {"file:w.data", "4", "16", "No such file"},
      {"link.data", "4", "16", "symbolic link"},
      {"linked/w.data", "4", "16", "symbolic link"},
      {"w.data/x", "4", "16", "no folder"},
      {"absent.data", "4", "16", "No such file"},
      {"sub", "4", "16", "not a regular file"},
      {"fifo", "0", "16", "not a regular file"},
      {"socket", "0", "16", "not a regular file"},
      {"zero", "0", "16", "symbolic link"},
      {"sub/up/etc/passwd", "0", "16", "symbolic link"},
      {"empty.data", "0", "16", "lie beyond"},
      {"w.data", "12", "16", "lie beyond"},
      {"w.data", "9223372036854775807", "16", "lie beyond"},
      {"w.data", "9223372036854775808", "16", "no number"},
      {"w.data", "9", "16", "lie beyond"},
      {"w.data", "4", "9223372036854775807", "ask for 16 bytes"},
      {"w.data", "0x4", "16", "no number"},
      {"w.data", "4", "12", "ask for 16 bytes"},
      {"w.data", "-4", "16", "no number"},
      {"w.data", "99999999999999999999", "16", "no number"},
      {"w.data", "4", "", "no number"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct fg_onnx *onnx = NULL;
    fgsm_status status = open_model(cases[i].location, cases[i].offset, cases[i].length, 1, &onnx);
    cr_expect(status != FGSM_OK && !onnx && strstr(fgsm_last_error(), cases[i].says), "%s: %s",
              cases[i].location, status == FGSM_OK ? "was read" : fgsm_last_error());
    fg_onnx_close(onnx);
  }
}

/* The file's own digest stays that of model.onnx; files beside it have theirs. */
Test(onnx_external, digests_cover_the_files_beside_the_model) {
  struct fg_onnx *onnx = NULL;
  char hex[65], before[65];
  cr_assert(open_model("sub/w.data", "4", "16", 3, &onnx) == FGSM_OK, "%s", fgsm_last_error());
  cr_assert(fg_onnx_n_data_files(onnx) == 1, "named by three tensors, and one file");
  const struct fg_onnx_data_file *file = fg_onnx_data_file(onnx, 0);
  cr_assert(fg_sha256_file(in_folder("sub/w.data"), hex) == FGSM_OK);
  cr_expect_str_eq(file->sha256, hex);
  cr_expect_str_eq(file->location, "sub/w.data");
  cr_expect(file->bytes == 24);
  cr_assert(fg_sha256_file(in_folder("model.onnx"), hex) == FGSM_OK);
  cr_expect_str_eq(fg_onnx_sha256(onnx), hex);
  snprintf(before, sizeof before, "%s", file->sha256);
  fg_onnx_close(onnx);
  put_file("sub/w.data", (float[6]){9, 1, 2, 3, 5, 9}, 24);
  cr_assert(open_model("sub/w.data", "4", "16", 3, &onnx) == FGSM_OK, "%s", fgsm_last_error());
  cr_expect_str_eq(fg_onnx_sha256(onnx), hex);
  cr_expect_str_neq(fg_onnx_data_file(onnx, 0)->sha256, before);
  fg_onnx_close(onnx);
}

/* Another file under the same name leaves an open model its own; one that is too short is refused
 * the next time. */
Test(onnx_external, a_shorter_file_in_its_place_is_noticed) {
  struct fg_onnx *onnx = NULL, *again = NULL;
  cr_assert(open_model("w.data", "4", "16", 1, &onnx) == FGSM_OK, "%s", fgsm_last_error());
  put_file("new.data", (float[4]){7, 7, 7, 7}, 16);
  cr_assert(rename(in_folder("new.data"), in_folder("w.data")) == 0);
  expect_weights(onnx);
  fg_onnx_close(onnx);
  fgsm_status status = fg_onnx_open(in_folder("model.onnx"), &again);
  cr_expect(status == FGSM_MODEL && strstr(fgsm_last_error(), "lie beyond the 16 bytes"), "%d: %s",
            status, fgsm_last_error());
}

/* The pages of the file, not a copy: a page that is aligned is found among the mappings. */
Test(onnx_external, tensors_are_mapped_and_not_copied) {
  struct fg_onnx *onnx = NULL;
  char line[512], path[160];
  cr_assert(open_model("w.data", "4", "16", 1, &onnx) == FGSM_OK, "%s", fgsm_last_error());
  snprintf(path, sizeof path, "%s", in_folder("w.data"));
  FILE *maps = fopen("/proc/self/maps", "r");
  bool mapped = false;
  cr_assert_not_null(maps);
  while (fgets(line, sizeof line, maps))
    mapped |= strstr(line, path) != NULL && strstr(line, "r--p");
  fclose(maps);
  cr_expect(mapped);
  fg_onnx_close(onnx);
}
