/*
 * nng_sanitizers.c - what libnng 1.5.2 does itself and the sanitizers see; add to the SOURCES of tests that open sockets.
 *
 *   LeakSanitizer    parts of a listener or dialer that is closed while a connection of it goes down are never freed
 *   ThreadSanitizer  an aio is freed by libnng's reaper thread, which TSan cannot see waiting for the aio's last user (the
 *                    library is not instrumented): "pthread_mutex_destroy against pthread_mutex_lock", both inside libnng
 */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:nng_listen\n"
           "leak:nng_dialer_create\n";
}

__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void) {
    return "race:pthread_mutex_destroy\n";
}
