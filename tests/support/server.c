/*
 * server.c - see server.h. Waiting is polling with a deadline: the doors are open when the port file is there, the process is
 * gone when waitpid says so.
 */
#include "support/server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_MS = 30000, STOP_MS = 30000, POLL_MS = 2, FLAGS_MAX = 32, LOG_TAIL = 4096 };

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static const char *find_binary(void) {
    const char *path = getenv("VECTORD_BIN");
    return path ? path : VD_BINARY_DIR "/bin/vectord";
}

bool test_server_available(void) {
    return access(find_binary(), X_OK) == 0;
}

bool test_server_init(test_server *s) {
    memset(s, 0, sizeof *s);
    const char *base = getenv("TMPDIR");
    snprintf(s->dir, sizeof s->dir, "%.40s/vectord-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(s->dir)) {
        fprintf(stderr, "%s: %s\n", s->dir, strerror(errno));
        return false;
    }
    snprintf(s->data_dir, sizeof s->data_dir, "%s/data", s->dir);
    snprintf(s->binary, sizeof s->binary, "%s", find_binary());
    snprintf(s->rpc_url, sizeof s->rpc_url, "tcp://127.0.0.1:0");
    return true;
}

static void show_log(const test_server *s, const char *what) {
    char path[128];
    char tail[LOG_TAIL + 1];
    snprintf(path, sizeof path, "%s/log", s->dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;
    if (fd >= 0) {
        off_t size = lseek(fd, 0, SEEK_END);
        n = pread(fd, tail, LOG_TAIL, size > LOG_TAIL ? size - LOG_TAIL : 0);
        close(fd);
    }
    tail[n > 0 ? n : 0] = '\0';
    fprintf(stderr, "vectord (%s): %s; its log ends:\n%s\n", s->binary, what, tail);
}

static void run_child(const test_server *s, const char *const *argv) {
    char path[128];
    snprintf(path, sizeof path, "%s/log", s->dir);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (log < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log, 2) < 0) {
        _exit(126);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that crashes leaves no server behind */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(s->binary, (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* The first string of the list `key` in the port file, {"http": ["127.0.0.1:1"], "rpc": ["tcp://127.0.0.1:2"]}. */
static bool find_string(const char *text, const char *key, char *out, size_t size) {
    const char *at = strstr(text, key);
    const char *open = at ? strchr(at, '[') : NULL;
    const char *start = open ? strchr(open, '"') : NULL;
    const char *end = start ? strchr(start + 1, '"') : NULL;
    if (!end || (size_t)(end - start) > size) {
        return false;
    }
    memcpy(out, start + 1, (size_t)(end - start - 1));
    out[end - start - 1] = '\0';
    return true;
}

static bool read_ports(test_server *s, const char *path) {
    char text[1024];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    char http[sizeof s->http_host];
    if (!strrchr(text, '}') || !find_string(text, "\"http\"", http, sizeof http) ||
        !find_string(text, "\"rpc\"", s->rpc_url, sizeof s->rpc_url)) {
        return false;
    }
    char *colon = strrchr(http, ':');
    if (!colon) {
        return false;
    }
    *colon = '\0';
    s->http_port = (uint16_t)strtoul(colon + 1, NULL, 10);
    memcpy(s->http_host, http, sizeof http);
    return true;
}

static bool wait_doors(test_server *s, const char *port_file) {
    int64_t deadline = now_ms() + START_MS;
    while (!read_ports(s, port_file)) {
        int status;
        if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
            s->pid = 0;
            show_log(s, "ended at start");
            return false;
        }
        if (now_ms() > deadline) {
            show_log(s, "did not open its doors");
            test_server_kill(s);
            return false;
        }
        poll(NULL, 0, POLL_MS);
    }
    return true;
}

bool test_server_start(test_server *s, const char *const *flags) {
    char port_file[128];
    char data[128];
    char ports[160];
    char rpc[160];
    snprintf(port_file, sizeof port_file, "%s/ports.json", s->dir);
    snprintf(data, sizeof data, "--data-dir=%s", s->data_dir);
    snprintf(ports, sizeof ports, "--port-file=%s", port_file);
    snprintf(rpc, sizeof rpc, "--rpc-bind=%s", s->rpc_url);
    const char *argv[FLAGS_MAX + 8] = {s->binary, "--bind=127.0.0.1:0", "--gateway-bind=", rpc, ports};
    size_t count = 5;
    argv[count++] = s->ephemeral ? "--ephemeral" : data;
    for (size_t i = 0; flags && flags[i] && i < FLAGS_MAX; i++) {
        argv[count++] = flags[i];
    }
    argv[count] = NULL;
    unlink(port_file);
    s->pid = fork();
    if (s->pid < 0) {
        s->pid = 0;
        return false;
    }
    if (s->pid == 0) {
        run_child(s, argv);
    }
    return wait_doors(s, port_file);
}

int test_server_stop(test_server *s) {
    if (s->pid == 0) {
        return -1;
    }
    int status = 0;
    int64_t deadline = now_ms() + STOP_MS;
    kill(s->pid, SIGTERM);
    while (waitpid(s->pid, &status, WNOHANG) != s->pid) {
        if (now_ms() > deadline) {
            show_log(s, "did not stop at SIGTERM");
            test_server_kill(s);
            return -1;
        }
        poll(NULL, 0, POLL_MS);
    }
    s->pid = 0;
    if (!WIFEXITED(status)) {
        show_log(s, "died of a signal");
        return -1;
    }
    return WEXITSTATUS(status);
}

void test_server_kill(test_server *s) {
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) {
        }
        s->pid = 0;
    }
}

/* Whether every thread of the process has stopped: the signal reaches them one by one, and until then one may still answer. */
static bool all_stopped(pid_t pid) {
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    bool stopped = tasks != NULL;
    for (struct dirent *task; stopped && (task = readdir(tasks));) {
        if (task->d_name[0] == '.') {
            continue;
        }
        char line[512] = "";
        snprintf(path, sizeof path, "/proc/%d/task/%s/stat", (int)pid, task->d_name);
        FILE *file = fopen(path, "re");
        const char *name_end = file && fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
        stopped = !name_end || name_end[1] == '\0' || name_end[2] == 'T'; /* a thread that has ended is no matter */
        if (file) {
            fclose(file);
        }
    }
    if (tasks) {
        closedir(tasks);
    }
    return stopped;
}

void test_server_freeze(test_server *s, bool frozen) {
    if (s->pid <= 0) {
        return;
    }
    kill(s->pid, frozen ? SIGSTOP : SIGCONT);
    for (int i = 0; frozen && i < 5000 && !all_stopped(s->pid); i++) {
        poll(NULL, 0, 1);
    }
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info;
    (void)kind;
    (void)walk;
    remove(path);
    return 0;
}

void test_server_fini(test_server *s) {
    test_server_kill(s);
    if (s->dir[0] && !getenv("VECTORD_KEEP")) {
        nftw(s->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    s->dir[0] = '\0';
}

uint64_t test_server_rss_bytes(const test_server *s) {
    char path[64];
    char line[256];
    unsigned long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)s->pid);
    FILE *f = s->pid > 0 ? fopen(path, "re") : NULL;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "VmRSS: %lu kB", &kib) == 1) {
            break;
        }
    }
    if (f) {
        fclose(f);
    }
    return (uint64_t)kib * 1024;
}

uint64_t test_server_cpu_us(const test_server *s) {
    /* The process's CPU clock: to the nanosecond, where /proc/PID/stat counts ticks of 10 ms. */
    clockid_t clock;
    struct timespec t;
    if (s->pid <= 0 || clock_getcpuclockid(s->pid, &clock) != 0 || clock_gettime(clock, &t) != 0) {
        return 0;
    }
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}
