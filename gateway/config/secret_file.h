/*
 * secret_file.h: a secret that operators keep in a file, or leave to us to make.
 * Thread   any; reads and writes files, so never a loop's.
 * Never    prints or logs what is in it.
 */
#ifndef FG_CONFIG_SECRET_FILE_H
#define FG_CONFIG_SECRET_FILE_H

#include <stddef.h>

/*
 * A secret of at least `bytes_min` bytes from `path`; a missing file is made, of random ones and
 * with mode 0600. Reads at most `room`, without line ends at the end. 0 with `why`.
 */
size_t fg_secret_file_load(const char *path, size_t bytes_min, unsigned char *secret, size_t room,
                           char *why, size_t why_bytes);

#endif
