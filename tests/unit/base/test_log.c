/*
 * test_log.c: quoting, and the limit for lines that outsiders cause. Lines are caught in a pipe.
 */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void quotes_what_would_break_a_line(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(fg_log_quote(out, sizeof(out), "a\"b\\\n", 5), "\"a\\\"b\\\\\\x0a\"");
    assert_string_equal(fg_log_quote(out, 12, "abcdefghijklmnop", 16), "\"abcde\"");
    assert_string_equal(fg_log_quote(out, 2, "abc", 3), "");
    assert_string_equal(fg_log_word(out, sizeof(out), "10.0.0.1:80", 11), "10.0.0.1:80");
    assert_string_equal(fg_log_word(out, sizeof(out), "h:80 (10.0.0.1)", 15),
                        "\"h:80 (10.0.0.1)\"");
    assert_string_equal(fg_log_word(out, sizeof(out), "", 0), "\"\"");
    assert_string_equal(fg_log_word(out, 12, "abcdefghijklmnop", 16), "\"abcde\"");
}

static void holds_back_a_flood_of_lines(void **state)
{
    (void)state;
    int fds[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    static struct fg_log_limit limit;
    for (int i = 0; i < 1000; i++)
        fg_log_limited(&limit, 3, FG_LOG_WARN, "flood", "i=%d", i);
    fg_log(FG_LOG_DEBUG, "quiet", "below=the_level");
    fg_log(FG_LOG_INFO, "last", "done=1");
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[1]);
    char text[65536];
    ssize_t len = read(fds[0], text, sizeof(text) - 1);
    close(fds[0]);
    assert_true(len > 0);
    text[len] = '\0';
    unsigned lines = 0;
    for (const char *at = text; (at = strstr(at, "event=flood")) != NULL; at++)
        lines++;
    assert_true(lines >= 3 && lines <= 6); /* twice the limit if the second changed meanwhile */
    assert_null(strstr(text, "event=quiet"));
    assert_non_null(strstr(text, "info event=last done=1\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes_what_would_break_a_line),
        cmocka_unit_test(holds_back_a_flood_of_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
