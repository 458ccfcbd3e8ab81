/* json-get [KEY...]: reads one JSON value from standard input, with nothing but space behind it, and
 * prints what lies under the keys (a number indexes an array); fails if there is no such thing. For
 * scripts that test the command where no other JSON tool is installed. */
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

int main(int argc, char **argv) {
  json_error_t error;
  json_t *whole = json_loadf(stdin, JSON_REJECT_DUPLICATES, &error), *value = whole;
  if (!whole) {
    fprintf(stderr, "json-get: %s at line %d\n", error.text, error.line);
    return 1;
  }
  for (int i = 1; i < argc && value; i++)
    value = json_is_array(value) ? json_array_get(value, (size_t)atol(argv[i]))
                                 : json_object_get(value, argv[i]);
  if (!value)
    fprintf(stderr, "json-get: no such member\n");
  else if (json_is_string(value))
    puts(json_string_value(value));
  else if (json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_REAL_PRECISION(12)) == 0)
    putchar('\n');
  json_decref(whole);
  return value ? 0 : 1;
}
