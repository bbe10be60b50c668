/*
 * explain_command.c: one question to the admin server over a plain socket, and its answer in lines.
 */
#include "admin/explain_command.h"

#include "base/span.h"

#include <jansson.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX ((size_t)1 << 20)
#define TIMEOUT_S 5

/* -1 after a line on stderr. */
static int connect_to(const char *address)
{
    char host[256];
    const char *colon = strrchr(address, ':');
    size_t len = colon == NULL ? 0 : (size_t)(colon - address);
    if (len == 0 || len >= sizeof(host)) {
        fprintf(stderr, "floodgate explain: admin.address '%s' is not HOST:PORT\n", address);
        return -1;
    }
    bool is_bracketed = address[0] == '[' && len > 2;
    snprintf(host, sizeof(host), "%.*s", (int)(is_bracketed ? len - 2 : len),
             address + (is_bracketed ? 1 : 0));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int fd = -1;
    if (getaddrinfo(host, colon + 1, &hints, &found) == 0) {
        struct timeval timeout = {.tv_sec = TIMEOUT_S};
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd != -1 && (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == -1 ||
                         connect(fd, found->ai_addr, found->ai_addrlen) == -1)) {
            close(fd);
            fd = -1;
        }
        freeaddrinfo(found);
    }
    if (fd == -1)
        fprintf(stderr, "floodgate explain: no gateway answers at %s; is it running?\n", address);
    return fd;
}

/* All that comes until the other side closes; NUL-terminated, the caller's. NULL: nothing useful.
 */
static char *read_answer(int fd)
{
    char *text = malloc(ANSWER_BYTES_MAX + 1);
    size_t len = 0;
    ssize_t got;
    while (text != NULL && len < ANSWER_BYTES_MAX &&
           (got = read(fd, text + len, ANSWER_BYTES_MAX - len)) > 0)
        len += (size_t)got;
    if (text != NULL)
        text[len] = '\0';
    return text;
}

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "-" : text;
}

static void print_decision(json_t *decision)
{
    printf("  %8.3f ms  %-13s %-7s", json_real_value(json_object_get(decision, "after_ms")),
           text_of(decision, "stage"), text_of(decision, "decided"));
    static const char *const texts[] = {"policy", "reason"};
    for (size_t i = 0; i < 2; i++) {
        if (json_object_get(decision, texts[i]) != NULL)
            printf(" %s=%s", texts[i], text_of(decision, texts[i]));
    }
    static const char *const numbers[] = {"value", "limit", "wait_ms"};
    for (size_t i = 0; i < 3; i++) {
        json_t *number = json_object_get(decision, numbers[i]);
        if (number != NULL)
            printf(" %s=%.10g", numbers[i], json_number_value(number));
    }
    printf("\n");
}

static void print_record(json_t *record)
{
    json_t *priority = json_object_get(record, "priority");
    printf("%s %s -> %lld%s in %.3f ms\n", text_of(record, "method"), text_of(record, "path"),
           (long long)json_integer_value(json_object_get(record, "status")),
           json_is_true(json_object_get(record, "aborted")) ? " (aborted)" : "",
           json_real_value(json_object_get(record, "total_ms")));
    printf("  route %s, client %s, user %s, cache %s, priority %s (%lld)\n",
           text_of(record, "route"), text_of(record, "client"), text_of(record, "user"),
           text_of(record, "cache"), text_of(priority, "class"),
           (long long)json_integer_value(json_object_get(priority, "number")));
    size_t index;
    json_t *decision;
    json_array_foreach(json_object_get(record, "decisions"), index, decision)
        print_decision(decision);
    const char *hop;
    json_t *ms;
    json_object_foreach(json_object_get(record, "hops_ms"), hop, ms)
        printf("  spent %.3f ms in %s\n", json_real_value(ms), hop);
}

/* The exit code. */
static int print_answer(const char *text, const char *request_id)
{
    const char *body = text == NULL ? NULL : strstr(text, "\r\n\r\n");
    if (body != NULL && strncmp(text, "HTTP/1.1 404", 12) == 0) {
        fprintf(stderr,
                "floodgate explain: %s is not among the recent requests "
                "(observability.recent_requests says how many are kept)\n",
                request_id);
        return 1;
    }
    json_t *record = body == NULL ? NULL : json_loads(body + 4, 0, NULL);
    if (record == NULL) {
        fprintf(stderr, "floodgate explain: the gateway's answer is not understood\n");
        return 1;
    }
    print_record(record);
    json_decref(record);
    return 0;
}

int fg_explain_run(const char *address, const char *request_id)
{
    char request[512];
    if (strlen(request_id) > 64 || strpbrk(request_id, " \r\n&?#") != NULL) {
        fprintf(stderr, "floodgate explain: '%s' is not a request id\n", request_id);
        return 2;
    }
    int fd = connect_to(address);
    if (fd == -1)
        return 1;
    int len = snprintf(request, sizeof(request),
                       "GET /explain?request_id=%s HTTP/1.1\r\nhost: %.200s\r\n"
                       "connection: close\r\n\r\n",
                       request_id, address);
    char *text = NULL;
    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) == len)
        text = read_answer(fd);
    close(fd);
    int code = print_answer(text, request_id);
    free(text);
    return code;
}
