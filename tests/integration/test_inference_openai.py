"""What the OpenAI API can ask of an answer: its form, tools, logprobs, penalties, biases; embeddings."""
import base64
import json
import struct

import pytest

from test_inference import complete, events_of, pool, text_of

ASK = {"messages": [{"role": "user", "content": "What is on offer?"}], "max_tokens": 24, "temperature": 0}
ORDER = {"type": "function", "function": {
    "name": "place_order", "description": "Order a drink",
    "parameters": {"type": "object", "properties": {"sku": {"enum": ["milk-tea"]}, "quantity": {"type": "integer"}},
                   "required": ["sku", "quantity"], "additionalProperties": False}}}
SCHEMA = {"type": "object", "properties": {"drink": {"enum": ["milk tea", "lemon tea"]}, "hot": {"type": "boolean"}},
          "required": ["drink", "hot"], "additionalProperties": False}


@pytest.fixture(scope="module")
def site(launch_module):
    return launch_module(pool(chat_template="qwen2.5"))


def choice(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_json_keeps_to_its_schema(site, temperature):
    form = {"type": "json_schema", "json_schema": {"name": "drink", "strict": True, "schema": SCHEMA}}
    one = choice(complete(site, **{**ASK, "max_tokens": 300, "temperature": temperature, "seed": 5},
                          response_format=form))
    if one["finish_reason"] == "stop":
        said = json.loads(one["message"]["content"])
        assert said["drink"] in ("milk tea", "lemon tea") and isinstance(said["hot"], bool) and len(said) == 2
    else:
        assert one["message"]["content"].lstrip().startswith("{")


def test_streamed_json_is_the_same(site):
    body = {**ASK, "max_tokens": 300, "response_format": {"type": "json_schema",
                                                         "json_schema": {"name": "d", "schema": SCHEMA}}}
    whole = choice(complete(site, **body))
    text, reason = text_of(events_of(site, **body))
    assert (text, reason) == (whole["message"]["content"], whole["finish_reason"])


def test_a_tool_that_has_to_be_called_is_called(site):
    body = {**ASK, "max_tokens": 400, "tools": [ORDER], "tool_choice": "required"}
    one = choice(complete(site, **body))
    if one["finish_reason"] == "length":
        pytest.skip("the model went on too long")
    call = one["message"]["tool_calls"][0]
    assert one["finish_reason"] == "tool_calls" and one["message"]["content"] is None
    assert call["type"] == "function" and call["function"]["name"] == "place_order" and call["id"]
    arguments = json.loads(call["function"]["arguments"])
    assert arguments["sku"] == "milk-tea" and isinstance(arguments["quantity"], int)
    events = events_of(site, **body)
    calls = [c for e in events for c in e["choices"][0]["delta"].get("tool_calls", [])]
    assert len(calls) == 1 and json.loads(calls[0]["function"]["arguments"]) == arguments
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_tools_round_is_taken(site):
    answer = complete(site, **{**ASK, "messages": [
        {"role": "user", "content": "one tea"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {
            "name": "place_order", "arguments": "{\"sku\": \"milk-tea\", \"quantity\": 1}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "{\"order_id\": 7}"}]}, tools=[ORDER])
    assert choice(answer)["finish_reason"] in ("stop", "length", "tool_calls")


def test_logprobs(site):
    one = choice(complete(site, **ASK, logprobs=True, top_logprobs=3))
    content = one["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content).startswith(one["message"]["content"][:4])
    for entry in content:
        assert entry["logprob"] <= 0 and bytes(entry["bytes"]).decode("utf-8", "replace") == entry["token"]
        top = [t["logprob"] for t in entry["top_logprobs"]]
        assert len(top) == 3 and top == sorted(top, reverse=True)
        assert abs(top[0] - entry["logprob"]) < 1e-3  # greedy
    events = events_of(site, **ASK, logprobs=True)
    streamed = [entry for e in events if e["choices"][0]["logprobs"] for entry in e["choices"][0]["logprobs"]["content"]]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in content]
    plain = choice(complete(site, path="/v1/completions", prompt="The free card", max_tokens=4, temperature=0, logprobs=2))
    assert len(plain["logprobs"]["tokens"]) == len(plain["logprobs"]["text_offset"]) <= 4


def test_many_logprobs_fit_into_an_answer_in_one_piece(site):
    """Many times the text; more than the memory of a request without them."""
    body = {**ASK, "max_tokens": 300, "temperature": 1.5, "seed": 4, "ignore_eos": True, "logprobs": True}
    answer = complete(site, **body, top_logprobs=20)
    content = choice(answer)["logprobs"]["content"]
    assert len(content) == 300 and all(len(entry["top_logprobs"]) == 20 for entry in content)
    assert len(answer.content) > 256 * 1024
    refused = complete(site, **{**body, "max_tokens": 400}, top_logprobs=20, n=16)
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "logprobs"


def test_a_bias_can_forbid_and_a_penalty_can_vary(site):
    def said(**extra):
        return choice(complete(site, **ASK, logprobs=True, **extra))

    first = said()
    ids = {str(i): -100 for i in range(0, 1000)}
    assert said(logit_bias=ids)["message"]["content"] != first["message"]["content"]
    assert said(repetition_penalty=1.0, min_p=0.0)["message"]["content"] == first["message"]["content"]
    repeated = complete(site, path="/v1/completions", prompt="a a a a a a", max_tokens=40, temperature=0,
                        presence_penalty=2, frequency_penalty=2, repetition_penalty=2)
    assert repeated.status_code == 200


def test_several_choices(site):
    body = {**ASK, "max_tokens": 24, "temperature": 2, "seed": 9, "n": 3}
    answer = complete(site, **body)
    choices = answer.json()["choices"]
    assert answer.status_code == 200 and [one["index"] for one in choices] == [0, 1, 2]
    texts = [one["message"]["content"] for one in choices]
    assert len(set(texts)) > 1  # each has a seed of its own
    assert texts[0] == choice(complete(site, **{**body, "n": 1}))["message"]["content"]
    usage = answer.json()["usage"]
    assert 24 < usage["completion_tokens"] <= 72
    streamed = ["", "", ""]
    for event in events_of(site, **body):
        for one in event["choices"]:
            streamed[one["index"]] += one["delta"].get("content", "")
    assert streamed == texts
    indexes = [one["index"] for event in events_of(site, **{**body, "max_tokens": 200}) for one in event["choices"]]
    # Side by side: the first has not ended when the last begins.
    assert indexes.index(2, 3) < len(indexes) - 1 - indexes[::-1].index(0)
    before = site.stats()["inference"]["workers"]
    answer = complete(site, **{**body, "n": 8, "seed": 11, "messages": [
        {"role": "user", "content": "Something that nobody has asked before, long enough for several blocks"}]})
    after = site.stats()["inference"]["workers"]
    prefill = sum(b["tokens_prefill"] - a["tokens_prefill"] for a, b in zip(before, after))
    usage = answer.json()["usage"]
    assert prefill <= usage["prompt_tokens"] + 7, "the prompt is read once, its last token for each"


def test_other_methods_are_told_which(site):
    with site.client() as client:
        for path, allowed in (("/v1/chat/completions", "POST"), ("/v1/embeddings", "POST"), ("/v1/models", "GET, HEAD")):
            answer = client.delete(path)
            assert answer.status_code == 405 and answer.headers["allow"] == allowed
            assert answer.json()["error"]["code"] == "method_not_allowed" and answer.json()["error"]["request_id"]


@pytest.mark.parametrize("change, code, words", [
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "string", "pattern": "a"}}}},
     "invalid_json_schema", "'pattern' is not supported"),
    ({"tools": [{"type": "function"}]}, "invalid_type", "tools[0].function.name"),
    ({"logit_bias": {"tea": 1}}, "invalid_value", "logit_bias"),
    ({"top_logprobs": 2}, "invalid_value", "top_logprobs"),
    ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
])
def test_bad_wishes_are_named(site, change, code, words):
    answer = complete(site, **ASK, **change)
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["code"] == code and words in error["message"]
    assert error["message"].startswith(f"'{error['param']}'")


def test_a_template_without_tools_says_so(launch):
    gateway = launch(pool(chat_template="chatml"))
    answer = complete(gateway, **ASK, tools=[ORDER])
    assert answer.status_code == 400 and "tools" in answer.json()["error"]["message"]


def embed(gateway, **body):
    answer = complete(gateway, path="/v1/embeddings", **body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def test_embeddings(site):
    texts = ["How do I get a free card?", "Where is my order?", "tea " * 300]
    both = embed(site, input=texts)
    assert both["object"] == "list" and both["model"] == "demo" and [one["index"] for one in both["data"]] == [0, 1, 2]
    vectors = [one["embedding"] for one in both["data"]]
    assert all(abs(dot(v, v) - 1) < 1e-4 for v in vectors) and abs(dot(vectors[0], vectors[1])) < 0.999
    alone = embed(site, input=texts[0])
    assert alone["data"][0]["embedding"] == vectors[0]  # whatever else was computed before it
    again = embed(site, input=texts[2])
    assert dot(again["data"][0]["embedding"], vectors[2]) > 0.9999
    assert 0 < alone["usage"]["prompt_tokens"] < both["usage"]["prompt_tokens"]
    coded = embed(site, input=texts[0], encoding_format="base64")["data"][0]["embedding"]
    raw = base64.b64decode(coded, validate=True)
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(vectors[0])
    last = embed(site, input=texts[0], pooling="last")["data"][0]["embedding"]
    assert len(last) == len(vectors[0]) and dot(last, vectors[0]) < 0.9999
    site.wait_stats(lambda stats: stats["inference"]["kv"]["blocks_used"] == 0)


def test_many_texts_are_embedded_in_one_go(site):
    """More than are with the workers at once; each vector is the one that its text has alone."""
    def steps():
        return sum(one["steps"] for one in site.stats()["inference"]["workers"])
    texts = [f"Where is order {7 * number}?" for number in range(40)]
    before = steps()
    vectors = [one["embedding"] for one in embed(site, input=texts)["data"]]
    assert site.wait_stats(lambda stats: stats["inference"]["kv"]["blocks_used"] == 0)
    assert len(vectors) == len(texts) and 0 < steps() - before < len(texts)
    for number in (0, 17, 39):
        assert embed(site, input=texts[number])["data"][0]["embedding"] == vectors[number]


@pytest.mark.parametrize("change, code", [
    ({}, "missing_required_parameter"), ({"input": []}, "invalid_value"), ({"input": ""}, "invalid_value"),
    ({"input": [1, 2]}, "invalid_type"), ({"input": "a", "dimensions": 8}, "unsupported_parameter"),
    ({"input": "a", "encoding_format": "hex"}, "invalid_value"), ({"input": "a", "pooling": "max"}, "invalid_value"),
])
def test_bad_embedding_requests(site, change, code):
    answer = complete(site, path="/v1/embeddings", **change)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == code, answer.text
