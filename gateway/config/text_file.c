/*
 * text_file.c: a whole file in memory, at most FG_TEXT_FILE_BYTES_MAX.
 */
#include "config/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* At most one byte more than allowed is read, which is how a larger file is known. */
static ssize_t read_all(int fd, char *buffer, size_t bytes)
{
    size_t len = 0;
    while (len < bytes) {
        ssize_t got = read(fd, buffer + len, bytes - len);
        if (got == -1 && errno == EINTR)
            continue;
        if (got == -1)
            return -1;
        if (got == 0)
            break;
        len += (size_t)got;
    }
    return (ssize_t)len;
}

/* Of a pipe both opening and reading would wait for somebody to write, a reload as well. */
static int open_regular(const char *path, const char *what, char *message, size_t message_bytes)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd == -1 || fstat(fd, &about) == -1) {
        snprintf(message, message_bytes, "cannot open %s: %s", what, strerror(errno));
    } else if (!S_ISREG(about.st_mode)) {
        snprintf(message, message_bytes, "cannot open %s: it is no regular file; expected one",
                 what);
    } else {
        return fd;
    }
    if (fd != -1)
        close(fd);
    return -1;
}

char *fg_text_file_read(const char *path, const char *what, size_t *len, char *message,
                        size_t message_bytes)
{
    int fd = open_regular(path, what, message, message_bytes);
    if (fd == -1)
        return NULL;
    char *text = malloc(FG_TEXT_FILE_BYTES_MAX + 1);
    ssize_t got = text == NULL ? -1 : read_all(fd, text, FG_TEXT_FILE_BYTES_MAX + 1);
    if (got == -1)
        snprintf(message, message_bytes, "cannot read %s: %s", what, strerror(errno));
    else if ((size_t)got > FG_TEXT_FILE_BYTES_MAX)
        snprintf(message, message_bytes, "the file is too large; expected at most 1MiB");
    close(fd);
    if (got == -1 || (size_t)got > FG_TEXT_FILE_BYTES_MAX) {
        fg_text_file_free(text);
        return NULL;
    }
    *len = (size_t)got;
    return text;
}

void fg_text_file_free(char *text)
{
    if (text != NULL)
        explicit_bzero(text, FG_TEXT_FILE_BYTES_MAX + 1);
    free(text);
}
