/*
 * explain.c: all that was decided about one recent request, as JSON.
 */
#include "admin/explain.h"

#include "policies/priority.h"

static void add_optional(json_t *object, const char *key, uint64_t value)
{
    if (value != FG_DECISION_NO_VALUE)
        json_object_set_new(object, key, json_integer((json_int_t)value));
}

static json_t *decision_json(const struct fg_decision *decision)
{
    json_t *object =
        json_pack("{s:s,s:s,s:f}", "stage", decision->stage, "decided",
                  fg_decided_name(decision->decided), "after_ms", (double)decision->after_ns / 1e6);
    if (decision->policy != NULL)
        json_object_set_new(object, "policy", json_string(decision->policy));
    if (decision->reason != NULL)
        json_object_set_new(object, "reason", json_string(decision->reason));
    add_optional(object, "value", decision->value);
    add_optional(object, "limit", decision->limit);
    if (decision->wait_ns > 0 && decision->wait_ns != UINT64_MAX)
        json_object_set_new(object, "wait_ms", json_real((double)decision->wait_ns / 1e6));
    return object;
}

static json_t *record_json(const struct fg_record *record)
{
    json_t *decisions = json_array();
    for (size_t i = 0; i < record->decision_count; i++)
        json_array_append_new(decisions, decision_json(&record->decisions[i]));
    json_t *hops = json_object();
    for (unsigned i = 0; i < FG_HOP_COUNT; i++) {
        if (record->hop_ns[i] > 0)
            json_object_set_new(hops, fg_hop_name((enum fg_hop)i),
                                json_real((double)record->hop_ns[i] / 1e6));
    }
    json_t *object = json_pack(
        "{s:s,s:s,s:s,s:s,s:f,s:i,s:b,s:f,s:s,s:{s:s,s:I},s:o,s:o}", "request_id",
        record->request_id, "method", record->method, "path", record->path, "client",
        record->client, "started_s", (double)record->started_wall_ns / 1e9, "status",
        (int)record->status, "aborted", record->was_aborted, "total_ms",
        (double)record->total_ns / 1e6, "cache", fg_cache_result_name(record->cache), "priority",
        "class", fg_priority_name(fg_priority_class_of(record->priority_number)), "number",
        (json_int_t)record->priority_number, "hops_ms", hops, "decisions", decisions);
    if (object == NULL)
        return NULL;
    if (record->route != NULL)
        json_object_set_new(object, "route", json_string(record->route));
    if (record->attempts > 0)
        json_object_set_new(object, "backend",
                            json_pack("{s:s,s:i,s:b}", "endpoint", record->endpoint, "attempts",
                                      (int)record->attempts, "hedged", record->was_hedged));
    if (record->gone != NULL)
        json_object_set_new(object, "gone", json_string(record->gone));
    if (record->failed != FG_FAILED_NOT)
        json_object_set_new(object, "failed", json_string(fg_failed_name(record->failed)));
    if (record->user[0] != '\0')
        json_object_set_new(object, "user", json_string(record->user));
    if (record->level != UINT32_MAX)
        json_object_set_new(object, "admitted_number", json_integer(record->level));
    return object;
}

json_t *fg_admin_explain(const struct fg_pipeline *pipeline, struct fg_span request_id,
                         bool *is_known)
{
    struct fg_record record;
    *is_known = false;
    for (unsigned i = 0; i < fg_pipeline_thread_count(pipeline) && !*is_known; i++) {
        struct fg_recorder *recorder = fg_pipeline_recorder(pipeline, i);
        *is_known = recorder != NULL && fg_recorder_find(recorder, request_id, &record);
    }
    return *is_known ? record_json(&record) : NULL;
}
