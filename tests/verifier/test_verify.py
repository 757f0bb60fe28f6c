"""The steps from evidence to verdict: pure, bounded, and refusing whatever goes wrong inside."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import verifier
from verifier import Binding, Collateral, Evidence, Expectations, Roots, Tee, Verifier
from verifier.appraisal import compare
from verifier.checks import dcap, dcap_claims, dcap_tcb, intel_tcb
from verifier.checks.prepared import Prepared
from verifier.endorsements import chain, crl, document, intel, pck, qe_identity, tcb_info
from verifier.endorsements.collateral import IntelCollateral
from verifier.errors import EvidenceError
from verifier.evidence import MAX_EVIDENCE_BYTES
from verifier.formats import quote, reader, strict
from verifier.software_tee.intel import collateral_json
from verifier.tees import sgx, tdx
from verifier.verify import inspect, verify

UNBOUND = Binding.insecure_unbound()
verify_home = sys.modules["verifier.verify"]

FAULTS = [ValueError, KeyError, OSError, TimeoutError, MemoryError, RecursionError, struct.error, StopIteration]
# Every step on the way to an accepted verdict, by where it is called from.
STEPS: list[tuple[Any, str]] = [
    (verify_home, "recipe_for"), (verify_home, "_bound"), (verify_home, "appraise"), (verify_home, "accept"),
    (verify_home, "Context"), (tdx, "_flags"), (tdx, "body_claims"), (tdx, "Claims"), (tdx.Quote, "from_bytes"),
    (dcap, "verify_signatures"), (dcap, "verify_dcap"), (dcap, "_chain_bytes"), (dcap, "_judged_chain"),
    (dcap, "_judged_key"), (dcap, "_check_binding"), (dcap, "_judged_documents"), (dcap, "_verify_documents"),
    (dcap, "_check_dates"), (dcap, "_judged_platform"), (dcap, "_verify_platform"), (dcap, "_judged_pck_crl"),
    (dcap, "_collateral_for"), (dcap_tcb, "match"), (dcap_tcb, "check_qe"), (dcap_tcb, "_outcome"),
    (dcap_tcb, "_check_module"), (dcap, "check_raw_signature"), (dcap_tcb, "level_for"), (dcap, "needed"),
    (dcap_claims, "endorsement_claims"), (dcap_claims, "tcb_claims"),
    (intel, "verify_pck_chain"), (intel, "find_anchor"), (intel, "_check_link"),
    (intel, "check_link"), (intel, "common_name"), (intel, "check_key"), (intel, "read_certificates"),
    (intel, "verify_root_crl"), (intel, "verify_pck_crl"), (intel, "verify_tcb_signer"), (intel, "verify_crl"),
    (intel, "read_crl"), (intel, "check_document_signature"), (intel, "check_raw_signature"),
    (intel, "encode_dss_signature"), (intel.PckExtensions, "of"), (chain, "validity"), (chain, "check_validity"),
    (chain, "_check_role"), (chain, "check_signature"), (chain, "authority_key_identifier"), (crl, "_window"),
    (crl, "_scope"), (crl, "_serials"), (crl, "check_crl_signature"), (intel_tcb, "match_platform"),
    (intel_tcb, "match_module"), (intel_tcb, "converge"), (intel_tcb, "relaunch"), (intel_tcb, "_reaches"),
    (tcb_info.TcbInfo, "from_json"), (tcb_info, "_version3"), (tcb_info, "_assemble"), (tcb_info, "_level3"),
    (tcb_info, "_components"), (tcb_info, "_module"), (qe_identity.QeIdentity, "from_json"),
    (document.Document, "only"), (document.Document, "status"), (document.Document, "integer"), (pck, "_tcb"),
    (pck, "_members"), (pck, "_typed"), (pck, "_configuration"), (compare, "_standing"), (compare, "compare_binding"),
    (compare, "same_bytes"), (compare, "_pinned"), (compare, "_look_up"),
    (Prepared, "find"), (Prepared, "keep"), (quote, "_body_type"),
    (quote, "_read_body"), (quote, "_read_qe_certification"), (reader.Reader, "take"), (reader.Reader, "unpack"),
    (Roots, "by_certificate"), (IntelCollateral, "digest"), (Roots, "digest"),
]
# Where these parse other people's bytes, a ValueError and the like says that the bytes are at fault: also a refusal.
PARSERS = {(strict, "_bound_depth"), (strict, "_whole_characters"), (chain, "ends_with_signature")}


def named(step: tuple[Any, str]) -> str:
    return f"{step[0].__name__.rpartition('.')[2]}.{step[1]}"


def breaking(monkeypatch: pytest.MonkeyPatch, home: Any, name: str, fault: type[Exception]) -> list[str]:
    """``name`` raises ``fault`` from now on; the list fills with its calls."""
    called: list[str] = []

    def broken(*_: Any, **__: Any) -> None:
        called.append(name)
        raise fault("injected")

    original = home.__dict__[name]
    if isinstance(home, ModuleType):
        monkeypatch.setattr(home, name, broken)
    elif isinstance(original, classmethod | staticmethod):
        monkeypatch.setattr(home, name, staticmethod(broken))
    elif callable(original):
        monkeypatch.setattr(home, name, broken)
    else:
        monkeypatch.setattr(home, name, property(broken))
    return called


@pytest.mark.parametrize("step", STEPS, ids=named)
def test_v02_a_fault_in_any_step_is_never_an_acceptance(intel_case, monkeypatch, step):
    """An error path that ended in acceptance, or a handler that caught too little, would show here."""
    case = intel_case("tdx-v5-td15")
    demands = Expectations(mr_td=(case.body.mr_td,))
    evidence, collateral, roots = case.evidence, Collateral(intel=case.intel_collateral), case.trusted
    for fault in FAULTS:
        with monkeypatch.context() as patch:
            called = breaking(patch, *step, fault)
            verdict = verify(evidence, collateral=collateral, roots=roots, at=case.at, binding=Binding(bytes(64)),
                             expectations=demands)
        assert called, "the step was not on the way"
        assert (verdict.accepted, verdict.authentic) == (False, None), fault
        assert (verdict.error.id, verdict.claims) == ("verifier.internal", None), fault
        assert fault.__name__ in verdict.error.detail or fault is StopIteration


@pytest.mark.parametrize("step", sorted(PARSERS, key=named), ids=named)
def test_v02_a_fault_in_a_decoder_is_never_an_acceptance(intel_case, monkeypatch, step):
    case = intel_case("tdx-v5-td15")
    evidence, collateral, roots = case.evidence, Collateral(intel=case.intel_collateral), case.trusted
    for fault in FAULTS:
        with monkeypatch.context() as patch:
            called = breaking(patch, *step, fault)
            verdict = verify(evidence, collateral=collateral, roots=roots, at=case.at, binding=UNBOUND)
        assert called
        assert verdict.accepted is False
        assert verdict.authentic is not True


@pytest.mark.parametrize("fault", FAULTS)
def test_v02_a_fault_in_the_description_of_refused_evidence_is_no_acceptance(intel_case, monkeypatch, fault):
    monkeypatch.setattr(tdx.TdxRecipe, "inspect", _raising(fault))
    verdict = intel_case().given(tcb_info=None).verdict()
    assert (verdict.accepted, verdict.authentic, verdict.error.id) == (False, None, "verifier.internal")


def _raising(fault: type[Exception]) -> Callable[..., None]:
    def broken(*_: Any, **__: Any) -> None:
        raise fault("injected")
    return broken


def test_v02_a_fault_does_not_tell_what_was_in_it(intel_case, monkeypatch):
    monkeypatch.setattr(dcap_tcb, "match", _raising(ValueError))
    verdict = intel_case().verdict()
    assert verdict.error.detail == "the verifier itself failed (ValueError)"
    assert "injected" not in str(verdict.to_dict())


def test_an_interruption_is_not_swallowed(intel_case, monkeypatch):
    monkeypatch.setattr(dcap_tcb, "match", _raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        intel_case().verdict()


@pytest.mark.parametrize("module", [tdx, sgx])
def test_a_recipe_that_returns_nothing_is_no_acceptance(intel_case, monkeypatch, module):
    kind = "TdxRecipe" if module is tdx else "SgxRecipe"
    monkeypatch.setattr(getattr(module, kind), "verify", lambda *_: None)
    verdict = intel_case("tdx-v4" if module is tdx else "sgx-v3").verdict()
    assert (verdict.accepted, verdict.error.id) == (False, "verifier.internal")


def test_claims_without_checks_are_no_acceptance(intel_case, monkeypatch):
    """Whoever made claims without applying a rule would be found out when the verdict is built."""
    claims = intel_case().verdict().claims
    monkeypatch.setattr(tdx.TdxRecipe, "verify", lambda *_: claims)
    verdict = intel_case().verdict()
    assert (verdict.authentic, verdict.accepted, verdict.error.id) == (None, False, "verdict.accept")


# -- purity ------------------------------------------------------------------------------------------------------------


def test_nothing_is_read_written_connected_or_asked_for_the_time(intel_case, monkeypatch):
    case = intel_case("tdx-v5-td15")
    case = replace(case, quote=case.raw)
    arguments = {"collateral": Collateral(intel=case.intel_collateral), "roots": case.trusted, "at": case.at,
                 "binding": UNBOUND}
    evidence = case.evidence
    assert verify(evidence, **arguments).accepted  # modules are loaded

    for home, name in ((socket, "socket"), (time, "time"), (time, "monotonic"), (subprocess, "Popen")):
        monkeypatch.setattr(home, name, _raising(AssertionError))
    monkeypatch.setattr("builtins.open", _raising(AssertionError))
    monkeypatch.setattr("os.open", _raising(AssertionError))
    verdict = verify(evidence, **arguments)
    monkeypatch.undo()
    assert verdict.accepted, verdict.error


def test_the_same_inputs_give_the_same_verdict(intel_case):
    for case in (intel_case(), intel_case("sgx-v3"), intel_case().given(pck_crl=None)):
        fixed = replace(case, quote=case.raw)
        first, second = fixed.verdict(), fixed.verdict()
        assert (first.to_dict(), first.checks) == (second.to_dict(), second.checks)


def test_the_moment_is_what_the_caller_says(intel_case, intel_at):
    case = intel_case()
    judge = Verifier(case.trusted, collateral=Collateral(intel=case.intel_collateral))
    assert judge.verify(case.evidence, binding=UNBOUND, at=intel_at).accepted
    assert judge.verify(case.evidence, binding=UNBOUND, at=intel_at - 1).authentic is False
    for at in (-1, 0, 1 << 70, -(10 ** 30)):
        verdict = judge.verify(case.evidence, binding=UNBOUND, at=at)
        assert (verdict.authentic, verdict.accepted) == (False, False)
        assert verdict.error.id == "tdx.pck_chain.root.validity"


def test_without_a_moment_it_is_now_and_read_once(intel_case, monkeypatch):
    case, asked = intel_case(), []
    monkeypatch.setattr(verify_home.time, "time", lambda: asked.append(1) or case.at + 0.9)
    judge = Verifier(case.trusted, collateral=Collateral(intel=case.intel_collateral))
    assert judge.verify(case.evidence, binding=UNBOUND).accepted
    assert asked == [1]


def test_collateral_of_one_call_does_not_stay_for_the_next(intel_case):
    case = intel_case()
    judge = Verifier(case.trusted)
    mine = Collateral(intel=case.intel_collateral)
    assert judge.verify(case.evidence, binding=UNBOUND, collateral=mine, at=case.at).accepted
    later = judge.verify(case.evidence, binding=UNBOUND, at=case.at)
    assert (later.authentic, later.error.id) == (None, "collateral.intel")


def test_the_makers_roots_are_the_default(intel_case):
    case = intel_case()
    verdict = Verifier().verify(case.evidence, binding=UNBOUND, collateral=Collateral(intel=case.intel_collateral),
                                at=case.at)
    assert (verdict.authentic, verdict.error.id) == (False, "tdx.pck_chain.root")


# -- bounds and kinds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [
    {"certificates": (bytes(MAX_EVIDENCE_BYTES),)}, {"event_log": bytes(MAX_EVIDENCE_BYTES)},
    {"certificates": (bytes(1024),) * 4096},
])
def test_evidence_is_bounded_with_everything_that_comes_with_it(intel_case, beside):
    case = intel_case()
    evidence = Evidence(Tee.TDX, case.raw, **beside)
    verdict = verify(evidence, collateral=Collateral.none(), roots=case.trusted, at=case.at, binding=UNBOUND)
    assert (verdict.authentic, verdict.error.id) == (False, "tdx.size")
    with pytest.raises(Exception, match="too large"):
        inspect(evidence)


@pytest.mark.parametrize("value", [None, b"", "text", 5, ["x"], {}, bytearray(700), memoryview(bytes(700))])
def test_a_quote_that_is_no_byte_string_is_no_acceptance(value):
    verdict = Verifier().verify(Evidence(Tee.TDX, value), binding=UNBOUND)
    assert (verdict.authentic is not True, verdict.accepted) == (True, False)


@pytest.mark.parametrize(("kind", "tee", "reason"), [
    ("tdx-v4", Tee.SGX, "sgx.quote.tee"), ("sgx-v3", Tee.TDX, "tdx.quote.tee"), ("sgx-v5", Tee.TDX, "tdx.quote.tee"),
    ("tdx-v5-td15", Tee.SGX, "sgx.quote.tee"), ("tdx-v4", Tee.SNP, "format.snp_report"),
    ("tdx-v4", Tee.SAMPLE, "format.json"),
])
def test_evidence_is_what_it_is_declared_to_be_or_refused(intel_case, kind, tee, reason):
    case = intel_case(kind)
    verdict = verify(Evidence(tee, case.raw), collateral=Collateral(intel=case.intel_collateral), roots=case.trusted,
                     at=case.at, binding=UNBOUND)
    assert (verdict.authentic, verdict.error.id) == (False, reason)


def test_inspect_tells_the_fields_and_believes_nothing(intel_case):
    case = intel_case("tdx-v5-td15")
    told = inspect(case.evidence)
    assert (told["quote_version"], told["body_type"]) == (5, "TD15")
    assert (told["mr_td"], told["tee_tcb_svn2"]) == (case.body.mr_td, case.body.v15.tee_tcb_svn2)
    assert inspect(intel_case("sgx-v3").evidence)["mr_enclave"] == intel_case("sgx-v3").body.mr_enclave
    with pytest.raises(EvidenceError) as caught:
        inspect(Evidence(Tee.TDX, b"junk"))
    assert caught.value.id == "format.quote"


def test_refused_evidence_tells_its_fields_under_a_name_that_says_so(intel_case):
    verdict = intel_case().given(tcb_info=None).verdict()
    assert verdict.claims is None
    assert verdict.to_dict()["claims"]["unverified"]["mr_td"] == intel_case().body.mr_td.hex()
    assert set(verdict.to_dict()["claims"]) == {"unverified"}


# -- hostile input through everything ----------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_quote_whatever_makes_the_verifier_fail(intel_case, data):
    """Spliced and overwritten genuine quotes, and any bytes: a verdict each time, with a reason from the evidence."""
    kind = data.draw(st.sampled_from(["tdx-v4", "tdx-v5-td15", "sgx-v3"]))
    case = intel_case(kind)
    raw = case.raw
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(len(raw), start + 60)))
        raw = raw[:start] + data.draw(st.binary(max_size=60)) + raw[end:]
    verdict = replace(case, quote=raw).verdict()
    assert verdict.error is None or verdict.error.id != "verifier.internal"
    if verdict.authentic:
        assert raw.startswith(case.raw) or quote.Quote.from_bytes(raw).signed == quote.Quote.from_bytes(case.raw).signed


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_collateral_whatever_makes_the_verifier_fail(intel_case, data):
    case = intel_case("tdx-v5-td15")
    case = replace(case, quote=case.raw)
    members = case.maker.collateral("tdx")
    name = data.draw(st.sampled_from([n for n in members if n not in ("pck_crl_issuer_chain", "pck_chain")]))
    value = members[name]
    if data.draw(st.booleans()):
        start = data.draw(st.integers(0, len(value)))
        end = data.draw(st.integers(start, min(len(value), start + 30)))
        value = value[:start] + data.draw(st.binary(max_size=30)) + value[end:]
    else:
        value = data.draw(st.binary(max_size=100))
    verdict = case.given(**{name: value}).verdict()
    assert verdict.error is None or verdict.error.id != "verifier.internal"
    assert verdict.authentic is not True or value.rstrip() == members[name].rstrip() or name.endswith("chain")


def test_the_five_lines_of_the_readme(intel_case, tmp_path):
    """As a caller would write them, in a process of their own, which loads no web framework and no policy engine."""
    case = intel_case()
    (tmp_path / "quote").write_bytes(case.raw)
    (tmp_path / "collateral.json").write_text(json.dumps(collateral_json(case.maker.collateral("tdx"))))
    (tmp_path / "root.pem").write_bytes(case.maker.chain("root"))
    code = f"""
import sys
from verifier import Binding, Evidence, Roots, Verifier, load_collateral
roots = Roots.makers().with_software([open("root.pem", "rb").read()])
verifier = Verifier(roots, collateral=load_collateral(["collateral.json"]))
verdict = verifier.verify(Evidence("tdx", open("quote", "rb").read()), binding=Binding(bytes(64)), at={case.at})
print(verdict.require().tee, sorted({{"flask", "regopy", "sqlalchemy", "click"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True,
                          cwd=tmp_path, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.stdout == "tdx []\n"


def test_importing_the_package_loads_nothing_else():
    code = ("import sys, verifier\n"
            "print([name for name in sys.modules if name.startswith(('verifier.', 'cryptography', 'click'))])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": ":".join(sys.path)})
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError):
        _ = verifier.nothing_of_that_name
