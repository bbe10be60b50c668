/*
 * robust_mutex_shared.c: see robust_mutex_shared.h.
 */
#include "base/robust_mutex_shared.h"

bool fg_robust_mutex_init(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attr;
    if (pthread_mutexattr_init(&attr) != 0)
        return false;
    bool is_made = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0 &&
                   pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0 &&
                   pthread_mutex_init(lock, &attr) == 0;
    pthread_mutexattr_destroy(&attr);
    return is_made;
}
