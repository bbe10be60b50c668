"""floodgate, nginx, HAProxy and h2o with one worker thread each, set up for the same work."""
import json
import os
import subprocess

from . import machine

NAMES = ("floodgate", "nginx", "haproxy", "h2o")
FILES = {"1k": 1024, "64k": 65536}


def upstream_config(folder, port):
    (folder / "www").mkdir()
    for name, size in FILES.items():
        (folder / "www" / name).write_bytes(b"x" * size)
    return f"""
worker_processes 1; daemon off; pid {folder}/upstream.pid; error_log {folder}/upstream.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; open_file_cache max=16;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {folder}/www; default_type application/octet-stream;
           add_header Cache-Control "public, max-age=3600"; }}
}}
"""


def nginx_config(folder, port, upstream):
    return f"""
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; open_file_cache max=16;
  client_body_temp_path {folder}/n1; proxy_temp_path {folder}/n2; fastcgi_temp_path {folder}/n3;
  uwsgi_temp_path {folder}/n4; scgi_temp_path {folder}/n5;
  proxy_cache_path {folder}/nginx-cache keys_zone=one:10m;
  limit_req_zone $server_name zone=all:1m rate=1r/m; limit_req_status 429; limit_req_log_level info;
  upstream app {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} ssl http2; ssl_certificate {folder}/dev.crt; ssl_certificate_key {folder}/dev.key;
    ssl_protocols TLSv1.2 TLSv1.3;  # as the others; this version of nginx would leave 1.3 out
    proxy_http_version 1.1; proxy_set_header Connection "";
    location / {{ proxy_pass http://app; }}
    location /cached/ {{ proxy_pass http://app/; proxy_cache one; proxy_cache_valid 200 1h; }}
    location /limited/ {{ proxy_pass http://app/; limit_req zone=all; }}
  }}
}}
"""


def haproxy_config(folder, port, upstream):
    return f"""
global
  nbthread 1
  maxconn 8192
  tune.bufsize 131072
defaults
  mode http
  timeout client 600s
  timeout server 600s
  timeout connect 5s
cache one
  total-max-size 16
  max-object-size 1000000
  max-age 3600
frontend public
  bind 127.0.0.1:{port} ssl crt {folder}/dev.pem alpn h2,http/1.1
  stick-table type string size 16 expire 1h store http_req_rate(1h)
  http-request track-sc0 str(all) if {{ path_beg /limited/ }}
  http-request deny deny_status 429 if {{ path_beg /limited/ }} {{ sc_http_req_rate(0) gt 1 }}
  use_backend cached if {{ path_beg /cached/ }}
  default_backend app
backend app
  http-reuse always
  server one 127.0.0.1:{upstream}
backend cached
  http-reuse always
  http-request cache-use one
  http-response cache-store one
  http-request set-path %[path,regsub(^/cached,)]
  server one 127.0.0.1:{upstream}
"""


def h2o_config(folder, port, upstream):
    """It has no cache of proxied answers: what it has in memory is a file."""
    return f"""
num-threads: 1
max-connections: 8192
http2-idle-timeout: 600
http2-max-concurrent-requests-per-connection: 256
listen:
  host: 127.0.0.1
  port: {port}
  ssl: {{certificate-file: {folder}/dev.crt, key-file: {folder}/dev.key, ocsp-update-interval: 0}}
hosts:
  default:
    paths:
      /: {{proxy.reverse.url: "http://127.0.0.1:{upstream}/", proxy.timeout.keepalive: 600000}}
      /cached: {{file.dir: {folder}/www}}
"""


def floodgate_config(folder, port, upstream):
    return json.dumps({
        "listeners": [{"address": f"127.0.0.1:{port}", "certificate": f"{folder}/dev.crt",
                       "private_key": f"{folder}/dev.key"}],
        "admin": {"address": f"127.0.0.1:{machine.free_port()}"},
        "identity": {"jwt": {"secret_file": f"{folder}/jwt.key"}},
        "limits": {"threads": 1, "requests_per_connection_max": 1000000000, "idle_timeout": "600s",
                   "connections_max": 8192, "connections_per_ip_max": 8192},
        "policies": {"rate_limits": {"all": {"key": "route", "rate": "1/h", "burst": 1}}},
        "clusters": {"app": {"endpoints": [f"127.0.0.1:{upstream}"], "idle_timeout": "600s",
                             "max_idle_connections": 256,
                             "concurrency": {"kind": "fixed", "limit": 256}}},
        "routes": [{"match": {"prefix": "/limited/"}, "to": "cluster:app", "rate_limits": ["all"]},
                   {"match": {"prefix": "/cached/"}, "to": "cluster:app", "strip_prefix": "/cached", "cache": True},
                   {"match": {"prefix": "/"}, "to": "cluster:app"}]})


class Site:
    """One upstream and the servers before it, each on a port of its own, pinned to one core."""

    def __init__(self, folder, processes, binary, names=NAMES):
        self.folder, self.processes = folder, processes
        upstream = machine.free_port()
        machine.make_certificate(folder)
        (folder / "upstream.conf").write_text(upstream_config(folder, upstream))
        self.upstream = self._start("upstream", 1, upstream, ["nginx", "-p", str(folder), "-c",
                                    str(folder / "upstream.conf"), "-e", str(folder / "upstream.log")])
        self.ports = {name: machine.free_port() for name in names}
        commands = {
            "floodgate": (floodgate_config, "floodgate.yaml", [binary, "serve", "-c"]),
            "nginx": (nginx_config, "nginx.conf", ["nginx", "-p", str(folder), "-e", str(folder / "nginx.log"), "-c"]),
            "haproxy": (haproxy_config, "haproxy.cfg", ["haproxy", "-db", "-f"]),
            "h2o": (h2o_config, "h2o.conf", ["h2o", "-c"]),
        }
        self.servers = {}
        for name in names:
            make, file, command = commands[name]
            (folder / file).write_text(make(folder, self.ports[name], upstream))
            self.servers[name] = self._start(name, 0, self.ports[name], [*command, str(folder / file)])

    def _start(self, name, core, port, command):
        process = machine.start(self.processes, self.folder, name, machine.pinned(core, command))
        machine.wait_for_port(process, port, self.folder / f"{name}.out")
        return process

    def pid(self, name):
        return self.servers[name].pid

    def url(self, name, path):
        return f"https://127.0.0.1:{self.ports[name]}{path}"


def versions(binary):
    return [[binary, "--version"], ["nginx", "-v"], ["haproxy", "-v"], ["h2o", "--version"],
            ["h2load", "--version"], ["openssl", "version"]]


def load(arguments):
    """h2load on the core that no server has."""
    return subprocess.run(machine.pinned(-1, ["h2load", *arguments]), capture_output=True, text=True, check=False)


def environment(name, default):
    return int(os.environ.get(name, default))
