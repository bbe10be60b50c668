/*
 * hosts_shared.c: the list, and the three judgements that decide whether a host is used.
 * Job      keep who is listed; run policies/health, policies/outlier and a policies/circuit_breaker
 *          each over them; tell the loops.
 * Thread   any, under the lock.
 * Never    calls out, blocks or makes a system call while it holds the lock.
 */
#include "proxy/hosts_shared.h"

#include "base/log.h"
#include "base/text.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Counts looked at in one part of a sweep: some tens of microseconds. */
#define SWEEP_COUNTS 16384u

#define NAME_TEXT_BYTES (FG_HOST_NAME_BYTES + 8u) /* quoted */
#define EJECTED_TEXT_BYTES 512u                   /* those of a line; what does not fit is cut */

bool fg_hosts_init(struct fg_hosts *hosts, const struct fg_hosts_conf *conf)
{
    *hosts = (struct fg_hosts){.conf = *conf};
    hosts->list = calloc(conf->hosts_max, sizeof(*hosts->list));
    if (hosts->list == NULL)
        return false;
    if (pthread_mutex_init(&hosts->lock, NULL) != 0) {
        free(hosts->list);
        hosts->list = NULL;
        return false;
    }
    return true;
}

static bool is_broken(const struct fg_host *host)
{
    return fg_counter_get(&host->breaker_state) != FG_BREAKER_CLOSED;
}

static void free_host(struct fg_host *host)
{
    free(host->seen.latencies);
    free(host->since.latencies);
    free(host->latencies);
    free(host);
}

static void let_go(struct fg_host *host)
{
    assert(host->references > 0);
    if (--host->references == 0)
        free_host(host);
}

/* Under the lock, or alone. */
static void end_sweep(struct fg_hosts *hosts)
{
    struct fg_hosts_sweep *sweep = &hosts->sweep;
    for (size_t i = 0; i < sweep->count; i++)
        let_go(sweep->list[i]);
    free(sweep->list);
    free(sweep->samples);
    free(sweep->scratch);
    *sweep = (struct fg_hosts_sweep){0};
}

void fg_hosts_fini(struct fg_hosts *hosts)
{
    if (hosts->list == NULL)
        return;
    for (size_t i = 0; i < hosts->count; i++)
        let_go(hosts->list[i]);
    end_sweep(hosts);
    free(hosts->list);
    hosts->list = NULL;
    free(hosts->changes.list);
    pthread_mutex_destroy(&hosts->lock);
}

/* ---- who is listed ---- */

static bool is_same(const struct fg_host *host, const struct fg_host_spec *spec)
{
    return host->spec.address.len == spec->address.len &&
           memcmp(&host->spec.address.storage, &spec->address.storage, spec->address.len) == 0 &&
           strcmp(host->spec.server_name, spec->server_name) == 0;
}

static bool judges_latency(const struct fg_hosts *hosts)
{
    return hosts->conf.has_outlier && hosts->conf.outlier.latency_permille > 0;
}

static bool make_latencies(const struct fg_hosts *hosts, struct fg_host *host)
{
    if (!judges_latency(hosts))
        return true;
    size_t count = (size_t)hosts->conf.thread_count * FG_OUTLIER_BUCKETS;
    host->latencies = calloc(count, sizeof(*host->latencies));
    host->seen.latencies = calloc(FG_OUTLIER_BUCKETS, sizeof(*host->seen.latencies));
    host->since.latencies = calloc(FG_OUTLIER_BUCKETS, sizeof(*host->since.latencies));
    return host->latencies != NULL && host->seen.latencies != NULL && host->since.latencies != NULL;
}

static struct fg_host *make(const struct fg_hosts *hosts, unsigned source,
                            const struct fg_host_spec *spec, uint64_t now_ns)
{
    struct fg_host *host =
        calloc(1, sizeof(*host) + hosts->conf.thread_count * sizeof(host->metrics[0]));
    if (host == NULL)
        return NULL;
    if (!make_latencies(hosts, host)) {
        free_host(host);
        return NULL;
    }
    host->spec = *spec;
    host->source = source;
    /* By its address: a name's hosts differ, and keep their keys when the order changes. */
    host->name_hash = fg_span_hash(
        fg_span_make((const char *)&spec->address.storage, spec->address.len), 0x666c6f6f64);
    host->is_disabled = fg_endpoint_changes_disable(&hosts->changes, spec->name);
    fg_counter_set(&host->weight, spec->weight);
    fg_counter_set(&host->priority, spec->priority);
    fg_counter_set(&host->is_out, host->is_disabled);
    fg_counter_set(&host->is_usable, !hosts->conf.has_checks && !host->is_disabled);
    fg_counter_set(&host->usable_since_ns, now_ns);
    if (hosts->conf.has_breaker)
        fg_circuit_breaker_init(&host->breaker, &hosts->conf.breaker, now_ns);
    host->references = 1;
    host->is_listed = true;
    return host;
}

static struct fg_host *find(struct fg_host *const *list, size_t count, unsigned source,
                            const struct fg_host_spec *spec)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i]->source == source && is_same(list[i], spec))
            return list[i];
    }
    return NULL;
}

/* True: it was another one. */
static bool set_share(struct fg_host *host, const struct fg_host_spec *spec)
{
    if (fg_counter_get(&host->weight) == spec->weight &&
        fg_counter_get(&host->priority) == spec->priority)
        return false;
    fg_counter_set(&host->weight, spec->weight);
    fg_counter_set(&host->priority, spec->priority);
    return true;
}

/* What is said of it last. */
static bool take_share(struct fg_host *host, const struct fg_host_spec *specs, size_t count)
{
    while (count > 0 && !is_same(host, &specs[count - 1]))
        count--;
    return count > 0 && set_share(host, &specs[count - 1]);
}

/* Its breaker may still move when the last answers come; that is nobody's matter any more. */
static void unlist_one(struct fg_hosts *hosts, struct fg_host *host)
{
    host->is_listed = false;
    if (is_broken(host))
        fg_counter_sub(&hosts->broken_count, 1);
    let_go(host);
}

/* What the list is to become, beside what it is. */
struct draft {
    struct fg_host **list; /* hosts_max */
    size_t count;
    size_t kept; /* of these were there before */
};

static enum fg_status add_to_draft(const struct fg_hosts *hosts, struct draft *draft,
                                   unsigned source, const struct fg_host_spec *spec,
                                   uint64_t now_ns)
{
    if (find(draft->list, draft->count, source, spec) != NULL)
        return FG_OK;
    if (draft->count == hosts->conf.hosts_max)
        return FG_ERR_LIMIT;
    struct fg_host *host = make(hosts, source, spec, now_ns);
    if (host == NULL)
        return FG_ERR_NO_MEMORY;
    draft->list[draft->count++] = host;
    return FG_OK;
}

/* Those that stay, in their order, then the new ones. */
static enum fg_status make_draft(const struct fg_hosts *hosts, struct draft *draft, unsigned source,
                                 const struct fg_host_spec *specs, size_t count, uint64_t now_ns)
{
    enum fg_status status = FG_OK;
    *draft = (struct draft){.list = calloc(hosts->conf.hosts_max, sizeof(*draft->list))};
    if (draft->list == NULL)
        return FG_ERR_NO_MEMORY;
    for (size_t i = 0; i < hosts->count; i++) {
        struct fg_host *host = hosts->list[i];
        bool stays = host->source != source;
        for (size_t j = 0; j < count && !stays; j++)
            stays = is_same(host, &specs[j]);
        if (stays)
            draft->list[draft->count++] = host;
    }
    draft->kept = draft->count;
    for (size_t i = 0; i < count && status == FG_OK; i++)
        status = add_to_draft(hosts, draft, source, &specs[i], now_ns);
    if (status == FG_OK)
        return FG_OK;
    while (draft->count > draft->kept)
        let_go(draft->list[--draft->count]);
    free(draft->list);
    return status;
}

/* The draft is the list from here on. */
static bool take_draft(struct fg_hosts *hosts, struct draft *draft)
{
    bool has_changed = draft->kept != hosts->count || draft->count > draft->kept;
    size_t next = 0;
    for (size_t i = 0; i < hosts->count; i++) {
        if (next < draft->kept && draft->list[next] == hosts->list[i])
            next++;
        else
            unlist_one(hosts, hosts->list[i]);
    }
    free(hosts->list);
    hosts->list = draft->list;
    hosts->count = draft->count;
    return has_changed;
}

enum fg_status fg_hosts_replace(struct fg_hosts *hosts, unsigned source,
                                const struct fg_host_spec *specs, size_t count, uint64_t now_ns)
{
    struct draft draft;
    pthread_mutex_lock(&hosts->lock);
    enum fg_status status = make_draft(hosts, &draft, source, specs, count, now_ns);
    if (status == FG_OK) {
        bool has_changed = take_draft(hosts, &draft);
        for (size_t i = 0; i < hosts->count; i++) {
            if (hosts->list[i]->source == source)
                has_changed |= take_share(hosts->list[i], specs, count);
        }
        if (has_changed)
            fg_counter_add(&hosts->generation, 1);
    }
    pthread_mutex_unlock(&hosts->lock);
    return status;
}

bool fg_hosts_list_elsewhere(struct fg_hosts *hosts, unsigned source,
                             const struct fg_host_spec *spec)
{
    bool is_listed = false;
    pthread_mutex_lock(&hosts->lock);
    for (size_t i = 0; i < hosts->count && !is_listed; i++)
        is_listed = hosts->list[i]->source != source && is_same(hosts->list[i], spec);
    pthread_mutex_unlock(&hosts->lock);
    return is_listed;
}

size_t fg_hosts_count_named(struct fg_hosts *hosts, struct fg_span name)
{
    size_t count = 0;
    pthread_mutex_lock(&hosts->lock);
    for (size_t i = 0; i < hosts->count; i++)
        count += fg_endpoint_name_means(name, hosts->list[i]->spec.name);
    pthread_mutex_unlock(&hosts->lock);
    return count;
}

size_t fg_hosts_adopt(struct fg_hosts *hosts, struct fg_host **into, size_t max)
{
    pthread_mutex_lock(&hosts->lock);
    size_t count = hosts->count < max ? hosts->count : max;
    for (size_t i = 0; i < count; i++) {
        into[i] = hosts->list[i];
        into[i]->references++;
    }
    pthread_mutex_unlock(&hosts->lock);
    return count;
}

void fg_hosts_release(struct fg_hosts *hosts, struct fg_host *host)
{
    pthread_mutex_lock(&hosts->lock);
    let_go(host);
    pthread_mutex_unlock(&hosts->lock);
}

/* ---- who is used ---- */

static const char *state_name(const struct fg_hosts *hosts, const struct fg_host *host)
{
    if (host->is_disabled)
        return "disabled";
    if (hosts->conf.has_checks && host->health.state == FG_HEALTH_UNKNOWN)
        return "unchecked";
    if (host->health.state == FG_HEALTH_UNHEALTHY)
        return "unhealthy";
    if (host->outlier.is_ejected)
        return "ejected";
    return is_broken(host) && !hosts->conf.is_breaker_shadow ? "broken" : "healthy";
}

static void publish(struct fg_hosts *hosts, struct fg_host *host, uint64_t now_ns)
{
    bool is_up = hosts->conf.has_checks ? host->health.state == FG_HEALTH_HEALTHY
                                        : host->health.state != FG_HEALTH_UNHEALTHY;
    bool is_left_alone = is_broken(host) && !hosts->conf.is_breaker_shadow;
    uint64_t is_usable = is_up && !host->outlier.is_ejected && !host->is_disabled && !is_left_alone;
    if (fg_counter_get(&host->is_usable) == is_usable)
        return;
    /* The first good check of a start-up is no recovery: all weights at once. */
    bool is_first = host->health.good_total + host->health.bad_total == 1;
    if (is_usable != 0 && !is_first)
        fg_counter_set(&host->usable_since_ns, now_ns);
    fg_counter_set(&host->is_usable, is_usable);
    fg_counter_add(&hosts->generation, 1);
}

static const char *log_name(const struct fg_host *host, char out[NAME_TEXT_BYTES])
{
    return fg_log_word(out, NAME_TEXT_BYTES, host->spec.name, strlen(host->spec.name));
}

static const char *reason_name(enum fg_outlier_reason reason)
{
    static const char *const names[] = {"none", "consecutive_errors", "error_ratio", "latency"};
    return names[reason];
}

/* The policy judges an array of all hosts; *copies has hosts->count entries. */
static void copy_outliers(const struct fg_hosts *hosts, struct fg_outlier_host *copies)
{
    for (size_t i = 0; i < hosts->count; i++)
        copies[i] = hosts->list[i]->outlier;
}

/* Takes the verdicts over; returns how many were ejected anew, and names them. */
static unsigned take_outliers(struct fg_hosts *hosts, const struct fg_outlier_host *copies,
                              uint64_t now_ns, struct fg_text *names)
{
    unsigned ejected = 0;
    for (size_t i = 0; i < hosts->count; i++) {
        struct fg_host *host = hosts->list[i];
        if (copies[i].is_ejected && !host->outlier.is_ejected) {
            fg_text_add(names, fg_span_from_string(ejected++ == 0 ? "" : ", "));
            fg_text_add(names, fg_span_from_string(host->spec.name));
            fg_text_add(names, FG_SPAN(" for "));
            fg_text_add(names, fg_span_from_string(reason_name(copies[i].reason)));
        }
        host->outlier = copies[i];
        publish(hosts, host, now_ns);
    }
    fg_counter_add(&hosts->ejections_total, ejected);
    return ejected;
}

static void log_ejected(const struct fg_hosts *hosts, unsigned ejected, const struct fg_text *names)
{
    char quoted[EJECTED_TEXT_BYTES + 16];
    if (ejected > 0)
        fg_log(FG_LOG_WARN, "endpoints_ejected", "cluster=%s count=%u endpoints=%s",
               hosts->conf.cluster, ejected,
               fg_log_quote(quoted, sizeof(quoted), names->data, names->len));
}

static void eject_for_errors(struct fg_hosts *hosts, struct fg_host *host, uint64_t now_ns)
{
    unsigned ejected = 0;
    char buffer[EJECTED_TEXT_BYTES];
    struct fg_text names = fg_text_over(buffer, sizeof(buffer));
    pthread_mutex_lock(&hosts->lock);
    struct fg_outlier_host *copies = calloc(hosts->count + 1, sizeof(*copies));
    if (copies != NULL && host->is_listed) {
        size_t index = 0;
        while (hosts->list[index] != host)
            index++;
        copy_outliers(hosts, copies);
        (void)fg_outlier_try_eject(&hosts->conf.outlier, copies, hosts->count, index,
                                   FG_OUTLIER_CONSECUTIVE, now_ns);
        ejected = take_outliers(hosts, copies, now_ns, &names);
    }
    pthread_mutex_unlock(&hosts->lock);
    free(copies);
    log_ejected(hosts, ejected, &names);
}

static void note_instant(struct fg_hosts *hosts, struct fg_host *host, uint64_t latency_ns,
                         uint64_t now_ns)
{
    pthread_mutex_lock(&hosts->lock);
    (void)fg_failure_row_note(&host->error_instants, now_ns, latency_ns);
    pthread_mutex_unlock(&hosts->lock);
}

void fg_hosts_note_answer(struct fg_hosts *hosts, struct fg_host *host, unsigned thread,
                          bool is_error, uint64_t latency_ns, uint64_t now_ns)
{
    struct fg_host_metrics *metrics = &host->metrics[thread];
    fg_counter_add_owned(&metrics->answers, 1);
    if (!is_error) {
        if (host->latencies != NULL)
            fg_counter_add_owned(
                &host->latencies[thread * FG_OUTLIER_BUCKETS + fg_outlier_bucket(latency_ns)], 1);
        if (fg_counter_get(&host->errors_in_row) != 0)
            fg_counter_set(&host->errors_in_row, 0);
        return;
    }
    fg_counter_add_owned(&metrics->errors, 1);
    if (!hosts->conf.has_outlier)
        return;
    note_instant(hosts, host, latency_ns, now_ns);
    uint32_t most = hosts->conf.outlier.consecutive_errors;
    if (most == 0)
        return;
    if (fg_counter_get(&host->errors_in_row) != 0 &&
        fg_failure_is_same(fg_counter_get(&host->error_counted_ns), now_ns, latency_ns))
        return;
    fg_counter_set(&host->error_counted_ns, now_ns);
    fg_counter_add(&host->errors_in_row, 1);
    if (fg_counter_get(&host->errors_in_row) < most)
        return;
    fg_counter_set(&host->errors_in_row, 0);
    eject_for_errors(hosts, host, now_ns);
}

/* ---- a breaker each ---- */

/* Under the lock: its state may have changed. True: it has opened. */
static bool publish_breaker(struct fg_hosts *hosts, struct fg_host *host, uint64_t now_ns)
{
    enum fg_breaker_state before = (enum fg_breaker_state)fg_counter_get(&host->breaker_state);
    enum fg_breaker_state now = host->breaker.state;
    if (before == now)
        return false;
    fg_counter_set(&host->breaker_until_ns, host->breaker.open_until_ns);
    fg_counter_set(&host->breaker_state, now);
    if (!host->is_listed)
        return false;
    if (before == FG_BREAKER_CLOSED)
        fg_counter_add(&hosts->broken_count, 1);
    else if (now == FG_BREAKER_CLOSED)
        fg_counter_sub(&hosts->broken_count, 1);
    publish(hosts, host, now_ns);
    return now == FG_BREAKER_OPEN;
}

enum fg_breaker_verdict fg_hosts_try_pass(struct fg_hosts *hosts, struct fg_host *host,
                                          enum fg_priority priority, uint64_t now_ns,
                                          uint64_t *retry_after_ns)
{
    *retry_after_ns = 0;
    if (!is_broken(host))
        return FG_BREAKER_PASS;
    pthread_mutex_lock(&hosts->lock);
    enum fg_breaker_verdict verdict =
        fg_circuit_breaker_try_pass(&host->breaker, priority, now_ns, retry_after_ns);
    (void)publish_breaker(hosts, host, now_ns);
    pthread_mutex_unlock(&hosts->lock);
    return verdict == FG_BREAKER_REFUSE && hosts->conf.is_breaker_shadow ? FG_BREAKER_WOULD_REFUSE
                                                                         : verdict;
}

bool fg_hosts_resume_probe(struct fg_hosts *hosts, struct fg_host *host, uint64_t now_ns)
{
    if (!is_broken(host))
        return false;
    pthread_mutex_lock(&hosts->lock);
    bool is_probe = fg_circuit_breaker_resume(&host->breaker, now_ns);
    (void)publish_breaker(hosts, host, now_ns);
    pthread_mutex_unlock(&hosts->lock);
    return is_probe;
}

void fg_hosts_note_breaker(struct fg_hosts *hosts, struct fg_host *host, bool was_probe,
                           enum fg_breaker_outcome outcome, uint64_t latency_ns, uint64_t now_ns)
{
    if (!hosts->conf.has_breaker || (outcome == FG_BREAKER_CANCELLED && !was_probe))
        return;
    pthread_mutex_lock(&hosts->lock);
    fg_circuit_breaker_record(&host->breaker, now_ns, was_probe, outcome, latency_ns);
    bool has_opened = publish_breaker(hosts, host, now_ns);
    enum fg_breaker_rule rule = host->breaker.cause.rule;
    pthread_mutex_unlock(&hosts->lock);
    static struct fg_log_limit limit;
    char name[NAME_TEXT_BYTES];
    if (has_opened)
        fg_log_limited(&limit, 10, FG_LOG_WARN, "endpoint_broken",
                       "cluster=%s endpoint=%s reason=%s", hosts->conf.cluster,
                       log_name(host, name), fg_breaker_rule_name(rule));
}

void fg_hosts_note_check(struct fg_hosts *hosts, struct fg_host *host, const char *fault,
                         uint64_t now_ns)
{
    const bool is_good = fault == NULL;
    char name[NAME_TEXT_BYTES], quoted[2 * sizeof(host->check_fault)];
    pthread_mutex_lock(&hosts->lock);
    bool has_changed = fg_health_note(&host->health, &hosts->conf.health, is_good);
    snprintf(host->check_fault, sizeof(host->check_fault), "%s", is_good ? "" : fault);
    if (has_changed)
        publish(hosts, host, now_ns);
    const char *state = state_name(hosts, host);
    pthread_mutex_unlock(&hosts->lock);
    if (has_changed && is_good)
        fg_log(FG_LOG_INFO, "endpoint_checked", "cluster=%s endpoint=%s state=%s",
               hosts->conf.cluster, log_name(host, name), state);
    else if (has_changed)
        fg_log(FG_LOG_WARN, "endpoint_checked", "cluster=%s endpoint=%s state=%s reason=%s",
               hosts->conf.cluster, log_name(host, name), state,
               fg_log_quote(quoted, sizeof(quoted), fault, strlen(fault)));
}

bool fg_hosts_obey(struct fg_hosts *hosts, const struct fg_endpoint_changes *changes,
                   uint64_t now_ns)
{
    size_t bytes = changes->count * sizeof(changes->list[0]);
    struct fg_endpoint_change *copy = malloc(bytes + 1);
    if (copy == NULL)
        return false;
    if (bytes > 0)
        memcpy(copy, changes->list, bytes);
    pthread_mutex_lock(&hosts->lock);
    struct fg_endpoint_change *before = hosts->changes.list;
    hosts->changes = (struct fg_endpoint_changes){copy, changes->count, changes->count};
    for (size_t i = 0; i < hosts->count; i++) {
        struct fg_host *host = hosts->list[i];
        bool is_out = fg_endpoint_changes_disable(&hosts->changes, host->spec.name);
        if (is_out == host->is_disabled)
            continue;
        host->is_disabled = is_out;
        fg_counter_set(&host->is_out, is_out);
        fg_counter_add(&hosts->generation, 1); /* also where it was not usable before */
        publish(hosts, host, now_ns);
    }
    pthread_mutex_unlock(&hosts->lock);
    free(before);
    return true;
}

/* ---- the sweep ---- */

static struct fg_outlier_sample totals(const struct fg_hosts *hosts, const struct fg_host *host)
{
    struct fg_outlier_sample sum = {0};
    for (unsigned t = 0; t < hosts->conf.thread_count; t++) {
        sum.errors += fg_counter_get(&host->metrics[t].errors);
        sum.answers += fg_counter_get(&host->metrics[t].answers);
    }
    return sum;
}

static uint64_t error_instants(struct fg_hosts *hosts, const struct fg_host *host)
{
    pthread_mutex_lock(&hosts->lock);
    uint64_t count = host->error_instants.count;
    pthread_mutex_unlock(&hosts->lock);
    return count;
}

/* What came since the last look. */
static void take_latencies(const struct fg_hosts *hosts, struct fg_host *host)
{
    for (size_t b = 0; b < FG_OUTLIER_BUCKETS; b++) {
        uint64_t sum = 0;
        for (size_t t = 0; t < hosts->conf.thread_count; t++)
            sum += fg_counter_get(&host->latencies[t * FG_OUTLIER_BUCKETS + b]);
        host->since.latencies[b] = (uint32_t)sum - host->seen.latencies[b];
        host->seen.latencies[b] = (uint32_t)sum;
    }
}

static struct fg_outlier_sample take_sample(struct fg_hosts *hosts, struct fg_host *host)
{
    struct fg_outlier_sample now = totals(hosts, host);
    now.error_instants = error_instants(hosts, host);
    struct fg_outlier_sample since = {
        .answers = now.answers - host->seen.answers,
        .errors = now.errors - host->seen.errors,
        .error_instants = now.error_instants - host->seen.error_instants,
        .latencies = host->since.latencies,
    };
    /* The counters move on while they are read. */
    if (since.errors > since.answers)
        since.errors = since.answers;
    now.latencies = host->seen.latencies;
    host->seen = now;
    /* Without an answer there is no latency: one that is counted in between is of the next. */
    if (since.latencies != NULL && since.answers > 0)
        take_latencies(hosts, host);
    fg_outlier_measure(&hosts->conf.outlier, &since);
    return since;
}

static bool begin_sweep(struct fg_hosts *hosts)
{
    struct fg_hosts_sweep *sweep = &hosts->sweep;
    pthread_mutex_lock(&hosts->lock);
    size_t count = hosts->count;
    sweep->list = calloc(count + 1, sizeof(struct fg_host *));
    sweep->samples = calloc(count + 1, sizeof(*sweep->samples));
    sweep->scratch = calloc(count + 1, FG_OUTLIER_SCRATCH * sizeof(*sweep->scratch));
    bool has_memory = sweep->list != NULL && sweep->samples != NULL && sweep->scratch != NULL;
    for (; has_memory && sweep->count < count; sweep->count++) {
        sweep->list[sweep->count] = hosts->list[sweep->count];
        sweep->list[sweep->count]->references++;
    }
    if (!has_memory)
        end_sweep(hosts);
    pthread_mutex_unlock(&hosts->lock);
    return has_memory;
}

/* Under the lock: those that came while it was under way have no verdict. */
static unsigned apply_verdicts(struct fg_hosts *hosts, uint64_t now_ns, struct fg_text *names)
{
    const struct fg_hosts_sweep *sweep = &hosts->sweep;
    struct fg_outlier_host *copies = calloc(hosts->count + 1, sizeof(*copies));
    if (copies == NULL)
        return 0;
    unsigned ejected = 0;
    for (size_t i = 0; i < sweep->count; i++)
        sweep->list[i]->outlier.verdict = sweep->samples[i].verdict;
    copy_outliers(hosts, copies);
    if (fg_outlier_apply(&hosts->conf.outlier, copies, hosts->count, now_ns).changed)
        ejected = take_outliers(hosts, copies, now_ns, names);
    else
        for (size_t i = 0; i < hosts->count; i++)
            hosts->list[i]->outlier = copies[i];
    free(copies);
    return ejected;
}

bool fg_hosts_sweep(struct fg_hosts *hosts, uint64_t now_ns)
{
    struct fg_hosts_sweep *sweep = &hosts->sweep;
    if (sweep->list == NULL && !begin_sweep(hosts))
        return true; /* the next interval's is of this one, too */
    /* Each count is summed over all loops, and looked at twice more for the quantiles. */
    size_t each = judges_latency(hosts) ? FG_OUTLIER_BUCKETS : 1;
    each *= (size_t)hosts->conf.thread_count + FG_OUTLIER_QUANTILES;
    for (size_t counts = 0; sweep->next < sweep->count; sweep->next++, counts += each) {
        if (counts >= SWEEP_COUNTS)
            return false;
        sweep->samples[sweep->next] = take_sample(hosts, sweep->list[sweep->next]);
    }
    fg_outlier_judge(&hosts->conf.outlier, sweep->samples, sweep->count, sweep->scratch);
    char buffer[EJECTED_TEXT_BYTES];
    struct fg_text names = fg_text_over(buffer, sizeof(buffer));
    pthread_mutex_lock(&hosts->lock);
    unsigned ejected = apply_verdicts(hosts, now_ns, &names);
    end_sweep(hosts);
    pthread_mutex_unlock(&hosts->lock);
    log_ejected(hosts, ejected, &names);
    return true;
}

/* ---- what others see ---- */

bool fg_hosts_are_ready(struct fg_hosts *hosts, const char **why)
{
    size_t usable = 0, reachable = 0, unchecked = 0;
    pthread_mutex_lock(&hosts->lock);
    for (size_t i = 0; i < hosts->count; i++) {
        const struct fg_host *host = hosts->list[i];
        bool is_usable = fg_counter_get(&host->is_usable) != 0;
        usable += is_usable;
        reachable += is_usable && fg_counter_get(&host->is_failing) == 0;
        unchecked += hosts->conf.has_checks && host->health.state == FG_HEALTH_UNKNOWN;
    }
    size_t count = hosts->count;
    pthread_mutex_unlock(&hosts->lock);
    *why = count == 0      ? "no endpoint is known"
           : reachable > 0 ? "ready"
           : usable > 0    ? "no endpoint can be connected to"
           : unchecked > 0 ? "no endpoint has been checked yet"
                           : "no endpoint is healthy";
    return reachable > 0;
}

static void set_number(json_t *into, const char *name, uint64_t value)
{
    json_object_set_new(into, name, json_integer((json_int_t)value));
}

static void set_breaker(json_t *json, const struct fg_host *host, uint64_t now_ns)
{
    const struct fg_circuit_breaker *breaker = &host->breaker;
    enum fg_breaker_state state = fg_circuit_breaker_state(breaker, now_ns);
    json_object_set_new(json, "breaker", json_string(fg_breaker_state_name(state)));
    json_object_set_new(json, "breaker_open", json_real(fg_breaker_openness(state)));
    json_object_set_new(json, "breaker_opened_by",
                        json_string(fg_breaker_rule_name(breaker->cause.rule)));
    set_number(json, "breaker_opened", breaker->opened_total);
    set_number(json, "breaker_refused", breaker->refused_total);
    set_number(json, "breaker_probes", breaker->probes_total);
}

static json_t *host_json(const struct fg_hosts *hosts, const struct fg_host *host, uint64_t now_ns)
{
    uint64_t requests = 0, opened = 0, errors = 0, resets = 0, timeouts = 0;
    for (unsigned i = 0; i < hosts->conf.thread_count; i++) {
        const struct fg_host_metrics *metrics = &host->metrics[i];
        requests += fg_counter_get(&metrics->requests);
        opened += fg_counter_get(&metrics->connections_opened);
        errors += fg_counter_get(&metrics->connect_errors);
        resets += fg_counter_get(&metrics->resets);
        timeouts += fg_counter_get(&metrics->timeouts);
    }
    struct fg_outlier_sample all = totals(hosts, host);
    json_t *json = json_object();
    json_object_set_new(json, "address", json_string(host->spec.name));
    json_object_set_new(json, "state", json_string(state_name(hosts, host)));
    json_object_set_new(json, "is_usable", json_boolean(fg_counter_get(&host->is_usable) != 0));
    json_object_set_new(json, "is_failing", json_boolean(fg_counter_get(&host->is_failing) != 0));
    set_number(json, "weight", fg_counter_get(&host->weight));
    set_number(json, "priority", fg_counter_get(&host->priority));
    set_number(json, "requests", requests);
    set_number(json, "answers", all.answers);
    set_number(json, "errors", all.errors);
    set_number(json, "connections_opened", opened);
    set_number(json, "connect_errors", errors);
    set_number(json, "resets", resets);
    set_number(json, "timeouts", timeouts);
    if (hosts->conf.has_checks) {
        set_number(json, "checks_good", host->health.good_total);
        set_number(json, "checks_bad", host->health.bad_total);
        json_object_set_new(json, "check_fault", json_string(host->check_fault));
    }
    if (hosts->conf.has_outlier) {
        const struct fg_outlier_host *outlier = &host->outlier;
        set_number(json, "ejections", outlier->ejections_total);
        json_object_set_new(json, "ejection_reason", json_string(reason_name(outlier->reason)));
        bool is_out = outlier->is_ejected && outlier->ejected_until_ns > now_ns;
        set_number(json, "ejected_for_ns", is_out ? outlier->ejected_until_ns - now_ns : 0);
    }
    if (hosts->conf.has_breaker)
        set_breaker(json, host, now_ns);
    return json;
}

json_t *fg_hosts_json(struct fg_hosts *hosts, uint64_t now_ns)
{
    json_t *array = json_array();
    pthread_mutex_lock(&hosts->lock);
    for (size_t i = 0; i < hosts->count; i++)
        json_array_append_new(array, host_json(hosts, hosts->list[i], now_ns));
    pthread_mutex_unlock(&hosts->lock);
    return array;
}
