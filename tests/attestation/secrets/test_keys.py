"""Key sources: what counts as "not for you", and what stays an error of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attestation.errors import AttestationError, BrokerError, KeyUnavailable, SetupError
from attestation.kbc.refusals import refusal
from attestation.kbc.transport import Answer
from attestation.secrets.keys import BrokerKeySource, FileKeySource, KeySource

URI = "kbs:///default/key/1"


class Client:
    """Answers with bytes or an error."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def resource(self, _: str) -> bytes:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


def asked(answer: Any) -> bytes:
    source: KeySource = BrokerKeySource(Client(answer))  # type: ignore[arg-type]
    return source.get(URI)


def test_key_comes_from_the_broker() -> None:
    assert asked(b"key") == b"key"


@pytest.mark.parametrize("status", [403, 404])
def test_a_plain_no_is_a_key_that_is_not_available(status: int) -> None:
    with pytest.raises(KeyUnavailable) as caught:
        asked(refusal(Answer(status, b""), "key"))
    assert caught.value.id == "key.refused"


@pytest.mark.parametrize(("error", "id"), [
    (refusal(Answer(401, b""), "key"), "kbc.unauthenticated"), (refusal(Answer(400, b""), "key"), "kbc.request"),
    (BrokerError("kbc.tls", "no"), "kbc.tls"), (BrokerError("kbc.unreachable", "no"), "kbc.unreachable"),
])
def test_other_failures_stay_what_they_are(error: Exception, id: str) -> None:
    with pytest.raises(AttestationError) as caught:
        asked(error)
    assert caught.value is error
    assert caught.value.id == id


def test_key_comes_from_a_file_whatever_form_its_name_has(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    source = FileKeySource({URI: tmp_path / "key"})
    for name in (URI, "default/key/1", "/default/key/1", "kbs://host:80/default/key/1"):
        assert source.get(name) == b"k" * 32


def test_key_without_a_file_is_not_available(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable) as caught:
        FileKeySource({URI: tmp_path / "key"}).get("kbs:///default/key/2")
    assert caught.value.id == "key.unknown"


@pytest.mark.parametrize("name", ["", "a/b/../c", "http://x/a/b/c"])
def test_name_that_is_no_resource_uri_is_refused(tmp_path: Path, name: str) -> None:
    for act in (lambda: FileKeySource({name: tmp_path}), lambda: FileKeySource({}).get(name)):
        with pytest.raises(SetupError) as caught:
            act()
        assert caught.value.id == "key.name"


def test_file_that_cannot_be_read_or_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(8 * 1024 * 1024 + 1))
    for path in (tmp_path / "absent", tmp_path / "big", tmp_path):
        with pytest.raises(SetupError) as caught:
            FileKeySource({URI: path}).get(URI)
        assert caught.value.id == "key.file"
