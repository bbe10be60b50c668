/*
 * fuzz_completion_request.c: any bytes as the body of a completion request, on both endpoints. What
 * is taken must go through the channel and come out the same; what is refused must say why, in
 * UTF-8.
 */
#include "inference/api/completion_request.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const struct fg_completion_error *error)
{
    assert(error->status >= 400 && error->status < 600);
    assert(error->code != NULL && error->message[0] != '\0');
    json_t *message = json_string(error->message);
    assert(message != NULL);
    json_decref(message);
}

static void check_request(const struct fg_completion_request *request)
{
    struct fg_channel_submit *submit = calloc(1, sizeof(*submit));
    struct fg_channel_submit *seen = calloc(1, sizeof(*seen));
    assert(submit != NULL && seen != NULL);
    submit->kind = request->is_chat ? FG_PROMPT_CHAT : FG_PROMPT_TEXT;
    submit->max_tokens = request->max_tokens;
    submit->choice_count = request->choice_count;
    submit->sampling = request->sampling;
    submit->message_count = request->message_count;
    memcpy(submit->messages, request->messages,
           request->message_count * sizeof(request->messages[0]));
    submit->stop_count = request->stop_count;
    memcpy(submit->stops, request->stops, sizeof(request->stops));
    size_t bytes = fg_channel_submit_bytes(submit);
    unsigned char *frame = malloc(bytes);
    assert(frame != NULL);
    assert(fg_channel_write_submit(frame, bytes, 1, submit) == bytes);
    struct fg_span payload = fg_span_make((const char *)frame + FG_CHANNEL_HEADER_BYTES,
                                          bytes - FG_CHANNEL_HEADER_BYTES);
    enum fg_status status = fg_channel_read_submit(payload, seen);
    assert(status == FG_OK);
    assert(seen->message_count == request->message_count);
    free(frame);
    free(submit);
    free(seen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fg_completion_limits limits = {"demo", 64, 256};
    for (int is_chat = 0; is_chat < 2; is_chat++) {
        struct fg_completion_request request;
        struct fg_completion_error error = {0};
        if (fg_completion_request_parse(&request, (enum fg_completion_kind)is_chat,
                                        fg_span_make((const char *)data, size), &limits, &error)) {
            check_request(&request);
            fg_completion_request_fini(&request);
        } else {
            check_error(&error);
        }
    }
    return 0;
}
