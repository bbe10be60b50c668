/*
 * explain_command.c: one question to the admin server, and its answer in lines.
 */
#include "admin/explain_command.h"

#include "admin/admin_client.h"
#include "base/span.h"

#include <stdio.h>
#include <string.h>

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "-" : text;
}

static void print_decision(json_t *decision)
{
    printf("  %8.3f ms  %-13s %-7s", json_real_value(json_object_get(decision, "after_ms")),
           text_of(decision, "stage"), text_of(decision, "decided"));
    static const char *const texts[] = {"policy", "reason"};
    for (size_t i = 0; i < 2; i++) {
        if (json_object_get(decision, texts[i]) != NULL)
            printf(" %s=%s", texts[i], text_of(decision, texts[i]));
    }
    static const char *const numbers[] = {"value", "limit", "wait_ms"};
    for (size_t i = 0; i < 3; i++) {
        json_t *number = json_object_get(decision, numbers[i]);
        if (number != NULL)
            printf(" %s=%.10g", numbers[i], json_number_value(number));
    }
    printf("\n");
}

static void print_record(json_t *record)
{
    json_t *priority = json_object_get(record, "priority");
    printf("%s %s -> %lld%s in %.3f ms\n", text_of(record, "method"), text_of(record, "path"),
           (long long)json_integer_value(json_object_get(record, "status")),
           json_is_true(json_object_get(record, "aborted")) ? " (aborted)" : "",
           json_real_value(json_object_get(record, "total_ms")));
    printf("  route %s, client %s, user %s, cache %s, priority %s (%lld)\n",
           text_of(record, "route"), text_of(record, "client"), text_of(record, "user"),
           text_of(record, "cache"), text_of(priority, "class"),
           (long long)json_integer_value(json_object_get(priority, "number")));
    json_t *backend = json_object_get(record, "backend");
    if (backend != NULL)
        printf("  from %s in %lld attempts%s\n", text_of(backend, "endpoint"),
               (long long)json_integer_value(json_object_get(backend, "attempts")),
               json_is_true(json_object_get(backend, "hedged")) ? ", hedged" : "");
    if (json_object_get(record, "gone") != NULL)
        printf("  gone: %s\n", text_of(record, "gone"));
    if (json_object_get(record, "failed") != NULL)
        printf("  failed: %s\n", text_of(record, "failed"));
    size_t index;
    json_t *decision;
    json_array_foreach(json_object_get(record, "decisions"), index, decision)
        print_decision(decision);
    const char *hop;
    json_t *ms;
    json_object_foreach(json_object_get(record, "hops_ms"), hop, ms)
        printf("  spent %.3f ms in %s\n", json_real_value(ms), hop);
}

int fg_explain_run(const char *address, const char *request_id)
{
    char path[128];
    struct fg_error error = {.file = ""};
    json_t *record = NULL;
    if (strlen(request_id) > 64 || strpbrk(request_id, " \r\n&?#") != NULL) {
        fprintf(stderr, "floodgate explain: '%s' is not a request id\n", request_id);
        return 2;
    }
    snprintf(path, sizeof(path), "/explain?request_id=%s", request_id);
    switch (fg_admin_get(address, path, &record, &error)) {
    case FG_OK:
        print_record(record);
        json_decref(record);
        return 0;
    case FG_ERR_NOT_FOUND:
        fprintf(stderr,
                "floodgate explain: %s is not among the recent requests "
                "(observability.recent_requests says how many are kept)\n",
                request_id);
        return 1;
    default:
        fprintf(stderr, "floodgate explain: %s\n", error.message);
        return 1;
    }
}
