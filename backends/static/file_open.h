/*
 * file_open.h: opens a file below a directory, and nothing else.
 * Thread   a helper's; it may block.
 */
#ifndef FG_STATIC_FILE_OPEN_H
#define FG_STATIC_FILE_OPEN_H

#include "static/static_conf.h"

#include <stdbool.h>

/*
 * Opens `path` (relative, NUL-terminated) below `root_fd` for reading. Neither ".." nor a symbolic
 * link leads out, an absolute one nowhere. Returns the descriptor, or -1 with errno set: ELOOP and
 * EXDEV are such attempts.
 */
int fg_file_open_beneath(int root_fd, const char *path, enum fg_file_symlinks symlinks);

/* The same, component by component, for kernels before 5.6 and sandboxes without openat2. */
int fg_file_open_stepwise(int root_fd, const char *path, enum fg_file_symlinks symlinks);

#endif
