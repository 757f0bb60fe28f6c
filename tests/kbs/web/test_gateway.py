"""Bodies are whole before anything is done for them, bounded in size, time and number; answers wait for the disk."""

from __future__ import annotations

import asyncio
import os
import threading
from types import SimpleNamespace

import msgspec
import pytest

from kbs.app import create_app, create_broker, create_gateway
from kbs.web import bodies
from kbs.web.bodies import MAX_BODY_BYTES
from kbs.web.gateway import FAULT, Gateway, environment


def scope(*headers, method="POST", path="/kbs/v0/auth", client="192.0.2.7:50001", version="1.1"):
    return SimpleNamespace(method=method, path=path, query_string="a=%20b", scheme="https", client=client,
                           server="[2001:db8::1]:8080", http_version=version,
                           headers=SimpleNamespace(items=lambda: list(headers)))


class Exchange:
    """A guest that sends ``pieces``, and then, with ``ends`` False, nothing more."""

    def __init__(self, *pieces, ends=True):
        self.pieces, self.ends, self.answer, self.read = pieces, ends, None, 0

    async def __aiter__(self):
        for piece in self.pieces:
            self.read += len(piece)
            yield piece
        if not self.ends:
            await asyncio.Event().wait()

    async def __call__(self):
        return b"".join([piece async for piece in self])

    def response_bytes(self, status, headers, body):
        self.answer = status, headers, body


def echo(environ, start_response):
    """Answers with the body, or with the id of what is wrong with it."""
    fault = environ.get(FAULT)
    start_response("500 X" if fault else "200 OK", [("X-Thread", threading.current_thread().name)])
    return [fault.id.encode() if fault else environ["wsgi.input"].read()]


def served(request, exchange, **settings):
    door = Gateway(settings.pop("application", echo), settings.pop("threads", 1), **settings)

    async def run():
        door.__rsgi_init__(asyncio.get_running_loop())
        await asyncio.wait_for(door.__rsgi__(request, exchange), 5)

    asyncio.run(run())
    assert door._bodies._held == 0
    return exchange.answer


def told(*arguments, **settings):
    status, _, body = served(*arguments, **settings)
    return status, body


def test_request_is_told_as_wsgi_has_it():
    found = environment(scope(("content-type", "application/json"), ("authorization", "Bearer x"), ("x-two", "1"),
                              ("x-two", "2"), ("cookie", "a=1"), ("cookie", "b=2"), path="/a b/\u00e9"))
    assert {name: found[name] for name in (
        "REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL",
        "CONTENT_TYPE", "HTTP_AUTHORIZATION", "HTTP_X_TWO", "HTTP_COOKIE", "wsgi.url_scheme")} == {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/a b/\xc3\xa9", "QUERY_STRING": "a=%20b", "REMOTE_ADDR": "192.0.2.7",
        "SERVER_NAME": "2001:db8::1", "SERVER_PORT": "8080", "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/json", "HTTP_AUTHORIZATION": "Bearer x", "HTTP_X_TWO": "1,2",
        "HTTP_COOKIE": "a=1; b=2", "wsgi.url_scheme": "https"}
    assert environment(scope(client="[::1]:7"))["REMOTE_ADDR"] == "::1"


@pytest.mark.parametrize("name", ["x_forwarded_for", "content_length", "kbs_fault"])
def test_headers_that_would_pose_as_others_are_left_out(name):
    found = environment(scope((name, "x")))
    assert "x" not in found.values()


def test_headers_cannot_set_what_is_not_a_header():
    assert environment(scope(("remote-addr", "127.0.0.1"), ("wsgi.input", "x")))["REMOTE_ADDR"] == "192.0.2.7"


@pytest.mark.parametrize("request_", [scope(("content-length", "6")), scope(("transfer-encoding", "chunked")),
                                      scope(version="2")])
def test_body_is_whole(request_):
    assert told(request_, Exchange(b"abc", b"def")) == (200, b"abcdef")


def test_request_without_a_body_is_not_waited_for():
    exchange = Exchange(b"abc", ends=False)
    assert told(scope(), exchange) == (200, b"")
    assert exchange.read == 0


@pytest.mark.parametrize("announced", [str(MAX_BODY_BYTES + 1), "9" * 19, "9" * 5000, "-1", "+1", "1_0", "", "\u0665"])
def test_announced_size_beyond_the_bound_is_refused_before_a_byte_is_read(announced):
    exchange = Exchange(b"abc")
    assert told(scope(("content-length", announced)), exchange) == (500, b"request.size")
    assert exchange.read == 0


def test_body_without_a_stated_size_is_cut_at_the_bound(monkeypatch):
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 10)
    exchange = Exchange(b"x" * 6, b"x" * 6, b"x" * 6)
    assert told(scope(("transfer-encoding", "chunked")), exchange) == (500, b"request.size")
    assert exchange.read == 12


@pytest.mark.parametrize("headers", [[("content-length", "6"), ("transfer-encoding", "chunked")],
                                     [("transfer-encoding", "chunked"), ("content-length", "6")]])
def test_size_that_does_not_count_is_not_believed(monkeypatch, headers):
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 10)
    assert told(scope(*headers), Exchange(b"x" * 6, b"x" * 6)) == (500, b"request.size")


@pytest.mark.parametrize("request_", [scope(("content-length", "6")), scope(("transfer-encoding", "chunked"))])
def test_body_that_does_not_come_is_given_up(request_):
    assert told(request_, Exchange(b"abc", ends=False), body_seconds=0.05) == (500, b"request.slow")


@pytest.mark.parametrize("large", [scope(("content-length", "10")), scope(("transfer-encoding", "chunked"))])
def test_large_bodies_together_are_bounded_and_close_the_door_to_large_ones_only(monkeypatch, large):
    monkeypatch.setattr(bodies, "SMALL_BYTES", 5)
    monkeypatch.setattr(bodies, "MAX_HELD_BYTES", 25)
    door = Gateway(echo, 1)

    async def asked(request, *pieces):
        exchange = Exchange(*pieces)
        await door.__rsgi__(request, exchange)
        return exchange.answer[2]

    async def run():
        slow = [asyncio.create_task(door.__rsgi__(large, Exchange(b"x" * 9, ends=False))) for _ in range(2)]
        announced = [asyncio.create_task(door.__rsgi__(large, Exchange(ends=False))) for _ in range(9)]
        await asyncio.sleep(0)
        answers = [await asked(large, b"x" * 7), await asked(large, b"x" * 8),
                   await asked(scope(("content-length", "4")), b"abcd")]
        for task in (*slow, *announced):
            task.cancel()
        await asyncio.gather(*slow, *announced, return_exceptions=True)
        return answers, await asked(large, b"x" * 10)

    assert asyncio.run(run()) == ([b"x" * 7, b"request.busy", b"abcd"], b"x" * 10)


def test_guest_that_hangs_up_leaves_nothing_behind():
    class Gone(Exchange):
        async def __aiter__(self):
            yield b"x" * 1000
            raise ConnectionError

    door, exchange = Gateway(echo, 1), Gone()
    with pytest.raises(ConnectionError):
        asyncio.run(door.__rsgi__(scope(("transfer-encoding", "chunked")), exchange))
    assert door._bodies._held == 0
    assert door._bodies._waiting == {}
    assert exchange.answer is None


@pytest.mark.parametrize(("threads", "name"), [(1, "MainThread"), (2, "kbs_0")])
def test_application_runs_on_the_loop_or_in_the_pool(threads, name):
    _, headers, _ = served(scope(), Exchange(), threads=threads)
    assert headers == [("X-Thread", name)]


class Disk:
    """Where every request makes a commit, which ``sync`` makes durable, or fails to."""

    def __init__(self, error=None):
        self.error, self.written, self.durable, self.syncs = error, 0, 0, 0

    def put_off(self, act):
        self.written += 1
        return act(), self.written

    def is_durable(self, number):
        return self.durable >= number

    def sync(self, number):
        self.syncs += 1
        if self.error:
            raise self.error
        assert number <= self.written
        threading.Event().wait(0.05)
        self.durable = self.written


def test_answers_are_held_back_until_the_disk_has_what_they_rest_on():
    disk = Disk()
    door = Gateway(echo, 1, disk=disk)
    exchanges = [Exchange() for _ in range(5)]

    async def run():
        tasks = [asyncio.create_task(door.__rsgi__(scope(), exchange)) for exchange in exchanges]
        await asyncio.sleep(0.01)
        assert disk.written == 5  # all were worked on while the first waits
        assert [exchange.answer for exchange in exchanges] == [None] * 5
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert [exchange.answer[2] for exchange in exchanges] == [b""] * 5
    assert disk.syncs <= 2


def test_disk_that_fails_takes_the_answer_back():
    assert told(scope(("content-length", "6")), Exchange(b"secret"), disk=Disk(OSError(5, "canary"))) == (
        500, b"storage.disk")


def test_answer_is_closed_when_it_was_read():
    closed = []

    class Pieces(list):
        def close(self):
            closed.append(True)

    def application(environ, start_response):
        start_response("404 Not Found", [("A", "b")])
        return Pieces([b"x", b"y"])

    assert served(scope(), Exchange(), application=application) == (404, [("A", "b")], b"xy")
    assert closed == [True]


def test_application_that_writes_instead_of_returning_is_a_fault_of_ours():
    def application(environ, start_response):
        start_response("200 OK", [])(b"x")

    with pytest.raises(RuntimeError, match="write"):
        served(scope(), Exchange(), application=application)


def test_broker_takes_back_what_the_disk_does_not_hold(world, monkeypatch):
    broker = create_broker(msgspec.structs.replace(world.config, durability="full"), clock=world.clock)
    app, synced = create_app(world.config, broker), []

    def stored(tag):
        request = scope(("authorization", f"Bearer {world.admin_token()}"), ("content-length", "1"),
                        path=f"/kbs/v0/resource/default/key/{tag}")
        return served(request, Exchange(b"x"), application=app, disk=broker.disk)[0]

    def failing(file):
        synced.append(file)
        raise OSError(5, "canary")

    def ready():
        return served(scope(method="GET", path="/readyz"), Exchange(), application=app, disk=broker.disk)[0]

    assert (stored("one"), ready()) == (200, 200)
    monkeypatch.setattr(os, "fdatasync", failing)
    assert stored("two") == 500
    assert len(synced) == 1
    assert ready() == 503
    broker.close()


def test_round_sees_what_another_worker_changed_before_it(world, monkeypatch):
    door, path = create_gateway(world.config, world.broker), "/kbs/v0/attestation-policy/default_cpu"
    other = world.restart()

    async def shown(count):
        exchanges = [Exchange() for _ in range(count)]
        asked = scope(("authorization", f"Bearer {world.admin_token()}"), method="GET", path=path)
        asked.query_string = ""
        await asyncio.gather(*(door.__rsgi__(asked, exchange) for exchange in exchanges))
        return {exchange.answer[2] for exchange in exchanges}

    async def run():
        answers = []
        for number in range(3):
            assert other.set_policy(f"package policy\n# {number}\n", "default_cpu").status_code == 200
            answers.append(await shown(4))
        return answers

    asked, storage = [], world.broker.one_moment.__self__._inner
    generations = storage.generations
    monkeypatch.setattr(storage, "generations", lambda: asked.append(1) or generations())
    found = asyncio.run(run())
    assert [len(answers) for answers in found] == [1, 1, 1]
    assert [f"# {number}" in answers.pop().decode() for number, answers in enumerate(found)] == [True] * 3
    assert len(asked) == 3
