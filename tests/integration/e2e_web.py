"""A web page must not reach a server on loopback behind its visitor's back: with the headers browsers send, and, where chromium is
installed, with a real browser."""

import functools
import http.server
import os
import shutil
import subprocess
import threading
import urllib.parse

import harness
import vectord_pb2 as pb
from harness import Skip, equal
from server import Server, TempDir, wait_for


def fill(server):
    with server.nng() as client:
        client.call(pb.CreateIndexRequest(name="t", dimension=2))
        client.call(pb.AddItemsRequest(name="t", items=[pb.Item(id="mine", vector=[1, 0])]))


def untouched(server):
    with server.nng() as client:
        equal(list(client.call(pb.ListIndexesRequest()).names), ["t"])
        equal(client.call(pb.GetIndexRequest(name="t")).length, 1)
        equal([h.id for h in client.call(pb.SearchRequest(name="t", vector=[1, 0])).results], ["mine"])


ADD = '{"items":[{"id":"evil","vector":[1,0]}]}'


def test_pages_of_other_origins_change_and_read_nothing():
    with TempDir() as data, Server(data) as server, server.http() as http:
        fill(server)
        origins = ["http://evil.example", "https://evil.example", "null", f"http://127.0.0.1:{server.port + 1}", "http://localhost",
                   f"http://localhost.evil.example:{server.port}", "file://", ""]
        for origin in origins:
            for method, path, body in [
                ("POST", "/vectors/index/t/add", ADD),
                ("POST", "/vectors/index", '{"name":"evil","dimension":2}'),
                ("DELETE", "/vectors/index/t", None),
                ("GET", "/vectors/index", None),
                ("POST", "/v1/vectors/index/t/search", '{"vector":[1,0]}'),
                ("GET", "/metrics", None),
            ]:
                # "simple" content types need no preflight: this is what fetch(..., {mode: "no-cors"}) sends
                answer = http.send(method, path, body, {"Origin": origin, "Content-Type": "text/plain;charset=UTF-8"})
                equal(answer.status, 403, f"{origin!r} {method} {path}")
                assert "access-control-allow-origin" not in answer.headers, answer.headers
            answer = http.send("OPTIONS", "/vectors/index/t", None, {"Origin": origin, "Access-Control-Request-Method": "DELETE"})
            equal(answer.status, 403, f"preflight from {origin!r}")
        untouched(server)


def test_names_that_were_pointed_at_loopback_reach_nothing():
    """DNS rebinding: the page and its target are the same origin, only the Host tells."""
    with TempDir() as data, Server(data) as server, server.http() as http:
        fill(server)
        for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0", "[::2]"):
            for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
                equal(http.send("DELETE", "/vectors/index/t", None, headers).status, 421, f"{headers}")
                equal(http.send("POST", "/vectors/index/t/add", ADD, headers).status, 421, f"{headers}")
                equal(http.send("GET", "/vectors/index", None, headers).status, 421, f"{headers}")
        for host in (f"localhost:{server.port}", "LOCALHOST", "127.0.0.1", f"[::1]:{server.port}", "localhost."):
            answer = http.send("GET", "/vectors/index", None, {"Host": host})
            assert answer.status in (200, 421), (host, answer.status)
            if host != "localhost.":
                equal(answer.status, 200, host)
        untouched(server)


def test_origins_that_are_configured_may_call():
    with TempDir() as data, Server(data, args=["--gateway-cors-origins=https://app.example,http://localhost:8000"]) as server:
        fill(server)
        with server.http() as http:
            for origin in ("https://app.example", "http://localhost:8000"):
                answer = http.send("OPTIONS", "/vectors/index/t/add", None, {"Origin": origin, "Access-Control-Request-Method": "POST"})
                equal((answer.status, answer.headers["access-control-allow-origin"]), (204, origin))
                answer = http.send("POST", "/vectors/index/t/search", '{"vector":[1,0]}', {"Origin": origin})
                equal((answer.status, answer.headers["access-control-allow-origin"]), (200, origin))
                equal(answer.headers["vary"], "Origin")
            equal(http.send("GET", "/vectors/index", None, {"Origin": "http://app.example"}).status, 403)
            equal(http.send("GET", "/vectors/index", None, {"Origin": "https://app.example.evil.example"}).status, 403)
            same = f"http://127.0.0.1:{server.port}"
            equal(http.send("GET", "/vectors/index", None, {"Origin": same}).status, 200)
        untouched(server)


PAGE = """<!doctype html><title>page</title><script>
async function tell(what) { await fetch("/told?" + encodeURIComponent(what)); }
async function attempt(label, call) {
  try { const r = await call(); await tell(label + ": " + (r.type === "opaque" ? "opaque" : r.status + " " + (await r.text()).trim())); }
  catch (e) { await tell(label + ": blocked"); }
}
(async () => {
  const t = "http://127.0.0.1:PORT/vectors/index";
  const add = '{"items":[{"id":"page","vector":[0,1]}]}';
  await attempt("simple add", () => fetch(t + "/t/add", {method: "POST", mode: "no-cors", body: add}));
  await attempt("simple create", () => fetch(t, {method: "POST", mode: "no-cors", body: '{"name":"page","dimension":2}'}));
  await attempt("add", () => fetch(t + "/t/add", {method: "POST", headers: {"Content-Type": "application/json"}, body: add}));
  await attempt("read", () => fetch(t));
  await attempt("delete", () => fetch(t + "/t", {method: "DELETE"}));
  await tell("done");
})();
</script>"""


class Page(http.server.BaseHTTPRequestHandler):
    def __init__(self, page, told, *rest):
        self.page, self.told = page, told
        super().__init__(*rest)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/told":
            self.told.append(urllib.parse.unquote(url.query))
        body = self.page.encode() if url.path == "/" else b""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Site:
    """A web site on a port of its own that serves one page and hears what the page tells."""

    def __enter__(self):
        self.told = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Page, "", self.told))
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def show(self, page):
        self.server.RequestHandlerClass = functools.partial(Page, page, self.told)

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def browse(site, page):
    """Opens the page in chromium and returns what it told."""
    browser = shutil.which("chromium")
    if not browser:
        raise Skip("chromium is not installed")
    site.show(page)
    with TempDir() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"]
        process = subprocess.Popen(
            [browser, *flags, f"--user-data-dir={profile}", "--remote-debugging-port=0", site.origin + "/"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
        )
        try:
            wait_for(lambda: "done" in site.told, 60, "the page has run")
        finally:
            process.terminate()
            process.wait(20)
    return dict(line.split(": ", 1) for line in site.told if ": " in line)


def test_a_real_browser_is_kept_out():
    with Site() as site, TempDir() as data, Server(data) as server:
        fill(server)
        told = browse(site, PAGE.replace("PORT", str(server.port)))
        print(told)
        equal(told, {"simple add": "opaque", "simple create": "opaque", "add": "blocked", "read": "blocked", "delete": "blocked"})
        untouched(server)


def test_a_real_browser_of_a_configured_origin_may():
    with Site() as site, TempDir() as data, Server(data, args=[f"--gateway-cors-origins={site.origin}"]) as server:
        fill(server)
        told = browse(site, PAGE.replace("PORT", str(server.port)))
        print(told)
        equal(told["add"], '200 {"added":1,"length":2}')
        equal(told["read"], '200 {"names":["page","t"],"count":2}')
        equal(told["delete"], "204 ")
        with server.nng() as client:
            equal(list(client.call(pb.ListIndexesRequest()).names), ["page"])


if __name__ == "__main__":
    harness.main(globals())
