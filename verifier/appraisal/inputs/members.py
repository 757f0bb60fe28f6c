"""Claims as members of a JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def present(members: Mapping[str, Any]) -> dict[str, Any]:
    """``members`` without those that are None; byte strings as hexadecimal text."""
    return {name: value.hex() if isinstance(value, bytes) else value
            for name, value in members.items() if value is not None}


def registers(values: Mapping[str, bytes] | None, digits: int) -> dict[str, str] | None:
    """``pcr00`` … of proved values by number; None where none is proved."""
    return {f"pcr{number:0>{digits}}": value.hex() for number, value in values.items()} if values else None
