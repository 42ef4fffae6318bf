/*
 * config_table.c - THE table of settings. A new setting is one field in struct config and one row here; file, environment,
 * flags, help, `config print` and the documentation follow.
 *
 * Defaults and bounds come from limits.h, so that no second place can disagree.
 */
#include "server/config.h"
#include "vectord/limits.h"

#define TEXT_OF_(x) #x
#define TEXT_OF(x)  TEXT_OF_(x)

/* 32-bit literals carry a suffix that text must not have; this default is a whole number of MiB. */
#define SNAPSHOT_MIN_TEXT "16MiB"
_Static_assert(VD_SNAPSHOT_MIN_BYTES_DEFAULT == 16u * 1024u * 1024u, "SNAPSHOT_MIN_TEXT says the same");

#define AT(field)       offsetof(config, field)
#define RANGE(min, max) (double)(min), (double)(max)
#define NO_RANGE        0, 0

static const config_setting table[] = {
    {"vectord", "bind", CONFIG_LIST, CONFIG_LIVE, AT(bind), "127.0.0.1:3215", NO_RANGE, NULL,
     "Where HTTP is served; \"\" closes it."},
    {"vectord", "data_dir", CONFIG_STRING, CONFIG_LIVE, AT(data_dir), "vectord-data", NO_RANGE, NULL,
     "The folder that keeps indexes and journals; \"\" keeps nothing."},
    {"vectord", "ephemeral", CONFIG_BOOL, CONFIG_LIVE, AT(ephemeral), "false", NO_RANGE, NULL,
     "Keeps nothing, whatever data_dir says."},
    {"vectord", "allow_insecure_bind", CONFIG_BOOL, CONFIG_LIVE, AT(allow_insecure_bind), "false", NO_RANGE, NULL,
     "Allows addresses that other machines can reach, though there is no authentication yet."},
    {"vectord", "port_file", CONFIG_STRING, CONFIG_LIVE, AT(port_file), "", NO_RANGE, NULL,
     "Writes the addresses really bound to this file as JSON, once all doors are open."},
    {"vectord", "threads", CONFIG_COUNT, CONFIG_LIVE, AT(threads), "0", RANGE(0, VD_THREADS_MAX), NULL,
     "Threads for parallel work (building graphs); 0 is one per CPU."},
    {"vectord", "workers", CONFIG_COUNT, CONFIG_LIVE, AT(workers), "0", RANGE(0, VD_THREADS_MAX), NULL,
     "Threads for requests that wait for the disk or take long; 0 is four per CPU, at least 16."},
    {"vectord", "queue", CONFIG_COUNT, CONFIG_LIVE, AT(queue), TEXT_OF(VD_WORK_QUEUE_DEFAULT),
     RANGE(VD_WORK_QUEUE_MIN, VD_WORK_QUEUE_MAX), NULL,
     "Requests that may wait for a worker; one more is answered \"busy\" (503)."},
    {"vectord", "drain_ms", CONFIG_COUNT, CONFIG_LIVE, AT(drain_ms), TEXT_OF(VD_DRAIN_MS_DEFAULT),
     RANGE(0, VD_DRAIN_MS_MAX), NULL, "How long requests in flight may take to finish at a graceful stop."},
    {"vectord", "storaged_url", CONFIG_STRING, CONFIG_LIVE, AT(storaged_url), "", NO_RANGE, NULL,
     "The object daemon to keep indexes in; an older name of [store] url."},
    {"gateway", "bind", CONFIG_LIST, CONFIG_LIVE, AT(gateway_bind), "127.0.0.1:3110", NO_RANGE, NULL,
     "Where HTTP is served a second time, for clients of the original's gateway; \"\" closes it."},
    {"gateway", "cors_origins", CONFIG_LIST, CONFIG_LIVE, AT(cors_origins), "", NO_RANGE, NULL,
     "Origins whose web pages may call this server, beside its own."},
    {"gateway", "threads", CONFIG_COUNT, CONFIG_LIVE, AT(gateway_threads), "0", RANGE(0, VD_THREADS_MAX), NULL,
     "Event loops of the HTTP doors; 0 is one per CPU."},
    {"rpc", "bind", CONFIG_LIST, CONFIG_LIVE, AT(rpc_bind), "tcp://127.0.0.1:3216", NO_RANGE, NULL,
     "Where the binary RPC (NNG req/rep) is served: tcp://HOST:PORT or ipc:///path; \"\" closes it."},
    {"rpc", "contexts", CONFIG_COUNT, CONFIG_LIVE, AT(rpc_contexts), "0", RANGE(0, VD_THREADS_MAX), NULL,
     "Requests in progress at a time on the RPC door; 0 is sized to the machine."},
    {"snapshot", "min_bytes", CONFIG_BYTES, CONFIG_LIVE, AT(snapshot_min_bytes), SNAPSHOT_MIN_TEXT,
     RANGE(VD_SNAPSHOT_MIN_BYTES_MIN, VD_SNAPSHOT_MIN_BYTES_MAX), NULL,
     "An index is saved whole when its journal holds at least this much ..."},
    {"snapshot", "factor", CONFIG_NUMBER, CONFIG_LIVE, AT(snapshot_factor), TEXT_OF(VD_SNAPSHOT_FACTOR_DEFAULT),
     RANGE(VD_SNAPSHOT_FACTOR_MIN, VD_SNAPSHOT_FACTOR_MAX), NULL, "... and this many times the last save ..."},
    {"snapshot", "idle_ms", CONFIG_COUNT, CONFIG_LIVE, AT(snapshot_idle_ms), TEXT_OF(VD_SNAPSHOT_IDLE_MS_DEFAULT),
     RANGE(VD_SNAPSHOT_IDLE_MS_MIN, VD_SNAPSHOT_IDLE_MS_MAX), NULL, "... or when nothing was written for so long."},
    {"log", "format", CONFIG_CHOICE, CONFIG_LIVE, AT(log_format), "auto", NO_RANGE, "auto,text,json",
     "Lines on standard error; auto is text on a terminal and one JSON object per line elsewhere."},
    {"log", "level", CONFIG_CHOICE, CONFIG_LIVE, AT(log_level), "info", NO_RANGE, "debug,info,warn,error",
     "The least level that is written."},
    {"store", "url", CONFIG_STRING, CONFIG_LIVE, AT(store_url), "", NO_RANGE, NULL,
     "The object daemon that keeps indexes and journals, instead of data_dir: http://HOST:PORT."},
    {"store", "prefix", CONFIG_STRING, CONFIG_LIVE, AT(store_prefix), "", NO_RANGE, NULL,
     "Goes before every key in that store, so that several vectords can share it, each with its own."},
    {"grpc", "bind", CONFIG_LIST, CONFIG_PLANNED, AT(grpc_bind), "", NO_RANGE, NULL, "Where gRPC is served."},
    {"tls", "cert_file", CONFIG_STRING, CONFIG_PLANNED, AT(tls_cert_file), "", NO_RANGE, NULL,
     "The server's certificate chain (PEM)."},
    {"tls", "key_file", CONFIG_STRING, CONFIG_PLANNED, AT(tls_key_file), "", NO_RANGE, NULL,
     "The private key of the certificate (PEM)."},
    {"tls", "client_ca_file", CONFIG_STRING, CONFIG_PLANNED, AT(tls_client_ca_file), "", NO_RANGE, NULL,
     "Authorities whose client certificates are accepted (PEM)."},
};
_Static_assert(sizeof table / sizeof table[0] <= CONFIG_SETTINGS_MAX, "config.origins has a place for each row");

const config_setting *config_table(size_t *count) {
    *count = sizeof table / sizeof table[0];
    return table;
}
