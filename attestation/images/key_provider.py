"""The key provider protocol of ocicrypt: another program encrypts or decrypts the image and asks here for layer keys.

One JSON request, one JSON answer; the transport is a process's stdin and stdout (``key-provider``) or gRPC. A request
to wrap names a key of the broker in its parameters for the provider ``attestation-agent``, as text of ``name=value``
joined by ``::``:

- ``keyid=kbs:///<repository>/<type>/<tag>``, always;
- ``keypath=FILE``, the KEK of 32 raw bytes, only where the caller of this room allows paths in requests.

Without ``keypath`` the KEK is a fresh one that goes to the key sink, or where there is none, the one that the key
source has. Known test keys (``sample=true``) are not wrapped with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attestation.errors import MalformedImage, UnsupportedImage
from attestation.images import annotation_packet
from attestation.images.documents import malformed_as, read_object, shown, write_object
from attestation.images.key_sources import KeySink, KeySource, checked_kid, fresh_kek, read_kek
from attestation.images.layer_cipher import MAX_OPTIONS_BYTES, PrivateOptions
from verifier.formats import strict

PROVIDER = "attestation-agent"
MAX_REQUEST_BYTES = 1024 * 1024
KEY_WRAP, KEY_UNWRAP = "keywrap", "keyunwrap"

_ID = "image.key_provider.request"
# `algorithm` is part of the known parameters; there is only one.
_PARAMETERS = ("keyid", "keypath", "algorithm")


@dataclass(frozen=True, slots=True)
class KeyProvider:
    """Answers requests.

    source: opens packets. sink: takes new KEKs; None: wrapping uses KEKs of ``source``.
    allow_key_paths: read the KEK file that a request names. Only for requests of our own user: it reads files.
    """

    source: KeySource
    sink: KeySink | None = None
    allow_key_paths: bool = False

    def answer(self, request: bytes, operation: str | None = None) -> bytes:
        """The answer to one request, both JSON; ``operation`` is what the transport said it is, None: it did not say.

        Raises `MalformedImage`, `UnsupportedImage` or `ImageIntegrityError`, or what the key source or sink raises.
        """
        document = read_object(request, "the request", _ID, limit=MAX_REQUEST_BYTES)
        op = document.get("op")
        if op not in (KEY_WRAP, KEY_UNWRAP) or operation not in (None, op):
            raise MalformedImage(_ID, "the request is for another operation",
                                 expected=operation or "keywrap or keyunwrap", got=shown(str(op)))
        if op == KEY_WRAP:
            return _answer("keywrapresults", "annotation", self._wrap(_object(document, "keywrapparams")))
        return _answer("keyunwrapresults", "optsdata", self._unwrap(_object(document, "keyunwrapparams")))

    def _wrap(self, parameters: Mapping[str, Any]) -> bytes:
        options = _octets(parameters, "optsdata", MAX_OPTIONS_BYTES)
        PrivateOptions.from_json(options)
        chosen = _wrap_parameters(_object(_object(parameters, "ec"), "Parameters"))
        kid = checked_kid(chosen.get("keyid"))
        return annotation_packet.wrap(options, kid, self._kek(kid, chosen.get("keypath")))

    def _kek(self, kid: str, path: str | None) -> bytes:
        if path is not None:
            if not self.allow_key_paths:
                raise UnsupportedImage("image.key_provider.keypath", "requests may not name files here")
            return read_kek(Path(path))
        if self.sink is None:
            return self.source.get(kid)
        kek = fresh_kek()
        self.sink.put(kid, kek)
        return kek

    def _unwrap(self, parameters: Mapping[str, Any]) -> bytes:
        packet = _octets(parameters, "annotation", annotation_packet.MAX_PACKET_BYTES)
        options = annotation_packet.unwrap(packet, self.source)
        PrivateOptions.from_json(options)
        return options


def _answer(result: str, name: str, data: bytes) -> bytes:
    """Bytes as a list of numbers: Go takes that as well as base64, Rust takes nothing else."""
    return write_object({result: {name: list(data)}})


def _object(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    if not isinstance(found, dict):
        raise MalformedImage(_ID, f"{name} must be an object", expected="object", got=type(found).__name__)
    return found


def _octets(document: Mapping[str, Any], name: str, limit: int) -> bytes:
    """Bytes as base64 text or as a list of numbers from 0 to 255."""
    found = document.get(name)
    if isinstance(found, list):
        if len(found) > limit or not all(type(octet) is int and 0 <= octet <= 255 for octet in found):
            raise MalformedImage(_ID, f"{name} is not a list of octets, or too long", expected=f"<= {limit} octets")
        return bytes(found)
    with malformed_as(_ID):
        data = strict.base64_bytes(found, name)
    if len(data) > limit:
        raise MalformedImage(_ID, f"{name} is too long", expected=f"<= {limit} bytes", got=f"{len(data)} bytes")
    return data


def _wrap_parameters(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The ``name=value`` pairs of the one parameter text for this provider."""
    texts = parameters.get(PROVIDER)
    if not isinstance(texts, list) or len(texts) != 1:
        raise MalformedImage(_ID, f"exactly one parameter text for {PROVIDER} is needed", expected="keyid=kbs:///…")
    with malformed_as(_ID):
        text = strict.base64_bytes(texts[0], "a parameter text").decode("utf-8", "replace")
    pairs = [pair.partition("=")[::2] for pair in text.split("::")]
    found = dict(pairs)
    if len(found) != len(pairs) or any(name not in _PARAMETERS for name in found):
        raise MalformedImage(_ID, "the parameter text has unknown or repeated names", expected=", ".join(_PARAMETERS),
                             got=shown(text))
    if found.get("algorithm", annotation_packet.WRAP_TYPE) != annotation_packet.WRAP_TYPE:
        raise UnsupportedImage("image.key_provider.algorithm", "keys are wrapped in one way only",
                               expected=annotation_packet.WRAP_TYPE, got=shown(found["algorithm"]))
    return found
