/*
 * flat_ids.c - ids as arrays give them: texts in one block, or numbers that stand for their decimal texts.
 */
#include <string.h>

#include "base/bytes.h"
#include "lib/flat_int.h"

static vd_id id_of_number(uint64_t number, char digits[FLAT_DIGITS_MAX]) {
    uint32_t at = FLAT_DIGITS_MAX;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    return (vd_id){digits + at, FLAT_DIGITS_MAX - at};
}

vd_id flat_id(const flat_ids *ids, uint64_t i, char digits[FLAT_DIGITS_MAX]) {
    if (ids->ends) {
        uint64_t from = i ? ids->ends[i - 1] : 0;
        uint64_t size = ids->ends[i] - from;
        return size <= VD_ID_MAX_BYTES ? (vd_id){ids->text + from, (uint32_t)size} : (vd_id){NULL, 0};
    }
    if (ids->numbers) {
        return ids->numbers[i] >= 0 ? id_of_number((uint64_t)ids->numbers[i], digits) : (vd_id){NULL, 0};
    }
    return id_of_number(ids->first + i, digits);
}

vd_status flat_ends_check(const flat_ids *ids, vd_error *err) {
    for (uint64_t i = 1; ids->ends && i < ids->count; i++) {
        if (ids->ends[i] < ids->ends[i - 1]) {
            return vd_fail(err, VD_INVALID_ARGUMENT, "ends", "ends[%llu] is below the end before it",
                           (unsigned long long)i);
        }
    }
    return VD_OK;
}

static vd_status check_texts(const flat_ids *ids, vd_error *err) {
    for (uint64_t i = 0; i < ids->count; i++) {
        uint64_t from = i ? ids->ends[i - 1] : 0;
        uint64_t size = ids->ends[i] - from;
        if (size < VD_ID_MIN_BYTES || size > VD_ID_MAX_BYTES) {
            return vd_fail(err, VD_INVALID_ARGUMENT, "ids", "ids[%llu] must have 1..%d bytes of UTF-8 (got %llu)",
                           (unsigned long long)i, VD_ID_MAX_BYTES, (unsigned long long)size);
        }
        if (!utf8_valid(ids->text + from, (size_t)size)) {
            return vd_fail(err, VD_INVALID_ARGUMENT, "ids", "ids[%llu] is not UTF-8", (unsigned long long)i);
        }
    }
    return VD_OK;
}

vd_status flat_ids_check(const flat_ids *ids, vd_error *err) {
    vd_status status = flat_ends_check(ids, err);
    if (status || ids->ends) {
        return status ? status : check_texts(ids, err);
    }
    for (uint64_t i = 0; ids->numbers && i < ids->count; i++) {
        if (ids->numbers[i] < 0) {
            return vd_fail(err, VD_INVALID_ARGUMENT, "ids", "ids[%llu] is %lld: numbers must be 0 or more",
                           (unsigned long long)i, (long long)ids->numbers[i]);
        }
    }
    return VD_OK;
}

bool flat_number(vd_id id, int64_t *number) {
    if (id.size == 0 || id.size > FLAT_DIGITS_MAX || (id.data[0] == '0' && id.size > 1)) {
        return false;
    }
    uint64_t value = 0; /* 19 digits stay below 2^64 */
    for (uint32_t i = 0; i < id.size; i++) {
        uint32_t digit = (uint32_t)(unsigned char)id.data[i] - '0';
        if (digit > 9) {
            return false;
        }
        value = value * 10 + digit;
    }
    if (value > INT64_MAX) {
        return false;
    }
    *number = (int64_t)value;
    return true;
}
