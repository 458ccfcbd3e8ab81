/* A run of bytes with a name, wherever it lies: a plain file, a gzip file, a member of a zip, or
 * memory. Reading is by offset; compressed bytes remember where they are and start again when asked
 * for what has gone by. Memory is a constant, except for fg_bytes_hold, which has a limit. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "io_format.h"

enum kind { PLAIN, GZIP, MEMBER, MEMORY };

struct fg_bytes {
  enum kind kind;
  char *name;
  char *path, *member; /* MEMBER */
  int fd;              /* PLAIN; -1: none */
  gzFile gz;
  struct archive *zip;
  unsigned char *data;
  int64_t size;         /* -1: unknown */
  int64_t at;           /* MEMBER: the next byte */
  uint32_t size_mod_32; /* GZIP: the length that its trailer states */
};

enum { CHUNK = 64 << 10 };

const char *fg_bytes_name(const struct fg_bytes *bytes) {
  return bytes->name;
}

int64_t fg_bytes_size(const struct fg_bytes *bytes) {
  return bytes->size;
}

bool fg_bytes_is_plain(const struct fg_bytes *bytes) {
  return bytes->kind == PLAIN || bytes->kind == MEMORY;
}

int64_t fg_bytes_held(const struct fg_bytes *bytes) {
  return bytes->kind == MEMORY ? bytes->size : 0;
}

/* Up to n bytes of a plain file; -1 and errno on failure. */
static ssize_t read_at(int fd, void *to, size_t n, int64_t offset) {
  size_t done = 0;
  while (done < n) {
    ssize_t got = pread(fd, (char *)to + done, n - done, offset + (int64_t)done);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return -1;
    if (got == 0)
      break;
    done += (size_t)got;
  }
  return (ssize_t)done;
}

static fgsm_status open_gz(struct fg_bytes *bytes) {
  unsigned char tail[4];
  if (bytes->size < 18 || read_at(bytes->fd, tail, 4, bytes->size - 4) != 4)
    return FG_FAIL(DATA, "%s: a gzip file cut short at byte %lld, within its header", bytes->name,
                   (long long)bytes->size);
  bytes->kind = GZIP;
  bytes->size = -1;
  bytes->size_mod_32 = fg_le32(tail);
  if (lseek(bytes->fd, 0, SEEK_SET) != 0 || !(bytes->gz = gzdopen(bytes->fd, "rb")))
    return FG_FAIL(IO, "%s: cannot read: %s", bytes->name, strerror(errno));
  bytes->fd = -1; /* now the stream's */
  return gzbuffer(bytes->gz, CHUNK) == 0 ? FGSM_OK : FG_FAIL(MEMORY, "no memory for zlib");
}

static fgsm_status open_plain(struct fg_bytes *bytes, const char *path) {
  struct stat s;
  unsigned char head[2];
  bytes->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not block */
  if (bytes->fd < 0 || fstat(bytes->fd, &s) != 0)
    return FG_FAIL(IO, "%s: %s", path, strerror(errno));
  if (!S_ISREG(s.st_mode))
    return FG_FAIL(DATA, "%s: a file was expected, a %s found", path,
                   S_ISDIR(s.st_mode) ? "folder" : "pipe or device");
  bytes->size = s.st_size;
  ssize_t got = read_at(bytes->fd, head, 2, 0);
  if (got < 0)
    return FG_FAIL(IO, "%s: cannot read: %s", path, strerror(errno));
  return got == 2 && head[0] == 0x1f && head[1] == 0x8b ? open_gz(bytes) : FGSM_OK;
}

fgsm_status fg_bytes_open(const char *path, struct fg_bytes **out) {
  fgsm_status status = FGSM_OK;
  *out = NULL;
  struct fg_bytes *bytes = calloc(1, sizeof *bytes);
  if (!bytes)
    return FG_FAIL(MEMORY, "no memory to open %s", path);
  bytes->fd = -1;
  bytes->name = strdup(path);
  status = bytes->name ? open_plain(bytes, path) : FG_FAIL(MEMORY, "no memory to open %s", path);
  if (status != FGSM_OK)
    fg_bytes_close(bytes);
  else
    *out = bytes;
  return status;
}

fgsm_status fg_bytes_open_member(const char *path, const char *member, struct fg_bytes **out) {
  fgsm_status status = FGSM_OK;
  *out = NULL;
  struct fg_bytes *bytes = calloc(1, sizeof *bytes);
  if (!bytes)
    return FG_FAIL(MEMORY, "no memory to open %s", path);
  bytes->kind = MEMBER;
  bytes->fd = -1;
  bytes->path = strdup(path);
  bytes->member = strdup(member);
  if (!bytes->path || !bytes->member || asprintf(&bytes->name, "%s:%s", path, member) < 0) {
    bytes->name = NULL;
    status = FG_FAIL(MEMORY, "no memory to open %s", path);
  } else {
    status = fg_zip_open(path, member, &bytes->zip, &bytes->size);
  }
  if (status != FGSM_OK)
    fg_bytes_close(bytes);
  else
    *out = bytes;
  return status;
}

void fg_bytes_close(struct fg_bytes *bytes) {
  if (!bytes)
    return;
  if (bytes->fd >= 0)
    close(bytes->fd);
  if (bytes->gz)
    gzclose_r(bytes->gz);
  fg_zip_close(bytes->zip);
  free(bytes->data);
  free(bytes->member);
  free(bytes->path);
  free(bytes->name);
  free(bytes);
}

/* What zlib says, as a status; OK at a proper end. */
static fgsm_status check_gz(struct fg_bytes *bytes) {
  int code = Z_OK;
  const char *text = gzerror(bytes->gz, &code);
  if (code == Z_OK || code == Z_STREAM_END)
    return FGSM_OK;
  if (code == Z_ERRNO)
    return FG_FAIL(IO, "%s: cannot read: %s", bytes->name, strerror(errno));
  if (code == Z_MEM_ERROR)
    return FG_FAIL(MEMORY, "%s: no memory for zlib", bytes->name);
  return FG_FAIL(DATA, "%s: the gzip data is cut short or corrupt after byte %lld (%s)",
                 bytes->name, (long long)gztell(bytes->gz), text);
}

static fgsm_status read_gz(struct fg_bytes *bytes, int64_t offset, void *to, size_t n,
                           size_t *got) {
  if (gztell(bytes->gz) != offset && gzseek(bytes->gz, offset, SEEK_SET) != offset) {
    FG_TRY(check_gz(bytes));
    return FG_FAIL(IO, "%s: cannot go to byte %lld", bytes->name, (long long)offset);
  }
  while (*got < n) {
    FG_TRY(fg_check_interrupt());
    unsigned part = n - *got > 1 << 20 ? 1 << 20 : (unsigned)(n - *got);
    int done = gzread(bytes->gz, (char *)to + *got, part);
    if (done > 0)
      *got += (size_t)done;
    if (done < 0 || (unsigned)done < part)
      return check_gz(bytes);
  }
  return FGSM_OK;
}

static fgsm_status read_member(struct fg_bytes *bytes, int64_t offset, void *to, size_t n,
                               size_t *got) {
  if (offset < bytes->at) {
    fg_zip_close(bytes->zip);
    bytes->zip = NULL;
    bytes->at = 0;
    FG_TRY(fg_zip_open(bytes->path, bytes->member, &bytes->zip, &bytes->size));
  }
  if (!bytes->zip)
    return FG_FAIL(DATA, "%s: cannot be read again", bytes->name);
  char skipped[4096];
  while (bytes->at < offset) {
    FG_TRY(fg_check_interrupt());
    int64_t left = offset - bytes->at;
    size_t done = 0, want = left < (int64_t)sizeof skipped ? (size_t)left : sizeof skipped;
    FG_TRY(fg_zip_read(bytes->zip, bytes->name, skipped, want, &done));
    bytes->at += (int64_t)done;
    if (done < want)
      return FGSM_OK;
  }
  fgsm_status status = fg_zip_read(bytes->zip, bytes->name, to, n, got);
  bytes->at += (int64_t)*got;
  return status;
}

fgsm_status fg_bytes_read(struct fg_bytes *bytes, int64_t offset, void *to, size_t n, size_t *got) {
  *got = 0;
  if (offset < 0 || n > PTRDIFF_MAX)
    return FG_FAIL(INTERNAL, "%s: a read of %zu bytes at %lld", bytes->name, n, (long long)offset);
  ssize_t done = 0;
  switch (bytes->kind) {
  case PLAIN:
    done = read_at(bytes->fd, to, n, offset);
    if (done < 0)
      return FG_FAIL(IO, "%s: cannot read: %s", bytes->name, strerror(errno));
    *got = (size_t)done;
    return FGSM_OK;
  case GZIP:
    return read_gz(bytes, offset, to, n, got);
  case MEMBER:
    return read_member(bytes, offset, to, n, got);
  case MEMORY:
    if (offset < bytes->size) {
      *got = (int64_t)n < bytes->size - offset ? n : (size_t)(bytes->size - offset);
      memcpy(to, bytes->data + offset, *got);
    }
    return FGSM_OK;
  }
  return FG_FAIL(INTERNAL, "%s: no such kind of bytes", bytes->name);
}

fgsm_status fg_bytes_need(struct fg_bytes *bytes, int64_t offset, void *to, size_t n,
                          const char *what) {
  size_t got = 0;
  FG_TRY(fg_bytes_read(bytes, offset, to, n, &got));
  if (got < n)
    return FG_FAIL(DATA, "%s: ends at byte %lld, inside %s (%zu bytes from byte %lld)", bytes->name,
                   (long long)offset + (long long)got, what, n, (long long)offset);
  return FGSM_OK;
}

fgsm_status fg_bytes_measure(struct fg_bytes *bytes, int64_t most, int64_t *size) {
  *size = bytes->size;
  if (bytes->size >= 0)
    return FGSM_OK;
  fgsm_status status = FGSM_OK;
  unsigned char *buffer = malloc(CHUNK);
  if (!buffer)
    return FG_FAIL(MEMORY, "no memory to read %s", bytes->name);
  int64_t n = 0;
  for (size_t got = CHUNK; status == FGSM_OK && got == CHUNK && n <= most; n += (int64_t)got)
    status = fg_bytes_read(bytes, n, buffer, CHUNK, &got);
  *size = n;
  free(buffer);
  return status;
}

fgsm_status fg_bytes_expect(struct fg_bytes *bytes, int64_t end) {
  if (bytes->kind == GZIP && bytes->size_mod_32 == (uint32_t)end)
    return FGSM_OK;
  int64_t size = 0;
  FG_TRY(fg_bytes_measure(bytes, end, &size));
  if (size < end)
    return FG_FAIL(DATA, "%s: the header promises %lld bytes, but there are %lld", bytes->name,
                   (long long)end, (long long)size);
  if (size > end)
    return FG_FAIL(DATA, "%s: the header promises %lld bytes, but more follow", bytes->name,
                   (long long)end);
  return FGSM_OK;
}

fgsm_status fg_bytes_hold(struct fg_bytes *bytes, int64_t most) {
  if (fg_bytes_is_plain(bytes))
    return FGSM_OK;
  int64_t size = 0;
  FG_TRY(fg_bytes_measure(bytes, most, &size));
  if (size > most)
    return FG_FAIL(DATA, "%s: more than %lld bytes, too many to be held in memory", bytes->name,
                   (long long)most);
  bytes->data = malloc(size ? (size_t)size : 1);
  if (!bytes->data)
    return FG_FAIL(MEMORY, "no memory for the %lld bytes of %s", (long long)size, bytes->name);
  FG_TRY(fg_bytes_need(bytes, 0, bytes->data, (size_t)size, "the data"));
  bytes->kind = MEMORY;
  bytes->size = size;
  return FGSM_OK;
}
