/*
 * explain_command.h: `floodgate explain REQUEST_ID`: asks the running gateway and prints it.
 * Thread   the program's; waits for the answer.
 */
#ifndef FG_ADMIN_EXPLAIN_COMMAND_H
#define FG_ADMIN_EXPLAIN_COMMAND_H

/* `address` is the admin listener's ("127.0.0.1:9901"). The exit code: 0 printed, 1 failed. */
int fg_explain_run(const char *address, const char *request_id);

#endif
