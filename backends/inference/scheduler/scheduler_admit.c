/*
 * scheduler_admit.c: who gets blocks and a place in the batch, and who gives them back.
 * Job      whose turn it is, admission, growth of those that run, preemption.
 * Thread   the worker's loop.
 * Never    takes blocks from an older sequence for a younger one of the same right: the oldest
 *          always gets on, so that two cannot take from each other for ever.
 * Source   class and lot after DAGOR (policies/priority.h), work after VTC (policies/vtc.h). Of
 *          equal right and deadline, the victim is who gives back most for the least work lost,
 *          less so near its end; what is preempted is computed again (vLLM's recompute), or found
 *          in the cache if nobody has needed its blocks meanwhile.
 */
#include "inference/scheduler/scheduler_internal.h"

#include <assert.h>

#define OVERTAKEN_MOST                                                                             \
    16u /* looked at for one newcomer, the oldest first: each costs a look at all */

/* What its number counts as by now; who has had a turn keeps what it had then. */
static void age(const struct fg_scheduler *s, struct fg_sequence *seq, uint64_t now_ns)
{
    if (seq->scheduled_ns != 0 || now_ns <= seq->submitted_ns)
        return;
    uint64_t patience_ns = s->wait_max_ns;
    if (seq->deadline_ns > seq->submitted_ns && seq->deadline_ns - seq->submitted_ns < patience_ns)
        patience_ns = seq->deadline_ns - seq->submitted_ns; /* who has less time ages faster */
    seq->right = fg_priority_aged(seq->number, now_ns - seq->submitted_ns, patience_ns);
}

bool fg_sequence_goes_before(const struct fg_sequence *a, const struct fg_sequence *b)
{
    if ((a->block_count > 0) != (b->block_count > 0))
        return a->block_count > 0; /* adopted: it holds memory already */
    if (fg_class_of_right(a->right) != fg_class_of_right(b->right))
        return a->right < b->right;
    if (a->is_resumed != b->is_resumed)
        return a->is_resumed;
    /* Who is well ahead in work goes after, whatever the lot says; who is a little, by the lot. */
    if (a->work / FG_VTC_QUANTUM != b->work / FG_VTC_QUANTUM)
        return a->work < b->work;
    if (a->right != b->right)
        return a->right < b->right;
    if (a->work != b->work)
        return a->work < b->work;
    if (fg_sequence_deadline(a) != fg_sequence_deadline(b))
        return fg_sequence_deadline(a) < fg_sequence_deadline(b);
    return a->arrival < b->arrival;
}

static struct fg_sequence *next_waiting(struct fg_scheduler *s)
{
    struct fg_sequence *best = NULL;
    FG_LIST_EACH_SAFE(it, after, &s->waiting)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (best == NULL || fg_sequence_goes_before(seq, best))
            best = seq;
    }
    return best;
}

struct fg_sequence *fg_scheduler_last_waiting(struct fg_scheduler *s)
{
    struct fg_sequence *last = NULL;
    FG_LIST_EACH_SAFE(it, after, &s->waiting)
    {
        struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (!fg_sequence_was_admitted(seq) && (last == NULL || fg_sequence_goes_before(last, seq)))
            last = seq;
    }
    return last;
}

/* ---- preemption ---- */

void fg_sequence_preempt(struct fg_scheduler *s, struct fg_sequence *seq)
{
    bool has_place = seq->state != FG_SEQUENCE_WAITING;
    fg_kv_arena_sequence_suspend(s->arena, seq->kv);
    seq->block_count = 0;
    seq->computed = 0;
    seq->is_resumed = true;
    seq->preemptions++;
    fg_counter_add_owned(&s->record->preemptions, 1);
    if (!has_place)
        return;
    s->batch_free[s->batch_free_count++] = seq->batch_slot;
    fg_sequence_wait(s, seq);
}

/* What preempting it is worth: blocks for tokens lost, less so the nearer its end is. */
static double victim_score(const struct fg_sequence *seq)
{
    double tokens = seq->computed > 0 ? seq->computed : 1;
    double done = (double)seq->generated / (double)seq->max_tokens;
    return (double)seq->block_count / tokens * (1 - done);
}

/* Whether `seq` has more right to blocks than `other`. */
static bool has_more_right(const struct fg_sequence *seq, const struct fg_sequence *other)
{
    if (seq->right != other->right)
        return seq->right < other->right;
    return seq->arrival < other->arrival;
}

/* Of two that could give their blocks back, whether `a` is to: less right, more time, less lost. */
static bool is_better_victim(const struct fg_sequence *a, const struct fg_sequence *b)
{
    if (a->right != b->right)
        return a->right > b->right;
    if (fg_sequence_deadline(a) != fg_sequence_deadline(b))
        return fg_sequence_deadline(a) > fg_sequence_deadline(b);
    return victim_score(a) > victim_score(b);
}

/*
 * Of those who hold blocks and have less right than `seq` (a lower class only, when asked for: a
 * better lot, or a long wait, is no reason to throw away work), the one to give them back; NULL:
 * none.
 */
static struct fg_sequence *find_victim(struct fg_scheduler *s, const struct fg_sequence *seq,
                                       bool only_lower)
{
    struct fg_list *lists[] = {&s->waiting, &s->running};
    struct fg_sequence *best = NULL;
    for (size_t i = 0; i < 2; i++) {
        FG_LIST_EACH_SAFE(it, after, lists[i])
        {
            struct fg_sequence *other = FG_SEQUENCE_OF(it);
            bool is_lower = fg_class_of_right(other->number) > fg_class_of_right(seq->number);
            if (other == seq || other->block_count == 0 || !has_more_right(seq, other) ||
                (only_lower && !is_lower))
                continue;
            if (best == NULL || is_better_victim(other, best))
                best = other;
        }
    }
    return best;
}

bool fg_sequence_grow(struct fg_scheduler *s, struct fg_sequence *seq)
{
    /* The token that follows those known now has its place before it is made. */
    uint32_t needed = fg_blocks_for((uint64_t)fg_sequence_count(seq) + 1);
    needed = needed < seq->blocks_needed ? needed : seq->blocks_needed;
    while (seq->block_count < needed) {
        uint32_t *table = fg_sequence_table(s, seq);
        enum fg_status status = fg_kv_arena_sequence_reserve(
            s->arena, seq->kv, needed - seq->block_count, table + seq->block_count);
        if (status == FG_OK) {
            seq->block_count = needed;
            return true;
        }
        if (status != FG_ERR_NO_MEMORY) {
            fg_sequence_refuse(s, seq, FG_REFUSAL_INTERNAL, "the request's memory was taken back");
            return false;
        }
        struct fg_sequence *victim = find_victim(s, seq, false);
        fg_sequence_preempt(s, victim != NULL ? victim : seq);
        if (victim == NULL)
            return false;
    }
    return true;
}

/* ---- admission ---- */

/*
 * Of its group's other choices those that wait without a promise, as many as can ever fit together:
 * each needs its own blocks from the end of the prompt on.
 */
static uint32_t find_siblings(struct fg_scheduler *s, const struct fg_sequence *seq,
                              struct fg_sequence *siblings[FG_CHANNEL_CHOICES_MAX])
{
    uint32_t count = 0;
    if (seq->group == 0 || seq->is_promised)
        return 0;
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(s->arena, &gauges);
    uint64_t own = seq->blocks_needed - (seq->prompt_count - 1) / FG_KV_BLOCK_TOKENS;
    uint64_t left = gauges.blocks_total - seq->blocks_needed;
    FG_LIST_EACH_SAFE(it, after, &s->waiting)
    {
        struct fg_sequence *other = FG_SEQUENCE_OF(it);
        if (other->group != seq->group || other == seq || fg_sequence_was_admitted(other) ||
            left < own || count == FG_CHANNEL_CHOICES_MAX)
            continue;
        left -= own;
        siblings[count++] = other;
    }
    return count;
}

/* Fills the table of `place`; FG_ERR_NO_MEMORY: not now. */
static enum fg_status get_blocks(struct fg_scheduler *s, struct fg_sequence *seq, uint32_t *table)
{
    struct fg_sequence *siblings[FG_CHANNEL_CHOICES_MAX];
    struct fg_kv_sequence_id ids[FG_CHANNEL_CHOICES_MAX];
    uint32_t sibling_count = find_siblings(s, seq, siblings);
    for (uint32_t i = 0; i < sibling_count; i++)
        ids[i] = siblings[i]->kv;
    uint32_t now = fg_blocks_for((uint64_t)fg_sequence_count(seq) + 1);
    bool takes_all = s->reserves_all || now > seq->blocks_needed;
    struct fg_kv_admission admission = {
        .tokens = seq->tokens.ids,
        .token_count = fg_sequence_count(seq),
        .hashes = seq->hashes,
        .hash_count = seq->hash_count,
        .block_count = takes_all ? seq->blocks_needed : now,
        .must_fit_at_peak = !s->reserves_all,
        .siblings = ids,
        .sibling_count = sibling_count,
    };
    enum fg_status status =
        fg_kv_arena_sequence_admit(s->arena, seq->kv, &admission, table, &seq->computed);
    if (status != FG_OK)
        return status;
    seq->block_count = admission.block_count;
    for (uint32_t i = 0; i < sibling_count; i++)
        siblings[i]->is_promised = true;
    return FG_OK;
}

static void begin(struct fg_scheduler *s, struct fg_sequence *seq, uint64_t now_ns)
{
    seq->scheduled_ns = now_ns;
    s->events.on_begun(&seq->key, seq->prompt_count, s->events.owner);
}

static void count_admission(struct fg_scheduler *s, struct fg_sequence *seq, uint64_t now_ns)
{
    uint32_t to_compute = fg_sequence_count(seq) - seq->computed;
    if (seq->scheduled_ns == 0) {
        begin(s, seq, now_ns);
        seq->cached = seq->computed < seq->prompt_count ? seq->computed : seq->prompt_count;
        fg_counter_add_owned(&s->record->tokens_prompt, seq->prompt_count);
        fg_counter_add_owned(&s->record->tokens_cached, seq->cached);
    }
    seq->charge += (uint64_t)to_compute * FG_VTC_WEIGHT_INPUT;
}

/* Blocks for all its tokens and a place in the batch; false when it must wait on. */
static bool try_admit(struct fg_scheduler *s, struct fg_sequence *seq, uint64_t now_ns)
{
    if (s->batch_free_count == 0)
        return false;
    uint32_t place = s->batch_free[s->batch_free_count - 1];
    uint32_t *table = s->tables + (size_t)place * s->table_max;
    bool is_adopted = seq->block_count > 0;
    enum fg_status status = FG_OK;
    if (!is_adopted)
        status = get_blocks(s, seq, table);
    else if (fg_kv_arena_sequence_table(s->arena, seq->kv, table, s->table_max) != seq->block_count)
        status = FG_ERR_NOT_FOUND;
    if (status == FG_ERR_NO_MEMORY)
        return false;
    if (status != FG_OK) {
        /* Its slot in the arena is gone: dropped by a repair, or reclaimed by mistake. */
        fg_sequence_refuse(s, seq, FG_REFUSAL_INTERNAL, "the request's memory was taken back");
        return true;
    }
    s->batch_free_count--;
    seq->batch_slot = place;
    if (!is_adopted)
        count_admission(s, seq, now_ns);
    else if (seq->scheduled_ns == 0)
        begin(s, seq, now_ns);
    bool is_prompt = seq->generated == 0 || fg_sequence_count(seq) - seq->computed > 1;
    fg_sequence_set_state(s, seq, is_prompt ? FG_SEQUENCE_PREFILL : FG_SEQUENCE_DECODE);
    fg_list_remove(&seq->link);
    fg_sequence_enqueue(&s->running, seq);
    return true;
}

/* Blocks that those of a lower class hold, and whether one of them has a place. */
static uint64_t blocks_below(struct fg_scheduler *s, uint32_t number, bool *has_place)
{
    uint64_t blocks = 0;
    FG_LIST_EACH_SAFE(it, after, &s->running)
    {
        const struct fg_sequence *seq = FG_SEQUENCE_OF(it);
        if (fg_class_of_right(seq->number) <= fg_class_of_right(number))
            continue;
        blocks += seq->block_count;
        *has_place = true;
    }
    return blocks;
}

/* Takes what `seq` lacks from those of a lower class, if that is enough; true when it did. */
static bool make_room(struct fg_scheduler *s, const struct fg_sequence *seq)
{
    bool has_place = s->batch_free_count > 0;
    struct fg_kv_gauges gauges;
    fg_kv_arena_gauges(s->arena, &gauges);
    uint64_t needed = s->reserves_all ? seq->blocks_needed : fg_blocks_for(seq->tokens.count + 1);
    uint64_t available = gauges.blocks_free + gauges.blocks_cached;
    if (available + blocks_below(s, seq->number, &has_place) < needed || !has_place)
        return false;
    struct fg_sequence *victim = find_victim(s, seq, true);
    if (victim == NULL)
        return false;
    fg_sequence_preempt(s, victim);
    return true;
}

/* The answer will not be there in time, and none of it has been sent. True when that was said. */
static bool refuse_if_late(struct fg_scheduler *s, struct fg_sequence *seq, uint64_t now_ns)
{
    struct fg_lateness lateness;
    uint32_t cached = 0;
    if (seq->deadline_ns == 0 || fg_sequence_was_admitted(seq))
        return false;
    if (seq->hash_count > 0)
        cached = fg_kv_arena_count_cached(s->arena, seq->hashes, seq->hash_count, seq->tokens.ids) *
                 FG_KV_BLOCK_TOKENS;
    if (fg_scheduler_can_meet(s, seq, fg_sequence_count(seq), cached, now_ns, &lateness))
        return false;
    fg_sequence_refuse_late(s, seq, &lateness);
    return true;
}

void fg_scheduler_admit(struct fg_scheduler *s, uint64_t now_ns)
{
    FG_LIST_EACH_SAFE(it, after, &s->waiting)
    age(s, FG_SEQUENCE_OF(it), now_ns);
    while (!fg_list_is_empty(&s->waiting)) {
        fg_scheduler_sync_work(s); /* who was let in just now has had more */
        struct fg_sequence *seq = next_waiting(s);
        if (s->batch_free_count > 0 && refuse_if_late(s, seq, now_ns)) /* the last moment */
            continue;
        if (!try_admit(s, seq, now_ns) && !make_room(s, seq))
            break;
    }
}

void fg_scheduler_refuse_overtaken(struct fg_scheduler *s, const struct fg_sequence *seq)
{
    uint64_t now_ns = s->clock_ns();
    uint32_t checked = 0;
    FG_LIST_EACH_SAFE(it, after, &s->waiting)
    {
        struct fg_sequence *other = FG_SEQUENCE_OF(it);
        /* of the choices of one request none is refused alone before its turn */
        if (other == seq || other->group != 0 || !fg_sequence_goes_before(seq, other))
            continue;
        refuse_if_late(s, other, now_ns);
        if (++checked == OVERTAKEN_MOST)
            break;
    }
}
