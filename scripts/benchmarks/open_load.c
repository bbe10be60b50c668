/*
 * open_load.c: open-loop HTTP/2 load for scripts/bench: requests leave when their time has come,
 * whether earlier ones were answered or not, as those of many independent people do.
 * Job      Poisson arrivals of one or more kinds over some connections (h2 with prior knowledge);
 *          latency counts from the scheduled time, so a slow server cannot hide behind a slow
 *          client; who waited TIMEOUT_MS leaves (RST_STREAM). One line of JSON a kind.
 * Usage    open_load PORT SECONDS TIMEOUT_MS CONNECTIONS SEED NAME=[POST:]PATH@RATE ...
 *          OPEN_LOAD_TOKENS names a file of bearer tokens, a line each, that requests take in turn;
 *          OPEN_LOAD_BODY is what a POST carries, with an idempotency key of its own.
 * Thread   one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KINDS_MAX 8
#define MS 1000000u
#define BEARERS_MAX 4096u
#define BODY_MAX 16384u /* so that it fits in one frame */

struct kind {
    const char *name;
    const char *path;
    bool is_post;
    double rate;
    uint64_t next_ns;
    /* results */
    uint64_t offered, good, refused, failed, timed_out;
    uint64_t *good_ns, *refused_ns, *lag_ns;
    size_t lag_count;
};

struct connection {
    int fd;
    nghttp2_session *session;
    const uint8_t *pending; /* nghttp2's own memory, valid until the next mem_send */
    size_t pending_len;
};

struct request {
    struct kind *kind;
    struct connection *connection;
    uint64_t scheduled_ns;
    int32_t stream_id;
    int status;
    bool is_over;
};

static struct kind kinds[KINDS_MAX];
static size_t kind_count;
static struct connection *connections;
static size_t connection_count;
static struct request *requests; /* in the order of their times */
static size_t request_count, request_capacity, oldest;
static uint64_t timeout_ns, started_ns, random_state;
static char authority[32];
static char *bearers[BEARERS_MAX]; /* values of the authorization field */
static size_t bearer_count;
static const char *body = "";

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 * MS + (uint64_t)now.tv_nsec;
}

static uint64_t exponential_ns(double rate)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    double uniform = (double)((z ^ z >> 31) >> 11) * 0x1p-53;
    return (uint64_t)(-log(1 - uniform) * 1e9 / rate);
}

/* ---- nghttp2 ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    (void)value_len;
    (void)flags;
    (void)user;
    struct request *request = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (request != NULL && name_len == 7 && memcmp(name, ":status", 7) == 0)
        request->status = atoi((const char *)value);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *user)
{
    (void)user;
    struct request *request = nghttp2_session_get_stream_user_data(session, stream_id);
    if (request == NULL || request->is_over)
        return 0;
    struct kind *kind = request->kind;
    uint64_t latency_ns = now_ns() - request->scheduled_ns;
    request->is_over = true;
    if (error_code != NGHTTP2_NO_ERROR || request->status == 0)
        kind->failed++;
    else if (request->status < 300)
        kind->good_ns[kind->good++] = latency_ns;
    else
        kind->refused_ns[kind->refused++] = latency_ns;
    return 0;
}

static void connect_to(struct connection *connection, uint16_t port,
                       nghttp2_session_callbacks *calls)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd == -1 ||
        connect(connection->fd, (struct sockaddr *)&address, sizeof(address)) == -1 ||
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == -1)
        die("connect");
    const nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    if (nghttp2_session_client_new(&connection->session, calls, connection) != 0 ||
        nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, &entry, 1) != 0)
        die("nghttp2");
}

static void flush(struct connection *connection)
{
    while (true) {
        if (connection->pending_len == 0) {
            ssize_t len = nghttp2_session_mem_send(connection->session, &connection->pending);
            if (len <= 0)
                return;
            connection->pending_len = (size_t)len;
        }
        ssize_t sent = send(connection->fd, connection->pending, connection->pending_len,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent == -1) {
            if (errno != EAGAIN)
                die("send");
            return; /* tried again at the next turn, a millisecond from now at the latest */
        }
        connection->pending += sent;
        connection->pending_len -= (size_t)sent;
    }
}

static void receive(struct connection *connection)
{
    uint8_t data[65536];
    ssize_t got;
    while ((got = recv(connection->fd, data, sizeof(data), MSG_DONTWAIT)) > 0) {
        if (nghttp2_session_mem_recv(connection->session, data, (size_t)got) < 0)
            die("nghttp2_session_mem_recv");
    }
    if (got == 0) {
        fprintf(stderr, "the server closed a connection\n");
        exit(1);
    }
}

/* ---- requests ---- */

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t size,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)stream_id;
    (void)source;
    (void)user;
    size_t len = strlen(body);
    if (len > size)
        return NGHTTP2_ERR_CALLBACK_FAILURE; /* main() refuses longer ones */
    memcpy(to, body, len);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)len;
}

#define FIELD(field_name, field_value, value_length)                                               \
    {                                                                                              \
        (uint8_t *)(field_name), (uint8_t *)(field_value), sizeof(field_name) - 1, value_length,   \
            NGHTTP2_NV_FLAG_NO_COPY_NAME                                                           \
    }

static void send_request(struct kind *kind, uint64_t now)
{
    if (request_count == request_capacity) {
        fprintf(stderr, "more requests than planned\n");
        exit(1);
    }
    struct request *request = &requests[request_count];
    *request = (struct request){.kind = kind,
                                .connection = &connections[request_count % connection_count],
                                .scheduled_ns = kind->next_ns};
    request_count++;
    char key[48];
    int key_len = snprintf(key, sizeof(key), "load-%d-%lu-%zu", getpid(), started_ns, request_count);
    nghttp2_nv fields[8] = {
        FIELD(":method", kind->is_post ? "POST" : "GET", kind->is_post ? 4 : 3),
        FIELD(":scheme", "http", 4),
        FIELD(":authority", authority, strlen(authority)),
        FIELD(":path", kind->path, strlen(kind->path)),
    };
    size_t count = 4;
    if (bearer_count > 0) {
        const char *bearer = bearers[request_count % bearer_count];
        fields[count++] = (nghttp2_nv)FIELD("authorization", bearer, strlen(bearer));
    }
    if (kind->is_post) {
        fields[count++] = (nghttp2_nv)FIELD("content-type", "application/json", 16);
        fields[count++] = (nghttp2_nv)FIELD("idempotency-key", key, (size_t)key_len);
    }
    const nghttp2_data_provider provider = {.read_callback = read_body};
    request->stream_id =
        nghttp2_submit_request(request->connection->session, NULL, fields, count,
                               kind->is_post ? &provider : NULL, request);
    if (request->stream_id < 0)
        die("nghttp2_submit_request");
    kind->offered++;
    kind->lag_ns[kind->lag_count++] = now - request->scheduled_ns;
}

static void leave_late(uint64_t now)
{
    while (oldest < request_count &&
           (requests[oldest].is_over || requests[oldest].scheduled_ns + timeout_ns <= now)) {
        struct request *request = &requests[oldest++];
        if (request->is_over)
            continue;
        request->is_over = true;
        request->kind->timed_out++;
        nghttp2_submit_rst_stream(request->connection->session, NGHTTP2_FLAG_NONE,
                                  request->stream_id, NGHTTP2_CANCEL);
    }
}

/* Sends what is due; the time of the next one. */
static uint64_t send_due(uint64_t now, uint64_t ends_ns)
{
    uint64_t next_ns = UINT64_MAX;
    for (size_t i = 0; i < kind_count; i++) {
        while (kinds[i].next_ns <= now && kinds[i].next_ns < ends_ns) {
            send_request(&kinds[i], now);
            kinds[i].next_ns += exponential_ns(kinds[i].rate);
        }
        if (kinds[i].next_ns < ends_ns && kinds[i].next_ns < next_ns)
            next_ns = kinds[i].next_ns;
    }
    return next_ns;
}

static void run(uint64_t ends_ns)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < connection_count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connections[i].fd, &event) == -1)
            die("epoll_ctl");
    }
    while (true) {
        uint64_t now = now_ns();
        uint64_t next_ns = send_due(now, ends_ns);
        leave_late(now);
        for (size_t i = 0; i < connection_count; i++)
            flush(&connections[i]);
        if (now >= ends_ns && oldest == request_count)
            break;
        uint64_t wait_ns = next_ns > now + MS ? MS : next_ns > now ? next_ns - now : 0;
        struct timespec wait = {.tv_nsec = (long)wait_ns};
        struct epoll_event events[256];
        int count = epoll_pwait2(epoll_fd, events, 256, &wait, NULL);
        for (int i = 0; i < count; i++)
            receive(events[i].data.ptr);
    }
    close(epoll_fd);
}

/* ---- report ---- */

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double quantile_ms(uint64_t *values, size_t count, double share)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof(*values), by_size);
    return (double)values[(size_t)((double)(count - 1) * share)] / MS;
}

static void report(struct kind *kind)
{
    printf("{\"kind\": \"%s\", \"offered\": %lu, \"good\": %lu, \"refused\": %lu, \"failed\": %lu, "
           "\"timed_out\": %lu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"refused_p50_ms\": %.3f, "
           "\"refused_p99_ms\": %.3f, \"lag_p99_ms\": %.3f}\n",
           kind->name, kind->offered, kind->good, kind->refused, kind->failed, kind->timed_out,
           quantile_ms(kind->good_ns, kind->good, 0.5),
           quantile_ms(kind->good_ns, kind->good, 0.99),
           quantile_ms(kind->refused_ns, kind->refused, 0.5),
           quantile_ms(kind->refused_ns, kind->refused, 0.99),
           quantile_ms(kind->lag_ns, kind->lag_count, 0.99));
}

static void add_kind(char *text, double seconds)
{
    struct kind *kind = &kinds[kind_count++];
    kind->name = strsep(&text, "=");
    kind->path = text == NULL ? NULL : strsep(&text, "@");
    kind->rate = text == NULL ? 0 : strtod(text, NULL);
    if (kind->rate <= 0) {
        fprintf(stderr, "expected NAME=[POST:]PATH@RATE\n");
        exit(2);
    }
    kind->is_post = strncmp(kind->path, "POST:", 5) == 0;
    if (kind->is_post)
        kind->path += 5;
    size_t most = (size_t)(kind->rate * seconds * 1.5) + 1000;
    kind->good_ns = calloc(most, sizeof(uint64_t));
    kind->refused_ns = calloc(most, sizeof(uint64_t));
    kind->lag_ns = calloc(most, sizeof(uint64_t));
    if (kind->good_ns == NULL || kind->refused_ns == NULL || kind->lag_ns == NULL)
        die("calloc");
    request_capacity += most;
}

static void read_tokens(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        die(path);
    char line[4096];
    while (bearer_count < BEARERS_MAX && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = 0;
        if (asprintf(&bearers[bearer_count++], "Bearer %s", line) == -1)
            die("asprintf");
    }
    fclose(file);
}

int main(int argc, char **argv)
{
    if (argc < 7 || argc - 6 > KINDS_MAX) {
        fprintf(stderr,
                "usage: open_load PORT SECONDS TIMEOUT_MS CONNECTIONS SEED NAME=[POST:]PATH@RATE "
                "...\n");
        return 2;
    }
    if (getenv("OPEN_LOAD_TOKENS") != NULL)
        read_tokens(getenv("OPEN_LOAD_TOKENS"));
    body = getenv("OPEN_LOAD_BODY") != NULL ? getenv("OPEN_LOAD_BODY") : "";
    if (strlen(body) > BODY_MAX) {
        fprintf(stderr, "expected at most %u bytes in OPEN_LOAD_BODY\n", BODY_MAX);
        return 2;
    }
    uint16_t port = (uint16_t)strtoul(argv[1], NULL, 10);
    double seconds = strtod(argv[2], NULL);
    timeout_ns = strtoul(argv[3], NULL, 10) * MS;
    connection_count = strtoul(argv[4], NULL, 10);
    random_state = strtoul(argv[5], NULL, 10);
    snprintf(authority, sizeof(authority), "127.0.0.1:%u", port);
    for (int i = 6; i < argc; i++)
        add_kind(argv[i], seconds);
    requests = calloc(request_capacity, sizeof(*requests));
    connections = calloc(connection_count, sizeof(*connections));
    nghttp2_session_callbacks *calls;
    if (requests == NULL || connections == NULL || nghttp2_session_callbacks_new(&calls) != 0)
        die("calloc");
    nghttp2_session_callbacks_set_on_header_callback(calls, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_stream_close);
    for (size_t i = 0; i < connection_count; i++)
        connect_to(&connections[i], port, calls);
    started_ns = now_ns();
    for (size_t i = 0; i < kind_count; i++)
        kinds[i].next_ns = started_ns + exponential_ns(kinds[i].rate);
    run(started_ns + (uint64_t)(seconds * 1e9));
    for (size_t i = 0; i < kind_count; i++)
        report(&kinds[i]);
    return 0;
}
