/*
 * scheduler_predict.c: how long a request would wait for its first token and take to its last, from
 * what steps have cost lately.
 * Job      refuse at once what could not be done before its deadline; say when it could.
 * Thread   the worker's loop.
 * Never    refuses on a guess: until steps have been measured everything is let in.
 * Source   early rejection after Mooncake (Qin et al. 2024): the decode load is taken as it will be
 *          once the prompt has been read, not as it is now, or load swings between the two phases.
 */
#include "inference/scheduler/scheduler_internal.h"

#include "base/clock.h"

/* Tokens at the beginning of both, in whole blocks. */
static uint64_t common_tokens(const struct fg_sequence *a, const struct fg_sequence *b)
{
    uint32_t most = a->hash_count < b->hash_count ? a->hash_count : b->hash_count;
    uint32_t count = 0;
    while (count < most && a->hashes[count].lo == b->hashes[count].lo &&
           a->hashes[count].hi == b->hashes[count].hi)
        count++;
    return (uint64_t)count * FG_KV_BLOCK_TOKENS;
}

/*
 * Tokens that are computed until a newcomer of so many has its first one. What it has in common
 * with others is computed once for all of them, or not at all when it is cached.
 */
static uint64_t work_until(const struct fg_scheduler *s, const struct fg_sequence *seq,
                           uint64_t prompt_count, uint64_t cached)
{
    const struct fg_list *lists[] = {&s->running, &s->waiting};
    uint64_t work = 0;
    uint64_t once = 0; /* of what several have in common */
    uint64_t known = cached;
    for (size_t i = 0; i < 2; i++) {
        for (const struct fg_list *it = lists[i]->next; it != lists[i]; it = it->next) {
            const struct fg_sequence *other = FG_SEQUENCE_OF(it);
            bool is_before =
                i == 0 ? other->right <= seq->right : fg_sequence_goes_before(other, seq);
            if (other == seq || !is_before)
                continue;
            uint64_t common = common_tokens(seq, other);
            uint64_t done = common < cached ? common : cached;
            done = other->computed > done ? other->computed : done;
            work += fg_sequence_count(other) - done;
            if (common > done) {
                work -= common - done;
                once = common - done > once ? common - done : once;
            }
            known = common > known ? common : known;
        }
    }
    return work + once + (prompt_count > known ? prompt_count - known : 1);
}

/* Of a step with this many decodes and all the prompt tokens that it has room for. */
static double full_step_ns(const struct fg_scheduler *s, uint32_t decodes, uint32_t *tokens)
{
    uint32_t most = s->step_tokens_max > decodes ? s->step_tokens_max - decodes : 1;
    *tokens = fg_step_cost_budget(&s->cost, decodes, s->step_ns, FG_KV_BLOCK_TOKENS, most);
    return (double)fg_step_cost_decode_ns(&s->cost, decodes) + (double)*tokens * s->cost.prefill_ns;
}

/* Until a place in the batch comes free for the newcomer. */
static double place_wait_ns(const struct fg_scheduler *s, const struct fg_sequence *seq)
{
    uint64_t before = fg_scheduler_running(s);
    for (const struct fg_list *it = s->waiting.next; it != &s->waiting; it = it->next)
        before += FG_SEQUENCE_OF(it) != seq && fg_sequence_goes_before(FG_SEQUENCE_OF(it), seq);
    if (before < s->batch_max)
        return 0;
    double turns = (double)(before - s->batch_max + 1);
    if (s->finish_rate.per_s > 0)
        return turns / s->finish_rate.per_s * (double)FG_S;
    /* None has ended yet: as if all that run ended one by one over an average answer. */
    double answer_ns =
        s->answer_tokens * (double)fg_step_cost_decode_ns(&s->cost, fg_scheduler_running(s));
    return turns * answer_ns / (double)s->batch_max;
}

static double predict_ns(const struct fg_scheduler *s, const struct fg_sequence *seq,
                         uint64_t prompt_count, uint64_t cached)
{
    uint32_t tokens;
    if (s->cost.prefill_ns <= 0)
        return 0;
    double step_ns = full_step_ns(s, s->state_counts[FG_SEQUENCE_DECODE], &tokens);
    double work = (double)work_until(s, seq, prompt_count, cached);
    return work * step_ns / (double)tokens + place_wait_ns(s, seq);
}

uint64_t fg_scheduler_predict_ttft(const struct fg_scheduler *s, const struct fg_sequence *seq,
                                   uint64_t prompt_count, uint64_t cached)
{
    double ns = predict_ns(s, seq, prompt_count, cached);
    return ns < (double)(UINT64_MAX / 2) ? (uint64_t)ns : UINT64_MAX / 2;
}

bool fg_scheduler_can_meet(struct fg_scheduler *s, struct fg_sequence *seq, uint64_t prompt_count,
                           uint64_t cached, uint64_t now_ns, struct fg_lateness *lateness)
{
    if (seq->deadline_ns == 0 || s->cost.prefill_ns <= 0)
        return true;
    double left_ns = seq->deadline_ns > now_ns ? (double)(seq->deadline_ns - now_ns) : 0;
    /* The answer: as long as answers are, at the pace of all that will be decoding by then. */
    double answer = s->answer_tokens > 0 ? s->answer_tokens : 1;
    answer = answer < seq->max_tokens ? answer : seq->max_tokens;
    uint32_t decodes = fg_scheduler_running(s) + 1;
    decodes = decodes < s->batch_max ? decodes : s->batch_max;
    double token_ns = (double)fg_step_cost_decode_ns(&s->cost, decodes);
    token_ns = token_ns > s->pace_ns ? token_ns : s->pace_ns; /* others' prompts are in between */
    double answer_ns = answer * token_ns;
    double wait_ns = predict_ns(s, seq, prompt_count, cached);
    if (wait_ns + answer_ns <= left_ns)
        return true;
    double late_ms = (wait_ns + answer_ns - left_ns) / (double)FG_MS;
    lateness->retry_after_ms = late_ms < 100 ? 100 : late_ms > 60000 ? 60000 : (uint32_t)late_ms;
    lateness->left_ms = (uint64_t)(left_ns / (double)FG_MS);
    /* a deadline of hours is out of reach of nothing that is computed here */
    lateness->needed_ms = lateness->left_ms + (late_ms < 1      ? 1
                                               : late_ms > 1e12 ? (uint64_t)1e12
                                                                : (uint64_t)late_ms);
    return false;
}

void fg_scheduler_judge_prediction(struct fg_scheduler *s, const struct fg_sequence *seq)
{
    if (seq->predicted_ns == 0 || seq->first_token_ns < seq->submitted_ns)
        return;
    uint64_t took_ns = seq->first_token_ns - seq->submitted_ns;
    uint64_t error_ns =
        took_ns > seq->predicted_ns ? took_ns - seq->predicted_ns : seq->predicted_ns - took_ns;
    fg_counter_add_owned(&s->record->predictions, 1);
    fg_counter_add_owned(&s->record->predicted_ns, seq->predicted_ns);
    fg_counter_add_owned(&s->record->predicted_actual_ns, took_ns);
    fg_counter_add_owned(&s->record->predicted_error_ns, error_ns);
}
