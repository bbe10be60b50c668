/*
 * tls_files.c: see tls_files.h. OpenSSL's error queue is left empty behind every function.
 */
#include "tls/tls_files.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/tls1.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void explain(char *why, size_t why_bytes, const char *what)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    if (reason == NULL)
        snprintf(why, why_bytes, "%s", what);
    else
        snprintf(why, why_bytes, "%s: %s", what, reason);
    ERR_clear_error();
}

static BIO *open_file(const char *path, char *why, size_t why_bytes)
{
    struct stat about;
    FILE *file = NULL;
    int fd =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* of a pipe it would wait for a writer */
    if (fd == -1 || fstat(fd, &about) == -1)
        snprintf(why, why_bytes, "%s", strerror(errno));
    else if (!S_ISREG(about.st_mode))
        snprintf(why, why_bytes, "it is no regular file");
    else if ((file = fdopen(fd, "r")) == NULL)
        snprintf(why, why_bytes, "%s", strerror(errno));
    if (file == NULL) {
        if (fd != -1)
            close(fd);
        return NULL;
    }
    BIO *bio = BIO_new_fp(file, BIO_CLOSE);
    if (bio == NULL) {
        fclose(file);
        snprintf(why, why_bytes, "no memory");
    }
    ERR_clear_error();
    return bio;
}

/* No terminal to ask on: a key with a passphrase is an error, not a question. */
static int no_passphrase(char *buffer, int size, int is_write, void *ctx)
{
    (void)buffer;
    (void)size;
    (void)is_write;
    *(bool *)ctx = true;
    return -1;
}

static bool is_at_end(void)
{
    unsigned long code = ERR_peek_last_error();
    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

/* What the library works out of a certificate when it first looks at it, it has from now on: it
 * would do so in the handshakes of several loops at a time, which share it. */
static void work_out(X509 *certificate)
{
    (void)X509_check_purpose(certificate, -1, 0);
}

/* Every certificate from here to the end of the file. */
static bool read_chain(BIO *bio, STACK_OF(X509) * chain)
{
    X509 *one;
    while ((one = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        work_out(one);
        if (sk_X509_push(chain, one) <= 0) {
            X509_free(one);
            return false;
        }
    }
    return is_at_end();
}

static bool read_lists(BIO *bio, STACK_OF(X509_CRL) * lists)
{
    X509_CRL *one;
    while ((one = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL) {
        if (sk_X509_CRL_push(lists, one) <= 0) {
            X509_CRL_free(one);
            return false;
        }
    }
    return is_at_end();
}

static bool read_certificates(struct fg_tls_pair *pair, const char *path, char *why,
                              size_t why_bytes)
{
    BIO *bio = open_file(path, why, why_bytes);
    if (bio == NULL)
        return false;
    pair->leaf = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    pair->chain = sk_X509_new_null();
    bool is_fine = pair->leaf != NULL && pair->chain != NULL && read_chain(bio, pair->chain);
    if (is_fine)
        work_out(pair->leaf);
    if (!is_fine)
        explain(why, why_bytes, "it holds no usable PEM certificate");
    ERR_clear_error();
    BIO_free(bio);
    return is_fine;
}

static bool read_key(struct fg_tls_pair *pair, const char *path, char *why, size_t why_bytes)
{
    bool has_passphrase = false;
    BIO *bio = open_file(path, why, why_bytes);
    if (bio == NULL)
        return false;
    pair->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &has_passphrase);
    BIO_free(bio);
    if (has_passphrase) {
        ERR_clear_error();
        snprintf(why, why_bytes, "it is locked with a passphrase");
        return false;
    }
    if (pair->key == NULL) {
        explain(why, why_bytes, "it holds no usable PEM key");
        return false;
    }
    if (X509_check_private_key(pair->leaf, pair->key) == 1)
        return true;
    ERR_clear_error();
    snprintf(why, why_bytes, "it does not belong to the certificate");
    return false;
}

enum fg_tls_pair_fault fg_tls_pair_load(struct fg_tls_pair *pair, const char *certificate,
                                        const char *private_key, char *why, size_t why_bytes)
{
    enum fg_tls_pair_fault fault = FG_TLS_PAIR_FINE;
    *pair = (struct fg_tls_pair){NULL, NULL, NULL};
    if (!read_certificates(pair, certificate, why, why_bytes))
        fault = FG_TLS_PAIR_CERTIFICATE;
    else if (!read_key(pair, private_key, why, why_bytes))
        fault = FG_TLS_PAIR_KEY;
    if (fault != FG_TLS_PAIR_FINE)
        fg_tls_pair_fini(pair);
    return fault;
}

void fg_tls_pair_fini(struct fg_tls_pair *pair)
{
    X509_free(pair->leaf);
    sk_X509_pop_free(pair->chain, X509_free);
    EVP_PKEY_free(pair->key);
    *pair = (struct fg_tls_pair){NULL, NULL, NULL};
}

int64_t fg_tls_seconds_left(const X509 *leaf)
{
    int days = 0, seconds = 0;
    if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(leaf)) != 1)
        ERR_clear_error();
    return (int64_t)days * 86400 + seconds;
}

const char *fg_tls_pair_unfit(const X509 *leaf)
{
    int until = X509_cmp_current_time(X509_get0_notAfter(leaf));
    int from = X509_cmp_current_time(X509_get0_notBefore(leaf));
    ERR_clear_error();
    if (until <= 0)
        return "it has expired";
    return from >= 0 ? "it is not valid yet" : NULL;
}

bool fg_tls_wants_staple(const X509 *leaf)
{
    TLS_FEATURE *features = X509_get_ext_d2i(leaf, NID_tlsfeature, NULL, NULL);
    bool wants = false;
    for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
        wants = wants ||
                ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == TLSEXT_TYPE_status_request;
    TLS_FEATURE_free(features);
    ERR_clear_error();
    return wants;
}

/* A copy in lower case; NULL unless it is what a host name may be made of. */
static char *copy_name(const ASN1_STRING *text)
{
    const unsigned char *data = ASN1_STRING_get0_data(text);
    int len = ASN1_STRING_length(text);
    if (len <= 0 || len > 253)
        return NULL;
    char *name = OPENSSL_malloc((size_t)len + 1);
    for (int i = 0; name != NULL && i < len; i++) {
        if (isalnum(data[i]) == 0 && strchr("*.-_", data[i]) == NULL) {
            OPENSSL_free(name);
            return NULL;
        }
        name[i] = (char)tolower(data[i]);
    }
    if (name != NULL)
        name[len] = '\0';
    return name;
}

static size_t alternative_names(const X509 *leaf, char **names, size_t max, bool *has_any)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    size_t count = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *one = sk_GENERAL_NAME_value(all, i);
        if (one->type != GEN_DNS)
            continue;
        *has_any = true;
        char *name = count < max ? copy_name(one->d.dNSName) : NULL;
        if (name != NULL)
            names[count++] = name;
    }
    GENERAL_NAMES_free(all);
    return count;
}

size_t fg_tls_pair_names(const struct fg_tls_pair *pair, char **names, size_t max)
{
    bool has_any = false;
    size_t count = alternative_names(pair->leaf, names, max, &has_any);
    const X509_NAME *subject = X509_get_subject_name(pair->leaf);
    int at = has_any ? -1 : X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at >= 0 && max > 0) {
        char *name = copy_name(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
        if (name != NULL)
            names[count++] = name;
    }
    ERR_clear_error();
    return count;
}

STACK_OF(X509) * fg_tls_authorities_load(const char *path, char *why, size_t why_bytes)
{
    BIO *bio = open_file(path, why, why_bytes);
    if (bio == NULL)
        return NULL;
    STACK_OF(X509) *all = sk_X509_new_null();
    bool is_fine = all != NULL && read_chain(bio, all) && sk_X509_num(all) > 0;
    if (!is_fine) {
        explain(why, why_bytes, "it holds no usable PEM certificate");
        sk_X509_pop_free(all, X509_free);
        all = NULL;
    }
    ERR_clear_error();
    BIO_free(bio);
    return all;
}

STACK_OF(X509_CRL) * fg_tls_crls_load(const char *path, char *why, size_t why_bytes)
{
    BIO *bio = open_file(path, why, why_bytes);
    if (bio == NULL)
        return NULL;
    STACK_OF(X509_CRL) *all = sk_X509_CRL_new_null();
    bool is_fine = all != NULL && read_lists(bio, all) && sk_X509_CRL_num(all) > 0;
    if (!is_fine) {
        explain(why, why_bytes, "it holds no usable PEM revocation list");
        sk_X509_CRL_pop_free(all, X509_CRL_free);
        all = NULL;
    }
    ERR_clear_error();
    BIO_free(bio);
    return all;
}
