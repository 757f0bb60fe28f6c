"""Key sources: the broker, or files at hand.

Whatever has ``get(kid)`` is a `KeySource`; the image and model rooms ask for no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from attestation.errors import KeyUnavailable, SetupError
from attestation.kbc.client import BrokerClient
from attestation.kbc.refusals import BrokerRefusedError
from kbs.errors import MalformedRequest
from kbs.protocol.messages import MAX_RESOURCE_BYTES
from kbs.protocol.resource_uri import ResourceUri

_NOT_FOR_US = {"kbc.denied", "kbc.not_found"}


class KeySource(Protocol):
    """Gives out keys and other secrets."""

    def get(self, kid: str) -> bytes:
        """The bytes under the resource URI ``kid``. Raises `KeyUnavailable` when there are none for this caller."""


class BrokerKeySource:
    """Keys from the broker, each fetched when it is asked for. Other failures than a plain "no" stay what they are."""

    def __init__(self, client: BrokerClient) -> None:
        self._client = client

    def get(self, kid: str) -> bytes:
        """See `KeySource.get`."""
        try:
            return self._client.resource(kid)
        except BrokerRefusedError as error:
            if error.id in _NOT_FOR_US:
                raise KeyUnavailable("key.refused", error.detail) from error
            raise


class FileKeySource:
    """Keys from files, by resource URI in any of its forms; each file is read when its key is asked for."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        """Raises `SetupError` for a name that is no resource URI."""
        self._paths = {_target(kid): path for kid, path in paths.items()}

    def get(self, kid: str) -> bytes:
        """See `KeySource.get`."""
        path = self._paths.get(_target(kid))
        if path is None:
            raise KeyUnavailable("key.unknown", "no file was given for this key", got=kid[:256])
        try:
            with path.open("rb") as file:
                key = file.read(MAX_RESOURCE_BYTES + 1)
        except OSError as error:
            raise SetupError("key.file", f"{path} could not be read: {error.strerror}") from None
        if len(key) > MAX_RESOURCE_BYTES:
            raise SetupError("key.file", f"{path} is too large", expected=f"<= {MAX_RESOURCE_BYTES} bytes")
        return key


def _target(kid: str) -> str:
    try:
        return ResourceUri.parse(kid).target
    except MalformedRequest as error:
        raise SetupError("key.name", f"no resource URI: {error.detail}", expected=error.expected) from error
