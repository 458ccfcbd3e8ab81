/* A file that appears under its name only when whole: it is written to NAME.xxxxxxxx.part beside
 * the target, brought to the disk, closed, and renamed. What lies under the name already stays
 * there until then. Any failure sticks: such a file can only be closed, which removes the temporary
 * one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "io_format.h"

enum { BUFFER = 64 << 10, TRIES = 100 };

struct fg_file {
  char *path, *temp; /* temp NULL: not there, or renamed */
  int fd;            /* -1: closed */
  gzFile gz;         /* NULL: plain */
  int64_t at;        /* plain: bytes handed to the system */
  size_t used;       /* of buffer */
  bool failed;
  unsigned char buffer[BUFFER];
};

const char *fg_file_path(const struct fg_file *file) {
  return file->path;
}

static fgsm_status fail(struct fg_file *file, const char *what, int error) {
  file->failed = true;
  return FG_FAIL(IO, "%s: cannot %s: %s", file->path, what, strerror(error));
}

/* The file that `path` names: through symbolic links, and nothing but a file. */
static fgsm_status find_target(const char *path, char **out) {
  struct stat s;
  if (stat(path, &s) != 0) {
    *out = strdup(path);
    return *out ? FGSM_OK : FG_FAIL(MEMORY, "no memory to write %s", path);
  }
  if (!S_ISREG(s.st_mode))
    return FG_FAIL(IO, "%s: is there and is no file; choose another name", path);
  *out = realpath(path, NULL);
  return *out ? FGSM_OK : FG_FAIL(IO, "%s: %s", path, strerror(errno));
}

static fgsm_status open_temp(struct fg_file *file) {
  for (int i = 0; i < TRIES; i++) {
    uint32_t word = 0;
    if (getrandom(&word, sizeof word, 0) != sizeof word)
      word = (uint32_t)getpid() * 2654435761u + (uint32_t)i;
    if (asprintf(&file->temp, "%s.%08x.part", file->path, word) < 0) {
      file->temp = NULL;
      return FG_FAIL(MEMORY, "no memory to write %s", file->path);
    }
    file->fd = open(file->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file->fd >= 0)
      return FGSM_OK;
    int error = errno;
    free(file->temp);
    file->temp = NULL;
    if (error != EEXIST)
      return fail(file, "create", error);
  }
  return fail(file, "create a temporary file for it", EEXIST);
}

static fgsm_status open_gz(struct fg_file *file) {
  int fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
  file->gz = fd >= 0 ? gzdopen(fd, "wb6") : NULL;
  if (file->gz)
    return FGSM_OK;
  int error = errno;
  if (fd >= 0)
    close(fd);
  return fail(file, "create", error);
}

fgsm_status fg_file_open(const char *path, bool gz, struct fg_file **out) {
  *out = NULL;
  struct fg_file *file = calloc(1, sizeof *file);
  if (!file)
    return FG_FAIL(MEMORY, "no memory to write %s", path);
  file->fd = -1;
  fgsm_status status = find_target(path, &file->path);
  if (status == FGSM_OK)
    status = open_temp(file);
  if (status == FGSM_OK && gz)
    status = open_gz(file);
  if (status != FGSM_OK)
    fg_file_close(file);
  else
    *out = file;
  return status;
}

fgsm_status fg_file_create(const char *path, struct fg_file **out) {
  return fg_file_open(path, false, out);
}

static fgsm_status write_at(struct fg_file *file, int64_t offset, const void *data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    ssize_t n = pwrite(file->fd, (const char *)data + done, bytes - done, offset + (int64_t)done);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return fail(file, "write", n < 0 ? errno : ENOSPC);
    done += (size_t)n;
  }
  return FGSM_OK;
}

static fgsm_status flush(struct fg_file *file) {
  FG_TRY(write_at(file, file->at, file->buffer, file->used));
  file->at += (int64_t)file->used;
  file->used = 0;
  return FGSM_OK;
}

static fgsm_status check_open(const struct fg_file *file) {
  if (file->failed || file->fd < 0)
    return FG_FAIL(INTERNAL, "%s: written to after it failed or was completed", file->path);
  return FGSM_OK;
}

static fgsm_status write_gz(struct fg_file *file, const void *data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    size_t part = bytes - done > 1 << 30 ? 1 << 30 : bytes - done;
    errno = 0;
    if (gzwrite(file->gz, (const char *)data + done, (unsigned)part) != (int)part)
      return fail(file, "write", errno ? errno : EIO);
    done += part;
  }
  return FGSM_OK;
}

fgsm_status fg_file_write(struct fg_file *file, const void *data, size_t bytes) {
  FG_TRY(check_open(file));
  if (file->gz)
    return write_gz(file, data, bytes);
  if (bytes > BUFFER - file->used)
    FG_TRY(flush(file));
  if (bytes >= BUFFER) {
    FG_TRY(write_at(file, file->at, data, bytes));
    file->at += (int64_t)bytes;
  } else if (bytes) {
    memcpy(file->buffer + file->used, data, bytes);
    file->used += bytes;
  }
  return FGSM_OK;
}

fgsm_status fg_file_put(struct fg_file *file, int64_t offset, const void *data, size_t bytes) {
  FG_TRY(check_open(file));
  if (file->gz)
    return FG_FAIL(INTERNAL, "%s: compressed, so nothing can be overwritten", file->path);
  FG_TRY(flush(file));
  return write_at(file, offset, data, bytes);
}

fgsm_status fg_file_patch(struct fg_file *file, int64_t offset, const void *data, size_t bytes) {
  int64_t end = file->at + (int64_t)file->used;
  if (offset < 0 || offset > end || bytes > (size_t)(end - offset))
    return FG_FAIL(INTERNAL, "%s: bytes %lld + %zu of %lld overwritten", file->path,
                   (long long)offset, bytes, (long long)end);
  return fg_file_put(file, offset, data, bytes);
}

fgsm_status fg_file_get(struct fg_file *file, int64_t offset, void *to, size_t bytes) {
  FG_TRY(check_open(file));
  FG_TRY(flush(file));
  for (size_t done = 0; done < bytes;) {
    ssize_t n = pread(file->fd, (char *)to + done, bytes - done, offset + (int64_t)done);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return fail(file, "read back", n < 0 ? errno : EIO);
    done += (size_t)n;
  }
  return FGSM_OK;
}

fgsm_status fg_file_cut(struct fg_file *file, int64_t bytes) {
  FG_TRY(check_open(file));
  FG_TRY(flush(file));
  return ftruncate(file->fd, bytes) == 0 ? FGSM_OK : fail(file, "shorten", errno);
}

bool fg_file_is_gz(const struct fg_file *file) {
  return file->gz != NULL;
}

fgsm_status fg_file_prefix(struct fg_file *file, const char *prefix) {
  const char *base = fg_path_base(file->path);
  char *path = NULL;
  if (asprintf(&path, "%.*s%s%s", (int)(base - file->path), file->path, prefix, base) < 0)
    return FG_FAIL(MEMORY, "no memory to write %s", file->path);
  free(file->path);
  file->path = path;
  return FGSM_OK;
}

fgsm_status fg_file_seal(struct fg_file *file) {
  FG_TRY(check_open(file));
  if (file->gz) {
    gzFile gz = file->gz;
    file->gz = NULL;
    errno = 0;
    if (gzclose_w(gz) != Z_OK)
      return fail(file, "write", errno ? errno : EIO);
  } else {
    FG_TRY(flush(file));
  }
  if (fsync(file->fd) != 0)
    return fail(file, "write to the disk", errno);
  int fd = file->fd;
  file->fd = -1;
  return close(fd) == 0 ? FGSM_OK : fail(file, "close", errno);
}

/* Brings the folder's new entry to the disk, where the system lets us. */
static fgsm_status sync_folder(struct fg_file *file) {
  char *folder = strdup(file->path);
  if (!folder)
    return FG_FAIL(MEMORY, "no memory to complete %s", file->path);
  char *slash = strrchr(folder, '/');
  if (slash)
    slash[slash == folder] = 0;
  int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(folder);
  if (fd < 0)
    return FGSM_OK; /* a folder that may be written but not read: the file itself is safe */
  int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  return error && error != EINVAL && error != EROFS ? fail(file, "complete its folder", error)
                                                    : FGSM_OK;
}

fgsm_status fg_file_publish(struct fg_file *file) {
  if (file->failed || file->fd >= 0 || !file->temp)
    return FG_FAIL(INTERNAL, "%s: named before it was complete", file->path);
  if (rename(file->temp, file->path) != 0)
    return fail(file, "give it its name", errno);
  free(file->temp);
  file->temp = NULL;
  return sync_folder(file);
}

fgsm_status fg_file_commit(struct fg_file *file) {
  FG_TRY(fg_file_seal(file));
  return fg_file_publish(file);
}

void fg_file_close(struct fg_file *file) {
  if (!file)
    return;
  if (file->gz)
    gzclose_w(file->gz);
  if (file->fd >= 0)
    close(file->fd);
  if (file->temp)
    unlink(file->temp);
  free(file->temp);
  free(file->path);
  free(file);
}
