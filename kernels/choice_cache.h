/* Choices that took time to make, kept as text under a key: in memory for this process, and on disk
 * for the next ($XDG_CACHE_HOME/fgsm, else ~/.cache/fgsm). A choice made by timing may come out
 * otherwise the next time, and another engine's sums may differ in the last bits; because it is kept,
 * the same machine goes on giving the same bytes. Each backend that chooses by timing compiles a copy of its own. */
#ifndef FG_CHOICE_CACHE_H
#define FG_CHOICE_CACHE_H

#include "kernel.h"

/* The text kept under the key (malloc'ed), or NULL. */
char *fg_choice_find(const char *key);
/* Keeps it. False, with errno: for this process alone, which costs the next one only time. */
bool fg_choice_keep(const char *key, const char *text);

#endif
