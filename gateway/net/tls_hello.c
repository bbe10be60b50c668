/*
 * tls_hello.c: see tls_hello.h. OpenSSL has taken the hello apart into its extensions, over however
 * many records it was cut; what stands in them it reads itself, and says what is wrong there.
 */
#include "net/tls_hello.h"

#include <stdbool.h>

#define LIST_HEADER ((size_t)2)
#define SHARE_HEADER ((size_t)4)  /* its group, and how long it is */
#define TICKET_HEADER ((size_t)2) /* how long it is */
#define TICKET_AGE ((size_t)4)

static size_t number_at(const unsigned char *at)
{
    return (size_t)at[0] << 8 | at[1];
}

/*
 * Does the list that the extension begins with have more entries? Each is a header, whose last two
 * bytes are a length, so many bytes, and a tail.
 */
static bool has_more(SSL *ssl, unsigned type, size_t header, size_t tail, unsigned max)
{
    const unsigned char *data;
    size_t len;
    unsigned count = 0;
    if (SSL_client_hello_get0_ext(ssl, type, &data, &len) != 1 || len < LIST_HEADER)
        return false;
    size_t left = number_at(data);
    data += LIST_HEADER;
    len -= LIST_HEADER;
    if (left > len)
        left = len;
    while (left >= header && count <= max) {
        size_t entry = header + number_at(data + header - 2) + tail;
        count++;
        if (entry > left)
            break;
        data += entry;
        left -= entry;
    }
    return count > max;
}

static int on_hello(SSL *ssl, int *alert, void *arg)
{
    (void)arg;
    if (!has_more(ssl, TLSEXT_TYPE_key_share, SHARE_HEADER, 0, FG_TLS_HELLO_SHARES_MAX) &&
        !has_more(ssl, TLSEXT_TYPE_psk, TICKET_HEADER, TICKET_AGE, FG_TLS_HELLO_TICKETS_MAX))
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_ILLEGAL_PARAMETER;
    return SSL_CLIENT_HELLO_ERROR;
}

void fg_tls_hello_bound(SSL_CTX *ctx)
{
    SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
}
