"""Typed, strict access to the JSON documents that Intel signs.

A member that is missing, mistyped, out of range or unknown refuses: an unknown member of a signed policy document could
be a rule that nobody applied.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from verifier.endorsements.tcb_status import SvnLevel, TcbStatus
from verifier.errors import MalformedCollateral, MalformedEvidence
from verifier.formats.strict import json_object

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z", re.ASCII)
_ADVISORY = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z", re.ASCII)


class Document:
    """Typed access to one object of a signed document: wrong or missing members raise `MalformedCollateral`."""

    def __init__(self, members: Any, where: str) -> None:
        if not isinstance(members, dict):
            raise MalformedCollateral(f"collateral.{where}", "must be an object", got=type(members).__name__)
        self._members: dict[str, Any] = members
        self.where = where

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Document:
        """The object that a signed text is. Raises `MalformedCollateral` for what is not strict JSON."""
        try:
            return cls(json_object(data, where), where)
        except MalformedEvidence as error:
            raise MalformedCollateral(f"collateral.{where}", error.detail) from None

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def only(self, *names: str) -> None:
        """No other members may be present: an unknown member of a signed policy document could be a rule."""
        unknown = set(self._members) - set(names)
        if unknown:
            raise self.error("an unknown member", got=sorted(unknown)[:5])

    def text(self, name: str) -> str:
        """A string."""
        value = self._members.get(name)
        if not isinstance(value, str):
            raise self.error(f"{name} must be a string", got=type(value).__name__)
        return value

    def integer(self, name: str, limit: int) -> int:
        """An integer from 0 to ``limit``."""
        value = self._members.get(name)
        if type(value) is not int or not 0 <= value <= limit:
            raise self.error(f"{name} must be an integer", expected=f"0..{limit}", got=str(value)[:32])
        return value

    def octets(self, name: str, size: int) -> bytes:
        """Hexadecimal text of ``size`` bytes."""
        value = self.text(name)
        if len(value) != 2 * size or not re.fullmatch(r"[0-9a-fA-F]*", value, re.ASCII):
            raise self.error(f"{name} must be hexadecimal text", expected=f"{size} bytes", got=value[:64])
        return bytes.fromhex(value)

    def objects(self, name: str, limit: int = 1000) -> list[Document]:
        """A list of objects."""
        value = self._members.get(name)
        if not isinstance(value, list) or len(value) > limit:
            raise self.error(f"{name} must be a list of at most {limit}", got=type(value).__name__)
        return [Document(item, f"{self.where}.{name}") for item in value]

    def object(self, name: str) -> Document:
        """An object."""
        return Document(self._members.get(name), f"{self.where}.{name}")

    def moment(self, name: str) -> int:
        """An RFC 3339 moment in UTC, as Unix seconds."""
        value = self.text(name)
        try:
            if not _MOMENT.match(value):
                raise ValueError
            return int(datetime.fromisoformat(value).timestamp())
        except ValueError:
            raise self.error(f"{name} must be an RFC 3339 moment in UTC", got=value[:40]) from None

    def status(self, allowed: frozenset[TcbStatus]) -> TcbStatus:
        """``tcbStatus``, one of ``allowed``."""
        value = self.text("tcbStatus")
        if value not in [status.value for status in allowed]:
            raise self.error("unknown TCB status", expected=sorted(allowed), got=value[:40])
        return TcbStatus(value)

    def advisory_ids(self) -> tuple[str, ...]:
        """``advisoryIDs``; none when the member is absent."""
        value = self._members.get("advisoryIDs", [])
        if not isinstance(value, list) or not all(isinstance(a, str) and _ADVISORY.match(a) for a in value):
            raise self.error("advisoryIDs must be a list of names")
        return tuple(value)

    def svn_level(self, allowed: frozenset[TcbStatus]) -> SvnLevel:
        """This object as a level of an identity."""
        self.only("tcb", "tcbDate", "tcbStatus", "advisoryIDs")
        self.moment("tcbDate")
        tcb = self.object("tcb")
        tcb.only("isvsvn")
        return SvnLevel(tcb.integer("isvsvn", 0xFFFF), self.status(allowed), self.text("tcbDate"), self.advisory_ids())

    def svn_levels(self, allowed: frozenset[TcbStatus]) -> tuple[SvnLevel, ...]:
        """``tcbLevels`` of an identity, highest first whatever their order in the document."""
        levels = [item.svn_level(allowed) for item in self.objects("tcbLevels")]
        if len({level.isv_svn for level in levels}) != len(levels):
            raise self.error("two levels have the same isvsvn")
        return tuple(sorted(levels, key=lambda level: level.isv_svn, reverse=True))

    def error(self, detail: str, *, expected: Any = None, got: Any = None) -> MalformedCollateral:
        """An error about this object."""
        return MalformedCollateral(f"collateral.{self.where}", detail, expected=expected, got=got)
