// A pool of threads that share the parts of a loop with whoever calls. Between two loops that follow each other closely
// the threads spin, which a condition variable's wake-up would cost several times over; after that they sleep.
#include "CKernels.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#define CK_SPINS 4000

static struct {
    pthread_mutex_t caller;  // held by the one whose parts run
    pthread_mutex_t sleep;
    pthread_cond_t wake;
    _Atomic uint64_t job;  // its number in the upper half, the parts that nobody has taken in the lower
    _Atomic size_t unfinished;
    _Atomic int sleepers;
    ck_part body;
    void *context;
    _Atomic size_t thread_count;
    size_t started;
} pool = {.caller = PTHREAD_MUTEX_INITIALIZER, .sleep = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER,
          .thread_count = 1, .started = 1};

// Parts do not divide themselves further.
static _Thread_local int is_inside;

static inline void ck_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline uint32_t open_parts(void) { return (uint32_t)atomic_load(&pool.job); }

// Runs parts until none is open. A part once taken keeps its job, and so `body`, from ending.
static void work(void) {
    uint64_t job = atomic_load(&pool.job);
    while ((uint32_t)job > 0) {
        if (!atomic_compare_exchange_weak(&pool.job, &job, job - 1)) continue;
        is_inside = 1;
        pool.body(pool.context, (uint32_t)job - 1);
        is_inside = 0;
        atomic_fetch_sub(&pool.unfinished, 1);
        job = atomic_load(&pool.job);
    }
}

static void *worker(void *unused) {
    (void)unused;
    for (;;) {
        for (int spins = 0; open_parts() == 0 && spins < CK_SPINS; spins++) ck_pause();
        if (open_parts() == 0) {
            pthread_mutex_lock(&pool.sleep);
            atomic_fetch_add(&pool.sleepers, 1);
            while (open_parts() == 0) pthread_cond_wait(&pool.wake, &pool.sleep);
            atomic_fetch_sub(&pool.sleepers, 1);
            pthread_mutex_unlock(&pool.sleep);
        }
        work();
    }
    return NULL;
}

size_t ck_set_thread_count(size_t count) {
    pthread_mutex_lock(&pool.caller);
    // Signals are for the thread that waits for them.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool.started < count) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker, NULL) != 0) break;
        pthread_detach(thread);
        pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    const size_t granted = count < pool.started ? count : pool.started;
    atomic_store(&pool.thread_count, granted > 1 ? granted : 1);
    pthread_mutex_unlock(&pool.caller);
    return granted;
}

size_t ck_thread_count(void) { return is_inside ? 1 : atomic_load(&pool.thread_count); }

void ck_for_each_part(size_t parts, ck_part body, void *context) {
    if (parts < 2 || is_inside || pthread_mutex_trylock(&pool.caller) != 0) {
        for (size_t part = 0; part < parts; part++) body(context, part);
        return;
    }
    pool.body = body;
    pool.context = context;
    atomic_store(&pool.unfinished, parts);
    const uint64_t number = (atomic_load(&pool.job) >> 32) + 1;
    atomic_store(&pool.job, number << 32 | (uint32_t)parts);
    if (atomic_load(&pool.sleepers) > 0) {
        pthread_mutex_lock(&pool.sleep);
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.sleep);
    }
    work();
    for (int spins = 0; atomic_load(&pool.unfinished) > 0; spins++) {
        if (spins < CK_SPINS) ck_pause();
        else sched_yield();  // where there are more threads than cores
    }
    pthread_mutex_unlock(&pool.caller);
}
