/*
 * test_config_machine.c: fg_config_load over real files in a directory of its own: what must be
 * there, and where relative paths lead.
 */
#include "config_fixture.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* A certificate for localhost with its key, good for a hundred years, and a key of another. */
static const char certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBlDCCATugAwIBAgIUKJDbuJrSXmGcSPhl8eQyVWwNd7EwCgYIKoZIzj0EAwIw\n"
    "FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNjAwMDA1OFoYDzIxMjYxMTAy\n"
    "MDAwMDU4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO\n"
    "PQMBBwNCAAR5Hv4UfFNlSz/fFa68fY/bdD12L0HVrf2KsZWTHlFNkPIwx0tXqqod\n"
    "3oU6TKEu6OUOG6PdMAB/to9ZoEnO1hGqo2kwZzAdBgNVHQ4EFgQURK4h3S3qWZsu\n"
    "A643wHf0R4hTU0AwHwYDVR0jBBgwFoAURK4h3S3qWZsuA643wHf0R4hTU0AwDwYD\n"
    "VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID\n"
    "RwAwRAIgIsaFKs1aEOIxOZcg7R7DB+j06k5xiPv02ANJRxEPsyYCIEzK/yzKl8CD\n"
    "lcQ01dI+l8FXttRdVT0bb/4fqqEe3//O\n"
    "-----END CERTIFICATE-----\n";
static const char private_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgw8ydxLbwMQ6H/Dp7\n"
    "VeRnqExhcK2ISyBSZx1YTv+eyLChRANCAAR5Hv4UfFNlSz/fFa68fY/bdD12L0HV\n"
    "rf2KsZWTHlFNkPIwx0tXqqod3oU6TKEu6OUOG6PdMAB/to9ZoEnO1hGq\n"
    "-----END PRIVATE KEY-----\n";
static const char other_key[] = "-----BEGIN PRIVATE KEY-----\n"
                                "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgtVozH6zjgFrDv9Lq\n"
                                "ljeZ4XXipsn3HZtCQKeP7uCDPT6hRANCAAQFGNtWD8SgcDLQqKDhpfT1EkEJDGKP\n"
                                "ZI+b5Usb6EMp5PgP60nv534b6g6NGGOrTfZ1Iuh9UdIn76VJKX6bnWV/\n"
                                "-----END PRIVATE KEY-----\n";

static char base[PATH_MAX]; /* links resolved; base/conf/f.yaml is the file */

static void path_in(char *out, const char *name)
{
    snprintf(out, PATH_MAX + 64, "%s/%s", base, name);
}

static void write_file(const char *name, const char *text)
{
    char path[PATH_MAX + 64];
    path_in(path, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static const char *const files[] = {"conf/f.yaml", "run/a.crt", "run/a.key", "run/jwt.key",
                                    "model.gguf"};
static const char *const directories[] = {"conf/www", "conf", "run"};

static int set_up(void **state)
{
    (void)state;
    char template[] = "/tmp/floodgate-config-XXXXXX";
    char path[PATH_MAX + 64];
    if (mkdtemp(template) == NULL || realpath(template, base) == NULL)
        return -1;
    for (size_t i = 3; i-- > 0;) {
        path_in(path, directories[i]);
        if (mkdir(path, 0700) == -1)
            return -1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char path[PATH_MAX + 64];
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        path_in(path, files[i]);
        (void)unlink(path);
    }
    for (size_t i = 0; i < 3; i++) {
        path_in(path, directories[i]);
        (void)rmdir(path);
    }
    return rmdir(base);
}

static struct fg_config *load(struct config_errors *errors)
{
    char path[PATH_MAX + 64];
    path_in(path, "conf/f.yaml");
    return load_file(path, errors);
}

static void expect_line(const struct config_errors *errors, size_t index, const char *place,
                        const char *fmt_with_base)
{
    char expected[2 * PATH_MAX];
    int at = snprintf(expected, sizeof(expected), "%s/conf/f.yaml:%s: ", base, place);
    for (const char *c = fmt_with_base; *c != '\0'; c++) {
        if (*c == '@')
            at += snprintf(expected + at, sizeof(expected) - (size_t)at, "%s", base);
        else
            expected[at++] = *c;
    }
    expected[at] = '\0';
    assert_true(index < errors->count);
    assert_string_equal(errors->lines[index], expected);
}

static const char tls_yaml[] =
    "listeners:\n"
    "  - {address: \"127.0.0.1:8443\", certificate: ../run/a.crt, private_key: ../run/a.key}\n"
    "identity: {jwt: {secret_file: ../run/jwt.key}}\n"
    "static: {www: ./www}\n"
    "inference: {enabled: true, model: ../model.gguf}\n"
    "routes:\n"
    "  - {match: {path: /s}, session: true}\n"
    "  - {match: {prefix: /}, to: static:www}\n";

static void loads_when_all_is_there(void **state)
{
    (void)state;
    struct config_errors errors;
    char expected[PATH_MAX + 64];
    write_file("conf/f.yaml", tls_yaml);
    write_file("run/a.crt", certificate);
    write_file("run/a.key", private_key);
    write_file("model.gguf", "x");
    struct fg_config *config = load(&errors);
    assert_int_equal(errors.count, 0);
    assert_non_null(config);
    path_in(expected, "run/a.crt"); /* "../" is taken off, so that logs are easy to read */
    assert_string_equal(config->listeners[0].certificate, expected);
    path_in(expected, "conf/www");
    assert_string_equal(config->backends[0].files.root, expected);
    path_in(expected, "conf");
    assert_string_equal(config->directory, expected);
    path_in(expected, "conf/sockets");
    assert_string_equal(config->inference.socket_directory, expected);
    fg_config_destroy(config);
}

static void expect_tls_error(const char *crt, const char *key, const char *place,
                             const char *message)
{
    struct config_errors errors;
    write_file("run/a.crt", crt);
    write_file("run/a.key", key);
    assert_null(load(&errors));
    assert_int_equal(errors.count, 1);
    expect_line(&errors, 0, place, message);
}

static void looks_into_certificates_and_keys(void **state)
{
    (void)state;
    write_file("conf/f.yaml", tls_yaml);
    write_file("model.gguf", "x");
    expect_tls_error("x", private_key, "2:46",
                     "certificate: cannot use @/run/a.crt: it holds no usable PEM certificate: no "
                     "start line; expected a PEM file with the certificate chain");
    expect_tls_error(
        certificate, "x", "2:73",
        "private_key: cannot use @/run/a.key: it holds no usable PEM key: unsupported; "
        "expected the PEM file of the key of @/run/a.crt");
    expect_tls_error(certificate, other_key, "2:73",
                     "private_key: cannot use @/run/a.key: it does not belong to the certificate; "
                     "expected the PEM file of the key of @/run/a.crt");
}

static void names_every_missing_file(void **state)
{
    (void)state;
    struct config_errors errors;
    char path[PATH_MAX + 64];
    write_file("conf/f.yaml", tls_yaml);
    write_file("run/jwt.key", "too short");
    for (size_t i = 1; i < 5; i++) {
        path_in(path, files[i]);
        if (i != 3)
            (void)unlink(path);
    }
    path_in(path, "conf/www");
    assert_int_equal(rmdir(path), 0);
    assert_null(load(&errors));
    assert_int_equal(errors.count, 5);
    expect_line(&errors, 0, "2:46",
                "certificate: cannot read @/run/a.crt: No such file or directory; expected a PEM "
                "file with the certificate chain");
    expect_line(&errors, 1, "2:73",
                "private_key: cannot read @/run/a.key: No such file or directory; expected a PEM "
                "file with the key");
    expect_line(&errors, 2, "3:31",
                "secret_file: @/run/jwt.key has 9 bytes; expected a key of at least 32 random "
                "bytes");
    expect_line(&errors, 3, "4:10",
                "root: cannot read @/conf/www: No such file or directory; expected a directory of "
                "files");
    expect_line(
        &errors, 4, "5:35",
        "model: cannot read @/model.gguf: No such file or directory; expected a GGUF model");
    assert_int_equal(mkdir(path, 0700), 0);
}

static void tells_files_from_directories(void **state)
{
    (void)state;
    struct config_errors errors;
    write_file("model.gguf", "x");
    write_file("conf/f.yaml", "listeners: [{address: \"127.0.0.1:8443\", kind: plain}]\n"
                              "static: {www: ../model.gguf}\n"
                              "inference: {enabled: true, model: www}\n"
                              "routes: [{match: {prefix: /}, to: static:www}]\n");
    assert_null(load(&errors));
    assert_int_equal(errors.count, 2);
    expect_line(&errors, 0, "2:10",
                "root: @/model.gguf is not a directory; expected a directory of files");
    expect_line(&errors, 1, "3:35", "model: @/conf/www is not a file; expected a GGUF model");
}

static void names_an_unreadable_configuration(void **state)
{
    (void)state;
    struct config_errors errors;
    char path[PATH_MAX + 64];
    char expected[PATH_MAX + 256];
    assert_null(load_file("/nonexistent/f.yaml", &errors));
    assert_int_equal(errors.reported_count, 1);
    assert_string_equal(errors.lines[0], "/nonexistent/f.yaml: cannot open the configuration: No "
                                         "such file or directory");
    path_in(path, "conf");
    assert_null(load_file(path, &errors));
    snprintf(expected, sizeof(expected),
             "%s: cannot open the configuration: it is no regular file; expected one", path);
    assert_string_equal(errors.lines[0], expected);
    path_in(path, "pipe.yaml"); /* which nobody ever writes to */
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(load_file(path, &errors));
    snprintf(expected, sizeof(expected),
             "%s: cannot open the configuration: it is no regular file; expected one", path);
    assert_string_equal(errors.lines[0], expected);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_when_all_is_there),
        cmocka_unit_test(looks_into_certificates_and_keys),
        cmocka_unit_test(names_every_missing_file),
        cmocka_unit_test(tells_files_from_directories),
        cmocka_unit_test(names_an_unreadable_configuration),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
