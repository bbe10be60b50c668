/*
 * test_room_store_shared.c: a line in a file goes on through closes, growth and deaths; two
 * processes and many threads work on one line.
 */
#include "pipeline/room_store_shared.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];
static char path[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/fg-room-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/line", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static struct fg_waiting_room_config config_for(uint64_t waiting_max)
{
    return (struct fg_waiting_room_config){
        .admit_amount = 10,
        .admit_period_ns = FG_S,
        .waiting_max = waiting_max,
        .grace_ns = 60 * FG_S,
        .keep_ns = 300 * FG_S,
    };
}

static struct fg_room_store *open_store(uint64_t waiting_max, uint64_t now_ns)
{
    struct fg_error error;
    struct fg_waiting_room_config config = config_for(waiting_max);
    return fg_room_store_open(path, NULL, &config, now_ns, &error);
}

static uint64_t epoch_of(struct fg_room_store *store)
{
    uint64_t epoch = fg_room_store_lock(store)->line->epoch;
    fg_room_store_unlock(store);
    return epoch;
}

static uint64_t join(struct fg_room_store *store, uint64_t now_ns)
{
    uint64_t number = fg_waiting_room_join(fg_room_store_lock(store), now_ns).number;
    fg_room_store_unlock(store);
    return number;
}

static struct fg_waiting_room_place status(struct fg_room_store *store, uint64_t number,
                                           uint64_t now_ns)
{
    struct fg_waiting_room *room = fg_room_store_lock(store);
    struct fg_waiting_room_place place = fg_waiting_room_status(room, number, now_ns);
    fg_room_store_unlock(store);
    return place;
}

static void goes_on_after_a_close(void **state)
{
    (void)state;
    struct fg_room_store *store = open_store(100, 1000 * FG_S);
    uint64_t epoch = epoch_of(store);
    for (int i = 0; i < 50; i++)
        join(store, 1000 * FG_S);
    assert_int_equal(status(store, 30, 1001 * FG_S).position, 20);
    fg_room_store_close(store);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600);
    /* the machine was started anew: its clock is another one */
    store = open_store(100, 5 * FG_S);
    assert_true(epoch_of(store) == epoch);
    assert_int_equal(status(store, 30, 5 * FG_S).position, 20);
    assert_int_equal(status(store, 30, 6 * FG_S).position, 10);
    fg_room_store_close(store);
    /* more people may wait: the line moves into a larger file, and nobody notices */
    store = open_store(5000, 6 * FG_S);
    assert_true(epoch_of(store) == epoch);
    assert_int_equal(status(store, 30, 6 * FG_S).position, 10);
    assert_int_equal(join(store, 6 * FG_S), 50);
    fg_room_store_close(store);
    store = open_store(10, 6 * FG_S); /* fewer: who is in it stays */
    assert_int_equal(status(store, 50, 6 * FG_S).position, 30);
    fg_room_store_close(store);
}

/* A file that an earlier version has left ends before the pace. */
static void keeps_the_pace_and_takes_files_without_one(void **state)
{
    (void)state;
    struct fg_room_store *store = open_store(100, 0);
    uint64_t epoch = epoch_of(store);
    fg_room_store_lock(store);
    assert_true(fg_room_store_pace(store)->per_s == 0);
    fg_room_store_pace(store)->per_s = 42;
    fg_room_store_unlock(store);
    assert_int_equal(join(store, 0), 0);
    for (unsigned i = 0; i < 2; i++) { /* the same file, and a larger one */
        fg_room_store_close(store);
        store = open_store(i == 0 ? 100 : 5000, 0);
        fg_room_store_lock(store);
        assert_true(fg_room_store_pace(store)->per_s == 42);
        fg_room_store_unlock(store);
    }
    fg_room_store_close(store);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(truncate(path, file.st_size - (off_t)sizeof(struct fg_admit_rate)), 0);
    store = open_store(100, 0);
    assert_true(epoch_of(store) == epoch);
    fg_room_store_lock(store);
    assert_true(fg_room_store_pace(store)->per_s == 0);
    fg_room_store_unlock(store);
    assert_int_equal(join(store, 0), 1);
    fg_room_store_close(store);
}

static void two_have_it_open_at_once(void **state)
{
    (void)state;
    struct fg_room_store *before = open_store(100, 0), *after = open_store(100, 0);
    assert_int_equal(join(before, 0), 0);
    assert_int_equal(join(after, 0), 1);
    assert_int_equal(join(before, 0), 2);
    fg_room_store_close(before);
    assert_int_equal(status(after, 2, 0).position, 2);
    fg_room_store_close(after);
}

static void refuses_what_is_not_its_own(void **state)
{
    (void)state;
    struct fg_error error = {.line = 0};
    struct fg_waiting_room_config config = config_for(100);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "my precious notes", 17), 17);
    close(fd);
    assert_null(fg_room_store_open(path, NULL, &config, 0, &error));
    assert_non_null(strstr(error.message, "is no waiting room's"));
    unlink(path);
    snprintf(path, sizeof(path), "%s/missing/line", folder);
    assert_null(fg_room_store_open(path, NULL, &config, 0, &error));
    assert_non_null(strstr(error.message, "cannot open"));
    snprintf(path, sizeof(path), "%s/line", folder);
}

static void a_line_that_contradicts_itself_begins_anew(void **state)
{
    (void)state;
    struct fg_room_store *store = open_store(100, 0);
    uint64_t epoch = epoch_of(store);
    join(store, 0);
    fg_room_store_lock(store)->line->head = 77;
    fg_room_store_unlock(store);
    fg_room_store_close(store);
    store = open_store(100, 0);
    assert_true(epoch_of(store) != epoch);
    assert_int_equal(join(store, 0), 0);
    fg_room_store_close(store);
}

/* A gateway is killed in the middle of a step, holding the lock, with the counts not right. */
static void an_owner_dies_in_the_middle(void **state)
{
    (void)state;
    struct fg_room_store *store = open_store(100, 0);
    for (int i = 0; i < 20; i++)
        join(store, 0);
    pid_t child = fork();
    if (child == 0) {
        struct fg_waiting_room *room = fg_room_store_lock(store);
        room->line->waiting = 3;
        room->places.waiting[0] = 1;
        room->places.marks[room->line->tail] = 9;
        raise(SIGKILL);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
    assert_int_equal(status(store, 19, 0).position, 19);
    assert_int_equal(join(store, 0), 20);
    assert_int_equal(status(store, 20, 0).position, 20);
    fg_room_store_close(store);
    store = open_store(100, 0); /* and after the last one has died, its mutex is of no use */
    assert_int_equal(status(store, 20, 0).position, 20);
    fg_room_store_close(store);
}

static struct fg_room_store *open_in(const struct fg_room_memory *memory, uint64_t waiting_max,
                                     uint64_t now_ns)
{
    struct fg_error error;
    struct fg_waiting_room_config config = config_for(waiting_max);
    struct fg_room_store *store = fg_room_store_open(NULL, memory, &config, now_ns, &error);
    assert_non_null(store);
    return store;
}

static struct fg_room_memory new_memory(int before_fd)
{
    int fd = memfd_create("test-line", MFD_CLOEXEC);
    assert_true(fd != -1);
    return (struct fg_room_memory){fd, before_fd};
}

/* A supervisor holds the memory: a gateway joins, another one comes beside it, and dies. */
static void lives_on_in_memory_that_outlives_it(void **state)
{
    (void)state;
    const struct fg_room_memory memory = new_memory(-1);
    struct fg_room_store *first = open_in(&memory, 100, 0);
    for (int i = 0; i < 20; i++)
        join(first, 0);
    struct fg_room_store *second = open_in(&memory, 100, 0);
    assert_true(epoch_of(second) == epoch_of(first));
    assert_int_equal(join(second, 0), 20);
    assert_int_equal(join(first, 0), 21); /* both work on it while the older one drains */
    fg_room_store_close(first);
    pid_t child = fork();
    if (child == 0) {
        fg_room_store_lock(open_in(&memory, 100, 0))->line->waiting = 3;
        raise(SIGKILL);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
    assert_int_equal(status(second, 21, 0).position, 21);
    fg_room_store_close(second);
    second = open_in(&memory, 100, 0); /* there was a moment without anybody */
    assert_int_equal(status(second, 21, 0).position, 21);
    fg_room_store_close(second);
    close(memory.fd);
}

static void moves_into_more_memory(void **state)
{
    (void)state;
    const struct fg_room_memory small = new_memory(-1), none = new_memory(-1);
    struct fg_room_store *store = open_in(&small, 100, 0);
    uint64_t epoch = epoch_of(store);
    for (int i = 0; i < 50; i++)
        join(store, 0);
    fg_room_store_lock(store);
    fg_room_store_pace(store)->per_s = 12;
    fg_room_store_unlock(store);
    const struct fg_room_memory large = new_memory(small.fd), empty = new_memory(none.fd);
    struct fg_room_store *larger = open_in(&large, 5000, 0);
    assert_true(epoch_of(larger) == epoch);
    assert_int_equal(status(larger, 49, 0).position, 49);
    for (int i = 0; i < 1000; i++)
        join(larger, 0);
    assert_int_equal(status(larger, 1049, 0).position, 1049);
    fg_room_store_lock(larger);
    assert_true(fg_room_store_pace(larger)->per_s == 12);
    fg_room_store_unlock(larger);
    fg_room_store_close(store);
    fg_room_store_close(larger);
    store = open_in(&empty, 100, 0); /* where there is nothing to move a line begins */
    assert_true(epoch_of(store) != epoch);
    assert_int_equal(join(store, 0), 0);
    fg_room_store_close(store);
    close(small.fd);
    close(none.fd);
    close(large.fd);
    close(empty.fd);
}

#define JOINS 2000

static void *join_often(void *store)
{
    for (int i = 0; i < JOINS; i++)
        join(store, 0);
    return NULL;
}

static void threads_take_turns(void **state)
{
    (void)state;
    struct fg_error error;
    struct fg_waiting_room_config config = config_for(100000);
    struct fg_room_store *store = fg_room_store_open(NULL, NULL, &config, 0, &error);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, join_often, store), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(status(store, 4 * JOINS - 1, 0).position, 4 * JOINS - 1);
    fg_room_store_close(store);
}

#define ENTRANTS 4
#define TICKETS 500

struct entrant {
    struct fg_room_store *store;
    pthread_barrier_t *start;
    bool got_in[TICKETS];
};

static void *enter_all(void *arg)
{
    struct entrant *entrant = arg;
    pthread_barrier_wait(entrant->start);
    for (uint64_t i = 0; i < TICKETS; i++) {
        struct fg_waiting_room *room = fg_room_store_lock(entrant->store);
        entrant->got_in[i] =
            fg_waiting_room_enter(room, i, FG_S).status == FG_WAITING_ROOM_ADMITTED;
        fg_room_store_unlock(entrant->store);
    }
    return NULL;
}

/* The same tickets at the same moment: two threads with each of two maps of one line. */
static void of_all_who_enter_with_a_ticket_one_gets_in(void **state)
{
    (void)state;
    static struct entrant entrants[ENTRANTS];
    const struct fg_room_memory memory = new_memory(-1);
    struct fg_room_store *stores[2] = {open_in(&memory, 1000, 0), open_in(&memory, 1000, 0)};
    pthread_barrier_t start;
    pthread_t threads[ENTRANTS];
    for (int i = 0; i < TICKETS; i++)
        join(stores[i % 2], 0);
    struct fg_waiting_room_config all_at_once = config_for(1000);
    all_at_once.admit_amount = TICKETS;
    fg_waiting_room_configure(fg_room_store_lock(stores[0]), &all_at_once, 0);
    fg_room_store_unlock(stores[0]);
    pthread_barrier_init(&start, NULL, ENTRANTS);
    for (int i = 0; i < ENTRANTS; i++) {
        entrants[i] = (struct entrant){.store = stores[i % 2], .start = &start};
        assert_int_equal(pthread_create(&threads[i], NULL, enter_all, &entrants[i]), 0);
    }
    for (int i = 0; i < ENTRANTS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
    for (int ticket = 0; ticket < TICKETS; ticket++) {
        int in = 0;
        for (int i = 0; i < ENTRANTS; i++)
            in += entrants[i].got_in[ticket];
        assert_int_equal(in, 1);
    }
    fg_room_store_close(stores[0]);
    fg_room_store_close(stores[1]);
    close(memory.fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(goes_on_after_a_close),
        TEST(keeps_the_pace_and_takes_files_without_one),
        TEST(two_have_it_open_at_once),
        TEST(refuses_what_is_not_its_own),
        TEST(a_line_that_contradicts_itself_begins_anew),
        TEST(an_owner_dies_in_the_middle),
        TEST(lives_on_in_memory_that_outlives_it),
        TEST(moves_into_more_memory),
        TEST(threads_take_turns),
        TEST(of_all_who_enter_with_a_ticket_one_gets_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
