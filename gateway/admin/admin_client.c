/*
 * admin_client.c: one HTTP/1.1 request over a blocking socket, closed by the server.
 * Never    follows anything, keeps a connection, or reads more than ANSWER_BYTES_MAX.
 */
#include "admin/admin_client.h"

#include <errno.h>
#include <event2/util.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX ((size_t)16 << 20)
#define WAIT_S 5

static int connect_to(const char *address)
{
    struct sockaddr_storage storage;
    int len = sizeof(storage);
    struct timeval wait = {.tv_sec = WAIT_S};
    if (evutil_parse_sockaddr_port(address, (struct sockaddr *)&storage, &len) != 0) {
        errno = EINVAL;
        return -1;
    }
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) == -1 ||
        connect(fd, (const struct sockaddr *)&storage, (socklen_t)len) == -1) {
        int reason = errno;
        close(fd);
        errno = reason;
        return -1;
    }
    return fd;
}

/* Everything until the server closes, as a string the caller frees; NULL with errno set. */
static char *read_all(int fd)
{
    size_t used = 0;
    size_t room = 64 * 1024;
    char *data = malloc(room);
    while (data != NULL) {
        ssize_t got = recv(fd, data + used, room - used - 1, 0);
        if (got <= 0) {
            data[used] = '\0';
            if (got == 0)
                return data;
            break;
        }
        used += (size_t)got;
        if (room - used > 1)
            continue;
        char *grown = room < ANSWER_BYTES_MAX ? realloc(data, room * 2) : NULL;
        if (grown == NULL) {
            errno = EMSGSIZE;
            break;
        }
        data = grown;
        room *= 2;
    }
    free(data);
    return NULL;
}

static char *ask(const char *address, const char *method, const char *path)
{
    char request[512];
    int len =
        snprintf(request, sizeof(request),
                 "%s %s HTTP/1.1\r\nhost: %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                 method, path, address);
    int fd = connect_to(address);
    if (fd == -1)
        return NULL;
    char *answer = NULL;
    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) == len)
        answer = read_all(fd);
    close(fd);
    return answer;
}

static enum fg_status exchange(const char *address, const char *method, const char *path,
                               json_t **out, struct fg_error *error)
{
    char *answer = ask(address, method, path);
    *out = NULL;
    if (answer == NULL)
        return fg_error_set(error, "admin listener %s: %s; is the gateway running?", address,
                            strerror(errno));
    const char *body = strstr(answer, "\r\n\r\n");
    bool is_missing = strncmp(answer, "HTTP/1.1 404 ", 13) == 0;
    bool is_good = strncmp(answer, "HTTP/1.1 200 ", 13) == 0 && body != NULL;
    if (is_good)
        *out = json_loads(body + 4, 0, NULL);
    free(answer);
    if (is_missing)
        return FG_ERR_NOT_FOUND;
    if (*out == NULL)
        return fg_error_set(error, "admin listener %s: no usable answer to %s %s", address, method,
                            path);
    return FG_OK;
}

enum fg_status fg_admin_get(const char *address, const char *path, json_t **out,
                            struct fg_error *error)
{
    return exchange(address, "GET", path, out, error);
}

enum fg_status fg_admin_post(const char *address, const char *path, json_t **out,
                             struct fg_error *error)
{
    return exchange(address, "POST", path, out, error);
}
