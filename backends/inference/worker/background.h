/* background.h: a process that computes takes what those who answer leave of shared cores. */
#ifndef FG_BACKGROUND_H
#define FG_BACKGROUND_H

/*
 * Makes the calling thread, and all that it starts later, give way to threads of usual priority as
 * soon as these wake, without being starved by them. What the kernel does not know or does not
 * permit stays as it was; no privilege is needed.
 */
void fg_background_enter(void);

#endif
