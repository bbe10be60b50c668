/*
 * generation_parse.c: from the collected body to a checked request, off the event loop when long.
 * Job      a short body is parsed at once; a long one is copied and parsed on a helper thread,
 *          whose result finds its request by id, or nobody when the request has gone.
 * Thread   the event loop, but for parse_on_helper.
 * Memory   one copy of a long body, until its parse is over.
 */
#include "inference_internal.h"

#include "base/json_values.h"

#include <assert.h>
#include <stdlib.h>

/* What takes less than a loop may be held up: of one text jansson reads some 100 MB/s, while each
 * value takes 0.2 us, and 2 us where it is part of a schema. */
#define INLINE_BYTES_MAX ((size_t)8 * 1024)
#define INLINE_VALUES_MAX ((size_t)64)

struct parse_job {
    struct fg_helper_job job; /* first */
    struct fg_inference_anchor *anchor;
    uint64_t id;

    /* in */
    enum fg_completion_kind kind;
    struct fg_completion_limits limits;
    struct fg_span body;

    /* out */
    bool is_good;
    struct fg_completion_request request;
    struct fg_completion_error error;

    char bytes[]; /* body, then the model's name */
};

void fg_inference_anchor_release(struct fg_inference_anchor *anchor)
{
    assert(anchor->references > 0);
    if (--anchor->references == 0)
        free(anchor);
}

static void conclude(struct fg_generation *gen, bool is_good,
                     const struct fg_completion_error *error)
{
    if (is_good) {
        fg_generation_admit(gen);
        return;
    }
    struct fg_generation_refusal refusal = {
        FG_INFERENCE_REFUSED_INVALID,
        {.status = error->status,
         .type = "invalid_request_error",
         .code = error->code,
         .param = error->param[0] == '\0' ? NULL : error->param}};
    if (error->status >= 500) {
        refusal.reason = FG_INFERENCE_REFUSED_BUSY;
        refusal.says.type = "server_error";
        refusal.says.retry_after_ms = 1000;
    }
    fg_generation_refuse(gen, &refusal, error->message);
}

static void parse_on_helper(struct fg_helper_job *base)
{
    struct parse_job *job = (struct parse_job *)base;
    job->is_good =
        fg_completion_request_parse(&job->request, job->kind, job->body, &job->limits, &job->error);
}

static void on_parsed(struct fg_message *message)
{
    struct parse_job *job = (struct parse_job *)message;
    struct fg_inference_thread *thread = job->anchor->thread;
    struct fg_choice *choice =
        thread == NULL ? NULL : fg_request_table_find(thread->table, job->id);
    if (choice != NULL) {
        struct fg_generation *gen = choice->gen;
        assert(gen->state == FG_GENERATION_PARSING);
        gen->request = job->request;
        conclude(gen, job->is_good, &job->error);
    } else {
        fg_completion_request_fini(&job->request);
    }
    fg_inference_anchor_release(job->anchor);
    free(job);
}

static struct parse_job *make_job(struct fg_generation *gen)
{
    struct fg_inference_thread *thread = gen->thread;
    const struct fg_completion_limits *limits = &thread->backend->limits;
    size_t name_bytes = strlen(limits->model_name) + 1;
    struct parse_job *job = calloc(1, sizeof(*job) + gen->body.len + name_bytes);
    if (job == NULL)
        return NULL;
    memcpy(job->bytes, gen->body.data, gen->body.len);
    memcpy(job->bytes + gen->body.len, limits->model_name, name_bytes);
    job->job.message.run = on_parsed;
    job->job.work = parse_on_helper;
    job->job.reply_to = thread->env->mailbox;
    job->anchor = thread->anchor;
    job->id = gen->first.id;
    job->kind = gen->kind;
    job->limits = *limits;
    job->limits.model_name = job->bytes + gen->body.len;
    job->body = fg_span_make(job->bytes, gen->body.len);
    return job;
}

static void parse_elsewhere(struct fg_generation *gen)
{
    const uint64_t most = fg_helper_pool_jobs_max(gen->thread->env->helper);
    const struct fg_generation_refusal busy = {FG_INFERENCE_REFUSED_BUSY,
                                               {.status = 503,
                                                .type = "overloaded_error",
                                                .code = "overloaded",
                                                .policy = "helper_jobs",
                                                .value = most,
                                                .limit = most,
                                                .retry_after_ms = 1000}};
    struct parse_job *job = make_job(gen);
    if (job == NULL) {
        fg_generation_fail(gen, FG_FAILURE_NO_MEMORY, "no memory for the request's body");
        return;
    }
    if (fg_helper_pool_try_submit(gen->thread->env->helper, &job->job) != FG_OK) {
        free(job);
        fg_generation_refuse(gen, &busy, "too many long requests at once; try again later");
        return;
    }
    /* The helper may be done already, but its reply cannot run before this turn is over. */
    gen->thread->anchor->references++;
    fg_generation_set_state(gen, FG_GENERATION_PARSING);
}

void fg_generation_parse(struct fg_generation *gen)
{
    struct fg_span body = fg_span_make(gen->body.data, gen->body.len);
    bool is_long = body.len > INLINE_BYTES_MAX || fg_json_values_most(body) > INLINE_VALUES_MAX;
    if (is_long && gen->thread->env->helper != NULL) {
        parse_elsewhere(gen);
        return;
    }
    struct fg_completion_error error;
    bool is_good = fg_completion_request_parse(&gen->request, gen->kind, body,
                                               &gen->thread->backend->limits, &error);
    conclude(gen, is_good, &error);
}
