/* `fgsm bench`: how fast a model is attacked, and how far that is from what the machine can do.
 * bench.c measures (with host/attack/measure.h), end_to_end.c sends generated data through the whole
 * pipeline, ceiling.c finds the machine's limits, energy.c reads meters; report.c and json.c say it. */
#ifndef FG_BENCH_H
#define FG_BENCH_H

#include "agree.h"
#include "measure.h"

/* Measures the options' batches one beside the other. *text is freed with fgsm_free. */
fgsm_status fg_bench(const struct fg_onnx *onnx, const char *path, const fgsm_options *options,
                     fgsm_format format, char **text) FGSM_MUST_USE;

/* ---- ceilings */

enum { FG_CEILING_SIZES = 16, FG_CEILING_THREADS = 12 };

struct fg_ceilings {
  bool known; /* the backend has bursts */
  double flops_per_second;
  int n_sizes; /* copying: bytes in all, and bytes read and written in a second */
  double bytes[FG_CEILING_SIZES], bytes_per_second[FG_CEILING_SIZES];
  int n_threads; /* the same for fewer threads, ending with those of the device; memory: the largest */
  struct fg_thread_ceiling {
    int threads;
    double flops_per_second, bytes_per_second;
  } threads[FG_CEILING_THREADS];
};
/* Takes the best of what was found so far and of another look, over sizes up to `most` bytes. */
fgsm_status fg_ceilings_measure(struct fg_device *device, double most,
                                struct fg_ceilings *c) FGSM_MUST_USE;
/* FLOP/s of multiply-adds in registers now, where ceilings are known: by a burst of at least so many seconds (above 0),
 * which whatever slows down other work slows down too. */
fgsm_status fg_ceilings_multiply_adds(struct fg_device *device, double seconds,
                                      double *rate) FGSM_MUST_USE;
/* The least seconds in which so much can be done: bytes move as fast as a copy of as many does, which
 * for few of them is the speed of a cache. 0 where the ceilings are not known. */
double fg_ceilings_floor(const struct fg_ceilings *c, double flops, double bytes);

/* ---- energy */

struct fg_energy {
  char source[96]; /* "RAPL", "NVML"; or "unavailable: why" */
  bool available;
  double joules; /* between start and stop, summed */
  struct fg_meter *meter;
};
/* The processor's meters below `powercap` (/sys/class/powercap), or where `card` is not NULL through
 * `nvml` (a library's name) those of the card at that place on the bus: CUDA may number cards
 * otherwise than NVML does. Never fails: it may be unavailable. */
void fg_energy_open(struct fg_energy *e, const char *powercap, const char *nvml, const char *card);
void fg_energy_close(struct fg_energy *e);
void fg_energy_start(struct fg_energy *e);
void fg_energy_stop(struct fg_energy *e);

/* ---- end to end */

struct fg_end_to_end {
  int64_t samples;
  double images_per_second;
  double wait[3]; /* shares of time that reader, device and writer waited */
};
/* n generated samples from a temporary file to another, through the pipeline. */
fgsm_status fg_bench_end_to_end(const struct fg_onnx *onnx, const char *path,
                                const fgsm_options *options, const struct fg_sample_shape *shape,
                                int64_t classes, int64_t n,
                                struct fg_end_to_end *out) FGSM_MUST_USE;

/* ---- results */

struct fg_bench_call {
  char what[48];
  const struct fg_node *node;
  char name[128]; /* the first of the file's nodes whose work it does, or its own */
  struct fg_plan_call cost;
  struct fg_spread seconds;
  double floor;
};

/* One batch size. */
struct fg_bench_row {
  int64_t asked;
  struct fg_measure *m;
  struct fg_plan_info plan;
  struct fg_bench_call *calls; /* plan.n_calls */
  double floor;                /* of the plan: the sum of its calls' */
  size_t buffer_bytes;
  struct fg_end_to_end end_to_end;                         /* the last of several */
  struct fg_spread piped;                                  /* end to end: seconds for a batch */
  struct fg_spread attack, climb, whole, stage[FG_STAGES]; /* n 0: no such stage */
  struct fg_spread multiply_adds; /* the plan's FLOP/s in theirs before and after; n 0: unknown */
  double calls_seconds;           /* sum of the calls' medians */
  double joules_per_image;        /* negative: unknown */
  bool approximates;              /* by less than float32's digits, or a way that rounds more: */
  struct fg_agreement agreement;  /* with the exact gradients, on the generated batch */
};

struct fg_bench {
  const char *path;
  const struct fg_onnx *onnx;
  const struct fgsm_options *options;
  struct fg_device_choice choice; /* one device */
  char device_text[256];
  int n_rows, rounds;
  struct fg_bench_row *rows;
  struct fg_ceilings ceilings;
  struct fg_energy energy;
  size_t peak_process_bytes;
};

/* Samples a second, of a batch's seconds; share of the ceiling (0 where that is not known). */
static inline double fg_bench_rate(const struct fg_bench_row *r, double seconds) {
  return seconds > 0 ? (double)fg_measure_info(r->m)->batch / seconds : 0;
}
static inline double fg_bench_share(double floor, double seconds) {
  return seconds > 0 ? floor / seconds : 0;
}

fgsm_status fg_bench_text(const struct fg_bench *b, char **text) FGSM_MUST_USE;
fgsm_status fg_bench_csv(const struct fg_bench *b, char **text) FGSM_MUST_USE;
fgsm_status fg_bench_json(const struct fg_bench *b, char **text) FGSM_MUST_USE;

#endif
