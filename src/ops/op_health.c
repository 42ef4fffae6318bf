/* op_health.c - Health: how the server is. Looks at counters only, so it always answers. */
#include "base/clock.h"
#include "ops/ops_int.h"

OP_HANDLER(op_health) {
    (void)request;
    Vectord__V1__HealthResponse *out = arena_alloc(call->arena, sizeof *out);
    if (!out) {
        return op_no_memory(err);
    }
    registry_summary summary;
    registry_get_summary(ctx->registry, &summary);
    vectord__v1__health_response__init(out);
    out->status = op_text(summary.quarantined || summary.store_away ? "degraded" : "ok");
    out->ready = summary.ready;
    out->version = op_text(ctx->version ? ctx->version : "");
    out->indexes = summary.indexes;
    out->loading = summary.loading;
    out->quarantined = summary.quarantined;
    out->items = summary.items;
    out->uptime_seconds = (double)(clock_now_ms() - ctx->started_ms) / 1000;
    out->durable = summary.durable;
    out->backlog_bytes = summary.backlog_bytes;
    *reply = &out->base;
    return VD_OK;
}
