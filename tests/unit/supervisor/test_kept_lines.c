/*
 * test_kept_lines.c: which memory each gateway inherits for its waiting rooms' lines.
 */
#include "supervisor/kept_lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

static struct fg_route_conf routes[3];
static struct fg_config config;
static struct fg_kept_lines kept;

static int set_up(void **state)
{
    (void)state;
    memset(routes, 0, sizeof(routes));
    config = (struct fg_config){.routes = routes, .route_count = 3};
    kept = (struct fg_kept_lines){.lines = NULL};
    routes[0].name = "plain";
    routes[1].name = "sale";
    routes[2].name = "filed";
    for (int i = 1; i < 3; i++) {
        routes[i].waiting_room.enabled = true;
        routes[i].waiting_room.waiting_max = 100;
        routes[i].waiting_room.admit.period_ns = 1;
        routes[i].waiting_room.keep_ns = 1;
    }
    routes[2].waiting_room.state_file = "/somewhere/line";
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fg_kept_lines_fini(&kept);
    return 0;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1;
}

static void a_line_without_a_file_keeps_its_memory(void **state)
{
    (void)state;
    fg_kept_lines_prepare(&kept, &config);
    int fd = kept.by_route[1].fd;
    assert_true(is_open(fd));
    assert_int_equal(kept.by_route[1].before_fd, -1);
    assert_int_equal(kept.by_route[0].fd, -1);
    assert_int_equal(kept.by_route[2].fd, -1);
    fg_kept_lines_settle(&kept, &config);
    routes[1].name = "other"; /* the routes of a new configuration stand elsewhere */
    routes[0].name = "sale";
    routes[0].waiting_room = routes[1].waiting_room;
    fg_kept_lines_prepare(&kept, &config);
    assert_int_equal(kept.by_route[0].fd, fd);
    assert_true(kept.by_route[1].fd != fd && is_open(kept.by_route[1].fd));
    routes[0].waiting_room.enabled = false;
    assert_true(is_open(fd)); /* until the next gateway serves, the one before may come back */
    fg_kept_lines_settle(&kept, &config);
    assert_false(is_open(fd));
}

static void a_line_that_needs_more_room_moves_once_the_next_gateway_serves(void **state)
{
    (void)state;
    fg_kept_lines_prepare(&kept, &config);
    int small = kept.by_route[1].fd;
    fg_kept_lines_settle(&kept, &config);
    routes[1].waiting_room.waiting_max = 100000;
    fg_kept_lines_prepare(&kept, &config);
    int large = kept.by_route[1].fd;
    assert_int_equal(kept.by_route[1].before_fd, small);
    assert_true(large != small && is_open(small));
    assert_int_equal(write(large, "half a line", 11), 11);
    fg_kept_lines_prepare(&kept, &config); /* it died on the way: begin again with what was there */
    assert_int_equal(kept.by_route[1].before_fd, small);
    assert_int_equal(lseek(kept.by_route[1].fd, 0, SEEK_END), 0);
    large = kept.by_route[1].fd;
    fg_kept_lines_settle(&kept, &config);
    assert_true(is_open(large));
    assert_false(is_open(small));
    routes[1].waiting_room.waiting_max = 50; /* less fits into what there is */
    fg_kept_lines_prepare(&kept, &config);
    assert_int_equal(kept.by_route[1].fd, large);
    assert_int_equal(kept.by_route[1].before_fd, -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_line_without_a_file_keeps_its_memory),
        TEST(a_line_that_needs_more_room_moves_once_the_next_gateway_serves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
