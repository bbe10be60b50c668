/*
 * upstream_io.c: bytes to and from a server, over a plain or a TLS connection.
 * Job      one read and one write for both; TLS with the server's name checked.
 * Thread   the owning event loop.
 * Never    blocks; takes a connection that broke off for one that ended (TLS without close_notify);
 *          reads for as long as a server can send records: of small ones a few a turn, and of such
 *          as bring nothing (KeyUpdate, tickets) no more than a connection may have.
 * Memory   one SSL object a connection.
 * Source   RFC 8446 section 6.1 (truncation); RFC 6066 section 3 (SNI, never an address).
 */
#include "proxy_internal.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORD_BYTES ((size_t)16384)
#define SMALL_RECORD ((size_t)1024)
#define SMALL_RECORDS_MAX 16u /* of one read */
/* What a handshake needs is a tenth of it, and afterwards a ticket or KeyUpdate is rare. */
#define IDLE_RECORDS_MAX 128u

/* ---- a connection ---- */

static bool is_numeric(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* The name that the certificate must be for, which is also the one asked for. */
static bool set_name(SSL *ssl, const struct fg_cluster_conf *conf, const char *host)
{
    const char *name = conf->tls.server_name != NULL ? conf->tls.server_name : host;
    if (name[0] == '\0')
        return !conf->tls.verify; /* a unix socket has no name: the configuration gives one */
    bool is_address = is_numeric(name);
    if (!is_address && SSL_set_tlsext_host_name(ssl, name) != 1)
        return false;
    if (!conf->tls.verify)
        return true;
    if (is_address)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1;
}

/*
 * The library works through handshake messages after the handshake for as long as there are any,
 * within one call: a server that sends them without end would have the loop for itself. A record,
 * or a message in one, counts until data comes; with too many the connection reads as ended.
 */
static void on_record(int is_ours, int version, int type, const void *data, size_t len, SSL *ssl,
                      void *arg)
{
    struct fg_upstream *upstream = arg;
    (void)version;
    (void)data;
    (void)len;
    if (is_ours != 0 || (type != SSL3_RT_HEADER && type != SSL3_RT_HANDSHAKE))
        return;
    if (++upstream->idle_records <= IDLE_RECORDS_MAX)
        return;
    if (upstream->idle_records == IDLE_RECORDS_MAX + 1 && upstream->state != FG_UPSTREAM_SECURING)
        fg_counter_add_owned(&upstream->thread->metrics->tls_errors, 1);
    SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

static void note_data(struct fg_upstream *upstream)
{
    upstream->idle_records -= upstream->idle_records < 2 ? upstream->idle_records : 2;
}

bool fg_upstream_tls_attach(struct fg_upstream *upstream)
{
    static const unsigned char h1[] = "\x08http/1.1";
    struct fg_proxy *proxy = upstream->thread->proxy;
    SSL *ssl = fg_cluster_tls_open(proxy, upstream->endpoint);
    if (ssl == NULL)
        return false;
    if (SSL_set_fd(ssl, upstream->fd) != 1 ||
        !set_name(ssl, &proxy->conf, upstream->endpoint->host->spec.server_name) ||
        (upstream->is_h1_only &&
         SSL_set_alpn_protos(ssl, h1, (unsigned)strlen((const char *)h1)) != 0)) {
        ERR_clear_error();
        SSL_free(ssl);
        return false;
    }
    SSL_set_app_data(ssl, upstream);
    SSL_set_msg_callback(ssl, on_record);
    SSL_set_msg_callback_arg(ssl, upstream);
    SSL_set_connect_state(ssl);
    upstream->idle_records = 0;
    upstream->has_small_records = false;
    upstream->is_read_owed = false;
    upstream->ssl = ssl;
    return true;
}

bool fg_upstream_tls_chose_h2(const struct fg_upstream *upstream)
{
    const unsigned char *chosen = NULL;
    unsigned len = 0;
    SSL_get0_alpn_selected(upstream->ssl, &chosen, &len);
    return len == 2 && memcmp(chosen, "h2", 2) == 0;
}

/* The other side has chosen nothing that we may speak with it. */
static bool is_other_protocol(const struct fg_upstream *upstream)
{
    return upstream->thread->proxy->conf.protocol == FG_PROTOCOL_H2 &&
           !fg_upstream_tls_chose_h2(upstream);
}

/* Certificates that expire or name somebody else are what an operator has to mend. */
static void log_failure(const struct fg_upstream *upstream)
{
    static struct fg_log_limit limit;
    char text[160], word[96];
    const char *name = upstream->endpoint->host->spec.name;
    long verdict = SSL_get_verify_result(upstream->ssl);
    unsigned long error = ERR_peek_last_error();
    if (SSL_is_init_finished(upstream->ssl) == 1)
        (void)snprintf(text, sizeof(text), "the server did not choose HTTP/2 (ALPN)");
    else if (verdict != X509_V_OK)
        (void)snprintf(text, sizeof(text), "%s", X509_verify_cert_error_string(verdict));
    else if (error != 0 && ERR_reason_error_string(error) != NULL)
        (void)snprintf(text, sizeof(text), "%s", ERR_reason_error_string(error));
    else
        (void)snprintf(text, sizeof(text), "the connection ended in the handshake");
    fg_log_limited(&limit, 10, FG_LOG_WARN, "endpoint_tls_failed",
                   "cluster=%s endpoint=%s reason=\"%s\"", upstream->thread->proxy->base.name,
                   fg_log_word(word, sizeof(word), name, strlen(name)), text);
}

enum fg_tls_step fg_upstream_tls_step(struct fg_upstream *upstream)
{
    struct fg_proxy_metrics *metrics = upstream->thread->metrics;
    ERR_clear_error();
    int result = SSL_do_handshake(upstream->ssl);
    if (result == 1 && !is_other_protocol(upstream)) {
        fg_counter_add_owned(&metrics->tls_handshakes, 1);
        if (SSL_session_reused(upstream->ssl))
            fg_counter_add_owned(&metrics->tls_resumed, 1);
        return FG_TLS_DONE;
    }
    int error = SSL_get_error(upstream->ssl, result);
    if (error == SSL_ERROR_WANT_READ)
        return FG_TLS_WANT_READ;
    if (error == SSL_ERROR_WANT_WRITE)
        return FG_TLS_WANT_WRITE;
    fg_counter_add_owned(&metrics->tls_errors, 1);
    log_failure(upstream);
    ERR_clear_error();
    return FG_TLS_FAILED;
}

void fg_upstream_tls_detach(struct fg_upstream *upstream)
{
    if (upstream->ssl == NULL)
        return;
    /* A goodbye is for connections that nothing was cut off on; but without any the library takes
     * the session for one not to be resumed. */
    SSL_set_quiet_shutdown(upstream->ssl, upstream->state != FG_UPSTREAM_IDLE &&
                                              upstream->state != FG_UPSTREAM_SHARED);
    (void)SSL_shutdown(upstream->ssl);
    ERR_clear_error();
    SSL_free(upstream->ssl);
    upstream->ssl = NULL;
}

/* ---- bytes ---- */

static ssize_t read_plain(const struct fg_upstream *upstream, void *to, size_t room)
{
    ssize_t got;
    do {
        got = recv(upstream->fd, to, room, 0);
    } while (got == -1 && errno == EINTR);
    if (got >= 0)
        return got;
    return errno == EAGAIN || errno == EWOULDBLOCK ? -1 : -2;
}

static ssize_t read_record(struct fg_upstream *upstream, char *to, size_t room)
{
    size_t got = 0;
    ERR_clear_error();
    int result = SSL_read_ex(upstream->ssl, to, room, &got);
    if (result == 1) {
        note_data(upstream);
        return (ssize_t)got;
    }
    int error = SSL_get_error(upstream->ssl, result);
    if (upstream->idle_records > IDLE_RECORDS_MAX)
        error = SSL_ERROR_SSL; /* no goodbye */
    switch (error) {
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_WANT_READ:
        return -1;
    case SSL_ERROR_WANT_WRITE:
        fg_upstream_await_room(upstream);
        return -1;
    default:
        ERR_clear_error();
        return -2;
    }
}

/* Small ones that are here already are one read, which costs all behind it once. */
static ssize_t read_tls(struct fg_upstream *upstream, char *to, size_t room)
{
    size_t total = 0;
    upstream->is_read_owed = false;
    for (unsigned records = 1;; records++) {
        ssize_t got = read_record(upstream, to + total, room - total);
        upstream->has_small_records = records == SMALL_RECORDS_MAX;
        if (got <= 0 && total == 0)
            return got;
        upstream->is_read_owed = got == 0 || got == -2; /* the same again, when it is asked for */
        if (got <= 0)
            return (ssize_t)total;
        total += (size_t)got;
        if ((size_t)got >= SMALL_RECORD || total == room || records == SMALL_RECORDS_MAX ||
            SSL_has_pending(upstream->ssl) == 0)
            return (ssize_t)total;
    }
}

ssize_t fg_upstream_read(struct fg_upstream *upstream, void *to, size_t room)
{
    return upstream->ssl == NULL ? read_plain(upstream, to, room) : read_tls(upstream, to, room);
}

bool fg_upstream_has_pending(const struct fg_upstream *upstream)
{
    return upstream->ssl != NULL && (upstream->is_read_owed || SSL_has_pending(upstream->ssl) == 1);
}

/* The kernel lets it wait for what follows at once: a TLS hello, a request, a preface. */
bool fg_upstream_send_header(struct fg_upstream *upstream)
{
    ssize_t sent;
    do {
        sent = send(upstream->fd, upstream->header.data, upstream->header.len,
                    MSG_NOSIGNAL | MSG_MORE);
    } while (sent == -1 && errno == EINTR);
    if (sent < 0 || (size_t)sent < upstream->header.len)
        return false; /* an empty socket has room for so little */
    fg_counter_add_owned(&upstream->thread->metrics->sent_bytes, (uint64_t)sent);
    return true;
}

static bool is_full(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == ENOMEM;
}

static ssize_t write_plain(const struct fg_upstream *upstream, struct iovec *iov, size_t count)
{
    const struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t sent;
    do {
        /* The kernel takes a single run 180 ns sooner without a list of runs to copy. */
        sent = count == 1 ? send(upstream->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                          : sendmsg(upstream->fd, &message, MSG_NOSIGNAL);
    } while (sent == -1 && errno == EINTR);
    if (sent >= 0)
        return sent;
    return is_full(errno) ? 0 : -1;
}

/* The next record's worth behind `skip`: as it lies, or gathered in `scratch`. */
static struct fg_span next_record(const struct iovec *iov, size_t count, size_t skip, char *scratch)
{
    size_t i = 0;
    while (i < count && skip >= iov[i].iov_len)
        skip -= iov[i++].iov_len;
    if (i == count)
        return (struct fg_span){NULL, 0};
    const char *first = (const char *)iov[i].iov_base + skip;
    size_t first_len = iov[i].iov_len - skip;
    if (first_len >= RECORD_BYTES || i + 1 == count)
        return fg_span_make(first, first_len < RECORD_BYTES ? first_len : RECORD_BYTES);
    size_t len = 0;
    for (; i < count && len < RECORD_BYTES; i++, skip = 0) {
        size_t run = iov[i].iov_len - skip;
        if (run > RECORD_BYTES - len)
            run = RECORD_BYTES - len;
        memcpy(scratch + len, (const char *)iov[i].iov_base + skip, run);
        len += run;
    }
    return fg_span_make(scratch, len);
}

/*
 * A record that the socket did not take whole must be offered again with the same bytes: they stay
 * first in the caller's queue, and a record is always filled as far as there are bytes.
 */
static ssize_t write_tls(struct fg_upstream *upstream, const struct iovec *iov, size_t count)
{
    char scratch[RECORD_BYTES];
    size_t taken = 0;
    for (;;) {
        struct fg_span record = next_record(iov, count, taken, scratch);
        if (record.len == 0)
            return (ssize_t)taken;
        size_t written = 0;
        ERR_clear_error();
        int result = SSL_write_ex(upstream->ssl, record.data, record.len, &written);
        if (result == 1) {
            taken += written;
            continue;
        }
        int error = SSL_get_error(upstream->ssl, result);
        if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ)
            return (ssize_t)taken;
        ERR_clear_error();
        return taken > 0 ? (ssize_t)taken : -1;
    }
}

ssize_t fg_upstream_write(struct fg_upstream *upstream, struct iovec *iov, size_t count)
{
    ssize_t sent =
        upstream->ssl == NULL ? write_plain(upstream, iov, count) : write_tls(upstream, iov, count);
    if (sent > 0)
        fg_counter_add_owned(&upstream->thread->metrics->sent_bytes, (uint64_t)sent);
    return sent;
}

void fg_upstream_end_writing(struct fg_upstream *upstream)
{
    if (upstream->ssl != NULL) {
        (void)SSL_shutdown(upstream->ssl);
        ERR_clear_error();
    } else {
        shutdown(upstream->fd, SHUT_WR);
    }
}
