/*
 * field_edit.c: see field_edit.h.
 */
#include "field_edit.h"

#include "base/field_text.h"
#include "config/field_template.h"

static struct fg_span value_of(const struct fg_flow *flow, enum fg_template_variable variable)
{
    const struct fg_exchange *ex = &flow->req->ex;
    switch (variable) {
    case FG_TEMPLATE_CLIENT_IP:
        return ex->client_addr;
    case FG_TEMPLATE_CLIENT_CERTIFICATE:
        return flow->req->client_user;
    case FG_TEMPLATE_USER:
        return ex->user_id;
    case FG_TEMPLATE_REQUEST_ID:
        return ex->request_id;
    case FG_TEMPLATE_METHOD:
        return ex->method_text;
    case FG_TEMPLATE_SCHEME:
        return ex->scheme;
    case FG_TEMPLATE_HOST:
        return ex->authority;
    case FG_TEMPLATE_PATH:
        return flow->client_path;
    case FG_TEMPLATE_ROUTE:
        return ex->route;
    case FG_TEMPLATE_TLS_VERSION:
        return fg_span_from_string(flow->req->tls_version);
    case FG_TEMPLATE_VARIABLE_COUNT:
        break;
    }
    return (struct fg_span){NULL, 0};
}

static size_t length_of(const struct fg_flow *flow, struct fg_span rest)
{
    struct fg_template_piece piece;
    size_t len = 0;
    while (rest.data != NULL && fg_template_next(&rest, &piece)) {
        len += piece.text.len;
        if (piece.has_variable)
            len += value_of(flow, piece.variable).len;
    }
    return len;
}

/* data is NULL without memory. */
static struct fg_span expand(const struct fg_flow *flow, const char *template, size_t len)
{
    struct fg_span rest = fg_span_from_string(template);
    struct fg_template_piece piece;
    char *text = fg_arena_try_alloc(flow->req->ex.arena, len);
    size_t at = 0;
    while (text != NULL && rest.data != NULL && fg_template_next(&rest, &piece)) {
        memcpy(text + at, piece.text.data, piece.text.len);
        at += piece.text.len;
        struct fg_span value = {NULL, 0};
        if (piece.has_variable)
            value = value_of(flow, piece.variable);
        if (value.len > 0)
            memcpy(text + at, value.data, value.len);
        at += value.len;
    }
    return fg_span_make(text, at);
}

/* X_User too, where X-User is set or removed: there are servers that know no difference. */
static bool is_removed(const struct fg_field_edits_conf *edits, struct fg_span name)
{
    for (size_t i = 0; i < edits->remove_count; i++) {
        if (fg_field_reads_as(name, fg_span_from_string(edits->remove[i])))
            return true;
    }
    for (size_t i = 0; i < edits->set_count; i++) {
        if (fg_field_reads_as(name, fg_span_from_string(edits->set[i].name)))
            return true;
    }
    return false;
}

static bool append(const struct fg_flow *flow, const struct fg_header_match *list,
                   size_t list_count, struct fg_field *fields, size_t *count)
{
    for (size_t i = 0; i < list_count; i++) {
        size_t len = length_of(flow, fg_span_from_string(list[i].value));
        if (len == 0)
            continue;
        struct fg_span value = expand(flow, list[i].value, len);
        if (value.data == NULL)
            return false;
        fields[(*count)++] = (struct fg_field){fg_span_from_string(list[i].name), value};
    }
    return true;
}

size_t fg_field_edit_keep(const struct fg_field_edits_conf *edits, const struct fg_field *fields,
                          size_t count, struct fg_field *kept)
{
    size_t kept_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_removed(edits, fields[i].name))
            kept[kept_count++] = fields[i];
    }
    return kept_count;
}

bool fg_field_edit_some(const struct fg_flow *flow, const struct fg_field_edits_conf *edits,
                        const struct fg_field **fields, size_t *count)
{
    size_t most = *count + edits->set_count + edits->add_count + 1;
    struct fg_field *edited = fg_arena_try_alloc(flow->req->ex.arena, most * sizeof(*edited));
    if (edited == NULL)
        return false;
    size_t kept = fg_field_edit_keep(edits, *fields, *count, edited);
    if (!append(flow, edits->set, edits->set_count, edited, &kept) ||
        !append(flow, edits->add, edits->add_count, edited, &kept))
        return false;
    *fields = edited;
    *count = kept;
    return true;
}
