/*
 * text_checks.c: small grammars, read left to right.
 */
#include "config/text_checks.h"

#include "base/cidr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <sys/un.h>

#define HOST_MAX 253u
#define NAME_MAX_BYTES 64u
#define SERVICE_MAX_BYTES 127u /* proxy/grpc_health.h: one byte says how many */
#define USER_MAX 128u

static const char not_a_listen_address[] =
    "is not an address to listen on; expected IP:PORT such as 0.0.0.0:8443 or [::]:8443";
static const char not_an_upstream[] =
    "is not an address; expected HOST:PORT, [IPV6]:PORT or unix:/path";
static const char not_an_authority[] = "is not a host; expected HOST or HOST:PORT";

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* What stands behind the last colon outside brackets; data is NULL when there is none. */
static struct fg_span cut_port(struct fg_span *address)
{
    for (size_t i = address->len; i-- > 0;) {
        if (address->data[i] == ']')
            break;
        if (address->data[i] == ':') {
            struct fg_span port = fg_span_make(address->data + i + 1, address->len - i - 1);
            address->len = i;
            return port;
        }
    }
    return (struct fg_span){NULL, 0};
}

static bool parse_port(struct fg_span text, uint16_t *port)
{
    uint64_t value = 0;
    if (text.len > 5 || !fg_span_parse_u64(text, &value) || value == 0 || value > 65535)
        return false;
    *port = (uint16_t)value;
    return true;
}

/* Both families as IPv6, an IPv4 address as ::ffff:a.b.c.d. */
static bool parse_ip(struct fg_span text, bool is_bracketed, struct in6_addr *out)
{
    char buffer[INET6_ADDRSTRLEN + 8] = "::ffff:";
    size_t at = is_bracketed ? 0 : strlen(buffer);
    if (text.len == 0 || text.len >= sizeof(buffer) - at)
        return false;
    memcpy(buffer + at, text.data, text.len);
    buffer[at + text.len] = '\0';
    struct in_addr v4;
    if (!is_bracketed && inet_pton(AF_INET, buffer + at, &v4) != 1)
        return false;
    return inet_pton(AF_INET6, buffer, out) == 1;
}

static bool strip_brackets(struct fg_span *host)
{
    if (host->len < 2 || host->data[0] != '[' || host->data[host->len - 1] != ']')
        return false;
    *host = fg_span_make(host->data + 1, host->len - 2);
    return true;
}

static bool parse_listen_address(struct fg_span text, struct sockaddr_in6 *out)
{
    uint16_t port = 0;
    struct fg_span host = text;
    struct fg_span port_text = cut_port(&host);
    bool is_bracketed = strip_brackets(&host);
    *out = (struct sockaddr_in6){.sin6_family = AF_INET6};
    if (!parse_port(port_text, &port) || !parse_ip(host, is_bracketed, &out->sin6_addr))
        return false;
    out->sin6_port = htons(port);
    return true;
}

const char *fg_text_check_listen_address(struct fg_span text)
{
    struct sockaddr_in6 address;
    return parse_listen_address(text, &address) ? NULL : not_a_listen_address;
}

void fg_text_to_socket_address(struct fg_span text, struct sockaddr_in6 *out)
{
    bool is_good = parse_listen_address(text, out);
    assert(is_good);
    (void)is_good;
}

/* Letters, digits, '-' and '_' in labels of 1 to 63 bytes (RFC 1123 section 2.1, and '_'). */
static bool is_host_name(struct fg_span host)
{
    if (host.len == 0 || host.len > HOST_MAX)
        return false;
    while (host.data != NULL) {
        struct fg_span label = fg_span_split(&host, '.');
        if (label.len == 0 || label.len > 63 || label.data[0] == '-')
            return false;
        for (size_t i = 0; i < label.len; i++) {
            if (!is_letter_or_digit(label.data[i]) && label.data[i] != '-' && label.data[i] != '_')
                return false;
        }
    }
    return true;
}

static bool is_host(struct fg_span host)
{
    struct in6_addr ignored;
    if (strip_brackets(&host))
        return parse_ip(host, true, &ignored);
    return is_host_name(host);
}

const char *fg_text_check_upstream_address(struct fg_span text)
{
    struct fg_span scheme = FG_SPAN("unix:");
    if (fg_span_starts_with(text, scheme)) {
        size_t path_len = text.len - scheme.len;
        if (path_len < 2 || text.data[scheme.len] != '/')
            return "is not a socket's path; expected unix:/path, from the root";
        if (path_len >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
            return "is too long for a socket's path; expected at most 107 bytes";
        return NULL;
    }
    if (memmem(text.data, text.len, "://", 3) != NULL)
        return "is a URL; expected HOST:PORT without a scheme";
    uint16_t port = 0;
    struct fg_span host = text;
    struct fg_span port_text = cut_port(&host);
    if (port_text.data == NULL)
        return "has no port; expected HOST:PORT, [IPV6]:PORT or unix:/path";
    return parse_port(port_text, &port) && is_host(host) ? NULL : not_an_upstream;
}

const char *fg_text_check_authority(struct fg_span text)
{
    uint16_t port = 0;
    struct fg_span port_text = cut_port(&text);
    if (port_text.data != NULL && !parse_port(port_text, &port))
        return not_an_authority;
    return is_host(text) ? NULL : not_an_authority;
}

const char *fg_text_check_host_pattern(struct fg_span text)
{
    struct fg_span host = text;
    if (fg_span_starts_with(host, FG_SPAN("*.")))
        host = fg_span_make(host.data + 2, host.len - 2);
    if (!is_host(host))
        return "is not a host; expected example.org or *.example.org, without a port";
    return NULL;
}

const char *fg_text_check_host_name(struct fg_span text)
{
    return is_host_name(text) ? NULL : "is not a name; expected example.org, without a port";
}

static bool is_path_byte(char c)
{
    return is_letter_or_digit(c) || (c != '\0' && strchr("-._~!$&'()*+,;=:@/", c) != NULL);
}

const char *fg_text_check_request_target(struct fg_span text)
{
    if (text.len == 0 || text.data[0] != '/')
        return "does not start with '/'; expected a path such as /health";
    for (size_t i = 0; i < text.len; i++) {
        if (!is_path_byte(text.data[i]) && text.data[i] != '?' && text.data[i] != '%')
            return "has a character that no request line has; expected it percent-encoded";
    }
    return NULL;
}

const char *fg_text_check_url_path(struct fg_span text)
{
    if (text.len == 0 || text.data[0] != '/')
        return "does not start with '/'; expected a path such as /promo/";
    if (memmem(text.data, text.len, "//", 2) != NULL)
        return "has an empty segment, which requests lose before they are matched; expected /a/b";
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '?' || text.data[i] == '#')
            return "has a query or fragment; expected the path alone";
        if (text.data[i] == '%')
            return "is percent-encoded; expected the path as it reads decoded";
        /* UTF-8 beyond ASCII is fine: requests are matched decoded. */
        if (!is_path_byte(text.data[i]) && (unsigned char)text.data[i] < 0x80)
            return "has a character that no path has; expected letters, digits and "
                   "-._~!$&'()*+,;=:@/";
    }
    struct fg_span rest = text;
    while (rest.data != NULL) {
        struct fg_span segment = fg_span_split(&rest, '/');
        if (fg_span_equal(segment, FG_SPAN(".")) || fg_span_equal(segment, FG_SPAN("..")))
            return "has a dot segment, which requests lose before they are matched; expected /a/b";
    }
    return NULL;
}

const char *fg_text_check_redirect_target(struct fg_span text)
{
    bool is_url = fg_span_starts_with(text, FG_SPAN("https://")) ||
                  fg_span_starts_with(text, FG_SPAN("http://"));
    bool is_path = text.len > 0 && text.data[0] == '/' && !(text.len > 1 && text.data[1] == '/');
    if (!is_url && !is_path)
        return "is no target for a redirect; expected /path or https://host/path";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c <= 0x20 || c >= 0x7f || strchr("\"<>\\^`{|}", c) != NULL)
            return "has a character that no URL has; expected it percent-encoded";
    }
    return NULL;
}

const char *fg_text_check_field_value(struct fg_span text)
{
    if (text.len == 0)
        return "is empty; expected the value of a header field";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return "has a control character; expected the value of a header field";
    }
    if (fg_span_trim(text).len != text.len)
        return "has blanks at its ends; expected the value of a header field";
    return NULL;
}

const char *fg_text_check_field_name(struct fg_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (!is_letter_or_digit(c) && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return "is not the name of a header field; expected letters, digits and '-'";
    }
    return text.len == 0 ? "is empty; expected the name of a header field" : NULL;
}

const char *fg_text_check_name(struct fg_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_letter_or_digit(text.data[i]) && strchr(".-_~", text.data[i]) == NULL)
            return "is not a name; expected letters, digits, '.', '-' and '_'";
    }
    if (text.len == 0 || text.len > NAME_MAX_BYTES)
        return "is not a name; expected 1 to 64 letters, digits, '.', '-' and '_'";
    return NULL;
}

const char *fg_text_check_label(struct fg_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!is_path_byte(text.data[i]) || strchr("\"'", text.data[i]) != NULL)
            return "is not a name; expected letters, digits and -._~/ without blanks";
    }
    if (text.len == 0 || text.len > NAME_MAX_BYTES)
        return "is not a name; expected 1 to 64 letters, digits and -._~/";
    return NULL;
}

const char *fg_text_check_file_name(struct fg_span text)
{
    if (text.len == 0 || text.len > 255 || text.data[0] == '.' ||
        memchr(text.data, '/', text.len) != NULL)
        return "is not a file's name; expected one such as index.html";
    return NULL;
}

const char *fg_text_check_grpc_service(struct fg_span text)
{
    if (text.len == 0 || text.len > SERVICE_MAX_BYTES)
        return "is no name of a service; expected 1 to 127 bytes such as shop.v1.Orders";
    return NULL;
}

const char *fg_text_check_hash_key(struct fg_span text)
{
    static const struct fg_span words[] = {
        FG_SPAN_LITERAL("client"),
        FG_SPAN_LITERAL("user"),
        FG_SPAN_LITERAL("path"),
        FG_SPAN_LITERAL("prompt"),
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (fg_span_equal(text, words[i]))
            return NULL;
    }
    struct fg_span name = text;
    struct fg_span kind = fg_span_split(&name, ':');
    bool is_named =
        fg_span_equal(kind, FG_SPAN("header")) || fg_span_equal(kind, FG_SPAN("cookie"));
    if (is_named && name.data != NULL && fg_text_check_field_name(name) == NULL)
        return NULL;
    return "is not a key; expected client, user, path, prompt, header:NAME or cookie:NAME";
}

const char *fg_text_check_dns_server(struct fg_span text)
{
    static const char problem[] = "is not an address; expected IP or IP:PORT, IPv6 as [IPV6]:PORT";
    struct in6_addr ignored;
    if (parse_ip(text, false, &ignored) || parse_ip(text, true, &ignored))
        return NULL;
    uint16_t port = 0;
    struct fg_span port_text = cut_port(&text);
    bool is_bracketed = strip_brackets(&text);
    return port_text.data != NULL && parse_port(port_text, &port) &&
                   parse_ip(text, is_bracketed, &ignored)
               ? NULL
               : problem;
}

const char *fg_text_check_not_empty(struct fg_span text)
{
    return text.len == 0 ? "is empty; expected a text" : NULL;
}

const char *fg_text_check_cidr(struct fg_span text)
{
    struct fg_cidr cidr;
    return fg_cidr_parse(text, &cidr) ? NULL
                                      : "is no network; expected one such as 10.0.0.0/8 or "
                                        "2001:db8::/32, without bits set "
                                        "behind the prefix";
}

const char *fg_text_check_field_name_lower(struct fg_span text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] >= 'A' && text.data[i] <= 'Z')
            return "has capital letters; expected a field name in lower case";
    }
    return fg_text_check_field_name(text);
}

const char *fg_text_check_user(struct fg_span text)
{
    bool is_fine = text.len > 0 && text.len <= USER_MAX;
    for (size_t i = 0; i < text.len; i++)
        is_fine = is_fine && text.data[i] > 0x20 && text.data[i] < 0x7f;
    return is_fine ? NULL : "is no user id; expected 1 to 128 printable characters without blanks";
}

const char *fg_text_check_limit_part(struct fg_span text)
{
    static const struct fg_span words[] = {
        FG_SPAN_LITERAL("user"),   FG_SPAN_LITERAL("device"), FG_SPAN_LITERAL("ip"),
        FG_SPAN_LITERAL("invite"), FG_SPAN_LITERAL("route"),  FG_SPAN_LITERAL("tier"),
    };
    const struct fg_span header = FG_SPAN_LITERAL("header:");
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (fg_span_equal(text, words[i]))
            return NULL;
    }
    if (fg_span_starts_with(text, header))
        return fg_text_check_field_name_lower(
            fg_span_make(text.data + header.len, text.len - header.len));
    return "is no part of a key; expected user, device, ip, invite, route, tier or header:NAME";
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

const char *fg_text_check_sha256(struct fg_span text)
{
    bool is_fine = text.len == 64;
    for (size_t i = 0; i < text.len; i++)
        is_fine = is_fine && hex_value(text.data[i]) >= 0;
    return is_fine ? NULL : "is no SHA-256; expected 64 hexadecimal digits";
}

void fg_text_to_sha256(struct fg_span text, unsigned char out[32])
{
    assert(text.len == 64);
    for (size_t i = 0; i < 32; i++)
        out[i] =
            (unsigned char)(hex_value(text.data[2 * i]) << 4 | hex_value(text.data[2 * i + 1]));
}

const char *fg_text_check_editable_field(struct fg_span text)
{
    static const struct fg_span reserved[] = {
        FG_SPAN_LITERAL("host"),       FG_SPAN_LITERAL("content-length"),
        FG_SPAN_LITERAL("connection"), FG_SPAN_LITERAL("transfer-encoding"),
        FG_SPAN_LITERAL("keep-alive"), FG_SPAN_LITERAL("proxy-connection"),
        FG_SPAN_LITERAL("te"),         FG_SPAN_LITERAL("trailer"),
        FG_SPAN_LITERAL("upgrade"),    FG_SPAN_LITERAL("x-forwarded-for"),
    };
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (fg_span_equal_nocase(text, reserved[i]))
            return "is written by the gateway itself; expected another field";
    }
    return fg_text_check_field_name(text);
}

const char *fg_text_check_removable_field(struct fg_span text)
{
    const char *problem = fg_text_check_editable_field(text);
    return problem != NULL ? problem : fg_text_check_field_name_lower(text);
}

const char *fg_text_check_parameter_name(struct fg_span text)
{
    bool is_fine = text.len > 0;
    for (size_t i = 0; i < text.len; i++)
        is_fine = is_fine && text.data[i] > 0x20 && text.data[i] < 0x7f &&
                  strchr("&=#;", text.data[i]) == NULL;
    return is_fine ? NULL : "is no name of a parameter; expected one without blanks, & and =";
}

const char *fg_text_check_origin(struct fg_span text)
{
    static const char problem[] =
        "is no origin; expected one such as https://example.org, https://*.example.org or *";
    struct fg_span rest = text;
    if (fg_span_equal(text, FG_SPAN("*")))
        return NULL;
    if (fg_span_starts_with(rest, FG_SPAN("https://")))
        rest = fg_span_make(rest.data + 8, rest.len - 8);
    else if (fg_span_starts_with(rest, FG_SPAN("http://")))
        rest = fg_span_make(rest.data + 7, rest.len - 7);
    else
        return problem;
    if (fg_span_starts_with(rest, FG_SPAN("*.")))
        rest = fg_span_make(rest.data + 2, rest.len - 2);
    return fg_text_check_authority(rest) == NULL ? NULL : problem;
}
