/* Splits a kernel over threads: `irnn_parallel` calls part(data, i, IRNN_THREADS) once for every i, part 0 in the calling
   thread. The other threads are started by the first call and spin for a while after each, since the next kernel of a step
   follows within microseconds; then they sleep. When several callers come at a time, one gets the threads, and the others
   do all parts themselves: the results are the same. */
#include <stdint.h>

typedef void (*irnn_part)(const void *data, int64_t part, int64_t parts);
void irnn_parallel(irnn_part part, const void *data);

#ifdef IRNN_SERIAL
/* For programs without a C library, under emulators: the same parts, one after another. */
void irnn_parallel(irnn_part part, const void *data) {
    for (int64_t i = 0; i < IRNN_THREADS; ++i) part(data, i, IRNN_THREADS);
}
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#define WORKERS (IRNN_THREADS - 1)
#define SPINS 20000 /* some 100 microseconds */

static struct {
    pthread_mutex_t caller, sleeping; /* who has the threads; protects `sleepers` and `stop` */
    pthread_cond_t wake;
    pthread_t threads[WORKERS];
    int started, failed, stop, sleepers;
    irnn_part part;
    const void *data;
    _Alignas(64) uint32_t round;   /* grows by one with every call */
    _Alignas(64) uint32_t waiting; /* workers that have not finished this round */
} pool = {.caller = PTHREAD_MUTEX_INITIALIZER, .sleeping = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield");
#endif
}

/* Waits for another round than `seen`; 0 when the pool ends. */
static int next_round(uint32_t seen) {
    for (int i = 0; i < SPINS; ++i) {
        if (__atomic_load_n(&pool.round, __ATOMIC_ACQUIRE) != seen) return 1;
        relax();
    }
    pthread_mutex_lock(&pool.sleeping);
    ++pool.sleepers;
    while (__atomic_load_n(&pool.round, __ATOMIC_ACQUIRE) == seen && !pool.stop)
        pthread_cond_wait(&pool.wake, &pool.sleeping);
    --pool.sleepers;
    pthread_mutex_unlock(&pool.sleeping);
    return __atomic_load_n(&pool.round, __ATOMIC_ACQUIRE) != seen;
}

static void *work(void *argument) {
    const int64_t number = (int64_t)(intptr_t)argument;
    for (uint32_t seen = 0; next_round(seen); ++seen) {
        pool.part(pool.data, number, IRNN_THREADS);
        __atomic_sub_fetch(&pool.waiting, 1, __ATOMIC_RELEASE);
    }
    return 0;
}

static void stop(void) {
    pthread_mutex_lock(&pool.sleeping);
    pool.stop = 1;
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.sleeping);
    for (int i = 0; i < pool.started; ++i) pthread_join(pool.threads[i], 0);
    pool.started = pool.stop = 0;
}

/* A child of fork has none of the threads: it starts its own. */
static void forget(void) {
    pthread_mutex_t fresh_mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t fresh_condition = PTHREAD_COND_INITIALIZER;
    pool.caller = pool.sleeping = fresh_mutex;
    pool.wake = fresh_condition;
    pool.started = pool.sleepers = pool.stop = pool.failed = 0;
    pool.round = pool.waiting = 0;
}

static int start(void) {
    sigset_t all, before;
    if (pool.started || pool.failed) return pool.started;
    pool.round = 0;
    sigfillset(&all); /* signals are for the threads of the program */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < WORKERS; ++i) {
        if (pthread_create(&pool.threads[i], 0, work, (void *)(intptr_t)(i + 1)) != 0) {
            stop();
            pool.failed = 1; /* not again: every call would pay for it */
            break;
        }
        ++pool.started;
    }
    pthread_sigmask(SIG_SETMASK, &before, 0);
    return pool.started;
}

static __attribute__((constructor)) void loaded(void) { pthread_atfork(0, 0, forget); }

/* Threads must not run code that is no longer there. */
static __attribute__((destructor)) void unloaded(void) {
    if (pool.started) stop();
}

void irnn_parallel(irnn_part part, const void *data) {
    const int ours = pthread_mutex_trylock(&pool.caller) == 0;
    if (!ours || !start()) {
        for (int64_t i = 0; i < IRNN_THREADS; ++i) part(data, i, IRNN_THREADS);
        if (ours) pthread_mutex_unlock(&pool.caller);
        return;
    }
    pool.part = part;
    pool.data = data;
    __atomic_store_n(&pool.waiting, WORKERS, __ATOMIC_RELAXED);
    __atomic_add_fetch(&pool.round, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&pool.sleeping);
    if (pool.sleepers) pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.sleeping);
    part(data, 0, IRNN_THREADS);
    for (int i = 0; __atomic_load_n(&pool.waiting, __ATOMIC_ACQUIRE) != 0; ++i) {
        if (i < SPINS) relax();
        else sched_yield();
    }
    pthread_mutex_unlock(&pool.caller);
}
#endif
