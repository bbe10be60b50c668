/*
 * test_kept_cache.c: which memory each gateway inherits for the pinned pages.
 */
#include "supervisor/kept_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>

static struct fg_route_conf routes[2];
static const struct fg_config pinning = {.routes = routes, .route_count = 2};
static const struct fg_config plain = {.routes = routes, .route_count = 1};

static int set_up(void **state)
{
    (void)state;
    memset(routes, 0, sizeof(routes));
    routes[0].cache = true;
    routes[1].cache = true;
    routes[1].cache_keep = FG_CACHE_KEEP_PINNED;
    return 0;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

static void each_gateway_reads_what_the_one_before_wrote(void **state)
{
    (void)state;
    struct fg_page_memory kept = FG_KEPT_CACHE_INIT;
    assert_true(fg_kept_cache_prepare(&kept, &pinning));
    int first = kept.fd;
    assert_int_equal(kept.before_fd, -1);
    fg_kept_cache_settle(&kept, &pinning);
    assert_true(fg_kept_cache_prepare(&kept, &pinning));
    assert_int_equal(kept.before_fd, first);
    int second = kept.fd;
    assert_int_not_equal(second, first);
    assert_true(fg_kept_cache_prepare(&kept, &pinning)); /* the second has not come up */
    assert_int_equal(kept.before_fd, first);
    fg_kept_cache_settle(&kept, &pinning);
    assert_false(is_open(first));
    assert_true(is_open(kept.fd));
    fg_kept_cache_fini(&kept);
    assert_int_equal(kept.fd, -1);
}

static void who_pins_nothing_keeps_nothing(void **state)
{
    (void)state;
    struct fg_page_memory kept = FG_KEPT_CACHE_INIT;
    assert_true(fg_kept_cache_prepare(&kept, &pinning));
    int first = kept.fd;
    fg_kept_cache_settle(&kept, &pinning);
    assert_false(fg_kept_cache_prepare(&kept, &plain));
    assert_true(is_open(first)); /* until it serves, the old configuration may come back */
    fg_kept_cache_settle(&kept, &plain);
    assert_false(is_open(first));
    fg_kept_cache_fini(&kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_gateway_reads_what_the_one_before_wrote, set_up),
        cmocka_unit_test_setup(who_pins_nothing_keeps_nothing, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
