"""Firmware identities in certificates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.nvidia_cases import case_of
from verifier.errors import MalformedEvidence
from verifier.formats.dice import COMPOSITE_DEVICE_ID, OPERATIONAL_FLAGS, TCB_INFO, FirmwareIdentity
from verifier.software_tee import der
from verifier.software_tee.nvidia import composite_device_id, tcb_info

FWID = bytes(range(48))
KEY = case_of().maker.key("boot_rom").public_key
COMPOSITE, INFO = composite_device_id(KEY, FWID).value, tcb_info(FWID).value


def read(oid: str, value: bytes) -> FirmwareIdentity:
    return FirmwareIdentity.from_extension(oid, value)


def test_both_forms():
    assert read(COMPOSITE_DEVICE_ID, COMPOSITE) == FirmwareIdentity((FWID,), KEY)
    assert read(TCB_INFO, INFO) == FirmwareIdentity((FWID, bytes(48)), None, ("not_configured",))


@pytest.mark.parametrize("bit", range(9))
def test_each_operational_flag(bit):
    flags = b"\x00" + (0x8000 >> bit).to_bytes(2, "big")
    assert read(TCB_INFO, tcb_info(FWID, flags).value).flags == (OPERATIONAL_FLAGS[bit],)


@pytest.mark.parametrize("flags", [b"\x00", b"\x00\x00", b"\x00\x00\x00\x00\x01"])
def test_no_operational_flag(flags):
    assert read(TCB_INFO, tcb_info(FWID, flags).value).flags == ()


def fwid(digest: bytes, algorithm: str = "2.16.840.1.101.3.4.2.2") -> bytes:
    return der.sequence(der.oid(algorithm), der.octet_string(digest))


@pytest.mark.parametrize(("oid", "value"), [
    (COMPOSITE_DEVICE_ID, INFO), (TCB_INFO, COMPOSITE), (COMPOSITE_DEVICE_ID, b""), (TCB_INFO, b""),
    (TCB_INFO, der.sequence()), (COMPOSITE_DEVICE_ID, COMPOSITE + b"\x00"), (TCB_INFO, INFO + b"\x00"),
    (COMPOSITE_DEVICE_ID, der.sequence(der.integer(2), KEY, fwid(FWID))),
    (COMPOSITE_DEVICE_ID, der.sequence(der.integer(1), der.sequence(), fwid(FWID))),
    (COMPOSITE_DEVICE_ID, der.sequence(der.integer(1), KEY, fwid(FWID[:47]))),
    (COMPOSITE_DEVICE_ID, der.sequence(der.integer(1), KEY, fwid(FWID, "2.16.840.1.101.3.4.2.1"))),
    (COMPOSITE_DEVICE_ID, der.sequence(der.integer(1), KEY, fwid(FWID), der.NULL)),
    (TCB_INFO, der.sequence(der.explicit(6, b""))),
    (TCB_INFO, der.sequence(der.explicit(6, fwid(FWID)), der.explicit(6, fwid(FWID)))),
    (TCB_INFO, der.sequence(der.explicit(6, fwid(FWID)), der.implicit(0, b"NVIDIA"))),
    (TCB_INFO, der.sequence(der.implicit(10, b""), der.explicit(6, fwid(FWID)))),
    (TCB_INFO, der.sequence(der.explicit(6, fwid(FWID)), der.implicit(7, b""))),
    (TCB_INFO, der.sequence(der.explicit(6, fwid(FWID)), der.implicit(7, b"\x08\x00"))),
])
def test_what_is_malformed(oid, value):
    with pytest.raises(MalformedEvidence, match=r"^format\.dice: "):
        read(oid, value)


@pytest.mark.parametrize(("oid", "value"), [(COMPOSITE_DEVICE_ID, COMPOSITE), (TCB_INFO, INFO)])
def test_cut_anywhere_it_is_malformed(oid, value):
    for size in range(len(value)):
        with pytest.raises(MalformedEvidence, match=r"^format\.dice: "):
            read(oid, value[:size])


@given(st.binary(max_size=200), st.sampled_from([COMPOSITE_DEVICE_ID, TCB_INFO]))
def test_any_bytes_are_read_or_malformed(value, oid):
    for candidate in (value, der.sequence(value)):
        try:
            read(oid, candidate)
        except MalformedEvidence:
            continue
