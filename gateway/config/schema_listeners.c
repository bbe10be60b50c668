/*
 * schema_listeners.c: the tables of where clients connect: listeners, their certificates, and what
 * all TLS listeners share.
 */
#include "config/raw.h"
#include "config/schema.h"

#define AT(type, member) (uint32_t) offsetof(struct type, member)
#define KIB (UINT64_C(1) << 10)
#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define MINUTE (60 * S)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static const struct fg_choice listener_kinds[] = {
    {"tls", FG_LISTENER_TLS},
    {"plain", FG_LISTENER_PLAIN},
    {"redirect", FG_LISTENER_REDIRECT},
    {NULL, 0},
};

static const struct fg_choice tls_versions[] = {{"1.2", 0}, {"1.3", 0}, {NULL, 0}};

static const struct fg_choice client_auths[] = {
    {"none", FG_CLIENT_AUTH_NONE},
    {"optional", FG_CLIENT_AUTH_OPTIONAL},
    {"required", FG_CLIENT_AUTH_REQUIRED},
    {NULL, 0},
};

static const struct fg_choice certificate_auths[] = {
    {"none", FG_CLIENT_AUTH_NONE},
    {"optional", FG_CLIENT_AUTH_OPTIONAL},
    {"required", FG_CLIENT_AUTH_REQUIRED},
    {"inherited", FG_CLIENT_AUTH_INHERITED},
    {NULL, 0},
};

static const struct fg_choice foreign_hosts[] = {
    {"serve", FG_FOREIGN_HOSTS_SERVE},
    {"refuse", FG_FOREIGN_HOSTS_REFUSE},
    {NULL, 0},
};

static const struct fg_choice client_users[] = {
    {"cn", FG_CLIENT_USER_CN},
    {"san_dns", FG_CLIENT_USER_SAN_DNS},
    {"san_uri", FG_CLIENT_USER_SAN_URI},
    {"fingerprint", FG_CLIENT_USER_FINGERPRINT},
    {NULL, 0},
};

static const struct fg_choice certificate_users[] = {
    {"cn", FG_CLIENT_USER_CN},
    {"san_dns", FG_CLIENT_USER_SAN_DNS},
    {"san_uri", FG_CLIENT_USER_SAN_URI},
    {"fingerprint", FG_CLIENT_USER_FINGERPRINT},
    {"inherited", FG_CLIENT_USER_INHERITED},
    {NULL, 0},
};

static const struct fg_choice forwarded_kinds[] = {
    {"x-forwarded-for", FG_FORWARDED_X},
    {"forwarded", FG_FORWARDED_RFC7239},
    {NULL, 0},
};

#define L(member) AT(fg_raw_certificate, conf.member)
static const struct fg_key certificate_keys[] = {
    {.name = "certificate",
     .type = FG_KEY_PATH,
     .offset = L(certificate),
     .is_required = true,
     .check = fg_text_check_not_empty,
     .doc = "PEM file with the certificate and its chain. The host names in it say who gets it."},
    {.name = "private_key",
     .type = FG_KEY_PATH,
     .offset = L(private_key),
     .is_required = true,
     .check = fg_text_check_not_empty,
     .doc = "PEM file with its key."},
    {.name = "ocsp_file",
     .type = FG_KEY_PATH,
     .offset = L(ocsp_file),
     .check = fg_text_check_not_empty,
     .doc = "As the listener's, for this certificate."},
    {.name = "client_auth",
     .type = FG_KEY_ENUM,
     .offset = L(client_auth),
     .initial = "inherited",
     .choices = certificate_auths,
     .doc = "Ask clients who come for its names for a certificate, or do not, otherwise than the "
            "listener does. Certificates of one name have to say the same. Requests for these "
            "names by a connection for others are answered 421, and the other way round."},
    {.name = "client_ca",
     .type = FG_KEY_PATH,
     .offset = L(client_ca),
     .check = fg_text_check_not_empty,
     .doc = "As the listener's, for a `client_auth` of its own, and needed by it."},
    {.name = "client_crl",
     .type = FG_KEY_PATH,
     .offset = L(client_crl),
     .check = fg_text_check_not_empty,
     .doc = "As the listener's, for a `client_auth` of its own."},
    {.name = "client_user",
     .type = FG_KEY_ENUM,
     .offset = L(client_user),
     .initial = "inherited",
     .choices = certificate_users,
     .doc = "As the listener's, for a `client_auth` of its own."},
    {.name = "client_user_prefix",
     .type = FG_KEY_STRING,
     .offset = L(client_user_prefix),
     .derived = "the listener's",
     .check = fg_text_check_user,
     .doc = "As the listener's, for a `client_auth` of its own: other authorities, other users."},
    {.name = NULL},
};
#undef L

static const struct fg_table certificate_table = {
    .path = "listeners[].certificates[]",
    .doc = "A further certificate. A client gets the one with the name that it asks for, an exact "
           "name before a wildcard; where an EC and an RSA one have the same name, the one that it "
           "can use.",
    .keys = certificate_keys,
    .bytes = sizeof(struct fg_raw_certificate),
    .node_offset = AT(fg_raw_certificate, node),
    .example = "{certificate: shop.crt, private_key: shop.key}",
};

#define L(member) AT(fg_raw_listener, conf.member)
static const struct fg_key listener_keys[] = {
    {.name = "name",
     .type = FG_KEY_STRING,
     .offset = L(name),
     .derived = "the address",
     .check = fg_text_check_label,
     .doc = "What logs and metrics call it."},
    {.name = "address",
     .type = FG_KEY_STRING,
     .offset = L(address),
     .is_required = true,
     .check = fg_text_check_listen_address,
     .doc = "IP address and port to listen on; `0.0.0.0` and `[::]` are all interfaces."},
    {.name = "kind",
     .type = FG_KEY_ENUM,
     .offset = L(kind),
     .initial = "tls",
     .choices = listener_kinds,
     .doc = "`tls`: HTTP/2 and HTTP/1.1 by ALPN. `plain`: the same in the clear, for a trusted "
            "network. `redirect`: answers every request with a 308 to https."},
    {.name = "certificate",
     .type = FG_KEY_PATH,
     .offset = L(certificate),
     .check = fg_text_check_not_empty,
     .doc = "PEM file with the certificate and its chain; needed by kind `tls`. Clients that name "
            "no host or an unknown one get this one."},
    {.name = "private_key",
     .type = FG_KEY_PATH,
     .offset = L(private_key),
     .check = fg_text_check_not_empty,
     .doc = "PEM file with its key; needed by kind `tls`."},
    {.name = "ocsp_file",
     .type = FG_KEY_PATH,
     .offset = L(ocsp_file),
     .check = fg_text_check_not_empty,
     .doc = "OCSP response (DER) for the certificate, stapled to it for clients that ask; read "
            "anew when it changes. One that is over, for another certificate, or that does not say "
            "`good`, is not sent. Whoever renews the certificate fetches it; it may be missing."},
    {.name = "certificates",
     .type = FG_KEY_LIST,
     .offset = AT(fg_raw_listener, certificates),
     .count_offset = AT(fg_raw_listener, certificate_count),
     .table = &certificate_table,
     .max = 63,
     .doc = "Further certificates, for other host names or of another key type."},
    {.name = "sni_strict",
     .type = FG_KEY_BOOL,
     .offset = L(sni_strict),
     .initial = "false",
     .doc = "End the handshake of a client that asks for a host name which no certificate has."},
    {.name = "foreign_hosts",
     .type = FG_KEY_ENUM,
     .offset = L(foreign_hosts),
     .initial = "serve",
     .choices = foreign_hosts,
     .doc = "Requests for hosts that the certificate of their connection does not stand for: "
            "`refuse` answers them 421 (Misdirected Request), and the client comes again by a "
            "connection to that host."},
    {.name = "tls_min",
     .type = FG_KEY_WORD,
     .offset = L(tls_min),
     .initial = "1.2",
     .choices = tls_versions,
     .doc = "Oldest TLS version that is spoken."},
    {.name = "client_auth",
     .type = FG_KEY_ENUM,
     .offset = L(client_auth),
     .initial = "none",
     .choices = client_auths,
     .doc = "Ask clients for a certificate (mutual TLS): with `required` a client without one that "
            "`client_ca` vouches for does not get through the handshake, with `optional` one "
            "without any does."},
    {.name = "client_ca",
     .type = FG_KEY_PATH,
     .offset = L(client_ca),
     .check = fg_text_check_not_empty,
     .doc = "PEM file with the authorities that vouch for clients; needed by `client_auth`. Chains "
            "end at a root, or at one that stands there without its own authority."},
    {.name = "client_crl",
     .type = FG_KEY_PATH,
     .offset = L(client_crl),
     .check = fg_text_check_not_empty,
     .doc = "PEM file with the lists of certificates that `client_ca` has revoked, one for each "
            "authority in a client's chain. Whoever is in one, or has an authority without a list "
            "or with one whose time is over, does not get through the handshake."},
    {.name = "client_user",
     .type = FG_KEY_ENUM,
     .offset = L(client_user),
     .initial = "cn",
     .choices = client_users,
     .doc = "What of a client's certificate is its user id: the common name, the first DNS name or "
            "URI of the alternative names, or the SHA-256 of the whole."},
    {.name = "client_user_prefix",
     .type = FG_KEY_STRING,
     .offset = L(client_user_prefix),
     .check = fg_text_check_user,
     .doc = "Put before that, so that whoever `client_ca` vouches for is not taken for others of "
            "the same name."},
    {.name = "client_chain_max",
     .type = FG_KEY_SIZE,
     .offset = L(client_chain_bytes_max),
     .initial = "16KiB",
     .min = 1 * KIB,
     .max = 1024 * KIB,
     .doc = "Certificates that a client may show, together; the handshake of one that shows more "
            "ends. Each costs an event loop a tenth of a millisecond, whoever it is of."},
    {.name = "proxy_protocol_from",
     .type = FG_KEY_STRINGS,
     .offset = AT(fg_raw_listener, proxy_protocol_from),
     .count_offset = AT(fg_raw_listener, proxy_protocol_from_count),
     .check = fg_text_check_cidr,
     .max = 64,
     .doc =
         "Networks of load balancers whose connections begin with a PROXY protocol header (v1 or "
         "v2); the client's address is taken from it. From there a connection without it is "
         "closed, from anywhere else one with it is."},
    {.name = "trusted_proxies",
     .type = FG_KEY_STRINGS,
     .offset = AT(fg_raw_listener, trusted_proxies),
     .count_offset = AT(fg_raw_listener, trusted_proxy_count),
     .check = fg_text_check_cidr,
     .max = 64,
     .doc = "Networks of proxies whose forwarded fields are believed: the client is the last "
            "address that is not in here. Such fields from anybody else are removed."},
    {.name = "forwarded",
     .type = FG_KEY_ENUM,
     .offset = L(forwarded),
     .initial = "x-forwarded-for",
     .choices = forwarded_kinds,
     .doc = "Which field the trusted proxies write: `x-forwarded-for` (and `x-forwarded-proto`) or "
            "`forwarded` (RFC 7239). The other is never believed."},
    /* net.core.somaxconn cuts it to 4096 on Linux since 5.4. */
    {.name = "backlog",
     .type = FG_KEY_U32,
     .offset = L(backlog),
     .initial = "4096",
     .min = 1,
     .max = 65535,
     .doc = "Connections that wait to be accepted, a thread."},
    {.name = "redirect_to",
     .type = FG_KEY_STRING,
     .offset = L(redirect_to),
     .derived = "the request's host, port 443",
     .check = fg_text_check_authority,
     .doc = "Kind `redirect`: host and port that the 308 names."},
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_listeners = {
    .path = "listeners[]",
    .doc = "Where clients connect. Each is opened once a thread (SO_REUSEPORT).",
    .keys = listener_keys,
    .bytes = sizeof(struct fg_raw_listener),
    .node_offset = AT(fg_raw_listener, node),
    .example = "{address: \"0.0.0.0:8443\", certificate: server.crt, private_key: server.key}",
};

#define L(member) AT(fg_tls_conf, member)
static const struct fg_key tls_keys[] = {
    {.name = "ticket_secret_file",
     .type = FG_KEY_PATH,
     .offset = L(ticket_secret_file),
     .derived = "a secret that lives as long as the process",
     .check = fg_text_check_not_empty,
     .doc =
         "At least 32 random bytes from which the keys of session tickets are derived; made (mode "
         "0600) when missing. With the same file on all gateways a client resumes at any of "
         "them, also after a restart."},
    {.name = "ticket_secret_shared",
     .type = FG_KEY_BOOL,
     .offset = L(ticket_secret_shared),
     .initial = "false",
     .doc = "Have that secret in the Redis of `policies.shared_state` instead of a file: gateways "
            "with the same one resume each other's sessions. Who can read that Redis can read "
            "recorded sessions of TLS 1.2."},
    {.name = "ticket_rotate",
     .type = FG_KEY_DURATION,
     .offset = L(ticket_rotate_ns),
     .initial = "12h",
     .min = 1 * S,
     .max = 7 * DAY,
     .doc = "A new ticket key so often, at the same moment on all gateways. A ticket is good for "
            "this long."},
    {.name = "check_files",
     .type = FG_KEY_DURATION,
     .offset = L(check_files_ns),
     .initial = "10s",
     .zero_word = "off",
     .min = 100 * MS,
     .max = 1 * DAY,
     .doc =
         "Look so often whether certificates, keys, authorities and secrets have changed, and use "
         "the new ones. What cannot be used is logged and the old stays."},
    /* About 15 handshakes with EC keys, 3 with RSA: a pause that nobody notices. */
    {.name = "handshake_turn",
     .type = FG_KEY_DURATION,
     .offset = L(handshake_turn_ns),
     .initial = "2ms",
     .min = 100 * UINT64_C(1000),
     .max = 1 * S,
     .doc = "Most time that new handshakes take before open connections are looked after again. "
            "Clients that resume a session go first."},
    {.name = "handshakes_waiting_max",
     .type = FG_KEY_U32,
     .offset = L(handshakes_waiting_max),
     .initial = "1024",
     .min = 1,
     .max = 1000000,
     .doc = "New handshakes that wait for their turn, a thread; beyond it the one that has waited "
            "longest is closed."},
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_tls = {
    .path = "tls",
    .doc = "What all TLS listeners share.",
    .keys = tls_keys,
    .bytes = sizeof(struct fg_tls_conf),
    .example = "{ticket_secret_file: tickets.key}",
};
