/*
 * field_template.c: see field_template.h. A template is short and has been checked when it was
 * read, so it is read again each time rather than kept in pieces.
 */
#include "config/field_template.h"

#include "config/text_checks.h"

static const struct fg_span names[FG_TEMPLATE_VARIABLE_COUNT] = {
    [FG_TEMPLATE_CLIENT_IP] = FG_SPAN_LITERAL("client_ip"),
    [FG_TEMPLATE_CLIENT_CERTIFICATE] = FG_SPAN_LITERAL("client_certificate"),
    [FG_TEMPLATE_USER] = FG_SPAN_LITERAL("user"),
    [FG_TEMPLATE_REQUEST_ID] = FG_SPAN_LITERAL("request_id"),
    [FG_TEMPLATE_METHOD] = FG_SPAN_LITERAL("method"),
    [FG_TEMPLATE_SCHEME] = FG_SPAN_LITERAL("scheme"),
    [FG_TEMPLATE_HOST] = FG_SPAN_LITERAL("host"),
    [FG_TEMPLATE_PATH] = FG_SPAN_LITERAL("path"),
    [FG_TEMPLATE_ROUTE] = FG_SPAN_LITERAL("route"),
    [FG_TEMPLATE_TLS_VERSION] = FG_SPAN_LITERAL("tls_version"),
};

static bool find_variable(struct fg_span name, enum fg_template_variable *variable)
{
    for (unsigned i = 0; i < FG_TEMPLATE_VARIABLE_COUNT; i++) {
        if (fg_span_equal(name, names[i])) {
            *variable = (enum fg_template_variable)i;
            return true;
        }
    }
    return false;
}

bool fg_template_next(struct fg_span *rest, struct fg_template_piece *piece)
{
    size_t at = 0;
    while (at + 1 < rest->len && (rest->data[at] != '%' || rest->data[at + 1] != '{'))
        at++;
    piece->has_variable = at + 1 < rest->len;
    if (!piece->has_variable) {
        piece->text = *rest;
        *rest = (struct fg_span){NULL, 0};
        return true;
    }
    piece->text = fg_span_make(rest->data, at);
    struct fg_span name = {rest->data + at + 2, rest->len - at - 2};
    const char *end = memchr(name.data, '}', name.len);
    if (end == NULL)
        return false;
    name.len = (size_t)(end - name.data);
    size_t taken = at + 2 + name.len + 1;
    *rest = rest->len == taken ? (struct fg_span){NULL, 0}
                               : fg_span_make(rest->data + taken, rest->len - taken);
    return find_variable(name, &piece->variable);
}

const char *fg_text_check_field_template(struct fg_span text)
{
    const char *problem = fg_text_check_field_value(text);
    struct fg_template_piece piece;
    while (problem == NULL && text.data != NULL && text.len > 0) {
        if (!fg_template_next(&text, &piece))
            problem = "has an unknown variable; expected %{client_ip}, %{client_certificate}, "
                      "%{user}, %{request_id}, %{method}, %{scheme}, %{host}, %{path}, %{route} or "
                      "%{tls_version}";
    }
    return problem;
}
