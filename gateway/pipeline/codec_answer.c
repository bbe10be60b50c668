/*
 * codec_answer.c: what never is a flow is counted, logged and remembered all the same: what the
 * codec answers by itself, like a refusal, and what a redirect listener sends elsewhere.
 * Thread   the request's loop.
 * Never    answers anything: it marks what the codec says. A head that is none has no flow, and
 *          costs no memory that lasts.
 */
#include "flow.h"

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "http/http_error.h"
#include "net/loop.h"
#include "pipeline/cors.h"
#include "pipeline/field_edit.h"
#include "policies/priority.h"

#include <assert.h>
#include <string.h>

#define LINES_PER_S 10 /* clients that speak no HTTP cost a line each; with an access log: all */
#define METHOD_BYTES_MAX ((size_t)24)

/* The codec's own answers that have a reason of their own are told apart; the rest is one. */
static enum fg_refused reason_of(const char *code)
{
    const enum fg_refused reason = fg_refused_of_name(code);
    return reason == FG_REFUSED_COUNT ? FG_REFUSED_BAD_REQUEST : reason;
}

/* Among those without a route. */
static struct fg_route_metrics *count(struct fg_pipeline_thread *thread, unsigned status)
{
    struct fg_route_metrics *metrics = &thread->metrics->routes[thread->metrics->route_count];
    fg_counter_add_owned(&metrics->requests, 1);
    fg_counter_add_owned(&metrics->by_class[status / 100], 1);
    return metrics;
}

static void write_line(const struct fg_pipeline_thread *thread, const struct fg_exchange *ex,
                       unsigned status, const char *code)
{
    static struct fg_log_limit limit;
    const bool is_each_logged = thread->pipeline->config->observability.access_log;
    char method[METHOD_BYTES_MAX * 4], path[256];
    size_t method_len =
        ex->method_text.len < METHOD_BYTES_MAX ? ex->method_text.len : METHOD_BYTES_MAX;
    fg_log_limited(&limit, is_each_logged ? 100000 : LINES_PER_S, FG_LOG_INFO, "bad_request",
                   "request_id=%.*s method=%s path=%s status=%u refused=%s client=%.*s",
                   FG_SPAN_ARGS(ex->request_id),
                   fg_log_quote(method, sizeof(method), ex->method_text.data, method_len),
                   fg_log_quote(path, sizeof(path), ex->path.data, ex->path.len), status, code,
                   FG_SPAN_ARGS(ex->client_addr));
}

static void keep_record(struct fg_pipeline_thread *thread, const struct fg_exchange *ex,
                        unsigned status, const struct fg_decision *decision)
{
    if (thread->recorder == NULL)
        return;
    const uint64_t now_ns = fg_clock_monotonic_ns();
    struct fg_record *record = fg_flow_begin_record(thread, ex, now_ns);
    record->route = NULL;
    memset(record->hop_ns, 0, sizeof(record->hop_ns));
    record->status = status;
    record->failed = FG_FAILED_NOT;
    record->was_aborted = false;
    record->gone = NULL;
    record->cache = FG_CACHE_RESULT_NONE;
    record->priority_number = FG_PRIORITY_COMPOUND_COUNT - 1;
    record->level = UINT32_MAX;
    record->decision_count = 1;
    record->decisions[0] = *decision;
    record->decisions[0].value = FG_DECISION_NO_VALUE;
    record->decisions[0].limit = FG_DECISION_NO_VALUE;
    record->decisions[0].after_ns = now_ns - ex->started_ns;
    fg_recorder_add(thread->recorder);
}

/* on_gone was here: what it did not know is why. */
static void note_in(struct fg_flow *flow, unsigned status, const char *code)
{
    if (flow->is_refused || flow->is_head_sent)
        return;
    flow->is_refused = true;
    flow->refused = reason_of(code);
    flow->status = status;
    flow->is_head_sent = true;
    fg_flow_decide(flow, &(struct fg_decision){.reason = code,
                                               .decided = FG_DECIDED_REFUSE,
                                               .value = FG_DECISION_NO_VALUE,
                                               .limit = FG_DECISION_NO_VALUE});
}

void fg_flow_on_codec_answer(void *handler, struct fg_request *req, unsigned status,
                             const char *code)
{
    struct fg_pipeline_thread *thread = handler;
    struct fg_flow *flow = fg_flow_of(req);
    if (flow != NULL) {
        note_in(flow, status, code);
        return;
    }
    fg_counter_add_owned(&count(thread, status)->refused[reason_of(code)], 1);
    write_line(thread, &req->ex, status, code);
    keep_record(
        thread, &req->ex, status,
        &(struct fg_decision){.stage = "codec", .reason = code, .decided = FG_DECIDED_REFUSE});
}

/* Without memory the answer goes out as it is. */
void fg_flow_mark_codec_answer(struct fg_request *req, const struct fg_field **fields,
                               size_t *count)
{
    const struct fg_flow *flow = fg_flow_of(req);
    if (flow == NULL || flow->route == NULL)
        return;
    const size_t most = *count + 1 + FG_CORS_FIELDS_MAX;
    struct fg_field *all = fg_arena_try_alloc(req->ex.arena, most * sizeof(*all));
    if (all == NULL)
        return;
    size_t all_count = *count;
    memcpy(all, *fields, all_count * sizeof(*all));
    all[all_count++] = (struct fg_field){FG_SPAN("traceparent"), flow->traceparent};
    if (flow->route->cors.enabled)
        fg_cors_mark(flow, all, &all_count);
    assert(all_count <= most);
    const struct fg_field *edited = all;
    if (!fg_field_edit(flow, &flow->route->response_edits, &edited, &all_count))
        return;
    *fields = edited;
    *count = all_count;
}

void fg_flow_on_listener_answer(void *handler, struct fg_request *req, unsigned status)
{
    struct fg_pipeline_thread *thread = handler;
    static struct fg_log_limit limit;
    const struct fg_exchange *ex = &req->ex;
    char path[256];
    (void)count(thread, status);
    if (thread->pipeline->config->observability.access_log)
        fg_log_limited(&limit, 100000, FG_LOG_INFO, "redirected",
                       "request_id=%.*s method=%.*s path=%s listener=%s status=%u client=%.*s",
                       FG_SPAN_ARGS(ex->request_id), FG_SPAN_ARGS(ex->method_text),
                       fg_log_quote(path, sizeof(path), ex->path.data, ex->path.len),
                       req->listener->name, status, FG_SPAN_ARGS(ex->client_addr));
    keep_record(thread, ex, status,
                &(struct fg_decision){.stage = "listener",
                                      .policy = req->listener->name,
                                      .reason = "redirect",
                                      .decided = FG_DECIDED_PASS});
}
