/*
 * token_command.h: `floodgate token`: what a client needs to be let in, for trying things out.
 *    --user ID                 a bearer token, as POST /api/session would sign it
 *    --api-key --user ID       a new API key, and its line for the configuration
 *    --sign KEY --url URL      the field of a signed request
 * Thread   the command line's.
 * Never    writes a key anywhere but to standard output.
 */
#ifndef FG_TOKEN_COMMAND_H
#define FG_TOKEN_COMMAND_H

#include "config/config.h"

struct fg_token_options {
    const char *user;
    uint64_t ttl_s;
    bool is_api_key;
    const char *sign;   /* id of the signing key */
    const char *method; /* of the signed request */
    const char *url;
    const char *body; /* path of a file; NULL: no body */
};

/* The exit code: 0, 1 failed, 2 usage; what is wrong is on standard error. */
int fg_token_command_run(const struct fg_config *config, const struct fg_token_options *options);

/* Do the options fit together? They need no configuration for that. */
bool fg_token_command_check(const struct fg_token_options *options);

#endif
