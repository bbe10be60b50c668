/*
 * dns_tcp.c: one connection, one question, one answer.
 * Memory   the answer, 64 KiB at most.
 */
#include "dns_tcp.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/util.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_S 2
#define DNS_PORT 53

/* `len` bytes there or back before the time is over; a peer that trickles gets no more of it. */
static bool transfer(int fd, void *data, size_t len, bool is_sent, uint64_t end_ns)
{
    char *at = data;
    while (len > 0) {
        uint64_t now_ns = fg_clock_monotonic_ns();
        uint64_t left_us = now_ns < end_ns ? (end_ns - now_ns) / FG_US + 1 : 0;
        const struct timeval left = {.tv_sec = (time_t)(left_us / 1000000),
                                     .tv_usec = (suseconds_t)(left_us % 1000000)};
        if (left_us == 0 || setsockopt(fd, SOL_SOCKET, is_sent ? SO_SNDTIMEO : SO_RCVTIMEO, &left,
                                       sizeof(left)) == -1)
            return false;
        ssize_t done = is_sent ? send(fd, at, len, MSG_NOSIGNAL) : recv(fd, at, len, 0);
        if (done == -1 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        at += done;
        len -= (size_t)done;
    }
    return true;
}

static int connect_to(const char *server)
{
    struct sockaddr_storage address;
    int len = sizeof(address);
    if (evutil_parse_sockaddr_port(server, (struct sockaddr *)&address, &len) != 0)
        return -1;
    in_port_t *port = address.ss_family == AF_INET6 ? &((struct sockaddr_in6 *)&address)->sin6_port
                                                    : &((struct sockaddr_in *)&address)->sin_port;
    if (*port == 0)
        *port = htons(DNS_PORT);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval most = {.tv_sec = TIMEOUT_S};
    if (fd == -1)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most)) == -1 ||
        connect(fd, (struct sockaddr *)&address, (socklen_t)len) == -1) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool converse(int fd, unsigned char *query, size_t query_len, enum fg_dns_type type,
                     uint16_t id, fg_dns_address_fn on_address, void *arg)
{
    uint64_t end_ns = fg_clock_monotonic_ns() + TIMEOUT_S * FG_S;
    unsigned char prefix[2] = {(unsigned char)(query_len >> 8), (unsigned char)query_len};
    if (!transfer(fd, prefix, sizeof(prefix), true, end_ns) ||
        !transfer(fd, query, query_len, true, end_ns) ||
        !transfer(fd, prefix, sizeof(prefix), false, end_ns))
        return false;
    size_t len = (size_t)prefix[0] << 8 | prefix[1];
    char *answer = malloc(len + 1);
    bool is_answer = answer != NULL && transfer(fd, answer, len, false, end_ns) &&
                     fg_dns_read_answer(fg_span_make(answer, len), type, id, on_address, arg);
    free(answer);
    return is_answer;
}

bool fg_dns_tcp_ask(const char *server, const char *host, enum fg_dns_type type,
                    fg_dns_address_fn on_address, void *arg)
{
    unsigned char query[FG_DNS_QUERY_BYTES_MAX];
    uint16_t id;
    if (getrandom(&id, sizeof(id), 0) != sizeof(id))
        return false;
    size_t len = fg_dns_write_query(query, host, type, id);
    int fd = len == 0 ? -1 : connect_to(server);
    if (fd == -1)
        return false;
    bool is_answer = converse(fd, query, len, type, id, on_address, arg);
    close(fd);
    return is_answer;
}
