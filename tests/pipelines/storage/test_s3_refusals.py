"""Servers that say no, and what answers in place of S3: one line, the right mend, no retries."""

import time

import pytest

from jobs.cli import main
from pipelines.storage.open import open_storage
from pipelines.storage.s3_client import connect
from tests.conftest import ROOT
from tests.helpers.refusing_server import (
    REGION_HEADER,
    Answer,
    page,
    refusing_server,
    s3_error,
)
from tests.helpers.s3 import S3Server
from vis_core.errors import ConfigError, MissingObjectError, StorageError

NO_CONDITION = "A header you provided implies functionality that is not implemented."
WRONG_REGION = "the region 'us-east-1' is wrong; expecting 'eu-west-1'"
TO_TLS = {"Location": "https://s3.example.org/arch?list-type=2"}
OTHER_XML = "<?xml version='1.0'?><feed><title>news</title></feed>"
PLAIN_PORT = "Client sent an HTTP request to an HTTPS server."
# mode -> (answer, exit code, words of the line)
EVERYWHERE = {
    "nginx redirects": (page(301, headers=TO_TLS), 2, ["https://s3.example.org", "AWS_ENDPOINT"]),
    "redirect for now": (page(307, headers=TO_TLS), 2, ["https://s3.example.org", "AWS_ENDPOINT"]),
    "another host": (page(308, headers={"Location": "/x"}), 2, ["redirects", "AWS_ENDPOINT"]),
    "no region": (s3_error(301, "PermanentRedirect"), 2, ["redirects", "AWS_DEFAULT_REGION"]),
    "a region": (
        s3_error(301, "PermanentRedirect", headers=REGION_HEADER), 2, ["AWS_DEFAULT_REGION"]
    ),
    "asks for a password": (page(407), 2, ["proxy", "NO_PROXY"]),
}  # fmt: skip
# as above, for answers that HEAD does not have: it has no body
WITH_A_BODY = {
    "a console": (page(200), 2, ["text/html", "not S3", "console"]),
    "no such page": (page(404), 2, ["text/html", "not S3", "AWS_ENDPOINT_URL"]),
    "a firewall": (page(403), 2, ["text/html", "not S3"]),
    "untyped page": (Answer(200, page(200).body, ""), 2, ["not S3"]),
    "an api": (Answer(404, '{"detail": "Not Found"}', "application/json"), 2, ["not S3"]),
    "a tls port": (Answer(400, PLAIN_PORT, "text/plain; charset=utf-8"), 2, ["not S3"]),
    "no bucket": (s3_error(404, "NoSuchBucket"), 2, ["NoSuchBucket", "create the bucket or corr"]),
    "another region": (
        s3_error(400, "IllegalLocationConstraintException"), 2, ["AWS_DEFAULT_REGION"]
    ),
    "signed for another region": (
        s3_error(400, "AuthorizationHeaderMalformed", WRONG_REGION), 2,
        ["eu-west-1", "AWS_DEFAULT_REGION"],
    ),
    "denied": (s3_error(403, "AccessDenied"), 4, ["credentials", "AWS_REQUEST_PAYER=requester"]),
    "unknown key": (s3_error(403, "InvalidAccessKeyId"), 4, ["credentials"]),
    "wrong secret": (s3_error(403, "SignatureDoesNotMatch"), 4, ["credentials"]),
    "wrong clock": (s3_error(403, "RequestTimeTooSkewed"), 2, ["clock of this machine"]),
    "not allowed": (s3_error(405, "MethodNotAllowed"), 2, ["MethodNotAllowed"]),
    "not done": (s3_error(501, "NotImplemented"), 2, ["NotImplemented"]),
}  # fmt: skip
LISTINGS = {
    "another document": (Answer(200, OTHER_XML), 2, ["no S3 listing", "AWS_ENDPOINT_URL"]),
    "nothing": (Answer(200), 2, ["no S3 listing", "AWS_ENDPOINT_URL"]),
}
OBJECTS = {
    "in an archive": (s3_error(403, "InvalidObjectState"), 2, ["restore-object"]),
    "no ETag": (Answer(200, "x", "video/mp4"), 2, ["not S3"]),
}
CONDITIONS = {
    "501": s3_error(501, "NotImplemented", NO_CONDITION),
    "400": s3_error(400, "InvalidArgument", NO_CONDITION),
    "405": s3_error(405, "MethodNotAllowed"),
    "a proxy that takes it off": s3_error(403, "SignatureDoesNotMatch"),
}
VERBS = {
    "list": lambda storage: list(storage.list()),
    "check": lambda storage: storage.check_conditional_writes(),
    "write": lambda storage: storage.write_once("k", b"x"),
    "replace": lambda storage: storage.replace("k", b"x"),
    "delete": lambda storage: storage.delete("k"),
    "read": lambda storage: storage.read("k"),
    "stat": lambda storage: storage.stat("k"),
}
CASES = [
    *((EVERYWHERE[mode], verb, f"{mode}, {verb}") for mode in EVERYWHERE for verb in VERBS),
    *((WITH_A_BODY[mode], verb, f"{mode}, {verb}") for mode in WITH_A_BODY
      for verb in VERBS if verb != "stat" and (mode, verb) != ("a console", "delete")),
    *((LISTINGS[mode], "list", f"{mode}, list") for mode in LISTINGS),
    *((OBJECTS[mode], "read", f"{mode}, read") for mode in OBJECTS),
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Makes a retry an error, since each takes seconds."""

    def sleep(seconds):
        assert seconds == 0, "a refusal was retried"

    monkeypatch.setattr("pipelines.storage.s3_client.time.sleep", sleep)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_REQUEST_PAYER", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def one_server():
    """Starts one server for all modes, since a client for each would take seconds."""
    with refusing_server(page(200)) as server:
        yield server


def opened(endpoint, monkeypatch):
    for name, value in S3Server(endpoint, "AKCANARY", "CANARY").environment().items():
        monkeypatch.setenv(name, value)
    return open_storage("s3://arch/out")


def check_line(error, code, words):
    line = str(error)
    assert "\n" not in line and "CANARY" not in line
    assert error.exit_code == code, line
    for word in words:
        assert word in line, line


@pytest.mark.parametrize(("case", "verb"), [pytest.param(c, v, id=name) for c, v, name in CASES])
def test_a_refusal_is_one_line_at_once(case, verb, one_server, monkeypatch):
    one_server.answer, code, words = case
    one_server.requests.clear()
    with pytest.raises(StorageError) as caught:
        VERBS[verb](opened(one_server.endpoint, monkeypatch))
    check_line(caught.value, code, words)
    assert len(one_server.requests) <= 4 and not one_server.objects


@pytest.mark.parametrize("mode", CONDITIONS)
def test_a_server_without_conditional_writes_is_named(mode, monkeypatch):
    said = Answer(CONDITIONS[mode].status, CONDITIONS[mode].body, only="conditional")
    with refusing_server(said) as server:
        with pytest.raises(StorageError) as caught:
            opened(server.endpoint, monkeypatch).check_conditional_writes()
        check_line(caught.value, 2, ["does not support If-None-Match", "write to a folder"])
        assert not server.objects, "the probe is removed"


def test_a_gateway_that_answers_for_a_server_that_restarts_is_an_outage(monkeypatch):
    monkeypatch.setattr("pipelines.storage.s3_client.time.sleep", lambda _: None)
    with refusing_server(page(502)) as server:
        with pytest.raises(StorageError) as caught:
            list(opened(server.endpoint, monkeypatch).list())
        check_line(caught.value, 4, ["502", "12 attempts", "wait until the server answers"])


def test_a_closed_port_is_an_outage_and_no_matter_of_credentials(monkeypatch):
    monkeypatch.setattr("pipelines.storage.s3_client.time.sleep", lambda _: None)
    with refusing_server(page(200)) as server:
        endpoint = server.endpoint
    with pytest.raises(StorageError) as caught:
        list(opened(endpoint, monkeypatch).list())
    check_line(caught.value, 4, [endpoint, "12 attempts", "wait until the server answers"])


def test_tls_on_a_plain_port_is_said(monkeypatch):
    with refusing_server(page(200)) as server:
        storage = opened(server.endpoint.replace("http:", "https:"), monkeypatch)
        with pytest.raises(StorageError) as caught:
            list(storage.list())
        check_line(caught.value, 2, ["does not speak TLS", "http://"])


def test_a_bucket_in_the_endpoint_is_said(monkeypatch):
    with refusing_server(s3_error(404, "NoSuchKey")) as server:
        storage = opened(f"{server.endpoint}/arch", monkeypatch)
        with pytest.raises(StorageError) as caught:
            list(storage.list())
        check_line(caught.value, 2, ["take /arch off AWS_ENDPOINT_URL"])
        with pytest.raises(MissingObjectError):
            storage.read("k")


@pytest.mark.parametrize("blanks", ["{} ", " {}", "{}\n", "{}\t"])
def test_blanks_around_an_endpoint_do_no_harm(blanks, monkeypatch):
    with refusing_server(Answer(200, only="unpaid")) as server:
        storage = opened(blanks.format(server.endpoint), monkeypatch)
        assert storage.endpoint == server.endpoint


@pytest.mark.parametrize("endpoint", ["http://a b", "http://host:99999", "http://host:x", " "])
def test_an_endpoint_that_is_none_is_said(endpoint, monkeypatch):
    with pytest.raises((ConfigError, StorageError), match="AWS_ENDPOINT_URL") as caught:
        list(opened(endpoint, monkeypatch).list())
    assert caught.value.exit_code == 2


def test_a_reader_who_pays_gets_the_object(monkeypatch):
    denied = s3_error(403, "AccessDenied", only="unpaid")
    with refusing_server(denied) as server:
        server.objects["/arch/out/k"] = b"x"
        with pytest.raises(StorageError, match="AWS_REQUEST_PAYER=requester"):
            opened(server.endpoint, monkeypatch).read("k")
        monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
        connect.cache_clear()
        assert opened(server.endpoint, monkeypatch).read("k") == b"x"


@pytest.mark.parametrize("mode", ["nginx redirects", "a console", "no bucket", "another region"])
def test_a_command_says_it_in_one_line(mode, monkeypatch, capsys, tmp_path):
    answer, code, words = (EVERYWHERE | WITH_A_BODY)[mode]
    model = str(ROOT / "vis_core" / "weights" / "tiny")
    started = time.perf_counter()
    with refusing_server(answer) as server:
        opened(server.endpoint, monkeypatch)
        out = str(tmp_path / "out")
        assert main(["annotate", "s3://arch/x", "--model", model, "--out", out, "--plan"]) == code
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(word in error for word in words), error
    assert time.perf_counter() - started < 20
