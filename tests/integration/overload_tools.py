"""
overload_tools.py: what tests of the overload manager ask and wait for.
"""
import contextlib
import socket

from harness import DEMO_MODEL, read_response, wait_for

GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
CALM = {"memory_max": "1TiB", "interval": "20ms", "hold": "100ms"}
REDIS_OF_A_SECOND = {**CALM, "redis_latency_max": "1s"}


def overload_of(gateway):
    return gateway.stats()["policies"]["overload"]


def wait_taken(gateway, step, taken=True):
    wait_for(lambda: overload_of(gateway)["steps"][step]["taken"] == taken, what=f"{step} taken: {taken}")
    return overload_of(gateway)["steps"][step]


def wait_watched(gateway, resource):
    return wait_for(lambda: (one := overload_of(gateway)["resources"][resource])["watched"] and one,
                    what=f"{resource} watched")


def ask(connection, request=GET):
    connection.sendall(request)
    return read_response(connection.makefile("rb"))


def connect_from(gateway, address):
    connection = socket.socket()
    connection.settimeout(30)
    connection.bind((address, 0))
    connection.connect(("127.0.0.1", gateway.port))
    return connection


def end_of(connection):
    with contextlib.suppress(ConnectionError):  # a reset is an end, too
        assert connection.recv(1) == b""


def complete(client, tokens):
    answer = client.post("/v1/completions", json={"prompt": "A cup of", "max_tokens": tokens, "temperature": 0,
                                                  "ignore_eos": True})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return answer.headers.get("x-floodgate-max-tokens"), body["choices"][0]["finish_reason"], \
        body["usage"]["completion_tokens"]


def llm(**more):
    return {"inference": {"enabled": True, "model": str(DEMO_MODEL), "workers": 1, "threads_per_worker": 1,
                          "kv_memory": "2MiB", **more},
            "routes": [{"name": "llm", "match": {"prefix": "/v1/"}, "to": "inference", "timeout": "60s",
                        "priority": "low"}]}


def redis_pid(gateway):
    """Redis writes the file anew when it starts: it may be empty, or not there, for a moment."""
    def read():
        file = gateway.run / "redis/redis.pid"
        return file.read_text().strip() if file.exists() else ""
    return int(wait_for(read, what="the pid file of Redis"))
