/*
 * ending_memory.c: see ending_memory.h.
 */
#include "ending_memory.h"

#include <openssl/crypto.h>
#include <stdlib.h>

static bool is_counting;
static unsigned allocations, failing; /* which of them fails */

static bool is_allowed(void)
{
    return !is_counting || ++allocations != failing;
}

static void *allocate(size_t bytes, const char *file, int line)
{
    (void)file;
    (void)line;
    return is_allowed() ? malloc(bytes) : NULL;
}

static void *reallocate(void *block, size_t bytes, const char *file, int line)
{
    (void)file;
    (void)line;
    return is_allowed() ? realloc(block, bytes) : NULL;
}

static void release(void *block, const char *file, int line)
{
    (void)file;
    (void)line;
    free(block);
}

bool ending_memory_install(void)
{
    return CRYPTO_set_mem_functions(allocate, reallocate, release) == 1;
}

void ending_memory_begin(void)
{
    failing++;
    allocations = 0;
    is_counting = true;
}

bool ending_memory_end(void)
{
    is_counting = false;
    return allocations >= failing;
}
