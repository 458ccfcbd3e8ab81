/* Files for the tests of datasets: a folder of its own for each test, removed (and looked through
 * for leaks) at its end; bytes put together by hand, so that no test relies on our own writers. */
#ifndef IO_FILES_H
#define IO_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "io.h"

void files_begin(void); /* .init and .fini of a suite */
void files_end(void);

/* The name within the folder; the text is valid for the next 16 calls. */
const char *files_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *files_write(const char *name, const void *data, size_t bytes); /* its path */
const char *files_write_gz(const char *name, const void *data, size_t bytes);
unsigned char *files_read(const char *path, size_t *bytes); /* free() */
int files_count(void);                                      /* entries in the folder */

struct buffer {
  unsigned char data[1 << 16];
  size_t n;
};
void put(struct buffer *b, const void *data, size_t bytes);
void put_be32(struct buffer *b, uint32_t v);
/* A .npy: version, the dictionary's text, items. */
void put_npy(struct buffer *b, int version, const char *dict, const void *data, size_t bytes);
/* A zip of members, stored or deflated, made by libarchive. */
struct zip_member {
  const char *name;
  const void *data;
  size_t bytes;
};
const char *files_write_zip(const char *name, bool deflate, const struct zip_member *members,
                            int n);

/* A dataset, read whole, `step` samples at a time. */
struct whole {
  struct fg_dataset_info info;
  unsigned char *x;
  int64_t *labels;
  uint8_t *extra;
  int64_t n;
};
fgsm_status whole_read(const char *path, const char *labels, int64_t step, struct whole *out);
void whole_free(struct whole *whole);

/* Fails the test unless `call` gives FGSM_STATUS and the last error contains the text. */
#define expect_fails(status, text, call)                                                           \
  do {                                                                                             \
    fgsm_status got_ = (call);                                                                     \
    cr_expect(got_ == FGSM_##status, "%s: %s, not " #status " (%s)", #call,                        \
              fgsm_status_name(got_), fgsm_last_error());                                          \
    cr_expect(strstr(fgsm_last_error(), text), "'%s' says nothing of '%s'", fgsm_last_error(),     \
              text);                                                                               \
  } while (0)
#define assert_ok(call)                                                                            \
  do {                                                                                             \
    fgsm_status got_ = (call);                                                                     \
    cr_assert(got_ == FGSM_OK, "%s: %s (%s)", #call, fgsm_status_name(got_), fgsm_last_error());   \
  } while (0)

#endif
