"""The small Intel, judged by dcap-qvl: real-shaped when nothing is altered, refused for the one thing that is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dcap_qvl
import pytest

from verifier.formats.enclave_report import EnclaveReport
from verifier.formats.quote import CertificationType, Quote
from verifier.formats.td_report import TdReport
from verifier.software_tee.certificates import doubled, without
from verifier.software_tee.intel import SmallIntel, collateral_json
from verifier.software_tee.intel_platform import FMSPC, TCB, Field, Platform
from verifier.software_tee.intel_quotes import ENCLAVE_REPORT, TD_REPORT, TD_REPORT_15, TD_REPORT_15_EXTENDED

Judge = Callable[..., dcap_qvl.VerifiedReport]


@pytest.mark.parametrize(("body", "tee", "version", "stated"), [
    (TD_REPORT, "tdx", None, 4), (TD_REPORT, "tdx", 5, 5), (TD_REPORT_15, "tdx", None, 5),
    (TD_REPORT_15_EXTENDED, "tdx", None, 5), (ENCLAVE_REPORT, "sgx", None, 3),
], ids=["tdx-v4", "tdx-v5-td10", "tdx-v5-td15", "tdx-v5-td15ex", "sgx-v3"])
def test_dcap_qvl_accepts(intel: SmallIntel, dcap_verdict: Judge, body: TdReport | EnclaveReport, tee: str,
                          version: int | None, stated: int) -> None:
    quote = intel.quote(replace(body, report_data=bytes(range(64))), version=version)
    verdict = dcap_verdict(intel, quote, tee)
    assert (verdict.status, list(verdict.advisory_ids)) == ("UpToDate", [])
    assert Quote.from_bytes(quote).header.version == stated
    assert Quote.from_bytes(quote).to_bytes() == quote


@pytest.mark.parametrize("version", [4, 5])
def test_sgx_quotes_of_later_versions_parse(intel: SmallIntel, version: int) -> None:
    """dcap-qvl takes SGX in version 3 only."""
    quote = Quote.from_bytes(intel.quote(ENCLAVE_REPORT, version=version))
    assert (quote.header.version, quote.body) == (version, ENCLAVE_REPORT)


def test_platforms_of_both_cas(intel: SmallIntel, dcap_verdict: Judge) -> None:
    single = intel.on(Platform(ca="processor"))
    assert dcap_verdict(single, single.quote(TD_REPORT)).status == "UpToDate"
    extension = dcap_qvl.parse_quote(single.quote(TD_REPORT)).pck_extension()
    assert extension.platform_instance_id is None
    assert dcap_qvl.parse_quote(intel.quote(TD_REPORT)).pck_extension().platform_instance_id == b"software inst 01"


def test_dcap_qvl_reads_the_platform(intel: SmallIntel) -> None:
    platform = intel.platform
    extension = dcap_qvl.parse_quote(intel.quote(TD_REPORT)).pck_extension()
    told = extension.fmspc, extension.pce_id, extension.ppid, extension.cpu_svn, extension.pce_svn
    assert told == (platform.fmspc, platform.pce_id, platform.ppid, platform.cpu_svn, platform.pce_svn)


@pytest.mark.parametrize(("components", "pce_svn", "status"), [
    ((8, 8, 2, 2, 4, 1, 0, 6), 13, "UpToDate"), ((9, 9, 9, 9, 9, 9, 9, 9), 20, "UpToDate"),
    ((8, 8, 2, 2, 3, 1, 0, 6), 13, "SWHardeningNeeded"),
    ((8, 8, 2, 2, 3, 0, 0, 6), 13, "ConfigurationAndSWHardeningNeeded"),
    ((7, 7, 2, 2, 3, 0, 0, 3), 12, "OutOfDate"), ((6, 6, 2, 2, 2, 0, 0, 3), 11, "OutOfDateConfigurationNeeded"),
])
def test_each_level_is_within_reach(intel: SmallIntel, dcap_verdict: Judge, components: tuple[int, ...], pce_svn: int,
                                    status: str) -> None:
    maker = intel.on(Platform(components=components + (0,) * 8, pce_svn=pce_svn))
    assert dcap_verdict(maker, maker.quote(TD_REPORT)).status == status


def test_a_revoked_level_is_within_reach(intel: SmallIntel, dcap_verdict: Judge) -> None:
    maker = intel.on(Platform(components=(3, 3, 1, 1) + (0,) * 12, pce_svn=5))
    with pytest.raises(ValueError, match="Revoked"):
        dcap_verdict(maker, maker.quote(TD_REPORT))


Other = SmallIntel.create(b"another maker's seed", at=1_780_000_000)


@pytest.mark.parametrize(("alterations", "said"), [
    ({"pck": lambda c: replace(c, signer=Other.key("platform_ca"))}, "InvalidSignatureForPublicKey"),
    ({"platform_ca": lambda c: replace(c, signer=Other.key("root"))}, "InvalidSignatureForPublicKey"),
    ({"pck": lambda c: replace(c, not_after=c.not_before)}, "CertExpired"),
    ({"pck_crl": lambda c: replace(c, signer=Other.key("platform_ca"))}, "InvalidCrlSignatureForPublicKey"),
    ({"tcb_info": lambda t: replace(t, signer=Other.key("tcb_signing"))}, "Signature is invalid for tcb_info"),
    ({"tcb_info": lambda t: replace(t, fmspc=bytes(6))}, "Fmspc mismatch"),
    ({"tcb_info": lambda t: replace(t, next_update=t.issue_date - 1)}, "TCBInfo expired"),
    ({"tcb_info": lambda t: replace(t, levels=())}, "No matching TCB level"),
    ({"tcb_info": lambda t: replace(t, document=lambda told: told | {"version": 2})}, "non-TDX TCB info"),
    ({"tcb_info": lambda t: replace(t, mutate=lambda text: text.replace(b"UpToDate", b"FooBar"))},
     "unknown variant `FooBar`"),
    ({"qe_identity": lambda q: replace(q, mr_signer=bytes(32))}, "QE MRSIGNER mismatch"),
    ({"qe_identity": lambda q: replace(q, isv_prod_id=7)}, "QE ISVPRODID mismatch"),
    ({"qe_identity": lambda q: replace(q, id="QE")}, "Unsupported QE Identity"),
    ({"qe_report": lambda q: replace(q, signer=Other.key("pck"))}, "Signature is invalid for qe_report"),
    ({"qe_report": lambda q: replace(q, auth_data=bytes(32))}, "QE report hash mismatch"),
    ({"qe_report": lambda q: replace(q, report=replace(q.report, attributes=bytes(16)))}, "QE ATTRIBUTES mismatch"),
    ({"quote": lambda q: replace(q, signer=Other.key("pck"))}, "report signature is invalid"),
    ({"quote": lambda q: replace(q, header=replace(q.header, qe_vendor_id=bytes(16)))}, "Unknown QE vendor"),
    ({"sgx_extension": lambda fields: without(fields, FMSPC)}, "Failed to find Fmspc"),
], ids=lambda value: "+".join(value) if isinstance(value, dict) else "")
def test_one_alteration_refuses_for_its_own_reason(intel: SmallIntel, dcap_verdict: Judge, alterations: dict[str, Any],
                                                   said: str) -> None:
    altered = intel.altered(**alterations)
    with pytest.raises(ValueError, match=said):
        dcap_verdict(altered, altered.quote(TD_REPORT))


def test_revoked_certificates_refuse(intel: SmallIntel, dcap_verdict: Judge) -> None:
    for crl, role in (("pck_crl", "pck"), ("root_crl", "platform_ca"), ("root_crl", "tcb_signing")):
        altered = intel.altered(**{crl: lambda c, role=role: c.revoking(intel.serial(role))})
        with pytest.raises(ValueError, match="Revoked"):
            dcap_verdict(altered, altered.quote(TD_REPORT))


def test_a_rebound_report_with_other_authentication_data_is_accepted(intel: SmallIntel, dcap_verdict: Judge) -> None:
    """The binding is made of the key and the data, so changing the data and binding again is right."""
    altered = intel.altered(qe_report=lambda q: replace(q, auth_data=bytes(32)).bound(intel.attestation_key.public_xy))
    assert dcap_verdict(altered, altered.quote(TD_REPORT)).status == "UpToDate"


def test_the_extension_keeps_its_nesting_when_fields_are_altered(intel: SmallIntel) -> None:
    fields = intel.platform.sgx_extension()
    genuine = intel.quote(TD_REPORT)
    assert dcap_qvl.parse_quote(genuine).pck_extension().pce_svn == 13
    again = intel.altered(sgx_extension=lambda all_fields: tuple(
        Field(f.oid, b"\x02\x01\x63") if f.oid == f"{TCB}.17" else f for f in all_fields))
    assert dcap_qvl.parse_quote(again.quote(TD_REPORT)).pck_extension().pce_svn == 0x63
    assert len(doubled(fields, FMSPC)) == len(fields) + 1


@pytest.mark.parametrize(("kind", "size"), [
    (CertificationType.PPID_PLAIN, 36), (CertificationType.PPID_RSA2048, 276), (CertificationType.PPID_RSA3072, 404),
])
def test_quotes_without_their_chain_name_the_platform(intel: SmallIntel, kind: CertificationType, size: int) -> None:
    certification = Quote.from_bytes(intel.quote(TD_REPORT, certification=kind)).certification
    data = certification.certification_data
    assert (certification.certification_type, len(data)) == (kind, size)
    assert data[-20:] == intel.platform.cpu_svn + b"\x0d\x00" + intel.platform.pce_id


def test_a_bare_leaf_is_certification_type_4(intel: SmallIntel) -> None:
    certification = Quote.from_bytes(intel.quote(TD_REPORT, certification=CertificationType.PCK_LEAF)).certification
    assert certification.certification_data == intel.chain("pck")


def test_signed_texts_travel_unchanged(intel: SmallIntel) -> None:
    members = intel.collateral()
    told = collateral_json(members)
    assert told["tcb_info"].encode() == members["tcb_info"]
    assert json.loads(told["tcb_info"])["tdxModuleIdentities"][0]["id"] == "TDX_03"
    assert told["pck_certificate_chain"].encode() == members["pck_chain"]
    assert bytes.fromhex(told["root_ca_crl"]) == members["root_ca_crl"]


def test_a_seed_determines_every_byte(seed: bytes, at: int, intel: SmallIntel) -> None:
    again = SmallIntel.create(seed, at=at)
    assert again.quote(TD_REPORT) == intel.quote(TD_REPORT)
    for tee in ("tdx", "sgx"):
        assert again.collateral(tee) == intel.collateral(tee)
    assert SmallIntel.create(seed[::-1], at=at).certificate("root") != intel.certificate("root")


def test_roots_do_not_depend_on_the_moment(seed: bytes, at: int, intel: SmallIntel) -> None:
    later = SmallIntel.create(seed, at=at + 1000)
    assert later.certificate("root") == intel.certificate("root")
    assert later.collateral() != intel.collateral()
