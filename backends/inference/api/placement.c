/*
 * placement.c: which worker gets a request, and what happens to requests that have none.
 * Job      the ready worker with the fewest requests (of all event loops together), ties in turn. A
 *          lost worker's requests go to another with the tokens they have; without a worker they
 *          wait for one, bounded in time.
 * Thread   the owning event loop.
 * Memory   intrusive lists; the frames are the links'.
 */
#include "inference_internal.h"

#include "backends/client_owner.h"
#include "base/clock.h"

#include <assert.h>

uint64_t fg_placement_wait_until(const struct fg_inference_thread *thread, uint64_t now_ns)
{
    return now_ns + thread->backend->worker_wait_ns;
}

static struct fg_inference_worker_gauges *gauges_of(const struct fg_channel_link *link)
{
    const struct fg_inference_thread *thread = link->owner;
    return &thread->backend->workers[link->worker_index];
}

/* Keeps the gauges that depend on the state. */
static void set_state(struct fg_choice *choice, enum fg_choice_state next)
{
    struct fg_inference_metrics *metrics = choice->gen->thread->metrics;
    if (choice->state == FG_CHOICE_RUNNING)
        fg_counter_sub(&metrics->running, 1);
    else if (choice->state == FG_CHOICE_WAITING)
        fg_counter_sub(&metrics->waiting, 1);
    choice->state = next;
    if (next == FG_CHOICE_RUNNING)
        fg_counter_add_owned(&metrics->running, 1);
    else if (next == FG_CHOICE_WAITING)
        fg_counter_add_owned(&metrics->waiting, 1);
}

/* Roles are for whom there is another: any worker can do all there is to do. */
static bool suits(const struct fg_channel_link *link, const struct fg_choice *choice)
{
    enum fg_worker_role not_wanted = choice->token_count > 0 ? FG_ROLE_PREFILL : FG_ROLE_DECODE;
    return link->hello.role != not_wanted;
}

static struct fg_channel_link *least_loaded(struct fg_inference_thread *thread,
                                            const struct fg_choice *choice)
{
    uint32_t count = thread->backend->conf.worker_count;
    uint32_t start = thread->next_worker++ % count;
    struct fg_channel_link *best = NULL;
    uint64_t best_load = UINT64_MAX;
    bool best_suits = false;
    for (uint32_t i = 0; i < count; i++) {
        struct fg_channel_link *link = &thread->links[(start + i) % count];
        if (link->state != FG_LINK_READY || link->is_draining)
            continue;
        uint64_t load = fg_counter_get(&gauges_of(link)->outstanding);
        bool is_suited = suits(link, choice);
        if (best == NULL || (is_suited && !best_suits) ||
            (is_suited == best_suits && load < best_load)) {
            best = link;
            best_load = load;
            best_suits = is_suited;
        }
    }
    return best;
}

/* Who is served as one, and shares computed prompts: the user, or what an anonymous one comes from,
 * of IPv6 the /64: with each address of it a client had one more part of the workers. */
static uint64_t tenant_of(const struct fg_generation *gen)
{
    const struct fg_inference *backend = gen->thread->backend;
    const struct fg_exchange *ex = gen->ex;
    bool is_known = ex->user_id.len > 0;
    struct fg_siphash_key key = backend->tenant_key;
    key.k0 ^= is_known; /* nobody's address is another's name */
    struct fg_ip ip;
    struct fg_span name = is_known ? ex->user_id : fg_client_network(ex->client_addr, &ip);
    return fg_siphash(&key, name.data, name.len) | 1;
}

static void fill_submit(const struct fg_choice *choice, struct fg_channel_submit *submit)
{
    const struct fg_generation *gen = choice->gen;
    const struct fg_completion_request *request = &gen->request;
    submit->kind = request->is_chat ? FG_PROMPT_CHAT : FG_PROMPT_TEXT;
    submit->priority_number = gen->ex->priority_number;
    submit->deadline_ns = gen->ex->deadline_ns;
    submit->max_tokens = request->max_tokens;
    submit->sampling = request->sampling;
    submit->sampling.seed += choice->index;
    submit->choice_count = 1;
    submit->ignore_end = request->ignore_end;
    submit->thinking = request->thinking;
    submit->user_hash = tenant_of(gen);
    submit->cache_salt =
        gen->thread->backend->conf.prefix_sharing == FG_PREFIX_ALL ? 0 : submit->user_hash;
    bool is_embedding = request->task != FG_TASK_GENERATE;
    submit->stream_key = gen->stream_key + (uint64_t)FG_CHANNEL_CHOICE_KEYS *
                                               (is_embedding ? choice->text_index : choice->index);
    submit->may_adopt = choice->submissions > 0;
    submit->task = request->task;
    if (request->task == FG_TASK_GENERATE) {
        submit->message_count = request->message_count;
        memcpy(submit->messages, request->messages,
               request->message_count * sizeof(request->messages[0]));
    } else {
        submit->message_count = 1;
        submit->messages[0] = request->messages[choice->text_index];
    }
    submit->stop_count = request->stop_count;
    memcpy(submit->stops, request->stops, sizeof(request->stops));
    submit->tools = request->tools;
    submit->constraint = request->constraint;
    submit->schema = request->schema;
    submit->bias_count = request->bias_count;
    submit->bias = request->bias;
    submit->resumed_count = choice->token_count;
    submit->resumed = choice->tokens;
}

bool fg_placement_fits(struct fg_generation *gen)
{
    struct fg_channel_submit *submit = &gen->thread->submit;
    fill_submit(&gen->first, submit);
    submit->resumed_count = submit->max_tokens; /* the longest it can become */
    size_t bytes = fg_channel_submit_bytes(submit);
    return bytes <= gen->thread->links[0].out_bytes_max &&
           bytes - FG_CHANNEL_HEADER_BYTES <= FG_CHANNEL_PAYLOAD_MAX;
}

/* `link` has it from now on, under a new id. */
static void move_to(struct fg_choice *choice, struct fg_channel_link *link)
{
    struct fg_inference_thread *thread = choice->gen->thread;
    fg_request_table_remove(thread->table, choice->id);
    choice->id = fg_generation_next_id(thread);
    bool is_added = fg_request_table_try_add(thread->table, choice->id, choice);
    assert(is_added); /* its old place has just become free */
    fg_list_push_back(&link->choices, &choice->in_list);
    choice->link = link;
    choice->submissions++;
    fg_counter_add(&gauges_of(link)->outstanding, 1);
    set_state(choice, FG_CHOICE_RUNNING);
}

static bool try_submit(struct fg_choice *choice)
{
    struct fg_generation *gen = choice->gen;
    struct fg_inference_thread *thread = gen->thread;
    struct fg_channel_link *link = least_loaded(thread, choice);
    if (link == NULL)
        return false;
    fill_submit(choice, &thread->submit);
    bool is_embedding = gen->request.task != FG_TASK_GENERATE;
    if (choice->index == 0 && choice->submissions == 0 && !is_embedding)
        thread->submit.choice_count = gen->choice_count;
    size_t bytes = fg_channel_submit_bytes(&thread->submit);
    unsigned char *out = fg_channel_link_reserve(link, bytes);
    if (out == NULL)
        return false;
    uint32_t count = thread->submit.choice_count;
    for (uint32_t i = 0; i < count; i++) /* ids in a row, as the protocol has it */
        move_to(count > 1 ? fg_generation_choice(gen, i) : choice, link);
    size_t written = fg_channel_write_submit(out, bytes, choice->id, &thread->submit);
    assert(written == bytes);
    fg_channel_link_commit(link, written);
    return true;
}

/* When a waiting request needs the timer: its pause is over, or its time is up. */
static uint64_t wake_of(const struct fg_choice *choice, uint64_t now_ns)
{
    return choice->not_before_ns > now_ns && choice->not_before_ns < choice->wait_until_ns
               ? choice->not_before_ns
               : choice->wait_until_ns;
}

static void wake_by(struct fg_inference_thread *thread, uint64_t at_ns, uint64_t now_ns)
{
    if (at_ns >= thread->wait_timer_ns)
        return;
    uint64_t pause_us = at_ns > now_ns ? (at_ns - now_ns) / FG_US + 1 : 0;
    struct timeval pause = {(time_t)(pause_us / 1000000), (suseconds_t)(pause_us % 1000000)};
    thread->wait_timer_ns = at_ns;
    (void)event_add(thread->wait_timer, &pause);
}

static void let_wait(struct fg_choice *choice, uint64_t now_ns)
{
    struct fg_inference_thread *thread = choice->gen->thread;
    fg_list_push_back(&thread->waiting, &choice->in_list);
    wake_by(thread, wake_of(choice, now_ns), now_ns);
}

void fg_placement_place(struct fg_choice *choice)
{
    assert(choice->link == NULL);
    uint64_t now_ns = fg_clock_monotonic_ns();
    set_state(choice, FG_CHOICE_WAITING);
    if (choice->not_before_ns > now_ns || !try_submit(choice))
        let_wait(choice, now_ns);
}

void fg_placement_remove(struct fg_choice *choice)
{
    fg_list_remove(&choice->in_list);
    if (choice->link != NULL)
        fg_counter_sub(&gauges_of(choice->link)->outstanding, 1);
    choice->link = NULL;
    set_state(choice, FG_CHOICE_IDLE);
}

/* It has waited as long as it may, in ms. */
static void give_up(const struct fg_choice *choice, uint64_t now_ns)
{
    struct fg_generation *gen = choice->gen;
    const uint64_t since_ns = gen->admitted_ns;
    const struct fg_generation_refusal no_worker = {
        FG_INFERENCE_REFUSED_NO_WORKER,
        {.status = 503,
         .type = "server_error",
         .code = "no_worker",
         .policy = "workers",
         .value = (now_ns - since_ns + FG_MS - 1) / FG_MS,
         .limit = (choice->wait_until_ns - since_ns) / FG_MS,
         .retry_after_ms = 1000}};
    fg_generation_refuse(gen, &no_worker, "no inference worker could take the request in time");
}

void fg_placement_retry(struct fg_inference_thread *thread)
{
    /* Worked off a list of its own: ending a request may start another one, which may wait. */
    struct fg_list trying;
    fg_list_init(&trying);
    struct fg_list *it;
    while ((it = fg_list_pop_front(&thread->waiting)) != NULL)
        fg_list_push_back(&trying, it);
    (void)event_del(thread->wait_timer);
    thread->wait_timer_ns = UINT64_MAX;
    uint64_t now_ns = fg_clock_monotonic_ns();
    while ((it = fg_list_pop_front(&trying)) != NULL) {
        struct fg_choice *choice = FG_CONTAINER_OF(it, struct fg_choice, in_list);
        if (choice->wait_until_ns <= now_ns)
            give_up(choice, now_ns);
        else if (choice->not_before_ns > now_ns || !try_submit(choice))
            let_wait(choice, now_ns);
    }
}

static void on_ready(struct fg_channel_link *link)
{
    struct fg_inference_worker_gauges *gauges = gauges_of(link);
    fg_counter_add(&gauges->connections, 1);
    fg_counter_set(&gauges->pid, link->hello.pid);
    fg_counter_set(&gauges->context_max, link->hello.context_max);
    fg_placement_retry(link->owner);
}

static void on_lost(struct fg_channel_link *link)
{
    struct fg_inference_thread *thread = link->owner;
    struct fg_inference_worker_gauges *gauges = gauges_of(link);
    fg_counter_sub(&gauges->connections, 1);
    fg_counter_add(&gauges->lost, 1);
    uint64_t now_ns = fg_clock_monotonic_ns();
    /* The link is down, so nothing is added to its list meanwhile. */
    while (!fg_list_is_empty(&link->choices)) {
        struct fg_choice *choice = FG_CONTAINER_OF(link->choices.next, struct fg_choice, in_list);
        fg_placement_remove(choice);
        choice->wait_until_ns = fg_placement_wait_until(thread, now_ns);
        choice->not_before_ns = 0;
        fg_counter_add_owned(&thread->metrics->resubmitted, 1);
        fg_placement_place(choice);
    }
}

static bool on_frame(struct fg_channel_link *link, const struct fg_channel_header *header,
                     struct fg_span payload)
{
    struct fg_inference_thread *thread = link->owner;
    struct fg_choice *choice = fg_request_table_find(thread->table, header->request_id);
    if (choice == NULL)
        return true; /* cancelled meanwhile */
    return choice->link == link && fg_generation_on_frame(choice, header, payload);
}

static void on_room(struct fg_channel_link *link)
{
    struct fg_inference_thread *thread = link->owner;
    if (!fg_list_is_empty(&thread->waiting))
        fg_placement_retry(thread);
}

const struct fg_channel_link_events fg_placement_events = {on_ready, on_lost, on_frame, on_room};
