/* Members of a zip, read in order through libarchive. Only what .npz files use is accepted: stored
 * or deflated members of a zip with a central directory. Sizes that the zip states are claims. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "io_format.h"

enum { NAME_MAX_BYTES = 255, BLOCK = 64 << 10 };

static const char *reason(struct archive *zip) {
  const char *text = archive_error_string(zip);
  return text ? text : "no reason given";
}

static fgsm_status begin(const char *path, struct archive **out) {
  struct archive *zip = archive_read_new();
  *out = zip;
  if (!zip || archive_read_support_format_zip_seekable(zip) != ARCHIVE_OK)
    return FG_FAIL(MEMORY, "no memory to open %s", path);
  if (archive_read_open_filename(zip, path, BLOCK) != ARCHIVE_OK)
    return FG_FAIL(DATA, "%s: not a readable zip: %s", path, reason(zip));
  return FGSM_OK;
}

/* The next regular member; *entry NULL at the end. */
static fgsm_status next(struct archive *zip, const char *path, struct archive_entry **entry) {
  for (;;) {
    FG_TRY(fg_check_interrupt());
    int code = archive_read_next_header(zip, entry);
    if (code == ARCHIVE_EOF) {
      *entry = NULL;
      return FGSM_OK;
    }
    if (code < ARCHIVE_WARN)
      return FG_FAIL(DATA, "%s: a broken zip: %s", path, reason(zip));
    if (archive_entry_filetype(*entry) == AE_IFREG && archive_entry_pathname(*entry))
      return FGSM_OK;
  }
}

static bool names(const char *have, const char *want) {
  size_t n = strlen(want);
  return strncmp(have, want, n) == 0 && (!have[n] || strcmp(have + n, ".npy") == 0);
}

static fgsm_status find(struct archive *zip, const char *path, const char *member, int64_t *size) {
  struct archive_entry *entry = NULL;
  do {
    FG_TRY(next(zip, path, &entry));
    if (!entry)
      return FG_FAIL(DATA, "%s: no member named %s", path, member);
  } while (!names(archive_entry_pathname(entry), member));
  const char *how = archive_format_name(zip);
  if (!how || (!strstr(how, "(uncompressed)") && !strstr(how, "(deflation)")))
    return FG_FAIL(DATA, "%s:%s: compressed as %s; stored or deflated members are read", path,
                   member, how ? how : "unknown");
  *size = archive_entry_size_is_set(entry) ? archive_entry_size(entry) : -1;
  if (*size < -1)
    return FG_FAIL(DATA, "%s:%s: a size of %lld", path, member, (long long)*size);
  return FGSM_OK;
}

fgsm_status fg_zip_open(const char *path, const char *member, struct archive **out, int64_t *size) {
  *size = -1;
  fgsm_status status = begin(path, out);
  if (status == FGSM_OK)
    status = find(*out, path, member, size);
  if (status != FGSM_OK) {
    fg_zip_close(*out);
    *out = NULL;
  }
  return status;
}

void fg_zip_close(struct archive *zip) {
  if (zip)
    archive_read_free(zip);
}

fgsm_status fg_zip_read(struct archive *zip, const char *name, void *to, size_t n, size_t *got) {
  *got = 0;
  while (*got < n) {
    FG_TRY(fg_check_interrupt());
    size_t part = n - *got > 1 << 20 ? 1 << 20 : n - *got;
    la_ssize_t done = archive_read_data(zip, (char *)to + *got, part);
    if (done < 0)
      return FG_FAIL(DATA, "%s: broken zip data: %s", name, reason(zip));
    if (done == 0)
      break;
    *got += (size_t)done;
  }
  return FGSM_OK;
}

static fgsm_status collect(struct archive *zip, const char *path, char ***list, int64_t *n) {
  int64_t room = 0;
  for (struct archive_entry *entry = NULL;;) {
    FG_TRY(next(zip, path, &entry));
    if (!entry)
      return FGSM_OK;
    const char *name = archive_entry_pathname(entry);
    size_t length = strlen(name);
    if (length > NAME_MAX_BYTES || *n == FG_ZIP_MEMBERS)
      return FG_FAIL(DATA, "%s: more than %d members, or a name of more than %d bytes", path,
                     FG_ZIP_MEMBERS, NAME_MAX_BYTES);
    if (length > 4 && strcmp(name + length - 4, ".npy") == 0)
      length -= 4;
    FG_TRY(fg_grow(list, &room, *n + 1, sizeof **list));
    (*list)[*n] = strndup(name, length);
    if (!(*list)[*n])
      return FG_FAIL(MEMORY, "no memory to read %s", path);
    for (int64_t i = 0; i < *n; i++)
      if (strcmp((*list)[i], (*list)[*n]) == 0) {
        free((*list)[*n]);
        return FG_FAIL(DATA, "%s: two members are named %s", path, (*list)[i]);
      }
    ++*n;
  }
}

fgsm_status fg_zip_names(const char *path, char ***list, int64_t *n) {
  struct archive *zip = NULL;
  *list = NULL;
  *n = 0;
  fgsm_status status = begin(path, &zip);
  if (status == FGSM_OK)
    status = collect(zip, path, list, n);
  fg_zip_close(zip);
  if (status != FGSM_OK) {
    fg_zip_names_free(*list, *n);
    *list = NULL;
    *n = 0;
  }
  return status;
}

void fg_zip_names_free(char **list, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    free(list[i]);
  free(list);
}
