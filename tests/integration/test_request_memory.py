"""A request for which there is no memory is answered, not cut, and told which limit was in the way."""
import re

import pytest

from harness import plain_http


@pytest.mark.parametrize("http2", [False, True])
def test_a_request_without_memory_is_told_so(launch, upstream, http2):
    """Wherever in the request it runs out: at a field, at the route, at the words of the refusal itself."""
    gateway = launch({
        "limits": {"request_memory_max": "16KiB", "header_max": "16KiB"},
        "clusters": {"app": {"endpoints": [upstream().address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    statuses = set()
    told = 0
    with gateway.client(http2=http2) as client:
        for size in range(512, 16384, 256):
            answer = client.get("/", headers={"x-large": "a" * size})
            statuses.add(answer.status_code)
            assert answer.status_code in (200, 431, 503), answer.text
            if answer.status_code == 503:
                error = answer.json()["error"]
                assert (error["type"], error["code"]) == ("overloaded", "no_memory")
                assert int(answer.headers["retry-after"]) >= 1
                if "policy" in error:  # else there is no room for so many words
                    told += 1
                    assert error["policy"] == "request_memory" and error["value"] > error["limit"] == 16384, error
                    last = gateway.explain(error["request_id"])["decisions"][-1]
                    assert (last["decided"], last["reason"], last["policy"]) == ("refuse", "no_memory", "request_memory")
                    assert (last["value"], last["limit"]) == (error["value"], error["limit"])
    assert {200, 503} <= statuses and told > 0
    counted = re.findall(r'floodgate_refused_total\{.*reason="no_memory"\} (\d+)', plain_http.get(gateway.admin + "/metrics").text)
    assert sum(map(int, counted)) >= told
