/*
 * secret_file.c: see secret_file.h.
 */
#include "config/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define MADE_BYTES 48

static bool make_secret(const char *path, char *why, size_t why_bytes)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[MADE_BYTES];
    char text[2 * MADE_BYTES];
    if (getrandom(raw, sizeof(raw), 0) != sizeof(raw)) {
        snprintf(why, why_bytes, "no random bytes to make it of");
        return false;
    }
    for (size_t i = 0; i < sizeof(raw); i++) {
        text[2 * i] = digits[raw[i] >> 4];
        text[2 * i + 1] = digits[raw[i] & 15];
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t written = fd == -1 ? -1 : write(fd, text, sizeof(text));
    if (fd == -1 || written != (ssize_t)sizeof(text))
        snprintf(why, why_bytes, "cannot make it: %s", strerror(errno));
    if (fd != -1)
        close(fd);
    explicit_bzero(raw, sizeof(raw));
    explicit_bzero(text, sizeof(text));
    return written == (ssize_t)sizeof(text);
}

size_t fg_secret_file_load(const char *path, size_t bytes_min, unsigned char *secret, size_t room,
                           char *why, size_t why_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd == -1 && errno == ENOENT) {
        if (!make_secret(path, why, why_bytes))
            return 0;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    }
    ssize_t got = fd == -1 ? -1 : read(fd, secret, room);
    int read_error = errno;
    if (fd != -1)
        close(fd);
    if (got == -1) {
        snprintf(why, why_bytes, "%s", strerror(read_error));
        return 0;
    }
    size_t len = (size_t)got;
    while (len > 0 && (secret[len - 1] == '\n' || secret[len - 1] == '\r'))
        len--;
    if (len >= bytes_min)
        return len;
    snprintf(why, why_bytes, "it has %zu bytes; expected at least %zu random ones", len, bytes_min);
    return 0;
}
