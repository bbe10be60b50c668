/*
 * open_load.c: open-loop HTTP/2 load for scripts/bench: requests leave when their time has come,
 * whether earlier ones were answered or not, as those of many independent people do.
 * Job      Poisson arrivals of one or more kinds over some connections (h2, by ALPN or with prior
 *          knowledge); latency counts from the scheduled time, so a slow server cannot hide behind
 *          a slow client; who waited TIMEOUT_MS leaves (RST_STREAM). One line of JSON a kind.
 *          As real clients do: after GOAWAY, or when a connection is lost, the next request goes
 *          over a new one, and a GET that nobody has begun to answer is sent once more there.
 * Usage    open_load PORT SECONDS TIMEOUT_MS CONNECTIONS SEED NAME=[POST:]PATH@RATE ...
 *          OPEN_LOAD_TOKENS names a file of bearer tokens, a line each, that requests take in turn;
 *          OPEN_LOAD_BODY is what a POST carries, with an idempotency key of its own;
 *          OPEN_LOAD_TLS=1: over TLS, whose certificate is not looked at;
 *          OPEN_LOAD_CLIENTS=1: each connection comes from an address of its own (127.0.1.x);
 *          OPEN_LOAD_EACH=1: how long each good answer took, too, shortest first.
 * Thread   one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <signal.h>
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
#define SETTLING_MS 200u
#define LINKS_MAX 65536u             /* connections in all, those that were lost too */
#define AGAIN_NS (10 * (uint64_t)MS) /* before one that was lost is made anew */

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
    SSL *ssl; /* NULL: plain */
    nghttp2_session *session;
    const uint8_t *pending; /* nghttp2's own memory, valid until the next mem_send */
    size_t pending_len;
    bool has_goaway; /* no new requests; it ends with the last open one */
    bool is_lost;
    uint64_t not_before_ns; /* the one before was lost: nothing is sent until then */
};

struct request {
    struct kind *kind;
    struct connection *connection;
    uint64_t scheduled_ns;
    int32_t stream_id;
    int status;
    bool is_over;
    bool is_again; /* sent for the second time */
};

static struct kind kinds[KINDS_MAX];
static size_t kind_count;
static struct connection **connections; /* those that requests go over now */
static size_t connection_count;
static struct connection *links[LINKS_MAX]; /* all that are open */
static size_t link_count, reconnects;
static uint16_t port;
static int epoll_fd;
static SSL_CTX *tls; /* NULL: plain */
static nghttp2_session_callbacks *calls;
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

/* Nobody has begun to answer it, and it does no harm twice. */
static bool may_repeat(const struct request *request)
{
    return !request->kind->is_post && !request->is_again && request->status == 0;
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
    if (may_repeat(request) && error_code != NGHTTP2_NO_ERROR) {
        request->connection = NULL;
        return 0;
    }
    request->is_over = true;
    if (error_code != NGHTTP2_NO_ERROR || request->status == 0)
        kind->failed++;
    else if (request->status < 300)
        kind->good_ns[kind->good++] = latency_ns;
    else
        kind->refused_ns[kind->refused++] = latency_ns;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    struct connection *connection = user;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        connection->has_goaway = true;
    return 0;
}

/* The address of the client whose connection it is. */
static void bind_source(int fd, size_t index)
{
    struct sockaddr_in source = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(0x7f000101u + (uint32_t)index)};
    if (getenv("OPEN_LOAD_CLIENTS") != NULL &&
        bind(fd, (struct sockaddr *)&source, sizeof(source)) == -1)
        die("bind");
}

static struct connection *connect_anew(size_t index)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct connection *connection = calloc(1, sizeof(*connection));
    int on = 1;
    if (connection == NULL || link_count == LINKS_MAX)
        die("too many connections");
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bind_source(connection->fd, index);
    if (connection->fd == -1 ||
        (connect(connection->fd, (struct sockaddr *)&address, sizeof(address)) == -1 &&
         errno != EINPROGRESS) ||
        setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == -1)
        die("connect");
    if (tls != NULL) {
        connection->ssl = SSL_new(tls);
        if (connection->ssl == NULL || SSL_set_fd(connection->ssl, connection->fd) != 1)
            die("SSL_new");
        SSL_set_connect_state(connection->ssl);
    }
    const nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    if (nghttp2_session_client_new(&connection->session, calls, connection) != 0 ||
        nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, &entry, 1) != 0)
        die("nghttp2");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) == -1)
        die("epoll_ctl");
    links[link_count++] = connection;
    return connection;
}

/* As send and recv do: -1 with errno EAGAIN when there is no room or nothing there. */
static ssize_t tls_result(const struct connection *connection, int result)
{
    int error = SSL_get_error(connection->ssl, result);
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static ssize_t put(struct connection *connection, const uint8_t *data, size_t len)
{
    if (connection->ssl == NULL)
        return send(connection->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    int sent = SSL_write(connection->ssl, data, (int)len);
    if (sent <= 0)
        (void)tls_result(connection, sent);
    return sent > 0 ? sent : -1;
}

static ssize_t take(struct connection *connection, uint8_t *to, size_t room)
{
    if (connection->ssl == NULL)
        return recv(connection->fd, to, room, MSG_DONTWAIT);
    int got = SSL_read(connection->ssl, to, (int)room);
    return got > 0 ? got : tls_result(connection, got);
}

static void flush(struct connection *connection, uint64_t now)
{
    while (!connection->is_lost && now >= connection->not_before_ns) {
        if (connection->pending_len == 0) {
            ssize_t len = nghttp2_session_mem_send(connection->session, &connection->pending);
            if (len <= 0)
                return;
            connection->pending_len = (size_t)len;
        }
        ssize_t sent = put(connection, connection->pending, connection->pending_len);
        if (sent == -1) { /* tried again at the next turn, a millisecond from now at the latest */
            connection->is_lost = errno != EAGAIN && errno != ENOTCONN;
            return;
        }
        connection->pending += sent;
        connection->pending_len -= (size_t)sent;
    }
}

static void receive(struct connection *connection)
{
    uint8_t data[65536];
    ssize_t got;
    while (!connection->is_lost && (got = take(connection, data, sizeof(data))) != -1) {
        if (got == 0 || nghttp2_session_mem_recv(connection->session, data, (size_t)got) < 0)
            connection->is_lost = true;
    }
    if (!connection->is_lost && errno != EAGAIN)
        connection->is_lost = true;
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

/* Over the connection whose turn it is. */
static void submit(struct request *request)
{
    const struct kind *kind = request->kind;
    size_t number = (size_t)(request - requests) + 1;
    char key[48];
    int key_len = snprintf(key, sizeof(key), "load-%d-%lu-%zu", getpid(), started_ns, number);
    request->connection = connections[(number - 1) % connection_count];
    nghttp2_nv fields[8] = {
        FIELD(":method", kind->is_post ? "POST" : "GET", kind->is_post ? 4 : 3),
        FIELD(":scheme", "http", 4),
        FIELD(":authority", authority, strlen(authority)),
        FIELD(":path", kind->path, strlen(kind->path)),
    };
    size_t count = 4;
    if (bearer_count > 0) {
        const char *bearer = bearers[number % bearer_count];
        fields[count++] = (nghttp2_nv)FIELD("authorization", bearer, strlen(bearer));
    }
    if (kind->is_post) {
        fields[count++] = (nghttp2_nv)FIELD("content-type", "application/json", 16);
        fields[count++] = (nghttp2_nv)FIELD("idempotency-key", key, (size_t)key_len);
    }
    const nghttp2_data_provider provider = {.read_callback = read_body};
    request->stream_id = nghttp2_submit_request(request->connection->session, NULL, fields, count,
                                                kind->is_post ? &provider : NULL, request);
    if (request->stream_id < 0)
        die("nghttp2_submit_request");
}

static void send_request(struct kind *kind, uint64_t now)
{
    if (request_count == request_capacity) {
        fprintf(stderr, "more requests than planned\n");
        exit(1);
    }
    struct request *request = &requests[request_count++];
    *request = (struct request){.kind = kind, .scheduled_ns = kind->next_ns};
    submit(request);
    kind->offered++;
    kind->lag_ns[kind->lag_count++] = now - request->scheduled_ns;
}

static bool has_open(const struct connection *connection)
{
    for (size_t i = oldest; i < request_count; i++) {
        if (requests[i].connection == connection && !requests[i].is_over)
            return true;
    }
    return false;
}

/* What was lost with a connection goes again, or has failed. */
static void lose_requests(const struct connection *connection)
{
    for (size_t i = oldest; i < request_count; i++) {
        struct request *request = &requests[i];
        if (request->connection != connection || request->is_over)
            continue;
        request->connection = NULL;
        if (may_repeat(request))
            continue;
        request->is_over = true;
        request->kind->failed++;
    }
}

static void replace(const struct connection *old, uint64_t now)
{
    for (size_t i = 0; i < connection_count; i++) {
        if (connections[i] != old)
            continue;
        connections[i] = connect_anew(i);
        connections[i]->not_before_ns = old->is_lost ? now + AGAIN_NS : now;
        reconnects++;
    }
}

/* Ends connections that are lost or done, and sends again what was lost with them. */
static void mend(uint64_t now)
{
    for (size_t i = 0; i < link_count; i++) {
        struct connection *connection = links[i];
        if (!connection->is_lost && !connection->has_goaway)
            continue;
        replace(connection, now);
        if (!connection->is_lost && has_open(connection))
            continue;
        lose_requests(connection);
        links[i--] = links[--link_count];
        nghttp2_session_del(connection->session);
        SSL_free(connection->ssl);
        close(connection->fd);
        free(connection);
    }
    for (size_t i = oldest; i < request_count; i++) {
        if (requests[i].is_over || requests[i].connection != NULL)
            continue;
        requests[i].is_again = true;
        submit(&requests[i]);
    }
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
        if (request->connection == NULL)
            continue;
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
    while (true) {
        uint64_t now = now_ns();
        uint64_t next_ns = send_due(now, ends_ns);
        leave_late(now);
        mend(now);
        for (size_t i = 0; i < link_count; i++)
            flush(links[i], now);
        if (now >= ends_ns && oldest == request_count)
            break;
        uint64_t wait_ns = next_ns > now + MS ? MS : next_ns > now ? next_ns - now : 0;
        struct timespec wait = {.tv_nsec = (long)wait_ns};
        struct epoll_event events[256];
        int count = epoll_pwait2(epoll_fd, events, 256, &wait, NULL);
        for (int i = 0; i < count; i++)
            receive(events[i].data.ptr);
    }
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

static void report_each(const struct kind *kind)
{
    printf(", \"good_ms\": [");
    for (size_t i = 0; i < kind->good; i++)
        printf("%s%.3f", i == 0 ? "" : ", ", (double)kind->good_ns[i] / MS);
    printf("]");
}

static void report(struct kind *kind)
{
    printf("{\"kind\": \"%s\", \"offered\": %lu, \"good\": %lu, \"refused\": %lu, \"failed\": %lu, "
           "\"timed_out\": %lu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"refused_p50_ms\": %.3f, "
           "\"refused_p99_ms\": %.3f, \"lag_p99_ms\": %.3f, \"reconnects\": %zu",
           kind->name, kind->offered, kind->good, kind->refused, kind->failed, kind->timed_out,
           quantile_ms(kind->good_ns, kind->good, 0.5),
           quantile_ms(kind->good_ns, kind->good, 0.99),
           quantile_ms(kind->refused_ns, kind->refused, 0.5),
           quantile_ms(kind->refused_ns, kind->refused, 0.99),
           quantile_ms(kind->lag_ns, kind->lag_count, 0.99), reconnects);
    if (getenv("OPEN_LOAD_EACH") != NULL)
        report_each(kind); /* sorted by quantile_ms */
    puts("}");
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

static SSL_CTX *make_tls(void)
{
    static const unsigned char protocols[] = "\x02h2";
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || SSL_CTX_set_alpn_protos(context, protocols, 3) != 0)
        die("SSL_CTX_new");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return context;
}

static void make_connections(void)
{
    requests = calloc(request_capacity, sizeof(*requests));
    connections = calloc(connection_count, sizeof(*connections));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (requests == NULL || connections == NULL || epoll_fd == -1 ||
        nghttp2_session_callbacks_new(&calls) != 0)
        die("no memory");
    nghttp2_session_callbacks_set_on_header_callback(calls, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(calls, on_frame);
    if (getenv("OPEN_LOAD_TLS") != NULL)
        tls = make_tls();
    for (size_t i = 0; i < connection_count; i++)
        connections[i] = connect_anew(i);
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
    port = (uint16_t)strtoul(argv[1], NULL, 10);
    double seconds = strtod(argv[2], NULL);
    timeout_ns = strtoul(argv[3], NULL, 10) * MS;
    connection_count = strtoul(argv[4], NULL, 10);
    random_state = strtoul(argv[5], NULL, 10);
    snprintf(authority, sizeof(authority), "127.0.0.1:%u", port);
    for (int i = 6; i < argc; i++)
        add_kind(argv[i], seconds);
    signal(SIGPIPE, SIG_IGN);
    make_connections();
    for (size_t i = 0; i < kind_count; i++)
        kinds[i].next_ns = UINT64_MAX;
    run(now_ns() + SETTLING_MS * (uint64_t)MS); /* TLS and settings are through */
    started_ns = now_ns();
    for (size_t i = 0; i < kind_count; i++)
        kinds[i].next_ns = started_ns + exponential_ns(kinds[i].rate);
    run(started_ns + (uint64_t)(seconds * 1e9));
    for (size_t i = 0; i < kind_count; i++)
        report(&kinds[i]);
    return 0;
}
