# What a developer might serve: tells what it was asked, streams, keeps a WebSocket.
import base64, hashlib, http.server, json, struct, threading

GO, ARRIVED = threading.Event(), threading.Event()


class Program(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def whole(self, body, kind="application/json", status=200, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def told(self, **more):
        seen = {"method": self.command, "path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}}
        return json.dumps(seen | more).encode()

    def piece(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            return self.socket()
        if self.path == "/slow":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.piece(b"first ")
            GO.wait(20)
            self.piece(b"second")
            return self.piece(b"")
        if self.path == "/go":
            GO.set()
            return self.whole(b"gone")
        if self.path == "/arrived":
            return self.whole(b"yes" if ARRIVED.wait(20) else b"no", "text/plain")
        if self.path == "/cookies":
            lines = ["mine=1; Path=/; Domain=localhost", "reeve_refresh=stolen; Path=/", "reeve_preview=forged"]
            headers = [("Set-Cookie", line) for line in lines]
            headers += [("Clear-Site-Data", '"*"'), ("Strict-Transport-Security", "max-age=1"), ("X-Frame-Options", "DENY")]
            return self.whole(b"{}", headers=headers)
        if self.path == "/large":
            return self.whole(b"x" * (8 << 20), "application/octet-stream")
        if self.path == "/away":
            return self.whole(b"", status=302, headers=[("Location", "/elsewhere")])
        self.whole(self.told())

    do_HEAD = do_DELETE = do_GET

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
                ARRIVED.set()
            self.rfile.readline()
        else:
            body = self.rfile.read(length)
        self.whole(self.told(body=body.decode()))

    def socket(self):
        accept = hashlib.sha1((self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode())
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accept.digest()).decode())
        self.end_headers()
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            size = head[1] & 127
            if size == 126:
                size = struct.unpack(">H", self.rfile.read(2))[0]
            mask, data = self.rfile.read(4), self.rfile.read(size)
            data = bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))
            if head[0] & 15 == 8:
                self.close_connection = True
                return self.wfile.write(bytes([0x88, len(data)]) + data)
            answer = b"heard " + data
            self.wfile.write(bytes([0x81, len(answer)]) + answer)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Program)
print(server.server_address[1], flush=True)
server.serve_forever()
