/* Reading tensors in every encoding, and writing a model back. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "onnx.h"
#include "onnx_bytes.h"

/* A folder that only the calling test uses. */
static void make_folder(char path[64]) {
  snprintf(path, 64, "/tmp/fgsm-onnx-XXXXXX");
  cr_assert(mkdtemp(path));
}

static int count_files(const char *folder) {
  DIR *d = opendir(folder);
  int n = 0;
  for (struct dirent *e; (e = readdir(d));)
    n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

static fgsm_status read_back(struct onnx_bytes b, enum fg_type *type, int *rank, int64_t *dim,
                             void **data) {
  char folder[64], path[80];
  make_folder(folder);
  snprintf(path, sizeof path, "%s/t.pb", folder);
  FILE *f = fopen(path, "wb");
  fwrite(b.data, 1, b.n, f);
  fclose(f);
  fgsm_status status = fg_onnx_read_tensor(path, type, rank, dim, data);
  unlink(path);
  rmdir(folder);
  free(b.data);
  return status;
}

/* Two values, 1 and 2 (as the type says), in the named field of a TensorProto. */
static struct onnx_bytes two(int type, unsigned field, bool packed) {
  struct onnx_bytes b = {0}, list = {0};
  const float f[2] = {1, 2};
  const double d[2] = {1, 2};
  onnx_int(&b, 1, 2);
  onnx_int(&b, 2, type);
  if (field == 4)
    onnx_raw(&list, f, sizeof f);
  else if (field == 10)
    onnx_raw(&list, d, sizeof d);
  else
    for (int i = 1; i <= 2; i++) {
      int64_t v = type == 10   ? (i == 1 ? 0x3c00 : 0x4000)
                  : type == 16 ? (i == 1 ? 0x3f80 : 0x4000)
                               : i;
      if (type == 9)
        v = i - 1;
      if (packed)
        onnx_varint(&list, (uint64_t)v);
      else
        onnx_int(&b, field, v);
    }
  if (list.n)
    onnx_put(&b, field, list);
  return b;
}

Test(onnx_file, reads_tensors_in_every_encoding) {
  static const struct {
    int onnx;
    unsigned field;
    enum fg_type type;
  } cases[] = {{1, 4, FG_F32}, {11, 10, FG_F64}, {10, 5, FG_F16}, {16, 5, FG_BF16},
               {7, 7, FG_I64}, {6, 5, FG_I32},   {5, 5, FG_I16},  {3, 5, FG_I8},
               {2, 5, FG_U8},  {9, 5, FG_BOOL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int packed = 0; packed < 2; packed++) {
      enum fg_type type = FG_NONE;
      int rank = 0;
      int64_t dim[FG_MAX_RANK];
      void *data = NULL;
      fgsm_status status =
          read_back(two(cases[i].onnx, cases[i].field, packed), &type, &rank, dim, &data);
      cr_assert(status == FGSM_OK, "%d: %s", cases[i].onnx, fgsm_last_error());
      cr_assert(type == cases[i].type && rank == 1 && dim[0] == 2, "type %d", cases[i].onnx);
      double v[2];
      for (int k = 0; k < 2; k++)
        v[k] = type == FG_F32    ? ((float *)data)[k]
               : type == FG_F64  ? ((double *)data)[k]
               : type == FG_F16  ? fg_half_to_float(((uint16_t *)data)[k])
               : type == FG_BF16 ? fg_bfloat_to_float(((uint16_t *)data)[k])
               : type == FG_I64  ? (double)((int64_t *)data)[k]
               : type == FG_I32  ? ((int32_t *)data)[k]
               : type == FG_I16  ? ((int16_t *)data)[k]
                                 : ((int8_t *)data)[k];
      double first = type == FG_BOOL ? 0 : 1;
      cr_expect(v[0] == first && v[1] == first + 1, "%s: %g %g", fg_type_name(type), v[0], v[1]);
      free(data);
    }
}

Test(onnx_file, refuses_tensors_that_do_not_fit) {
  enum fg_type type;
  int rank;
  int64_t dim[FG_MAX_RANK];
  void *data = NULL;
  struct onnx_bytes b = {0};
  onnx_int(&b, 1, 1);
  onnx_int(&b, 2, 2);
  onnx_int(&b, 5, 256);
  fgsm_status status = read_back(b, &type, &rank, dim, &data);
  cr_expect(status == FGSM_MODEL && strstr(fgsm_last_error(), "cannot hold"), "%s",
            fgsm_last_error());
  b = (struct onnx_bytes){0};
  onnx_int(&b, 1, 1);
  onnx_int(&b, 2, 1);
  onnx_int(&b, 14, 1);
  status = read_back(b, &type, &rank, dim, &data);
  cr_expect(status == FGSM_UNSUPPORTED && strstr(fgsm_last_error(), "save_as_external_data"), "%s",
            fgsm_last_error());
  b = (struct onnx_bytes){0};
  onnx_int(&b, 2, 8);
  status = read_back(b, &type, &rank, dim, &data);
  cr_expect(status == FGSM_UNSUPPORTED && strstr(fgsm_last_error(), "string"), "%s",
            fgsm_last_error());
}

Test(onnx_file, says_what_the_model_is) {
  struct onnx_bytes b = onnx_small_net();
  struct fg_onnx *onnx = NULL;
  fgsm_status status = fg_onnx_parse(b.data, b.n, "small", &onnx);
  cr_assert(status == FGSM_OK, "%s", fgsm_last_error());
  cr_expect_str_eq(fg_onnx_producer(onnx), "by hand 1.0");
  cr_expect(fg_onnx_opset(onnx) == 13 && fg_onnx_n_inputs(onnx) == 1 &&
            fg_onnx_n_outputs(onnx) == 1);
  const struct fg_onnx_port *x = fg_onnx_input(onnx, 0);
  cr_expect(x->rank == 4 && x->dim[0] == -1 && x->dim[2] == 4 && x->type == FG_F32);
  char hex[65];
  cr_assert(fg_sha256(b.data, b.n, hex) == FGSM_OK);
  cr_expect_str_eq(fg_onnx_sha256(onnx), hex);
  fg_onnx_close(onnx);
  free(b.data);
}

/* The weights of `w` in a file, through a graph. */
static void weights(const char *path, const char *name, float *to, int64_t n) {
  struct fg_onnx *onnx = NULL;
  struct fg_graph *g = NULL;
  cr_assert(fg_onnx_open(path, &onnx) == FGSM_OK, "%s", fgsm_last_error());
  cr_assert(fg_graph_create(FG_F32, &g) == FGSM_OK);
  cr_assert(fg_onnx_build(onnx, g, 2, true, NULL, NULL, NULL, NULL) == FGSM_OK, "%s",
            fgsm_last_error());
  bool found = false;
  for (int64_t i = 0; i < g->n_values; i++)
    if (g->values[i].role == FG_ROLE_PARAM && strcmp(g->values[i].name, name) == 0) {
      found = true;
      cr_assert(fg_value_count(g, (fg_id)i) == n);
      memcpy(to, g->values[i].data, (size_t)n * sizeof *to);
    }
  cr_assert(found, "no parameter is named '%s'", name);
  fg_graph_destroy(g);
  fg_onnx_close(onnx);
}

Test(onnx_file, writes_changed_weights_and_nothing_else) {
  char folder[64], path[80];
  struct onnx_bytes b = onnx_small_net();
  struct fg_onnx *onnx = NULL;
  make_folder(folder);
  snprintf(path, sizeof path, "%s/m.onnx", folder);
  onnx_text(&b, 200, "a field that this version does not know");
  cr_assert(fg_onnx_parse(b.data, b.n, "small", &onnx) == FGSM_OK, "%s", fgsm_last_error());

  /* Unchanged, the file holds the same fields: as many bytes, the unknown one among them. */
  cr_assert(fg_onnx_write(onnx, path, 0, NULL, NULL) == FGSM_OK, "%s", fgsm_last_error());
  unsigned char *copy = calloc(1, b.n + 1);
  FILE *f = fopen(path, "rb");
  size_t n = fread(copy, 1, b.n + 1, f);
  fclose(f);
  cr_expect(n == b.n, "%zu bytes became %zu", b.n, n);
  cr_expect(memmem(copy, n, "does not know", 13));
  free(copy);

  const float new_b[2] = {7, -8};
  float got[18], before[18];
  weights(path, "w", before, 18);
  const char *name = "b";
  const float *data = new_b;
  cr_assert(fg_onnx_write(onnx, path, 1, &name, &data) == FGSM_OK, "%s", fgsm_last_error());
  weights(path, "b", got, 2);
  cr_expect(got[0] == 7 && got[1] == -8, "%g %g", (double)got[0], (double)got[1]);
  weights(path, "w", got, 18);
  cr_expect(memcmp(got, before, sizeof got) == 0);

  name = "nobody";
  fgsm_status status = fg_onnx_write(onnx, path, 1, &name, &data);
  cr_expect(status == FGSM_USAGE, "%s", fgsm_status_name(status));
  cr_expect(count_files(folder) == 1, "%d files are left", count_files(folder));
  status = fg_onnx_write(onnx, "/nonexistent/folder/m.onnx", 0, NULL, NULL);
  cr_expect(status == FGSM_IO, "%s", fgsm_status_name(status));
  fg_onnx_close(onnx);
  free(b.data);
  unlink(path);
  rmdir(folder);
}

Test(onnx_file, refuses_another_batch_than_the_files) {
  struct onnx_bytes g = {0};
  onnx_put(&g, 1, onnx_node("Relu", "r", "x", "y"));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){3, 4}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){3, 4}));
  struct onnx_bytes b = onnx_model(g, 13);
  struct fg_onnx *onnx = NULL;
  cr_assert(fg_onnx_parse(b.data, b.n, "fixed", &onnx) == FGSM_OK);
  for (int64_t batch = 1; batch <= 3; batch++) {
    struct fg_graph *graph = NULL;
    cr_assert(fg_graph_create(FG_F32, &graph) == FGSM_OK);
    fgsm_status status = fg_onnx_build(onnx, graph, batch, false, NULL, NULL, NULL, NULL);
    cr_expect(status == (batch == 3 ? FGSM_OK : FGSM_USAGE), "%s", fgsm_last_error());
    fg_graph_destroy(graph);
  }
  fg_onnx_close(onnx);
  free(b.data);
}
