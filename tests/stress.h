/* What the stress programs share: a fake card (fake_device.h) opened for its counts, data, options as
 * words, and chance that a seed repeats. */
#ifndef FG_TEST_STRESS_H
#define FG_TEST_STRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "fgsm.h"

/* A number below `below`. */
uint32_t stress_draw(uint32_t *state, uint32_t below);

/* "name=value name=value" */
fgsm_status stress_set_words(fgsm_options *options, const char *words);
void stress_set_number(const char *variable, long value);

/* An .npy file of `samples` random images of bytes, whose shape is "3, 13, 13", and one of labels below
 * `classes`. */
void stress_make_data(const char *images, const char *labels, int samples, const char *shape,
                      int values, int classes);

/* FAKE_FAIL: in half of the cases a failure at one of the first `most` calls of something; whether. */
bool stress_plan_failure(uint32_t *state, uint32_t most);

/* The function of a library, at *function; whether there is one. */
bool stress_find(void *library, const char *name, void *function);

#endif
