/*
 * bench_engine.c: an executor on its own, timed on request; scripts/bench inference drives it.
 * Job      opens a model, reads commands from standard input, answers each with a line of JSON:
 *            prompt TOKENS REPEATS     REPEATS prompts of TOKENS tokens, one after the other
 *            decode STREAMS STEPS      so many sequences at once, STEPS greedy tokens each, after
 *                                      a prompt of PROMPT_TOKENS that is not timed
 *            read PASSES               reads all weights so many times, doing nothing with them
 *            sample TOP_K TOP_P COUNT  draws so many tokens from one row of SAMPLE_VOCAB logits;
 *                                      TOP_P in thousandths
 *          {"tokens": N, "wall_s": S, "cpu_s": S}; for read "bytes" instead of "tokens"
 * Thread   the main thread owns the executor.
 * Never    measures the tokenizer, the scheduler or the network: only what kernels do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "inference/kernels/kernels.h"
#include "inference/kernels/pool_shared.h"
#include "inference/model/executor.h"
#include "inference/scheduler/sampler.h"

#define PROMPT_TOKENS 64u
#define STREAMS_MAX 64u
#define SEQUENCE_TOKENS_MAX 2048u
#define STREAM_BLOCKS (SEQUENCE_TOKENS_MAX / FG_KV_BLOCK_TOKENS)
#define BATCH_TOKENS_MAX 512u
#define SAMPLE_VOCAB 151936u /* Qwen2's */

struct bench {
    const struct fg_kernels *kernels;
    struct fg_model *model;
    struct fg_executor *executor;
    struct fg_pool *pool; /* for reading; the executor has its own */
    struct fg_kv_store store;
    uint32_t vocab_count;
    uint32_t *tables; /* (STREAMS_MAX, STREAM_BLOCKS) */
    float *logits;    /* (STREAMS_MAX, vocab_count) */
};

struct clocks {
    double wall_s;
    double cpu_s;
};

static struct clocks read_clocks(void)
{
    struct timespec now;
    struct rusage use;
    clock_gettime(CLOCK_MONOTONIC, &now);
    getrusage(RUSAGE_SELF, &use);
    return (struct clocks){(double)now.tv_sec + (double)now.tv_nsec * 1e-9,
                           (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                               (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-6};
}

static void report(struct clocks start, const char *what, size_t count)
{
    struct clocks end = read_clocks();
    printf("{\"%s\": %zu, \"wall_s\": %.6f, \"cpu_s\": %.6f}\n", what, count,
           end.wall_s - start.wall_s, end.cpu_s - start.cpu_s);
    fflush(stdout);
}

static uint32_t best_of(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++) {
        if (logits[i] > logits[best])
            best = i;
    }
    return best;
}

/* The prompt in chunks as large as the executor takes; returns the token after it. */
static uint32_t run_prompt(struct bench *bench, uint32_t stream, uint32_t token_count)
{
    uint32_t tokens[BATCH_TOKENS_MAX];
    for (uint32_t first = 0; first < token_count; first += BATCH_TOKENS_MAX) {
        uint32_t count =
            token_count - first < BATCH_TOKENS_MAX ? token_count - first : BATCH_TOKENS_MAX;
        for (uint32_t i = 0; i < count; i++)
            tokens[i] = ((first + i + 1) * 2654435761u + stream * 40503u) % bench->vocab_count;
        bool is_last = first + count == token_count;
        struct fg_batch_run run = {.tokens = tokens,
                                   .count = count,
                                   .start_position = first,
                                   .block_table = bench->tables + stream * STREAM_BLOCKS,
                                   .logits = is_last ? bench->logits : NULL};
        fg_executor_step(bench->executor, &run, 1);
    }
    return best_of(bench->logits, bench->vocab_count);
}

static void bench_prompt(struct bench *bench, uint32_t token_count, uint32_t repeats)
{
    struct clocks start = read_clocks();
    for (uint32_t i = 0; i < repeats; i++)
        run_prompt(bench, 0, token_count);
    report(start, "tokens", (size_t)token_count * repeats);
}

static void bench_decode(struct bench *bench, uint32_t stream_count, uint32_t step_count)
{
    uint32_t next[STREAMS_MAX];
    struct fg_batch_run runs[STREAMS_MAX];
    for (uint32_t s = 0; s < stream_count; s++)
        next[s] = run_prompt(bench, s, PROMPT_TOKENS);
    struct clocks start = read_clocks();
    for (uint32_t step = 0; step < step_count; step++) {
        for (uint32_t s = 0; s < stream_count; s++)
            runs[s] =
                (struct fg_batch_run){.tokens = &next[s],
                                      .count = 1,
                                      .start_position = PROMPT_TOKENS + step,
                                      .block_table = bench->tables + s * STREAM_BLOCKS,
                                      .logits = bench->logits + (size_t)s * bench->vocab_count};
        fg_executor_step(bench->executor, runs, stream_count);
        for (uint32_t s = 0; s < stream_count; s++)
            next[s] = best_of(runs[s].logits, bench->vocab_count);
    }
    report(start, "tokens", (size_t)stream_count * step_count);
}

/* Items are cache lines of a tensor; the sum is kept so that the reading is. */
struct reading {
    const unsigned char *data;
    volatile uint64_t sink;
};

/* Told to the compiler as vectors: a loop over words became one load a word. */
typedef uint64_t cache_line __attribute__((vector_size(64)));

static void task_read(void *arg, size_t first, size_t end)
{
    struct reading *reading = arg;
    cache_line sums[4] = {{0}, {0}, {0}, {0}};
    for (size_t line = first; line < end; line++) {
        cache_line words;
        memcpy(&words, reading->data + line * sizeof(words), sizeof(words));
        sums[line % 4] ^= words;
    }
    sums[0] ^= sums[1] ^ sums[2] ^ sums[3];
    for (size_t i = 0; i < 8; i++)
        reading->sink = sums[0][i];
}

static void bench_read(struct bench *bench, uint32_t passes)
{
    const struct fg_gguf *gguf = fg_model_gguf(bench->model);
    size_t bytes = 0;
    struct clocks start = read_clocks();
    for (uint32_t pass = 0; pass < passes; pass++) {
        for (size_t i = 0; i < fg_gguf_tensor_count(gguf); i++) {
            const struct fg_tensor *tensor = fg_gguf_tensor_at(gguf, i);
            struct reading reading = {.data = tensor->data};
            fg_pool_run(bench->pool, task_read, &reading, tensor->data_bytes / 64, 16 * 1024);
            bytes += tensor->data_bytes;
        }
    }
    report(start, "bytes", bytes);
}

/* Logits about as a model's are: a bell of width 3, and the likeliest some 12 above its middle. */
static void bench_sample(const struct bench *bench, uint32_t top_k, uint32_t top_p, uint32_t count)
{
    struct fg_sampler_scratch *scratch =
        fg_sampler_scratch_create_with(SAMPLE_VOCAB, bench->kernels);
    float *logits = malloc(SAMPLE_VOCAB * sizeof(*logits));
    if (scratch == NULL || logits == NULL)
        exit(1);
    uint64_t random = 1;
    for (uint32_t i = 0; i < SAMPLE_VOCAB; i++) {
        logits[i] = -18;
        for (int k = 0; k < 12; k++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            logits[i] += 3 * (float)(random >> 40) * 0x1p-24f;
        }
    }
    const struct fg_sampling sampling = {
        .temperature = 1, .top_k = top_k, .top_p = (float)top_p / 1000, .seed = 7};
    uint64_t sum = 0; /* so that nothing is left out */
    struct clocks start = read_clocks();
    for (uint32_t i = 0; i < count; i++)
        sum += fg_sampler_pick(&sampling, logits, SAMPLE_VOCAB, i, scratch);
    report(start, sum > 0 ? "tokens" : "none", count);
    free(logits);
    fg_sampler_scratch_destroy(scratch);
}

static const struct fg_kernels *kernels_named(const char *name)
{
    const struct fg_kernels *all[] = {fg_kernels_scalar(), fg_kernels_avx2(), fg_kernels_avx512()};
    for (size_t i = 0; name != NULL && i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i] != NULL && strcmp(all[i]->name, name) == 0)
            return all[i];
    }
    return name == NULL ? fg_kernels_best() : NULL;
}

static bool open_bench(struct bench *bench, const char *path, unsigned thread_count,
                       const struct fg_kernels *kernels)
{
    struct fg_error error = {.line = 0};
    if (kernels == NULL || fg_model_open(&bench->model, path, &error) != FG_OK) {
        fprintf(stderr, "%s: %s\n", path, kernels == NULL ? "no such kernels here" : error.message);
        return false;
    }
    bench->kernels = kernels;
    bench->vocab_count = fg_model_shape(bench->model)->vocab_count;
    bench->store.shape = fg_model_kv_shape(bench->model);
    bench->store.block_count = STREAMS_MAX * STREAM_BLOCKS;
    bench->store.data = malloc(bench->store.block_count * fg_kv_block_bytes(&bench->store.shape));
    bench->tables = malloc(bench->store.block_count * sizeof(bench->tables[0]));
    bench->logits = malloc((size_t)STREAMS_MAX * bench->vocab_count * sizeof(float));
    if (bench->store.data == NULL || bench->tables == NULL || bench->logits == NULL) {
        fprintf(stderr, "not enough memory for %u sequences\n", STREAMS_MAX);
        return false;
    }
    for (uint32_t i = 0; i < bench->store.block_count; i++)
        bench->tables[i] = i;
    bench->pool = fg_pool_create(thread_count);
    if (bench->pool == NULL) {
        fprintf(stderr, "cannot start %u threads\n", thread_count);
        return false;
    }
    if (fg_executor_create_with(&bench->executor, bench->model, &bench->store, thread_count,
                                BATCH_TOKENS_MAX, kernels, &error) == FG_OK)
        return true;
    fprintf(stderr, "%s\n", error.message);
    return false;
}

static void run_commands(struct bench *bench)
{
    char line[128];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        unsigned a, b, c;
        if (sscanf(line, "prompt %u %u", &a, &b) == 2 && a >= 1 && a <= SEQUENCE_TOKENS_MAX)
            bench_prompt(bench, a, b);
        else if (sscanf(line, "decode %u %u", &a, &b) == 2 && a >= 1 && a <= STREAMS_MAX &&
                 b <= SEQUENCE_TOKENS_MAX - PROMPT_TOKENS)
            bench_decode(bench, a, b);
        else if (sscanf(line, "sample %u %u %u", &a, &b, &c) == 3 && b >= 1 && b <= 1000)
            bench_sample(bench, a, b, c);
        else if (sscanf(line, "read %u", &a) == 1 && a >= 1)
            bench_read(bench, a);
        else
            printf("{\"error\": \"not a command\"}\n");
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct bench bench = {.vocab_count = 0};
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: bench_engine MODEL.gguf THREADS [scalar|avx2|avx512]\n");
        return 2;
    }
    unsigned thread_count = (unsigned)strtoul(argv[2], NULL, 10);
    bool is_open =
        thread_count >= 1 && thread_count <= 256 &&
        open_bench(&bench, argv[1], thread_count, kernels_named(argc == 4 ? argv[3] : NULL));
    if (is_open) {
        printf("{\"kernels\": \"%s\"}\n", fg_executor_kernels(bench.executor));
        fflush(stdout);
        run_commands(&bench);
    }
    fg_executor_destroy(bench.executor);
    fg_pool_destroy(bench.pool);
    fg_model_close(bench.model);
    free(bench.store.data);
    free(bench.tables);
    free(bench.logits);
    return is_open ? 0 : 1;
}
