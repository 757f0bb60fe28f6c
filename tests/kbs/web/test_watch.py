"""Every request is counted and logged, at once or after its round."""

from __future__ import annotations

import logging

import pytest

from kbs import metrics


def lines(caplog):
    return [(r.method, r.route, r.status, r.peer) for r in caplog.records if r.name == "kbs.requests"]


def counted(route, status):
    return (metrics.REGISTRY.get_sample_value("kbs_requests_total", {"route": route, "status": str(status)}) or 0,
            metrics.REGISTRY.get_sample_value("kbs_request_seconds_count", {"route": route}) or 0)


def since(before, route, status):
    return tuple(now - then for now, then in zip(counted(route, status), before, strict=True))


@pytest.fixture
def caplog(caplog):
    caplog.set_level(logging.INFO, "kbs.requests")
    return caplog


def test_a_request_is_told_when_it_is_answered(world, caplog):
    before = counted("/healthz", 200)
    world.client().get("/healthz")
    assert lines(caplog) == [("GET", "/healthz", 200, "127.0.0.1")]
    assert since(before, "/healthz", 200) == (1, 1)


def test_what_is_not_there_is_told_without_its_path(world, caplog):
    world.client().get("/canary/kbs")
    assert lines(caplog) == [("GET", "unknown", 404, "127.0.0.1")]
    assert "canary" not in "".join(str(record.__dict__) for record in caplog.records)


def test_requests_of_a_round_are_told_together_at_its_end(world, caplog):
    before = counted("/healthz", 200)
    with world.app.together():
        world.client().get("/healthz")
        world.client().get("/readyz")
        assert lines(caplog) == []
    assert lines(caplog) == [("GET", "/healthz", 200, "127.0.0.1"), ("GET", "/readyz", 200, "127.0.0.1")]
    assert since(before, "/healthz", 200) == (1, 1)
    with world.app.together():
        pass
    world.client().get("/healthz")
    assert len(lines(caplog)) == 3


def test_a_round_that_breaks_off_is_told_as_far_as_it_came(world, caplog):
    def broken():
        with world.app.together():
            world.client().get("/healthz")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        broken()
    assert len(lines(caplog)) == 1
