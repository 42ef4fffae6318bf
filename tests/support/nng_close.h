/*
 * nng_close.h - closing a test's own NNG socket with a deadline. libnng 1.5.2 can wait for ever in nng_close when one of the
 * socket's connections breaks at that very moment (its reaper and the closing thread wait for each other), and these tests break
 * connections on purpose. After the deadline the socket is left to the end of the process.
 */
#ifndef VECTORD_TESTS_SUPPORT_NNG_CLOSE_H
#define VECTORD_TESTS_SUPPORT_NNG_CLOSE_H

#include <nng/nng.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static void *nng_close_thread(void *id) {
    nng_socket socket = {(uint32_t)(uintptr_t)id};
    nng_close(socket);
    return NULL;
}

static inline void nng_close_in_time(nng_socket socket) {
    pthread_t thread;
    struct timespec until;
    if (pthread_create(&thread, NULL, nng_close_thread, (void *)(uintptr_t)socket.id) != 0) {
        nng_close(socket);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    if (pthread_timedjoin_np(thread, NULL, &until) != 0) {
        fprintf(stderr, "libnng does not close the test's socket: left open\n");
        pthread_detach(thread);
    }
}

#endif
