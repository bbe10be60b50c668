/*
 * check_machine.c: that the files which the configuration names are there and can be read, by the
 * process that will use them. Nothing is created and no port is opened.
 */
#include "config/checks.h"
#include "config/key_set.h"
#include "config/loader.h"
#include "tls/tls_files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_BYTES_MIN 32

enum wanted { WANTED_FILE, WANTED_DIRECTORY };

/* Reported and false unless `path` is there, of that sort and readable; *bytes is its size. */
static bool check_readable(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                           const char *key, const char *path, enum wanted wanted,
                           const char *expected, off_t *bytes)
{
    if (path == NULL)
        return false; /* missing or refused: reported already where it is needed */
    /* Non-blocking, so that a FIFO cannot hold the start up. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (fd == -1 || fstat(fd, &info) == -1) {
        fg_config_error_at(snapshot, node, key, "%s: cannot read %s: %s; expected %s", key, path,
                           strerror(errno), expected);
        if (fd != -1)
            close(fd);
        return false;
    }
    close(fd);
    bool is_right = wanted == WANTED_DIRECTORY ? S_ISDIR(info.st_mode) : S_ISREG(info.st_mode);
    if (!is_right) {
        fg_config_error_at(snapshot, node, key, "%s: %s is not a %s; expected %s", key, path,
                           wanted == WANTED_DIRECTORY ? "directory" : "file", expected);
        return false;
    }
    *bytes = info.st_size;
    return true;
}

/* Both are there, and belong together. */
static void check_pair(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                       const char *certificate, const char *private_key)
{
    off_t bytes = 0;
    char why[128];
    struct fg_tls_pair pair;
    bool has_certificate = check_readable(snapshot, node, "certificate", certificate, WANTED_FILE,
                                          "a PEM file with the certificate chain", &bytes);
    bool has_key = check_readable(snapshot, node, "private_key", private_key, WANTED_FILE,
                                  "a PEM file with the key", &bytes);
    if (!has_certificate || !has_key)
        return;
    switch (fg_tls_pair_load(&pair, certificate, private_key, why, sizeof(why))) {
    case FG_TLS_PAIR_CERTIFICATE:
        fg_config_error_at(snapshot, node, "certificate",
                           "certificate: cannot use %s: %s; expected a PEM file with the "
                           "certificate chain",
                           certificate, why);
        break;
    case FG_TLS_PAIR_KEY:
        fg_config_error_at(snapshot, node, "private_key",
                           "private_key: cannot use %s: %s; expected the PEM file of the key of %s",
                           private_key, why, certificate);
        break;
    case FG_TLS_PAIR_FINE:
        fg_tls_pair_fini(&pair);
        break;
    }
}

static void check_authorities(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                              const char *key, const char *path)
{
    off_t bytes = 0;
    char why[128];
    if (!check_readable(snapshot, node, key, path, WANTED_FILE, "a PEM file of authorities",
                        &bytes))
        return;
    STACK_OF(X509) *authorities = fg_tls_authorities_load(path, why, sizeof(why));
    if (authorities == NULL)
        fg_config_error_at(snapshot, node, key,
                           "%s: cannot use %s: %s; expected a PEM file of authorities", key, path,
                           why);
    sk_X509_pop_free(authorities, X509_free);
}

static void check_client_crl(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                             const char *path)
{
    off_t bytes = 0;
    char why[128];
    if (!check_readable(snapshot, node, "client_crl", path, WANTED_FILE,
                        "a PEM file of revocation lists", &bytes))
        return;
    STACK_OF(X509_CRL) *lists = fg_tls_crls_load(path, why, sizeof(why));
    if (lists == NULL)
        fg_config_error_at(snapshot, node, "client_crl",
                           "client_crl: cannot use %s: %s; expected a PEM file of revocation lists",
                           path, why);
    sk_X509_CRL_pop_free(lists, X509_CRL_free);
}

/* What a client_auth, of a listener or of one of its certificates, looks at. */
static void check_client_files(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                               enum fg_client_auth auth, const char *ca, const char *crl)
{
    if (auth != FG_CLIENT_AUTH_OPTIONAL && auth != FG_CLIENT_AUTH_REQUIRED)
        return;
    check_authorities(snapshot, node, "client_ca", ca);
    check_client_crl(snapshot, node, crl);
}

static void check_further_certificate(struct fg_snapshot *snapshot,
                                      const struct fg_raw_certificate *one)
{
    const struct fg_certificate_conf *conf = &one->conf;
    check_pair(snapshot, one->node, conf->certificate, conf->private_key);
    check_client_files(snapshot, one->node, conf->client_auth, conf->client_ca, conf->client_crl);
}

static void check_listener_files(struct fg_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->raw.listener_count; i++) {
        const struct fg_raw_listener *listener = &snapshot->raw.listeners[i];
        if (listener->conf.kind != FG_LISTENER_TLS)
            continue;
        check_pair(snapshot, listener->node, listener->conf.certificate,
                   listener->conf.private_key);
        for (size_t j = 0; j < listener->certificate_count; j++)
            check_further_certificate(snapshot, &listener->certificates[j]);
        check_client_files(snapshot, listener->node, listener->conf.client_auth,
                           listener->conf.client_ca, listener->conf.client_crl);
    }
}

static void check_cluster_files(struct fg_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->raw.cluster_count; i++) {
        const struct fg_raw_backend *cluster = &snapshot->raw.clusters[i];
        const struct fg_upstream_tls_conf *tls = &cluster->conf.cluster.tls;
        const struct fg_yaml_node *node = fg_yaml_find(cluster->node, "tls");
        if (!cluster->conf.cluster.has_tls)
            continue;
        check_authorities(snapshot, node, "ca_file", tls->ca_file);
        if (tls->certificate != NULL && tls->private_key != NULL)
            check_pair(snapshot, node, tls->certificate, tls->private_key);
    }
}

/* A secret that is made when missing must be long enough when it is there. */
static void check_secret(struct fg_snapshot *snapshot, const struct fg_yaml_node *node,
                         const char *key, const char *path)
{
    off_t bytes = 0;
    if (path == NULL || (access(path, F_OK) == -1 && errno == ENOENT))
        return;
    if (check_readable(snapshot, node, key, path, WANTED_FILE, "a key of at least 32 random bytes",
                       &bytes) &&
        bytes < SECRET_BYTES_MIN)
        fg_config_error_at(snapshot, node, key,
                           "%s: %s has %lld bytes; expected a key of at least 32 random bytes", key,
                           path, (long long)bytes);
}

/* Needed where a route gives out or reads tokens; a missing one is made at the start. */
static void check_jwt_key(struct fg_snapshot *snapshot)
{
    const char *path = snapshot->raw.identity.jwt.secret_file;
    const struct fg_yaml_node *node = fg_yaml_find(fg_yaml_find(snapshot->root, "identity"), "jwt");
    bool is_needed = false;
    for (size_t i = 0; i < snapshot->raw.route_count; i++)
        is_needed = is_needed || snapshot->raw.routes[i].is_session ||
                    snapshot->raw.routes[i].conf.identity != FG_IDENTITY_NONE;
    if (is_needed)
        check_secret(snapshot, node, "secret_file", path);
}

static void check_identity_files(struct fg_snapshot *snapshot)
{
    const struct fg_raw_config *raw = &snapshot->raw;
    off_t bytes = 0;
    char why[192];
    for (size_t i = 0; i < raw->issuer_count; i++) {
        const struct fg_raw_issuer *one = &raw->issuers[i];
        struct fg_key_set keys;
        if (!check_readable(snapshot, one->node, "keys_file", one->conf.keys_file, WANTED_FILE,
                            "a JWK set or a PEM public key", &bytes))
            continue;
        if (!fg_key_set_load(&keys, one->conf.keys_file, one->conf.algorithm, why, sizeof(why)))
            fg_config_error_at(snapshot, one->node, "keys_file",
                               "keys_file: cannot use %s: %s; expected a JWK set or a PEM public "
                               "key",
                               one->conf.keys_file, why);
        fg_key_set_fini(&keys);
    }
    for (size_t i = 0; i < raw->signing_key_count; i++)
        check_secret(snapshot, raw->signing_keys[i].node, "secret_file",
                     raw->signing_keys[i].conf.secret_file);
}

void fg_config_check_machine(struct fg_snapshot *snapshot)
{
    off_t bytes = 0;
    check_listener_files(snapshot);
    check_cluster_files(snapshot);
    check_jwt_key(snapshot);
    check_identity_files(snapshot);
    check_secret(snapshot, fg_yaml_find(snapshot->root, "tls"), "ticket_secret_file",
                 snapshot->raw.tls.ticket_secret_file);
    for (size_t i = 0; i < snapshot->raw.static_count; i++) {
        const struct fg_raw_backend *backend = &snapshot->raw.statics[i];
        (void)check_readable(snapshot, backend->node, "root", backend->conf.files.root,
                             WANTED_DIRECTORY, "a directory of files", &bytes);
    }
    if (snapshot->raw.inference.conf.enabled)
        (void)check_readable(snapshot, fg_yaml_find(snapshot->root, "inference"), "model",
                             snapshot->raw.inference.conf.model, WANTED_FILE, "a GGUF model",
                             &bytes);
}
