/*
 * condition.h - If-Match, If-None-Match, If-Range and Range (RFC 9110, 13 and 14.2), as far as an object daemon needs them. Pure.
 */
#ifndef VECTORD_STORAGED_CONDITION_H
#define VECTORD_STORAGED_CONDITION_H

#include <stdbool.h>
#include <stdint.h>

#include "vectord/status.h"

/* Header values, borrowed; NULL: no such header. */
typedef struct object_condition {
    const char *if_match;
    const char *if_none_match;
} object_condition;

/* INVALID_ARGUMENT when a value is neither "*" nor a list of entity tags in quotes. */
vd_status condition_check(const object_condition *c, vd_error *err);
/* Does the condition let a change happen? `etag` without quotes, "" for an object that is damaged; NULL: there is none. */
bool condition_holds(const object_condition *c, const char *etag);
/* Is one of the tags of an If-None-Match (or "*") this one? For a GET: the client has it already. */
bool condition_lists(const char *value, const char *etag);

typedef enum byte_range { RANGE_WHOLE, RANGE_PART, RANGE_UNSATISFIABLE } byte_range;
/* One range "bytes=first-last", "bytes=first-", "bytes=-suffix" over `size` bytes. Whatever else (other units, several ranges,
 * nonsense) is the whole object, as RFC 9110 asks for. */
byte_range condition_range(const char *value, uint64_t size, uint64_t *offset, uint64_t *length);

#endif
