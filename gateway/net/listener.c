/*
 * listener.c: from an address in the configuration to a listening socket.
 * Thread   the supervisor's, before any loop runs.
 */
#include "net/listener.h"

#include "base/span.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG_DEFAULT 1024

/* "[::]:8443" and "0.0.0.0:8443" into host and port. */
static bool split_address(const char *address, char *host, size_t host_bytes, char *port,
                          size_t port_bytes)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL)
        return false;
    struct fg_span name = {address, (size_t)(colon - address)};
    if (name.len >= 2 && name.data[0] == '[' && name.data[name.len - 1] == ']')
        name = fg_span_make(name.data + 1, name.len - 2);
    size_t port_len = strlen(colon + 1);
    if (name.len >= host_bytes || port_len == 0 || port_len >= port_bytes)
        return false;
    memcpy(host, name.data, name.len);
    host[name.len] = '\0';
    memcpy(port, colon + 1, port_len + 1);
    return true;
}

static int backlog_of(const struct fg_listener_conf *conf)
{
    const uint32_t backlog = conf->backlog == 0 ? BACKLOG_DEFAULT : conf->backlog;
    return backlog > INT32_MAX ? INT32_MAX : (int)backlog;
}

static int open_socket(const struct addrinfo *info, int backlog)
{
    const int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;
    /* TCP_NODELAY is inherited by what is accepted: one call here, none a connection. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == -1 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == -1 ||
        bind(fd, info->ai_addr, info->ai_addrlen) == -1 || listen(fd, backlog) == -1) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

/*
 * SO_REUSEPORT lets any socket of the same user join a port, also one of another program that is
 * still running. Without the option a bind meets them, so one is tried first.
 */
static bool is_taken(const struct addrinfo *info)
{
    const int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return false; /* the real one will say why */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    bool taken = bind(fd, info->ai_addr, info->ai_addrlen) == -1 && errno == EADDRINUSE;
    close(fd);
    return taken;
}

int fg_listener_bind(const struct fg_listener_conf *conf, bool is_first, struct fg_error *error)
{
    char host[256];
    char port[8];
    if (!split_address(conf->address, host, sizeof(host), port, sizeof(port))) {
        fg_error_set(error, "listener %s: cannot read address %s; expected HOST:PORT", conf->name,
                     conf->address);
        return -1;
    }
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *info = NULL;
    int result = getaddrinfo(host[0] == '\0' ? NULL : host, port, &hints, &info);
    if (result != 0) {
        fg_error_set(error, "listener %s: cannot resolve %s: %s", conf->name, conf->address,
                     gai_strerror(result));
        return -1;
    }
    int fd = -1;
    if (is_first && is_taken(info))
        errno = EADDRINUSE;
    else
        fd = open_socket(info, backlog_of(conf));
    if (fd == -1)
        fg_error_set(error, "listener %s: cannot bind %s: %s", conf->name, conf->address,
                     strerror(errno));
    freeaddrinfo(info);
    return fd;
}

void fg_listener_set_backlog(int fd, const struct fg_listener_conf *conf)
{
    (void)listen(fd, backlog_of(conf)); /* it listens already: this cannot fail */
}
