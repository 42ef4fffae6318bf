/* main.c - vectorctl. Everything is in run.c and the verbs, where tests can reach it. */
#include <signal.h>

#include "cli/cli.h"

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* `vectorctl ... | head` ends with a write error, not a signal */
    return cli_main(argc, argv, stdout, stderr);
}
