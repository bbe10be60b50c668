/*
 * ending_memory.h: OpenSSL's memory for tests of what happens when there is no more of it.
 * Use      install it before OpenSSL has allocated anything; then count and fail between `begin`
 *          and `end`, one allocation further each time, until none was left to fail.
 */
#ifndef FG_TESTS_ENDING_MEMORY_H
#define FG_TESTS_ENDING_MEMORY_H

#include <stdbool.h>

bool ending_memory_install(void);
/* From here on the allocation behind those that `begin` has let fail before fails. */
void ending_memory_begin(void);
/* There is memory again. True: one has failed. */
bool ending_memory_end(void);

#endif
