"""Published ways in which TDX and SGX evidence was misjudged, tried here (docs/attacks.md, T). This file only grows."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from verifier import Expectations
from verifier.appraisal.expectations import Masked
from verifier.checks.prepared import Prepared
from verifier.formats.quote import CertificationType, Quote
from verifier.software_tee.intel_levels import MODULE_IDENTITIES, QE_LEVELS

TDX = ("tdx-v4", "tdx-v5-td15")
KINDS = (*TDX, "sgx-v3")
each_kind = pytest.mark.parametrize("kind", KINDS)
each_td = pytest.mark.parametrize("kind", TDX)


def refusal(case: Any) -> str:
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted) == (False, False), verdict.error
    return verdict.error.id.partition(".")[2]


def mismatches(case: Any, **expectations: Any) -> list[str]:
    """What refuses authentic evidence."""
    verdict = replace(case, expectations=Expectations(**expectations)).verdict()
    assert verdict.authentic is True, verdict.error
    return [check.id.partition(".")[2] for check in verdict.mismatches]


def word(bits: int, size: int = 8) -> bytes:
    return bits.to_bytes(size, "little")


# -- T-01 the quoting enclave's identity -------------------------------------------------------------------------------

IDENTITY = {
    "mr_signer": (bytes(32), "qe_identity.mrsigner"), "isv_prod_id": (9, "qe_identity.isvprodid"),
    "misc_select": (b"\x01\x00\x00\x00", "qe_identity.miscselect"), "attributes": (bytes(16), "qe_identity.attributes"),
    "levels": ((replace(QE_LEVELS[0], isv_svn=9),), "tcb.qe_level"), "id": ("QVE", "qe_identity.id"),
}
REPORT = {
    "mr_signer": (bytes(32), "qe_identity.mrsigner"), "isv_prod_id": (9, "qe_identity.isvprodid"),
    "misc_select": (1, "qe_identity.miscselect"), "attributes": (bytes(16), "qe_identity.attributes"),
    "isv_svn": (1, "tcb.qe_level"),
}


@each_kind
@pytest.mark.parametrize("field", IDENTITY)
def test_t01_an_identity_with_one_field_changed_is_anothers(intel_case, kind, field):
    value, reason = IDENTITY[field]
    assert refusal(intel_case(kind).altered(qe_identity=lambda q: replace(q, **{field: value}))) == reason


@each_kind
@pytest.mark.parametrize("field", REPORT)
def test_t01_a_genuine_report_of_another_enclave_is_not_the_quoting_enclaves(intel_case, kind, field):
    """Signed by the very PCK key: any enclave on the platform can be certified by it."""
    value, reason = REPORT[field]
    assert refusal(intel_case(kind).altered(
        qe_report=lambda r: replace(r, report=replace(r.report, **{field: value})))) == reason


@each_kind
def test_t01_the_identity_is_signed_by_the_signing_leaf_and_as_it_stands(intel_case, kind):
    case = intel_case(kind)
    assert refusal(case.altered(qe_identity=lambda q: replace(q, signer=case.maker.key("platform_ca")))) == (
        "qe_identity.signature")
    edited = case.intel_collateral.qe_identity.replace(b'"isvprodid":', b'"isvprodid": ')
    assert refusal(case.given(qe_identity=edited)) == "qe_identity.signature"
    assert case.given(qe_identity=None).verdict().error.id == "collateral.qe_identity"


@each_kind
@pytest.mark.parametrize("measured", [bytes(32), b"\xff" * 32])
def test_t01_the_measurement_of_the_quoting_enclave_is_left_to_its_signer(intel_case, kind, measured):
    """By the maker's rules: a new build of the same signer, product and version is the quoting enclave too."""
    assert intel_case(kind).altered(
        qe_report=lambda r: replace(r, report=replace(r.report, mr_enclave=measured))).verdict().accepted


# -- T-02 vendor, and the quoting enclave's own attributes; once lost elsewhere, never here ----------------------------


@each_kind
def test_t02_every_byte_of_the_vendor_counts(intel_case, kind):
    def other(quote: Any, position: int) -> Any:
        vendor = bytearray(quote.header.qe_vendor_id)
        vendor[position] ^= 0x40
        return replace(quote, header=replace(quote.header, qe_vendor_id=bytes(vendor)))

    for position in range(16):
        assert refusal(intel_case(kind).altered(quote=lambda q, p=position: other(q, p))) == "quote.vendor", position


@each_kind
@pytest.mark.parametrize("mask", ["fbffffffffffffff0000000000000000", "f9ffffffffffffff0000000000000000", "00" * 16])
@pytest.mark.parametrize("allowed", [(), ("TD_DEBUG", "SGX_DEBUG")])
def test_t02_a_quoting_enclave_in_debug_mode_is_refused_whatever_the_identity_masks(intel_case, kind, mask, allowed):
    """Allowing debug of the workload does not allow it here."""
    case = replace(intel_case(kind), expectations=Expectations(allowed_flags=allowed)).altered(
        qe_report=lambda r: replace(r, report=replace(r.report, attributes=word(0x17) + r.report.attributes[8:])),
        qe_identity=lambda q: replace(q, attributes_mask=bytes.fromhex(mask), attributes=bytes(
            a & m for a, m in zip(word(0x17) + bytes(8), bytes.fromhex(mask), strict=True))))
    assert refusal(case) == "qe_identity.debug"


# -- T-03 the attestation key ------------------------------------------------------------------------------------------


@each_kind
def test_t03_a_genuine_report_does_not_front_another_key(intel_case, kind):
    """The body signed by a key of the attacker's, under a QE report that another quote was honestly made with."""
    case = intel_case(kind)
    forged = case.altered(quote=lambda q: replace(q, signer=case.other.attestation_key,
                                                  attestation_key=case.other.attestation_key.public_xy))
    assert refusal(forged) == "qe_report.binding"
    assert refusal(case.altered(quote=lambda q: replace(q, signer=case.other.attestation_key))) == "quote.signature"


def data_of(report: Any, key: bytes, how: str) -> bytes:
    digests = {
        "the key alone": hashlib.sha256(key).digest() + bytes(32),
        "the data before the key": hashlib.sha256(report.auth_data + key).digest() + bytes(32),
        "SHA-512": hashlib.sha512(key + report.auth_data).digest(),
        "in the upper half": bytes(32) + hashlib.sha256(key + report.auth_data).digest(),
        "in both halves": hashlib.sha256(key + report.auth_data).digest() * 2,
        "nothing": bytes(64),
        "the key with its prefix": hashlib.sha256(b"\x04" + key + report.auth_data).digest() + bytes(32),
    }
    return digests[how]


@each_kind
@pytest.mark.parametrize("how", ["the key alone", "the data before the key", "SHA-512", "in the upper half",
                                 "in both halves", "nothing", "the key with its prefix"])
def test_t03_the_key_is_bound_in_the_one_way(intel_case, kind, how):
    key = intel_case(kind).maker.attestation_key.public_xy
    assert refusal(intel_case(kind).altered(qe_report=lambda r: replace(r, report=replace(
        r.report, report_data=data_of(r, key, how))))) == "qe_report.binding"


@each_kind
@pytest.mark.parametrize("size", [0, 1, 31, 33, 1000])
def test_t03_authentication_data_of_any_length_is_bound(intel_case, kind, size):
    case = intel_case(kind)
    key, data = case.maker.attestation_key.public_xy, b"\x5a" * size
    assert case.altered(qe_report=lambda r: replace(r, auth_data=data).bound(key)).verdict().accepted
    assert refusal(case.altered(qe_report=lambda r: replace(r, auth_data=data))) == "qe_report.binding"


@each_kind
def test_t03_bytes_do_not_move_between_key_and_authentication_data(intel_case, kind):
    """A digest over both: the split is fixed by the key's length, so nothing can be shifted across."""
    case = intel_case(kind)
    key = case.maker.attestation_key.public_xy
    shifted = case.altered(qe_report=lambda r: replace(replace(r, auth_data=b"").bound(key), auth_data=key[:1]))
    assert refusal(shifted) == "qe_report.binding"


# -- T-04 the TDX module -----------------------------------------------------------------------------------------------


def modules(**changes: Any) -> Any:
    return lambda t: replace(t, module_identities=tuple(replace(i, **changes) for i in MODULE_IDENTITIES))


@each_td
@pytest.mark.parametrize(("alteration", "reason"), [
    (lambda t: replace(t, module_identities=None), "tcb.module_level"),
    (lambda t: replace(t, module_identities=()), "tcb.module_level"),
    (lambda t: replace(t, module_identities=MODULE_IDENTITIES[:1]), "tcb.module_level"),
    (lambda t: replace(t, module_identities=tuple(replace(i, id=i.id.lower()) for i in MODULE_IDENTITIES)),
     "tcb.module_level"),
    (lambda t: replace(t, module_identities=tuple(replace(i, id=i.id.replace("0", "")) for i in MODULE_IDENTITIES)),
     "tcb.module_level"),
    (modules(levels=()), "tcb.module_level"), (modules(mr_signer=b"\x01" * 48), "tdx_module.mrsigner"),
    (modules(attributes=word(1)), "tdx_module.attributes"),
])
def test_t04_the_identity_of_the_modules_version_is_needed_and_compared(intel_case, kind, alteration, reason):
    assert refusal(intel_case(kind).altered(tcb_info=alteration)) == reason


def test_t04_tcb_info_without_a_module_is_no_tcb_info_for_tds(intel_case):
    verdict = intel_case().altered(tcb_info=lambda t: replace(t, module=None)).verdict()
    assert (verdict.authentic, verdict.error.id) == (None, "collateral.tcb_info.tdxModule")


@each_td
def test_t04_the_module_of_version_zero_is_the_documents_plain_one(intel_case, kind):
    old = bytes((5, 0, 8)) + bytes(13)
    case = intel_case(kind).says(tee_tcb_svn=old)
    if kind == "tdx-v5-td15":
        case = case.says(v15=replace(case.body.v15, tee_tcb_svn2=old))
    assert case.verdict().accepted
    other = case.altered(tcb_info=lambda t: replace(t, module=replace(t.module, mr_signer=b"\x01" * 48)))
    assert refusal(other) == "tdx_module.mrsigner"
    assert case.altered(tcb_info=modules(mr_signer=b"\x01" * 48)).verdict().accepted


@each_td
def test_t04_every_byte_of_the_modules_signer_counts(intel_case, kind):
    for position in range(48):
        signer = bytes(position) + b"\x01" + bytes(47 - position)
        assert refusal(intel_case(kind).says(mr_signer_seam=signer)) == "tdx_module.mrsigner", position


@each_td
def test_t04_no_attribute_of_the_module_may_be_set_inside_or_outside_the_mask(intel_case, kind):
    for bit in range(64):
        case = intel_case(kind).says(seam_attributes=word(1 << bit))
        assert refusal(case) == "tdx_module.attributes", bit
        outside = word(~(1 << bit) & (1 << 64) - 1)
        masked = case.altered(tcb_info=modules(attributes_mask=outside))
        assert refusal(masked) == "tdx_module.seam_attributes", bit


@each_td
@pytest.mark.parametrize(("minor", "status"), [(6, "UpToDate"), (4, "OutOfDate"), (2, "Revoked"), (1, None), (0, None)])
def test_t04_the_modules_version_enters_the_status(intel_case, kind, minor, status):
    case = intel_case(kind).says(tee_tcb_svn=bytes((minor, 1, 8)) + bytes(13))
    if kind == "tdx-v5-td15":
        case = case.says(v15=replace(case.body.v15, tee_tcb_svn2=case.body.tee_tcb_svn))
    verdict = case.verdict()
    assert verdict.status == (status or "NotSupported")
    assert verdict.authentic is (status is not None)
    assert verdict.accepted is (status == "UpToDate")


# -- T-05 debug --------------------------------------------------------------------------------------------------------

SEPT_VE_DISABLE = 1 << 28


@each_td
def test_t05_of_the_first_byte_of_the_attributes_only_zero_is_trusted(intel_case, kind):
    """All 256 values; allowing debug by name frees bit 0 and no other, and the claims say what was set."""
    prepared = Prepared()
    for value in range(256):
        case = intel_case(kind).says(td_attributes=word(SEPT_VE_DISABLE | value))
        case = replace(case, quote=case.raw)
        for allowed in ((), ("TD_DEBUG",)):
            verdict = replace(case, expectations=Expectations(allowed_flags=allowed)).verdict(prepared)
            assert verdict.authentic is True
            assert verdict.accepted is (value == 0 or (allowed != () and value == 1)), value
            assert ("TD_DEBUG" in verdict.flags) is bool(value & 1)
            assert ("TD_UNTRUSTED" in verdict.flags) is (value > 1)
            assert verdict.claims.named()["td_attributes"][0] == value


@pytest.mark.parametrize("kind", ["sgx-v3", "sgx-v4", "sgx-v5"])
def test_t05_an_enclave_in_debug_mode_is_refused_until_it_is_allowed_by_name(intel_case, kind):
    case = intel_case(kind).says(attributes=word(7) + word(7))
    assert mismatches(case) == ["accept.sgx_debug"]
    assert mismatches(case, allowed_flags=("SGX_DEBUG",)) == []
    assert mismatches(case, allowed_flags=("TD_DEBUG",)) == ["accept.sgx_debug"]


# -- T-06 service TDs and migration ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tdx-v5-td15", "tdx-v5-td15ex"])
def test_t06_a_service_td_is_refused_until_it_is_allowed(intel_case, kind):
    case, allowed = intel_case(kind), {"allowed_flags": ("MRSERVICETD_NONZERO",)}
    for bit in range(0, 384, 13):
        service = (1 << bit).to_bytes(48, "little")
        served = case.says(v15=replace(case.body.v15, mr_service_td=service))
        assert mismatches(served) == ["accept.mrservicetd_nonzero"], bit
        assert mismatches(served, **allowed, mr_service_td=(service,)) == []
        assert mismatches(served, **allowed, mr_service_td=(bytes(48),)) == ["expect.mr_service_td"]
    assert mismatches(served, **allowed) == []


@each_td
def test_t06_a_migratable_td_is_refused_until_it_is_allowed(intel_case, kind):
    case = intel_case(kind).says(td_attributes=word(SEPT_VE_DISABLE | 1 << 29))
    assert mismatches(case) == ["accept.migratable"]
    assert mismatches(case, allowed_flags=("MIGRATABLE",)) == []


def test_t06_the_module_beneath_it_now_has_a_floor_of_its_own(intel_case):
    case = intel_case("tdx-v5-td15")
    now = bytes((4, 1, 8)) + bytes(13)
    old = case.says(v15=replace(case.body.v15, tee_tcb_svn2=now))
    floor = bytes((5, 1, 0)) + bytes(13)
    assert mismatches(old, minimum_tee_tcb_svn=floor) == []
    assert mismatches(old, minimum_tee_tcb_svn2=floor) == ["expect.minimum_tee_tcb_svn2"]
    assert old.verdict().claims.named()["tcb"]["current"]["status"] == "OutOfDate"


def test_t06_a_td_on_a_module_that_was_revoked_since_is_revoked(intel_case):
    case = intel_case("tdx-v5-td15")
    verdict = case.says(v15=replace(case.body.v15, tee_tcb_svn2=bytes((2, 1, 8)) + bytes(13))).verdict()
    assert (verdict.authentic, verdict.accepted, verdict.status) == (True, False, "Revoked")


# -- T-07 attributes, XFAM, configuration ids, modes of enclaves -------------------------------------------------------

# Bit of TDATTRIBUTES that may be set: what of it is told. Bits 0 to 7 are T-05's.
KNOWN_ATTRIBUTES = {16: None, 27: None, 28: None, 29: "migratable", 30: None, 31: None, 62: None, 63: None}


@each_td
def test_t07_every_other_attribute_is_known_or_refused(intel_case, kind):
    for bit in range(8, 64):
        found = mismatches(intel_case(kind).says(td_attributes=word(SEPT_VE_DISABLE | 1 << bit)))
        told = KNOWN_ATTRIBUTES.get(bit, "td_attributes_unknown")
        assert found == ([f"accept.{told}"] if told else []), bit


@each_td
def test_t07_a_td_that_takes_virtualisation_exceptions_is_refused_until_it_is_allowed(intel_case, kind):
    case = intel_case(kind).says(td_attributes=bytes(8))
    assert mismatches(case) == ["accept.sept_ve_disable_not_set"]
    assert mismatches(case, allowed_flags=("SEPT_VE_DISABLE_NOT_SET",)) == []


@each_td
def test_t07_each_bit_of_attributes_and_xfam_can_be_pinned(intel_case, kind):
    case, prepared = intel_case(kind), Prepared()
    case = replace(case, quote=case.raw)
    for name in ("td_attributes", "xfam"):
        have = int.from_bytes(getattr(case.body, name), "little")
        for bit in range(64):
            for wanted in (0, 1 << bit):
                demand = Expectations(**{name: Masked(word(wanted), word(1 << bit))})
                verdict = replace(case, expectations=demand).verdict(prepared)
                assert verdict.accepted is ((have & 1 << bit) == wanted), (name, bit)


@each_td
@pytest.mark.parametrize("name", ["mr_config_id", "mr_owner", "mr_owner_config"])
def test_t07_an_unset_configuration_is_zero_and_not_whatever_is_expected(intel_case, kind, name):
    case = intel_case(kind)
    assert mismatches(case, **{name: (b"\x01" * 48,)}) == [f"expect.{name}"]
    assert mismatches(case, **{name: (bytes(48),)}) == []
    assert mismatches(case.says(**{name: b"\x01" * 48}), **{name: (bytes(48),)}) == [f"expect.{name}"]


# Bit of an enclave's attributes: what is told of it.
SGX_FLAGS = {1: "sgx_debug", 4: "sgx_provision_key", 5: "sgx_einit_token_key"}


def test_t07_the_flags_of_an_enclave_are_told_or_can_be_pinned(intel_case):
    pinned = Masked(word(5) + bytes(8), word(0xFFFF_FFFF_FFFF_FFFF) + bytes(8))
    for bit in range(64):
        case = intel_case("sgx-v3").says(attributes=word(1 << bit) + word(3))
        assert mismatches(case) == ([f"accept.{SGX_FLAGS[bit]}"] if bit in SGX_FLAGS else []), bit
        assert "expect.attributes" in mismatches(case, attributes=pinned), bit


def test_t07_an_enclave_of_32_bits_or_with_key_separation_differs_where_that_is_pinned(intel_case):
    case = intel_case("sgx-v3")
    for demand, flags in ((Masked(word(4, 16), word(4, 16)), 0x01), (Masked(bytes(16), word(0x80, 16)), 0x85)):
        assert mismatches(case, attributes=demand) == []
        assert mismatches(case.says(attributes=word(flags) + word(3)), attributes=demand) == ["expect.attributes"]


@pytest.mark.parametrize("name", ["reserved1", "reserved2", "reserved3", "reserved4"])
def test_t07_reserved_bytes_of_an_enclave_report_are_told(intel_case, name):
    case = intel_case("sgx-v3")
    odd = bytes(len(getattr(case.body, name)) - 1) + b"\x01"
    assert mismatches(case.says(**{name: odd})) == ["accept.sgx_reserved_nonzero"]


@pytest.mark.parametrize(("name", "value"), [("config_id", b"\x01" * 64), ("isv_family_id", b"\x01" * 16),
                                             ("isv_ext_prod_id", b"\x01" * 16)])
def test_t07_identities_of_an_enclave_can_be_pinned(intel_case, name, value):
    case = intel_case("sgx-v3")
    assert mismatches(case, **{name: (value,)}) == [f"expect.{name}"]
    assert mismatches(case.says(**{name: value}), **{name: (value,)}) == []


# -- T-08 descriptor and certification data ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tdx-v5-td10", "tdx-v5-td15", "tdx-v5-td15ex", "sgx-v5"])
def test_t08_the_descriptor_fits_type_and_size(intel_case, kind):
    """Signed again each time: only the right pair for the body is a quote."""
    case = intel_case(kind)
    right = struct.unpack_from("<HI", case.raw, 48)
    for number, size in product(range(6), (0, 383, 384, 385, 583, 584, 585, 647, 648, 649, 884, 885, 886, 0xFFFFFFFF)):
        descriptor = struct.pack("<HI", number, size)
        verdict = case.altered(quote=lambda q, d=descriptor: replace(
            q, mutate=lambda signed: signed[:48] + d + signed[54:])).verdict()
        assert verdict.accepted is ((number, size) == right), (number, size)
        if not verdict.accepted:
            assert verdict.authentic is False
            assert verdict.error.id in ("format.quote", "quote.body_type", f"{case.tee}.quote.tee"), (number, size)


@each_kind
@pytest.mark.parametrize("kind_of_data", [CertificationType.PPID_PLAIN, CertificationType.PPID_RSA2048,
                                          CertificationType.PPID_RSA3072, CertificationType.PCK_LEAF,
                                          CertificationType.PCK_CHAIN])
def test_t08_certification_data_of_types_one_to_five_are_judged_alike(intel_case, kind, kind_of_data):
    """Types 1 to 4 only with a chain that the caller supplies; what a reference says is believed by nobody."""
    case = replace(intel_case(kind), certification=kind_of_data)
    assert case.verdict().accepted
    assert case.verdict().claims == intel_case(kind).verdict().claims
    without = case.given(pck_chain=None).verdict()
    assert without.authentic is (True if kind_of_data is CertificationType.PCK_CHAIN else None)
    forged = case.altered(quote=lambda q: replace(q, signer=case.other.attestation_key))
    assert refusal(forged) == "quote.signature"


@each_kind
@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 50])
def test_t08_there_are_exactly_three_certificates(intel_case, kind, count):
    case = intel_case(kind)
    chain = case.maker.chain(*(["pck", "platform_ca", "root"] * 20)[:count])
    altered = case.altered(quote=lambda q: replace(q, certification=replace(
        q.certification, certification_data=chain)))
    assert refusal(altered) in ("pck_chain.length", "certificate")


@each_kind
def test_t08_another_root_certificate_of_the_same_key_is_not_the_pinned_one(intel_case, kind):
    """Byte for byte: other dates, other extensions, another serial number, a garbage signature."""
    case = intel_case(kind)
    for change in (lambda p: replace(p, not_after=p.not_after + 1), lambda p: replace(p, serial=1),
                   lambda p: p.without("2.5.29.31"), lambda p: replace(p, signer=case.other.key("root"))):
        assert refusal(case.altered(root=change)) == "pck_chain.root"


@each_kind
def test_t08_a_quote_of_one_machine_under_the_chain_of_another_is_refused(intel_case, kind):
    """Both genuine, both certified by the same CA: the QE report was signed by the other machine's key."""
    case = intel_case(kind)
    other = case.altered(pck=lambda p: replace(p, public_key=case.other.key("pck").public_key))
    quote = Quote.from_bytes(case.raw)
    grafted = replace(quote, certification=replace(quote.certification, certification_data=other.maker.pck_chain))
    assert refusal(replace(case, quote=grafted.to_bytes())) == "qe_report.signature"


@each_kind
def test_t08_the_body_of_one_quote_under_the_signature_of_another_is_refused(intel_case, kind):
    case = intel_case(kind)
    one, other = Quote.from_bytes(case.raw), Quote.from_bytes(case.says(report_data=b"\x01" * 64).raw)
    for graft in (replace(one, signature=other.signature), replace(other, signature=one.signature)):
        assert refusal(replace(case, quote=graft.to_bytes())) == "quote.signature"
