"""The run-time log of Confidential Containers' attestation agent (AAEL).

    in a TCG log   EV_EVENT_TAG data: "LEAA" (the tag 0x4141454C, little-endian), size u32, text; digest over all of it
    of its own     line 1: "INIT <algorithm>/<hex of the register at the start>"; then one text a line; the register is
                   extended with H(line) for every line, INIT included

A text is ``domain operation content``, separated by single spaces; content may hold spaces. Source:
confidential-containers/guest-components, attestation agent, "AAEL".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from verifier.errors import UnsupportedEvidence
from verifier.eventlog.algorithms import BANKS, Algorithm
from verifier.eventlog.events import MAX_EVENTS, MAX_LOG_BYTES, Event, EventType
from verifier.formats.reader import Reader

TAG = b"LEAA"
DOMAIN = "github.com/confidential-containers"
PULL_IMAGE = "PullImage"
INDEX = 4  # the MR index of run-time events

_INIT = re.compile(rb"INIT (sha256|sha384|sha512|sm3)/([0-9a-fA-F]+)\Z")


@dataclass(frozen=True, slots=True)
class RuntimeText:
    """One text: ``domain operation content``."""

    domain: str
    operation: str
    content: str

    @classmethod
    def from_bytes(cls, data: bytes) -> RuntimeText:
        """UTF-8, one line. Raises `MalformedEvidence`."""
        reader = Reader(data, "aael")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise reader.malformed("not UTF-8") from None
        parts = text.split(" ", 2)
        if len(parts) != 3 or not all(parts[:2]) or "\n" in text:
            raise reader.malformed("a text is `domain operation content` on one line", got=text[:64])
        return cls(*parts)

    def to_bytes(self) -> bytes:
        """The text again."""
        return f"{self.domain} {self.operation} {self.content}".encode()

    @classmethod
    def from_tagged(cls, data: bytes) -> RuntimeText:
        """EV_EVENT_TAG data. Raises `MalformedEvidence`."""
        reader = Reader(data, "aael")
        if reader.take(4, "tag") != TAG:
            raise reader.malformed("not an AAEL event", expected=TAG, got=data[:4])
        text = reader.take(reader.uint(4, "size"), "text")
        reader.end()
        return cls.from_bytes(text)

    def to_tagged(self) -> bytes:
        """EV_EVENT_TAG data."""
        text = self.to_bytes()
        return TAG + len(text).to_bytes(4, "little") + text


@dataclass(frozen=True, slots=True)
class AaelLog:
    """The text form: ``texts`` are lines without line ends, the INIT line not among them."""

    algorithm: Algorithm
    texts: tuple[bytes, ...]
    final_newline: bool = False

    form = "aael"

    @classmethod
    def from_bytes(cls, data: bytes) -> AaelLog:
        """A whole log. Raises `MalformedEvidence`, and `UnsupportedEvidence` where it does not start at zero.

        A register that held something before the log began has a history that the log does not tell.
        """
        reader = Reader(data, "aael")
        if len(data) > MAX_LOG_BYTES:
            raise reader.malformed("the log is too large", expected=f"<= {MAX_LOG_BYTES} bytes", got=len(data))
        lines = data.split(b"\n", MAX_EVENTS + 1)
        final = lines[-1] == b""
        init, *texts = lines[:-1] if final and len(lines) > 1 else lines
        match = _INIT.match(init)
        if match is None or len(texts) > MAX_EVENTS or not all(texts):
            raise reader.malformed("the log is an INIT line and then a text a line", got=init[:64])
        algorithm = BANKS[match[1].decode()]
        if len(match[2]) != 2 * algorithm.size:
            raise reader.malformed("INIT has the wrong length", expected=2 * algorithm.size, got=len(match[2]))
        if match[2].strip(b"0"):
            raise UnsupportedEvidence("format.aael", "the log does not begin where the register began")
        for text in texts:
            RuntimeText.from_bytes(text)
        return cls(algorithm, tuple(texts), final)

    def to_bytes(self) -> bytes:
        """The log again, INIT in lower case."""
        return b"\n".join((self._init, *self.texts)) + b"\n" * self.final_newline

    @property
    def _init(self) -> bytes:
        return f"INIT {self.algorithm.bank}/{bytes(self.algorithm.size).hex()}".encode()

    @property
    def events(self) -> tuple[Event, ...]:
        """One per line, INIT included, as events of the run-time register."""
        return tuple(Event(INDEX, EventType.AAEL_LINE, ((int(self.algorithm), self.algorithm.digest(line)),), line)
                     for line in (self._init, *self.texts))
