"""A request for which there is no memory is answered, not cut."""
import pytest


@pytest.mark.parametrize("http2", [False, True])
def test_a_request_without_memory_is_told_so(launch, upstream, http2):
    """Wherever in the request it runs out: at a field, at the route, at the words of the refusal itself."""
    gateway = launch({
        "limits": {"request_memory_max": "16KiB", "header_max": "16KiB"},
        "clusters": {"app": {"endpoints": [upstream().address]}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:app"}]})
    statuses = set()
    with gateway.client(http2=http2) as client:
        for size in range(512, 16384, 256):
            answer = client.get("/", headers={"x-large": "a" * size})
            statuses.add(answer.status_code)
            assert answer.status_code in (200, 431, 503), answer.text
            if answer.status_code == 503:
                assert answer.json()["error"]["type"] == "overloaded" and int(answer.headers["retry-after"]) >= 1
    assert {200, 503} <= statuses
