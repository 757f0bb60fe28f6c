"""The one door to the network, against a server that is as bad as servers can be."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.collateral.http import Door, FetchFailed, Limits, Origin
from verifier.errors import CollateralError, SetupError
from verifier.testing import faults
from verifier.testing.services import Services
from verifier.testing.stand_in import QUICK

RIM = b"<manifest/>" * 50
PATH = "/v1/rim/NV_GPU_DRIVER_GH100_1"


@pytest.fixture
def service(stand_in):
    return stand_in(Services(rims={"NV_GPU_DRIVER_GH100_1": RIM}))


def ask(service, limits: Limits = QUICK, **options):
    door = Door(limits, ca_file=service.ca_file or None, **options)
    return door.get(Origin.parse(service.url), PATH)


def failure(service, limits: Limits = QUICK, **options) -> FetchFailed:
    with pytest.raises(FetchFailed) as caught:
        ask(service, limits, **options)
    assert isinstance(caught.value, CollateralError)
    return caught.value


def test_an_answer_comes_back_whole_with_its_headers_in_lower_case(service):
    answer = ask(service)
    assert b'"rim_format"' in answer.body
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("fault", [faults.slow(1.0), faults.dripping(0.02), faults.dripping_head(0.02)])
def test_whoever_is_slow_or_drips_is_given_up_on(service, hasty, fault):
    service.break_("/", fault)
    assert failure(service, hasty).id == "collateral.fetch.timeout"


def test_patience_with_a_dripping_body_ends_with_the_total_and_not_with_the_bytes(service, hasty):
    """Each byte comes well within the read timeout."""
    service.break_("/", faults.dripping(0.01))
    assert failure(service, replace(hasty, read=5.0, total=0.5)).id == "collateral.fetch.timeout"


@pytest.mark.parametrize("tls", [False, True])
def test_a_head_that_never_ends_is_cut_off(stand_in, tls, hasty):
    service = stand_in(Services(), tls=tls)
    service.break_("/", faults.dripping_head(0.01))
    assert failure(service, replace(hasty, read=5.0, total=0.5)).id == "collateral.fetch.timeout"


def test_more_bytes_than_allowed_are_not_read(service):
    service.break_("/", faults.oversized(64 * 1024 * 1024))
    assert failure(service, replace(QUICK, max_bytes=100_000)).id == "collateral.fetch.size"


def test_a_body_that_ends_early_is_no_answer(service):
    service.break_("/", faults.cut_short())
    assert failure(service).id == "collateral.fetch.broken"


def test_nobody_there(service):
    service.break_("/", faults.down())
    assert failure(service).id in ("collateral.fetch.broken", "collateral.fetch.connect")
    with pytest.raises(FetchFailed) as caught:
        Door(QUICK).get(Origin.parse("http://127.0.0.1:1"), "/")
    assert caught.value.id == "collateral.fetch.connect"


def test_compressed_answers_are_refused(service):
    service.break_("/", faults.with_headers(lambda headers: {**headers, "Content-Encoding": "gzip"}))
    assert failure(service).id == "collateral.fetch.encoding"


def test_content_types_do_not_matter(service):
    service.break_("/", faults.with_headers(lambda _: {"Content-Type": "text/html; charset=klingon"}))
    assert b'"rim"' in ask(service).body


# -- redirects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [
    "file:///etc/passwd", "http://169.254.169.254/latest/meta-data", "https://169.254.169.254/", "gopher://x/",
    "http://127.0.0.1:1/", "https://example.com/", "//example.com/x", "https://user@127.0.0.1/", "ftp://127.0.0.1/",
    "https://127.0.0.1:1/", "", "http://[::1]/", "https://127.0.0.1.example.com/", "javascript:1", "\\\\x\\y",
])
@pytest.mark.parametrize("tls", [False, True])
def test_redirects_lead_nowhere_else(stand_in, target, tls):
    service = stand_in(Services(), tls=tls)
    service.break_("/", faults.redirecting(target))
    if target in ("", "\\\\x\\y"):
        target = f"{service.url}{PATH}"  # relative: the same service again, allowed over TLS only, and it never ends
    assert failure(service).id == "collateral.fetch.redirect"
    assert service.count() == (3 if tls and target.startswith(service.url) else 1)


def test_over_tls_a_redirect_on_the_same_host_is_followed(stand_in):
    service = stand_in(Services(rims={"NV_GPU_DRIVER_GH100_1": RIM}), tls=True)
    service.break_(PATH, faults.redirecting(PATH + "?again"), times=1)
    assert b'"rim"' in ask(service).body
    assert service.count() == 2


def test_without_tls_not_even_a_redirect_on_the_same_host_is_followed(service):
    service.break_(PATH, faults.redirecting(PATH), times=1)
    assert failure(service).id == "collateral.fetch.redirect"


def test_a_certificate_that_nobody_trusts_is_refused(stand_in):
    service = stand_in(Services(), tls=True)
    with pytest.raises(FetchFailed) as caught:
        Door(QUICK).get(Origin.parse(service.url), PATH)
    assert caught.value.id == "collateral.fetch.tls"
    assert service.count() == 0


# -- patience ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "reason", "asked"), [
    (404, "not_found", 1), (400, "status", 1), (401, "status", 1), (410, "status", 1), (204, "status", 1),
    (429, "busy", 3), (503, "busy", 3), (500, "status", 3), (502, "status", 3), (504, "status", 3),
])
def test_what_is_temporary_is_tried_again_and_nothing_else(service, status, reason, asked):
    service.break_("/", faults.failing(status))
    error = failure(service, replace(QUICK, attempts=3))
    assert (error.id, error.got, service.count()) == (f"collateral.fetch.{reason}", status, asked)


def test_a_service_that_recovers_is_believed(service):
    service.break_("/", faults.failing(500), times=1)
    service.break_("/", faults.down(), times=1)
    assert ask(service, replace(QUICK, attempts=3)).body
    assert service.count() == 3


def test_waits_are_drawn_from_doubling_spans_that_are_capped(service):
    spans, slept = [], []
    service.break_("/", faults.failing(500))
    failure(service, replace(QUICK, attempts=5, backoff=1.0, backoff_cap=3.0, total=100.0),
            draw=lambda low, high: spans.append((low, high)) or 0.25, sleep=slept.append)
    assert spans[:4] == [(0, 1.0), (0, 2.0), (0, 3.0), (0, 3.0)]
    assert slept == [0.25] * 4


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds_is_honoured(service, status):
    slept = []
    service.break_("/", faults.failing(status, "2"), times=1)
    assert ask(service, sleep=slept.append).body
    assert slept == [2.0]


def test_retry_after_as_a_date_is_honoured(service):
    slept = []
    service.break_("/", faults.failing(429, format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)),
                   times=1)
    assert ask(service, replace(QUICK, retry_after_cap=10.0), sleep=slept.append).body
    assert 0 < slept[0] <= 3


def test_a_date_that_is_past_asks_for_no_wait(service):
    slept = []
    service.break_("/", faults.failing(429, "Wed, 21 Oct 2015 07:28:00 GMT"), times=1)
    assert ask(service, sleep=slept.append).body
    assert slept == [0.0]


@pytest.mark.parametrize("value", ["3600", "999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_whoever_wants_more_patience_than_there_is_fails_at_once_and_says_when(service, value):
    service.break_("/", faults.failing(429, value))
    error = failure(service, replace(QUICK, attempts=5))
    assert error.id == "collateral.fetch.busy"
    assert error.retry_after > QUICK.retry_after_cap
    assert service.count() == 1


@pytest.mark.parametrize("value", ["", "soon", "-1", "1e3", "٣", "31 Feb 2024", "9" * 400])
def test_retry_after_that_says_nothing_is_as_if_it_were_not_there(service, value):
    service.break_("/", faults.with_headers(dict), times=0)
    service.break_("/", faults.failing(503, value.encode("ascii", "ignore").decode()), times=1)
    assert ask(service).body


def test_retry_after_does_not_outlast_the_total(service):
    service.break_("/", faults.failing(503, "1"))
    begun = time.monotonic()
    failure(service, replace(QUICK, total=0.5, attempts=20))
    assert service.count() == 1
    assert time.monotonic() - begun < 60


# -- origins -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["", "ftp://host", "file:///etc", "http://", "https://user:pw@host/", "http://host?x",
                                 "http://host#x", "host", "//host", "http://host:99999", "http://hös.t/",
                                 "http://[::1", "unix:/run/x"])
def test_what_is_no_source_is_refused(url):
    with pytest.raises(SetupError) as caught:
        Origin.parse(url)
    assert caught.value.id == "sources.url"


@pytest.mark.parametrize(("url", "asked"), [
    ("https://host", "https://host/p?a=1%262"), ("http://host:8081/base/", "http://host:8081/base/p?a=1%262"),
    ("https://[::1]:8081", "https://[::1]:8081/p?a=1%262")])
def test_urls_are_made_below_the_origin_and_parameters_are_escaped(url, asked):
    assert Origin.parse(url).url("/p", [("a", "1&2")]) == asked


@given(st.text(max_size=60))
def test_any_text_is_an_origin_or_refused(text):
    with suppress(SetupError):
        assert Origin.parse(text).scheme in ("http", "https")


@given(st.text(max_size=60))
def test_any_location_stays_or_is_refused(text):
    origin = Origin.parse("https://host.example")
    assert origin.leads_here(text) is False or text.lower().startswith("https://host.example")


@pytest.mark.parametrize("changes", [{"total": 0}, {"read": -1}, {"attempts": 0}, {"attempts": 21}, {"max_bytes": 0},
                                     {"connect": 10_000}])
def test_limits_that_limit_nothing_are_refused(changes):
    with pytest.raises(SetupError, match=r"^sources\.limits: "):
        replace(QUICK, **changes)
