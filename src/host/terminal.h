/* The user's terminal in raw mode, given back on every way out. One per process, as there is one controlling terminal. */
#ifndef HOST_TERMINAL_H
#define HOST_TERMINAL_H

#include "base/types.h"

/* Sees to it that exit, fatal signals and crashes give the terminal back, and that standard input and output are open. Called first of all in main: later handlers chain to
 * these. */
void terminal_guard(void);
/* Puts standard input into raw mode if it is a terminal. Returns true if it is in raw mode now. */
bool terminal_raw(void);
/* Gives the screen of the terminal that is standard output to the caller; terminal_restore shows what was there before. */
void terminal_full(void);
void terminal_restore(void);

#endif
