/*
 * ops_table.c - THE table: every operation of vectord, one row each. Start reading here.
 *
 * The transports walk it and know no operation by name: the NNG and RPC doors find a row by `method`, the HTTP gateway by
 * http_method and http_path. A new operation is one message in vectord.proto, one row here, one handler op_<name>.c, one
 * conformance case.
 */
#include "ops/ops_int.h"

#define SERVICE                  "/vectord.v1.VectorService/"
#define MESSAGES(request, reply) &vectord__v1__##request##__descriptor, &vectord__v1__##reply##__descriptor

static const op_row table[] = {
    {"CreateIndex", SERVICE "CreateIndex", "POST", "/index", 201, OP_MUTATES | OP_BLOCKS,
     MESSAGES(create_index_request, create_index_response), op_create, NULL, NULL},
    {"ListIndexes", SERVICE "ListIndexes", "GET", "/index", 200, OP_IDEMPOTENT,
     MESSAGES(list_indexes_request, list_indexes_response), op_list, NULL, NULL},
    {"GetIndex", SERVICE "GetIndex", "GET", "/index/{name}", 200, OP_IDEMPOTENT,
     MESSAGES(get_index_request, get_index_response), op_get, NULL, op_precheck_exists},
    {"DeleteIndex", SERVICE "DeleteIndex", "DELETE", "/index/{name}", 204, OP_MUTATES | OP_BLOCKS,
     MESSAGES(delete_index_request, delete_index_response), op_delete, NULL, NULL},
    {"AddItems", SERVICE "AddItems", "POST", "/index/{name}/add", 200, OP_MUTATES | OP_BLOCKS,
     MESSAGES(add_items_request, add_items_response), op_add, NULL, op_precheck_exists},
    {"Flush", SERVICE "Flush", "POST", "/flush", 200, OP_IDEMPOTENT | OP_BLOCKS,
     MESSAGES(flush_request, flush_response), op_flush, NULL, NULL},
    {"Search", SERVICE "Search", "POST", "/index/{name}/search", 200, OP_IDEMPOTENT,
     MESSAGES(search_request, search_response), op_search, op_search_is_long, op_precheck_exists},
    {"Health", SERVICE "Health", "GET", "=/health", 200, OP_IDEMPOTENT, MESSAGES(health_request, health_response),
     op_health, NULL, NULL},
};

const op_row *ops_table(size_t *count) {
    *count = sizeof table / sizeof table[0];
    return table;
}

const op_row *ops_find(const char *method, size_t method_size) {
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strlen(table[i].method) == method_size && memcmp(table[i].method, method, method_size) == 0) {
            return &table[i];
        }
    }
    return NULL;
}
