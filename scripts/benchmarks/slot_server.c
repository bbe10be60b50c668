/*
 * slot_server.c: an HTTP/1.1 upstream of so many slots that each take so long, for scripts/bench.
 * Job      serve requests first come, first served; work on everything that was accepted, also
 *          when its client has gone, as real upstreams do. GET /slots/N sets the number of slots.
 * Usage    slot_server PORT SLOTS SERVICE_US
 * Thread   one; the work is waiting, so a single core bears tens of thousands of requests a second.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 65536
#define JOBS_MAX (1u << 20)
#define HEAD_MAX 4096

static const char answer[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n";

struct connection {
    char head[HEAD_MAX];
    size_t len;
    uint32_t generation; /* a file descriptor is used again for another client */
    bool is_open;
};

struct job {
    int fd;
    uint32_t generation;
    uint64_t done_ns;
};

static struct connection *connections[FDS_MAX];
static struct job jobs[JOBS_MAX]; /* [first, started) are worked on, [started, last) wait */
static uint64_t first, started, last;
static uint64_t slots, service_ns;
static int epoll_fd, timer_fd;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void send_answer(int fd)
{
    (void)!write(fd, answer,
                 sizeof(answer) - 1); /* fits any socket buffer, or the client has gone */
}

/* Finish what is due, start what there are slots for, and set the timer to the next end. */
static void work(void)
{
    uint64_t now = now_ns();
    while (true) {
        if (first < started && jobs[first % JOBS_MAX].done_ns <= now) {
            struct job *job = &jobs[first++ % JOBS_MAX];
            struct connection *connection = connections[job->fd];
            if (connection->is_open && connection->generation == job->generation)
                send_answer(job->fd);
        } else if (started < last && started - first < slots) {
            jobs[started++ % JOBS_MAX].done_ns = now + service_ns;
        } else {
            break;
        }
    }
    if (first == started)
        return;
    uint64_t due = jobs[first % JOBS_MAX].done_ns;
    struct itimerspec timer = {
        .it_value = {.tv_sec = (time_t)(due / 1000000000u), .tv_nsec = (long)(due % 1000000000u)}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
}

static void on_request(int fd, struct connection *connection)
{
    unsigned long wanted;
    if (sscanf(connection->head, "GET /slots/%lu ", &wanted) == 1) {
        slots = wanted;
        send_answer(fd);
    } else if (last - first < JOBS_MAX) {
        jobs[last++ % JOBS_MAX] = (struct job){.fd = fd, .generation = connection->generation};
    }
}

static void close_connection(int fd)
{
    connections[fd]->is_open = false;
    connections[fd]->generation++;
    close(fd);
}

static void on_readable(int fd)
{
    struct connection *connection = connections[fd];
    ssize_t got = read(fd, connection->head + connection->len,
                       sizeof(connection->head) - 1 - connection->len);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            close_connection(fd);
        return;
    }
    connection->len += (size_t)got;
    connection->head[connection->len] = '\0';
    char *end;
    while ((end = strstr(connection->head, "\r\n\r\n")) != NULL) {
        on_request(fd, connection);
        size_t used = (size_t)(end + 4 - connection->head);
        connection->len -= used;
        memmove(connection->head, end + 4, connection->len + 1);
    }
}

static void on_client(int listen_fd)
{
    int fd;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1) {
        if (fd >= FDS_MAX) {
            close(fd);
            continue;
        }
        if (connections[fd] == NULL)
            connections[fd] = calloc(1, sizeof(*connections[fd]));
        if (connections[fd] == NULL)
            die("calloc");
        connections[fd]->len = 0;
        connections[fd]->is_open = true;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == -1)
            die("epoll_ctl");
    }
}

static int open_listener(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) == -1 || listen(fd, 4096) == -1)
        die("listen");
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: slot_server PORT SLOTS SERVICE_US\n");
        return 2;
    }
    slots = strtoul(argv[2], NULL, 10);
    service_ns = strtoul(argv[3], NULL, 10) * 1000;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int listen_fd = open_listener((uint16_t)strtoul(argv[1], NULL, 10));
    const int own[] = {listen_fd, timer_fd};
    for (size_t i = 0; i < 2; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = own[i]};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, own[i], &event) == -1)
            die("epoll_ctl");
    }
    while (true) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < count; i++) {
            uint64_t ticks;
            if (events[i].data.fd == listen_fd)
                on_client(listen_fd);
            else if (events[i].data.fd == timer_fd)
                (void)!read(timer_fd, &ticks, sizeof(ticks));
            else if (connections[events[i].data.fd]->is_open)
                on_readable(events[i].data.fd);
        }
        work();
    }
}
