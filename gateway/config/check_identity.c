/*
 * check_identity.c: what must fit together in who is asking.
 */
#include "config/checks.h"
#include "config/loader.h"

#define MEANS(means) (UINT32_C(1) << (means))

static void check_issuers(struct fg_snapshot *snapshot)
{
    const struct fg_raw_config *raw = &snapshot->raw;
    for (size_t i = 0; i < raw->issuer_count; i++) {
        const struct fg_raw_issuer *one = &raw->issuers[i];
        const char *own = raw->identity.jwt.issuer;
        if (one->conf.issuer == NULL)
            continue;
        if (own != NULL && strcmp(one->conf.issuer, own) == 0)
            fg_config_error_at(snapshot, one->node, "issuer",
                               "issuer \"%s\" is our own of identity.jwt; expected another",
                               one->conf.issuer);
        for (size_t j = 0; j < i; j++) {
            const char *earlier = raw->issuers[j].conf.issuer;
            if (earlier != NULL && strcmp(earlier, one->conf.issuer) == 0)
                fg_config_error_at(snapshot, one->node, "issuer",
                                   "issuer \"%s\" is in line %u already; expected it once",
                                   one->conf.issuer, raw->issuers[j].node->line);
        }
    }
}

static void check_api_keys(struct fg_snapshot *snapshot)
{
    const struct fg_raw_config *raw = &snapshot->raw;
    for (size_t i = 0; i < raw->api_key_count; i++) {
        const struct fg_raw_api_key *one = &raw->api_keys[i];
        for (size_t j = 0; j < i && one->sha256 != NULL; j++) {
            if (raw->api_keys[j].sha256 != NULL &&
                memcmp(raw->api_keys[j].conf.sha256, one->conf.sha256, 32) == 0)
                fg_config_error_at(snapshot, one->node, "sha256",
                                   "the key is in line %u already; expected one of its own",
                                   raw->api_keys[j].node->line);
        }
    }
}

static void check_signing_keys(struct fg_snapshot *snapshot)
{
    const struct fg_raw_config *raw = &snapshot->raw;
    for (size_t i = 0; i < raw->signing_key_count; i++) {
        const struct fg_raw_signing_key *one = &raw->signing_keys[i];
        for (size_t j = 0; j < i && one->conf.id != NULL; j++) {
            const char *earlier = raw->signing_keys[j].conf.id;
            if (earlier != NULL && strcmp(earlier, one->conf.id) == 0)
                fg_config_error_at(snapshot, one->node, "id",
                                   "id \"%s\" is in line %u already; expected one of its own",
                                   one->conf.id, raw->signing_keys[j].node->line);
        }
    }
}

static bool has_client_auth(const struct fg_raw_config *raw)
{
    for (size_t i = 0; i < raw->listener_count; i++) {
        if (raw->listeners[i].conf.client_auth != FG_CLIENT_AUTH_NONE)
            return true;
        for (size_t j = 0; j < raw->listeners[i].certificate_count; j++) {
            enum fg_client_auth own = raw->listeners[i].certificates[j].conf.client_auth;
            if (own == FG_CLIENT_AUTH_OPTIONAL || own == FG_CLIENT_AUTH_REQUIRED)
                return true;
        }
    }
    return false;
}

/* Means that nobody could ever use. */
static void check_means(struct fg_snapshot *snapshot, const struct fg_raw_route *route)
{
    const struct fg_raw_config *raw = &snapshot->raw;
    const struct {
        uint32_t means;
        bool is_there;
        const char *missing;
    } needs[] = {
        {MEANS(FG_IDENTITY_BY_API_KEY), raw->api_key_count > 0,
         "identity_by api_key, but there are no identity.api_keys; expected some"},
        {MEANS(FG_IDENTITY_BY_SIGNATURE), raw->signing_key_count > 0,
         "identity_by signature, but there are no identity.signatures.keys; expected some"},
        {MEANS(FG_IDENTITY_BY_CERTIFICATE), has_client_auth(raw),
         "identity_by certificate, but no listener has client_auth; expected one"},
    };
    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        if ((route->conf.identity_by & needs[i].means) != 0 && !needs[i].is_there)
            fg_config_error_at(snapshot, route->node, "identity_by", "%s", needs[i].missing);
    }
    if (route->conf.identity_by != 0 && route->conf.identity == FG_IDENTITY_NONE &&
        fg_config_is_sound(route->node, "identity"))
        fg_config_error_at(
            snapshot, route->node, "identity_by",
            "identity_by has no effect without identity; expected identity: required "
            "or optional");
}

void fg_config_check_identity(struct fg_snapshot *snapshot)
{
    check_issuers(snapshot);
    check_api_keys(snapshot);
    check_signing_keys(snapshot);
    for (size_t i = 0; i < snapshot->raw.route_count; i++)
        check_means(snapshot, &snapshot->raw.routes[i]);
}
