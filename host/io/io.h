/* Datasets: one file per format, reader and writer together, behind two small tables.
 *
 * A dataset is n samples of one shape (U8 or F32; other float types are converted on reading) with
 * a label each (-1: none). Readers stream: memory is bounded by what one read asks for. Writers
 * write to a temporary file beside the target and rename it when everything, fsync and close
 * included, has succeeded: a file under its final name is complete. */
#ifndef FG_IO_H
#define FG_IO_H

#include "base.h"

struct fg_dataset_info {
  const char *format;  /* "idx", "cifar", "npy", "npz" */
  int64_t n;           /* samples                      */
  enum fg_type type;   /* U8 or F32: what read hands out */
  enum fg_type stored; /* what the file holds: F64, F16, ... */
  int rank;            /* of one sample */
  int64_t dim[FG_MAX_RANK];
  bool has_labels;
  int extra_bytes;    /* per sample, carried through unchanged (CIFAR-100's coarse label) */
  int64_t held_bytes; /* of files that cannot be streamed, kept in memory while they are open */
};

struct fg_dataset;

/* Opens a dataset: path is a file, or several joined by commas that are read as one. The format is
 * found by content, then by name. `labels` (NULL: found beside the data or inside it) names a file
 * with the labels: IDX, .npy of integers, .npz member `y`/`labels`, or text with one number a line.
 * Errors (FGSM_DATA, FGSM_IO) name the file, what was expected, and the byte or sample. */
fgsm_status fg_dataset_open(const char *path, const char *labels,
                            struct fg_dataset **out) FGSM_MUST_USE;
const struct fg_dataset_info *fg_dataset_info(const struct fg_dataset *dataset);
/* Reads up to `most` samples in order; *n is how many (0 at the end). labels and extra may be NULL.
 * A short file is FGSM_DATA, never a silent end. */
fgsm_status fg_dataset_read(struct fg_dataset *dataset, int64_t most, void *x, int64_t *labels,
                            uint8_t *extra, int64_t *n) FGSM_MUST_USE;
/* The part that options start and limit (0: all) choose: *n samples from `start` on. FGSM_DATA if it is
 * empty. */
fgsm_status fg_dataset_range(const char *path, const struct fg_dataset_info *info, int64_t start,
                             int64_t limit, int64_t *n) FGSM_MUST_USE;
/* The next sample to be read becomes `index`. */
fgsm_status fg_dataset_seek(struct fg_dataset *dataset, int64_t index) FGSM_MUST_USE;
void fg_dataset_close(struct fg_dataset *dataset);
/* SHA-256 over the bytes of the dataset's file(s), as 64 hex digits. */
fgsm_status fg_dataset_sha256(const struct fg_dataset *dataset, char hex[65]) FGSM_MUST_USE;
/* Whether `path` is one of the files, data or labels, that the dataset reads. */
bool fg_dataset_reads(const struct fg_dataset *dataset, const char *path);

struct fg_sink;

/* Begins a dataset at `path`; its suffix chooses the format (.npy .npz .bin, idx...-ubyte[.gz]).
 * info: shape, type, n (exact), has_labels, extra_bytes. Formats that keep labels apart write them
 * beside (adv.npy: adv.labels.npy; images-idx3-ubyte: labels-idx1-ubyte). A shape or type that the
 * format cannot hold is FGSM_USAGE and says which formats can. */
fgsm_status fg_sink_open(const char *path, const struct fg_dataset_info *info,
                         struct fg_sink **out) FGSM_MUST_USE;
/* FGSM_USAGE if a file that the sink will write is one that `input` reads. */
fgsm_status fg_sink_check_apart(const struct fg_sink *sink,
                                const struct fg_dataset *input) FGSM_MUST_USE;
fgsm_status fg_sink_write(struct fg_sink *sink, int64_t n, const void *x, const int64_t *labels,
                          const uint8_t *extra) FGSM_MUST_USE;
/* Completes the files and gives them their final names. The sink stays to be closed. */
fgsm_status fg_sink_commit(struct fg_sink *sink) FGSM_MUST_USE;
/* Makes what was written so far the whole, to be committed under names that begin with `prefix`: of
 * several samples that were announced, fewer came. FGSM_UNSUPPORTED where the format cannot (gzip). */
fgsm_status fg_sink_shorten(struct fg_sink *sink, const char *prefix) FGSM_MUST_USE;
/* Frees the sink; without a commit before it, removes what was written. */
void fg_sink_close(struct fg_sink *sink);

/* One array from a .npy file (or a .npz member when the path is "file.npz:member"), floats and
 * integers converted to `type`; freed by the caller with free(). */
fgsm_status fg_npy_load(const char *path, enum fg_type type, int *rank, int64_t dim[FG_MAX_RANK],
                        void **data) FGSM_MUST_USE;

/* The same for at most `most` bytes (and 1 GiB); FGSM_DATA beyond. */
fgsm_status fg_npy_load_within(const char *path, size_t most, enum fg_type type, int *rank,
                               int64_t dim[FG_MAX_RANK], void **data) FGSM_MUST_USE;

/* A text file written atomically (records, manifest): to `path`.part, then renamed on commit. */
struct fg_file;
fgsm_status fg_file_create(const char *path, struct fg_file **out) FGSM_MUST_USE;
fgsm_status fg_file_write(struct fg_file *file, const void *data, size_t bytes) FGSM_MUST_USE;
/* Overwrites bytes already written (a header whose counts are known at the end). */
fgsm_status fg_file_patch(struct fg_file *file, int64_t offset, const void *data,
                          size_t bytes) FGSM_MUST_USE;
/* Another final name: the same with `prefix` before its last part. */
fgsm_status fg_file_prefix(struct fg_file *file, const char *prefix) FGSM_MUST_USE;
const char *fg_file_path(const struct fg_file *file);
fgsm_status fg_file_commit(struct fg_file *file) FGSM_MUST_USE;
void fg_file_close(struct fg_file *file); /* without a commit: removes it */

/* Whether two names are one existing file. */
bool fg_path_same(const char *a, const char *b);

/* "adv.npy" with "-eps1_255" -> "adv-eps1_255.npy"; keeps ".idx3-ubyte.gz"-like double suffixes. */
fgsm_status fg_path_insert(const char *path, const char *infix, char *out,
                           size_t size) FGSM_MUST_USE;

#endif
