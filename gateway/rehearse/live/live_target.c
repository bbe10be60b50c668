/*
 * live_target.c: a URL taken apart, its name looked up, TLS prepared.
 */
#include "rehearse/live/live_target.h"

#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_MOST_S 2

/* "host", "host:port", "[v6]:port" into host and port. */
static bool split_authority(struct fg_live_target *target, struct fg_span rest,
                            const char *usual_port)
{
    struct fg_span host = rest;
    struct fg_span port = fg_span_from_string(usual_port);
    if (rest.len > 0 && rest.data[0] == '[') {
        const char *end = memchr(rest.data, ']', rest.len);
        if (end == NULL)
            return false;
        host = fg_span_make(rest.data + 1, (size_t)(end - rest.data) - 1);
        rest = fg_span_make(end + 1, rest.len - host.len - 2);
        if (rest.len > 0 && rest.data[0] != ':')
            return false;
        if (rest.len > 0)
            port = fg_span_make(rest.data + 1, rest.len - 1);
    } else {
        host = fg_span_split(&rest, ':');
        port = rest.data == NULL ? port : rest;
    }
    uint64_t number = 0;
    if (host.len == 0 || host.len >= sizeof(target->host) || !fg_span_parse_u64(port, &number) ||
        number == 0 || number > 65535)
        return false;
    snprintf(target->host, sizeof(target->host), "%.*s", FG_SPAN_ARGS(host));
    snprintf(target->port, sizeof(target->port), "%u", (unsigned)number);
    bool is_v6 = strchr(target->host, ':') != NULL;
    snprintf(target->authority, sizeof(target->authority), is_v6 ? "[%s]:%s" : "%s:%s",
             target->host, target->port);
    return true;
}

static SSL_CTX *make_tls(bool is_insecure)
{
    static const unsigned char h2[] = {2, 'h', '2'};
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    if (tls == NULL)
        return NULL;
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(tls, is_insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_default_verify_paths(tls) != 1 ||
        SSL_CTX_set_alpn_protos(tls, h2, sizeof(h2)) != 0) {
        SSL_CTX_free(tls);
        return NULL;
    }
    return tls;
}

/* Of several addresses (a name may have one of each family) the first that takes a connection;
 * else the first, whose failure is told then. */
static const struct addrinfo *choose_address(const struct addrinfo *found)
{
    const struct timeval most = {.tv_sec = CONNECT_MOST_S};
    for (const struct addrinfo *it = found; it != NULL && found->ai_next != NULL;
         it = it->ai_next) {
        int fd = socket(it->ai_family, it->ai_socktype | SOCK_CLOEXEC, it->ai_protocol);
        if (fd == -1)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most)); /* of connect, too */
        bool is_there = connect(fd, it->ai_addr, it->ai_addrlen) == 0;
        close(fd);
        if (is_there)
            return it;
    }
    return found;
}

/* What requests and TLS ask for: the scenario's host, or the URL's. */
static void set_names(struct fg_live_target *target, const char *authority)
{
    struct fg_span rest = fg_span_from_string(authority == NULL ? target->authority : authority);
    if (authority == NULL) {
        snprintf(target->name, sizeof(target->name), "%s", target->host);
        return;
    }
    snprintf(target->authority, sizeof(target->authority), "%s", authority);
    struct fg_span name = fg_span_split(&rest, ':');
    snprintf(target->name, sizeof(target->name), "%.*s", FG_SPAN_ARGS(name));
}

enum fg_status fg_live_target_open(struct fg_live_target *target, const char *url,
                                   const char *authority, bool is_insecure, struct fg_error *error)
{
    struct fg_span rest = fg_span_from_string(url);
    bool is_tls = fg_span_starts_with(rest, FG_SPAN("https://"));
    *target = (struct fg_live_target){.h2 = {.tls = NULL}};
    if (!is_tls && !fg_span_starts_with(rest, FG_SPAN("http://")))
        return fg_error_set(error, "--target: \"%s\" is not a URL; expected https://HOST:PORT",
                            url);
    size_t scheme = is_tls ? 8 : 7;
    rest = fg_span_make(rest.data + scheme, rest.len - scheme);
    if (rest.len > 0 && rest.data[rest.len - 1] == '/')
        rest.len--;
    if (!split_authority(target, rest, is_tls ? "443" : "80"))
        return fg_error_set(error,
                            "--target: \"%s\" has no host and port; expected https://HOST:PORT "
                            "without a path",
                            url);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(target->host, target->port, &hints, &found);
    if (failed != 0)
        return fg_error_set(error, "--target: %s cannot be looked up: %s", target->host,
                            gai_strerror(failed));
    const struct addrinfo *chosen = choose_address(found);
    memcpy(&target->h2.address, chosen->ai_addr, chosen->ai_addrlen);
    target->h2.address_len = chosen->ai_addrlen;
    freeaddrinfo(found);
    set_names(target, authority);
    target->h2.host = target->name;
    target->h2.authority = target->authority;
    target->h2.tls = is_tls ? make_tls(is_insecure) : NULL;
    if (is_tls && target->h2.tls == NULL)
        return fg_error_set(error, "TLS could not be set up");
    return FG_OK;
}

void fg_live_target_close(struct fg_live_target *target)
{
    SSL_CTX_free(target->h2.tls);
    target->h2.tls = NULL;
}
