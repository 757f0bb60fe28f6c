"""Which registers a log speaks of, under which names, and where each starts.

    TPM        PCR 0 to 23 are themselves; 17 to 22 hold ones until a dynamic launch, which starts them at zero
    TDX        MR index 1 to 4 = RTMR0 to RTMR3; index 0 is MRTD, which no event extends
    CSV        MR index 0 to 4 = rtmr0 to rtmr4

Firmware measures for PCRs and maps them: 0 to index 0; 1 and 7 to 1; 2 to 6 to 2; 8 to 15 to 3; the rest to 4. Source:
TCG PC Client Platform Firmware Profile, "PCR usage"; UEFI Specification, EFI_CC_MEASUREMENT_PROTOCOL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DYNAMIC = frozenset(range(17, 23))
FIRMWARE = frozenset(range(8))


@dataclass(frozen=True, slots=True)
class Register:
    """``pcrs``: the PCRs whose events this register takes; what may be read from an event depends on them."""

    name: str
    pcrs: frozenset[int]

    def start(self, size: int, *, extended: bool) -> bytes:
        """The value before the first event; ``extended`` tells whether there is one."""
        return (b"\xff" if self.pcrs <= DYNAMIC and not extended else b"\x00") * size


@dataclass(frozen=True, slots=True)
class Layout:
    """The registers of one kind of machine, by the index that events name. ``tpm``: several banks, StartupLocality."""

    registers: Mapping[int, Register]
    tpm: bool = False


_PCRS_OF_INDEX = (frozenset({0}), frozenset({1, 7}), frozenset(range(2, 7)), frozenset(range(8, 16)),
                  frozenset(range(16, 24)))
PCRS = Layout({number: Register(f"pcr{number:02}", frozenset({number})) for number in range(24)}, tpm=True)
TDX = Layout({index: Register(f"rtmr{index - 1}", _PCRS_OF_INDEX[index]) for index in range(1, 5)})
CSV = Layout({index: Register(f"rtmr{index}", pcrs) for index, pcrs in enumerate(_PCRS_OF_INDEX)})
