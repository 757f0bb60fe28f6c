"""What became ready together is answered together, path by path; one that fails or is gone disturbs nobody."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, nullcontext

import pytest

from kbs.web.rounds import Rounds


def asked(*paths):
    return [{"PATH_INFO": path, "number": number} for number, path in enumerate(paths)]


def test_each_path_is_answered_in_the_order_of_its_requests():
    done = []

    async def run():
        rounds = Rounds(lambda environ: done.append(environ["number"]) or environ["number"], nullcontext)
        return await asyncio.gather(*map(rounds.answered, asked("/b", "/a", "/b", "/a")))

    assert asyncio.run(run()) == [0, 1, 2, 3]
    assert done == [1, 3, 0, 2]


def test_what_comes_during_a_round_makes_the_next_and_answers_leave_after_it():
    told = []

    @contextmanager
    def around():
        told.append("begins")
        yield
        told.append("ends")

    async def run():
        late = []

        def answer(environ):
            told.append(environ["PATH_INFO"])
            if environ["PATH_INFO"] == "/z":
                late.append(rounds.answered({"PATH_INFO": "/a"}))

        rounds = Rounds(answer, around)
        first = rounds.answered({"PATH_INFO": "/z"})
        first.add_done_callback(lambda _: told.append("left"))
        await first
        await late[0]

    asyncio.run(run())
    assert told.index("left") > told.index("ends")
    assert [each for each in told if each != "left"] == ["begins", "/z", "ends", "begins", "/a", "ends"]


def test_request_that_fails_is_its_own_fault():
    def answer(environ):
        if environ["number"] == 1:
            raise ValueError("canary")
        return environ["number"]

    async def run():
        rounds = Rounds(answer, nullcontext)
        return await asyncio.gather(*map(rounds.answered, asked("/", "/", "/")), return_exceptions=True)

    first, second, third = asyncio.run(run())
    assert (first, third) == (0, 2)
    with pytest.raises(ValueError, match="canary"):
        raise second


def test_nothing_is_done_for_whoever_is_gone():
    done = []

    async def run():
        rounds = Rounds(lambda environ: done.append(environ["number"]), nullcontext)
        gone, stays = map(rounds.answered, asked("/", "/"))
        gone.cancel()
        await stays

    asyncio.run(run())
    assert done == [1]


@pytest.mark.parametrize("early", [True, False])
def test_nobody_waits_for_a_round_that_cannot_be_held(early):
    told = []

    @contextmanager
    def around():
        if early:
            raise ValueError("canary")
        yield
        raise ValueError("canary")

    async def run():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(str(context["exception"])))
        rounds = Rounds(lambda environ: environ["number"], around)
        coming = asyncio.gather(*map(rounds.answered, asked("/", "/")), return_exceptions=True)
        return [str(found) for found in await asyncio.wait_for(coming, 5)]

    assert asyncio.run(run()) == (["canary", "canary"] if early else ["0", "1"])
    assert told == ["canary"]
