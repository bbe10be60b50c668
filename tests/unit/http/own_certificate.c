/*
 * own_certificate.c: see own_certificate.h.
 */
#include "own_certificate.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

char own_certificate_path[] = "/tmp/fg-test-cert-XXXXXX";
char own_key_path[] = "/tmp/fg-test-key-XXXXXX";

static FILE *create(char *path)
{
    int fd = mkstemp(path);
    return fd == -1 ? NULL : fdopen(fd, "w");
}

static bool write_both(X509 *certificate, EVP_PKEY *key)
{
    FILE *file = create(own_certificate_path);
    if (file == NULL)
        return false;
    bool is_fine = PEM_write_X509(file, certificate) == 1;
    is_fine = fclose(file) == 0 && is_fine;
    file = create(own_key_path);
    if (file == NULL)
        return false;
    is_fine = PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1 && is_fine;
    return fclose(file) == 0 && is_fine;
}

bool own_certificate_make(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    bool is_fine = key != NULL && certificate != NULL;
    if (is_fine) {
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
        X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
        X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
        X509_set_pubkey(certificate, key);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                   (const unsigned char *)"localhost", -1, -1, 0);
        X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
        is_fine = X509_sign(certificate, key, EVP_sha256()) > 0 && write_both(certificate, key);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
    return is_fine;
}

void own_certificate_remove(void)
{
    unlink(own_certificate_path);
    unlink(own_key_path);
}
