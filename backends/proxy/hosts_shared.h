/*
 * hosts_shared.h: the hosts of one cluster, as all event loops see them: one address each, with
 * what is known about its health.
 * Protocol  one mutex guards the list, references, health and ejection; critical sections make no
 *           system call. `generation` rises (relaxed: it is advice) after every change that loops
 *           must take over; they look at it before they choose, and then call fg_hosts_adopt. What
 *           loops read in between (is_usable, errors_in_row) and their metrics are counters. One
 *           thread sweeps: what it has summed up (seen, since, sweep) is its own, without the lock.
 * Memory    a host lives until the list and every loop have let it go; at most hosts_max in a list.
 */
#ifndef FG_PROXY_HOSTS_SHARED_H
#define FG_PROXY_HOSTS_SHARED_H

#include "base/counters_shared.h"
#include "base/span.h"
#include "base/status.h"
#include "policies/circuit_breaker.h"
#include "policies/failure_row.h"
#include "policies/health.h"
#include "policies/outlier.h"
#include "proxy/endpoint_change.h"

#include <jansson.h>
#include <pthread.h>
#include <sys/socket.h>

struct fg_address {
    struct sockaddr_storage storage;
    socklen_t len;
};

/* What a host is made from; copied. */
struct fg_host_spec {
    struct fg_address address;
    char name[FG_HOST_NAME_BYTES]; /* for people: the endpoint as written, its address if named */
    char server_name[256];         /* for TLS: name or address; empty: a unix socket */
    uint32_t weight;
    uint32_t priority;
};

/* Written by one loop each, read by any thread. */
struct fg_host_metrics {
    struct fg_counter requests;
    struct fg_counter answers; /* good and bad, of whole attempts */
    struct fg_counter errors;
    struct fg_counter connections_opened;
    struct fg_counter connect_errors;
    struct fg_counter resets;
    struct fg_counter timeouts;
};

struct fg_host {
    /* constant */
    struct fg_host_spec spec; /* as it came first: see weight and priority below */
    uint64_t name_hash;
    unsigned source; /* who put it on the list */

    /* counters */
    struct fg_counter weight;
    struct fg_counter priority;
    struct fg_counter is_usable; /* checks and ejection allow it */
    struct fg_counter is_out;    /* an operator has disabled it */
    struct fg_counter usable_since_ns;
    struct fg_counter is_failing; /* the last connect of any loop failed */
    struct fg_counter errors_in_row;
    struct fg_counter error_counted_ns; /* the last of them */
    struct fg_counter breaker_state;    /* enum fg_breaker_state, as of the last call or answer */
    struct fg_counter breaker_until_ns; /* while open: when it is tried again */

    /* under the lock */
    unsigned references;
    bool is_listed;
    bool is_disabled; /* by an operator */
    struct fg_health health;
    char check_fault[64]; /* what was wrong with the last check; empty: nothing */
    struct fg_outlier_host outlier;
    struct fg_failure_row error_instants; /* never ended: counts them */
    struct fg_circuit_breaker breaker;

    /* of the sweep; latencies are ours, NULL: nobody judges them */
    struct fg_outlier_sample seen;  /* totals at the last one */
    struct fg_outlier_sample since; /* what came from there to this one */

    struct fg_counter *latencies; /* ours; FG_OUTLIER_BUCKETS a loop, to the head, of good answers;
                                   * NULL: nobody judges them */
    struct fg_host_metrics metrics[]; /* one a loop */
};

struct fg_hosts_conf {
    const char *cluster; /* what logs call it */
    unsigned thread_count;
    size_t hosts_max;
    bool has_checks; /* a host is used once its first check was good */
    bool has_outlier;
    bool has_breaker;
    bool is_breaker_shadow; /* counts, and lets all pass */
    struct fg_health_conf health;
    struct fg_outlier_conf outlier;
    struct fg_breaker_config breaker; /* valid with has_breaker */
};

/* A judgement that is under way; zeroed: none is. */
struct fg_hosts_sweep {
    struct fg_host **list; /* those that were listed when it began, with a reference to each */
    struct fg_outlier_sample *samples;
    uint64_t *scratch;
    size_t count;
    size_t next; /* the first whose sample is still to be taken */
};

struct fg_hosts {
    struct fg_hosts_conf conf;
    struct fg_counter generation;
    struct fg_counter ejections_total;
    struct fg_counter broken_count; /* hosts whose breaker is not closed */
    pthread_mutex_t lock;
    struct fg_host **list;
    size_t count;
    struct fg_endpoint_changes changes; /* who is enabled, as operators say */
    struct fg_hosts_sweep sweep;
};

FG_MUST_USE bool fg_hosts_init(struct fg_hosts *hosts, const struct fg_hosts_conf *conf);
/* No loop holds a host any more. Zeroed is fine. */
void fg_hosts_fini(struct fg_hosts *hosts);

/*
 * These are now the hosts of `source`; those that were listed before, by their address, stay what
 * they are, with the weight and priority that they have now. Of an address that is there twice the
 * last counts. `now_ns` is when new ones came into service; 0 at start-up: no slow start.
 * FG_ERR_LIMIT or FG_ERR_NO_MEMORY: nothing has changed.
 */
FG_MUST_USE enum fg_status fg_hosts_replace(struct fg_hosts *hosts, unsigned source,
                                            const struct fg_host_spec *specs, size_t count,
                                            uint64_t now_ns);

/* Does a source other than `source` list the address? */
bool fg_hosts_list_elsewhere(struct fg_hosts *hosts, unsigned source,
                             const struct fg_host_spec *spec);
/* How many are listed that the name means. */
size_t fg_hosts_count_named(struct fg_hosts *hosts, struct fg_span name);
/*
 * Who is enabled, from now on and of those that are listed later: what `changes`, all of this
 * cluster and copied, say. False without memory: nothing has changed.
 */
FG_MUST_USE bool fg_hosts_obey(struct fg_hosts *hosts, const struct fg_endpoint_changes *changes,
                               uint64_t now_ns);

/* The list, `max` at most, with a reference to each; returns how many. */
size_t fg_hosts_adopt(struct fg_hosts *hosts, struct fg_host **into, size_t max);
void fg_hosts_release(struct fg_hosts *hosts, struct fg_host *host);

/*
 * May a request be sent to the host? PASS and PROBE: fg_hosts_note_breaker tells of it once.
 * REFUSE: *retry_after_ns says when to ask again. Takes no lock while the host's breaker is closed.
 */
enum fg_breaker_verdict fg_hosts_try_pass(struct fg_hosts *hosts, struct fg_host *host,
                                          enum fg_priority priority, uint64_t now_ns,
                                          uint64_t *retry_after_ns);
/* A probe that was told of as CANCELLED is under way after all. True: it is one again. */
bool fg_hosts_resume_probe(struct fg_hosts *hosts, struct fg_host *host, uint64_t now_ns);
/* How what was let pass went; `latency_ns`: until it answered or failed. */
void fg_hosts_note_breaker(struct fg_hosts *hosts, struct fg_host *host, bool was_probe,
                           enum fg_breaker_outcome outcome, uint64_t latency_ns, uint64_t now_ns);
/* An attempt of loop `thread` has ended; `latency_ns` to the head counts for good ones. */
void fg_hosts_note_answer(struct fg_hosts *hosts, struct fg_host *host, unsigned thread,
                          bool is_error, uint64_t latency_ns, uint64_t now_ns);
/* An active check has ended; `fault` says what was wrong, NULL: nothing. */
void fg_hosts_note_check(struct fg_hosts *hosts, struct fg_host *host, const char *fault,
                         uint64_t now_ns);
/*
 * Once an outlier interval, from one thread: part of the judgement, as there are many latencies
 * to count. False: call again, soon.
 */
FG_MUST_USE bool fg_hosts_sweep(struct fg_hosts *hosts, uint64_t now_ns);

/* Can any be used? *why is a constant. Any thread. */
bool fg_hosts_are_ready(struct fg_hosts *hosts, const char **why);
/* One object a host. Any thread. */
json_t *fg_hosts_json(struct fg_hosts *hosts, uint64_t now_ns);

#endif
