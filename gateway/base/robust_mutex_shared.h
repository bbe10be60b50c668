/*
 * robust_mutex_shared.h: a mutex in memory that processes share, of which each may die at any time.
 * Protocol whoever locks it after an owner's death gets EOWNERDEAD, repairs what the mutex guards
 *          and says pthread_mutex_consistent.
 */
#ifndef FG_BASE_ROBUST_MUTEX_SHARED_H
#define FG_BASE_ROBUST_MUTEX_SHARED_H

#include "base/status.h"

#include <pthread.h>
#include <stdbool.h>

FG_MUST_USE bool fg_robust_mutex_init(pthread_mutex_t *lock);

#endif
