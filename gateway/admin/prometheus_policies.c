/*
 * prometheus_policies.c: every number of `policies` in /stats as a metric. Both come from the same
 * JSON, so that they cannot tell two stories; a test demands a metric for each number there.
 * Thread   the admin loop.
 */
#include "admin/prometheus.h"

#include "admin/stats.h"

#include <string.h>

/* A number that each member of a JSON object has. Those of one family stand together. */
struct figure {
    const char *name, *type, *help;
    const char *group; /* where in the member; NULL: the member itself */
    const char *key;
    const char *label; /* one more: `reason="full"`; NULL: none */
};

#define NAME_BYTES 96
#define COUNT(figures) (sizeof(figures) / sizeof((figures)[0]))

/* States are words in JSON; as a number the worst is 1 (of levels: 3). */
static double number_of_word(const char *word)
{
    static const struct {
        const char *word;
        double number;
    } words[] = {
        {"closed", 0},       {"disabled", 0},    {"half_open", 0.5}, {"open", 1},
        {"shared_count", 0}, {"local_share", 1}, {"connected", 1},   {"partly_connected", 0.5},
        {"disconnected", 0}, {"normal", 0},      {"elevated", 1},    {"high", 2},
        {"critical", 3},
    };
    for (size_t i = 0; i < COUNT(words); i++) {
        if (strcmp(words[i].word, word) == 0)
            return words[i].number;
    }
    return 0;
}

static double number_of(const json_t *value)
{
    return json_is_boolean(value)  ? json_is_true(value)
           : json_is_string(value) ? number_of_word(json_string_value(value))
                                   : json_number_value(value);
}

/* What is not there, or null, is not known: no sample. */
static const json_t *find(const json_t *member, const struct figure *figure)
{
    const json_t *group = figure->group == NULL ? member : json_object_get(member, figure->group);
    const json_t *value = json_object_get(group, figure->key);
    return json_is_null(value) ? NULL : value;
}

/* Gates stand before backends and before routes: the table has the names of the former. */
static const char *name_of(const struct figure *figure, const char *label, char buffer[NAME_BYTES])
{
    static const char backend[] = "backend_";
    bool is_routes = strcmp(label, "route") == 0 && figure->group != NULL;
    if (!is_routes)
        return figure->name;
    bool has_owner = strncmp(figure->name, backend, sizeof(backend) - 1) == 0;
    snprintf(buffer, NAME_BYTES, "route_%s", figure->name + (has_owner ? sizeof(backend) - 1 : 0));
    return buffer;
}

static void write_figures(FILE *out, const json_t *members, const char *label,
                          const struct figure *figures, size_t count)
{
    bool is_begun = false;
    for (size_t f = 0; f < count; f++) {
        const struct figure *figure = &figures[f];
        char buffer[NAME_BYTES];
        const char *member_name, *name = name_of(figure, label, buffer);
        json_t *member;
        is_begun = is_begun && strcmp(figures[f - 1].name, figure->name) == 0;
        json_object_foreach((json_t *)(uintptr_t)members, member_name, member)
        {
            const json_t *value = find(member, figure);
            if (value == NULL)
                continue;
            if (!is_begun)
                fg_prometheus_family(out, name, figure->type, figure->help);
            is_begun = true;
            fprintf(out, "floodgate_%s{%s=\"%s\"%s%s} %.15g\n", name, label, member_name,
                    figure->label == NULL ? "" : ",", figure->label == NULL ? "" : figure->label,
                    number_of(value));
        }
    }
}

/* The same of one object, which needs no label. */
static void write_alone(FILE *out, const json_t *member, const struct figure *figures, size_t count)
{
    for (size_t f = 0; f < count; f++) {
        const json_t *value = find(member, &figures[f]);
        if (value == NULL)
            continue;
        fg_prometheus_family(out, figures[f].name, figures[f].type, figures[f].help);
        fprintf(out, "floodgate_%s %.15g\n", figures[f].name, number_of(value));
    }
}

#define REFUSED "Requests that did not get a slot, by reason."
#define SHADOW "1: the policy decides and counts, but does not act."

static const struct figure gate_figures[] = {
    {"backend_in_flight", "gauge", "Requests that hold a slot now.", "concurrency", "in_flight",
     NULL},
    {"backend_concurrency_limit", "gauge", "Slots that there are.", "concurrency", "limit", NULL},
    {"backend_over_limit_total", "counter", "Times that no slot was free when one was wanted.",
     "concurrency", "over_limit_total", NULL},
    {"backend_noload_latency_seconds", "gauge",
     "Latency without load, as the limit has found it; 0: not known.", "concurrency",
     "noload_latency_s", NULL},
    {"backend_admission_level", "gauge",
     "Largest priority number that may wait (class x 128 + the user's lot); 511: all.", "priority",
     "level", NULL},
    {"backend_admission_lowered_total", "counter", "Times that the level was lowered.", "priority",
     "lowered_total", NULL},
    {"backend_admission_refused_total", "counter", "Requests below the level.", "priority",
     "refused_total", NULL},
    {"queue_depth", "gauge", "Requests that wait for a slot.", "queue", "waiting", NULL},
    {"queue_bytes", "gauge", "Bytes of the bodies of requests that wait for a slot.", "queue",
     "bytes", NULL},
    {"queue_tokens", "gauge",
     "Tokens that requests that wait for a slot will take, where that is bounded.", "queue",
     "tokens", NULL},
    {"queue_expected_wait_seconds", "gauge", "Wait of a normal request that comes now.", "queue",
     "expected_wait_s", NULL},
    {"queued_total", "counter", "Requests that ever waited for a slot.", "queue", "queued_total",
     NULL},
    {"queue_refused_total", "counter", REFUSED, "queue", "full_total", "reason=\"full\""},
    {"queue_refused_total", "counter", REFUSED, "queue", "full_bytes_total",
     "reason=\"full_bytes\""},
    {"queue_refused_total", "counter", REFUSED, "queue", "full_tokens_total",
     "reason=\"full_tokens\""},
    {"queue_refused_total", "counter", REFUSED, "queue", "expired_total", "reason=\"expired\""},
    {"queue_refused_total", "counter", REFUSED, "queue", "shed_total", "reason=\"shed\""},
    {"queue_refused_total", "counter", REFUSED, "queue", "displaced_total", "reason=\"displaced\""},
    {"queue_refused_total", "counter", REFUSED, "queue", "cannot_meet_total",
     "reason=\"cannot_meet\""},
    {"breaker_enabled", "gauge", "1: the backend has a circuit breaker.", "breaker", "enabled",
     NULL},
    {"breaker_open", "gauge", "Circuit breaker: 0 closed, 0.5 half-open, 1 open.", "breaker",
     "state", NULL},
    {"breaker_opened_total", "counter", "Times that the circuit breaker opened.", "breaker",
     "opened_total", NULL},
    {"breaker_refused_total", "counter", "Requests that the circuit breaker refused.", "breaker",
     "refused_total", NULL},
    {"breaker_probes_total", "counter", "Requests that tried whether the backend is well again.",
     "breaker", "probes_total", NULL},
    {"backend_memory_bytes", "gauge", "Request memory that the backend's requests hold.", "memory",
     "used_bytes", NULL},
    {"backend_memory_reserved_bytes", "gauge", "Request memory that is theirs alone.", "memory",
     "reserved_bytes", NULL},
    {"backend_memory_refused_total", "counter",
     "Times that memory was kept from them, for others' reserves.", "memory", "refused_total",
     NULL},
    {"backend_shadow", "gauge", SHADOW, "concurrency", "shadow", "policy=\"concurrency\""},
    {"backend_shadow", "gauge", SHADOW, "queue", "shadow", "policy=\"queue\""},
    {"backend_shadow", "gauge", SHADOW, "breaker", "shadow", "policy=\"breaker\""},
    {"backend_shadow", "gauge", SHADOW, "memory", "shadow", "policy=\"reserve\""},
};

/* `opened_by` is a word of its own for each backend: one sample says which. */
static void write_opened_by(FILE *out, const json_t *backends)
{
    const char *name;
    json_t *gate;
    fg_prometheus_family(out, "breaker_opened_by", "gauge", "1: the rule that opened it last.");
    json_object_foreach((json_t *)(uintptr_t)backends, name, gate)
    {
        const char *rule =
            json_string_value(json_object_get(json_object_get(gate, "breaker"), "opened_by"));
        if (rule != NULL)
            fprintf(out, "floodgate_breaker_opened_by{backend=\"%s\",rule=\"%s\"} 1\n", name, rule);
    }
}

static const struct figure room_figures[] = {
    {"waiting_room_waiting", "gauge", "People in line.", NULL, "waiting", NULL},
    {"waiting_room_wait_seconds", "gauge", "Estimated wait of who joins now.", NULL, "wait_s",
     NULL},
    {"waiting_room_wait_error_seconds", "gauge", "Two standard deviations of that.", NULL,
     "wait_error_s", NULL},
    {"waiting_room_admitted_per_second", "gauge", "How fast the line moves, measured.", NULL,
     "admitted_per_s", NULL},
    {"waiting_room_pace_per_second", "gauge", "What `admit: auto` lets in now.", NULL, "pace_per_s",
     NULL},
    {"waiting_room_drain_per_second", "gauge",
     "Requests that the backend gets done while it is full, as `admit: auto` has measured; 0: not "
     "known.",
     NULL, "drain_per_s", NULL},
    {"waiting_room_alone", "gauge", "1 while the Redis of a shared room is away.", NULL, "alone",
     NULL},
    {"waiting_room_issued_total", "counter", "Places given out.", NULL, "issued", NULL},
    {"waiting_room_direct_total", "counter", "Let in without a line to stand in.", NULL, "direct",
     NULL},
    {"waiting_room_admitted_total", "counter", "People whose turn came.", NULL, "admitted", NULL},
    {"waiting_room_used_total", "counter", "People who came in when it had.", NULL, "used", NULL},
    {"waiting_room_unused_total", "counter", "Turns that went to others.", NULL, "unused", NULL},
    {"waiting_room_left_total", "counter", "People who left before their turn.", NULL, "left",
     NULL},
    {"waiting_room_full_total", "counter", "People for whom there was no place.", NULL, "full",
     NULL},
    {"waiting_room_shadow", "gauge", SHADOW, NULL, "shadow", NULL},
};

#define DECISIONS "Decisions of the rate limits."
#define QUESTIONS "Leases asked of the shared count, by what came of it."

static const struct figure limit_figures[] = {
    {"rate_limit_decisions_total", "counter", DECISIONS, NULL, "allowed", "decision=\"allowed\""},
    {"rate_limit_decisions_total", "counter", DECISIONS, NULL, "refused", "decision=\"refused\""},
    {"rate_limit_keys", "gauge", "Keys that are remembered.", NULL, "keys", NULL},
    {"rate_limit_evictions_total", "counter", "Keys forgotten for others.", NULL, "evictions",
     NULL},
    {"rate_limit_given_back_total", "counter", "Taken before the cost was known, and not used.",
     NULL, "given_back", NULL},
    {"rate_limit_owed_total", "counter", "Used beyond what was taken.", NULL, "owed", NULL},
    {"rate_limit_lease_held", "gauge", "Leased from the shared count and not spent yet.", "global",
     "held", NULL},
    {"rate_limit_lease_granted_total", "counter", "Leased from the shared count.", "global",
     "leased", NULL},
    {"rate_limit_lease_in_advance_total", "counter", "Let pass before the shared count had heard.",
     "global", "passed_in_advance", NULL},
    {"rate_limit_lease_questions_total", "counter", QUESTIONS, "global", "answered",
     "result=\"answered\""},
    {"rate_limit_lease_questions_total", "counter", QUESTIONS, "global", "lost", "result=\"lost\""},
    {"rate_limit_lease_questions_total", "counter", QUESTIONS, "global", "not_asked",
     "result=\"not_asked\""},
    {"rate_limit_lease_questions_total", "counter", QUESTIONS, "global", "held_back",
     "result=\"held_back\""},
    {"rate_limit_local_share", "gauge",
     "1: the shared count is away, and this gateway's share of the limit applies.", "global",
     "state", NULL},
    {"rate_limit_shadow", "gauge", SHADOW, NULL, "shadow", NULL},
};

static const struct figure resource_figures[] = {
    {"overload_pressure_ratio", "gauge", "What is in use, of the limit.", NULL, "pressure", NULL},
    {"overload_used", "gauge", "What is in use, in the resource's own unit.", NULL, "used", NULL},
    {"overload_limit", "gauge", "The limit, in the resource's own unit; 0: not watched.", NULL,
     "limit", NULL},
    {"overload_refused_total", "counter", "Requests shed for the resource.", NULL, "refused_total",
     NULL},
};

static const struct figure step_figures[] = {
    {"overload_step_taken", "gauge", "1: the step is taken for some resource.", NULL, "taken",
     NULL},
    {"overload_step_taken_total", "counter", "Times that it was taken.", NULL, "taken_total", NULL},
    {"overload_step_acted_total", "counter", "Times that it changed what was done.", NULL,
     "acted_total", NULL},
};

static const struct figure overload_figures[] = {
    {"overload_level", "gauge", "0 normal, 1 elevated, 2 high, 3 critical.", NULL, "level", NULL},
    {"overload_shadow", "gauge", SHADOW, NULL, "shadow", NULL},
};

static const struct figure shared_state_figures[] = {
    {"shared_state_connected", "gauge", "Share of the loops that reach the shared Redis, roughly.",
     NULL, "state", NULL},
    {"shared_state_connected_loops", "gauge", "Loops that are connected to it.", NULL,
     "connected_threads", NULL},
    {"shared_state_connects_total", "counter", "Connections made to it.", NULL, "connects", NULL},
    {"shared_state_commands_total", "counter", "Commands sent to it.", NULL, "commands", NULL},
    {"shared_state_errors_total", "counter", "Commands that it answered with an error.", NULL,
     "errors", NULL},
    {"shared_state_timeouts_total", "counter", "Commands without an answer in time.", NULL,
     "timeouts", NULL},
    {"shared_state_refused_busy_total", "counter", "Commands not sent, as too many were in flight.",
     NULL, "refused_busy", NULL},
    {"shared_state_in_flight", "gauge", "Commands that wait for an answer.", NULL, "in_flight",
     NULL},
};

static void write_shared_state(FILE *out, const json_t *state)
{
    static const struct {
        const char *key, *quantile;
    } quantiles[] = {{"p50", "0.5"}, {"p99", "0.99"}, {"p999", "0.999"}};
    if (state == NULL)
        return;
    write_alone(out, state, shared_state_figures, COUNT(shared_state_figures));
    const json_t *latency = json_object_get(state, "latency_seconds");
    fg_prometheus_family(out, "shared_state_latency_seconds", "summary",
                         "Time until the shared Redis answered.");
    for (size_t i = 0; i < COUNT(quantiles); i++)
        fprintf(out, "floodgate_shared_state_latency_seconds{quantile=\"%s\"} %.9g\n",
                quantiles[i].quantile,
                json_number_value(json_object_get(latency, quantiles[i].key)));
    fprintf(out, "floodgate_shared_state_latency_seconds_count %.15g\n",
            json_number_value(json_object_get(latency, "count")));
}

void fg_prometheus_write_policies(FILE *out, const struct fg_admin_options *options)
{
    json_t *policies = fg_admin_policies(options);
    const json_t *backends = json_object_get(policies, "backends");
    const json_t *overload = json_object_get(policies, "overload");
    write_figures(out, backends, "backend", gate_figures, COUNT(gate_figures));
    write_opened_by(out, backends);
    write_figures(out, json_object_get(policies, "routes"), "route", gate_figures,
                  COUNT(gate_figures));
    write_figures(out, json_object_get(policies, "waiting_rooms"), "route", room_figures,
                  COUNT(room_figures));
    write_figures(out, json_object_get(policies, "rate_limits"), "limit", limit_figures,
                  COUNT(limit_figures));
    write_alone(out, overload, overload_figures, COUNT(overload_figures));
    write_figures(out, json_object_get(overload, "resources"), "resource", resource_figures,
                  COUNT(resource_figures));
    write_figures(out, json_object_get(overload, "steps"), "step", step_figures,
                  COUNT(step_figures));
    write_shared_state(out, json_object_get(policies, "shared_state"));
    json_decref(policies);
}
