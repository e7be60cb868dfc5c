"""A server on loopback that refuses requests as S3, MLflow or a proxy does, by mode."""

import re
import threading
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

HTML = "<!DOCTYPE html><html><head><title>Console</title></head><body>Hello</body></html>"
REGION_HEADER = {"x-amz-bucket-region": "eu-west-1"}


@dataclass(frozen=True)
class Answer:
    """The answer to each request, or to those that ``only`` matches.

    Attributes:
        status: HTTP status.
        body: Text of the body.
        kind: Content type; empty for none.
        headers: More headers.
        only: "conditional" for requests with If-None-Match, "objects" for those of an object.
    """

    status: int
    body: str = ""
    kind: str = "application/xml"
    headers: Mapping[str, str] = field(default_factory=dict)
    only: str = ""


def s3_error(status: int, code: str, message: str = "No.", **more) -> Answer:
    """Returns an error as S3 writes it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status, body, **{"headers": {"x-amz-request-id": "1"}} | more)


def page(status: int, **more) -> Answer:
    """Returns a web page."""
    return Answer(status, HTML, "text/html; charset=utf-8", **more)


def mlflow_error(status: int, code: str, message: str) -> Answer:
    """Returns an error as MLflow writes it."""
    text = f'{{"error_code": "{code}", "message": "{message}"}}'
    return Answer(status, text, "application/json")


@dataclass
class RefusingServer:
    """A small S3 server whose answers are replaced by ``answer`` where that applies."""

    answer: Answer
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    payers: int = 0  # requests with x-amz-request-payer

    def reply(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Returns the answer to one request."""
        self.requests.append(f"{method} {target}")
        self.payers += headers.get("x-amz-request-payer") == "requester"
        path = urlsplit(target).path
        is_object = bool(re.match("/[^/]+/.", path)) and "list-type" not in target
        applies = {
            "": True,
            "conditional": "If-None-Match" in headers,
            "objects": is_object,
            "reads": is_object and method == "GET",
            "unpaid": "x-amz-request-payer" not in headers,
        }[self.answer.only]
        return self.answer if applies else self._s3(method, path, headers, body, is_object)

    def _s3(self, method, path, headers, body, is_object) -> Answer:
        known = {"ETag": '"0"', "x-amz-request-id": "1"}
        known["Last-Modified"] = "Tue, 01 Dec 2026 00:00:00 GMT"
        if not is_object:
            names = "<Name>b</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>"
            return Answer(200, f"<ListBucketResult>{names}</ListBucketResult>", headers=known)
        if method == "PUT":
            if "If-None-Match" in headers and path in self.objects:
                return s3_error(412, "PreconditionFailed")
            self.objects[path] = body
            return Answer(200, headers=known)
        if method == "DELETE":
            self.objects.pop(path, None)
            return Answer(204, headers=known)
        if path not in self.objects:
            return s3_error(404, "NoSuchKey")
        return Answer(200, self.objects[path].decode(), "video/mp4", known)


@contextmanager
def refusing_server(answer: Answer):
    """Starts a server and yields it with its ``endpoint``."""
    server = RefusingServer(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self):
            if self.headers.get("Expect"):
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said = server.reply(self.command, self.path, self.headers, body)
            data = said.body.encode()
            self.send_response(said.status)
            if said.kind:
                self.send_header("Content-Type", said.kind)
            for name, value in said.headers.items():
                self.send_header(name, value)
            if said.status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD" and said.status != 204:
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = _reply  # noqa: N815

        def log_message(self, *_):
            pass

        def handle_expect_100(self):
            return True

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.endpoint = f"http://127.0.0.1:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
