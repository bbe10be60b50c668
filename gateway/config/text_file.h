/*
 * text_file.h: a whole file in memory, as the configuration and a scenario are read.
 * Thread   start-up only: it blocks.
 */
#ifndef FG_CONFIG_TEXT_FILE_H
#define FG_CONFIG_TEXT_FILE_H

#include <stddef.h>

#define FG_TEXT_FILE_BYTES_MAX ((size_t)1 << 20)

/*
 * The contents of `path`, *len bytes, to be freed with fg_text_file_free. NULL: `message` says why
 * in `message_bytes`; `what` names the file's sort in it ("the configuration").
 */
char *fg_text_file_read(const char *path, const char *what, size_t *len, char *message,
                        size_t message_bytes);

/* Wipes it first: passwords may stand in it. NULL is fine. */
void fg_text_file_free(char *text);

#endif
