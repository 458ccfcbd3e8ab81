/* What the files of this room share about notes: short sentences for the user, joined by "; ". */
#ifndef FG_FRONT_H
#define FG_FRONT_H

#include "attack.h"

enum { FG_NOTE_SIZE = 256 };

/* Appends a sentence to `note` (of `size` bytes), cut where it does not fit. */
void fg_note_add(char *note, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
