/*
 * test_pressure_stall.c: groups and machines made of plain files, as the kernel shows them.
 */
#include "pipeline/pressure_stall.h"

#include "kernel_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

static struct fg_pressure_stall open_with(const char *membership, const char *machine)
{
    struct fg_pressure_stall stall;
    char whole[256];
    snprintf(whole, sizeof(whole), "%s/%s", fg_kernel_files_root(), machine);
    fg_pressure_stall_open(&stall, fg_kernel_files_root(), membership, whole);
    return stall;
}

#define LINES(some, full)                                                                          \
    "some avg10=" some " avg60=7.00 avg300=7.00 total=1\n"                                         \
    "full avg10=" full " avg60=8.00 avg300=8.00 total=2\n"

static void reads_the_line_that_counts(void **state)
{
    (void)state;
    fg_kernel_files_write("cpu.pressure", LINES("12.34", "99.00"));
    fg_kernel_files_write("memory.pressure", LINES("99.00", "0.05"));
    fg_kernel_files_write("io.pressure", LINES("99.00", "100.00"));
    struct fg_pressure_stall stall = open_with("0::/\n", "none");
    assert_int_equal(fg_pressure_stall_read(&stall, FG_STALL_CPU), 1234);
    assert_int_equal(fg_pressure_stall_read(&stall, FG_STALL_MEMORY), 5);
    assert_int_equal(fg_pressure_stall_read(&stall, FG_STALL_IO), FG_STALL_ALWAYS);
    fg_kernel_files_write("cpu.pressure", LINES("0.00", "0.00")); /* each look is a new one */
    assert_int_equal(fg_pressure_stall_read(&stall, FG_STALL_CPU), 0);
    static const char *const nonsense[] = {"",
                                           "\n\n",
                                           "some",
                                           "some avg10=",
                                           "some avg10=x.y",
                                           "some avg10=101.00\n",
                                           "full avg10=1.00 z\n"};
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        fg_kernel_files_write("cpu.pressure", nonsense[i]);
        assert_int_equal(fg_pressure_stall_read(&stall, FG_STALL_CPU), 0);
    }
    fg_pressure_stall_close(&stall);
}

static void the_nearest_group_counts_and_then_the_machine(void **state)
{
    (void)state;
    fg_kernel_files_folder("a");
    fg_kernel_files_folder("a/b");
    fg_kernel_files_folder("machine");
    fg_kernel_files_write("a/cpu.pressure", LINES("1.00", "0.00"));
    fg_kernel_files_write("a/b/cpu.pressure", LINES("2.00", "0.00"));
    fg_kernel_files_write("a/memory.pressure", LINES("0.00", "3.00"));
    fg_kernel_files_write("machine/io", LINES("0.00", "4.00"));
    struct fg_pressure_stall stall = open_with("1:name=systemd:/x\n0::/a/b\n", "machine");
    assert_int_equal(fg_pressure_stall_read(&stall, FG_STALL_CPU), 200);
    assert_int_equal(fg_pressure_stall_read(&stall, FG_STALL_MEMORY), 300);
    assert_int_equal(fg_pressure_stall_read(&stall, FG_STALL_IO), 400);
    fg_pressure_stall_close(&stall);
    stall = open_with("", "none"); /* a kernel that does not say */
    for (unsigned i = 0; i < FG_STALL_COUNT; i++)
        assert_int_equal(fg_pressure_stall_read(&stall, (enum fg_stall)i), 0);
    fg_pressure_stall_close(&stall);
}

static void this_machine_can_be_asked(void **state)
{
    (void)state;
    struct fg_pressure_stall stall;
    fg_pressure_stall_open_own(&stall, "/sys/fs/cgroup");
    for (unsigned i = 0; i < FG_STALL_COUNT; i++)
        assert_true(fg_pressure_stall_read(&stall, (enum fg_stall)i) <= FG_STALL_ALWAYS);
    fg_pressure_stall_close(&stall);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_the_line_that_counts, fg_kernel_files_make,
                                        fg_kernel_files_remove),
        cmocka_unit_test_setup_teardown(the_nearest_group_counts_and_then_the_machine,
                                        fg_kernel_files_make, fg_kernel_files_remove),
        cmocka_unit_test(this_machine_can_be_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
