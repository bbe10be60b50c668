/*
 * test_host_breaker.c: a breaker for each host: who is left alone, who may try it again, and that
 * no interleaving of loops sends one probe too many.
 */
#include "proxy/hosts_shared.h"

#include "base/clock.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define HOSTS 2u

struct fixture {
    struct fg_hosts hosts;
    struct fg_host *host[HOSTS];
};

static struct fg_breaker_config breaker_of(uint32_t probes)
{
    struct fg_breaker_config breaker = fg_circuit_breaker_config_default();
    breaker.consecutive_failures = 2;
    breaker.half_open_probes = probes;
    breaker.half_open_interval_ns = 0;
    return breaker; /* open 1 s at first */
}

static void open_fixture(struct fixture *f, const struct fg_breaker_config *breaker, bool is_shadow)
{
    const struct fg_hosts_conf conf = {.cluster = "c",
                                       .thread_count = 4,
                                       .hosts_max = HOSTS,
                                       .has_breaker = true,
                                       .is_breaker_shadow = is_shadow,
                                       .breaker = *breaker};
    struct fg_host_spec specs[HOSTS];
    assert_true(fg_hosts_init(&f->hosts, &conf));
    for (unsigned i = 0; i < HOSTS; i++) {
        specs[i] = (struct fg_host_spec){.weight = 1};
        struct sockaddr_in *v4 = (struct sockaddr_in *)&specs[i].address.storage;
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)(i + 1));
        specs[i].address.len = sizeof(*v4);
        snprintf(specs[i].name, sizeof(specs[i].name), "127.0.0.1:%u", i + 1);
    }
    assert_int_equal(fg_hosts_replace(&f->hosts, 0, specs, HOSTS, 0), FG_OK);
    assert_int_equal(fg_hosts_adopt(&f->hosts, f->host, HOSTS), HOSTS);
}

static void close_fixture(struct fixture *f)
{
    for (unsigned i = 0; i < HOSTS; i++)
        fg_hosts_release(&f->hosts, f->host[i]);
    fg_hosts_fini(&f->hosts);
}

static enum fg_breaker_verdict ask(struct fixture *f, uint64_t now_ns)
{
    uint64_t wait_ns;
    return fg_hosts_try_pass(&f->hosts, f->host[0], FG_PRIORITY_NORMAL, now_ns, &wait_ns);
}

static void tell(struct fixture *f, bool was_probe, enum fg_breaker_outcome outcome,
                 uint64_t now_ns)
{
    fg_hosts_note_breaker(&f->hosts, f->host[0], was_probe, outcome, 0, now_ns);
}

static bool is_usable(const struct fixture *f, unsigned index)
{
    return fg_counter_get(&f->host[index]->is_usable) != 0;
}

static void one_that_fails_is_left_alone_and_tried_again(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_breaker_config breaker = breaker_of(2);
    open_fixture(&f, &breaker, false);
    uint64_t generation = fg_counter_get(&f.hosts.generation);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(ask(&f, 5), FG_BREAKER_PASS);
        tell(&f, false, FG_BREAKER_FAILURE, 5);
    }
    assert_false(is_usable(&f, 0));
    assert_true(is_usable(&f, 1));
    assert_true(fg_counter_get(&f.hosts.generation) > generation);
    assert_int_equal(fg_counter_get(&f.hosts.broken_count), 1);
    assert_int_equal(fg_counter_get(&f.host[0]->breaker_until_ns), FG_S + 5);
    assert_int_equal(ask(&f, FG_S), FG_BREAKER_REFUSE);
    assert_int_equal(ask(&f, FG_S + 5), FG_BREAKER_PROBE);
    assert_int_equal(ask(&f, FG_S + 5), FG_BREAKER_PROBE);
    assert_int_equal(ask(&f, FG_S + 5), FG_BREAKER_REFUSE);
    assert_false(is_usable(&f, 0)); /* probes only: the balancer does not choose it */
    for (unsigned i = 0; i < 2; i++)
        tell(&f, true, FG_BREAKER_SUCCESS, FG_S + 6);
    assert_true(is_usable(&f, 0));
    assert_int_equal(fg_counter_get(&f.hosts.broken_count), 0);
    assert_int_equal(ask(&f, FG_S + 7), FG_BREAKER_PASS);
    close_fixture(&f);
}

static void one_that_is_listed_no_more_is_not_counted(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_breaker_config breaker = breaker_of(1);
    open_fixture(&f, &breaker, false);
    for (unsigned i = 0; i < 2; i++)
        tell(&f, false, FG_BREAKER_FAILURE, 0);
    assert_int_equal(fg_counter_get(&f.hosts.broken_count), 1);
    assert_int_equal(fg_hosts_replace(&f.hosts, 0, NULL, 0, 0), FG_OK);
    assert_int_equal(fg_counter_get(&f.hosts.broken_count), 0);
    assert_int_equal(ask(&f, FG_S), FG_BREAKER_PROBE); /* a loop that still has it */
    tell(&f, true, FG_BREAKER_SUCCESS, FG_S);
    assert_int_equal(fg_counter_get(&f.hosts.broken_count), 0);
    close_fixture(&f);
}

static void in_shadow_all_are_used(void **state)
{
    (void)state;
    struct fixture f;
    struct fg_breaker_config breaker = breaker_of(1);
    open_fixture(&f, &breaker, true);
    for (unsigned i = 0; i < 2; i++)
        tell(&f, false, FG_BREAKER_FAILURE, 0);
    assert_true(is_usable(&f, 0));
    assert_int_equal(ask(&f, 1), FG_BREAKER_WOULD_REFUSE);
    json_t *json = fg_hosts_json(&f.hosts, 1);
    json_t *first = json_array_get(json, 0);
    assert_string_equal(json_string_value(json_object_get(first, "state")), "healthy");
    assert_string_equal(json_string_value(json_object_get(first, "breaker")), "open");
    assert_string_equal(json_string_value(json_object_get(first, "breaker_opened_by")),
                        "consecutive_failures");
    assert_int_equal(json_integer_value(json_object_get(first, "breaker_refused")), 1);
    json_decref(json);
    close_fixture(&f);
}

/* ---- many threads ---- */

#define THREADS 4
#define ROUNDS 20000
#define PROBES 2

static struct fixture shared;
static struct fg_counter probing;

static void *use_host(void *arg)
{
    unsigned seed = *(unsigned *)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t now_ns = fg_clock_monotonic_ns();
        enum fg_breaker_verdict verdict = ask(&shared, now_ns);
        seed = seed * 1103515245u + 12345u;
        enum fg_breaker_outcome outcome =
            (seed >> 16 & 3) == 0 ? FG_BREAKER_FAILURE : FG_BREAKER_SUCCESS;
        if (verdict == FG_BREAKER_REFUSE)
            continue;
        if (verdict == FG_BREAKER_PROBE) {
            fg_counter_add(&probing, 1);
            assert_true(fg_counter_get(&probing) <= PROBES);
            fg_counter_sub(&probing, 1);
        }
        tell(&shared, verdict == FG_BREAKER_PROBE, outcome, now_ns);
    }
    return NULL;
}

static void never_one_probe_too_many(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    unsigned seeds[THREADS];
    struct fg_breaker_config breaker = breaker_of(PROBES);
    breaker.open_ns = 1;
    breaker.open_max_ns = 1000;
    open_fixture(&shared, &breaker, false);
    for (unsigned i = 0; i < THREADS; i++) {
        seeds[i] = i * 7919 + 1;
        assert_int_equal(pthread_create(&threads[i], NULL, use_host, &seeds[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(shared.host[0]->breaker.probes_in_flight, 0);
    assert_true(shared.host[0]->breaker.opened_total > 10);
    close_fixture(&shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_fails_is_left_alone_and_tried_again),
        cmocka_unit_test(one_that_is_listed_no_more_is_not_counted),
        cmocka_unit_test(in_shadow_all_are_used),
        cmocka_unit_test(never_one_probe_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
