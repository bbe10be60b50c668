/*
 * test_waiting_estimate.c: what people in a line are told against what comes, with people who leave
 * without a word, who do not take their turn, and backends that change: the error that is told
 * covers nine times in ten, and a line of 100,000 costs what is promised.
 */
#include "policies/admit_rate.h"
#include "policies/retry_after.h"
#include "policies/waiting_room.h"
#include "policy_test.h"

#include <math.h>

#define PEOPLE 20000u
#define TELLINGS 300000u
#define TICK_NS (200 * MS)

struct crowd {
    double admit_per_s; /* 0: a backend of so many slots, whose pace has to be found */
    unsigned slots;
    double service_s;
    uint64_t change_at_ns; /* 0: never; to so many parts of it */
    double change_to;
    double come_per_s; /* in the first 20 s, and later */
    double come_later_per_s;
    double absent;     /* of those whose turn comes do not take it */
    double patience_s; /* on average; 0: endless */
    uint64_t lasts_ns;
    uint64_t grace_ns;
};

struct person {
    uint64_t number;
    uint64_t asks_ns;
    uint64_t leaves_ns;
    uint64_t turn_ns; /* 0: it has not come */
    bool is_absent;
    bool is_done;
};

struct telling {
    uint32_t person;
    uint64_t at_ns;
    struct fg_waiting_room_place place;
};

struct line {
    const struct crowd *crowd;
    struct fg_waiting_room room;
    struct fg_waiting_room_line line;
    struct fg_waiting_room_config config;
    void *memory;
    struct person *people; /* by number, from first_number on */
    uint32_t count;
    struct telling *told;
    uint32_t told_count;
    uint64_t seed;
    uint64_t head_seen;
    double due; /* people who come now */
    /* the backend whose pace has to be found */
    struct fg_admit_rate pace;
    double *busy_until_s;
    unsigned busy, slots;
    uint64_t done, came, refused;
};

static double any(struct line *l)
{
    return (double)(test_random(&l->seed) >> 11) / 9007199254740992.0;
}

static uint64_t after_ns(struct line *l, double mean_s)
{
    return (uint64_t)(-log(1 - any(l)) * mean_s * (double)S);
}

static void set_up(struct line *l, const struct crowd *crowd)
{
    *l = (struct line){.crowd = crowd, .seed = 42, .slots = crowd->slots};
    l->config =
        (struct fg_waiting_room_config){.admit_amount = (uint64_t)(crowd->admit_per_s * 1000),
                                        .admit_period_ns = 1000 * S,
                                        .admit_burst = (uint64_t)crowd->admit_per_s,
                                        .waiting_max = PEOPLE,
                                        .grace_ns = crowd->grace_ns,
                                        .keep_ns = 60 * S};
    uint64_t capacity = fg_waiting_room_capacity(&l->config);
    l->memory = calloc(1, fg_room_places_bytes(capacity));
    l->people = calloc(PEOPLE, sizeof(*l->people));
    l->told = calloc(TELLINGS, sizeof(*l->told));
    l->busy_until_s = calloc(crowd->slots + 1, sizeof(double));
    assert_true(l->memory != NULL && l->people != NULL && l->told != NULL &&
                l->busy_until_s != NULL);
    fg_waiting_room_init(&l->room, &l->line, l->memory, capacity, &l->config, 1, 2, 1);
}

static void tear_down(struct line *l)
{
    free(l->memory);
    free(l->people);
    free(l->told);
    free(l->busy_until_s);
}

static bool try_serve(struct line *l, uint64_t now_ns)
{
    if (l->crowd->admit_per_s > 0)
        return true;
    if (l->busy == l->slots) {
        l->refused++;
        return false;
    }
    l->came++;
    l->busy_until_s[l->busy++] = (double)(now_ns + after_ns(l, l->crowd->service_s)) / (double)S;
    return true;
}

static void follow_backend(struct line *l, uint64_t now_ns)
{
    for (unsigned i = 0; i < l->busy;) {
        if (l->busy_until_s[i] * (double)S > (double)now_ns) {
            i++;
            continue;
        }
        l->busy_until_s[i] = l->busy_until_s[--l->busy];
        l->done++;
    }
    if (l->pace.updated_ns == 0)
        fg_admit_rate_init(&l->pace, l->crowd->slots, now_ns);
    else if (now_ns < l->pace.updated_ns + S)
        return;
    const struct fg_admit_sample sample = {
        .done = l->done,
        .came = l->came,
        .refused = l->refused,
        .in_flight = l->busy,
        .limit = l->slots,
        .has_line = fg_waiting_room_waiting(&l->room, now_ns) > 0,
        .service_ns = (uint64_t)(l->crowd->service_s * (double)S)};
    double per_s = fg_admit_rate_step(&l->pace, now_ns, &sample);
    l->done = l->came = l->refused = 0;
    fg_waiting_room_set_pace(&l->room, fg_admit_rate_amount(per_s), FG_ADMIT_RATE_PERIOD_NS,
                             fg_admit_rate_burst(per_s), now_ns);
}

static void change(struct line *l, uint64_t now_ns)
{
    const struct crowd *crowd = l->crowd;
    l->slots = (unsigned)((double)crowd->slots * crowd->change_to);
    l->busy = l->busy < l->slots ? l->busy : l->slots;
    if (crowd->admit_per_s <= 0)
        return;
    l->config.admit_amount = (uint64_t)(crowd->admit_per_s * crowd->change_to * 1000);
    fg_waiting_room_configure(&l->room, &l->config, now_ns);
}

static void hear(struct line *l, uint32_t who, const struct fg_waiting_room_place *place,
                 uint64_t now_ns)
{
    l->people[who].asks_ns =
        now_ns + fg_retry_after_room_ns(place->eta_ns, l->config.keep_ns, test_random(&l->seed));
    if (place->eta_ns != FG_POLICY_NEVER && l->told_count < TELLINGS)
        l->told[l->told_count++] = (struct telling){who, now_ns, *place};
}

static void let_come(struct line *l, uint64_t now_ns)
{
    const struct crowd *crowd = l->crowd;
    double per_s = now_ns < 20 * S ? crowd->come_per_s : crowd->come_later_per_s;
    for (l->due += per_s * (double)TICK_NS / (double)S; l->due >= 1; l->due--) {
        struct fg_waiting_room_place place = fg_waiting_room_join(&l->room, now_ns);
        if (place.status == FG_WAITING_ROOM_ADMITTED)
            try_serve(l, now_ns);
        if (place.status != FG_WAITING_ROOM_WAITING || l->count == PEOPLE)
            continue;
        assert_int_equal(place.number, l->count); /* nobody else has one */
        struct person *person = &l->people[l->count];
        *person = (struct person){.number = place.number,
                                  .leaves_ns = FG_POLICY_NEVER,
                                  .is_absent = any(l) < crowd->absent};
        if (crowd->patience_s > 0)
            person->leaves_ns = now_ns + after_ns(l, crowd->patience_s);
        hear(l, l->count++, &place, now_ns);
    }
}

static void let_ask(struct line *l, uint64_t now_ns)
{
    for (uint32_t i = 0; i < l->count; i++) {
        struct person *person = &l->people[i];
        if (person->is_done || person->asks_ns > now_ns || person->leaves_ns <= now_ns)
            continue;
        struct fg_waiting_room_place place =
            fg_waiting_room_status(&l->room, person->number, now_ns);
        if (place.status == FG_WAITING_ROOM_WAITING) {
            hear(l, i, &place, now_ns);
            continue;
        }
        if (place.status == FG_WAITING_ROOM_ADMITTED && !person->is_absent) {
            if (!try_serve(l, now_ns)) {
                person->asks_ns = now_ns + S;
                continue;
            }
            fg_waiting_room_enter(&l->room, person->number, now_ns);
        }
        person->is_done = true;
    }
}

static void run(struct line *l)
{
    const struct crowd *crowd = l->crowd;
    for (uint64_t now_ns = 1; now_ns < crowd->lasts_ns; now_ns += TICK_NS) {
        if (crowd->change_at_ns > 0 && now_ns / TICK_NS == crowd->change_at_ns / TICK_NS)
            change(l, now_ns);
        if (crowd->admit_per_s <= 0)
            follow_backend(l, now_ns);
        let_come(l, now_ns);
        fg_waiting_room_waiting(&l->room, now_ns);
        for (; l->head_seen < l->line.head && l->head_seen < l->count; l->head_seen++)
            l->people[l->head_seen].turn_ns = now_ns;
        let_ask(l, now_ns);
    }
}

/* Of those whose turn came, what part of what they were told was right within its error. What was
 * told before, and for a quarter of a minute after, a change that nobody could know of is left out.
 */
static double covered(const struct line *l, const char *name)
{
    uint64_t count = 0, within = 0;
    double off_s = 0, error_s = 0;
    for (uint32_t i = 0; i < l->told_count; i++) {
        const struct telling *told = &l->told[i];
        uint64_t turn_ns = l->people[told->person].turn_ns;
        bool is_unforeseen = l->crowd->change_at_ns > 0 &&
                             told->at_ns < l->crowd->change_at_ns + 15 * S &&
                             turn_ns > l->crowd->change_at_ns;
        if (turn_ns == 0 || told->at_ns < 10 * S || is_unforeseen)
            continue;
        double off_ns = fabs((double)(turn_ns - told->at_ns) - (double)told->place.eta_ns);
        count++;
        within += off_ns <= (double)(told->place.eta_error_ns + 2 * TICK_NS);
        off_s += off_ns / (double)S;
        error_s += (double)told->place.eta_error_ns / (double)S;
    }
    assert_true(count > 1000);
    print_message("  %s: %.1f %% of %llu; off by %.1f s, told %.1f s, on average\n", name,
                  100 * (double)within / (double)count, (unsigned long long)count,
                  off_s / (double)count, error_s / (double)count);
    return (double)within / (double)count;
}

static double told_right(const char *name, const struct crowd *crowd)
{
    static struct line l;
    set_up(&l, crowd);
    run(&l);
    double share = covered(&l, name);
    tear_down(&l);
    return share;
}

static void at_a_fixed_pace(void **state)
{
    (void)state;
    struct crowd crowd = {.admit_per_s = 50,
                          .come_per_s = 250,
                          .come_later_per_s = 20,
                          .lasts_ns = 150 * S,
                          .grace_ns = 60 * S};
    assert_true(told_right("all wait and come", &crowd) >= 0.99);
    crowd.absent = 0.2;
    assert_true(told_right("a fifth does not come", &crowd) >= 0.9);
    crowd.absent = 0;
    crowd.patience_s = 300;
    assert_true(told_right("people leave after 5 minutes", &crowd) >= 0.9);
    crowd.absent = 0.2;
    assert_true(told_right("both", &crowd) >= 0.8);
    crowd.absent = crowd.patience_s = 0;
    crowd.change_at_ns = 40 * S;
    crowd.change_to = 0.5;
    assert_true(told_right("it is halved", &crowd) >= 0.9);
}

static void at_a_pace_that_has_to_be_found(void **state)
{
    (void)state;
    struct crowd crowd = {.slots = 16,
                          .service_s = 0.4,
                          .come_per_s = 250,
                          .come_later_per_s = 10,
                          .lasts_ns = 200 * S,
                          .grace_ns = 60 * S};
    assert_true(told_right("40/s", &crowd) >= 0.9);
    crowd.absent = 0.1;
    crowd.patience_s = 600;
    assert_true(told_right("and people leave", &crowd) >= 0.9);
    crowd.absent = crowd.patience_s = 0;
    crowd.change_at_ns = 60 * S;
    crowd.change_to = 0.5;
    crowd.lasts_ns = 250 * S;
    assert_true(told_right("half of the backend is lost", &crowd) >= 0.85);
}

/* A flash crowd: each has its place, in two bytes and a half. */
static void a_hundred_thousand_people_have_their_places(void **state)
{
    (void)state;
    const uint64_t people = 100000;
    const struct fg_waiting_room_config config = {.admit_amount = 1,
                                                  .admit_period_ns = 1000 * S,
                                                  .admit_burst = 1,
                                                  .waiting_max = people,
                                                  .grace_ns = 60 * S,
                                                  .keep_ns = 60 * S};
    uint64_t capacity = fg_waiting_room_capacity(&config);
    size_t bytes = fg_room_places_bytes(capacity);
    void *memory = calloc(1, bytes);
    struct fg_waiting_room_line line;
    struct fg_waiting_room room;
    assert_non_null(memory);
    assert_in_range(bytes, 2 * people, 3 * people);
    fg_waiting_room_init(&room, &line, memory, capacity, &config, 1, 2, 0);
    assert_int_equal(fg_waiting_room_join(&room, 0).status, FG_WAITING_ROOM_ADMITTED);
    for (uint64_t i = 0; i < people; i++)
        assert_int_equal(fg_waiting_room_join(&room, i * 10000).position, i);
    assert_int_equal(fg_waiting_room_join(&room, S).status, FG_WAITING_ROOM_FULL);
    for (uint64_t i = 0; i < people; i += 3) /* every third one leaves */
        fg_waiting_room_leave(&room, i, S);
    struct fg_waiting_room later;
    assert_true(fg_waiting_room_resume(&later, &line, memory, capacity, 5 * S));
    for (uint64_t i = 1; i < people; i += i % 3) /* the others */
        assert_int_equal(fg_waiting_room_status(&later, i, 6 * S).position, i - 1 - i / 3);
    assert_int_equal(fg_waiting_room_waiting(&later, 6 * S), people - (people + 2) / 3);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_a_fixed_pace),
        cmocka_unit_test(at_a_pace_that_has_to_be_found),
        cmocka_unit_test(a_hundred_thousand_people_have_their_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
