"""A proxy between a client and a server that breaks answers as a plan says."""

import http.client
import http.server
import threading
import time


class Proxy:
    """Forwards requests over HTTP.

    Args:
        host, port: of the server.
        plan: function of the number of a request, from 0 on, and its method; returns the fault:
            None, "busy" (503), "hang", "cut" (the connection ends in the middle of an answer),
            "short" (half of an answer that says it is whole), "trickle", "down" (no answer).
    Attributes:
        url: where it listens. faults: list of those that it made.
    """

    def __init__(self, host, port, plan, hang_seconds=3.0):
        proxy, lock, count = self, threading.Lock(), iter(range(10**9))
        self.faults, self.plan = [], plan

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with lock:
                    fault = proxy.plan(next(count), self.command)
                if fault:
                    proxy.faults.append(fault)
                if fault == "down":
                    self.close_connection = True
                    return
                if fault == "hang":
                    time.sleep(hang_seconds)
                if fault == "busy":
                    self.send_response(503)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                server = http.client.HTTPConnection(host, port)
                server.request(self.command, self.path, body, dict(self.headers))
                answer = server.getresponse()
                self.answer(answer, answer.read(), fault)

            def answer(self, answer, data, fault):
                size = answer.headers.get("Content-Length", str(len(data)))
                if fault == "short" and self.command == "GET":
                    data = data[: len(data) // 2]
                    size = str(len(data))
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", size)
                self.end_headers()
                if fault == "cut":
                    self.wfile.write(data[: len(data) // 2])
                    self.close_connection = True
                    return
                step = 20_000 if fault == "trickle" else max(1, len(data))
                for at in range(0, len(data), step):
                    self.wfile.write(data[at : at + step])
                    time.sleep(0.02 if fault == "trickle" else 0)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
