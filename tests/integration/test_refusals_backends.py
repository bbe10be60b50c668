"""What the order path refuses explains itself like any other refusal (test_refusals.py)."""
import contextlib
import signal
import threading

from harness import send_signal, wait_for
from overload_tools import redis_pid
from test_refusals import check_log_and_explain, seconds_of

CALM = {"memory_max": "1TiB"}
OBSERVED = {"access_log": True, "recent_requests": 256}


def test_a_redis_that_is_busy(launch):
    gateway = launch({
        "limits": {"threads": 1}, "policies": {"overload": CALM}, "observability": OBSERVED,
        "orders": {"redis": {"command_timeout": "60s", "commands_in_flight_max": 1}, "skus": {"milk-tea": 10},
                   "breaker": {"enabled": False}},
        "routes": [{"name": "api", "match": {"prefix": "/api/"}, "to": "orders", "timeout": "60s"}]})
    pid = redis_pid(gateway)
    assert gateway.get("/api/stock/milk-tea").status_code == 200
    send_signal(pid, signal.SIGSTOP)
    try:
        with contextlib.ExitStack() as stack:
            held = threading.Thread(target=gateway.get, args=("/api/stock/milk-tea",), kwargs={"timeout": 60})
            stack.callback(held.join)
            stack.callback(send_signal, pid, signal.SIGCONT)
            held.start()
            wait_for(lambda: gateway.stats()["orders"]["redis"]["in_flight"] == 1)
            for http2 in (False, True):
                with gateway.client(http2=http2) as client:
                    answer = client.get("/api/stock/milk-tea")
                error = answer.json()["error"]
                assert (answer.status_code, error["code"]) == (503, "orders_busy"), error
                assert error["value"] >= 1 and error["limit"] == 1
                assert int(answer.headers["retry-after"]) == seconds_of(error["retry_after_ms"])
                check_log_and_explain(gateway, error["request_id"], "orders_busy", error)
    finally:
        with contextlib.suppress(ProcessLookupError):
            send_signal(pid, signal.SIGCONT)
    assert gateway.get("/api/stock/milk-tea").json()["left"] == 10
