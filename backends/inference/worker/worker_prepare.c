/*
 * worker_prepare.c: the helper's half of a request: parse the copy, encode, leave the result.
 * Thread   work() on a helper, which alone has the object then; the rest on the loop.
 * Blame    what a helper does is marked in the arena: a crash in it is this request's
 *          (kv_blame_shared.c).
 */
#include "inference/worker/worker_prepare.h"

#include "inference/kv/kv_arena_shared.h"

#include <assert.h>
#include <stdlib.h>

static void refuse(struct fg_worker_prepare *prepare, enum fg_refusal reason, const char *message)
{
    prepare->is_refused = true;
    prepare->reason = reason;
    prepare->message = message;
}

/* The first token of a plain text where the model wants one. */
static enum fg_status append_bos(const struct fg_tokenizer *tokenizer, struct fg_token_list *list)
{
    if (!fg_tokenizer_adds_bos(tokenizer) || fg_tokenizer_bos(tokenizer) == UINT32_MAX)
        return FG_OK;
    assert(list->count == 0 && list->ids == NULL);
    list->ids = malloc(64 * sizeof(*list->ids));
    if (list->ids == NULL)
        return FG_ERR_NO_MEMORY;
    list->capacity = 64;
    list->ids[list->count++] = fg_tokenizer_bos(tokenizer);
    return FG_OK;
}

static enum fg_status encode_text(struct fg_worker_prepare *prepare,
                                  const struct fg_channel_submit *submit)
{
    /* A completion's prompt is the whole prompt, control tokens included: the caller's own words.
     */
    const struct fg_tokenizer *tokenizer = prepare->model->tokenizer;
    if (submit->messages[0].content.len == 0)
        return FG_OK; /* an empty prompt, which the scheduler refuses */
    enum fg_status status = append_bos(tokenizer, &prepare->prompt);
    if (status != FG_OK)
        return status;
    return fg_tokenizer_encode(tokenizer, submit->messages[0].content, FG_SPECIAL_RECOGNISE,
                               &prepare->prompt);
}

static enum fg_status encode_chat(struct fg_worker_prepare *prepare,
                                  const struct fg_channel_submit *submit)
{
    struct fg_chat_message messages[FG_CHANNEL_MESSAGES_MAX];
    for (uint32_t i = 0; i < submit->message_count; i++)
        messages[i] =
            (struct fg_chat_message){submit->messages[i].role, submit->messages[i].content};
    return fg_chat_template_encode(prepare->model->chat, prepare->model->tokenizer,
                                   &(struct fg_chat_prompt){.messages = messages,
                                                            .message_count = submit->message_count,
                                                            .tools = submit->tools,
                                                            .thinking = submit->thinking},
                                   &prepare->prompt);
}

void fg_worker_prepare_run(struct fg_worker_prepare *prepare)
{
    struct fg_channel_submit submit;
    struct fg_span payload = fg_span_make(prepare->payload, prepare->payload_bytes);
    enum fg_status status = fg_channel_read_submit(payload, &submit);
    assert(status == FG_OK); /* the loop read the same bytes */
    prepare->resumed = submit.resumed;
    prepare->resumed_count = submit.resumed_count;
    bool is_chat = submit.kind == FG_PROMPT_CHAT;
    status = is_chat ? encode_chat(prepare, &submit) : encode_text(prepare, &submit);
    switch (status) {
    case FG_OK:
        break;
    case FG_ERR_LIMIT:
        refuse(prepare, FG_REFUSAL_TOO_LONG, "the prompt alone is longer than the context");
        break;
    case FG_ERR_UNSUPPORTED:
        refuse(prepare, FG_REFUSAL_BAD_PROMPT,
               "the model has no chat template, or one that cannot describe tools");
        break;
    case FG_ERR_INVALID:
        refuse(prepare, FG_REFUSAL_BAD_PROMPT,
               "a message has an unknown role; expected system, user, assistant or tool");
        break;
    default:
        refuse(prepare, FG_REFUSAL_INTERNAL, "the worker is out of memory");
        break;
    }
}

static void work(struct fg_helper_job *job)
{
    struct fg_worker_prepare *prepare = (struct fg_worker_prepare *)(void *)job;
    uint32_t place =
        fg_kv_arena_prepare_begin(prepare->arena, prepare->worker_index, prepare->stream_key);
    fg_worker_prepare_run(prepare);
    fg_kv_arena_prepare_end(prepare->arena, prepare->worker_index, place);
}

static void on_message(struct fg_message *message)
{
    struct fg_worker_prepare *prepare =
        (struct fg_worker_prepare *)(void *)FG_CONTAINER_OF(message, struct fg_helper_job, message);
    prepare->on_ready(prepare, prepare->owner);
}

struct fg_worker_prepare *fg_worker_prepare_create(const struct fg_worker_model *model,
                                                   struct fg_scheduler_ticket ticket,
                                                   struct fg_span payload,
                                                   fg_worker_prepare_fn on_ready, void *owner)
{
    struct fg_worker_prepare *prepare = calloc(1, sizeof(*prepare) + payload.len);
    if (prepare == NULL)
        return NULL;
    prepare->job.message.run = on_message;
    prepare->job.work = work;
    fg_list_init(&prepare->link);
    prepare->model = model;
    prepare->ticket = ticket;
    prepare->on_ready = on_ready;
    prepare->owner = owner;
    prepare->prompt.ids_max = model->context_max;
    prepare->payload_bytes = payload.len;
    if (payload.len > 0)
        memcpy(prepare->payload, payload.data, payload.len);
    return prepare;
}

void fg_worker_prepare_destroy(struct fg_worker_prepare *prepare)
{
    fg_token_list_fini(&prepare->prompt);
    free(prepare);
}

enum fg_status fg_worker_prepare_adopt(const struct fg_worker_prepare *prepare,
                                       struct fg_scheduler *scheduler)
{
    struct fg_channel_submit submit;
    struct fg_span payload = fg_span_make(prepare->payload, prepare->payload_bytes);
    enum fg_status status = fg_channel_read_submit(payload, &submit);
    assert(status == FG_OK); /* the loop read the same bytes */
    return fg_scheduler_adopt(scheduler, prepare->ticket, submit.resumed, submit.resumed_count);
}

enum fg_status fg_worker_prepare_submit(struct fg_worker_prepare *prepare,
                                        struct fg_helper_pool *helpers, struct fg_mailbox *mailbox)
{
    prepare->job.reply_to = mailbox;
    return fg_helper_pool_try_submit(helpers, &prepare->job);
}
