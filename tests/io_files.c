/* See io_files.h. */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>

#include <archive.h>
#include <archive_entry.h>
#include <criterion/criterion.h>

#include "io_files.h"
#include "leaks.h"

static char folder[64];

void files_begin(void) {
  /* Memory where there is some: hundreds of files are brought to the disk one by one. */
  bool shm = access("/dev/shm", W_OK) == 0;
  snprintf(folder, sizeof folder, "%s/fgsm-test-XXXXXX", shm ? "/dev/shm" : "/tmp");
  cr_assert(mkdtemp(folder), "no folder for the test's files");
}

void files_end(void) {
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.')
      unlink(files_path("%s", e->d_name));
  if (d)
    closedir(d);
  rmdir(folder);
  expect_no_leaks();
}

const char *files_path(const char *format, ...) {
  static char ring[16][512];
  static int next;
  char *path = ring[next++ % 16];
  int n = snprintf(path, 512, "%s/", folder);
  va_list args;
  va_start(args, format);
  vsnprintf(path + n, 512 - (size_t)n, format, args);
  va_end(args);
  return path;
}

const char *files_write(const char *name, const void *data, size_t bytes) {
  const char *path = files_path("%s", name);
  FILE *f = fopen(path, "wb");
  cr_assert(f && fwrite(data, 1, bytes, f) == bytes && fclose(f) == 0, "cannot write %s", path);
  return path;
}

const char *files_write_gz(const char *name, const void *data, size_t bytes) {
  const char *path = files_path("%s", name);
  gzFile f = gzopen(path, "wb");
  cr_assert(f && gzwrite(f, data, (unsigned)bytes) == (int)bytes && gzclose(f) == Z_OK);
  return path;
}

unsigned char *files_read(const char *path, size_t *bytes) {
  FILE *f = fopen(path, "rb");
  cr_assert(f, "cannot read %s", path);
  fseek(f, 0, SEEK_END);
  *bytes = (size_t)ftell(f);
  rewind(f);
  unsigned char *data = malloc(*bytes + 1);
  cr_assert(data && fread(data, 1, *bytes, f) == *bytes);
  fclose(f);
  return data;
}

int files_count(void) {
  int n = 0;
  DIR *d = opendir(folder);
  for (struct dirent *e; (e = readdir(d));)
    n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

void put(struct buffer *b, const void *data, size_t bytes) {
  cr_assert(b->n + bytes <= sizeof b->data);
  memcpy(b->data + b->n, data, bytes);
  b->n += bytes;
}

void put_be32(struct buffer *b, uint32_t v) {
  put(b, (unsigned char[]){v >> 24 & 255, v >> 16 & 255, v >> 8 & 255, v & 255}, 4);
}

void put_npy(struct buffer *b, int version, const char *dict, const void *data, size_t bytes) {
  size_t n = strlen(dict) + 1;
  put(b, "\x93NUMPY", 6);
  put(b, (unsigned char[]){(unsigned char)version, 0, n & 255, n >> 8 & 255, 0, 0},
      version == 1 ? 4 : 6);
  put(b, dict, n - 1);
  put(b, "\n", 1);
  put(b, data, bytes);
}

const char *files_write_zip(const char *name, bool deflate, const struct zip_member *members,
                            int n) {
  const char *path = files_path("%s", name);
  struct archive *a = archive_write_new();
  cr_assert(archive_write_set_format_zip(a) == ARCHIVE_OK);
  cr_assert(archive_write_set_options(a, deflate ? "zip:compression=deflate"
                                                 : "zip:compression=store") == ARCHIVE_OK);
  cr_assert(archive_write_open_filename(a, path) == ARCHIVE_OK);
  for (int i = 0; i < n; i++) {
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, members[i].name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_size(e, (la_int64_t)members[i].bytes);
    cr_assert(archive_write_header(a, e) == ARCHIVE_OK);
    cr_assert(archive_write_data(a, members[i].data, members[i].bytes) ==
              (la_ssize_t)members[i].bytes);
    archive_entry_free(e);
  }
  cr_assert(archive_write_close(a) == ARCHIVE_OK);
  archive_write_free(a);
  return path;
}

fgsm_status whole_read(const char *path, const char *labels, int64_t step, struct whole *out) {
  struct fg_dataset *dataset = NULL;
  memset(out, 0, sizeof *out);
  fgsm_status status = fg_dataset_open(path, labels, &dataset);
  if (status != FGSM_OK) {
    cr_expect(!dataset && *fgsm_last_error());
    return status;
  }
  out->info = *fg_dataset_info(dataset);
  int64_t bytes = (int64_t)fg_type_size(out->info.type), got = 0;
  for (int i = 0; i < out->info.rank; i++)
    bytes *= out->info.dim[i];
  int64_t room = out->info.n < (1 << 26) / bytes ? out->info.n : (1 << 26) / bytes;
  out->x = malloc((size_t)(bytes * (room + step)));
  out->labels = malloc((size_t)(room + step) * 8);
  out->extra = malloc((size_t)(room + step));
  do {
    status = fg_dataset_read(dataset, step, out->x + out->n * bytes, out->labels + out->n,
                             out->extra + out->n, &got);
    if (status == FGSM_OK)
      out->n += got;
  } while (status == FGSM_OK && got && out->n <= room);
  fg_dataset_close(dataset);
  return status;
}

void whole_free(struct whole *whole) {
  free(whole->x);
  free(whole->labels);
  free(whole->extra);
  memset(whole, 0, sizeof *whole);
}
