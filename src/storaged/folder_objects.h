/*
 * folder_objects.h - objects in a folder: one file each, all in one folder, so that keys need no folders of their own ("a" and "a/b"
 * can both be there) and nothing has to be tidied up behind them.
 *
 *   <dir>/LOCK                      held with flock for as long as the store is open
 *   <dir>/objects/<name>            object_file.h: names and contents
 *   <dir>/objects/.put-<16 hex>     a put that is not committed; swept at open
 *
 * Files that this store did not name are ignored and left alone.
 */
#ifndef VECTORD_STORAGED_FOLDER_OBJECTS_H
#define VECTORD_STORAGED_FOLDER_OBJECTS_H

#include "storaged/objects.h"
#include "store/io.h"

/* Makes `path` (and parents) when missing, takes its lock (FAILED_PRECONDITION when another storaged has it), sweeps. io NULL: the
 * system's. Returns owned (objects_close). */
vd_status folder_objects_open(const char *path, const io_table *io, objects **out, vd_error *err);

#endif
