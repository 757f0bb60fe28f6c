"""The SGX extensions of PCK certificates (what is refused in them is in tests/verifier/checks as well)."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.endorsements.chain import read_certificates
from verifier.endorsements.pck import SGX_EXTENSIONS, PckExtensions
from verifier.errors import MalformedEvidence
from verifier.software_tee.certificates import changed
from verifier.software_tee.intel_platform import (
    CONFIGURATION,
    TCB,
    Field,
    Platform,
    encode_sgx_extension,
)

PLATFORM = Platform(components=tuple(range(240, 256)), pce_svn=0xFFFF, sgx_type=2, smt_enabled=True)


def test_the_fields_of_a_platform_ca_certificate():
    found = PckExtensions.from_der(encode_sgx_extension(PLATFORM.sgx_extension()))
    assert found.claims() == {
        "fmspc": PLATFORM.fmspc, "pce_id": PLATFORM.pce_id, "ppid": PLATFORM.ppid, "cpu_svn": PLATFORM.cpu_svn,
        "sgx_tcb_components": bytes(range(240, 256)), "pce_svn": 0xFFFF, "sgx_type": 2,
        "platform_instance_id": PLATFORM.instance_id, "dynamic_platform": True, "cached_keys": False,
        "smt_enabled": True,
    }


def test_a_processor_ca_certificate_has_no_instance_and_no_configuration():
    found = PckExtensions.from_der(encode_sgx_extension(Platform(ca="processor").sgx_extension()))
    absent = (found.platform_instance_id, found.dynamic_platform, found.cached_keys, found.smt_enabled)
    assert absent == (None, None, None, None)


def test_parts_of_the_configuration_may_be_absent():
    fields = tuple(f for f in PLATFORM.sgx_extension() if f.oid != f"{CONFIGURATION}.2")
    found = PckExtensions.from_der(encode_sgx_extension(fields))
    assert (found.dynamic_platform, found.cached_keys, found.smt_enabled) == (True, None, True)


def test_components_are_read_by_their_identifiers_and_not_by_their_order():
    fields = PLATFORM.sgx_extension()
    first = next(i for i, f in enumerate(fields) if f.oid == f"{TCB}.1")
    turned = (*fields[:first], *reversed(fields[first : first + 16]), *fields[first + 16 :])
    assert PckExtensions.from_der(encode_sgx_extension(turned)) == PckExtensions.from_der(encode_sgx_extension(fields))


def test_the_components_count_and_not_the_octets_of_the_cpusvn():
    fields = changed(PLATFORM.sgx_extension(), Field(f"{TCB}.18", b"\x04\x10" + bytes(16)))
    found = PckExtensions.from_der(encode_sgx_extension(fields))
    assert (found.cpu_svn, found.components) == (bytes(16), tuple(range(240, 256)))


def genuine(corpus) -> list[bytes]:
    found = []
    for case in corpus.of("tdx", "sgx"):
        for path in corpus.folder(case).glob("quote.*"):
            data = path.read_bytes()
            start = data.find(b"-----BEGIN CERTIFICATE-----")
            end = data.find(b"-----END CERTIFICATE-----", start) + len(b"-----END CERTIFICATE-----")
            if start >= 0:
                extensions = read_certificates(data[start:end], "leaf")[0].extensions
                found.append(extensions.get_extension_for_oid(SGX_EXTENSIONS).value)
    return [value.value for value in found if isinstance(value, x509.UnrecognizedExtension)]


def test_recorded_extensions_are_read_and_every_truncation_is_refused(corpus):
    values = genuine(corpus)
    assert len(values) > 30
    for value in values:
        assert len(PckExtensions.from_der(value).components) == 16
    for size in range(len(values[0])):
        with pytest.raises(MalformedEvidence) as caught:
            PckExtensions.from_der(values[0][:size])
        assert caught.value.id == "format.sgx_extensions"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_altered_extensions_are_read_or_refused(data):
    value = encode_sgx_extension(PLATFORM.sgx_extension())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(value)))
        end = data.draw(st.integers(start, min(len(value), start + 12)))
        value = value[:start] + data.draw(st.binary(max_size=12)) + value[end:]
    try:
        found = PckExtensions.from_der(value)
    except MalformedEvidence:
        return
    assert (len(found.ppid), len(found.components), len(found.pce_id), len(found.fmspc)) == (16, 16, 2, 6)
    assert all(0 <= svn <= 255 for svn in found.components)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120) | st.binary(max_size=100).map(lambda b: b"\x30" + bytes((len(b),)) + b))
def test_any_bytes_are_refused(data):
    with pytest.raises(MalformedEvidence) as caught:
        PckExtensions.from_der(data)
    assert caught.value.id == "format.sgx_extensions"
