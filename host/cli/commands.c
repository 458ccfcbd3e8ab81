/* The commands: what each does with the library, and how it says what came of it. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "cli.h"

/* Messages of the library up to FGSM_LOG (error, warning, info, debug); quiet: errors alone. */
static void begin_log(const struct call *call, struct progress *progress) {
  static const char *const names[] = {"error", "warning", "info", "debug"};
  fgsm_log_level level = cli_switch(call, "quiet") ? FGSM_LOG_ERROR : FGSM_LOG_WARNING;
  const char *wanted = getenv("FGSM_LOG");
  for (int i = 0; wanted && i < 4; i++)
    if (strcmp(wanted, names[i]) == 0)
      level = (fgsm_log_level)i;
  cli_progress_begin(progress, cli_switch(call, "quiet"));
  fgsm_set_log(cli_log, progress, level);
}

static void end_log(struct progress *progress) {
  cli_progress_end(progress);
  fgsm_set_log(NULL, NULL, FGSM_LOG_ERROR);
}

fgsm_status cli_attack(const struct call *call) {
  struct progress progress;
  fgsm_model *model = NULL;
  char *json = NULL;
  begin_log(call, &progress);
  fgsm_status status = fgsm_model_load_within(call->args[0], call->options, &model);
  if (status == FGSM_OK)
    status = fgsm_attack_dataset(model, call->args[1], call->options, cli_progress_show, &progress,
                                 &json);
  end_log(&progress);
  if (json && cli_switch(call, "json")) {
    puts(json);
  } else if (json) {
    fgsm_status printed = cli_print_summary(json);
    if (printed != FGSM_OK && status == FGSM_OK)
      status = printed;
  }
  fgsm_free(json);
  fgsm_model_destroy(model);
  return status;
}

static void print_training(const char *json) {
  json_t *object = json_loads(json, 0, NULL);
  double clean = json_number_value(json_object_get(object, "clean_accuracy"));
  double robust = json_number_value(json_object_get(object, "robust_accuracy"));
  printf("%s, %lld epochs in %.1f s, %.0f samples/s\n",
         json_string_value(json_object_get(object, "method")),
         (long long)json_integer_value(json_object_get(object, "epochs")),
         json_number_value(json_object_get(object, "train_seconds")),
         json_number_value(json_object_get(object, "samples_per_second")));
  if (json_is_number(json_object_get(object, "clean_accuracy")))
    printf("held out: %.2f %% right, %.2f %% under PGD\n", 100 * clean, 100 * robust);
  json_decref(object);
}

fgsm_status cli_train(const struct call *call) {
  struct progress progress;
  fgsm_model *model = NULL;
  char *json = NULL;
  bool own = fgsm_options_get(call->options, "arch") == NULL;
  if (call->n_args != (own ? 2 : 1))
    return cli_fail(FGSM_USAGE, "train takes %s",
                    own ? "a model, or --arch NAME, and data" : "data alone beside --arch");
  begin_log(call, &progress);
  fgsm_status status = own ? fgsm_model_load(call->args[0], &model) : FGSM_OK;
  if (status == FGSM_OK)
    status = fgsm_train_dataset(model, call->args[own], call->options, cli_progress_train,
                                &progress, &json);
  end_log(&progress);
  if (json && cli_switch(call, "json"))
    puts(json);
  else if (json)
    print_training(json);
  fgsm_free(json);
  fgsm_model_destroy(model);
  return status;
}

/* With a newline at its end. */
static void print_text(const char *text) {
  size_t n = strlen(text);
  printf("%s%s", text, n && text[n - 1] == '\n' ? "" : "\n");
}

fgsm_status cli_inspect(const struct call *call) {
  struct progress progress;
  fgsm_model *model = NULL;
  char *text = NULL;
  begin_log(call, &progress);
  fgsm_status status = cli_suit_terminal(call->options);
  if (status == FGSM_OK)
    status = fgsm_model_load_within(call->args[0], call->options, &model);
  if (status == FGSM_OK)
    status = fgsm_model_describe(model, call->options, cli_switch(call, "json"), &text);
  end_log(&progress);
  if (status == FGSM_OK)
    print_text(text);
  fgsm_free(text);
  fgsm_model_destroy(model);
  return status;
}

fgsm_status cli_bench(const struct call *call) {
  struct progress progress;
  fgsm_model *model = NULL;
  char *text = NULL;
  bool json = cli_switch(call, "json"), csv = cli_switch(call, "csv");
  if (json && csv)
    return cli_fail(FGSM_USAGE, "--json and --csv exclude each other");
  begin_log(call, &progress);
  fgsm_status status = fgsm_model_load(call->args[0], &model);
  if (status == FGSM_OK)
    status = fgsm_model_bench(model, call->options,
                              json  ? FGSM_FORMAT_JSON
                              : csv ? FGSM_FORMAT_CSV
                                    : FGSM_FORMAT_TEXT,
                              &text);
  end_log(&progress);
  if (status == FGSM_OK)
    print_text(text);
  fgsm_free(text);
  fgsm_model_destroy(model);
  return status;
}

/* Prints an object and frees it. A path that is not UTF-8 cannot be said in JSON. */
static fgsm_status print_object(json_t *object) {
  char *text = object ? json_dumps(object, JSON_INDENT(2)) : NULL;
  json_decref(object);
  if (!text)
    return cli_fail(FGSM_MEMORY, "no memory for the result, or a path in it is not UTF-8");
  puts(text);
  free(text);
  return FGSM_OK;
}

fgsm_status cli_convert(const struct call *call) {
  struct progress progress;
  int64_t n = 0;
  begin_log(call, &progress);
  fgsm_status status = fgsm_convert_dataset(call->args[0], call->args[1], call->options, &n);
  end_log(&progress);
  if (status != FGSM_OK)
    return status;
  if (cli_switch(call, "json"))
    return print_object(json_pack("{s:s, s:s, s:I}", "data", call->args[0], "out", call->args[1],
                                  "samples", (json_int_t)n));
  printf("%lld samples written to %s\n", (long long)n, call->args[1]);
  return FGSM_OK;
}

fgsm_status cli_devices(const struct call *call) {
  bool json = cli_switch(call, "json");
  char *text = NULL;
  fgsm_status status = fgsm_devices_describe(json, &text);
  if (status == FGSM_OK)
    printf("%s%s", text, json ? "\n" : "");
  fgsm_free(text);
  return status;
}

fgsm_status cli_version(const struct call *call) {
  if (cli_switch(call, "json"))
    return print_object(json_pack("{s:s}", "version", fgsm_version()));
  printf("fgsm %s\n", fgsm_version());
  return FGSM_OK;
}
