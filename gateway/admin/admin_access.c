/*
 * admin_access.c: browsers name the site whose page makes them ask (RFC 6454 section 7) when it is
 * another one, or asks for a change; other programs do not. A site whose name leads to an address
 * of its own at first, and to ours a moment later, is the same one to them, and asks under its
 * name: so there only an address, localhost or a name that the configuration has is ours.
 */
#include "admin_access.h"

#include "base/cidr.h"
#include "http/fields.h"

#include <sys/socket.h>

static bool is_loopback(int fd)
{
    static const char networks[2][12] = {"127.0.0.0/8", "::1"};
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    struct fg_ip ip;
    struct fg_cidr cidr;
    if (fd == -1 || getsockname(fd, (struct sockaddr *)&address, &len) == -1 ||
        !fg_ip_from_sockaddr((struct sockaddr *)&address, &ip))
        return false;
    for (size_t i = 0; i < 2; i++) {
        if (fg_cidr_parse(fg_span_from_string(networks[i]), &cidr) && fg_cidr_contains(&cidr, &ip))
            return true;
    }
    return false;
}

void fg_admin_access_init(struct fg_admin_access *access, const struct fg_admin_conf *conf,
                          int listen_fd)
{
    *access = (struct fg_admin_access){.conf = conf, .is_loopback = is_loopback(listen_fd)};
}

static bool is_ours(const struct fg_admin_conf *conf, struct fg_span authority)
{
    struct fg_span host = fg_authority_host(authority);
    struct fg_ip ip;
    if (host.len > 0 && host.data[host.len - 1] == '.')
        host.len--; /* the same name, said in full */
    if (host.len == 0 || host.data[0] == '[' || fg_ip_parse(host, &ip) ||
        fg_span_equal(host, FG_SPAN("localhost")))
        return true;
    for (size_t i = 0; i < conf->host_count; i++) {
        if (fg_span_equal_nocase(host, fg_span_from_string(conf->hosts[i])))
            return true;
    }
    return false;
}

static bool is_of_site(struct fg_span origin, struct fg_span authority)
{
    (void)fg_span_split(&origin, '/'); /* "http:" */
    return origin.len > 0 && origin.data[0] == '/' &&
           fg_span_equal(fg_span_make(origin.data + 1, origin.len - 1), authority);
}

const char *fg_admin_access_refuses(const struct fg_admin_access *access,
                                    const struct fg_request *req, bool is_change)
{
    struct fg_span origin = fg_exchange_field(&req->ex, FG_SPAN("origin"));
    bool is_page = is_change && origin.data != NULL;
    if (is_page && !is_of_site(origin, req->ex.authority))
        return "asked for by a page of another site\n";
    if ((is_page || access->is_loopback) && !is_ours(access->conf, req->ex.authority))
        return "asked for under a name that is not known here; expected an address, localhost or "
               "one of admin.hosts\n";
    return NULL;
}
