"""Published ways in which verifiers failed, tried here: the verifier's core (docs/attacks.md, V)."""

from __future__ import annotations

import ast
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec

import verifier
from verifier import Binding, Collateral, Evidence, Expectations, Tee, Verifier
from verifier.checks.prepared import Prepared
from verifier.cli import main
from verifier.eventlog.events import Event, EventType
from verifier.formats.coco_evidence import evidence_to_json
from verifier.formats.quote import CertificationType, Quote
from verifier.recording import replay_folder, save
from verifier.software_tee import certificates as x509
from verifier.software_tee.event_log import SoftwareLog
from verifier.software_tee.intel import collateral_json
from verifier.software_tee.keys import EcKey

HOME = Path(verifier.__file__).parent
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
KINDS = ("tdx-v4", "tdx-v5-td15", "sgx-v3")
each_kind = pytest.mark.parametrize("kind", KINDS)


def refusal(case: Any) -> str:
    verdict = case.verdict()
    assert verdict.authentic is False, verdict.error
    return verdict.error.id.partition(".")[2]


# -- V-01 the answer of a signature routine is thrown away -------------------------------------------------------------


def fresh() -> EcKey:
    return EcKey(ec.generate_private_key(ec.SECP256R1()))


SIGNED = {
    "quote": ("quote", "quote.signature"), "QE report": ("qe_report", "qe_report.signature"),
    "PCK leaf": ("pck", "pck_chain.leaf.signature"), "PCK CA": ("platform_ca", "pck_chain.intermediate.signature"),
    "TCB signing leaf": ("tcb_signing", "tcb_info.issuer_chain.leaf.signature"),
    "TCB info": ("tcb_info", "tcb_info.signature"), "QE identity": ("qe_identity", "qe_identity.signature"),
    "root CRL": ("root_crl", "root_ca_crl.signature"), "PCK CRL": ("pck_crl", "pck_crl.signature"),
}


@each_kind
@pytest.mark.parametrize("artefact", SIGNED)
def test_v01_every_signature_by_a_fresh_key_of_the_right_kind_is_refused(intel_case, kind, artefact):
    name, reason = SIGNED[artefact]
    assert refusal(intel_case(kind).altered(**{name: lambda a: replace(a, signer=fresh())})) == reason


def functions() -> list[tuple[Path, ast.FunctionDef]]:
    files = [*(HOME / "checks").glob("*.py"), *(HOME / "endorsements").rglob("*.py"), *(HOME / "tees").glob("*.py")]
    return [(path, node) for path in files for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef)]


def test_v01_no_function_that_verifies_or_checks_answers_with_a_boolean():
    """A boolean can be forgotten; an exception cannot."""
    found = [(path.name, node.name) for path, node in functions()
             if node.name.lstrip("_").startswith(("verify", "check", "judged")) and node.returns is not None
             and ast.unparse(node.returns) == "bool"]
    assert found == []
    assert len(functions()) > 100


def test_v01_keys_are_asked_to_verify_in_few_places_and_the_answer_is_an_exception():
    """The library's ``verify`` raises; whoever calls it catches `InvalidSignature` and nothing wider."""
    asking = {(path.name, node.name) for path, node in functions() for call in ast.walk(node)
              if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "verify"
              and ast.unparse(call.func.value) not in ("recipe", "verifier")}
    assert asking == {
        ("chain.py", "check_signature"), ("schemes.py", "verify"),  # every X.509 certificate, list and answer
        ("intel.py", "check_raw_signature"), ("snp.py", "check_signature"), ("cose_signature.py", "check_signature"),
        ("tpm_quote.py", "_verify"), ("nvidia.py", "check_raw_signature"),
        ("hygon.py", "check_signature"), ("hygon.py", "from_certificate"),
        # These choose between issuers of one name; the chosen one is verified like any other.
        ("amd.py", "_signed_by"), ("tpm_ak.py", "_signed_by"), ("hygon.py", "_seems_to_sign"),
    }


# -- V-03 values that nobody proved ------------------------------------------------------------------------------------

CANARY = b"CANARY-0123456789"


def test_v03_what_nobody_signed_does_not_reach_the_claims(intel_case):
    """The tail of the buffer, events that were not extended, certificates beside the quote, an unused chain, an
    encrypted PPID."""
    log = SoftwareLog(told=lambda log: replace(log, events=(Event(1, EventType.EV_NO_ACTION, log.events[0].digests,
                                                                  CANARY), *log.events)))
    verdict = verdict_with(intel_case, log, tail=CANARY)
    assert verdict.accepted
    assert CANARY.hex() not in json.dumps(verdict.to_dict())
    assert CANARY.decode() not in json.dumps(verdict.to_dict())


def verdict_with(intel_case, log, tail=b""):
    guest = log.guest()
    case = intel_case().says(**{f"rtmr{number}": getattr(guest, f"rtmr{number}") for number in range(4)})
    evidence = Evidence(Tee.TDX, case.raw + tail, certificates=(CANARY,), event_log=log.to_bytes())
    collateral = case.given(pck_crl_issuer_chain=CANARY, pck_chain=CANARY).intel_collateral
    return Verifier(case.trusted).verify(evidence, binding=case.binding, collateral=Collateral(intel=collateral),
                                         at=case.at)


def test_v03_what_a_log_says_beside_its_digests_is_under_its_name(intel_case):
    """Words in the data of every event that has any: told, if at all, under ``unverified`` only."""
    log = SoftwareLog(told=lambda log: replace(log, events=tuple(
        replace(event, data=CANARY) for event in log.events)))
    claims = verdict_with(intel_case, log).to_dict()["claims"]
    assert CANARY.decode() in json.dumps(claims)
    assert CANARY.decode() not in json.dumps(without_unverified(claims))
    assert CANARY.hex() not in json.dumps(claims)


def without_unverified(value):
    if isinstance(value, dict):
        return {key: without_unverified(item) for key, item in value.items() if key != "unverified"}
    return [without_unverified(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", [CertificationType.PPID_PLAIN, CertificationType.PPID_RSA3072])
def test_v03_the_platform_is_named_by_its_certificate_and_not_by_the_quotes_reference(intel_case, kind):
    case = replace(intel_case(), certification=kind)
    quote = Quote.from_bytes(case.raw)
    size = len(quote.certification.certification_data)
    forged = replace(quote, certification=replace(quote.certification, certification_data=b"\xca" * size))
    verdict = replace(case, quote=forged.to_bytes()).verdict()
    assert verdict.accepted
    assert "cacaca" not in json.dumps(verdict.to_dict())
    assert verdict.claims.named()["pck"]["ppid"] == case.maker.platform.ppid


def test_v03_what_a_certificate_does_not_say_is_absent_and_a_demand_on_it_fails(intel_case):
    case = intel_case().on(ca="processor")
    assert case.verdict().accepted
    assert case.verdict().claims.named()["pck"]["platform_instance_id"] is None
    for value in (bytes(16), case.maker.platform.instance_id):
        verdict = replace(case, expectations=Expectations(platform_instance_id=(value,))).verdict()
        assert [check.id for check in verdict.mismatches] == ["tdx.expect.platform_instance_id"]


def test_v03_refused_evidence_has_no_claims(intel_case):
    verdict = intel_case().altered(quote=lambda q: replace(q, signer=fresh())).verdict()
    assert verdict.claims is None
    assert verdict.status is None
    assert list(verdict.to_dict()["claims"]) == ["unverified"]


def test_v03_the_header_says_nothing_that_is_claimed(intel_case):
    """SVNs and user data of the header are signed, but the authoritative ones are in certificate and QE report."""
    case = intel_case("sgx-v3").altered(quote=lambda q: replace(q, header=replace(
        q.header, qe_svn=0xCAFE, pce_svn=0xCAFE, user_data=CANARY + bytes(3))))
    verdict = case.verdict()
    assert verdict.accepted
    told = json.dumps(verdict.to_dict())
    assert CANARY.hex() not in told
    assert str(0xCAFE) not in told


# -- V-06, V-07, V-08 chains -------------------------------------------------------------------------------------------


def with_chain(case: Any, *roles: str) -> Any:
    chain = case.maker.chain(*roles)
    return case.altered(quote=lambda q: replace(q, certification=replace(q.certification, certification_data=chain)))


@pytest.mark.parametrize(("roles", "reason"), [
    ("pck pck root", "pck_chain.intermediate.issuer"), ("pck platform_ca platform_ca", "pck_chain.root"),
    ("root platform_ca pck", "pck_chain.root"), ("platform_ca pck root", "pck_chain.intermediate.issuer"),
    ("pck tcb_signing root", "pck_chain.intermediate.ca"), ("pck processor_ca root", "pck_chain.leaf.issuer"),
    ("tcb_signing platform_ca root", "pck_chain.leaf.issuer"), ("root root root", "pck_chain.intermediate.name"),
    ("pck platform_ca tcb_signing root", "pck_chain.length"), ("pck platform_ca", "pck_chain.length"),
    ("pck root", "pck_chain.length"), ("pck platform_ca root root", "pck_chain.length"),
])
def test_v07_chains_of_genuine_certificates_in_another_shape_are_refused(intel_case, roles, reason):
    """Twice the same, reversed, one too many, one for another purpose: each alone is genuine."""
    assert refusal(with_chain(intel_case(), *roles.split())) == reason


def test_v07_the_order_of_old_platforms_is_put_right_and_verified_as_always(intel_case):
    """Leaf, root, CA: the root is told by its name, and then pinned like any other."""
    assert with_chain(intel_case(), "pck", "root", "platform_ca").verdict().accepted
    forged = intel_case().altered(platform_ca=lambda p: replace(p, signer=fresh()))
    assert refusal(with_chain(forged, "pck", "root", "platform_ca")) == "pck_chain.intermediate.signature"


@pytest.mark.parametrize(("change", "reason"), [
    (lambda p: p, "signature"), (lambda p: p.without(x509.AUTHORITY_KEY_IDENTIFIER), "profile"),
    (lambda p: p.without(x509.SUBJECT_KEY_IDENTIFIER), "profile"),
    (lambda p: p.without(x509.AUTHORITY_KEY_IDENTIFIER).without(x509.SUBJECT_KEY_IDENTIFIER), "profile"),
    (lambda p: p.changed(x509.authority_key_identifier(bytes(20))), "authority_key"),
    (lambda p: p.changed(x509.authority_key_identifier(b"")), "authority_key"),
])
@pytest.mark.parametrize("role", ["pck", "platform_ca", "tcb_signing"])
def test_v07_a_forged_certificate_is_refused_whatever_its_key_identifiers_say(intel_case, role, change, reason):
    """Right names, equal, other or no identifiers: the signature is checked on every branch."""
    case = intel_case().altered(**{role: lambda p: replace(change(p), signer=fresh())})
    assert refusal(case).rpartition(".")[2] == reason


@pytest.mark.parametrize(("role", "change", "reason"), [
    ("pck", lambda p, c: p.changed(x509.basic_constraints(ca=True)), "pck_chain.leaf.ca"),
    ("pck", lambda p, c: p.changed(x509.basic_constraints(ca=True, path_length=0)), "pck_chain.leaf.ca"),
    ("tcb_signing", lambda p, c: p.changed(x509.basic_constraints(ca=True)), "tcb_info.issuer_chain.leaf.ca"),
    ("platform_ca", lambda p, c: p.changed(x509.basic_constraints(ca=False)), "pck_chain.intermediate.ca"),
    ("platform_ca", lambda p, c: p.changed(x509.key_usage(x509.CRL_SIGN)), "pck_chain.intermediate.key_usage"),
    ("pck", lambda p, c: p.changed(x509.key_usage(x509.KEY_CERT_SIGN)), "pck_chain.leaf.key_usage"),
    ("platform_ca", lambda p, c: replace(p, public_key=c.maker.keys.p384("attack/p384").public_key,
                                         mutate=x509.unchanged), "pck_chain.leaf.signature.algorithm"),
    ("platform_ca", lambda p, c: replace(p, public_key=c.maker.keys.rsa_pss("attack/rsa", 2048).public_key),
     "pck_chain.leaf.signature.algorithm"),
    ("pck", lambda p, c: replace(p, signer=replace(c.maker.key("platform_ca"), digest="sha1")),
     "pck_chain.leaf.signature.algorithm"),
    ("platform_ca", lambda p, c: replace(p, signer=replace(c.maker.key("root"), digest="sha384")),
     "pck_chain.intermediate.signature.algorithm"),
])
def test_v08_certificates_serve_in_their_own_role_only(intel_case, role, change, reason):
    """CA as leaf, leaf as CA, other usages, other curves, other kinds of key, other digests."""
    case = intel_case()
    assert refusal(case.altered(**{role: lambda p: change(p, case)})) == reason


def test_v08_a_leaf_that_signs_certificates_makes_no_second_leaf(intel_case):
    """The PCK key issues a certificate of its own, under the right names."""
    case = intel_case()
    forged = case.altered(pck=lambda p: replace(p, signer=case.maker.key("pck")))
    assert refusal(forged) == "pck_chain.leaf.signature"


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
@pytest.mark.parametrize("key", ["platform_ca", "pck", "root"])
def test_v08_documents_are_signed_by_the_signing_leaf_only(intel_case, name, key):
    case = intel_case().altered(**{name: lambda d: replace(d, signer=intel_case().maker.key(key))})
    assert refusal(case) == f"{name}.signature"
    chain = case.maker.chain(key, "root") if key != "root" else case.maker.chain("root", "root")
    verdict = case.given(**{f"{name}_issuer_chain": chain}).verdict()
    assert verdict.authentic is False
    assert verdict.error.id.startswith(f"tdx.{name}.issuer_chain.leaf.")


# -- V-09 what is verified is what is read -----------------------------------------------------------------------------


def test_v09_a_member_twice_in_a_signed_document_is_refused(intel_case):
    """Python's own reader keeps the last of the two without a word."""
    case = intel_case().on(components=(3, 3, 1, 1) + (0,) * 12, pce_svn=5)
    assert case.verdict().status == "Revoked"
    twice = case.altered(tcb_info=lambda t: replace(t, mutate=lambda text: text.replace(
        b'"tcbStatus":"Revoked"', b'"tcbStatus":"Revoked","tcbStatus":"UpToDate"')))
    verdict = twice.verdict()
    assert (verdict.authentic, verdict.accepted, verdict.error.id) == (None, False, "collateral.tcb_info")


@pytest.mark.parametrize("change", [lambda text: text + b"\n", lambda text: text.replace(b",", b", "),
                                    lambda text: text.replace(b"fmspc", b"\\u0066mspc"), lambda text: b" " + text])
def test_v09_the_same_json_in_other_bytes_is_not_what_was_signed(intel_case, change):
    case = intel_case()
    verdict = case.given(tcb_info=change(case.intel_collateral.tcb_info)).verdict()
    assert (verdict.authentic, verdict.error.id) == (False, "tdx.tcb_info.signature")


# -- V-12 a second, weaker path ----------------------------------------------------------------------------------------

BAD = {
    "quote.signature": lambda c: c.altered(quote=lambda q: replace(q, signer=c.other.attestation_key)),
    "qe_report.binding": lambda c: c.altered(qe_report=lambda r: replace(r, auth_data=b"")),
    "quote.vendor": lambda c: c.altered(quote=lambda q: replace(q, header=replace(q.header, qe_vendor_id=bytes(16)))),
    "pck_chain.leaf.revoked": lambda c: c.altered(pck_crl=lambda p: p.revoking(c.maker.serial("pck"))),
    "tcb_info.fmspc": lambda c: c.altered(tcb_info=lambda t: replace(t, fmspc=bytes(6))),
    "qe_identity.mrsigner": lambda c: c.altered(qe_identity=lambda q: replace(q, mr_signer=bytes(32))),
    "tcb.level": lambda c: c.on(components=(0,) * 16),
    "accept.status": lambda c: c.on(components=(7, 7, 2, 2, 3, 0, 0, 3) + (0,) * 8, pce_svn=11),
    "collateral.pck_crl": lambda c: c.given(pck_crl=None),
    "format.quote": lambda c: replace(c, quote=c.raw[:-1]),
    "binding.report_data": lambda c: replace(c, binding=Binding(b"\x01" * 64)),
    "accept.td_debug": lambda c: c.says(td_attributes=b"\x01\x00\x00\x10" + bytes(4)) if c.tee == "tdx" else None,
    "accept.sgx_debug": lambda c: c.says(attributes=b"\x07" + bytes(15)) if c.tee == "sgx" else None,
}


def reasons(verdict: Any) -> set[str]:
    told = verdict if isinstance(verdict, dict) else verdict.to_dict()
    found = {check["id"].partition(".")[2] for check in told["checks"] if not check["ok"]}
    error = told["error"]["id"] if told["error"] else None
    return found | ({error, error.partition(".")[2]} if error else set())


@each_kind
@pytest.mark.parametrize("reason", BAD)
def test_v12_every_way_in_gives_the_same_answer_for_the_same_reason(intel_case, tmp_path, kind, reason):
    """The function, a verifier cold and warm, the command on raw and on JSON evidence, and a replayed recording."""
    good = intel_case(kind)
    case = BAD[reason](good)
    if case is None:
        return
    evidence, collateral = case.evidence, Collateral(intel=case.intel_collateral)
    warm = Verifier(case.trusted)
    assert warm.verify(good.evidence, binding=good.binding, collateral=Collateral(intel=good.intel_collateral),
                       at=good.at).accepted
    answers = [case.verdict(), case.verdict(Prepared())]
    answers += [warm.verify(evidence, binding=case.binding, collateral=collateral, at=case.at) for _ in range(2)]
    (tmp_path / "quote").write_bytes(evidence.quote)
    (tmp_path / "evidence.json").write_text(json.dumps(evidence_to_json(evidence)))
    members = {name: value for name in collateral.intel.__dataclass_fields__
               if (value := getattr(collateral.intel, name)) is not None}
    (tmp_path / "collateral.json").write_text(json.dumps(collateral_json(members)))
    (tmp_path / "root.pem").write_bytes(good.maker.chain("root"))
    options = ["--tee", kind.partition("-")[0], "--collateral", str(tmp_path / "collateral.json"), "--roots",
               str(tmp_path / "root.pem"), "--at", str(case.at), "--json"]
    if case.binding.report_data is not None:
        options += ["--report-data", case.binding.report_data.hex()]
    told = [json.loads(CliRunner().invoke(main, ["verify", str(tmp_path / name), *options]).stdout)
            for name in ("quote", "evidence.json")]
    recording = save(tmp_path / "recording", {
        "quote.bin": evidence.quote, "roots.pem": (tmp_path / "root.pem").read_bytes(),
        "collateral.json": (tmp_path / "collateral.json").read_bytes()}, tee=case.tee, at=case.at, binding=case.binding)
    assert replay_folder(tmp_path / "recording").exit_code == 0
    expected = answers[0].to_dict()
    assert reason in reasons(expected)
    assert not expected["accepted"]
    for other in [*(answer.to_dict() for answer in (*answers[1:], recording.replay())), *told]:
        assert other == expected


def test_v12_evidence_does_not_choose_its_rules(intel_case):
    """Whatever rides along unsigned, a refusal stays one."""
    bad = BAD["tcb.level"](intel_case())
    for beside in ({"event_log": b"x"}, {"certificates": (bad.maker.certificate("root"),)}):
        verdict = Verifier(bad.trusted).verify(Evidence(Tee.TDX, bad.raw, **beside), binding=bad.binding,
                                               collateral=Collateral(intel=bad.intel_collateral), at=bad.at)
        assert (verdict.authentic, verdict.error.id) == (False, "tdx.tcb.level")


# -- V-13 kinds --------------------------------------------------------------------------------------------------------


def test_v13_an_enclave_whose_measurement_begins_like_a_tds_is_no_td(intel_case):
    td = intel_case("tdx-v4").body.mr_td
    case = intel_case("sgx-v3").says(mr_enclave=td[:32])
    assert case.verdict().accepted
    verdict = replace(case, expectations=Expectations(mr_td=(td,))).verdict()
    assert [check.id for check in verdict.mismatches] == ["sgx.expect.mr_td"]
    collateral = Collateral(intel=intel_case("tdx-v4").intel_collateral)
    declared = Verifier(case.trusted).verify(Evidence(Tee.TDX, case.raw), binding=case.binding, collateral=collateral,
                                             at=case.at)
    assert (declared.authentic, declared.error.id) == (False, "tdx.quote.tee")


def test_v13_collateral_and_quoting_enclave_of_the_other_tee_do_not_serve(intel_case):
    """A TD report inside a quote whose QE is the enclaves', or with the other TEE's documents."""
    td, enclave = intel_case("tdx-v4"), intel_case("sgx-v3")
    assert refusal(td.given(**enclave.maker.collateral("sgx"))) == "tcb_info.id"
    assert refusal(enclave.given(**td.maker.collateral("tdx"))) == "tcb_info.id"
    crossed = td.altered(qe_report=lambda r: replace(r, report=replace(r.report, isv_prod_id=1)))
    assert refusal(crossed) == "qe_identity.isvprodid"


# -- V-15 malleability and degenerate values ---------------------------------------------------------------------------


def with_signature(case: Any, signature: bytes) -> Any:
    quote = Quote.from_bytes(case.raw)
    return replace(case, quote=replace(quote, signature=signature).to_bytes())


def pair(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


DEGENERATE = [0, 1, ORDER - 1, ORDER, ORDER + 1, (1 << 256) - 1]


@each_kind
def test_v15_degenerate_signatures_are_refused(intel_case, kind):
    for r, s in itertools.product(DEGENERATE, DEGENERATE):
        assert refusal(with_signature(intel_case(kind), pair(r, s))) == "quote.signature", (r, s)


def test_v15_degenerate_signatures_of_qe_report_and_documents_are_refused(intel_case):
    case = intel_case()
    quote = Quote.from_bytes(case.raw)
    for r, s in itertools.product(DEGENERATE, DEGENERATE):
        forged = replace(quote, certification=replace(quote.certification, qe_report_signature=pair(r, s)))
        assert refusal(replace(case, quote=forged.to_bytes())) == "qe_report.signature"
        for name in ("tcb_info", "qe_identity"):
            assert refusal(case.given(**{f"{name}_signature": pair(r, s)})) == f"{name}.signature"


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65), b"\x30\x06\x02\x01\x01\x02\x01\x01"])
def test_v15_raw_signatures_have_exactly_their_length(intel_case, signature):
    assert refusal(intel_case().given(tcb_info_signature=signature)) == "tcb_info.signature"


@each_kind
def test_v15_the_other_signature_of_the_same_bytes_is_the_same_evidence(intel_case, kind):
    """(r, n - s) verifies as well, so nothing may take the bytes of evidence for its identity: both claim the same."""
    case = intel_case(kind)
    signature = Quote.from_bytes(case.raw).signature
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    twin = with_signature(case, pair(r, ORDER - s))
    assert twin.raw != case.raw
    assert twin.verdict().to_dict() == case.verdict().to_dict()
