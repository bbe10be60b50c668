/*
 * upstream_server.c: plain non-blocking sockets.
 */
#include "upstream_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

static void listen_tcp(struct upstream_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_not_equal(server->listen_fd, -1);
    assert_int_equal(bind(server->listen_fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(server->listen_fd, (struct sockaddr *)&address, &len), 0);
    snprintf(server->address, sizeof(server->address), "127.0.0.1:%u",
             (unsigned)ntohs(address.sin_port));
}

static void listen_unix(struct upstream_server *server)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(server->path, sizeof(server->path), "/tmp/fg-test-%d.sock", (int)getpid());
    unlink(server->path);
    memcpy(address.sun_path, server->path, strlen(server->path) + 1);
    server->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_not_equal(server->listen_fd, -1);
    assert_int_equal(bind(server->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    snprintf(server->address, sizeof(server->address), "unix:%s", server->path);
}

void upstream_server_open(struct upstream_server *server, bool is_unix)
{
    memset(server, 0, sizeof(*server));
    if (is_unix)
        listen_unix(server);
    else
        listen_tcp(server);
    assert_int_equal(listen(server->listen_fd, 16), 0);
}

void upstream_server_close(struct upstream_server *server)
{
    for (size_t i = 0; i < server->count; i++) {
        if (server->connections[i].fd != -1)
            close(server->connections[i].fd);
        free(server->connections[i].in);
    }
    if (server->listen_fd > 0)
        close(server->listen_fd);
    if (server->path[0] != '\0')
        unlink(server->path);
    memset(server, 0, sizeof(*server));
}

static void receive(struct server_connection *connection, size_t read_max)
{
    while (!connection->has_eof && read_max > 0) {
        if (connection->in_capacity - connection->in_len < 65536 + 1) {
            connection->in_capacity = connection->in_capacity * 2 + 65536 + 1;
            connection->in = realloc(connection->in, connection->in_capacity);
            assert_non_null(connection->in);
        }
        size_t wanted = read_max < 65536 ? read_max : 65536;
        ssize_t got = recv(connection->fd, connection->in + connection->in_len, wanted, 0);
        if (got == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (got <= 0) {
            connection->has_eof = true;
            break;
        }
        connection->in_len += (size_t)got;
        read_max -= (size_t)got;
    }
    if (connection->in != NULL)
        connection->in[connection->in_len] = '\0';
}

void upstream_server_poll(struct upstream_server *server, size_t read_max)
{
    int fd;
    while (server->count < SERVER_CONNECTIONS_MAX &&
           (fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1) {
        struct server_connection *connection = &server->connections[server->count++];
        *connection = (struct server_connection){.fd = fd, .in = calloc(1, 1), .in_capacity = 1};
    }
    for (size_t i = 0; i < server->count; i++) {
        if (server->connections[i].fd != -1)
            receive(&server->connections[i], read_max);
    }
}

size_t upstream_server_try_send(struct upstream_server *server, size_t index, const char *data,
                                size_t len)
{
    assert_true(index < server->count);
    ssize_t sent = send(server->connections[index].fd, data, len, MSG_NOSIGNAL);
    if (sent == -1)
        return 0;
    return (size_t)sent;
}

void upstream_server_send(struct upstream_server *server, size_t index, const char *text)
{
    size_t len = strlen(text);
    assert_int_equal(upstream_server_try_send(server, index, text, len), len);
}

void upstream_server_hang_up(struct upstream_server *server, size_t index, bool is_reset)
{
    struct server_connection *connection = &server->connections[index];
    if (is_reset) {
        const struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
    close(connection->fd);
    connection->fd = -1;
}

void upstream_server_forget(struct upstream_server *server, size_t index)
{
    server->connections[index].in_len = 0;
    server->connections[index].in[0] = '\0';
}
