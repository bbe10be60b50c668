/*
 * field_template.h: the value of a header field with a few variables in it: "user %{user}".
 * Thread   any; pure.
 */
#ifndef FG_CONFIG_FIELD_TEMPLATE_H
#define FG_CONFIG_FIELD_TEMPLATE_H

#include "base/span.h"

enum fg_template_variable {
    FG_TEMPLATE_CLIENT_IP,
    FG_TEMPLATE_CLIENT_CERTIFICATE, /* its user */
    FG_TEMPLATE_USER,
    FG_TEMPLATE_REQUEST_ID,
    FG_TEMPLATE_METHOD,
    FG_TEMPLATE_SCHEME,
    FG_TEMPLATE_HOST,
    FG_TEMPLATE_PATH, /* as the client sent it */
    FG_TEMPLATE_ROUTE,
    FG_TEMPLATE_TLS_VERSION,
    FG_TEMPLATE_VARIABLE_COUNT,
};

/* A run of text, and then a variable unless the template ends there. */
struct fg_template_piece {
    struct fg_span text;
    bool has_variable;
    enum fg_template_variable variable;
};

/* Cuts the next piece off; false: an unknown variable, or "%{" without its end. */
bool fg_template_next(struct fg_span *rest, struct fg_template_piece *piece);

/* As fg_text_check_fn. */
const char *fg_text_check_field_template(struct fg_span text);

#endif
