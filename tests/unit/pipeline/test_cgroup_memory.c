/*
 * test_cgroup_memory.c: groups made of plain files, as either version of the kernel shows them.
 */
#include "pipeline/cgroup_memory.h"

#include "kernel_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

static void takes_what_can_be_taken_back_off(void **state)
{
    (void)state;
    struct fg_cgroup_memory group;
    fg_kernel_files_write("memory.max", "104857600\n");
    fg_kernel_files_write("memory.current", "83886080\n");
    fg_kernel_files_write("memory.stat",
                          "anon 1\nfile 2\ninactive_anon 3\ninactive_file 20971520\nx 4\n");
    fg_cgroup_memory_open(&group, fg_kernel_files_root(), "0::/\n");
    assert_int_equal(group.limit_bytes, 100 * MIB);
    assert_int_equal(fg_cgroup_memory_used(&group), 60 * MIB);
    fg_kernel_files_write("memory.current",
                          "10485760\n"); /* less than the cache: the two are read apart */
    assert_int_equal(fg_cgroup_memory_used(&group), 0);
    fg_kernel_files_write("memory.current", "");
    assert_int_equal(fg_cgroup_memory_used(&group), 0);
    fg_cgroup_memory_close(&group);
}

static void the_tightest_limit_on_the_way_up_counts(void **state)
{
    (void)state;
    struct fg_cgroup_memory group;
    fg_kernel_files_folder("a.slice");
    fg_kernel_files_folder("a.slice/b.service");
    fg_kernel_files_write("a.slice/b.service/memory.max", "max\n");
    fg_kernel_files_write("a.slice/b.service/memory.current", "1\n");
    fg_kernel_files_write("a.slice/memory.max", "209715200\n");
    fg_kernel_files_write("a.slice/memory.high", "max\n");
    fg_kernel_files_write("a.slice/memory.current", "2\n");
    fg_kernel_files_write("memory.max", "314572800\n");
    fg_kernel_files_write("memory.current", "3\n");
    fg_cgroup_memory_open(&group, fg_kernel_files_root(), "12:cpu:/x\n0::/a.slice/b.service\n");
    assert_int_equal(group.limit_bytes, 200 * MIB);
    assert_int_equal(fg_cgroup_memory_used(&group), 2);
    fg_cgroup_memory_close(&group);
    fg_kernel_files_write("a.slice/b.service/memory.high",
                          "1048576\n"); /* the kernel throttles from there */
    fg_cgroup_memory_open(&group, fg_kernel_files_root(), "0::/a.slice/b.service");
    assert_int_equal(group.limit_bytes, MIB);
    assert_int_equal(fg_cgroup_memory_used(&group), 1);
    fg_cgroup_memory_close(&group);
}

static void a_container_sees_its_group_at_the_root(void **state)
{
    (void)state;
    struct fg_cgroup_memory group;
    fg_kernel_files_folder("memory");
    fg_kernel_files_write("memory/memory.limit_in_bytes", "52428800\n");
    fg_kernel_files_write("memory/memory.usage_in_bytes", "31457280\n");
    fg_kernel_files_write("memory/memory.stat", "inactive_file 9\ntotal_inactive_file 10485760\n");
    fg_cgroup_memory_open(&group, fg_kernel_files_root(),
                          "9:cpu:/docker/abc\n4:memory:/docker/abc\n0::/\n");
    assert_int_equal(group.limit_bytes, 50 * MIB);
    assert_int_equal(fg_cgroup_memory_used(&group), 20 * MIB);
    fg_cgroup_memory_close(&group);
}

static void without_a_limit_there_is_nothing_to_watch(void **state)
{
    (void)state;
    struct fg_cgroup_memory group;
    static const char *const memberships[] = {"", "0::/", "4:memory:/a/b\n", ":::\n\n", "nonsense"};
    fg_kernel_files_folder("memory");
    fg_kernel_files_write("memory/memory.limit_in_bytes", "9223372036854771712\n");
    fg_kernel_files_write("memory/memory.usage_in_bytes", "1\n");
    fg_kernel_files_write("memory.max", "max\n");
    fg_kernel_files_write("memory.current", "1\n");
    for (size_t i = 0; i < sizeof(memberships) / sizeof(memberships[0]); i++) {
        fg_cgroup_memory_open(&group, fg_kernel_files_root(), memberships[i]);
        assert_int_equal(group.used_fd, -1);
        assert_int_equal(group.limit_bytes, 0);
        assert_int_equal(fg_cgroup_memory_used(&group), 0);
        fg_cgroup_memory_close(&group);
    }
    fg_cgroup_memory_open(&group, "/nowhere", "0::/");
    assert_int_equal(group.used_fd, -1);
    fg_kernel_files_write("memory.max", "1048576\n"); /* a limit, and no figure beside it */
    assert_int_equal(fg_kernel_files_remove(NULL), 0);
    assert_int_equal(fg_kernel_files_make(NULL), 0);
    fg_kernel_files_write("memory.max", "1048576\n");
    fg_cgroup_memory_open(&group, fg_kernel_files_root(), "0::/");
    assert_int_equal(group.used_fd, -1);
}

static void reads_its_own(void **state)
{
    (void)state;
    struct fg_cgroup_memory group;
    fg_kernel_files_write("memory.max", "1048576\n");
    fg_kernel_files_write("memory.current", "4096\n");
    fg_cgroup_memory_open_own(&group, fg_kernel_files_root());
    assert_int_equal(group.limit_bytes, MIB);
    assert_int_equal(fg_cgroup_memory_used(&group), 4096);
    fg_cgroup_memory_close(&group);
}

#define WITH_ROOT(test)                                                                            \
    cmocka_unit_test_setup_teardown(test, fg_kernel_files_make, fg_kernel_files_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ROOT(takes_what_can_be_taken_back_off),
        WITH_ROOT(the_tightest_limit_on_the_way_up_counts),
        WITH_ROOT(a_container_sees_its_group_at_the_root),
        WITH_ROOT(without_a_limit_there_is_nothing_to_watch),
        WITH_ROOT(reads_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
