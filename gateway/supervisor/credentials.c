/*
 * credentials.c: see credentials.h.
 *
 * A pair is often replaced in two steps, certificate then key, and between them the two do not fit.
 * So what failed is tried again at every look until it works, and each new reason is logged once.
 */
#include "supervisor/credentials.h"

#include "base/clock.h"
#include "base/log.h"
#include "config/secret_file.h"
#include "net/ticket_keys_shared.h"
#include "net/tls_ends.h"
#include "proxy/proxy.h"
#include "supervisor/file_watch.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_BYTES_MAX 4096

/* Files that are read together. */
struct source {
    struct fg_file_watch watch;
    bool is_due; /* the last try failed */
    char reason[sizeof(((struct fg_error *)NULL)->message)];
};

struct fg_credentials {
    const struct fg_config *config;
    struct fg_ticket_keys *tickets;
    struct source ticket_source;
    struct fg_tls_context **tls; /* by listener */
    struct source *tls_sources;
    struct fg_pipeline *pipeline; /* NULL until fg_credentials_watch_pipeline */
    struct source key_source;
    struct source *cluster_sources; /* by backend */
    enum fg_told *clusters_told;    /* of what they show their servers, by backend */
    struct fg_file_counters counters;
};

/* ---- taking up what has changed ---- */

/* Is it time to read them? */
static bool is_due(struct source *source)
{
    return fg_file_watch_has_changed(&source->watch) || source->is_due;
}

/* How the reading went; a failure is told once. */
static void note(struct fg_credentials *credentials, struct source *source, const char *what,
                 bool is_fine, const char *reason)
{
    if (source->is_due && is_fine)
        fg_counter_sub(&credentials->counters.stale, 1);
    else if (!source->is_due && !is_fine)
        fg_counter_add_owned(&credentials->counters.stale, 1);
    if (is_fine) {
        fg_counter_add_owned(&credentials->counters.reloaded, 1);
        fg_log(FG_LOG_INFO, "files_reloaded", "%s", what);
        source->reason[0] = '\0';
    } else if (strcmp(source->reason, reason) != 0) {
        char quoted[sizeof(source->reason)];
        fg_log(FG_LOG_ERROR, "files_not_reloaded", "%s kept=old reason=%s", what,
               fg_log_quote(quoted, sizeof(quoted), reason, strlen(reason)));
        snprintf(source->reason, sizeof(source->reason), "%s", reason);
    }
    source->is_due = !is_fine;
}

static bool load_ticket_secret(struct fg_credentials *credentials, char *why, size_t why_bytes)
{
    unsigned char secret[SECRET_BYTES_MAX];
    size_t len =
        fg_secret_file_load(credentials->config->tls.ticket_secret_file, FG_TICKET_SECRET_BYTES_MIN,
                            secret, sizeof(secret), why, why_bytes);
    if (len > 0)
        fg_ticket_keys_set_secret(credentials->tickets, secret, len);
    OPENSSL_cleanse(secret, sizeof(secret));
    return len > 0;
}

static void check_ticket_secret(struct fg_credentials *credentials)
{
    char why[192];
    if (credentials->config->tls.ticket_secret_file == NULL || !is_due(&credentials->ticket_source))
        return;
    bool is_fine = load_ticket_secret(credentials, why, sizeof(why));
    note(credentials, &credentials->ticket_source, "what=ticket_secret", is_fine, why);
}

static void check_listener(struct fg_credentials *credentials, size_t index)
{
    struct fg_error error = {.file = ""};
    char what[128];
    if (credentials->tls[index] == NULL || !is_due(&credentials->tls_sources[index]))
        return;
    const struct fg_listener_conf *conf = &credentials->config->listeners[index];
    snprintf(what, sizeof(what), "what=certificates listener=%s", conf->name);
    bool is_fine = fg_tls_context_load(credentials->tls[index], conf, &error) == FG_OK;
    note(credentials, &credentials->tls_sources[index], what, is_fine, error.message);
}

static void check_keys(struct fg_credentials *credentials)
{
    struct fg_error error = {.file = ""};
    if (credentials->pipeline == NULL || !is_due(&credentials->key_source))
        return;
    bool is_fine = fg_pipeline_reload_keys(credentials->pipeline, &error) == FG_OK;
    note(credentials, &credentials->key_source, "what=identity_keys", is_fine, error.message);
}

static void check_cluster(struct fg_credentials *credentials, size_t index)
{
    struct fg_error error = {.file = ""};
    char what[128];
    if (!is_due(&credentials->cluster_sources[index]))
        return;
    struct fg_backend *cluster = fg_pipeline_backend(credentials->pipeline, index);
    snprintf(what, sizeof(what), "what=certificates cluster=%s", cluster->name);
    bool is_fine = fg_proxy_reload_tls(cluster, &error) == FG_OK;
    note(credentials, &credentials->cluster_sources[index], what, is_fine, error.message);
}

void fg_credentials_check(struct fg_credentials *credentials)
{
    check_ticket_secret(credentials);
    check_keys(credentials);
    for (size_t i = 0; credentials->pipeline != NULL && i < credentials->config->backend_count; i++)
        check_cluster(credentials, i);
    for (size_t i = 0; i < credentials->config->listener_count; i++)
        check_listener(credentials, i);
}

static void tell_of_clusters(struct fg_credentials *credentials)
{
    const struct fg_config *config = credentials->config;
    for (size_t i = 0; credentials->pipeline != NULL && i < config->backend_count; i++) {
        int64_t left_s;
        if (config->backends[i].kind != FG_BACKEND_CLUSTER)
            continue;
        struct fg_backend *cluster = fg_pipeline_backend(credentials->pipeline, i);
        const char *file = fg_proxy_certificate(cluster, &left_s);
        if (file != NULL)
            fg_tls_tell_ending(&credentials->clusters_told[i], FG_ENDING_CERTIFICATE, "cluster",
                               cluster->name, file, left_s);
    }
}

void fg_credentials_tell_ends(struct fg_credentials *credentials)
{
    tell_of_clusters(credentials);
    for (size_t i = 0; i < credentials->config->listener_count; i++) {
        if (credentials->tls[i] != NULL)
            fg_tls_context_tell_ends(credentials->tls[i]);
    }
}

/* ---- the start ---- */

static bool create_tickets(struct fg_credentials *credentials, const unsigned char *seed,
                           struct fg_ticket_memory *memory, struct fg_error *error)
{
    const struct fg_tls_conf *conf = &credentials->config->tls;
    char why[192];
    credentials->tickets = fg_ticket_keys_create(conf->ticket_rotate_ns / FG_S);
    if (credentials->tickets == NULL)
        return false;
    if (memory != NULL)
        fg_ticket_keys_keep(credentials->tickets, memory);
    if (conf->ticket_secret_file == NULL) {
        /* What Redis has told the gateway before is as good until it tells it again. */
        if (!conf->ticket_secret_shared || !fg_ticket_keys_are_set(credentials->tickets))
            fg_ticket_keys_set_secret(credentials->tickets, seed, FG_TICKET_SEED_BYTES);
        return true;
    }
    fg_file_watch_add(&credentials->ticket_source.watch, conf->ticket_secret_file);
    if (load_ticket_secret(credentials, why, sizeof(why)))
        return true;
    fg_error_set(error, "tls.ticket_secret_file: cannot use %s: %s", conf->ticket_secret_file, why);
    return false;
}

static bool create_listener(struct fg_credentials *credentials, size_t index,
                            struct fg_error *error)
{
    const struct fg_listener_conf *conf = &credentials->config->listeners[index];
    struct fg_file_watch *watch = &credentials->tls_sources[index].watch;
    if (conf->kind != FG_LISTENER_TLS)
        return true;
    fg_file_watch_add(watch, conf->certificate);
    fg_file_watch_add(watch, conf->private_key);
    fg_file_watch_add(watch, conf->ocsp_file);
    for (size_t i = 0; i < conf->certificate_count; i++) {
        fg_file_watch_add(watch, conf->certificates[i].certificate);
        fg_file_watch_add(watch, conf->certificates[i].private_key);
        fg_file_watch_add(watch, conf->certificates[i].ocsp_file);
        fg_file_watch_add(watch, conf->certificates[i].client_ca);
        fg_file_watch_add(watch, conf->certificates[i].client_crl);
    }
    fg_file_watch_add(watch, conf->client_ca);
    fg_file_watch_add(watch, conf->client_crl);
    credentials->tls[index] = fg_tls_context_create(
        conf, credentials->tickets, credentials->config->tls.ticket_rotate_ns / FG_S, error);
    return credentials->tls[index] != NULL;
}

/* What the pipeline reads, which is made later. */
static void watch_pipeline(struct fg_credentials *credentials)
{
    const struct fg_config *config = credentials->config;
    const struct fg_identity_conf *identity = &config->identity;
    for (size_t i = 0; i < identity->issuer_count; i++)
        fg_file_watch_add(&credentials->key_source.watch, identity->issuers[i].keys_file);
    for (size_t i = 0; i < identity->signing_key_count; i++)
        fg_file_watch_add(&credentials->key_source.watch, identity->signing_keys[i].secret_file);
    for (size_t i = 0; i < config->backend_count; i++) {
        const struct fg_upstream_tls_conf *tls = &config->backends[i].cluster.tls;
        struct fg_file_watch *watch = &credentials->cluster_sources[i].watch;
        if (config->backends[i].kind != FG_BACKEND_CLUSTER || !config->backends[i].cluster.has_tls)
            continue;
        fg_file_watch_add(watch, tls->ca_file);
        fg_file_watch_add(watch, tls->certificate);
        fg_file_watch_add(watch, tls->private_key);
    }
}

/* All files are marked before they are read: a change in between is seen as one. */
struct fg_credentials *fg_credentials_create(const struct fg_config *config,
                                             const unsigned char ticket_seed[FG_TICKET_SEED_BYTES],
                                             struct fg_ticket_memory *memory,
                                             struct fg_error *error)
{
    struct fg_credentials *credentials = calloc(1, sizeof(*credentials));
    fg_error_set(error, "not enough memory to start");
    if (credentials == NULL)
        return NULL;
    credentials->config = config;
    credentials->tls = calloc(config->listener_count + 1, sizeof(struct fg_tls_context *));
    credentials->tls_sources = calloc(config->listener_count + 1, sizeof(struct source));
    credentials->cluster_sources = calloc(config->backend_count + 1, sizeof(struct source));
    credentials->clusters_told = calloc(config->backend_count + 1, sizeof(enum fg_told));
    bool is_fine = credentials->tls != NULL && credentials->tls_sources != NULL &&
                   credentials->cluster_sources != NULL && credentials->clusters_told != NULL &&
                   create_tickets(credentials, ticket_seed, memory, error);
    for (size_t i = 0; is_fine && i < config->listener_count; i++)
        is_fine = create_listener(credentials, i, error);
    if (is_fine) {
        fg_tls_context_join(credentials->tls, config->listener_count);
        watch_pipeline(credentials);
        return credentials;
    }
    fg_credentials_destroy(credentials);
    return NULL;
}

void fg_credentials_destroy(struct fg_credentials *credentials)
{
    if (credentials == NULL)
        return;
    for (size_t i = 0; credentials->tls != NULL && i < credentials->config->listener_count; i++)
        fg_tls_context_destroy(credentials->tls[i]);
    fg_ticket_keys_destroy(credentials->tickets);
    free(credentials->tls);
    free(credentials->tls_sources);
    free(credentials->cluster_sources);
    free(credentials->clusters_told);
    free(credentials);
}

struct fg_tls_context *fg_credentials_tls(const struct fg_credentials *credentials,
                                          size_t listener_index)
{
    return credentials->tls[listener_index];
}

struct fg_tls_context *const *fg_credentials_all_tls(const struct fg_credentials *credentials)
{
    return credentials->tls;
}

struct fg_ticket_keys *fg_credentials_tickets(const struct fg_credentials *credentials)
{
    return credentials->tickets;
}

const struct fg_file_counters *fg_credentials_counters(const struct fg_credentials *credentials)
{
    return &credentials->counters;
}

void fg_credentials_watch_pipeline(struct fg_credentials *credentials, struct fg_pipeline *pipeline)
{
    credentials->pipeline = pipeline;
    tell_of_clusters(credentials);
}
