/*
 * supervisor.h: the first process: owns sockets, configuration and the KV arena; runs the others.
 *
 *    redis-server (embedded) -> workers, fulfil -> gateway -> ready
 *    SIGTERM, SIGINT   drain the gateway, then stop the rest in the reverse order
 *    SIGHUP            read the configuration again: on any error keep the old one, else start a
 * new gateway on the same sockets and drain the old SIGCHLD           restart what died
 */
#ifndef FG_SUPERVISOR_H
#define FG_SUPERVISOR_H

/*
 * Runs the program with the configuration `path` until it is told to stop. Returns the exit code,
 * in the first process and, after fork, in each child that runs code of this program: 0, 1 failed,
 * 2 usage or configuration error (already printed).
 */
int fg_supervisor_run(const char *path);

#endif
