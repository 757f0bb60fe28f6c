"""Every rule of the CSV recipe, once kept and once broken alone.

For each rule there is evidence that breaks nothing else: whatever depends on the broken part is signed again by the
small Hygon. The verdict must name that rule, and no other may have failed. Rules are found in the trails of accepted
evidence and in the source, so that none can be added without an entry here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import verifier
from tests.verifier.rules import assert_prepared_trust_never_changes_an_answer
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import Collateral, HygonCollateral
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.csv_report import CsvReport
from verifier.formats.hygon_cert import CsvCertificate, Slot, Usage
from verifier.results.verdict import Verdict
from verifier.software_tee.hygon import SmallHygon
from verifier.verify import verify

AT = 1_780_000_000
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
MAKER, OTHER = (SmallHygon.create(seed, at=AT) for seed in (b"the small Hygon of tests", b"another of its kind"))
ROOTS = Roots.only_software([MAKER.certificate("hrk")])
KINDS = {"v1": (1, False), "v1-raw": (1, True), "v2": (2, False), "v2-raw": (2, True), "v3": (3, False)}
ALL = tuple(KINDS)
RAW, PLAIN = ("v1-raw", "v2-raw"), ("v1", "v2", "v3")
# Where the PEK is in clear beside a mask, its constants tell so: without them it would be taken for a masked one.
TOLD = ("v1-raw", "v2", "v3")


@dataclass(frozen=True)
class Case:
    """One report and all that its verdict depends on."""

    version: int
    maker: SmallHygon
    info: dict[str, Any] = field(default_factory=dict)
    certificates: tuple[bytes, ...] = ()
    supplied: tuple[bytes, ...] | None = None
    roots: Roots = ROOTS

    def altered(self, **alterations: Any) -> Case:
        return replace(self, maker=self.maker.altered(**alterations))

    def says(self, **fields: Any) -> Case:
        return replace(self, info={**self.info, **fields})

    @property
    def report(self) -> bytes:
        return self.maker.report(self.version, replace(self.maker.info(self.version), **self.info))

    @property
    def collateral(self) -> Collateral:
        supplied = (self.maker.certificate("hsk"), self.maker.certificate("cek")) if self.supplied is None else (
            self.supplied)
        return Collateral(hygon=HygonCollateral(supplied))

    def verdict(self, prepared: Prepared | None = None) -> Verdict:
        return verify(Evidence(Tee.CSV, self.report, self.certificates), collateral=self.collateral, roots=self.roots,
                      at=AT, binding=Binding.insecure_unbound(), prepared=prepared)


def case_of(kind: str) -> Case:
    version, raw = KINDS[kind]
    return Case(version, replace(MAKER, raw=raw))


Breaks = Callable[[Case], Case]
Table = dict[str, tuple[tuple[str, ...], list[Breaks]]]


def at_byte(data: bytes, position: int, value: int = 1) -> bytes:
    return data[:position] + bytes((value,)) + data[position + 1:]


def number(value: int) -> bytes:
    return value.to_bytes(72, "little")


def body(role: str, **fields: Any) -> Breaks:
    """The role's certificate says something else, and is signed as it is."""
    return lambda c: c.altered(**{role: lambda p: replace(p, body=replace(p.body, **fields))})


def changed(role: str, name: str, change: Callable[[bytes], bytes]) -> Breaks:
    return lambda c: c.altered(**{role: lambda p: replace(p, body=replace(
        p.body, **{name: change(getattr(p.body, name))}))})


def finished(role: str, finish: Callable[[Any], Any]) -> Breaks:
    """Changed after it was signed, in bytes that nobody signs."""
    return lambda c: c.altered(**{role: lambda p: replace(p, finish=finish)})


def slot(index: int, **fields: Any) -> Callable[[CsvCertificate], CsvCertificate]:
    def change(certificate: CsvCertificate) -> CsvCertificate:
        slots = list(certificate.slots)
        slots[index] = replace(slots[index], **fields)
        return replace(certificate, slots=tuple(slots))
    return change


def signed_by(role: str, name: str) -> Breaks:
    """The slot of the key above is filled by another key."""
    return lambda c: c.altered(**{role: lambda p: replace(p, signers=(OTHER.key(name), p.signers[1]))})


def number_rules(rule: str, put: Callable[..., Breaks]) -> Table:
    """``put(signature_r=...)`` gives the case with another r or s."""
    long = [put(**{name: bytes(position) + b"\x01" + bytes(71 - position)})
            for name in ("signature_r", "signature_s") for position in (32, 71)]
    outside = [put(**{name: number(value)}) for name in ("signature_r", "signature_s")
               for value in (0, N, N + 1, (1 << 256) - 1)]
    return {f"{rule}.encoding": (ALL, long), f"{rule}.range": (ALL, outside)}


def report_rules() -> Table:
    def info(**fields: Any) -> Breaks:
        return finished("report", lambda r: replace(r, info=replace(r.info, **fields)))

    return {
        "report.sig_usage": (ALL, [lambda c, u=u: c.says(sig_usage=u) for u in (0, Usage.CEK, Usage.OCA, 0x11002)]),
        "report.sig_algo": (ALL, [lambda c, a=a: c.says(sig_algo=a) for a in (0, 3, 5, 0x104)]),
        "report.signature": (ALL, [
            lambda c: c.altered(report=lambda r: replace(r, signer=OTHER.key("pek"))),
            lambda c: c.altered(report=lambda r: replace(r, signer=c.maker.key("cek"))),
            lambda c: c.altered(report=lambda r: replace(r, signer=replace(r.signer, user_id=b"HYGON-SSD-CEK"))),
            lambda c: c.altered(report=lambda r: replace(r, mutate=lambda signed: at_byte(signed, 0x40, 0xEE))),
            lambda c: c.altered(report=lambda r: replace(r, mutate=lambda signed: signed[:-1])),
            info(signature_r=number(1), signature_s=number(1)), info(signature_r=number(1), signature_s=number(N - 1)),
        ]),
        **number_rules("report.signature", info),
        "report.reserved_0c2": (("v2", "v3"), [lambda c, p=p: c.says(reserved_0c2=at_byte(bytes(14), p))
                                               for p in (0, 13)]),
        "report.reserved_170": (("v2", "v3"), [
            lambda c, p=p: c.says(reserved_170=at_byte(bytes(592 if c.version == 3 else 656), p)) for p in (0, 591)]),
        "report.serial_number": (ALL, [lambda c, n=n: replace(c, maker=replace(c.maker, serial_number=n)) for n in (
            b"A B", b"\x00A", b"\xc3\xa9", b"A\x00B", b"../A", b"A\n")]),
        "report.mac": (RAW, [
            finished("report", lambda r: replace(r, signer=replace(r.signer, mac=bytes(32)))),
            finished("report", lambda r: replace(r, signer=replace(r.signer, reserved=at_byte(r.signer.reserved, 3)))),
            finished("report", lambda r: replace(r, signer=replace(r.signer, serial_number=b"B".ljust(64, b"\x00")))),
        ]),
    }


def certificate_rules(role: str) -> Table:
    """The rules that every certificate is read by."""
    kinds = TOLD if role == "pek" else ALL
    table: Table = {
        f"{role}.version": (kinds, [body(role, version=version) for version in (0, 3, 0xFFFFFFFF)]),
        f"{role}.usage": (kinds, usages(role)),
        f"{role}.curve": (kinds, [body(role, curve=curve) for curve in (0, 1, 4)]),
        f"{role}.user_id": (kinds, [
            body(role, uid_size=12), body(role, uid_size=14), body(role, uid_size=0, user_id_field=bytes(254)),
            changed(role, "user_id_field", lambda value: at_byte(value, 12, ord("k")))]),
        f"{role}.reserved": (ALL, [changed(role, "user_id_field", lambda value: at_byte(value, 253)),
                                   *reserved(role)]),
        f"{role}.key.encoding": (ALL, [changed(role, name, lambda value, p=p: at_byte(value, p))
                                       for name in ("x", "y") for p in (32, 71)]),
        f"{role}.key": (ALL, [
            body(role, x=bytes(72), y=bytes(72)), changed(role, "y", lambda value: at_byte(value, 0, value[0] ^ 1)),
            body(role, x=b"\xff" * 32 + bytes(40))]),
    }
    if role != "hsk":
        table[f"{role}.algorithm"] = (kinds, [body(role, algorithm=algorithm) for algorithm in (0, 3, 5)])
    return table


def usages(role: str) -> list[Breaks]:
    """What is chosen for a role by other marks and says that it is something else."""
    if role == "hsk":
        return [body("hsk", usage=usage) for usage in (Usage.HRK, 0x14)]
    return [body(role, usage=usage) for usage in (Usage.PDH, Usage.OCA, *((Usage.CEK,) if role == "pek" else ()))]


def reserved(role: str) -> list[Breaks]:
    if role == "hsk":
        return [body(role, reserved_028=at_byte(bytes(24), 23)), body(role, reserved_1d4=at_byte(bytes(108), 0)),
                finished(role, lambda c: replace(c, reserved_2d0=at_byte(bytes(112), 111)))]
    return [body(role, reserved_006=0x8000), body(role, reserved_1b4=at_byte(bytes(608), 607))]


def slot_rules(role: str, above: Usage) -> Table:
    def usages(*found: int) -> Breaks:
        return lambda c: c.altered(**{role: lambda p: replace(p, usages=found, signers=(p.signers[0], p.signers[0]))})

    def put(**fields: Any) -> Breaks:
        return finished(role, slot(0, **fields))

    return {
        f"{role}.slots": (ALL, [usages(Usage.PDH, Usage.OCA), usages(above, above), usages(Usage.INVALID, Usage.OCA)]),
        f"{role}.slots.algorithm": (ALL, [finished(role, slot(0, algorithm=a)) for a in (0, 3, 5)]),
        f"{role}.slots.reserved": (ALL, [finished(role, slot(0, reserved=at_byte(bytes(368), p))) for p in (0, 367)]),
        **number_rules(f"{role}.signature", put),
    }


def chain_rules() -> Table:
    def owner(**fields: Any) -> Breaks:
        return finished("pek", slot(1, **fields))

    def forged_root(c: Case) -> Case:
        """The HRK's key id on another certificate, beside the rest."""
        forged = c.maker.altered(hrk=lambda p: replace(p, signer=OTHER.key("hrk"))).certificate("hrk")
        return replace(c, supplied=(*c.collateral.hygon.certificates, forged))

    return {
        "certificates.count": (("v1",), [lambda c: replace(c, certificates=(c.maker.certificate("hsk"),) * 17)]),
        "chain.root": (ALL, [
            lambda c: replace(c, roots=Roots.makers()), lambda c: replace(c, roots=Roots(())),
            lambda c: replace(c, roots=Roots.only_software([OTHER.certificate("hrk")])), forged_root,
            body("hsk", signer_key_id=bytes(16)), changed("hsk", "signer_key_id", lambda v: at_byte(v, 15, v[15] ^ 1)),
        ]),
        "hsk.signature": (ALL, [
            lambda c: c.altered(hsk=lambda p: replace(p, signer=OTHER.key("hrk"))),
            lambda c: c.altered(hsk=lambda p: replace(p, signer=c.maker.key("hsk"))),
            lambda c: c.altered(hsk=lambda p: replace(p, signer=replace(p.signer, user_id=b"HYGON-SSD-HSK"))),
        ]),
        **number_rules("hsk.signature", lambda **fields: finished("hsk", lambda c: replace(c, **fields))),
        "cek.signature": (ALL, [
            signed_by("cek", "hsk"), lambda c: c.altered(cek=lambda p: replace(p, signers=(c.maker.key("hrk"), None))),
            lambda c: c.altered(cek=lambda p: replace(p, signers=(
                replace(p.signers[0], user_id=b"HYGON-SSD-HRK"), None))),
        ]),
        "cek.slots.other": (ALL, [
            lambda c: c.altered(cek=lambda p: replace(p, signers=(p.signers[0],) * 2, usages=(Usage.HSK, Usage.OCA))),
            finished("cek", slot(1, usage=Usage.HRK)), finished("cek", slot(1, signature_r=number(1))),
            finished("cek", slot(1, reserved=at_byte(bytes(368), 100))), finished("cek", slot(1, algorithm=4)),
        ]),
        "pek.signature": (ALL, [
            signed_by("pek", "cek"),
            lambda c: c.altered(pek=lambda p: replace(p, signers=(c.maker.key("hsk"), p.signers[1]))),
            lambda c: c.altered(pek=lambda p: replace(p, signers=(c.maker.key("pek"), p.signers[1]))),
            lambda c: c.altered(pek=lambda p: replace(p, signers=(
                replace(p.signers[0], user_id=b"HYGON-SSD-HSK"), p.signers[1]))),
        ]),
        "pek.slots.owner": (ALL, [owner(usage=Usage.PDH), owner(usage=Usage.INVALID), owner(algorithm=5),
                                  owner(reserved=at_byte(bytes(368), 1)), owner(usage=0)]),
        **number_rules("pek.owner_signature", owner),
    }


def rules() -> Table:
    table: Table = {"size": (("v1",), [lambda c: replace(c, certificates=(bytes(4 * 1024 * 1024),))])}
    for part in (report_rules(), *map(certificate_rules, ("hsk", "cek", "pek")), slot_rules("cek", Usage.HSK),
                 slot_rules("pek", Usage.CEK), chain_rules()):
        table |= part
    return table


RULES = rules()
BROKEN = [pytest.param(rule, kind, number, id=f"{rule}-{kind}-{number}")
          for rule, (kinds, breaks) in RULES.items() for kind in kinds for number in range(len(breaks))]


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_with_nothing_wrong_is_accepted(kind):
    verdict = case_of(kind).verdict()
    assert (verdict.authentic, verdict.accepted, verdict.error) == (True, True, None)
    assert verdict.claims.software is True


@pytest.mark.parametrize("kind", KINDS)
def test_prepared_trust_never_changes_an_answer(kind):
    good = case_of(kind)
    assert_prepared_trust_never_changes_an_answer(
        good, ((param.id, RULES[param.values[0]][1][param.values[2]](good)) for param in BROKEN
               if param.values[1] == kind))


@pytest.mark.parametrize(("rule", "kind", "index"), BROKEN)
def test_a_rule_that_is_broken_alone_refuses_alone(rule, kind, index):
    verdict = RULES[rule][1][index](case_of(kind)).verdict()
    assert verdict.authentic is False, verdict.error
    assert verdict.error.id == f"csv.{rule}"
    assert [check.id for check in verdict.checks if not check.ok] == ([f"csv.{rule}"] if rule != "size" else [])
    assert verdict.claims is None


def test_every_rule_of_accepted_evidence_has_evidence_that_breaks_it():
    found = {check.id.removeprefix("csv.") for kind in KINDS for check in case_of(kind).verdict().checks}
    found = {rule for rule in found if not rule.startswith("accept.")}
    assert found == set(RULES) - {"size"}


def test_every_rule_in_the_source_has_evidence_that_breaks_it():
    templates = {template for name in ("checks/csv.py", "endorsements/hygon.py") for template in noted(name)}
    assert len(templates) > 15
    for template in templates:
        pattern = re.compile(re.sub(r"\\\{[^}]*\\\}", r"[a-z_.]+", re.escape(template)) + r"\Z")
        assert any(pattern.match(rule) for rule in RULES), template


def noted(name: str) -> set[str]:
    """The ids in the calls that note a rule, what is computed in them as ``{}``."""
    tree = ast.parse((Path(verifier.__file__).parent / name).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
             and node.func.attr in ("equal", "require", "passed", "fail") and node.args]
    return {told for call in calls if (told := text(call.args[0])) is not None}


def text(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


# -- what is not refused, and what cannot be decided -------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_need_not_have_signed_and_the_places_may_be_swapped(kind):
    case = case_of(kind)
    for alteration in (lambda p: replace(p, signers=(p.signers[0], None)),
                       lambda p: replace(p, signers=(p.signers[1], p.signers[0]), usages=(Usage.OCA, Usage.CEK)),
                       lambda p: replace(p, signers=(None, p.signers[0]), usages=(Usage.INVALID, Usage.CEK))):
        assert case.altered(pek=alteration).verdict().accepted
    assert case.altered(cek=lambda p: replace(p, signers=(None, p.signers[0]), usages=(
        Usage.INVALID, Usage.HSK))).verdict().accepted
    assert Slot().empty


@pytest.mark.parametrize(("supplied", "missing"), [
    ((), "cek"), (("hrk",), "cek"), (("hsk",), "cek"), (("hrk", "hsk", "pek"), "cek"), (("cek",), "hsk"),
    (("hrk", "cek"), "hsk"),
])
@pytest.mark.parametrize("kind", KINDS)
def test_without_the_chain_nothing_is_decided(kind, supplied, missing):
    case = case_of(kind)
    verdict = replace(case, supplied=tuple(case.maker.certificate(role) for role in supplied)).verdict()
    assert (verdict.authentic, verdict.error.id) == (None, f"collateral.hygon.{missing}")
    assert "csv.report.signature" in {check.id for check in verdict.checks if check.ok}
    assert verdict.unverified["measure"] == MAKER.guest.measure


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_report_is_refused_even_without_the_chain(kind):
    verdict = replace(case_of(kind).altered(report=lambda r: replace(r, signer=OTHER.key("pek"))),
                      supplied=()).verdict()
    assert (verdict.authentic, verdict.error.id) == (False, "csv.report.signature")


def test_the_chain_may_come_with_the_evidence_in_one_piece_or_two():
    case = replace(case_of("v1"), supplied=())
    hsk, cek = case.maker.certificate("hsk"), case.maker.certificate("cek")
    for certificates in ((hsk, cek), (cek, hsk), (hsk + cek,), (case.maker.certificate("hrk") + hsk + cek,)):
        assert replace(case, certificates=certificates).verdict().accepted


def test_certificates_of_other_chips_do_no_harm():
    case = case_of("v1")
    others = (OTHER.certificate("hsk"), OTHER.certificate("cek"), OTHER.certificate("hrk"), OTHER.certificate("pek"))
    assert replace(case, supplied=(*others, *case.collateral.hygon.certificates)).verdict().accepted
    assert replace(case, supplied=(*case.collateral.hygon.certificates, *others)).verdict().accepted
    alone = replace(case, supplied=others, roots=ROOTS.with_software([OTHER.certificate("hrk")])).verdict()
    assert (alone.authentic, alone.error.id) == (False, "csv.pek.signature")


def test_what_cannot_be_read_is_the_fault_of_whoever_brought_it():
    case = case_of("v1")
    for junk in (b"", b"junk", bytes(831), bytes(2917), case.maker.certificate("hsk") + b"\x00"):
        supplied = replace(case, supplied=(junk,)).verdict()
        assert (supplied.authentic, supplied.error.id) == (None, "collateral.hygon.certificate")
        brought = replace(case, certificates=(junk,)).verdict()
        assert (brought.authentic, brought.error.id) == (False, "format.hygon_certs")


def test_reports_of_both_forms_say_the_same():
    raw, plain = (CsvReport.from_bytes(case_of(kind).report) for kind in ("v1-raw", "v1"))
    assert (raw.as_firmware_wrote_it, plain.as_firmware_wrote_it) == (True, False)
    assert replace(raw.info, signature_r=b"", signature_s=b"") == replace(plain.info, signature_r=b"", signature_s=b"")
    assert (raw.signer.pek, raw.signer.serial_number) == (plain.signer.pek, plain.signer.serial_number)
