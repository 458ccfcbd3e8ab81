/* See onnx_suite.h. Every entry is a regular file "onnx/backend/test/data/node/..."; anything else
 * is left in the archive. */
#include "onnx_suite.h"

#include <archive.h>
#include <archive_entry.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char inside[] = "onnx/backend/test/data/node/";

/* Makes the folders in which `path` lies. */
static void make_folders(char *path) {
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(path, 0700);
    *slash = '/';
  }
}

static bool write_entry(struct archive *a, const char *path) {
  char block[1 << 16];
  la_ssize_t n = 0;
  bool ok = true;
  FILE *f = fopen(path, "wb");
  if (!f)
    return false;
  while (ok && (n = archive_read_data(a, block, sizeof block)) > 0)
    ok = fwrite(block, 1, (size_t)n, f) == (size_t)n;
  return fclose(f) == 0 && ok && n == 0;
}

static bool extract(struct archive *a, const char *root, int *files) {
  struct archive_entry *entry;
  int status;
  while ((status = archive_read_next_header(a, &entry)) == ARCHIVE_OK) {
    const char *name = archive_entry_pathname(entry);
    char path[900];
    if (archive_entry_filetype(entry) != AE_IFREG || strncmp(name, inside, strlen(inside)) != 0 ||
        strstr(name, ".."))
      continue;
    snprintf(path, sizeof path, "%s/%s", root, name);
    make_folders(path);
    if (!write_entry(a, path))
      return false;
    ++*files;
  }
  return status == ARCHIVE_EOF;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at) {
  (void)info, (void)kind, (void)at;
  return remove(path);
}

void onnx_suite_remove(const char *folder) {
  char root[600];
  snprintf(root, sizeof root, "%s", folder);
  char *end = strstr(root, inside);
  if (end)
    *end = 0;
  nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

bool onnx_suite_unpack(char *folder, size_t size) {
  const char *data = getenv("FGSM_TEST_DATA"), *tmp = getenv("TMPDIR");
  char path[512], root[256];
  int files = 0;
  snprintf(path, sizeof path, "%s/onnx_suite/onnx_backend_node_tests_1.23dev.tar.gz",
           data ? data : FGSM_SOURCE_DIR "/../shared/data");
  snprintf(root, sizeof root, "%s/fgsm-onnx-XXXXXX", tmp ? tmp : "/tmp");
  if (access(path, R_OK) != 0) {
    fprintf(stderr, "onnx_node: the newer node tests are skipped, %s is absent\n", path);
    return false;
  }
  struct archive *a = archive_read_new();
  bool ok = a && archive_read_support_format_tar(a) == ARCHIVE_OK &&
            archive_read_support_filter_gzip(a) == ARCHIVE_OK &&
            archive_read_open_filename(a, path, 1 << 16) == ARCHIVE_OK && mkdtemp(root);
  snprintf(folder, size, "%s/%s", root, inside);
  if (ok && !(ok = extract(a, root, &files) && files > 0))
    onnx_suite_remove(folder);
  if (!ok)
    fprintf(stderr, "onnx_node: the newer node tests are skipped, %s cannot be unpacked\n", path);
  archive_read_free(a);
  return ok;
}
