/*
 * upstream_server.h: the server's side of a connection, played by the test in the same loop.
 * Thread   the test's; sockets on the loopback, never blocking: the test asks until it is there.
 */
#ifndef FG_TEST_UPSTREAM_SERVER_H
#define FG_TEST_UPSTREAM_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#define SERVER_CONNECTIONS_MAX 16u

struct server_connection {
    int fd;   /* -1: closed by the test */
    char *in; /* all that was received, NUL-terminated */
    size_t in_len;
    size_t in_capacity;
    bool has_eof; /* or a reset */
};

struct upstream_server {
    int listen_fd;
    char address[128]; /* for the configuration */
    char path[64];     /* of a unix socket, else empty */
    struct server_connection connections[SERVER_CONNECTIONS_MAX];
    size_t count; /* accepted so far */
};

void upstream_server_open(struct upstream_server *server, bool is_unix);
void upstream_server_close(struct upstream_server *server);

/* Accepts and reads what is there; `read_max` bytes a connection at most. */
void upstream_server_poll(struct upstream_server *server, size_t read_max);
/* Sends all; the kernel's buffer must have room. */
void upstream_server_send(struct upstream_server *server, size_t index, const char *text);
/* Sends what fits; returns how much. */
size_t upstream_server_try_send(struct upstream_server *server, size_t index, const char *data,
                                size_t len);
void upstream_server_hang_up(struct upstream_server *server, size_t index, bool is_reset);
/* Forget what was received so far. */
void upstream_server_forget(struct upstream_server *server, size_t index);

#endif
