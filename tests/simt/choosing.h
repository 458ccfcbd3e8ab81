/* Tests of what is chosen by time and kept for the next process: each case is a process of its own, because
 * choices are kept in memory too. */
#ifndef CHOOSING_H
#define CHOOSING_H

#include <stdbool.h>

#include "fake_card.h"

#define MUST(condition)                                                                            \
  do {                                                                                             \
    if (!(condition))                                                                              \
      fake_wrong("%s: not so: %s (%s)", __func__, #condition, fgsm_last_error());                  \
  } while (0)

/* Begins and runs the case, which fails by what is wrong; says how that went. */
bool choosing_passes(void (*begin)(void), void (*test)(void), const char *name);
/* How often it does not choose anew for another version of cuDNN, another card, another precision of the
 * device that begin opens. */
int choosing_anew(void (*begin)(void), void (*chooses)(void), struct fg_device *const *device);
/* From here on choices are kept in a folder of their own, which is the working directory once the case, of
 * which one choice is kept, has passed; false where not. */
bool choosing_keeps(void (*begin)(void), void (*test)(void), const char *name);
/* Removes the folder. */
void choosing_ends(void);
/* Spoils each kept file at a place from its end, or cuts that much off; removes them all. How many. */
int choosing_spoils(long from_end, bool cut);
int choosing_forgets(void);

#endif
