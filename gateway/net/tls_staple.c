/*
 * tls_staple.c: see tls_staple.h. OpenSSL's error queue is left empty behind every function.
 */
#include "net/tls_staple.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESPONSE_BYTES_MAX 16384 /* with the responder's certificate it has about 2,000 */
#define CLOCK_SKEW_S 300L        /* that its beginning may lie ahead */

/* NULL with `why`; else *bytes of it, for free(). */
static unsigned char *read_response(const char *file, size_t *bytes, char *why, size_t why_bytes)
{
    struct stat about;
    unsigned char *data = NULL;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd == -1 || fstat(fd, &about) == -1) {
        snprintf(why, why_bytes, "%s", strerror(errno));
    } else if (!S_ISREG(about.st_mode)) {
        snprintf(why, why_bytes, "it is no regular file");
    } else if ((data = malloc(RESPONSE_BYTES_MAX + 1)) != NULL) {
        ssize_t got = read(fd, data, RESPONSE_BYTES_MAX + 1);
        *bytes = got < 0 ? 0 : (size_t)got;
    }
    if (fd != -1)
        close(fd);
    if (data != NULL && (*bytes == 0 || *bytes > RESPONSE_BYTES_MAX)) {
        snprintf(why, why_bytes, "it is empty, or larger than 16KiB");
        free(data);
        data = NULL;
    }
    return data;
}

/* Borrowed; NULL: it is not there. */
static X509 *find_issuer(const struct fg_tls_pair *pair)
{
    for (int i = 0; i < sk_X509_num(pair->chain); i++) {
        X509 *one = sk_X509_value(pair->chain, i);
        if (X509_check_issued(one, pair->leaf) == X509_V_OK)
            return one;
    }
    return NULL;
}

/* By the authority itself, or by whom it has given that task (RFC 6960 section 4.2.2.2). */
static bool is_signed_by(OCSP_BASICRESP *basic, X509 *issuer, STACK_OF(X509) * chain)
{
    X509_STORE *store = X509_STORE_new();
    bool is_fine = store != NULL && X509_STORE_add_cert(store, issuer) == 1 &&
                   X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
                   OCSP_basic_verify(basic, chain, store, OCSP_PARTIAL_CHAIN) == 1;
    X509_STORE_free(store);
    return is_fine;
}

/* The part that is about this certificate; each may name it with a hash of its own choice. */
static OCSP_SINGLERESP *find_single(OCSP_BASICRESP *basic, const X509 *leaf, const X509 *issuer)
{
    OCSP_SINGLERESP *found = NULL;
    for (int i = 0; i < OCSP_resp_count(basic) && found == NULL; i++) {
        OCSP_SINGLERESP *one = OCSP_resp_get0(basic, i);
        OCSP_CERTID *said = (OCSP_CERTID *)(uintptr_t)OCSP_SINGLERESP_get0_id(one);
        ASN1_OBJECT *hash = NULL;
        OCSP_id_get0_info(NULL, &hash, NULL, NULL, said);
        const EVP_MD *md = hash == NULL ? NULL : EVP_get_digestbyobj(hash);
        OCSP_CERTID *wanted = md == NULL ? NULL : OCSP_cert_to_id(md, leaf, issuer);
        if (wanted != NULL && OCSP_id_cmp(said, wanted) == 0)
            found = one;
        OCSP_CERTID_free(wanted);
    }
    return found;
}

/* NULL: a client will take it, until *until_s. */
static const char *judge_single(OCSP_SINGLERESP *single, uint64_t *until_s)
{
    ASN1_GENERALIZEDTIME *from = NULL, *until = NULL;
    int days = 0, seconds = 0;
    switch (OCSP_single_get0_status(single, NULL, NULL, &from, &until)) {
    case V_OCSP_CERTSTATUS_GOOD:
        break;
    case V_OCSP_CERTSTATUS_REVOKED:
        return "it says that the certificate is revoked";
    default:
        return "it says that the certificate is unknown";
    }
    if (until == NULL)
        return "it does not say until when it is good";
    if (ASN1_TIME_diff(&days, &seconds, NULL, until) != 1 || days < 0 || seconds < 0 ||
        days + seconds == 0)
        return "it has expired";
    if (OCSP_check_validity(from, until, CLOCK_SKEW_S, -1) != 1)
        return "it is not valid yet";
    *until_s = fg_clock_wall_ns() / FG_S + (uint64_t)days * 86400 + (uint64_t)seconds;
    return NULL;
}

static const char *judge_basic(OCSP_BASICRESP *basic, const struct fg_tls_pair *pair,
                               uint64_t *until_s)
{
    X509 *issuer = find_issuer(pair);
    if (issuer == NULL)
        return "the certificate's authority is not in its file, behind it";
    OCSP_SINGLERESP *single = find_single(basic, pair->leaf, issuer);
    if (single == NULL)
        return "it is about another certificate";
    if (!is_signed_by(basic, issuer, pair->chain))
        return "it is not signed by the certificate's authority";
    return judge_single(single, until_s);
}

static const char *judge(const unsigned char *data, size_t bytes, const struct fg_tls_pair *pair,
                         uint64_t *until_s)
{
    const unsigned char *at = data;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)bytes);
    OCSP_BASICRESP *basic = NULL;
    const char *why = NULL;
    if (response == NULL || at != data + bytes)
        why = "it is no OCSP response in DER";
    else if (OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
        why = "it is the responder's refusal";
    else if ((basic = OCSP_response_get1_basic(response)) == NULL)
        why = "it is of a kind that nobody knows";
    else
        why = judge_basic(basic, pair, until_s);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    return why;
}

void fg_tls_staple_load(struct fg_tls_staple *staple, const char *file,
                        const struct fg_tls_pair *pair)
{
    *staple = (struct fg_tls_staple){.file = file};
    if (file == NULL)
        return;
    unsigned char *data = read_response(file, &staple->bytes, staple->why, sizeof(staple->why));
    if (data == NULL) {
        if (staple->why[0] == '\0')
            snprintf(staple->why, sizeof(staple->why), "out of memory");
        return;
    }
    const char *why = judge(data, staple->bytes, pair, &staple->until_s);
    ERR_clear_error();
    if (why == NULL) {
        staple->response = data;
        return;
    }
    snprintf(staple->why, sizeof(staple->why), "%s", why);
    free(data);
}

bool fg_tls_staple_keep(struct fg_tls_staple *staple, const struct fg_tls_staple *other)
{
    unsigned char *copy = malloc(other->bytes);
    if (copy == NULL)
        return false;
    memcpy(copy, other->response, other->bytes);
    staple->response = copy;
    staple->bytes = other->bytes;
    staple->until_s = other->until_s;
    return true;
}

void fg_tls_staple_fini(struct fg_tls_staple *staple)
{
    free(staple->response);
    *staple = (struct fg_tls_staple){.file = NULL};
}

bool fg_tls_staple_is_good(const struct fg_tls_staple *staple, uint64_t now_s)
{
    return staple->response != NULL && now_s < staple->until_s;
}
