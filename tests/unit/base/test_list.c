/*
 * test_list.c: links in and out.
 */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

struct item {
    int value;
    struct fg_list link;
};

static void keeps_order_and_forgets_removed(void **state)
{
    (void)state;
    struct fg_list head;
    struct item items[4] = {{.value = 0}, {.value = 1}, {.value = 2}, {.value = 3}};
    fg_list_init(&head);
    assert_true(fg_list_is_empty(&head));
    for (int i = 1; i < 4; i++)
        fg_list_push_back(&head, &items[i].link);
    fg_list_push_front(&head, &items[0].link);
    fg_list_remove(&items[2].link);
    fg_list_remove(&items[2].link); /* harmless twice */
    int sum = 0, seen = 0;
    FG_LIST_EACH_SAFE(link, after, &head)
    {
        struct item *item = FG_CONTAINER_OF(link, struct item, link);
        sum = sum * 10 + item->value;
        seen++;
        fg_list_remove(link);
    }
    assert_int_equal(sum, 13);
    assert_int_equal(seen, 3);
    assert_null(fg_list_pop_front(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(keeps_order_and_forgets_removed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
