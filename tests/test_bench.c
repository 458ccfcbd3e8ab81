/* `fgsm bench`: its numbers hang together, and every form of an attack can be measured. How fast the
 * machine is cannot be tested; that shares are shares, and parts add up, can. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "onnx_bytes.h"

static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Benches a model in memory, which it takes over; settings "name=value", up to NULL. */
static fgsm_status bench(struct onnx_bytes b, fgsm_format format, const char *const *settings,
                         char **text) {
  struct fg_onnx *onnx = NULL;
  fgsm_options *options = NULL;
  cr_assert(fg_onnx_parse(b.data, b.n, "small", &onnx) == FGSM_OK, "%s", fgsm_last_error());
  cr_assert(fgsm_options_create(&options) == FGSM_OK);
  cr_assert(fgsm_options_set(options, "threads", "1") == FGSM_OK);
  for (; *settings; settings++) {
    char name[32];
    size_t n = strcspn(*settings, "=");
    snprintf(name, sizeof name, "%.*s", (int)n, *settings);
    cr_assert(fgsm_options_set(options, name, *settings + n + 1) == FGSM_OK, "%s",
              fgsm_last_error());
  }
  fgsm_status status = fg_bench(onnx, "small.onnx", options, format, text);
  fgsm_options_destroy(options);
  fg_onnx_close(onnx);
  free(b.data);
  return status;
}

static json_t *bench_json(struct onnx_bytes b, const char *const *settings) {
  char *text = NULL;
  cr_assert(bench(b, FGSM_FORMAT_JSON, settings, &text) == FGSM_OK, "%s", fgsm_last_error());
  json_t *json = json_loads(text, 0, NULL);
  cr_assert(json, "not JSON: %s", text);
  fgsm_free(text);
  return json;
}

static const json_t *member(const json_t *json, const char *path) {
  char key[64];
  for (const char *at = path; *at;) {
    size_t n = strcspn(at, ".");
    snprintf(key, sizeof key, "%.*s", (int)n, at);
    json = json_object_get(json, key);
    cr_assert(json, "no member '%s' of '%s'", key, path);
    at += n + (at[n] != 0);
  }
  return json;
}

static double number(const json_t *json, const char *path) {
  const json_t *value = member(json, path);
  cr_assert(json_is_number(value), "'%s' is no number", path);
  return json_number_value(value);
}

/* A spread is in order and above 0. */
static void check_spread(const json_t *json, const char *path, int runs) {
  const json_t *s = member(json, path);
  double median = number(s, "median");
  cr_expect(isfinite(median) && median > 0 && number(s, "q1") <= median &&
                number(s, "q3") >= median && (int)number(s, "runs") == runs,
            "%s", path);
}

/* What a row's times must obey on a machine that runs nothing else; elsewhere one of several tries has
 * to. Says what did not hold, or nothing. */
static void check_times(const json_t *row, double ceiling, char *wrong, size_t size) {
  static const char *const stages[] = {"stages.dequantize", "stages.gradient", "stages.quantize",
                                       "stages.evaluate"};
  double parts = 0, calls = 0;
  for (size_t s = 0; s < 4; s++)
    parts += number(member(row, stages[s]), "median");
  size_t k;
  const json_t *node;
  json_array_foreach(member(row, "plan.nodes"), k, node) calls += number(node, "seconds.median");
  double attack = number(row, "attack.seconds_per_batch.median");
  double whole = number(row, "plan.seconds.median"), share = number(row, "plan.roofline_share");
  double device = number(row, "device_only.images_per_second");
  double with_host = number(row, "attack.images_per_second");
  double best = number(row, "plan.flops") / whole / ceiling;
  double now = number(row, "plan.multiply_add_share.median");
  if (parts >= 1.2 * attack)
    snprintf(wrong, size, "stages take %g s, the attack %g s", parts, attack);
  else if (share <= 0 || share > 1.5)
    snprintf(wrong, size, "%g of the roofline", share);
  else if (now < best / 2 || now > 4 * best)
    snprintf(wrong, size, "%g of multiply-adds in turns, %g of the best", now, best);
  else if (calls <= whole / 2 || calls >= 2 * whole)
    snprintf(wrong, size, "calls take %g s, the whole %g s", calls, whole);
  else if (device <= 0.5 * with_host)
    snprintf(wrong, size, "%g images/s on the device, %g with the host", device, with_host);
}

/* What holds of a row however busy the machine is. */
static void check_row(const json_t *row, int batch) {
  cr_expect(number(row, "batch") == batch);
  check_spread(row, "end_to_end.seconds_per_batch", 3);
  static const char *const spreads[] = {"attack.seconds_per_batch",
                                        "device_only.seconds_per_batch",
                                        "plan.seconds",
                                        "plan.multiply_add_share",
                                        "stages.dequantize",
                                        "stages.gradient",
                                        "stages.quantize",
                                        "stages.evaluate"};
  for (size_t i = 0; i < sizeof spreads / sizeof *spreads; i++)
    check_spread(row, spreads[i], 15);
  double sum = 0, flops = 0;
  size_t k;
  const json_t *node;
  json_array_foreach(member(row, "plan.nodes"), k, node) {
    check_spread(node, "seconds", 15);
    sum += number(node, "seconds.median");
    flops += number(node, "flops");
    cr_expect(number(node, "roofline_share") >= 0);
  }
  cr_expect_float_eq(sum, number(row, "plan.sum_of_calls_seconds"), 1e-6 * sum);
  cr_expect_float_eq(flops, number(row, "plan.flops"), 1e-6 * flops);
  cr_expect(number(row, "memory.arena_bytes") > 0 && number(row, "memory.buffer_bytes") > 0);
}

/* Of the processor, for what a bench of small batches does. */
#ifdef FG_SANITIZED
static const double MOST_SECONDS = 5;
#else
static const double MOST_SECONDS = 1;
#endif

/* Times of small calls are taken beside whatever else the machine does: up to eight tries. */
Test(bench, numbers_hang_together) {
  char wrong[128] = "";
  for (int tries = 0; tries == 0 || (*wrong && tries < 8); tries++) {
    *wrong = 0;
    double before = cpu_seconds();
    json_t *json = bench_json(onnx_small_net(),
                              (const char *const[]){"batch=64,256", "runs=15", "device=cpu", NULL});
    double took = cpu_seconds() - before;
    if (took >= MOST_SECONDS)
      snprintf(wrong, sizeof wrong, "%g s of the processor", took);
    cr_expect(number(json, "ceilings.flops_per_second") > 1e8);
    cr_expect(number(json, "ceilings.bytes_per_second") > 1e8);
    cr_expect_str_eq(json_string_value(member(json, "attack")), "fgsm");
    cr_expect(json_is_true(member(json, "verified")));
    cr_expect_float_eq(number(json, "eps"), 8.0 / 255, 1e-8);
    cr_assert(json_array_size(member(json, "batches")) == 2);
    size_t i;
    const json_t *row;
    json_array_foreach(member(json, "batches"), i, row) {
      check_row(row, i ? 256 : 64);
      check_times(row, number(json, "ceilings.flops_per_second"), wrong, sizeof wrong);
    }
    json_decref(json);
  }
  cr_expect(!*wrong, "%s", wrong);
}

/* Attacks with starts, restarts, momentum, several steps, and without a gradient. */
Test(bench, measures_every_form_of_attack) {
  static const char *const attacks[][4] = {{"attack=pgd", "steps=2", "restarts=2", "start"},
                                           {"attack=mi-fgsm", "steps=2", "decay=1", "gradient"},
                                           {"attack=rs-fgsm", "target=1", "loss=margin", "start"},
                                           {"attack=minimal-eps", "steps=3", "seed=1", "gradient"},
                                           {"attack=noise-sign", "norm=linf", "seed=1", "settle"}};
  for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
    json_t *json =
        bench_json(onnx_small_net(), (const char *const[]){"batch=4", "runs=2", attacks[i][0],
                                                           attacks[i][1], attacks[i][2], NULL});
    const json_t *row = json_array_get(member(json, "batches"), 0), *stages = member(row, "stages");
    for (const char *word = attacks[i][3]; *word;
         word += strcspn(word, " "), word += *word == ' ') {
      char name[32];
      snprintf(name, sizeof name, "%.*s", (int)strcspn(word, " "), word);
      cr_expect(json_object_get(stages, name), "%s has no stage %s", attacks[i][0], name);
    }
    check_spread(row, "device_only.seconds_per_batch", 2);
    json_decref(json);
  }
}

/* Generation alone has no look among its stages, and says so; noise then runs no network at all. */
Test(bench, measures_generation_alone) {
  static const char *const attacks[] = {"attack=fgsm", "attack=pgd", "attack=noise-sign"};
  for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
    json_t *json =
        bench_json(onnx_small_net(),
                   (const char *const[]){"batch=4", "runs=2", attacks[i], "no-verify=true", NULL});
    const json_t *row = json_array_get(member(json, "batches"), 0);
    cr_expect(json_is_false(member(json, "verified")));
    cr_expect(!json_object_get(member(row, "stages"), "evaluate"), "%s", attacks[i]);
    check_spread(row, "end_to_end.seconds_per_batch", 2);
    check_spread(row, "device_only.seconds_per_batch", 2);
    json_decref(json);
  }
}

/* A size that was found by measuring is one that was tried: doubled from 8 on. */
Test(bench, batch_is_found_by_measuring) {
  json_t *json = bench_json(onnx_small_net(), (const char *const[]){"batch=auto", "runs=2", NULL});
  cr_assert(json_array_size(member(json, "batches")) == 1);
  int batch = (int)number(json_array_get(member(json, "batches"), 0), "batch");
  cr_expect(batch >= 8 && batch <= 4096 && (batch & (batch - 1)) == 0, "%d", batch);
  json_decref(json);
}

/* Whatever the clip range is, what bench makes lies within it: bytes, and floats. */
Test(bench, samples_lie_in_the_clip_range) {
  struct onnx_bytes g = {0};
  onnx_put(&g, 1, onnx_node("Sigmoid", "s", "x", "y"));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){-1, 4}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){-1, 4}));
  json_t *bytes = bench_json(onnx_small_net(),
                             (const char *const[]){"batch=4", "runs=2", "clip=0.25,0.5", NULL});
  json_t *floats =
      bench_json(onnx_model(g, 13), (const char *const[]){"batch=4", "runs=2", "clip=-3,-1", NULL});
  cr_expect(json_array_size(member(bytes, "batches")) == 1);
  cr_expect(json_array_size(member(floats, "batches")) == 1);
  json_decref(floats);
  json_decref(bytes);
}

/* The oracle has no ceilings: nothing is made up for it. The file's batch is fixed. */
Test(bench, what_is_unknown_is_null) {
  struct onnx_bytes g = {0};
  float w[12] = {1, -2, 3, 4, 5, -6, 7, 8, 9, 1, 2, -3};
  onnx_put(&g, 1, onnx_node("MatMul", "fc", "x w", "y"));
  onnx_put(&g, 5, onnx_tensor("w", ONNX_FLOAT, 2, (int64_t[]){4, 3}, w, sizeof w));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){3, 4}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){3, 3}));
  json_t *json =
      bench_json(onnx_model(g, 13), (const char *const[]){"batch=8", "runs=2", "device=ref", NULL});
  const json_t *row = json_array_get(member(json, "batches"), 0);
  cr_expect(json_is_null(member(json, "ceilings")));
  cr_expect(json_is_null(member(row, "plan.roofline_share")));
  cr_expect(json_is_null(member(row, "plan.multiply_add_share")));
  cr_expect(number(row, "device_batch") == 3);
  if (json_is_false(member(json, "energy.available")))
    cr_expect(strncmp(json_string_value(member(json, "energy.source")), "unavailable", 11) == 0 &&
              json_is_null(member(row, "joules_per_image")));
  json_decref(json);
}

/* Splits a line into at most `most` fields, quotes taken off; their number. */
static int split(char *line, char **fields, int most) {
  int n = 0;
  for (char *at = line; n < most;) {
    char *to = at;
    fields[n++] = at;
    bool quoted = *at == '"';
    for (at += quoted; *at && (quoted || *at != ','); at++) {
      if (quoted && *at == '"') {
        quoted = at[1] == '"';
        at += quoted;
        if (!quoted)
          continue;
      }
      *to++ = *at;
    }
    bool end = !*at;
    *to = 0;
    if (end)
      break;
    at++;
  }
  return n;
}

Test(bench, table_is_read_back) {
  enum { COLUMNS = 14 };
  struct onnx_bytes g = {0};
  char *text = NULL, *fields[COLUMNS + 1];
  int lines = 0, nodes = 0;
  onnx_put(&g, 1, onnx_node("Sigmoid", "a \"name\", with commas", "x", "h"));
  onnx_put(&g, 1, onnx_node("Exp", "e", "h", "y"));
  onnx_put(&g, 11, onnx_port("x", ONNX_FLOAT, 2, (int64_t[]){-1, 4}));
  onnx_put(&g, 12, onnx_port("y", ONNX_FLOAT, 2, (int64_t[]){-1, 4}));
  cr_assert(bench(onnx_model(g, 13), FGSM_FORMAT_CSV,
                  (const char *const[]){"batch=4,8", "runs=2", NULL}, &text) == FGSM_OK,
            "%s", fgsm_last_error());
  for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
       line = strtok_r(NULL, "\n", &save), lines++) {
    int n = split(line, fields, COLUMNS + 1);
    cr_assert(n == COLUMNS, "line %d has %d fields", lines, n);
    if (lines == 0) {
      cr_expect_str_eq(fields[4], "seconds_median");
      continue;
    }
    char *end;
    cr_expect(strtod(fields[4], &end) > 0 && !*end, "line %d: '%s'", lines, fields[4]);
    nodes += strcmp(fields[2], "a \"name\", with commas") == 0;
  }
  cr_expect(lines > 10 && nodes >= 2, "%d lines, %d of the node", lines, nodes);
  fgsm_free(text);
}

/* ---- meters */

static void write_file(const char *folder, const char *name, const char *text) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "we");
  cr_assert(f, "%s", path);
  fputs(text, f);
  fclose(f);
}

/* Two packages and a part of one; one counter runs over. */
Test(bench, processor_meters_are_summed_and_may_run_over) {
  char root[] = "/tmp/fgsm-rapl-XXXXXX", folder[3][64], path[256];
  static const char *const names[] = {"intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"};
  struct fg_energy e;
  cr_assert(mkdtemp(root));
  for (int i = 0; i < 3; i++) {
    snprintf(folder[i], sizeof folder[i], "%s/%s", root, names[i]);
    cr_assert(mkdir(folder[i], 0700) == 0);
    write_file(folder[i], "max_energy_range_uj", "1000000000\n");
    write_file(folder[i], "energy_uj", "999000000\n");
  }
  fg_energy_open(&e, root, "none", NULL);
  cr_assert(e.available && strcmp(e.source, "RAPL") == 0, "%s", e.source);
  write_file(folder[1], "energy_uj", "999500000\n");
  fg_energy_start(&e); /* what came before does not count */
  write_file(folder[0], "energy_uj", "2000000\n");
  write_file(folder[1], "energy_uj", "999750000\n");
  write_file(folder[2], "energy_uj", "1\n");
  fg_energy_stop(&e);
  cr_expect_float_eq(e.joules, 3.25, 1e-9, "%g J", e.joules);
  fg_energy_close(&e);
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof path, "%s/max_energy_range_uj", folder[i]);
    unlink(path);
    snprintf(path, sizeof path, "%s/energy_uj", folder[i]);
    unlink(path);
    rmdir(folder[i]);
  }
  fg_energy_open(&e, root, "none", NULL);
  cr_expect(!e.available && strstr(e.source, "unavailable"));
  fg_energy_close(&e);
  rmdir(root);
}

/* The card is asked for by its place on the bus, whatever CUDA_VISIBLE_DEVICES makes of the numbers. */
Test(bench, a_card_s_meter_is_found_by_its_place_on_the_bus) {
  struct fg_energy e;
  cr_assert(setenv("CUDA_VISIBLE_DEVICES", "1", 1) == 0);
  fg_energy_open(&e, "none", FAKE_NVML, "0000:3b:00.0");
  cr_assert(e.available && strcmp(e.source, "NVML") == 0, "%s", e.source);
  for (int i = 0; i < 2; i++) { /* each reading is 1.5 J more than the last */
    fg_energy_start(&e);
    fg_energy_stop(&e);
  }
  cr_expect_float_eq(e.joules, 3, 1e-9, "%g J", e.joules);
  fg_energy_close(&e);
  fg_energy_open(&e, "none", FAKE_NVML, "0000:5e:00.0");
  cr_expect(!e.available && strstr(e.source, "does not tell"), "%s", e.source);
  fg_energy_close(&e);
  fg_energy_open(&e, "none", FAKE_NVML, "0000:af:00.0");
  cr_expect(!e.available && strstr(e.source, "does not know the card"), "%s", e.source);
  fg_energy_close(&e);
  fg_energy_open(&e, "none", "libno-such-thing.so.1", "0000:3b:00.0");
  cr_expect(!e.available && strstr(e.source, "NVML is not to be found"), "%s", e.source);
  fg_energy_close(&e);
}

/* Medians and quartiles of values in any order. */
Test(bench, spreads_are_of_sorted_values) {
  double values[] = {5, 1, 4, 2, 3}, one[] = {7};
  struct fg_spread s = fg_spread_of(values, 5), t = fg_spread_of(one, 1);
  cr_expect(s.median == 3 && s.q1 == 2 && s.q3 == 4 && s.n == 5);
  cr_expect(t.median == 7 && t.q1 == 7 && t.q3 == 7);
}

/* A floor is the larger of work and bytes, and bytes are judged by caches of their own size. */
Test(bench, floors_are_what_bounds) {
  struct fg_ceilings c = {.known = true,
                          .flops_per_second = 10,
                          .n_sizes = 2,
                          .bytes = {100, 1000},
                          .bytes_per_second = {50, 5}};
  cr_expect_float_eq(fg_ceilings_floor(&c, 100, 10), 10, 1e-12);
  cr_expect_float_eq(fg_ceilings_floor(&c, 1, 200), 4, 1e-12);
  cr_expect_float_eq(fg_ceilings_floor(&c, 1, 2000), 400, 1e-12);
  c.known = false;
  cr_expect(fg_ceilings_floor(&c, 100, 10) == 0);
}
