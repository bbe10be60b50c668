/*
 * schema_inference.c: the table of the inference pool.
 */
#include "config/raw.h"
#include "config/schema.h"
#include "config/schema_gates.h"

#define AT(type, member) (uint32_t) offsetof(struct type, member)
#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define MINUTE (60 * S)
#define HOUR (60 * MINUTE)
#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const struct fg_choice chat_templates[] = {
    {"chatml", 0}, {"qwen2", 0},  {"qwen2.5", 0}, {"qwen3", 0},
    {"llama2", 0}, {"llama3", 0}, {"mistral", 0}, {NULL, 0},
};

static const struct fg_choice kv_types[] = {
    {"f16", FG_KV_F16},
    {"q8_0", FG_KV_Q8_0},
    {NULL, 0},
};

static const struct fg_choice prefix_sharing[] = {
    {"tenant", FG_PREFIX_TENANT},
    {"all", FG_PREFIX_ALL},
    {"off", FG_PREFIX_OFF},
    {NULL, 0},
};

static const struct fg_choice admissions[] = {
    {"peak", FG_KV_ADMIT_PEAK},
    {"reserve", FG_KV_ADMIT_RESERVE},
    {NULL, 0},
};

#define L(member) AT(fg_raw_inference, conf.member)
static const struct fg_key inference_keys[] = {
    {.name = "enabled",
     .type = FG_KEY_BOOL,
     .offset = L(enabled),
     .initial = "false",
     .doc = "Start the workers."},
    {.name = "model",
     .type = FG_KEY_PATH,
     .offset = L(model),
     .check = fg_text_check_not_empty,
     .doc = "The GGUF file; needed when enabled."},
    {.name = "model_name",
     .type = FG_KEY_STRING,
     .offset = L(model_name),
     .derived = "the file's name without .gguf",
     .check = fg_text_check_label,
     .doc = "What `/v1/models` calls it."},
    {.name = "chat_template",
     .type = FG_KEY_WORD,
     .offset = L(chat_template),
     .derived = "the file's own",
     .choices = chat_templates,
     .doc = "Form of the prompt, where the file names none or a wrong one."},
    {.name = "workers",
     .type = FG_KEY_U32,
     .offset = L(worker_count),
     .initial = "2",
     .min = 1,
     .max = 64,
     .doc = "Processes. With two, one goes on while the other is restarted; they share the model's "
            "memory."},
    {.name = "prefill_workers",
     .type = FG_KEY_U32,
     .offset = L(prefill_workers),
     .initial = "0",
     .min = 0,
     .max = 64,
     .doc = "So many of the workers, the first ones, read prompts only: after its first token a "
            "stream goes on elsewhere, with the memory it has."},
    {.name = "decode_workers",
     .type = FG_KEY_U32,
     .offset = L(decode_workers),
     .initial = "0",
     .min = 0,
     .max = 64,
     .doc = "So many of the workers, the next ones, take no new prompts while others can."},
    {.name = "threads_per_worker",
     .type = FG_KEY_U32,
     .offset = L(threads_per_worker),
     .initial = "1",
     .min = 1,
     .max = 256,
     .doc = "Threads of each. Leave cores for the gateway: workers x threads below the cores."},
    {.name = "kv_memory",
     .type = FG_KEY_SIZE,
     .offset = L(kv_bytes),
     .initial = "64MiB",
     .min = 64 * KIB,
     .max = 1024 * GIB,
     .doc = "Keys and values of all sequences of all workers. When it is full requests wait."},
    {.name = "kv_type",
     .type = FG_KEY_ENUM,
     .offset = L(kv_type),
     .initial = "f16",
     .choices = kv_types,
     .doc =
         "How keys and values are kept. `q8_0`: 8 bits with a scale for each 32, so that the same "
         "memory holds nearly twice the tokens; answers differ a little. The model's head size "
         "must be a multiple of 32."},
    {.name = "prefix_sharing",
     .type = FG_KEY_ENUM,
     .offset = L(prefix_sharing),
     .initial = "tenant",
     .choices = prefix_sharing,
     .doc =
         "Who finds a prompt's beginning computed already. `tenant`: the same user (an anonymous "
         "one: the same address, of IPv6 the same /64); `all`: everybody, so that the time of an "
         "answer tells one what others have asked; `off`: nobody."},
    {.name = "admission",
     .type = FG_KEY_ENUM,
     .offset = L(admission),
     .initial = "peak",
     .choices = admissions,
     .doc = "When a request gets memory. `peak`: once all that run could grow to their longest "
            "together, and then as it grows; should it not come true, the one with least right "
            "waits and is computed again. `reserve`: once all it can ever need is free."},
    {.name = "orphan_keep",
     .type = FG_KEY_DURATION,
     .offset = L(orphan_keep_ns),
     .initial = "5s",
     .min = 100 * MS,
     .max = 1 * HOUR,
     .doc = "How long the memory of a stream whose worker died is kept for another worker to go on "
            "with."},
    {.name = "sequences_max",
     .type = FG_KEY_U32,
     .offset = L(sequences_max),
     .initial = "128",
     .min = 1,
     .max = 65536,
     .doc = "Sequences that wait or run, all workers together."},
    {.name = "context_max",
     .type = FG_KEY_U32,
     .offset = L(context_max),
     .initial = "model",
     .zero_word = "model",
     .min = 16,
     .max = 16777216,
     .doc = "Prompt and answer of one request in tokens; `model`: what it was trained for."},
    {.name = "step_tokens_max",
     .type = FG_KEY_U32,
     .offset = L(step_tokens_max),
     .initial = "256",
     .min = 1,
     .max = 65536,
     .doc = "Tokens in one step of a worker: larger is more prefill a second, smaller is a more "
            "even stream."},
    {.name = "prefill_chunk",
     .type = FG_KEY_U32,
     .offset = L(prefill_chunk),
     .initial = "128",
     .min = 1,
     .max = 65536,
     .doc = "Prompt tokens of one sequence in one step, so that a long prompt delays nobody."},
    {.name = "prefill_long",
     .type = FG_KEY_U32,
     .offset = L(prefill_long),
     .initial = "1024",
     .min = 1,
     .max = 16777216,
     .doc = "A prompt with more tokens to compute than this is read one at a time, after shorter "
            "ones, with a quarter of each step to itself."},
    {.name = "step_time_max",
     .type = FG_KEY_DURATION,
     .offset = L(step_time_max_ns),
     .initial = "250ms",
     .min = 1 * MS,
     .max = 1 * MINUTE,
     .doc = "Prompts get what fits into a step of this length, as measured, so that no stream "
            "waits longer for its next token because of them."},
    {.name = "batch_max",
     .type = FG_KEY_U32,
     .offset = L(batch_max),
     .initial = "8",
     .min = 1,
     .max = 4096,
     .doc = "Sequences that run at once in one worker."},
    {.name = "waiting_max",
     .type = FG_KEY_U32,
     .offset = L(waiting_max),
     .initial = "16",
     .min = 0,
     .max = 65536,
     .doc = "Sequences that wait in one worker; one more is answered 429. Keep it short: the "
            "gateway's queue is the one that knows priorities."},
    {.name = "wait_max",
     .type = FG_KEY_DURATION,
     .offset = L(wait_max_ns),
     .initial = "5s",
     .min = 1 * MS,
     .max = 1 * HOUR,
     .doc = "Longest wait for KV blocks; then 503 with `Retry-After`."},
    {.name = "max_tokens_default",
     .type = FG_KEY_U32,
     .offset = L(max_tokens_default),
     .initial = "256",
     .min = 1,
     .max = 1048576,
     .doc = "Length of an answer where the request says nothing."},
    {.name = "max_tokens_limit",
     .type = FG_KEY_U32,
     .offset = L(max_tokens_limit),
     .initial = "2048",
     .min = 1,
     .max = 1048576,
     .doc = "Longest answer that may be asked for."},
    {.name = "body_max",
     .type = FG_KEY_SIZE,
     .offset = L(body_bytes_max),
     .initial = "1MiB",
     .min = 1 * KIB,
     .max = 64 * MIB,
     .doc = "Request body; more is answered 413. `limits.request_memory_max` has to hold it, too."},
    {.name = "logprobs_memory_max",
     .type = FG_KEY_SIZE,
     .offset = L(logprobs_bytes_max),
     .initial = "16MiB",
     .min = 64 * KIB,
     .max = 1024 * MIB,
     .doc = "Memory that an answer with `logprobs` may take which is not streamed, beside "
            "`limits.request_memory_max`: up to 640 bytes for each token and each of its "
            "alternatives. What could need more is answered 400."},
    /* A token costs some 20 us with its way to the client: 50 of them, then the orders' turn. */
    {.name = "turn_max",
     .type = FG_KEY_DURATION,
     .offset = L(turn_max_ns),
     .initial = "1ms",
     .zero_word = "off",
     .min = 10000,
     .max = 1 * S,
     .doc = "Most of an event loop's turn that tokens may take, all workers together; the rest "
            "comes in the next, after everybody else's."},
    {.name = "worker_hang",
     .type = FG_KEY_DURATION,
     .offset = L(worker_hang_ns),
     .initial = "10s",
     .min = 100 * MS,
     .max = 1 * HOUR,
     .doc = "A worker that had so much time for a sign of life and gave none is killed and started "
            "anew. Waiting for a processor does not count."},
    {.name = "socket_directory",
     .type = FG_KEY_PATH,
     .offset = L(socket_directory),
     .initial = "sockets",
     .check = fg_text_check_not_empty,
     .doc = "Where workers listen for the gateway."},
    FG_GATE_KEYS(FG_BACKEND_INFERENCE, fg_raw_inference, backend.conf),
    {.name = NULL},
};
#undef L

const struct fg_table fg_table_inference = {
    .path = "inference",
    .doc = "The bundled inference pool; a route leads there with `to: inference`.",
    .keys = inference_keys,
    .bytes = sizeof(struct fg_raw_inference),
    .example = "{enabled: true, model: model.gguf}",
};
