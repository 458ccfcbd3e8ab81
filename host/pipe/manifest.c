/* The answer to the caller and the manifest of an output: JSON through jansson. A text that is not
 * UTF-8 (a path) is written with `?` for what cannot be said. An absent object means that memory
 * ran out: jansson passes it on, and only the end is checked. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "job.h"

static json_t *text_json(const char *text) {
  json_t *json = json_string(text);
  char *ascii = json ? NULL : strdup(text);
  if (!ascii)
    return json;
  for (char *c = ascii; *c; c++)
    if ((unsigned char)*c >= 0x80)
      *c = '?';
  json = json_string(ascii);
  free(ascii);
  return json;
}

static json_t *real_json(double x) {
  return isfinite(x) ? json_real(x) : json_null();
}

static bool set(json_t *object, const char *name, json_t *value) {
  return json_object_set_new(object, name, value) == 0;
}

static fgsm_status finish(json_t *object, bool whole, char **json) {
  *json = whole && object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
  json_decref(object);
  return *json ? FGSM_OK : FG_FAIL(MEMORY, "no memory for the report");
}

int fg_report_strongest(const struct fg_report *report) {
  int strongest = 0;
  for (int e = 1; e < report->n_eps; e++)
    if (report->options->eps[e].value > report->options->eps[strongest].value)
      strongest = e;
  return strongest;
}

static const char *eps_text(const struct fg_report *report, int e) {
  return report->options->eps_map ? report->options->eps_map : report->options->eps[e].text;
}

static bool set_eps(const struct fg_report *report, int e, json_t *object) {
  return set(object, "eps", text_json(eps_text(report, e))) &&
         set(object, "eps_applied", real_json(report->attacker->eps[e]));
}

static json_t *entry_json(const struct fg_report *report, int e) {
  json_t *object = json_object();
  bool whole = object && set_eps(report, e, object) && fg_tally_report(&report->tally[e], object);
  if (whole && report->path)
    whole = set(object, "out", text_json(report->path[e]));
  if (whole)
    return object;
  json_decref(object);
  return NULL;
}

static json_t *curve_json(const struct fg_report *report) {
  json_t *curve = json_array();
  for (int e = 0; e < report->n_eps; e++)
    if (json_array_append_new(curve, entry_json(report, e)) != 0) {
      json_decref(curve);
      return NULL;
    }
  return curve;
}

static json_t *waits_json(const struct fg_report *report) {
  return json_pack("{s:f, s:f, s:f}", "read", report->wait_share[0], "compute",
                   report->wait_share[1], "write", report->wait_share[2]);
}

/* Why some results are null; NULL: none is. */
static const char *not_known(const struct fg_attacker_info *info) {
  return info->verifies ? NULL
         : info->sees_clean
             ? "--no-verify: what was written was not read back through the model"
             : "--no-verify: what was written was not read back through the model, nor "
               "were the clean samples looked at, from which this attack does not start";
}

/* What ran, where and how long: both texts say it. */
static bool set_run(const struct fg_report *report, json_t *object) {
  const struct fg_attacker_info *info = report->attacker;
  double rate = report->seconds > 0 ? (double)report->samples / report->seconds : NAN;
  return set(object, "seed", json_integer((json_int_t)report->options->seed)) &&
         set(object, "device", text_json(info->device)) &&
         set(object, "precision", text_json(info->precision)) &&
         (!report->agreement || set(object, "agreement", fg_agree_json(report->agreement))) &&
         set(object, "verified", json_boolean(info->verifies)) &&
         (info->verifies || set(object, "not_known", json_string(not_known(info)))) &&
         set(object, "fast_calls", json_integer(info->gradient.n_fast)) &&
         set(object, "batch", json_integer(info->batch)) &&
         set(object, "strip", json_integer(info->strip)) &&
         set(object, "climbs", json_integer((json_int_t)report->climbs)) &&
         set(object, "seconds", real_json(report->seconds)) &&
         set(object, "images_per_second", real_json(rate)) &&
         set(object, "stage_wait", waits_json(report)) &&
         set(object, "notes", text_json(info->notes));
}

static bool set_check(const struct fg_report *report, json_t *object) {
  double lowest = 1;
  for (int e = 0; e < report->n_eps; e++) {
    const struct fg_tally *t = &report->tally[e];
    double accuracy = (double)t->adversarial_correct / (double)t->samples;
    if (accuracy < lowest)
      lowest = accuracy;
  }
  double bound = report->options->fail_under;
  return bound < 0 || set(object, "fail_under",
                          json_pack("{s:f, s:f, s:b}", "bound", bound, "lowest_accuracy", lowest,
                                    "passed", lowest >= bound));
}

fgsm_status fg_report_answer(const struct fg_report *report, char **json) {
  json_t *object = json_object();
  int e = fg_report_strongest(report);
  bool whole = object && set(object, "version", json_string(FGSM_VERSION)) &&
               set(object, "model", text_json(report->model_path)) &&
               set(object, "data", text_json(report->data_path)) &&
               set(object, "attack", text_json(report->attacker->spec.name)) &&
               set(object, "loss", text_json(report->options->loss)) &&
               set_eps(report, e, object) && fg_tally_report(&report->tally[e], object) &&
               set(object, "denominators", fg_tally_denominators()) && set_run(report, object) &&
               set_check(report, object);
  if (whole && report->path)
    whole = set(object, "out", text_json(report->path[e]));
  if (whole && report->n_eps > 1)
    whole = set(object, "curve", curve_json(report));
  return finish(object, whole, json);
}

static json_t *options_json(const struct fgsm_options *options) {
  json_t *object = json_object();
  const fgsm_option_info *row;
  for (size_t i = 0; object && (row = fgsm_option_at(i)); i++) {
    const char *value = fgsm_options_get(options, row->name);
    if (!set(object, row->name, value ? text_json(value) : json_null())) {
      json_decref(object);
      return NULL;
    }
  }
  return object;
}

static json_t *shape_json(const struct fg_dataset_info *data) {
  json_t *shape = json_array();
  for (int i = 0; i < data->rank; i++)
    if (json_array_append_new(shape, json_integer(data->dim[i])) != 0) {
      json_decref(shape);
      return NULL;
    }
  return shape;
}

static json_t *spec_json(const struct fg_report *report) {
  static const char *const norms[] = {
      [FG_NORM_linf] = "linf", [FG_NORM_l2] = "l2", [FG_NORM_l1] = "l1"};
  const struct fg_attack_spec *s = &report->attacker->spec;
  return json_pack(
      "{s:s, s:s, s:s, s:s, s:i, s:f, s:o, s:b, s:i, s:o}", "name", s->name, "source", s->source,
      "loss", report->options->loss, "norm", norms[s->norm], "steps", s->steps, "alpha", s->alpha,
      "step", s->step >= 0 ? json_real(s->step) : json_null(), "project", s->project, "restarts",
      s->restarts, "decay", s->decay >= 0 ? json_real(s->decay) : json_null());
}

static json_t *data_files_json(const struct fg_onnx *onnx) {
  json_t *list = json_array();
  for (int i = 0; i < fg_onnx_n_data_files(onnx); i++) {
    const struct fg_onnx_data_file *file = fg_onnx_data_file(onnx, i);
    json_t *row = json_pack("{s:o, s:I, s:s}", "path", text_json(file->location), "bytes",
                            (json_int_t)file->bytes, "sha256", file->sha256);
    if (json_array_append_new(list, row) != 0) {
      json_decref(list);
      return NULL;
    }
  }
  return list;
}

/* Seconds since 1970 as UTC, in ISO 8601. */
static json_t *now_json(void) {
  char text[32];
  time_t now = time(NULL);
  struct tm utc;
  if (!gmtime_r(&now, &utc) || !strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc))
    return json_null();
  return json_string(text);
}

fgsm_status fg_report_manifest(const struct fg_report *report, int e, char **json) {
  char sha256[65];
  FG_TRY(fg_sha256_file(report->path[e], sha256));
  json_t *object = json_object();
  const struct fg_dataset_info *data = report->data;
  bool whole =
      object &&
      set(object, "tool", json_pack("{s:s, s:s}", "name", "fgsm", "version", FGSM_VERSION)) &&
      set(object, "created", now_json()) &&
      set(object, "model",
          json_pack("{s:o, s:s, s:o, s:I, s:o}", "path", text_json(report->model_path), "sha256",
                    fg_onnx_sha256(report->onnx), "external_data", data_files_json(report->onnx),
                    "opset", (json_int_t)fg_onnx_opset(report->onnx), "producer",
                    text_json(fg_onnx_producer(report->onnx)))) &&
      set(object, "data",
          json_pack("{s:o, s:s?, s:s, s:I, s:I, s:s, s:o}", "path", text_json(report->data_path),
                    "sha256", report->data_sha256, "format", data->format, "samples",
                    (json_int_t)data->n, "first", (json_int_t)report->options->start, "type",
                    fg_type_name(data->stored), "shape", shape_json(data))) &&
      set(object, "output",
          json_pack("{s:o, s:s, s:s, s:I, s:I, s:b}", "path", text_json(report->path[e]), "sha256",
                    sha256, "type", fg_type_name(report->attacker->out_type), "samples",
                    (json_int_t)report->samples, "asked", (json_int_t)report->asked, "complete",
                    report->samples == report->asked)) &&
      set(object, "options", options_json(report->options)) &&
      set(object, "attack", spec_json(report)) && set_run(report, object) &&
      set(object, "results", entry_json(report, e)) &&
      set(object, "denominators", fg_tally_denominators());
  return finish(object, whole, json);
}
