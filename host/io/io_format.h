/* Inside host/io: what the formats stand on, and the two tables of function pointers.
 *
 * Reading goes bytes -> array -> reader: `bytes` hides whether a file is plain, gzip or a member of
 * a zip; `array` is typed rows somewhere in bytes (IDX and .npy are nothing else); a reader knows
 * one format. Writing goes writer -> file, where a file has its final name only once complete.
 *
 * A new format is one file that defines a fg_reader_format, a fg_writer_format or both, a line
 * below and a line in the table of dataset.c or sink.c. Nothing read from a file is trusted: counts
 * are multiplied with fg_mul_ok and checked against what is there before memory is asked for. */
#ifndef FG_IO_FORMAT_H
#define FG_IO_FORMAT_H

#include <limits.h>

#include "io.h"

/* ---- names (path.c) */

bool fg_path_is_gz(const char *path);
/* Whether the name ends so, in any case, a final ".gz" not counted. */
bool fg_path_ends(const char *path, const char *suffix);
const char *fg_path_base(const char *path); /* what follows the last '/' */
bool fg_path_exists(const char *path);
/* "file.npz:member", where only file.npz exists, in two; else a copy of path, *member NULL. */
fgsm_status fg_path_split(const char *path, char **file, char **member) FGSM_MUST_USE;

/* ---- bytes.c: a plain file, a gzip file (known by content) or a member of a zip */

struct fg_bytes;
fgsm_status fg_bytes_open(const char *path, struct fg_bytes **out) FGSM_MUST_USE;
/* The member of that name, or that name and ".npy". */
fgsm_status fg_bytes_open_member(const char *path, const char *member,
                                 struct fg_bytes **out) FGSM_MUST_USE;
void fg_bytes_close(struct fg_bytes *bytes);
const char *fg_bytes_name(const struct fg_bytes *bytes); /* for messages */
/* The number of bytes where known without reading them all, else -1 (gzip). */
int64_t fg_bytes_size(const struct fg_bytes *bytes);
/* Up to n bytes from `offset`; *got < n only at the end. Anywhere in a plain file at equal cost;
 * elsewhere best in order (a step back begins anew). Corrupt compression is FGSM_DATA. */
fgsm_status fg_bytes_read(struct fg_bytes *bytes, int64_t offset, void *to, size_t n,
                          size_t *got) FGSM_MUST_USE;
/* As fg_bytes_read, but fewer than n is FGSM_DATA: "NAME: ends at byte .., inside WHAT". */
fgsm_status fg_bytes_need(struct fg_bytes *bytes, int64_t offset, void *to, size_t n,
                          const char *what) FGSM_MUST_USE;
/* Counts the bytes, by decompressing where it must; stops once there are more than `most`. */
fgsm_status fg_bytes_measure(struct fg_bytes *bytes, int64_t most, int64_t *size) FGSM_MUST_USE;
/* FGSM_DATA unless the bytes end at `end`. Of a gzip file whose stated length agrees, the proof
 * is left to the read that gets there. */
fgsm_status fg_bytes_expect(struct fg_bytes *bytes, int64_t end) FGSM_MUST_USE;
/* Moves the bytes into memory if they cannot be read anywhere at equal cost; FGSM_DATA beyond
 * `most`. */
fgsm_status fg_bytes_hold(struct fg_bytes *bytes, int64_t most) FGSM_MUST_USE;
bool fg_bytes_is_plain(const struct fg_bytes *bytes);
int64_t fg_bytes_held(const struct fg_bytes *bytes); /* in memory, after fg_bytes_hold */

/* ---- zip.c: reading zips (stored and deflate), through libarchive */

struct archive;
#define FG_ZIP_MEMBERS 1024
/* Opens the zip at the start of `member`; *size is -1 where the zip does not say. */
fgsm_status fg_zip_open(const char *path, const char *member, struct archive **out,
                        int64_t *size) FGSM_MUST_USE;
void fg_zip_close(struct archive *zip);
fgsm_status fg_zip_read(struct archive *zip, const char *name, void *to, size_t n,
                        size_t *got) FGSM_MUST_USE;
/* The names of all members, ".npy" removed; at most FG_ZIP_MEMBERS. Freed with fg_zip_names_free.
 */
fgsm_status fg_zip_names(const char *path, char ***names, int64_t *n) FGSM_MUST_USE;
void fg_zip_names_free(char **names, int64_t n);

/* ---- array.c: typed rows in bytes */

#define FG_HOLD_BYTES ((int64_t)256 << 20) /* Fortran order in compressed bytes: held in memory */

struct fg_element {
  char kind; /* 'u' unsigned, 'i' signed, 'f' float, 'b' bool */
  int size;  /* bytes */
  bool big;  /* big-endian */
};

struct fg_array {
  struct fg_bytes *bytes; /* the array's own */
  int64_t start;          /* offset of the first item */
  struct fg_element element;
  bool fortran; /* the first index moves fastest */
  int rank;
  int64_t dim[FG_MAX_RANK]; /* dim[0] rows */
  int64_t rows, row_items;  /* set by fg_array_check; a scalar is one row of one item */
};

/* Checks shape and size against the bytes and sets rows and row_items. */
fgsm_status fg_array_check(struct fg_array *array) FGSM_MUST_USE;
/* Rows first .. first + n - 1 as `type`: F32, F64, I64, U8 or BOOL. A value that the type cannot
 * hold is FGSM_DATA and names the row. */
fgsm_status fg_array_read(struct fg_array *array, int64_t first, int64_t n, enum fg_type type,
                          void *to) FGSM_MUST_USE;
/* What a dataset of these rows is: type, stored, n, shape. FGSM_DATA if rows cannot be samples. */
fgsm_status fg_array_samples(const struct fg_array *array,
                             struct fg_dataset_info *info) FGSM_MUST_USE;
/* FGSM_DATA unless the rows can be labels: one integer each. */
fgsm_status fg_array_check_labels(const struct fg_array *array) FGSM_MUST_USE;
fgsm_status fg_array_read_labels(struct fg_array *array, int64_t first, int64_t n,
                                 int64_t *to) FGSM_MUST_USE;
void fg_array_close(struct fg_array *array);

/* ---- what formats offer each other. Each takes over `bytes`, on failure too. */

bool fg_idx_is(const unsigned char head[4]);
fgsm_status fg_idx_array(struct fg_bytes *bytes, struct fg_array *out) FGSM_MUST_USE;
bool fg_npy_is(const unsigned char head[6]);
fgsm_status fg_npy_array(struct fg_bytes *bytes, struct fg_array *out) FGSM_MUST_USE;
bool fg_npz_is(const unsigned char head[4]);
/* The labels in a .npz: `member`, or (NULL) the one named y or labels. */
fgsm_status fg_npz_labels(const char *path, const char *member, struct fg_array *out) FGSM_MUST_USE;

#define FG_NPY_HEADER_MAX 512
/* The .npy header of n rows of info's shape and type (I64 and rank 0: labels). */
size_t fg_npy_header(char header[FG_NPY_HEADER_MAX], enum fg_type type, int64_t n, int rank,
                     const int64_t *dim);

/* ---- labels.c: labels from any file */

struct fg_labels;
fgsm_status fg_labels_open(const char *path, struct fg_labels **out) FGSM_MUST_USE;
int64_t fg_labels_count(const struct fg_labels *labels);
const char *fg_labels_path(const struct fg_labels *labels); /* the file */
fgsm_status fg_labels_read(struct fg_labels *labels, int64_t first, int64_t n,
                           int64_t *to) FGSM_MUST_USE;
void fg_labels_close(struct fg_labels *labels);

/* ---- readers */

enum fg_fit { FG_FIT_NONE, FG_FIT_NAME, FG_FIT_CONTENT, FG_FIT_CERTAIN };

/* A file (or folder) whose format is sought. */
struct fg_probe {
  const char *path;
  struct fg_bytes *bytes; /* NULL: a folder */
  unsigned char head[32]; /* the first bytes, decompressed; zero beyond head_bytes */
  size_t head_bytes;
};

/* One file being read. path, member and skip_labels are set before open; open fills info and state.
 */
struct fg_reader {
  const struct fg_reader_format *format;
  char *path, *member; /* member NULL: none named */
  bool skip_labels;    /* they come from elsewhere: leave info.has_labels false */
  struct fg_dataset_info info;
  void *state;
};

struct fg_reader_format {
  const char *name;
  enum fg_fit (*probe)(const struct fg_probe *probe);
  fgsm_status (*open)(struct fg_reader *reader);
  /* Samples first .. first + n - 1, which exist. labels and extra are NULL where not wanted or
   * where info has none. */
  fgsm_status (*read)(struct fg_reader *reader, int64_t first, int64_t n, void *x, int64_t *labels,
                      uint8_t *extra);
  void (*close)(struct fg_reader *reader); /* also after a failed open */
  /* The i-th place beside the data where labels may lie; false past the last. NULL: none. */
  bool (*beside)(const char *path, int i, char *out, size_t size);
};

extern const struct fg_reader_format fg_idx_reader, fg_cifar_reader, fg_npy_reader, fg_npz_reader;

/* ---- writers */

/* Files of one output. The first is the data; commit renames the others before it. */
struct fg_sink {
  const struct fg_writer_format *format;
  char *path;
  struct fg_dataset_info info;
  int64_t sample_items, sample_bytes;
  int64_t written; /* samples */
  struct fg_file **files;
  int64_t n_files, room_files;
  void *state; /* the format's; freed with free() */
  bool failed, committed;
};

struct fg_writer_format {
  const char *name;
  const char *suffixes; /* for messages */
  bool (*takes)(const char *path);
  fgsm_status (*open)(struct fg_sink *sink); /* checks info, adds files, writes headers */
  fgsm_status (*write)(struct fg_sink *sink, int64_t n, const void *x, const int64_t *labels,
                       const uint8_t *extra);
  /* info.n has become the fewer samples that were written: whatever holds their number is made to
   * agree. NULL: it cannot be. */
  fgsm_status (*shorten)(struct fg_sink *sink);
  fgsm_status (*finish)(struct fg_sink *sink); /* after the last sample; NULL: nothing to do */
};

extern const struct fg_writer_format fg_idx_writer, fg_cifar_writer, fg_npy_writer, fg_npz_writer;

/* Adds a file to the sink, compressed if its name ends in .gz. */
fgsm_status fg_sink_add(struct fg_sink *sink, const char *path, struct fg_file **out) FGSM_MUST_USE;

/* ---- file.c, beyond io.h */

fgsm_status fg_file_open(const char *path, bool gz, struct fg_file **out) FGSM_MUST_USE;
/* Writes at an offset, also beyond what was written (sizes are known beforehand). Not for gzip. */
fgsm_status fg_file_put(struct fg_file *file, int64_t offset, const void *data,
                        size_t bytes) FGSM_MUST_USE;
/* Reads what was written. Not for gzip. */
fgsm_status fg_file_get(struct fg_file *file, int64_t offset, void *to, size_t bytes) FGSM_MUST_USE;
/* Ends the file at so many bytes. Not for gzip. */
fgsm_status fg_file_cut(struct fg_file *file, int64_t bytes) FGSM_MUST_USE;
bool fg_file_is_gz(const struct fg_file *file);
/* Everything to the disk, the file closed under its temporary name. */
fgsm_status fg_file_seal(struct fg_file *file) FGSM_MUST_USE;
/* The final name. Only after seal. */
fgsm_status fg_file_publish(struct fg_file *file) FGSM_MUST_USE;

/* ---- byte order */

static inline uint32_t fg_be32(const unsigned char *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline uint32_t fg_le32(const unsigned char *p) {
  return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

#endif
