/*
 * executor.h - where parallel work runs. The engine starts no threads of its own: calls that can use several
 * take one of these, and the program that embeds the engine decides what is behind it.
 */
#ifndef VECTORD_EXECUTOR_H
#define VECTORD_EXECUTOR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * width  how many tasks can run at the same time, >= 1; callers split their work by it.
 * run    calls task(arg, i) once for every i in 0..count-1, from any threads, and returns when all have
 *        returned. May be called from several threads at a time; must not be called from inside a task.
 * A NULL executor everywhere means: run on the calling thread.
 */
typedef struct vd_executor {
    void *context;
    uint32_t width;
    void (*run)(void *context, void (*task)(void *arg, uint32_t index), void *arg, uint32_t count);
} vd_executor;

#ifdef __cplusplus
}
#endif
#endif
