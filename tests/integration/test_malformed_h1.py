"""
HTTP/1 requests that are malformed or that two parsers could read differently, and what becomes of each:
the exact status and code, the end of the connection, and every byte that the upstream received.
Sources: RFC 9112 sections 2.2, 3, 5, 6, 7; RFC 9110 sections 5, 7.2, 7.8, 8.6, 10.1.1.
"""
import json
import re

import pytest

import wire
from harness import read_all, wait_for

H = b"Host: x\r\n"
END = b"Connection: close\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n"
UP_HELLO = wire.head("POST", fields=[("content-length", "5")]) + b"hello"
UP_CHUNKED = wire.head("POST", "/c", fields=[("transfer-encoding", "chunked")])


@pytest.fixture(scope="module")
def upstream(recorder_module):
    return recorder_module()


@pytest.fixture(scope="module")
def site(launch_module, upstream):
    return launch_module({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1, "header_max": "4KiB", "header_count_max": 20, "uri_max": "512B", "body_max": "8KiB"},
        "clusters": {"up": {"endpoints": [upstream.address], "max_idle_connections": 0}},
        "routes": [{"match": {"prefix": "/"}, "to": "cluster:up"}],
    })


def get(line, fields=H):
    return b"GET " + line + b" HTTP/1.1\r\n" + fields + b"\r\n"


def field(line):
    return b"GET / HTTP/1.1\r\n" + H + line + b"\r\n\r\n"


def post(fields, body=b""):
    return b"POST / HTTP/1.1\r\n" + H + fields + b"\r\n" + body


def chunks(text):
    return CHUNKED + b"\r\n" + text


# (what, bytes, status, code of the error body); nothing of it may reach the upstream.
REFUSED = [
    # the request line
    ("no target", b"GET\r\n\r\n", 400, "malformed_request"),
    ("no version", b"GET /\r\n\r\n", 400, "malformed_request"),
    ("HTTP/0.9 with fields", b"GET /\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("two blanks before the target", b"GET  / HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("two blanks before the version", b"GET /  HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("a blank in the target", b"GET /a b HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("a tab before the target", b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("a tab before the version", b"GET /\tHTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("a vertical tab before the target", b"GET\x0b/ HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("a blank before the method", b" GET / HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("a blank behind the version", b"GET / HTTP/1.1 \r\n" + H + b"\r\n", 400, "malformed_request"),
    ("lower case version", b"GET / http/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("version 2.0", b"GET / HTTP/2.0\r\n" + H + b"\r\n", 505, "unsupported_version"),
    ("version 0.9", b"GET / HTTP/0.9\r\n" + H + b"\r\n", 505, "unsupported_version"),
    ("version with two digits", b"GET / HTTP/1.10\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("version without a dot", b"GET / HTTP/11\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("version with a comma", b"GET / HTTP/1,1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("another protocol", b"GET / ICAP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("a method in lower case", b"get / HTTP/1.1\r\n" + H + b"\r\n", 501, "unsupported_method"),
    ("TRACE in other letters", b"Trace / HTTP/1.1\r\n" + H + b"\r\n", 501, "unsupported_method"),
    ("the method that begins HTTP/2", b"PRI / HTTP/1.1\r\n" + H + b"\r\n", 501, "unsupported_method"),
    ("a method longer than any", b"M" * 33 + b" / HTTP/1.1\r\n" + H + b"\r\n", 501, "unsupported_method"),
    ("a method that is no token", b"G@T / HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("a NUL in the method", b"G\0T / HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("CONNECT", b"CONNECT x:443 HTTP/1.1\r\n" + H + b"\r\n", 501, "unsupported_method"),
    ("CONNECT to a path", b"CONNECT / HTTP/1.1\r\n" + H + b"\r\n", 501, "unsupported_method"),
    ("LF first", b"\n" + get(b"/"), 400, "malformed_request"),
    ("CR first", b"\r" + get(b"/"), 400, "malformed_request"),
    ("an empty line and LF first", b"\r\n\n" + get(b"/"), 400, "malformed_request"),
    ("many empty lines first", b"\r\n" * 6 + get(b"/"), 400, "malformed_request"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed_request"),
    # the target
    ("a NUL in the target", get(b"/a\0b"), 400, "bad_target"),
    ("a control in the target", get(b"/a\x01b"), 400, "bad_target"),
    ("DEL in the target", get(b"/a\x7fb"), 400, "bad_target"),
    ("UTF-8 in the target", get("/café".encode()), 400, "bad_target"),
    ("a fragment", get(b"/a#b"), 400, "bad_target"),
    ("a backslash", get(b"/a\\..\\b"), 400, "bad_target"),
    ("an encoded backslash", get(b"/a%5c..%5cb"), 400, "bad_target"),
    ("an encoded slash", get(b"/a%2fb"), 400, "bad_target"),
    ("an encoded slash in capitals", get(b"/a%2Fb"), 400, "bad_target"),
    ("an encoded NUL", get(b"/a%00"), 400, "bad_target"),
    ("an encoded CR and LF", get(b"/a%0d%0aX:y"), 400, "bad_target"),
    ("half an escape", get(b"/a%4"), 400, "bad_target"),
    ("no escape", get(b"/a%zz"), 400, "bad_target"),
    ("an escape of an escape with a NUL", get(b"/%00%2e"), 400, "bad_target"),
    ("above the root", get(b"/../a"), 400, "bad_target"),
    ("above the root in escapes", get(b"/%2e%2e/a"), 400, "bad_target"),
    ("above the root later", get(b"/a/../../b"), 400, "bad_target"),
    ("mixed dots above the root", get(b"/.%2e/a"), 400, "bad_target"),
    ("parent segments with parameters", get(b"/a/..;/b"), 400, "bad_target"),
    ("escaped ones", get(b"/a/%2e%2e;x=1/b"), 400, "bad_target"),
    ("ones of which all is escaped", get(b"/a/%2e%2e%3bx/b"), 400, "bad_target"),
    ("a dot with a parameter last", get(b"/a/.;"), 400, "bad_target"),
    ("no slash first", get(b"a/b"), 400, "bad_target"),
    ("asterisk of a GET", get(b"*"), 400, "bad_target"),
    ("authority form of a GET", get(b"x:80"), 400, "bad_target"),
    ("a foreign scheme", get(b"ftp://x/"), 400, "bad_target"),
    ("file scheme", get(b"file:///etc/passwd"), 400, "bad_target"),
    ("javascript scheme", get(b"javascript:alert(1)"), 400, "bad_target"),
    ("a scheme without authority", get(b"http:///a"), 400, "bad_host"),
    ("a scheme with one slash", get(b"http:/x/a"), 400, "bad_target"),
    ("a target of TLS, in the clear", get(b"https://x/"), 421, "wrong_scheme"),
    ("the same in upper case", get(b"HTTPS://x/"), 421, "wrong_scheme"),
    ("overlong slash", get(b"/a%c0%afb"), 400, "bad_target"),
    ("overlong dots", get(b"/a/%C0%AE%c0%ae/b"), 400, "bad_target"),
    ("overlong backslash", get(b"/a%c1%9cb"), 400, "bad_target"),
    ("overlong NUL", get(b"/a%c0%80"), 400, "bad_target"),
    ("overlong slash in three bytes", get(b"/a%e0%80%af"), 400, "bad_target"),
    ("user information in the target", get(b"http://u:p@x/"), 400, "bad_host"),
    ("a blank query byte", get(b"/?a\x7fb"), 400, "bad_target"),
    ("a fragment behind the query", get(b"/?a#b"), 400, "bad_target"),
    ("a NUL in the query", get(b"/?a\0b"), 400, "bad_target"),
    ("a host that is none, beside a target that names one", get(b"http://other/", b"Host: x/y\r\n"), 400, "bad_host"),
    ("two hosts beside a target that names one", get(b"http://x/", H + H), 400, "bad_host"),
    ("no host beside a target that names one", get(b"http://x/", b""), 400, "bad_host"),
    ("a target too long", get(b"/" + b"a" * 600), 414, "uri_too_long"),
    # line ends
    ("LF behind the request line", b"GET / HTTP/1.1\n" + H + b"\r\n", 400, "malformed_request"),
    ("LF behind a field", b"GET / HTTP/1.1\r\nHost: x\n\r\n", 400, "malformed_request"),
    ("LF as the empty line", b"GET / HTTP/1.1\r\n" + H + b"\n", 400, "malformed_request"),
    ("LF everywhere", b"GET / HTTP/1.1\nHost: x\n\n", 400, "malformed_request"),
    ("CR behind the request line", b"GET / HTTP/1.1\r" + H + b"\r\n", 400, "malformed_request"),
    ("CR in a field", field(b"X: a\rY: b"), 400, "malformed_request"),
    ("CR CR LF", field(b"X: a\r"), 400, "malformed_request"),
    ("CR in the request line", b"GET /\r HTTP/1.1\r\n" + H + b"\r\n", 400, "malformed_request"),
    ("a folded field", field(b"X: a\r\n b"), 400, "bad_header"),
    ("a field folded with a tab", field(b"X: a\r\n\tb"), 400, "bad_header"),
    ("a folded first line", b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400, "bad_header"),
    ("a folded line of blanks", field(b"X: a\r\n   "), 400, "bad_header"),
    ("a folded transfer coding", b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400,
     "bad_header"),
    # field names and values
    ("a blank before the colon", field(b"X : y"), 400, "bad_header"),
    ("a tab before the colon", field(b"X\t: y"), 400, "bad_header"),
    ("a blank before the colon of a length", post(b"Content-Length : 5\r\n", b"hello"), 400, "bad_header"),
    ("a blank before the colon of a coding", post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"), 400,
     "bad_header"),
    ("a blank before the colon of Host", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "bad_header"),
    ("no name", field(b": y"), 400, "bad_header"),
    ("no colon", field(b"X"), 400, "bad_header"),
    ("a blank in a name", field(b"X Y: z"), 400, "bad_header"),
    ("brackets in a name", field(b"X(y): z"), 400, "bad_header"),
    ("a high byte in a name", field(b"X\x80: z"), 400, "bad_header"),
    ("a NUL in a name", field(b"X\0: z"), 400, "bad_header"),
    ("a control in a name", field(b"X\x0b: z"), 400, "bad_header"),
    ("a NUL in a value", field(b"X: a\0b"), 400, "bad_header"),
    ("a control in a value", field(b"X: a\x01b"), 400, "bad_header"),
    ("a vertical tab in a value", field(b"X: a\x0bb"), 400, "bad_header"),
    ("DEL in a value", field(b"X: a\x7fb"), 400, "bad_header"),
    ("an escape sequence in a value", field(b"X: \x1b[2J"), 400, "bad_header"),
    ("too many fields", field(b"\r\n".join(b"X-%d: y" % i for i in range(21))), 431, "header_too_large"),
    ("Connection that names too many fields", field(b"Connection: close, " + b"x, " * 20), 431, "header_too_large"),
    ("Connection of too many empty elements", field(b"Connection: " + b"," * 20), 431, "header_too_large"),
    ("too many fields of Connection", field(b"Connection: close" + b"\r\nConnection:" * 100), 431, "header_too_large"),
    ("too many names in two fields of Connection",
     field(b"Connection: close" + b", x" * 10 + b"\r\nConnection: y" + b", x" * 9), 431, "header_too_large"),
    ("a field too large", field(b"X: " + b"y" * 5000), 431, "header_too_large"),
    ("a head without end", b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n" * 3000, 431, "header_too_large"),
    # Host
    ("no host", b"GET / HTTP/1.1\r\n\r\n", 400, "bad_host"),
    ("an empty host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad_host"),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "bad_host"),
    ("the same host twice", b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400, "bad_host"),
    ("two hosts of HTTP/1.0", b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400, "bad_host"),
    ("two hosts in one field", b"GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", 400, "bad_host"),
    ("a blank in the host", b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400, "bad_host"),
    ("a path in the host", b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400, "bad_host"),
    ("a query in the host", b"GET / HTTP/1.1\r\nHost: x?y\r\n\r\n", 400, "bad_host"),
    ("a fragment in the host", b"GET / HTTP/1.1\r\nHost: x#y\r\n\r\n", 400, "bad_host"),
    ("user information in the host", b"GET / HTTP/1.1\r\nHost: u@x\r\n\r\n", 400, "bad_host"),
    ("a scheme in the host", b"GET / HTTP/1.1\r\nHost: http://x\r\n\r\n", 400, "bad_host"),
    ("a backslash in the host", b"GET / HTTP/1.1\r\nHost: x\\y\r\n\r\n", 400, "bad_host"),
    ("an escape in the host", b"GET / HTTP/1.1\r\nHost: x%2ey\r\n\r\n", 400, "bad_host"),
    ("a port too large", b"GET / HTTP/1.1\r\nHost: x:65536\r\n\r\n", 400, "bad_host"),
    ("a port of letters", b"GET / HTTP/1.1\r\nHost: x:http\r\n\r\n", 400, "bad_host"),
    ("two colons", b"GET / HTTP/1.1\r\nHost: x::\r\n\r\n", 400, "bad_host"),
    ("a port and an empty port", b"GET / HTTP/1.1\r\nHost: x:80:\r\n\r\n", 400, "bad_host"),
    ("an empty port of nobody", b"GET / HTTP/1.1\r\nHost: :\r\n\r\n", 400, "bad_host"),
    ("a port and a port", b"GET / HTTP/1.1\r\nHost: x:80:80\r\n\r\n", 400, "bad_host"),
    ("half an IPv6 address", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "bad_host"),
    *[(f"no IPv6 address: {host}", b"GET / HTTP/1.1\r\nHost: [" + host.encode() + b"]\r\n\r\n", 400, "bad_host")
      for host in (":", "::::", "1:2:3", "1:2:3:4:5:6:7:8:9", "12345::", "1::2::3", "::1.2.3", "::256.1.1.1", "::1%eth0",
                   "::1%25eth0", "v1.a:b")],
    ("a name in brackets", b"GET / HTTP/1.1\r\nHost: [x]\r\n\r\n", 400, "bad_host"),
    ("UTF-8 in the host", "GET / HTTP/1.1\r\nHost: exämple\r\n\r\n".encode(), 400, "bad_host"),
    ("a host in quotes", b"GET / HTTP/1.1\r\nHost: \"x\"\r\n\r\n", 400, "bad_host"),
    # Content-Length
    ("a negative length", post(b"Content-Length: -1\r\n"), 400, "bad_content_length"),
    ("a signed length", post(b"Content-Length: +5\r\n", b"hello"), 400, "bad_content_length"),
    ("a length of letters", post(b"Content-Length: five\r\n", b"hello"), 400, "bad_content_length"),
    ("a length in hexadecimal", post(b"Content-Length: 0x5\r\n", b"hello"), 400, "bad_content_length"),
    ("a length with a point", post(b"Content-Length: 5.0\r\n", b"hello"), 400, "bad_content_length"),
    ("a length with an exponent", post(b"Content-Length: 5e0\r\n", b"hello"), 400, "bad_content_length"),
    ("a length with a blank", post(b"Content-Length: 5 5\r\n", b"hello"), 400, "bad_content_length"),
    ("a length with an underscore", post(b"Content-Length: 1_0\r\n", b"hellohello"), 400, "bad_content_length"),
    ("a list of equal lengths", post(b"Content-Length: 5, 5\r\n", b"hello"), 400, "bad_content_length"),
    ("a list of lengths", post(b"Content-Length: 5, 6\r\n", b"hello"), 400, "bad_content_length"),
    ("an empty length", post(b"Content-Length:\r\n"), 400, "bad_content_length"),
    ("a length with a comma", post(b"Content-Length: 5,\r\n", b"hello"), 400, "bad_content_length"),
    ("equal lengths", post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), 400, "bad_content_length"),
    ("two lengths", post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"), 400, "bad_content_length"),
    ("two lengths of zero", post(b"Content-Length: 0\r\ncontent-length: 0\r\n"), 400, "bad_content_length"),
    ("two lengths of a GET", get(b"/", H + b"Content-Length: 0\r\nContent-Length: 30\r\n"), 400, "bad_content_length"),
    ("a length beyond 63 bits", post(b"Content-Length: 9223372036854775808\r\n"), 400, "bad_content_length"),
    ("a length beyond 64 bits", post(b"Content-Length: 18446744073709551621\r\n", b"hello"), 400,
     "bad_content_length"),
    ("a length of many digits", post(b"Content-Length: " + b"9" * 40 + b"\r\n"), 400, "bad_content_length"),
    ("a length above the limit", post(b"Content-Length: 8193\r\n"), 413, "body_too_large"),
    # Transfer-Encoding
    ("both", post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400, "ambiguous_length"),
    ("both, the other way round", post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), 400,
     "ambiguous_length"),
    ("both, with a length of zero", post(b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400,
     "ambiguous_length"),
    ("both, with a blank before a colon", post(b"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
     400, "bad_header"),
    ("gzip", post(b"Transfer-Encoding: gzip\r\n"), 400, "bad_transfer_encoding"),
    ("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), 501, "unsupported_transfer_encoding"),
    ("gzip, chunked, and a length", post(b"Transfer-Encoding: gzip, chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"), 400,
     "ambiguous_length"),
    ("a length, and gzip, chunked", post(b"Content-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), 400,
     "ambiguous_length"),
    ("gzip, chunked, and chunked again", post(b"Transfer-Encoding: gzip, chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
     400, "bad_transfer_encoding"),
    ("nothing, chunked", post(b"Transfer-Encoding: , chunked\r\n", b"0\r\n\r\n"), 400, "bad_transfer_encoding"),
    ("no coding, chunked", post(b"Transfer-Encoding: a b, chunked\r\n", b"0\r\n\r\n"), 400, "bad_transfer_encoding"),
    ("chunked, gzip", post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n"), 400, "bad_transfer_encoding"),
    ("chunked, identity", post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"), 400,
     "bad_transfer_encoding"),
    ("identity", post(b"Transfer-Encoding: identity\r\n"), 400, "bad_transfer_encoding"),
    ("xchunked", post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), 400, "bad_transfer_encoding"),
    ("chunked with a parameter", post(b"Transfer-Encoding: chunked;a=b\r\n", b"0\r\n\r\n"), 400,
     "bad_transfer_encoding"),
    ("chunked in quotes", post(b"Transfer-Encoding: \"chunked\"\r\n", b"0\r\n\r\n"), 400,
     "bad_transfer_encoding"),
    ("an empty coding", post(b"Transfer-Encoding:\r\n"), 400, "bad_transfer_encoding"),
    ("chunked, chunked", post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"), 400,
     "bad_transfer_encoding"),
    ("chunked with a comma", post(b"Transfer-Encoding: chunked,\r\n", b"0\r\n\r\n"), 400,
     "bad_transfer_encoding"),
    *[(f"chunked beside what some take for blanks: {value}", post(b"Content-Length: 4\r\nTransfer-Encoding:" + value + b"\r\n",
                                                                  b"0\r\n\r\n" + SMUGGLED), 400, "bad_transfer_encoding")
      for value in (b"\xa0chunked", b"\x85chunked", b" chunked\xc2\xa0", b" chunk\xe9d")],
    ("chunked with a vertical tab", post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"), 400, "bad_header"),
    ("two codings", post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400,
     "bad_transfer_encoding"),
    ("chunked and identity in two fields",
     post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n"), 400, "bad_transfer_encoding"),
    ("identity and chunked in two fields",
     post(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 400,
     "bad_transfer_encoding"),
    ("chunked of HTTP/1.0", b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
     "bad_transfer_encoding"),
    ("both of HTTP/1.0",
     b"POST / HTTP/1.0\r\n" + H + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
     "ambiguous_length"),
    # chunks
    ("no size", chunks(b"\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("a size of letters", chunks(b"x\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("a negative size", chunks(b"-5\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("a signed size", chunks(b"+5\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("a size with 0x", chunks(b"0x5\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("a blank before a size", chunks(b" 5\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("a blank behind a size", chunks(b"5 \r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("an underscore in a size", chunks(b"0_5\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("a size beyond 64 bits", chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("a size of many digits", chunks(b"0" * 30 + b"5\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("LF behind a size", chunks(b"5\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("CR behind a size", chunks(b"5\rhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("an extension without a name", chunks(b"5;\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("a blank behind an extension", chunks(b"5;a \r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("two words as an extension", chunks(b"5;a b\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("an extension without a value", chunks(b"5;a=\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("an extension with LF", chunks(b"5;a\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("an extension with CR", chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("an extension with a NUL", chunks(b"5;a\0\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("an open quote in an extension", chunks(b"5;a=\"\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("an extension too long", chunks(b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n"), 400, "bad_chunk"),
    ("LF as the last chunk's end", chunks(b"0\n\n"), 400, "bad_chunk"),
    ("a folded trailer", chunks(b"0\r\n X: y\r\n\r\n"), 400, "bad_chunk"),
    ("a trailer without a name", chunks(b"0\r\n: y\r\n\r\n"), 400, "bad_chunk"),
    ("a trailer without a colon", chunks(b"0\r\nX\r\n\r\n"), 400, "bad_chunk"),
    ("a trailer with a blank before the colon", chunks(b"0\r\nX : y\r\n\r\n"), 400, "bad_chunk"),
    ("a trailer with a NUL", chunks(b"0\r\nX: \0\r\n\r\n"), 400, "bad_chunk"),
    ("a trailer with LF", chunks(b"0\r\nX: y\n\r\n"), 400, "bad_chunk"),
    # expectations, upgrades
    ("an expectation nobody knows", post(b"Expect: 200-maybe\r\nContent-Length: 5\r\n", b"hello"), 417,
     "unsupported_expectation"),
    ("an expectation nobody knows beside another", post(b"Expect: 100-continue, foo\r\nContent-Length: 5\r\n", b"hello"),
     417, "unsupported_expectation"),
    # Who reads one of these as 100-continue waits where the next hop does not, or the other way round.
    *[(f"an expectation that looks like 100-continue: {value}", post(b"Expect: " + value + b"\r\nContent-Length: 41\r\n", SMUGGLED),
       417, "unsupported_expectation")
      for value in (b"y 100-continue", b"100-continue, 100-continue;a", b"100-continue;a", b'"100-continue"', b"100_continue",
                    b"100-continue 100-continue")],
    ("an expectation of a GET that looks like 100-continue", field(b"Expect: y 100-continue") + SMUGGLED, 417, "unsupported_expectation"),
    ("an expectation behind a vertical tab", post(b"Expect: \x0b100-continue\r\nContent-Length: 41\r\n", SMUGGLED), 400, "bad_header"),
    ("an expectation and a NUL", post(b"Expect: 100-continue\0\r\nContent-Length: 41\r\n", SMUGGLED), 400, "bad_header"),
    ("an expectation behind LF", post(b"Expect:\n100-continue\r\nContent-Length: 41\r\n", SMUGGLED), 400, "malformed_request"),
]

# (what, bytes, what the upstream received); all are answered with 200.
PASSED = [
    ("plain", get(b"/a", H + b"X: y\r\n"), wire.head(path="/a", fields=[("x", "y")])),
    ("names that servers may take for ours or for framing", get(b"/a", H + b"X_Forwarded_For: 1.2.3.4\r\n"
     b"X-Forwarded_Proto: https\r\nX_Real_IP: 1\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\nx_request_id: a\r\n"
     b"X_Request_Timeout_Ms: 1\r\nx_forwarded_anything_that_is_longer_than_any_name_of_ours: y\r\nproxy_connection: x\r\n"
     b"User_Name: z\r\n"), wire.head(path="/a", fields=[("user_name", "z")])),
    ("two empty lines first", b"\r\n\r\n" + get(b"/a"), wire.head(path="/a")),
    ("HTTP/1.0 without a host", b"GET /a HTTP/1.0\r\n\r\n", wire.head(path="/a", host="localhost")),
    ("HTTP/1.0", b"GET /a HTTP/1.0\r\nHost: x\r\n\r\n", wire.head(path="/a")),
    ("host in capitals", b"GET / HTTP/1.1\r\nHOST: EXAMPLE.org:8080\r\n\r\n", wire.head(host="example.org:8080")),
    ("an IPv6 host", b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", wire.head(host="[::1]:80")),
    ("an IPv6 host with an IPv4 one", b"GET / HTTP/1.1\r\nHost: [::FFFF:1.2.3.4]\r\n\r\n", wire.head(host="[::ffff:1.2.3.4]")),
    ("an empty port", b"GET / HTTP/1.1\r\nHost: X:\r\n\r\n", wire.head()),
    ("an empty port of IPv6", b"GET / HTTP/1.1\r\nHost: [::1]:\r\n\r\n", wire.head(host="[::1]")),
    ("absolute form", get(b"http://x/a?b"), wire.head(path="/a?b")),
    ("absolute form of another host", get(b"http://other/a"), wire.head(path="/a", host="other")),
    ("absolute form of another port", get(b"http://x:443/a"), wire.head(path="/a", host="x:443")),
    ("absolute form with an empty port", get(b"http://x:/a"), wire.head(path="/a")),
    ("absolute form with the scheme's port", get(b"http://x:80/a"), wire.head(path="/a", host="x:80")),
    ("absolute form in capitals", get(b"HTTP://X/a"), wire.head(path="/a")),
    ("absolute form without a path", get(b"http://x"), wire.head()),
    ("absolute form with a query only", get(b"http://x?q"), wire.head(path="/?q")),
    ("dot segments", get(b"/a/./b/../c"), wire.head(path="/a/c")),
    ("escaped dot segments", get(b"/a/%2e/b/%2E%2e/c"), wire.head(path="/a/c")),
    ("doubled slashes", get(b"//a///b//"), wire.head(path="/a/b/")),
    ("escaped letters", get(b"/%61%7euser%2D"), wire.head(path="/a~user-")),
    ("other escapes in capitals", get(b"/a%3fb%c3%a9"), wire.head(path="/a%3Fb%C3%A9")),
    ("escapes are decoded once", get(b"/%252e%252e/a"), wire.head(path="/%252e%252e/a")),
    ("a dot at the end", get(b"/a/b/.."), wire.head(path="/a/")),
    ("the query is left alone", get(b"/a?b=%2e%2e//../%00x&c=\\"), wire.head(path="/a?b=%2e%2e//../%00x&c=\\")),
    ("an empty query", get(b"/a?"), wire.head(path="/a?")),
    ("values are trimmed", field(b"X:  \t a b \t "), wire.head(fields=[("x", "a b")])),
    ("an empty value", field(b"X:"), wire.head(fields=[("x", "")])),
    ("high bytes in a value", field(b"X: \xc3\xa9\xff"), wire.head(fields=[("x", "\xc3\xa9\xff")])),
    ("a length between blanks and tabs", post(b"Content-Length:\t 5 \t\r\nX:\ty\t\r\n", b"hello"),
     wire.head("POST", fields=[("x", "y"), ("content-length", "5")]) + b"hello"),
    ("chunked between blanks and tabs", post(b"Transfer-Encoding:\t chunked \t \r\n", b"5\r\nhello\r\n0\r\n\r\n"),
     wire.head("POST", fields=[("transfer-encoding", "chunked")]) + b"5\r\nhello\r\n0\r\n\r\n"),
    ("a length of leading zeros", post(b"Content-Length: 0005\r\n", b"hello"),
     wire.head("POST", fields=[("content-length", "5")]) + b"hello"),
    ("chunked in capitals", post(b"Transfer-Encoding: CHUNKED\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
     wire.head("POST", fields=[("transfer-encoding", "chunked")]) + b"5\r\nhello\r\n0\r\n\r\n"),
    ("extensions are taken off", chunks(b"5;a;b=c;d=\"e\\\"f\"\r\nhello\r\n000;x\r\n\r\n"),
     UP_CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"),
    ("blanks around extensions", chunks(b"5 ; a = b\t;c = \"d\" ;e\r\nhello\r\n0\t;x\r\n\r\n"),
     UP_CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"),
    ("trailers of framing are taken off", chunks(b"5\r\nhello\r\n0\r\nContent-Length: 9\r\nHost: y\r\nX: z\r\n"
                                                 b"Transfer-Encoding: gzip\r\nProxy: y\r\n\r\n"),
     UP_CHUNKED + b"5\r\nhello\r\n0\r\nx: z\r\n\r\n"),
    ("other paths than the one that was decided by", get(b"/a", H + b"X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n"
                                                         b"X_Original_URL: /admin\r\nX: y\r\n"),
     wire.head(path="/a", fields=[("x", "y")])),
    ("Proxy, of which CGI makes HTTP_PROXY", get(b"/", H + b"Proxy: http://evil.example\r\nX: y\r\n"),
     wire.head(fields=[("x", "y")])),
    ("as many names of Connection as there may be", get(b"/", H + b"X: a\r\nConnection: close, x" + b", y" * 18 + b"\r\n"),
     wire.head()),
    ("fields of Connection", get(b"/", H + b"X: a\r\nY: b\r\nConnection: close, x\r\n"), wire.head(fields=[("y", "b")])),
    ("seven fields of Connection", get(b"/", H + b"A: 1\r\nC: 3\r\nF: 6\r\nY: b\r\nConnection: close\r\n" +
                                       b"".join(b"Connection: %c\r\n" % name for name in b"abcdef")),
     wire.head(fields=[("y", "b")])),
    ("version 1.2 is read as 1.1", chunks(b"5\r\nhello\r\n0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.2"),
     UP_CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"),
    ("Connection cannot take framing off", post(b"Content-Length: 5\r\nConnection: content-length, host\r\n", b"hello"),
     wire.head("POST", fields=[("content-length", "5")]) + b"hello"),
    ("hop-by-hop fields", get(b"/", H + b"Keep-Alive: 5\r\nProxy-Connection: close\r\nTE: gzip\r\nUpgrade: foo\r\n"),
     wire.head()),
    ("h2c upgrade in the clear is not heard", get(b"/", H + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                                                       b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"), wire.head()),
    ("upgrade without Connection", get(b"/", H + b"Upgrade: websocket\r\n"), wire.head()),
    ("expectations of nothing", post(b"Expect:\r\nExpect: ,\r\nContent-Length: 5\r\n", b"hello"), UP_HELLO),
    ("an expectation twice", post(b"Expect: 100-continue, 100-Continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n",
                                  b"hello"), UP_HELLO),
    ("an expectation of HTTP/1.0", b"POST / HTTP/1.0\r\n" + H + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
     UP_HELLO),
    *[(f"any token is a method: {method}", f"{method} /a HTTP/1.1\r\n".encode() + H + b"\r\n", wire.head(method, "/a"))
      for method in ("BREW", "QUERYX", "M-SEARCH", "VERSION-CONTROL", "SOURCE", "DESCRIBE", "a", "!#$%&'*+-.^_`|~", "M" * 32)],
    ("a method nobody knows with a body", b"BREW /a HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
     wire.head("BREW", "/a", fields=[("transfer-encoding", "chunked")]) + b"5\r\nhello\r\n0\r\n\r\n"),
    ("a query with a body", b"QUERY /a HTTP/1.1\r\n" + H + b"Content-Length: 5\r\n\r\nhello",
     wire.head("QUERY", "/a", fields=[("content-length", "5")]) + b"hello"),
    ("a GET with a body", get(b"/", H + b"Content-Length: 5\r\n") + b"hello",
     wire.head(fields=[("content-length", "5")]) + b"hello"),
]


def refused(site, upstream, data, status, code, tail=SMUGGLED, passed=b""):
    """Answered once, closed, and nothing of it at the upstream, or the head that had `passed` before it went wrong."""
    before = len(upstream.received())
    with wire.connect(site.port) as connection:
        connection.sendall(data + tail)
        answer = read_all(connection)  # to the end of the connection: it is closed
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
    assert b"\r\nconnection: close\r\n" in answer and b"\r\ndate: " in answer
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"] == code
    assert wire.stable(upstream.received()[before:]) in (b"", passed)


@pytest.mark.parametrize("data, status, code", [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused(site, upstream, data, status, code):
    refused(site, upstream, data, status, code)


def test_what_is_refused_of_head_has_no_content(site, upstream):
    """RFC 9110 section 9.3.2, also where the head was not read to its end."""
    before = len(upstream.received())
    for what, data, status, _ in REFUSED:
        if not data.startswith(b"GET /") or what == "HTTP/0.9 with fields":
            continue
        for first in (b"", b"\r\n"):
            with wire.connect(site.port) as connection:
                connection.sendall(first + b"HEAD" + data[3:])
                answer = read_all(connection)
            assert answer.startswith(b"HTTP/1.1 %d " % status) and answer.endswith(b"\r\n\r\n"), (what, answer)
            assert answer.count(b"\r\n\r\n") == 1 and b"\r\ncontent-length: " in answer
    assert upstream.received()[before:] == b""


@pytest.mark.parametrize("data, received", [case[1:] for case in PASSED], ids=[case[0] for case in PASSED])
def test_passed(site, upstream, data, received):
    before = len(upstream.received())
    end = b"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with wire.connect(site.port) as connection:
        connection.sendall(data)
        if b"HTTP/1.0" not in data and b"\r\nConnection: close" not in data:
            connection.sendall(end)
            answers = 2
        else:
            answers = 1
        text = read_all(connection)
    seen = wire.stable(upstream.received()[before:])
    assert text.count(b"HTTP/1.1 200 OK\r\n") == answers, text
    assert seen == received + (wire.head(path="/end") if answers == 2 else b"")


def test_escapes_kept_by_configuration(launch, recorder):
    one = recorder()
    gateway = launch({
        "listeners": lambda fg: [{"name": "plain", "address": f"127.0.0.1:{fg.port}", "kind": "plain"}],
        "limits": {"threads": 1, "path_escapes_kept": ["slash", "nul", "overlong"]},
        "clusters": {"up": {"endpoints": [one.address]}},
        "routes": [{"match": {"prefix": "/secret"}, "respond": {"status": 403}},
                   {"match": {"prefix": "/"}, "to": "cluster:up"}],
    })
    with wire.connect(gateway.port) as connection:
        connection.sendall(get(b"/a%2fb%5c%00/%2e%2e/c%2f..%2fsecret%c0%af", H + b"Connection: close\r\n"))
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    assert wire.stable(one.received()) == wire.head(path="/c%2F..%2Fsecret%C0%AF")


# Bodies that go wrong when their beginning has been passed on: the upstream sees no end of them.
BROKEN_LATER = [
    ("a chunk longer than its size", b"5\r\nhelloX\r\n0\r\n\r\n"),
    ("a chunk with LF behind it", b"5\r\nhello\n0\r\n\r\n"),
    ("a bad second size", b"5\r\nhello\r\nzz\r\n"),
    ("a trailer that is no field", b"5\r\nhello\r\n0\r\nX Y: z\r\n\r\n"),
]


@pytest.mark.parametrize("body", [case[1] for case in BROKEN_LATER], ids=[case[0] for case in BROKEN_LATER])
def test_a_body_that_goes_wrong_never_looks_complete(site, upstream, body):
    before = len(upstream.received())
    with wire.connect(site.port) as connection:
        connection.sendall(CHUNKED + b"\r\n" + body + SMUGGLED)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1
    wait_for(lambda: upstream.received()[before:] == b"" or wire.stable(upstream.received()[before:]) ==
             UP_CHUNKED + b"5\r\nhello\r\n", 10, "the beginning of the body at the upstream")
    assert b"0\r\n\r\n" not in upstream.received()[before:] and b"smuggled" not in upstream.received()


@pytest.mark.parametrize("cut", [1, 2, 3, 7])
def test_the_same_in_pieces(site, upstream, cut):
    """However it is cut, a request is the same request: a sample of both tables, byte by byte."""
    for what, data, status, code in REFUSED[::11]:
        if len(data) > 400:
            continue
        with wire.connect(site.port) as connection:
            for at in range(0, len(data), cut):
                connection.send(data[at:at + cut])
            connection.sendall(SMUGGLED)
            answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 %d " % status), what
        assert code.encode() in answer, what
    assert b"smuggled" not in upstream.received()


@pytest.mark.parametrize("pieces, status", [([b"\r", b"\n\r", b"\n"], 200), ([b"\r", b"\r\n"], 400), ([b"\r\n", b"\n"], 400)])
def test_empty_lines_first_in_pieces(site, pieces, status):
    with wire.connect(site.port) as connection:
        for piece in pieces:
            connection.send(piece)
        connection.sendall(get(b"/a", H + b"Connection: close\r\n"))
        assert read_all(connection).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("text", [b"2001\r\nhello", b"5\r\nhello\r\n1ffc\r\nx", b"100000005\r\nhello"])
def test_a_chunk_that_cannot_fit_is_not_waited_for(site, text):
    with wire.connect(site.port) as connection:
        connection.sendall(chunks(text))
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"body_too_large" in answer


def test_trailers_without_end(site, upstream):
    """They take more than one read, so the request's head may be on its way, for a while yet: this is
    the last test for that. Its end never is."""
    refused(site, upstream, chunks(b"0\r\n" + b"X: y\r\n" * 2000), 431, "header_too_large", passed=UP_CHUNKED)
