/*
 * static_files.h: a directory of files as a backend.
 * Thread   create and destroy at start-up; files are opened and read in the helper pool.
 * Memory   a loop has at most 16 read buffers of 64 KiB; a request keeps an open file.
 */
#ifndef FG_STATIC_FILES_H
#define FG_STATIC_FILES_H

#include "backends/backend.h"
#include "static/static_conf.h"

/*
 * Opens the root directory. NULL with `error` set when it cannot be opened. `name` and what `conf`
 * points at must outlive the backend. Its loops need env->helper and a mailbox that is drained
 * after they have closed, as reads may be under way then.
 */
struct fg_backend *fg_static_create(const char *name, const struct fg_static_conf *conf,
                                    struct fg_error *error);

#endif
