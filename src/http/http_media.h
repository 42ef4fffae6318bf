/*
 * http_media.h - Content-Type and Accept, as far as this server has forms to choose from: JSON, protobuf, problem+json.
 */
#ifndef VECTORD_HTTP_HTTP_MEDIA_H
#define VECTORD_HTTP_HTTP_MEDIA_H

#include "http/http_head.h"
#include "vectord/status.h"

typedef enum http_media { HTTP_MEDIA_JSON, HTTP_MEDIA_PROTO } http_media;

/* Notes what one Accept header says. */
void http_media_accept(const char *value, http_head *head);
/*
 * The form of the request body. No type, or one that people send JSON under (curl's form type, text/plain), is JSON, as in
 * the original; a type that is clearly something else (multipart, msgpack, xml, an image) is UNSUPPORTED_MEDIA, and so
 * is any Content-Encoding or a charset other than UTF-8. */
vd_status http_media_of_body(const http_head *head, http_media *out, vd_error *err);
/* The form of a successful reply. */
http_media http_media_of_reply(const http_head *head);

#endif
