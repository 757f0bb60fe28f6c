"""Who the broker is: authorities, pins, plain HTTP only where it is allowed."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest

from attestation.errors import BrokerError, SetupError
from attestation.kbc.transport import Transport, Trust

URI = "kbs:///default/key/1"


def refused_setup(url: str, trust: Trust | None = None) -> str:
    with pytest.raises(SetupError) as caught:
        Transport(url, trust or Trust(), time.monotonic)
    return caught.value.id


def refused(client: Any) -> str:
    with pytest.raises(BrokerError) as caught:
        client.resource(URI)
    return caught.value.id


def test_broker_is_known_by_an_authority_from_a_file_or_a_text(tls_broker: Any, guest: Any, identity: Any) -> None:
    for trust in (Trust(ca_file=identity.certificate), Trust(ca_pem=identity.pem)):
        assert guest.client(tls_broker.url, trust).resource(URI) == b"the secret"


def test_broker_is_known_by_its_pinned_key_alone(tls_broker: Any, guest: Any, identity: Any) -> None:
    assert guest.client(tls_broker.url, Trust(pinned_key=identity.pin)).resource(URI) == b"the secret"


def test_pin_and_authority_together_demand_both(tls_broker: Any, guest: Any, identity: Any,
                                                other_identity: Any) -> None:
    both = Trust(pinned_key=identity.pin, ca_file=identity.certificate)
    assert guest.client(tls_broker.url, both).resource(URI) == b"the secret"
    for trust in (Trust(pinned_key=identity.pin, ca_file=other_identity.certificate),
                  Trust(pinned_key=other_identity.pin, ca_file=identity.certificate)):
        assert refused(guest.client(tls_broker.url, trust)) == "kbc.tls"


def test_broker_without_a_known_authority_gets_no_request(tls_broker: Any, guest: Any) -> None:
    assert refused(guest.client(tls_broker.url)) == "kbc.tls"
    assert tls_broker.requests == []
    assert guest.slept == []


def test_broker_with_another_key_than_the_pinned_one_gets_no_request(tls_broker: Any, guest: Any,
                                                                     other_identity: Any) -> None:
    assert refused(guest.client(tls_broker.url, Trust(pinned_key=other_identity.pin))) == "kbc.tls"
    assert tls_broker.requests == []


def test_broker_with_a_good_certificate_for_another_name_gets_no_request(other_tls_broker: Any, guest: Any,
                                                                         other_identity: Any) -> None:
    assert refused(guest.client(other_tls_broker.url, Trust(ca_file=other_identity.certificate))) == "kbc.tls"
    assert other_tls_broker.requests == []


def test_insecure_http_does_not_weaken_tls(tls_broker: Any, guest: Any) -> None:
    assert refused(guest.client(tls_broker.url, Trust(insecure_http=True))) == "kbc.tls"


def test_broker_that_speaks_no_tls_where_it_should_is_refused(broker: Any, guest: Any) -> None:
    url = broker.url.replace("http:", "https:")
    assert refused(guest.client(url)) == "kbc.tls"
    assert broker.requests == []


@pytest.mark.parametrize("url", ["http://kbs.example", "http://10.0.0.1:8080", "http://[2001:db8::1]:8080",
                                 "http://localhost.evil.example", "http://127.0.0.1.evil.example", "http://0.0.0.0"])
def test_http_to_another_machine_needs_its_name_said(url: str) -> None:
    assert refused_setup(url) == "kbc.insecure_http"
    Transport(url, Trust(insecure_http=True), time.monotonic)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:8080", "http://127.9.9.9"])
def test_http_on_this_machine_is_allowed(url: str) -> None:
    assert Transport(url, Trust(), time.monotonic).now is time.monotonic


@pytest.mark.parametrize("url", ["", "kbs.example", "ftp://kbs.example", "https://", "https://u@kbs.example",
                                 "https://u:p@kbs.example", "https://kbs.example?x", "https://kbs.example#x",
                                 "https://kbs.example:port", "https://kbs.example:99999", "https://k\u00f6.example",
                                 "https://kbs.example/\r\nHost:evil", "https://kbs example", "https://[::1", "file:///x",
                                 "https://kbs\0example", "https://kbs.example\x7f", "https://%", "https://a%zz"])
def test_what_is_no_brokers_url_is_refused(url: str) -> None:
    assert refused_setup(url) == "kbc.url"


@pytest.mark.parametrize("trust", [Trust(ca_pem="x"), Trust(ca_file=Path("/x")), Trust(pinned_key="x")])
def test_authority_for_a_broker_without_tls_is_refused(trust: Trust) -> None:
    assert refused_setup("http://127.0.0.1", trust) == "kbc.url"


@pytest.mark.parametrize("pin", ["", "sha256//", "sha256//AAAA", "sha1//" + base64.b64encode(bytes(32)).decode(),
                                 base64.b64encode(bytes(32)).decode(), "sha256//" + "!" * 44])
def test_malformed_pin_is_refused(pin: str) -> None:
    assert refused_setup("https://127.0.0.1", Trust(pinned_key=pin)) == "kbc.pin"


def test_authorities_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "garbage.pem").write_text("garbage")
    for trust in (Trust(ca_file=tmp_path / "absent.pem"), Trust(ca_file=tmp_path / "garbage.pem"), Trust(ca_pem="x")):
        assert refused_setup("https://127.0.0.1", trust) == "kbc.ca"


def test_proxy_of_the_environment_is_not_used(broker: Any, guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert guest.client(broker.url).resource(URI) == b"the secret"


def test_connections_are_used_again(broker: Any, guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib3.connection import HTTPConnection

    made: list[None] = []
    connect = HTTPConnection.connect
    monkeypatch.setattr(HTTPConnection, "connect", lambda self: made.append(None) or connect(self))
    client = guest.client(broker.url)
    for _ in range(3):
        client.resource(URI)
    assert len(made) == 1
