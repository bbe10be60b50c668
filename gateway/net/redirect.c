/*
 * redirect.c: the handler of a redirect listener: 308 to the same place at https.
 * Job      https://HOST/PATH?QUERY, where HOST is the listener's redirect_to or the request's host
 *          without its port. The net's own handler is told, for its log and its figures.
 * Thread   the loop's.
 */
#include "net/net_internal.h"

#include "base/clock.h"
#include "http/fields.h"
#include "policies/cache/http_date.h"

static void answer(const struct fg_listening *listening, struct fg_request *req, unsigned status,
                   const struct fg_field *fields, size_t field_count)
{
    const struct fg_net_options *options = &listening->net->options;
    fg_response_head(req, status, fields, field_count, true);
    if (options->handler->on_listener_answer != NULL)
        options->handler->on_listener_answer(options->handler_ctx, req, status);
}

static void on_request(void *handler, struct fg_request *req)
{
    const struct fg_listening *listening = handler;
    const struct fg_listener_conf *conf = listening->conf;
    const struct fg_exchange *ex = &req->ex;
    struct fg_span host = conf->redirect_to != NULL ? fg_span_from_string(conf->redirect_to)
                                                    : fg_authority_host(ex->authority);
    bool has_query = ex->query.data != NULL;
    bool is_path = ex->path.data[0] == '/';
    struct fg_span location =
        fg_arena_try_printf(ex->arena, "https://%.*s%.*s%s%.*s", FG_SPAN_ARGS(host),
                            is_path ? (int)ex->path.len : 0, ex->path.data, has_query ? "?" : "",
                            has_query ? (int)ex->query.len : 0, has_query ? ex->query.data : "");
    char date[FG_HTTP_DATE_BYTES];
    fg_http_date_format((int64_t)(fg_clock_wall_ns() / FG_S), date);
    const struct fg_field fields[] = {
        {FG_SPAN("content-length"), FG_SPAN("0")},
        {FG_SPAN("date"), fg_span_from_string(date)},
        {FG_SPAN("x-request-id"), ex->request_id},
        {FG_SPAN("location"), location}, /* the last, where there is one */
    };
    size_t count = sizeof(fields) / sizeof(fields[0]);
    if (location.data == NULL || host.len == 0)
        answer(listening, req, host.len == 0 ? 400 : 503, fields, count - 1);
    else
        answer(listening, req, 308, fields, count);
}

static void on_codec_answer(void *handler, struct fg_request *req, unsigned status,
                            const char *code)
{
    const struct fg_net_options *options = &((const struct fg_listening *)handler)->net->options;
    if (options->handler->on_codec_answer != NULL)
        options->handler->on_codec_answer(options->handler_ctx, req, status, code);
}

static void on_body(struct fg_request *req, const void *data, size_t len, bool is_last)
{
    (void)data;
    (void)is_last;
    fg_request_consumed(req, len);
}

static void on_writable(struct fg_request *req)
{
    (void)req;
}

static void on_gone(struct fg_request *req, enum fg_gone_reason reason)
{
    (void)req;
    (void)reason;
}

static void on_done(struct fg_request *req)
{
    (void)req;
}

const struct fg_request_handler fg_redirect_handler = {
    .on_request = on_request,
    .on_body = on_body,
    .on_writable = on_writable,
    .on_gone = on_gone,
    .on_done = on_done,
    .on_codec_answer = on_codec_answer,
};
