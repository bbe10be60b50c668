/*
 * own_certificate.h: a certificate for localhost that has signed itself, for tests that speak TLS.
 */
#ifndef FG_TESTS_OWN_CERTIFICATE_H
#define FG_TESTS_OWN_CERTIFICATE_H

#include <stdbool.h>

/* Of what make put on disk; for a test that runs alone. */
extern char own_certificate_path[];
extern char own_key_path[];

bool own_certificate_make(void);
void own_certificate_remove(void);

#endif
