/*
 * test_hosts_shared.c: the list of hosts and who of them is used.
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

#define HOSTS_MAX 4u

static struct fg_host_spec spec_of(unsigned port)
{
    struct fg_host_spec spec = {.weight = 1};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&spec.address.storage;
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    spec.address.len = sizeof(*v4);
    snprintf(spec.name, sizeof(spec.name), "127.0.0.1:%u", port);
    return spec;
}

static void setup(struct fg_hosts *hosts, bool has_checks)
{
    const struct fg_hosts_conf conf = {
        .cluster = "c",
        .thread_count = 2,
        .hosts_max = HOSTS_MAX,
        .has_checks = has_checks,
        .has_outlier = true,
        .health = {.interval_ns = FG_S, .healthy_after = 1, .unhealthy_after = 1},
        .outlier = {.consecutive_errors = 3,
                    .error_permille = 500,
                    .min_requests = 4,
                    .ejected_max_permille = 500,
                    .ejection_ns = 10 * FG_S,
                    .ejection_max_ns = 60 * FG_S},
    };
    assert_true(fg_hosts_init(hosts, &conf));
}

static void sweep(struct fg_hosts *hosts, uint64_t now_ns)
{
    while (!fg_hosts_sweep(hosts, now_ns))
        assert_non_null(hosts->sweep.list);
    assert_null(hosts->sweep.list);
}

static size_t usable(struct fg_hosts *hosts)
{
    struct fg_host *all[HOSTS_MAX];
    size_t count = fg_hosts_adopt(hosts, all, HOSTS_MAX), used = 0;
    for (size_t i = 0; i < count; i++) {
        used += fg_counter_get(&all[i]->is_usable) != 0;
        fg_hosts_release(hosts, all[i]);
    }
    return used;
}

/* Nothing but this is said by operators: `name` is disabled; NULL: nothing is. */
static void obey(struct fg_hosts *hosts, const char *name)
{
    struct fg_endpoint_change change;
    struct fg_endpoint_changes changes = {.list = &change, .count = name != NULL, .max = 1};
    if (name != NULL)
        assert_true(fg_endpoint_change_make(&change, FG_ENDPOINT_DISABLE, FG_SPAN("api"),
                                            fg_span_from_string(name)));
    assert_true(fg_hosts_obey(hosts, &changes, 0));
}

static void known_hosts_stay_what_they_are(void **state)
{
    (void)state;
    struct fg_hosts hosts;
    struct fg_host *before[HOSTS_MAX], *after[HOSTS_MAX];
    setup(&hosts, false);
    struct fg_host_spec specs[] = {spec_of(1), spec_of(2), spec_of(3)};
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, 2, 0), FG_OK);
    uint64_t generation = fg_counter_get(&hosts.generation);
    assert_int_equal(fg_hosts_adopt(&hosts, before, HOSTS_MAX), 2);
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, 2, 0), FG_OK);
    assert_int_equal(fg_counter_get(&hosts.generation), generation); /* nothing is new */
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs + 1, 2, 5), FG_OK);
    assert_true(fg_counter_get(&hosts.generation) > generation);
    assert_int_equal(fg_hosts_adopt(&hosts, after, HOSTS_MAX), 2);
    assert_ptr_equal(before[1], after[0]);
    assert_int_equal(fg_counter_get(&after[1]->usable_since_ns), 5);
    assert_false(before[0]->is_listed); /* but alive while a loop holds it */
    for (size_t i = 0; i < 2; i++) {
        fg_hosts_release(&hosts, before[i]);
        fg_hosts_release(&hosts, after[i]);
    }
    fg_hosts_fini(&hosts);
}

static void sources_do_not_touch_each_other(void **state)
{
    (void)state;
    struct fg_hosts hosts;
    setup(&hosts, false);
    struct fg_host_spec specs[] = {spec_of(1), spec_of(2), spec_of(3), spec_of(4), spec_of(5)};
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, 2, 0), FG_OK);
    assert_int_equal(fg_hosts_replace(&hosts, 1, specs + 2, 2, 0), FG_OK);
    assert_int_equal(hosts.count, 4);
    assert_int_equal(fg_hosts_replace(&hosts, 2, specs + 4, 1, 0), FG_ERR_LIMIT);
    assert_int_equal(hosts.count, 4);
    assert_int_equal(fg_hosts_replace(&hosts, 0, NULL, 0, 0), FG_OK);
    assert_int_equal(hosts.count, 2);
    fg_hosts_fini(&hosts);
}

/* A weight is no identity: who is out stays out, and what is known stays known. */
static void another_weight_is_the_same_host(void **state)
{
    (void)state;
    struct fg_hosts hosts;
    setup(&hosts, true);
    struct fg_host_spec specs[] = {spec_of(1), spec_of(2)};
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, 2, 0), FG_OK);
    struct fg_host *host = hosts.list[0];
    fg_hosts_note_check(&hosts, host, NULL, 7);
    fg_hosts_note_check(&hosts, hosts.list[1], "status 500", 7);
    uint64_t generation = fg_counter_get(&hosts.generation);
    specs[0].weight = 9;
    specs[1].priority = 3;
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, 2, 8), FG_OK);
    assert_ptr_equal(hosts.list[0], host);
    assert_int_equal(fg_counter_get(&host->weight), 9);
    assert_int_equal(fg_counter_get(&hosts.list[1]->priority), 3);
    assert_true(fg_counter_get(&hosts.generation) > generation);
    assert_int_equal(host->health.state, FG_HEALTH_HEALTHY);
    assert_int_equal(hosts.list[1]->health.state, FG_HEALTH_UNHEALTHY);
    assert_int_equal(fg_counter_get(&host->usable_since_ns), 0); /* nor does it start slowly */
    fg_hosts_fini(&hosts);
}

static void an_address_that_is_there_twice_is_one(void **state)
{
    (void)state;
    struct fg_hosts hosts;
    setup(&hosts, false);
    struct fg_host_spec specs[] = {spec_of(1), spec_of(2), spec_of(1)};
    specs[2].weight = 7;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t generation = fg_counter_get(&hosts.generation);
        assert_int_equal(fg_hosts_replace(&hosts, 0, specs, 3, 0), FG_OK);
        assert_int_equal(hosts.count, 2);
        assert_int_equal(fg_counter_get(&hosts.list[0]->weight), 7);
        assert_int_equal(fg_counter_get(&hosts.generation) > generation, i == 0);
    }
    fg_hosts_fini(&hosts);
}

static void as_many_as_may_be_are_replaced_by_as_many_others(void **state)
{
    (void)state;
    struct fg_hosts hosts;
    setup(&hosts, false);
    struct fg_host_spec specs[] = {spec_of(1), spec_of(2), spec_of(3), spec_of(4), spec_of(5),
                                   spec_of(6), spec_of(7), spec_of(8), spec_of(9)};
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, HOSTS_MAX, 0), FG_OK);
    struct fg_host *first = hosts.list[0];
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs + 4, HOSTS_MAX + 1, 0), FG_ERR_LIMIT);
    assert_int_equal(hosts.count, HOSTS_MAX);
    assert_ptr_equal(hosts.list[0], first); /* nothing has changed */
    assert_true(first->is_listed);
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs + 4, HOSTS_MAX, 0), FG_OK);
    assert_int_equal(hosts.count, HOSTS_MAX);
    assert_string_equal(hosts.list[0]->spec.name, specs[4].name);
    fg_hosts_fini(&hosts);
}

static void who_is_disabled_by_name_is_so_at_other_addresses(void **state)
{
    (void)state;
    struct fg_hosts hosts;
    setup(&hosts, false);
    struct fg_host_spec specs[] = {spec_of(1), spec_of(2), spec_of(3)};
    for (size_t i = 0; i < 3; i++)
        snprintf(specs[i].name, sizeof(specs[i].name), "pods.test:80 (127.0.0.%zu)", i + 1);
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, 1, 0), FG_OK);
    obey(&hosts, "pods.test:80 (127.0.0.1)");
    assert_int_equal(usable(&hosts), 0);
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs + 1, 1, 0), FG_OK);
    assert_int_equal(usable(&hosts), 1); /* it was that address alone */
    obey(&hosts, "pods.test:80");
    assert_int_equal(usable(&hosts), 0);
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs + 2, 1, 0), FG_OK);
    assert_int_equal(usable(&hosts), 0);
    assert_int_equal(fg_counter_get(&hosts.list[0]->is_out), 1);
    assert_int_equal(fg_hosts_replace(&hosts, 0, NULL, 0, 0), FG_OK);
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, 1, 0), FG_OK); /* it comes back */
    assert_int_equal(usable(&hosts), 0);
    obey(&hosts, NULL);
    assert_int_equal(usable(&hosts), 1);
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, 2, 0), FG_OK);
    assert_int_equal(usable(&hosts), 2);
    fg_hosts_fini(&hosts);
}

static void a_host_is_used_once_its_check_was_good(void **state)
{
    (void)state;
    struct fg_hosts hosts;
    const char *why;
    setup(&hosts, true);
    assert_false(fg_hosts_are_ready(&hosts, &why));
    assert_string_equal(why, "no endpoint is known");
    struct fg_host_spec spec = spec_of(1);
    assert_int_equal(fg_hosts_replace(&hosts, 0, &spec, 1, 0), FG_OK);
    assert_false(fg_hosts_are_ready(&hosts, &why));
    assert_string_equal(why, "no endpoint has been checked yet");
    fg_hosts_note_check(&hosts, hosts.list[0], NULL, 7);
    assert_true(fg_hosts_are_ready(&hosts, &why));
    assert_int_equal(fg_counter_get(&hosts.list[0]->usable_since_ns), 0); /* no slow start */
    fg_hosts_note_check(&hosts, hosts.list[0], "status 500", 8);
    assert_false(fg_hosts_are_ready(&hosts, &why));
    assert_string_equal(why, "no endpoint is healthy");
    fg_hosts_note_check(&hosts, hosts.list[0], NULL, 9);
    assert_int_equal(fg_counter_get(&hosts.list[0]->usable_since_ns), 9);
    fg_hosts_fini(&hosts);
}

static void errors_in_a_row_eject_whichever_loop_saw_them(void **state)
{
    (void)state;
    struct fg_hosts hosts;
    setup(&hosts, false);
    struct fg_host_spec specs[] = {spec_of(1), spec_of(2)};
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, 2, 0), FG_OK);
    struct fg_host *host = hosts.list[0];
    fg_hosts_note_answer(&hosts, host, 0, true, 0, 0);
    fg_hosts_note_answer(&hosts, host, 1, true, 0, 0);
    fg_hosts_note_answer(&hosts, host, 0, false, 1, 0); /* the row is broken */
    for (unsigned i = 0; i < 2; i++)
        fg_hosts_note_answer(&hosts, host, i, true, 0, 0);
    assert_int_equal(usable(&hosts), 2);
    fg_hosts_note_answer(&hosts, host, 1, true, 0, 0);
    assert_int_equal(usable(&hosts), 1);
    assert_true(host->outlier.is_ejected);
    sweep(&hosts, 10 * FG_S - 1);
    assert_int_equal(usable(&hosts), 1);
    sweep(&hosts, 10 * FG_S);
    assert_int_equal(usable(&hosts), 2);
    assert_int_equal(fg_counter_get(&host->usable_since_ns), 10 * FG_S);
    fg_hosts_fini(&hosts);
}

static void a_sweep_judges_what_came_since_the_last(void **state)
{
    (void)state;
    struct fg_hosts hosts;
    setup(&hosts, false);
    struct fg_host_spec specs[] = {spec_of(1), spec_of(2)};
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, 2, 0), FG_OK);
    for (unsigned i = 0; i < 8; i++) {
        fg_hosts_note_answer(&hosts, hosts.list[0], i % 2, i % 2 == 0, 9, 9); /* at one instant */
        fg_hosts_note_answer(&hosts, hosts.list[1], i % 2, i % 2 == 0, 1, 2 * i);
    }
    sweep(&hosts, 20);
    assert_int_equal(usable(&hosts), 1);
    assert_int_equal(hosts.list[1]->outlier.reason, FG_OUTLIER_RATIO);
    sweep(&hosts, 20 * FG_S); /* back, and the old errors are not counted again */
    sweep(&hosts, 21 * FG_S);
    assert_int_equal(usable(&hosts), 2);
    fg_hosts_fini(&hosts);
}

#define MANY 24u
#define LOOPS 8u

/* Of each host an answer a loop, of `slow` a slow one. */
static void answer_all(struct fg_hosts *hosts, size_t slow)
{
    for (size_t i = 0; i < hosts->count; i++) {
        for (unsigned t = 0; t < LOOPS; t++)
            fg_hosts_note_answer(hosts, hosts->list[i], t, false, i == slow ? FG_S : 10 * FG_MS + i,
                                 FG_S);
    }
}

static void latencies_of_many_are_counted_in_parts(void **state)
{
    (void)state;
    struct fg_hosts hosts;
    struct fg_host_spec specs[MANY + 1];
    const struct fg_hosts_conf conf = {
        .cluster = "c",
        .thread_count = LOOPS,
        .hosts_max = MANY + 1,
        .has_outlier = true,
        .outlier = {.latency_permille = 3000,
                    .min_requests = 4,
                    .ejected_max_permille = 500,
                    .ejection_ns = 10 * FG_S,
                    .ejection_max_ns = 60 * FG_S},
    };
    assert_true(fg_hosts_init(&hosts, &conf));
    for (unsigned i = 0; i < MANY + 1; i++)
        specs[i] = spec_of(1 + i);
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, MANY, 0), FG_OK);
    answer_all(&hosts, MANY - 1);
    unsigned parts = 1;
    while (!fg_hosts_sweep(&hosts, FG_S)) {
        /* In the meantime the first goes, and another one comes. */
        if (parts++ == 1)
            assert_int_equal(fg_hosts_replace(&hosts, 0, specs + 1, MANY, 0), FG_OK);
        assert_int_equal(fg_counter_get(&hosts.ejections_total), 0);
    }
    assert_true(parts > 2 && parts < MANY);
    assert_int_equal(hosts.count, MANY);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(hosts.list[i]->outlier.is_ejected, i == MANY - 2);
    sweep(&hosts, 12 * FG_S); /* back, and the old answers are not counted again */
    assert_false(hosts.list[MANY - 2]->outlier.is_ejected);
    answer_all(&hosts, MANY - 1); /* also that which came is judged from now on */
    sweep(&hosts, 13 * FG_S);
    assert_true(hosts.list[MANY - 1]->outlier.is_ejected);
    assert_false(fg_hosts_sweep(&hosts, 14 * FG_S)); /* never ended */
    fg_hosts_fini(&hosts);
}

#define ROUNDS 2000u

struct reader {
    struct fg_hosts *hosts;
    unsigned thread;
    pthread_t id;
};

static void *adopt_and_answer(void *arg)
{
    const struct reader *reader = arg;
    struct fg_host *all[HOSTS_MAX];
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t count = fg_hosts_adopt(reader->hosts, all, HOSTS_MAX);
        for (size_t j = 0; j < count; j++) {
            fg_hosts_note_answer(reader->hosts, all[j], reader->thread, i % 3 == 0, i, i);
            fg_hosts_release(reader->hosts, all[j]);
        }
    }
    return NULL;
}

static void loops_may_use_the_list_while_it_changes(void **state)
{
    (void)state;
    struct fg_hosts hosts;
    struct reader readers[2];
    setup(&hosts, false);
    struct fg_host_spec specs[] = {spec_of(1), spec_of(2), spec_of(3)};
    for (unsigned i = 0; i < 2; i++) {
        readers[i] = (struct reader){.hosts = &hosts, .thread = i};
        assert_int_equal(pthread_create(&readers[i].id, NULL, adopt_and_answer, &readers[i]), 0);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        assert_int_equal(fg_hosts_replace(&hosts, 0, specs + i % 2, 1 + i % 2, i), FG_OK);
        obey(&hosts, i % 4 != 0 ? NULL : "127.0.0.1:2");
        sweep(&hosts, i);
        json_decref(fg_hosts_json(&hosts, i));
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(readers[i].id, NULL);
    fg_hosts_fini(&hosts);
}

static void one_asks_who_else_lists_an_address(void **state)
{
    (void)state;
    struct fg_hosts hosts;
    setup(&hosts, false);
    struct fg_host_spec specs[] = {spec_of(1), spec_of(2)};
    assert_int_equal(fg_hosts_replace(&hosts, 0, specs, 1, 0), FG_OK);
    assert_int_equal(fg_hosts_replace(&hosts, 9, specs + 1, 1, 0), FG_OK);
    assert_true(fg_hosts_list_elsewhere(&hosts, 9, &specs[0]));
    assert_false(fg_hosts_list_elsewhere(&hosts, 9, &specs[1]));
    assert_int_equal(fg_hosts_count_named(&hosts, FG_SPAN("127.0.0.1:1")), 1);
    assert_int_equal(fg_hosts_count_named(&hosts, FG_SPAN("127.0.0.1")), 0);
    fg_hosts_fini(&hosts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_hosts_stay_what_they_are),
        cmocka_unit_test(sources_do_not_touch_each_other),
        cmocka_unit_test(another_weight_is_the_same_host),
        cmocka_unit_test(an_address_that_is_there_twice_is_one),
        cmocka_unit_test(as_many_as_may_be_are_replaced_by_as_many_others),
        cmocka_unit_test(who_is_disabled_by_name_is_so_at_other_addresses),
        cmocka_unit_test(a_host_is_used_once_its_check_was_good),
        cmocka_unit_test(errors_in_a_row_eject_whichever_loop_saw_them),
        cmocka_unit_test(a_sweep_judges_what_came_since_the_last),
        cmocka_unit_test(latencies_of_many_are_counted_in_parts),
        cmocka_unit_test(loops_may_use_the_list_while_it_changes),
        cmocka_unit_test(one_asks_who_else_lists_an_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
