"""A small web server: the standard library and nothing else."""

import html
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def greeting(name: str) -> str:
    return f"Hello, {name}!"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path == "/healthz":
            return self.answer("ok\n", "text/plain")
        if address.path != "/":
            return self.answer("There is no such page.\n", "text/plain", status=404)
        name = parse_qs(address.query).get("name", ["world"])[0]
        self.answer(page(greeting(name)), "text/html")

    def answer(self, text: str, kind: str, status: int = 200) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def page(text: str) -> str:
    return f"""<!doctype html>
<html lang="en">
  <meta charset="utf-8">
  <title>Hello</title>
  <style>body {{ font: 1.2rem/1.5 system-ui; margin: 4rem auto; max-width: 32rem }}</style>
  <h1>{html.escape(text)}</h1>
  <form><input name="name" placeholder="Your name" autofocus> <button>Greet</button></form>
</html>
"""


def main() -> None:
    port = int(os.environ.get("PORT", "8000"))
    server = ThreadingHTTPServer(("", port), Handler)
    print(f"Listening on http://localhost:{port}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("Stopped")


if __name__ == "__main__":
    main()
