/* A bench's result as one JSON object. What cannot be known here is null, never a number. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "bench.h"

static json_t *json_words(const char *text) {
  char clean[4096];
  fg_clean_text(text, true, clean, sizeof clean);
  return json_string(clean);
}

static json_t *json_spread(const struct fg_spread *s) {
  if (s->n == 0)
    return json_null();
  return json_pack("{s:f, s:f, s:f, s:i}", "median", s->median, "q1", s->q1, "q3", s->q3, "runs",
                   s->n);
}

/* A rate with its seconds for a batch. */
static json_t *json_rate(const struct fg_bench_row *row, const struct fg_spread *s) {
  return json_pack("{s:f, s:o}", "images_per_second", fg_bench_rate(row, s->median),
                   "seconds_per_batch", json_spread(s));
}

static json_t *json_share(const struct fg_bench *b, double floor, double seconds) {
  return b->ceilings.known ? json_real(fg_bench_share(floor, seconds)) : json_null();
}

static json_t *json_calls(const struct fg_bench *b, const struct fg_bench_row *row) {
  json_t *list = json_array();
  for (int i = 0; i < row->plan.n_calls; i++) {
    const struct fg_bench_call *c = &row->calls[i];
    json_array_append_new(
        list, json_pack("{s:s, s:o, s:b, s:o, s:f, s:f, s:f, s:o}", "operator", c->what, "name",
                        json_words(c->name), "gradient", c->node->from.gradient, "seconds",
                        json_spread(&c->seconds), "flops", c->cost.flops, "read_bytes",
                        c->cost.read_bytes, "written_bytes", c->cost.written_bytes,
                        "roofline_share", json_share(b, c->floor, c->seconds.median)));
  }
  return list;
}

static json_t *json_stages(const struct fg_bench_row *row) {
  json_t *stages = json_object();
  for (int i = 0; i < FG_STAGES; i++)
    if (row->stage[i].n)
      json_object_set_new(stages, fg_stage_name(i), json_spread(&row->stage[i]));
  return stages;
}

static json_t *json_plan(const struct fg_bench *b, const struct fg_bench_row *row) {
  double bytes = 0;
  for (int i = 0; i < row->plan.n_calls; i++)
    bytes += row->calls[i].cost.read_bytes + row->calls[i].cost.written_bytes;
  return json_pack("{s:i, s:f, s:f, s:o, s:f, s:o, s:o, s:o}", "calls", row->plan.n_calls, "flops",
                   row->plan.flops, "bytes", bytes, "seconds", json_spread(&row->whole),
                   "sum_of_calls_seconds", row->calls_seconds, "roofline_share",
                   json_share(b, row->floor, row->whole.median), "multiply_add_share",
                   json_spread(&row->multiply_adds), "nodes", json_calls(b, row));
}

static json_t *json_row(const struct fg_bench *b, const struct fg_bench_row *row) {
  const struct fg_attacker_info *info = fg_measure_info(row->m);
  json_t *piped = json_rate(row, &row->piped);
  json_object_set_new(piped, "samples", json_integer(row->end_to_end.samples));
  json_object_set_new(piped, "stage_wait",
                      json_pack("{s:f, s:f, s:f}", "read", row->end_to_end.wait[0], "compute",
                                row->end_to_end.wait[1], "write", row->end_to_end.wait[2]));
  json_t *memory = json_pack("{s:I, s:I, s:I}", "arena_bytes", (json_int_t)row->plan.arena_bytes,
                             "weight_bytes", (json_int_t)row->plan.constant_bytes, "buffer_bytes",
                             (json_int_t)row->buffer_bytes);
  return json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "batch",
                   (json_int_t)row->asked, "device_batch", (json_int_t)info->batch, "strip",
                   (json_int_t)info->strip, "end_to_end", piped, "attack",
                   json_rate(row, &row->attack), "device_only", json_rate(row, &row->climb),
                   "stages", json_stages(row), "plan", json_plan(b, row), "memory", memory,
                   "joules_per_image",
                   row->joules_per_image < 0 ? json_null() : json_real(row->joules_per_image),
                   "agreement", row->approximates ? fg_agree_json(&row->agreement) : json_null(),
                   "notes", json_words(info->notes));
}

static json_t *json_ceilings(const struct fg_ceilings *c) {
  if (!c->known)
    return json_null();
  json_t *threads = json_array(), *copies = json_array();
  for (int i = 0; i < c->n_threads; i++)
    json_array_append_new(threads, json_pack("{s:i, s:f, s:f}", "threads", c->threads[i].threads,
                                             "flops_per_second", c->threads[i].flops_per_second,
                                             "bytes_per_second", c->threads[i].bytes_per_second));
  for (int i = 0; i < c->n_sizes; i++)
    json_array_append_new(copies, json_pack("{s:f, s:f}", "bytes", c->bytes[i], "bytes_per_second",
                                            c->bytes_per_second[i]));
  return json_pack("{s:f, s:f, s:o, s:o}", "flops_per_second", c->flops_per_second,
                   "bytes_per_second", c->bytes_per_second[c->n_sizes - 1], "threads", threads,
                   "copies", copies);
}

fgsm_status fg_bench_json(const struct fg_bench *b, char **text) {
  const struct fg_attacker_info *info = fg_measure_info(b->rows[0].m);
  json_t *rows = json_array();
  for (int i = 0; i < b->n_rows; i++)
    json_array_append_new(rows, json_row(b, &b->rows[i]));
  json_t *json = json_pack(
      "{s:o, s:s, s:s, s:o, s:s, s:s, s:s, s:f, s:b, s:i, s:o, s:o, s:{s:b, s:s}, s:I}", "model",
      json_words(b->path), "sha256", fg_onnx_sha256(b->onnx), "device", info->device,
      "device_description", json_words(b->device_text), "precision", info->precision, "attack",
      info->spec.name, "loss", b->options->loss, "eps", info->eps[0], "verified", info->verifies,
      "runs", b->rounds, "ceilings", json_ceilings(&b->ceilings), "batches", rows, "energy",
      "available", b->energy.available, "source", b->energy.source, "peak_process_bytes",
      (json_int_t)b->peak_process_bytes);
  *text = json ? json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
  json_decref(json);
  return *text ? FGSM_OK : FG_FAIL(MEMORY, "no memory for the result, or a figure is not finite");
}
