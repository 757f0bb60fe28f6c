"""Published ways in which verifiers failed, tried here on Hygon CSV (docs/attacks.md, V)."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import verifier
from verifier import Binding, Collateral, Evidence, Expectations, Tee
from verifier.endorsements.collateral import HygonCollateral
from verifier.endorsements.roots import Roots
from verifier.formats.csv_json import evidence_to_json
from verifier.formats.csv_report import CsvReport
from verifier.formats.hygon_cert import Usage
from verifier.results.verdict import Verdict
from verifier.software_tee.hygon import SmallHygon
from verifier.verify import verify

AT = 1_780_000_000
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
DATA = bytes(range(64))
HYGON, ATTACKER = (SmallHygon.create(seed, at=AT) for seed in (b"a small Hygon under attack", b"an attacker's Hygon"))
ROOTS = Roots.only_software([HYGON.certificate("hrk")])
KINDS = {"v1": (1, False), "v1-raw": (1, True), "v2": (2, False), "v3": (3, False)}
each_kind = pytest.mark.parametrize("kind", KINDS)


@dataclass(frozen=True)
class Case:
    """One report under one maker; ``quote`` None has the maker sign its guest."""

    maker: SmallHygon
    version: int
    quote: bytes | None = None
    supplied: tuple[bytes, ...] | None = None
    certificates: tuple[bytes, ...] = ()

    def altered(self, **alterations: Any) -> Case:
        return replace(self, maker=self.maker.altered(**alterations))

    @property
    def raw(self) -> bytes:
        return self.quote or self.maker.report(self.version, self.maker.info(self.version, DATA))

    def verdict(self, binding: Binding | None = None, expectations: Expectations | None = None,
                tee: Tee = Tee.CSV) -> Verdict:
        supplied = self.supplied if self.supplied is not None else (
            self.maker.certificate("hsk"), self.maker.certificate("cek"))
        return verify(Evidence(tee, self.raw, self.certificates), at=AT, roots=ROOTS, expectations=expectations,
                      collateral=Collateral(hygon=HygonCollateral(supplied)), binding=binding or Binding(DATA))


def case_of(kind: str) -> Case:
    version, raw = KINDS[kind]
    return Case(replace(HYGON, raw=raw), version)


def refusal(case: Case) -> str:
    verdict = case.verdict()
    assert (verdict.authentic, verdict.claims) == (False, None), verdict.error
    return verdict.error.id.removeprefix("csv.")


# -- V-01 the answer of a signature routine is thrown away -------------------------------------------------------------


@each_kind
@pytest.mark.parametrize(("role", "reason"), [
    ("hsk", "hsk.signature"), ("cek", "cek.signature"), ("pek", "pek.signature"), ("report", "report.signature")])
def test_v01_csv_every_signature_by_a_fresh_key_is_refused(kind, role, reason):
    signers = {"hsk": lambda p: replace(p, signer=ATTACKER.key("hrk")),
               "cek": lambda p: replace(p, signers=(ATTACKER.key("hsk"), None)),
               "pek": lambda p: replace(p, signers=(ATTACKER.key("cek"), p.signers[1])),
               "report": lambda p: replace(p, signer=ATTACKER.key("pek"))}
    assert refusal(case_of(kind).altered(**{role: signers[role]})) == reason


@each_kind
@pytest.mark.parametrize("role", ["hsk", "cek", "pek"])
def test_v01_csv_a_key_off_its_curve_is_refused(kind, role):
    off = {"x": bytes(72), "y": b"\x05" + bytes(71)}
    assert refusal(case_of(kind).altered(**{role: lambda p: replace(p, body=replace(p.body, **off))})) == f"{role}.key"


def test_v01_csv_nothing_that_verifies_answers_with_a_boolean():
    home = Path(verifier.__file__).parent
    functions = [node for name in ("checks/csv.py", "endorsements/hygon.py", "endorsements/sm2.py", "tees/csv.py")
                 for node in ast.walk(ast.parse((home / name).read_text())) if isinstance(node, ast.FunctionDef)]
    assert len(functions) > 25
    assert [node.name for node in functions if node.returns is not None and ast.unparse(node.returns) == "bool"
            and node.name.lstrip("_").startswith(("verify", "check"))] == []


# -- V-03 values that nobody proved ------------------------------------------------------------------------------------


@each_kind
def test_v03_csv_what_nobody_signed_is_told_as_unverified_only(kind):
    """The serial number is not in the report's signature nor in any certificate."""
    canary = b"CANARY0123456789"
    case = replace(case_of(kind), maker=replace(case_of(kind).maker, serial_number=canary))
    verdict = case.verdict()
    assert verdict.accepted
    told, expected = verdict.claims.named(), case_of(kind).verdict().claims.named()
    assert told.pop("unverified") == {"serial_number": canary.decode()}
    assert expected.pop("unverified") == {"serial_number": HYGON.serial_number.decode()}
    assert told == expected


def test_v03_csv_refused_evidence_has_no_claims():
    verdict = case_of("v1").altered(report=lambda r: replace(r, signer=ATTACKER.key("pek"))).verdict()
    assert (verdict.claims, verdict.flags) == (None, ())
    assert list(verdict.to_dict()["claims"]) == ["unverified"]


# -- V-06 a missing field switches the check off -----------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("role", ["hsk", "cek", "pek"])
def test_v06_csv_a_certificate_without_a_name_is_refused(kind, role):
    nameless = {"uid_size": 0, "user_id_field": bytes(254)}
    case = case_of(kind).altered(**{role: lambda p: replace(p, body=replace(p.body, **nameless))})
    assert refusal(case) == f"{role}.user_id"


@each_kind
def test_v06_csv_empty_key_ids_are_no_match(kind):
    """An HSK that names no issuer under a CEK that names none: two absent names do not make a link."""
    nobody = case_of(kind).altered(hsk=lambda p: replace(p, body=replace(p.body, signer_key_id=bytes(16))))
    assert refusal(nobody) == "chain.root"
    verdict = case_of(kind).altered(cek=lambda p: replace(p, body=replace(p.body, signer_key_id=bytes(16)))).verdict()
    assert (verdict.authentic, verdict.error.id) == (None, "collateral.hygon.hsk")
    both = nobody.altered(hsk=lambda p: replace(p, body=replace(p.body, key_id=bytes(16))),
                          cek=lambda p: replace(p, body=replace(p.body, signer_key_id=bytes(16))))
    assert refusal(both) == "chain.root"


@each_kind
@pytest.mark.parametrize(("role", "slots"), [("cek", "cek.slots"), ("pek", "pek.slots")])
def test_v06_csv_a_certificate_that_nobody_signed_is_refused(kind, role, slots):
    unsigned = case_of(kind).altered(**{role: lambda p: replace(p, signers=(None, None))})
    assert refusal(unsigned) == slots
    owners = case_of(kind).altered(pek=lambda p: replace(p, signers=(None, p.signers[1])))
    assert refusal(owners) == "pek.slots"


# -- V-07 a link whose signature is checked on one branch only ---------------------------------------------------------


@each_kind
def test_v07_csv_the_whole_chain_of_another_maker_with_hygons_names_is_refused(kind):
    """Key ids copied from the trusted maker, everything signed by the attacker's keys."""
    def named(own: str, issuer: str):
        return lambda p: replace(p, body=replace(p.body, key_id=HYGON.key_id(own), signer_key_id=HYGON.key_id(issuer)))

    version, raw = KINDS[kind]
    forged = replace(ATTACKER, raw=raw).altered(
        hsk=named("hsk", "hrk"), cek=lambda p: replace(p, body=replace(p.body, signer_key_id=HYGON.key_id("hsk"))))
    assert refusal(Case(forged, version)) == "hsk.signature"
    hrk = forged.altered(hrk=named("hrk", "hrk")).certificate("hrk")
    assert refusal(Case(forged, version, supplied=(hrk, forged.certificate("hsk"), forged.certificate("cek")))) == (
        "chain.root")
    genuine = (HYGON.certificate("hrk"), HYGON.certificate("hsk"), forged.certificate("cek"))
    assert refusal(Case(forged, version, supplied=genuine)) == "cek.signature"
    assert refusal(Case(forged, version, supplied=(HYGON.certificate("hsk"), HYGON.certificate("cek")))) == (
        "pek.signature")


@each_kind
def test_v07_csv_order_doubles_and_strangers_change_nothing(kind):
    """The chain is put together by what certificates say, not by where they lie; none of it lifts a check."""
    case = case_of(kind)
    hsk, cek, hrk = (case.maker.certificate(role) for role in ("hsk", "cek", "hrk"))
    strangers = (ATTACKER.certificate("cek"), ATTACKER.certificate("hsk"), ATTACKER.certificate("pek"))
    for supplied in ((cek, hsk), (hsk, hsk, cek, cek), (hrk, cek, hsk, hrk), (*strangers, hsk, cek)):
        assert replace(case, supplied=supplied).verdict().accepted
        forged = replace(case, supplied=supplied).altered(report=lambda r: replace(r, signer=ATTACKER.key("pek")))
        assert refusal(forged) == "report.signature"
        stolen = replace(case.altered(pek=lambda p: replace(p, signers=(case.maker.key("pek"), None))),
                         supplied=supplied)
        # Where nobody's key fits, the first CEK is judged, which may be a stranger's.
        assert refusal(stolen) == ("chain.root" if supplied[0] == strangers[0] else "pek.signature")


# -- V-08 certificates outside their role ------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("usage", [Usage.PDH, Usage.OCA, Usage.PEK])
def test_v08_csv_what_is_no_cek_signs_no_pek(kind, usage):
    case = case_of(kind).altered(cek=lambda p: replace(p, body=replace(p.body, usage=usage)))
    verdict = case.verdict()
    if usage is Usage.PEK:  # a PEK beside the evidence is just a PEK
        assert (verdict.authentic, verdict.error.id) == (None, "collateral.hygon.cek")
    else:
        assert (verdict.authentic, verdict.error.id) == (False, "csv.cek.usage")


@each_kind
@pytest.mark.parametrize("usage", [Usage.CEK, Usage.PDH, Usage.OCA])
def test_v08_csv_what_is_no_pek_signs_no_report(kind, usage):
    case = case_of(kind).altered(pek=lambda p: replace(p, body=replace(p.body, usage=usage)))
    assert refusal(case) == "pek.usage"


@each_kind
def test_v08_csv_a_root_is_no_hsk_and_an_hsk_no_root(kind):
    case = case_of(kind)
    as_hsk = case.altered(cek=lambda p: replace(p, body=replace(p.body, signer_key_id=HYGON.key_id("hrk")),
                                                signers=(HYGON.key("hrk"), None)))
    assert refusal(replace(as_hsk, supplied=(HYGON.certificate("hrk"), as_hsk.maker.certificate("cek")))) == "hsk.usage"
    below = case.altered(hsk=lambda p: replace(p, body=replace(p.body, signer_key_id=HYGON.key_id("hsk")),
                                               signer=HYGON.key("hsk")))
    assert refusal(below) == "chain.root"


@each_kind
def test_v08_csv_the_cek_itself_signs_no_report(kind):
    """Neither does the platform owner's key, though it signed the PEK too."""
    for role in ("cek", "hsk", "hrk", "oca"):
        case = case_of(kind)
        assert refusal(case.altered(report=lambda r, role=role: replace(r, signer=replace(
            HYGON.key(role), user_id=b"HYGON-SSD-PEK")))) == "report.signature"
        owned = case.altered(pek=lambda p: replace(p, signers=(HYGON.key("oca"), None)))
        assert refusal(owned) == "pek.signature"


@each_kind
def test_v08_csv_a_signature_says_whose_it_is(kind):
    """The same key under another's name signs something else."""
    for role in ("cek", "pek"):
        case = case_of(kind).altered(**{role: lambda p: replace(p, signers=(replace(
            p.signers[0], user_id=b"1234567812345678"), p.signers[1]))})
        assert refusal(case) == f"{role}.signature"


# -- V-09 bytes verified differ from bytes interpreted -----------------------------------------------------------------


def remasked(report: bytes, mask: int) -> bytes:
    """A version 1 report under another mask: what is stored and signed stays, and all that is read from it changes."""
    found = CsvReport.from_bytes(report)
    info = found.info
    changed = {name: bytes(byte ^ (mask >> 8 * (index % 4) & 0xFF) for index, byte in enumerate(getattr(info, name)))
               for name in ("user_pubkey_digest", "vm_id", "vm_version", "report_data", "mnonce", "measure")}
    words = {"policy": info.policy ^ mask, "anonce": info.anonce ^ mask}
    other = replace(found, info=replace(info, **changed, **words))
    assert other.signed_bytes == found.signed_bytes
    return other.to_bytes()


@pytest.mark.parametrize("mask", [1, 4, 0x80000000, 0x12345678])
def test_v09_csv_another_mask_changes_every_field_at_once(mask):
    """Hygon signs the masked bytes and not the mask. What is pinned ties it down: nothing can be changed alone."""
    quote = remasked(case_of("v1").raw, mask)
    verdict = replace(case_of("v1"), quote=quote).verdict()
    assert (verdict.authentic, verdict.accepted) == (True, False)
    assert "csv.binding.report_data" in {check.id for check in verdict.mismatches}
    unbound = replace(case_of("v1"), quote=quote).verdict(Binding.insecure_unbound())
    assert unbound.claims.body["measure"] != HYGON.guest.measure
    assert unbound.claims.body["policy"]["raw"] == hex(HYGON.guest.policy ^ mask)


def test_v09_csv_a_debugged_guest_cannot_pass_for_another_where_its_measurement_is_known():
    """The host debugs the expected guest and has it ask for report data that another mask turns into the right one."""
    debugged = replace(HYGON, guest=replace(HYGON.guest, policy=0x44))
    asked = bytes(byte ^ (1 if index % 4 == 0 else 0) for index, byte in enumerate(DATA))
    quote = remasked(debugged.report(1, debugged.info(1, asked)), 1)
    verdict = replace(case_of("v1"), quote=quote).verdict()
    assert verdict.claims.body["policy"]["nodbg"] == 1
    assert verdict.claims.body["measure"] != HYGON.guest.measure


@pytest.mark.parametrize("mask", [1, 0x100, 0x12345678])
def test_v09_csv_usage_and_algorithm_must_fit_the_mask(mask):
    raw = bytearray(case_of("v1").raw)
    raw[0xBC:0xC0] = (HYGON.guest.anonce ^ mask).to_bytes(4, "little")
    assert refusal(replace(case_of("v1"), quote=bytes(raw))) == "report.sig_usage"


def test_v09_csv_what_is_signed_is_what_is_stored():
    """A signature over the fields in clear is none."""
    def in_clear(signed: bytes) -> bytes:
        anonce = HYGON.guest.anonce.to_bytes(4, "little")
        return bytes(byte ^ anonce[index % 4] for index, byte in enumerate(signed))

    assert refusal(case_of("v1").altered(report=lambda r: replace(r, mutate=in_clear))) == "report.signature"


# -- V-13 evidence of another kind -------------------------------------------------------------------------------------


@each_kind
def test_v13_csv_evidence_declared_as_another_tee_is_refused(kind):
    for tee in (Tee.SNP, Tee.TDX, Tee.SGX):
        verdict = case_of(kind).verdict(tee=tee)
        assert (verdict.authentic, verdict.claims) == (False, None)


def test_v13_csv_other_evidence_declared_as_csv_is_refused(snp_case, intel_case):
    for quote in (snp_case().maker.report(snp_case().body), intel_case().raw, b"{}", b"", bytes(2548), bytes(4096),
                  bytes(4116)):
        verdict = verify(Evidence(Tee.CSV, quote), collateral=Collateral.none(), roots=ROOTS, at=AT,
                         binding=Binding(DATA))
        assert (verdict.authentic, verdict.claims) == (False, None)
        assert verdict.error.id != "verifier.internal"


@pytest.mark.parametrize(("made", "flags"), [(2, 0), (2, 3), (3, 0), (3, 1), (1, 1), (1, 3)])
def test_v13_csv_a_report_declared_as_another_version_is_refused(made, flags):
    """Magic and flags travel unsigned beside the report; its layout and signature tell.

    Version 2 as version 3 is the same bytes: host data that was never given is zeros.
    """
    report = HYGON.report(made, HYGON.info(made, DATA, b"\x01" * 64))
    body = report[20:] if made > 1 else report.ljust(4096, b"\x00")
    quote = b"ATTESTATION_EXT\x00" + flags.to_bytes(4, "little") + body
    verdict = replace(case_of("v2"), quote=quote).verdict()
    if (made, flags) == (2, 3):
        assert verdict.accepted
        assert (verdict.claims.init_data, verdict.claims.body["host_data"]) == (b"", bytes(64))
        return
    assert verdict.authentic is False


def test_v13_csv_host_data_is_never_dropped_or_invented():
    """Version 3 is version 2 with something in bytes that version 2 has zero, so neither hides the other's contents."""
    with_data = HYGON.report(3, HYGON.info(3, DATA, b"\x01" * 64))
    as_2 = with_data[:16] + b"\x01\x00\x00\x00" + with_data[20:]
    assert refusal(replace(case_of("v2"), quote=as_2)) == "report.reserved_170"
    bound = Binding(DATA, b"\x01" * 64)
    assert replace(case_of("v3"), quote=with_data).verdict(bound).accepted
    empty = HYGON.report(2, HYGON.info(2, DATA))
    as_3 = empty[:16] + b"\x03\x00\x00\x00" + empty[20:]
    assert not replace(case_of("v3"), quote=as_3).verdict(bound).accepted
    assert not replace(case_of("v3"), quote=as_3).verdict(Binding(DATA, bytes(64))).accepted
    assert replace(case_of("v3"), quote=as_3).verdict(Binding(DATA)).claims.init_data == b""


@each_kind
def test_v13_csv_json_and_raw_evidence_are_one_path(kind):
    forged = case_of(kind).altered(report=lambda r: replace(r, signer=ATTACKER.key("pek")))
    text = json.dumps(evidence_to_json(Evidence(Tee.CSV, forged.raw))).encode()
    assert refusal(replace(forged, quote=text)) == refusal(forged) == "report.signature"


# -- V-15 malleable and degenerate signatures --------------------------------------------------------------------------


def with_numbers(case: Case, **numbers: int) -> Case:
    fields = {name: value.to_bytes(72, "little") for name, value in numbers.items()}
    return case.altered(report=lambda r: replace(r, finish=lambda f: replace(f, info=replace(f.info, **fields))))


@each_kind
@pytest.mark.parametrize(("r", "s", "reason"), [
    (0, 0, "range"), (0, 1, "range"), (1, 0, "range"), (N, 1, "range"), (1, N, "range"), (N + 1, N + 1, "range"),
    (1 << 256, 1, "encoding"), (1, 1 << 575, "encoding"), (1, 1, ""), (1, N - 1, ""), (N - 1, 1, ""),
    (N - 1, N - 1, ""),
])
def test_v15_csv_degenerate_numbers_are_refused(kind, r, s, reason):
    case = with_numbers(case_of(kind), signature_r=r, signature_s=s)
    assert refusal(case) == ".".join(filter(None, ("report.signature", reason)))


@each_kind
def test_v15_csv_there_is_no_second_signature(kind):
    """r and s shifted by the order, negated, swapped, or with something in the bytes above 32."""
    info = CsvReport.from_bytes(case_of(kind).raw).info
    r, s = (int.from_bytes(value, "little") for value in (info.signature_r, info.signature_s))
    for other in ((r, N - s), (N - r, s), (N - r, N - s), (s, r), (r + N, s), (r, s + N), (r + (1 << 256), s),
                  (r, s + (1 << 568))):
        assert refusal(with_numbers(case_of(kind), signature_r=other[0], signature_s=other[1])).startswith(
            "report.signature")
    assert case_of(kind).verdict().accepted


@each_kind
@pytest.mark.parametrize("role", ["hsk", "cek", "pek"])
def test_v15_csv_certificates_have_no_second_signature_either(kind, role):
    def shifted(certificate: Any) -> Any:
        if role == "hsk":
            s = int.from_bytes(certificate.signature_s, "little")
            return replace(certificate, signature_s=(s + N).to_bytes(72, "little"))
        first, second = certificate.slots
        s = int.from_bytes(first.signature_s, "little")
        return replace(certificate, slots=(replace(first, signature_s=(s + N).to_bytes(72, "little")), second))

    reason = refusal(case_of(kind).altered(**{role: lambda p: replace(p, finish=shifted)}))
    assert reason in (f"{role}.signature.range", f"{role}.signature.encoding")
