/* Mutation of what lies within compression: unpacked, changed, packed again with sums that agree, so
 * that the change is seen by what lies behind zlib and libarchive. Every so often the packed bytes
 * are changed themselves. */
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include "fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t most);

enum { ROOM = 1 << 16, MEMBERS = 8 };

/* gzip of n bytes into `to`; 0 if it does not fit. */
static size_t deflated(const uint8_t *from, size_t n, uint8_t *to, size_t most) {
  z_stream z = {.next_in = (uint8_t *)(uintptr_t)from,
                .avail_in = (uInt)n,
                .next_out = to,
                .avail_out = (uInt)most};
  if (deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return 0;
  int code = deflate(&z, Z_FINISH);
  deflateEnd(&z);
  return code == Z_STREAM_END ? z.total_out : 0;
}

static size_t inflated(const uint8_t *from, size_t n, uint8_t *to, size_t most) {
  z_stream z = {.next_in = (uint8_t *)(uintptr_t)from,
                .avail_in = (uInt)n,
                .next_out = to,
                .avail_out = (uInt)most};
  if (inflateInit2(&z, 15 + 16) != Z_OK)
    return 0;
  (void)inflate(&z, Z_FINISH);
  inflateEnd(&z);
  return z.total_out;
}

size_t fuzz_mutate_gz(uint8_t *data, size_t n, size_t most, uint32_t seed) {
  static uint8_t plain[ROOM], packed[ROOM];
  bool gz = n > 2 && data[0] == 0x1f && data[1] == 0x8b;
  size_t m = gz ? inflated(data, n, plain, sizeof plain) : 0;
  if (gz && seed % 4 && m) {
    m = LLVMFuzzerMutate(plain, m, sizeof plain);
    size_t size = deflated(plain, m, packed, sizeof packed);
    if (size && size <= most) {
      memcpy(data, packed, size);
      return size;
    }
  }
  if (!gz && seed % 64 == 0 && (m = deflated(data, n, packed, sizeof packed)) && m <= most) {
    memcpy(data, packed, m);
    return m;
  }
  return LLVMFuzzerMutate(data, n, most);
}

struct member {
  char name[64];
  uint8_t *data;
  size_t n;
};

static int read_members(const uint8_t *data, size_t n, struct member *members) {
  struct archive *a = archive_read_new();
  struct archive_entry *e;
  int count = 0;
  if (!a)
    return 0;
  archive_read_support_format_zip_seekable(a);
  if (archive_read_open_memory(a, data, n) == ARCHIVE_OK)
    while (count < MEMBERS && archive_read_next_header(a, &e) == ARCHIVE_OK) {
      struct member *m = &members[count];
      const char *name = archive_entry_pathname(e);
      m->data = malloc(ROOM);
      if (!m->data)
        break;
      la_ssize_t got = archive_read_data(a, m->data, ROOM / MEMBERS);
      m->n = got > 0 ? (size_t)got : 0;
      strncpy(m->name, name ? name : "x.npy", sizeof m->name - 1);
      count++;
    }
  archive_read_free(a);
  return count;
}

static size_t write_members(const struct member *members, int count, bool deflate, uint8_t *to,
                            size_t most) {
  struct archive *a = archive_write_new();
  size_t used = 0;
  bool whole = a && archive_write_set_format_zip(a) == ARCHIVE_OK &&
               archive_write_set_options(a, deflate ? "zip:compression=deflate"
                                                    : "zip:compression=store") == ARCHIVE_OK &&
               archive_write_open_memory(a, to, most, &used) == ARCHIVE_OK;
  for (int i = 0; i < count && whole; i++) {
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, members[i].name);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_size(e, (la_int64_t)members[i].n);
    whole = archive_write_header(a, e) == ARCHIVE_OK &&
            archive_write_data(a, members[i].data, members[i].n) == (la_ssize_t)members[i].n;
    archive_entry_free(e);
  }
  whole = whole && archive_write_close(a) == ARCHIVE_OK;
  archive_write_free(a);
  return whole ? used : 0;
}

static int change_members(struct member *members, int count, uint32_t seed) {
  struct member *m = &members[seed % (uint32_t)count];
  switch (seed / 64 % 8) {
  case 0: /* another name, or the same twice */
    memcpy(m->name, members[(seed + 1) % (uint32_t)count].name, sizeof m->name);
    return count;
  case 1:
    m->name[LLVMFuzzerMutate((uint8_t *)m->name, strlen(m->name) + 1, sizeof m->name - 1)] = 0;
    return count;
  case 2:
    if (count == MEMBERS || !(members[count].data = malloc(ROOM)))
      return count;
    memcpy(members[count].data, m->data, m->n);
    members[count].n = m->n;
    strcpy(members[count].name, "y.npy");
    return count + 1;
  default:
    m->n = LLVMFuzzerMutate(m->data, m->n ? m->n : 1, ROOM / MEMBERS);
    return count;
  }
}

size_t fuzz_mutate_zip(uint8_t *data, size_t n, size_t most, uint32_t seed) {
  static uint8_t packed[2 * ROOM];
  struct member members[MEMBERS] = {0};
  size_t size = 0;
  int count = seed % 4 ? read_members(data, n, members) : 0;
  if (count) {
    count = change_members(members, count, seed / 4);
    size = write_members(members, count, seed & 32, packed, sizeof packed);
  }
  for (int i = 0; i < MEMBERS; i++)
    free(members[i].data);
  if (!size || size > most)
    return LLVMFuzzerMutate(data, n, most);
  memcpy(data, packed, size);
  return size;
}
