/*
 * executor.c - the pool behind parallel sections.
 *
 * Threading: one mutex guards the list of sections that still have tasks to hand out; the tasks themselves are taken with an
 * atomic counter. A caller works on its own section too, so nested waiting cannot starve it. Two conditions: `work` (a section
 * was added, or stop) and `done` (a section's last task returned).
 */
#include "base/executor.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct section {
    struct section *next;
    void (*task)(void *arg, uint32_t index);
    void *arg;
    uint32_t count;
    _Atomic uint32_t taken;
    uint32_t helpers; /* threads of the pool inside this section; guarded by the mutex */
} section;

struct executor_pool {
    vd_executor face;
    pthread_mutex_t mutex;
    pthread_cond_t work;
    pthread_cond_t done;
    section *sections; /* with tasks left to take, oldest first */
    bool stopping;
    uint32_t thread_count;
    pthread_t threads[];
};

static void work_on(section *s) {
    for (;;) {
        uint32_t i = atomic_fetch_add_explicit(&s->taken, 1, memory_order_relaxed);
        if (i >= s->count) {
            return;
        }
        s->task(s->arg, i);
    }
}

static void unlink_locked(executor_pool *p, section *s) {
    for (section **at = &p->sections; *at; at = &(*at)->next) {
        if (*at == s) {
            *at = s->next;
            return;
        }
    }
}

static void *pool_thread(void *arg) {
    executor_pool *p = arg;
    pthread_mutex_lock(&p->mutex);
    for (;;) {
        while (!p->sections && !p->stopping) {
            pthread_cond_wait(&p->work, &p->mutex);
        }
        if (!p->sections) {
            break;
        }
        section *s = p->sections;
        s->helpers++;
        pthread_mutex_unlock(&p->mutex);
        work_on(s);
        pthread_mutex_lock(&p->mutex);
        unlink_locked(p, s); /* nothing left to take: others must not join */
        if (--s->helpers == 0) {
            pthread_cond_broadcast(&p->done);
        }
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

static void pool_run(void *context, void (*task)(void *arg, uint32_t index), void *arg, uint32_t count) {
    executor_pool *p = context;
    if (count <= 1 || p->thread_count == 0) {
        for (uint32_t i = 0; i < count; i++) {
            task(arg, i);
        }
        return;
    }
    section s = {.task = task, .arg = arg, .count = count};
    pthread_mutex_lock(&p->mutex);
    section **tail = &p->sections;
    while (*tail) {
        tail = &(*tail)->next;
    }
    *tail = &s;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mutex);
    work_on(&s);
    pthread_mutex_lock(&p->mutex);
    unlink_locked(p, &s);
    while (s.helpers > 0) {
        pthread_cond_wait(&p->done, &p->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
}

static uint32_t cgroup_cpus(void) {
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!f) {
        return 0;
    }
    long long quota = 0, period = 0;
    int read = fscanf(f, "%lld %lld", &quota, &period); /* "max 100000" reads no number: no quota */
    fclose(f);
    return read == 2 && quota > 0 && period > 0 ? (uint32_t)((quota + period - 1) / period) : 0;
}

uint32_t executor_cpus(void) {
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    uint32_t quota = cgroup_cpus();
    uint32_t count = cpus > 0 ? (uint32_t)cpus : 1;
    return quota && quota < count ? quota : count;
}

vd_status executor_pool_new(uint32_t threads, executor_pool **out) {
    uint32_t width = threads ? threads : executor_cpus();
    executor_pool *p = calloc(1, sizeof *p + (width - 1) * sizeof p->threads[0]);
    if (!p) {
        return VD_OUT_OF_MEMORY;
    }
    p->face = (vd_executor){.context = p, .width = width, .run = pool_run};
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    while (p->thread_count < width - 1) {
        if (pthread_create(&p->threads[p->thread_count], NULL, pool_thread, p) != 0) {
            executor_pool_free(p);
            return VD_OUT_OF_MEMORY;
        }
        p->thread_count++;
    }
    *out = p;
    return VD_OK;
}

void executor_pool_free(executor_pool *p) {
    if (!p) {
        return;
    }
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mutex);
    for (uint32_t i = 0; i < p->thread_count; i++) {
        pthread_join(p->threads[i], NULL);
    }
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}

const vd_executor *executor_pool_get(executor_pool *p) {
    return &p->face;
}
