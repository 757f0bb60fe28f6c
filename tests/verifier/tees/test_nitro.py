"""The Nitro recipe: every rule kept and broken alone, what is kept, what is told, and that no bit goes unnoticed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import verifier
from tests.verifier.cose_cases import AT, AWS, NONCE, OTHER_AWS, Es512Signer, NitroCase
from tests.verifier.rules import assert_prepared_trust_never_changes_an_answer, rules_in_source, without_a_case
from verifier.appraisal.expectations import Expectations
from verifier.checks.prepared import Prepared
from verifier.endorsements.roots import Roots
from verifier.errors import CheckFailed, EvidenceError
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.cose import Algorithm, CoseSign1
from verifier.results.verdict import jsonable
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.certificates import Extension
from verifier.software_tee.cose import protected_header
from verifier.software_tee.keys import EcKey
from verifier.tees.nitro import NitroRecipe, body_claims
from verifier.verify import verify

# The X.509 library warns of what damaged certificates say before they are refused.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CAS = ("root", "region", "zone", "instance")
LINKS = (*CAS, "leaf")
SOMEBODY = ((x509.COMMON_NAME, "Somebody"),)
CRITICAL = Extension("1.2.3.4", der.NULL, critical=True)
P256, P521 = AWS.keys.p256("a P-256 key"), Es512Signer()
REGISTERS = dict(AWS.body().pcrs)

Breaks = Callable[[NitroCase], NitroCase]


def trusting_its_root(case: NitroCase) -> NitroCase:
    """The case's root as the one that is pinned, whatever has become of it."""
    pinned = Roots.only_software([AWS.certificate("root")]).anchors[0]
    digest = hashlib.sha256(case.maker.certificate("root")).digest()
    return replace(case, roots=Roots((replace(pinned, sha256_certificate=digest),)))


def certificate(role: str, change: Any) -> Breaks:
    return lambda case: trusting_its_root(case.altered(**{role: change}))


def small(role: str) -> Breaks:
    """A certificate authority on P-256, whose subordinate is signed with what goes with that."""
    below = LINKS[LINKS.index(role) + 1]
    changes = {role: lambda c: replace(c, public_key=P256.public_key), below: lambda c: replace(c, signer=P256)}
    return lambda case: trusting_its_root(case.altered(**changes))


def other_identifier(tbs: bytes) -> bytes:
    return tbs.replace(der.oid("1.2.840.10045.4.3.3"), der.oid("1.2.840.10045.4.3.2"), 1)


def link_rules(role: str) -> dict[str, list[Breaks]]:
    def at(change: Any) -> Breaks:
        return certificate(role, change)

    rules = {
        "extension_twice": [at(lambda c: c.doubled(x509.BASIC_CONSTRAINTS))],
        "validity": [at(lambda c: replace(c, not_after=AT + 9)), at(lambda c: replace(c, not_before=AT + 11))],
        "issuer": [at(lambda c: replace(c, issuer=SOMEBODY)), at(lambda c: replace(c, issuer=()))],
        "authority_key": [at(lambda c: c.changed(x509.authority_key_identifier(bytes(20)))),
                          at(lambda c: c.changed(x509.authority_key_identifier(b"")))],
        "extensions": [at(lambda c: c.changed(CRITICAL))],
        "signature.identifier": [at(lambda c: replace(c, mutate=other_identifier))],
        "signature.algorithm": [at(lambda c: replace(c, signer=replace(c.signer, digest="sha256"))),
                                at(lambda c: replace(c, signer=AWS.keys.rsa_pss("a small RSA key", 1024)))],
        "signature": [at(lambda c: replace(c, signer=OTHER_AWS.key("region"))),
                      at(lambda c: replace(c, signer=P256, algorithm=c.signer.algorithm))],
    }
    if role == "leaf":
        rules["ca"] = [at(lambda c: c.changed(x509.basic_constraints(ca=True)))]
        rules["key_usage"] = [at(lambda c, bits=bits: c.changed(x509.key_usage(*bits))) for bits in (
            (x509.KEY_CERT_SIGN, x509.DIGITAL_SIGNATURE), (x509.CRL_SIGN,))]
    else:
        depth = 3 - CAS.index(role)
        rules["ca"] = [at(lambda c: c.changed(x509.basic_constraints(ca=False))),
                       at(lambda c: c.without(x509.BASIC_CONSTRAINTS))]
        rules["key_usage"] = [at(lambda c: c.without(x509.KEY_USAGE)),
                              at(lambda c: c.changed(x509.key_usage(x509.DIGITAL_SIGNATURE)))]
        if depth:
            rules["path_length"] = [at(lambda c: c.changed(x509.basic_constraints(True, depth - 1)))]
    if role not in ("root", "region"):
        rules["signature.algorithm"].append(small(LINKS[LINKS.index(role) - 1]))
    name = role if role == "leaf" else f"chain.{role}"
    return {f"{name}.{rule}": breaks for rule, breaks in rules.items()}


def signed(**changes: Any) -> Breaks:
    return lambda case: case.altered(document=lambda m: replace(m, **changes))


def registers(change: Any) -> Breaks:
    return lambda case: case.says(pcrs=tuple(change(dict(REGISTERS)).items()))


def absent(index: int) -> Breaks:
    return registers(lambda pcrs: {key: value for key, value in pcrs.items() if key != index})


DOCUMENT: dict[str, list[Breaks]] = {
    "document.algorithm": [signed(protected=protected_header(Algorithm.ES256), signer=P256),
                           signed(protected=protected_header(Algorithm.ES512), signer=P521)],
    "document.digest": [lambda case, text=text: case.says(digest=text)
                        for text in ("SHA256", "SHA512", "sha384", "SHA-384")],
    "chain.root": [lambda case: replace(case, roots=Roots.makers()), lambda case: replace(case, maker=OTHER_AWS),
                   lambda case: case.says(cabundle=case.maker.cabundle[::-1])],
    "chain.length": [lambda case: case.says(cabundle=case.maker.cabundle[:1]),
                     lambda case: case.says(cabundle=case.maker.cabundle * 2)],
    "document.signature.curve": [lambda case: case.altered(leaf=lambda c: replace(c, public_key=P256.public_key))],
    "document.signature.range": [signed(signature=bytes(96)), signed(signature=b"\xff" * 96)],
    "document.signature": [signed(signer=OTHER_AWS.key("leaf")), signed(signer=AWS.key("instance")),
                           signed(external=b"something else")],
    "document.pcrs": [absent(0), absent(1), absent(2)],
    "document.pcr_size": [registers(lambda pcrs, size=size, index=index: pcrs | {index: b"\x01" * size})
                          for size in (32, 64) for index in (0, 2, 15)],
    "document.timestamp": [lambda case, at=at: case.says(timestamp=at) for at in (
        1000 * (AT - 3) - 1, 1000 * (AT + 3 * 3600 + 1), 0, 2**64 - 1, AT)],
    "size": [lambda case: replace(case, raw=case.evidence.quote + bytes(4 * 1024 * 1024))],
}
RULES = DOCUMENT | {rule: breaks for role in LINKS for rule, breaks in link_rules(role).items()}
# Rules that others before them leave nothing to refuse, and why.
OUT_OF_REACH = {
    "endorsement.validity": "each date was compared before, and what is kept is only found within its window",
    "chain.instance.path_length": "no CA follows: any path length will do",
}
BROKEN = [pytest.param(rule, make, id=f"{rule}-{number}")
          for rule, breaks in RULES.items() for number, make in enumerate(breaks)]


@pytest.mark.parametrize(("rule", "make"), BROKEN)
def test_rule_refuses_alone(rule, make):
    verdict = make(NitroCase()).verdict()
    assert isinstance(verdict.error, CheckFailed), verdict.error
    assert (verdict.authentic, verdict.accepted, verdict.error.id) == (False, False, f"nitro.{rule}")
    assert [check.id for check in verdict.mismatches] == ([f"nitro.{rule}"] if rule != "size" else [])
    assert verdict.claims is None


@pytest.mark.parametrize("indefinite", [False, True])
@pytest.mark.parametrize("tagged", [False, True])
def test_a_document_that_keeps_every_rule_is_accepted(indefinite, tagged):
    case = replace(NitroCase(), maker=AWS.on(replace(AWS.enclave, indefinite=indefinite)))
    verdict = case.altered(document=lambda m: replace(m, tagged=tagged)).verdict()
    assert (verdict.authentic, verdict.accepted, verdict.flags, verdict.error) == (True, True, (), None)
    assert verdict.claims.software is True


def test_every_rule_in_source_and_trail_has_a_case():
    known = set(RULES) | set(OUT_OF_REACH)
    patterns = rules_in_source("tees/nitro.py", "endorsements/aws.py", "endorsements/chain.py",
                               "checks/cose_signature.py")
    assert len(patterns) >= 20
    assert without_a_case(patterns, known) == []
    noted = {check.id.partition(".")[2] for check in NitroCase().verdict().checks}
    assert noted - {"accept.status", "accept.flags"} <= known
    assert set(OUT_OF_REACH) <= noted


def test_prepared_trust_never_changes_an_answer():
    assert_prepared_trust_never_changes_an_answer(
        NitroCase(), ((param.values[0], param.values[1](NitroCase())) for param in BROKEN))


# -- prepared trust --------------------------------------------------------------------------------------------------


def test_a_warm_verification_reads_no_certificate(monkeypatch):
    prepared = Prepared()
    assert NitroCase().verdict(prepared).accepted
    assert len(prepared) == 2
    monkeypatch.setattr("verifier.endorsements.aws.read_certificates", None)
    verdict = NitroCase().says(nonce=b"another", user_data=b"data").verdict(prepared)
    assert verdict.accepted
    assert verdict.claims.report_data == b"another"


def test_another_leaf_of_the_instance_costs_no_other_certificate(monkeypatch):
    prepared, read = Prepared(), []
    assert NitroCase().verdict(prepared).accepted
    from verifier.endorsements import aws

    original = aws.read_certificates
    monkeypatch.setattr(aws, "read_certificates", lambda data, field: (read.append(field), original(data, field))[1])
    case = NitroCase(maker=AWS.on(replace(AWS.enclave, enclave_id="encother")))
    assert case.verdict(prepared).accepted
    assert read == ["leaf"]
    assert len(prepared) == 3


def test_prepared_trust_ends_with_its_window():
    prepared, end = Prepared(), AT + 3 * 3600
    assert NitroCase().verdict(prepared).valid_until == end
    for at, rule in ((end + 1, "nitro.leaf.validity"), (AT - 4, "nitro.leaf.validity"),
                     (AT + 25 * 3600, "nitro.chain.instance.validity")):
        verdict = replace(NitroCase(), at=at).verdict(prepared)
        assert (verdict.authentic, verdict.error.id) == (False, rule)
    for at in (AT - 3, end):
        verdict = replace(NitroCase(), at=at).verdict(prepared)
        assert (verdict.authentic, verdict.valid_until) == (True, end)


def test_other_roots_do_not_meet_prepared_trust():
    prepared = Prepared()
    assert NitroCase().verdict(prepared).accepted
    assert replace(NitroCase(), roots=Roots.makers()).verdict(prepared).error.id == "nitro.chain.root"


def test_what_is_refused_is_never_kept():
    prepared = Prepared()
    case = NitroCase().altered(zone=lambda c: replace(c, signer=OTHER_AWS.key("region")))
    for _ in range(2):
        assert case.verdict(prepared).error.id == "nitro.chain.zone.signature"
    assert len(prepared) == 0


# -- what is told ----------------------------------------------------------------------------------------------------


def test_the_nonce_is_the_report_data_and_must_match_exactly():
    case = NitroCase()
    assert replace(case, binding=Binding(NONCE)).verdict().accepted
    for other in (NONCE[:-1], NONCE + b"\x00", bytes(32), NONCE[::-1], hashlib.sha256(NONCE).digest(), b""):
        verdict = replace(case, binding=Binding(other)).verdict()
        assert (verdict.authentic, verdict.accepted) == (True, False)
        assert [check.id for check in verdict.mismatches] == ["nitro.binding.report_data"]


@pytest.mark.parametrize("nonce", [None, b""])
def test_a_document_without_a_nonce_binds_nothing(nonce):
    case = NitroCase().says(nonce=nonce, user_data=NONCE, public_key=NONCE)
    verdict = replace(case, binding=Binding(NONCE)).verdict()
    assert (verdict.authentic, verdict.accepted, verdict.claims.report_data) == (True, False, b"")
    assert replace(case, binding=Binding(b"")).verdict().accepted is False, "nothing never equals nothing"
    assert verdict.claims.body["user_data"] == NONCE
    assert verdict.claims.body["nonce"] == nonce


def test_a_document_binds_no_init_data():
    case = NitroCase().says(user_data=bytes(48))
    assert case.verdict().claims.init_data == b""
    for expected in (bytes(48), b""):
        assert replace(case, binding=Binding(NONCE, expected)).verdict().accepted is False


@pytest.mark.parametrize("zero", [(0, 1, 2), (0,), (1,), (2,), (0, 2)])
def test_debug_mode_is_a_flag_that_is_refused_until_it_is_allowed(zero):
    case = registers(lambda pcrs: pcrs | dict.fromkeys(zero, bytes(48)))(NitroCase())
    verdict = case.verdict()
    assert (verdict.authentic, verdict.accepted, verdict.flags) == (True, False, ("NITRO_DEBUG",))
    assert [check.id for check in verdict.mismatches] == ["nitro.accept.nitro_debug"]
    assert replace(case, expectations=Expectations(allowed_flags=("NITRO_DEBUG",))).verdict().accepted


def test_other_registers_may_be_zero():
    zero = registers(lambda pcrs: {index: value if index < 3 else bytes(48) for index, value in pcrs.items()})
    assert zero(NitroCase()).verdict().flags == ()
    assert registers(lambda pcrs: {index: pcrs[index] for index in (0, 1, 2)})(NitroCase()).verdict().accepted


def test_claims_tell_document_and_certificates():
    verdict = NitroCase().says(user_data=b"data", public_key=b"key").verdict()
    told = jsonable(verdict.claims.named())
    assert (told["module_id"], told["digest"]) == ("i-0123456789abcdef0-enc0123456789abcdef", "SHA384")
    assert (told["timestamp_ms"], told["timestamp"]) == (1000 * AT, "2026-05-28T20:26:40Z")
    assert (told["nonce"], told["user_data"], told["public_key"]) == (NONCE.hex(), b"data".hex(), b"key".hex())
    assert told["pcrs"] == {str(index): value.hex() for index, value in REGISTERS.items()}
    assert told["leaf_subject"].startswith("CN=i-0123456789abcdef0-enc0123456789abcdef.us-east-1.aws,")
    assert told["leaf"]["not_after"] == verdict.valid_until == AT + 3 * 3600
    assert told["leaf"]["root_sha256"] == hashlib.sha256(AWS.certificate("root")).hexdigest()
    assert verdict.claims.status is None


def test_inspection_tells_what_verification_proves():
    recipe, case = NitroRecipe(), NitroCase().says(timestamp=2**64 - 1)
    told = recipe.inspect(recipe.parse(case.evidence))
    assert told == body_claims(case.body)
    assert told["timestamp"] == "9999-12-31T23:59:59Z"
    proved = NitroCase().verdict().claims.body
    assert recipe.inspect(recipe.parse(NitroCase().evidence)) == proved


def test_what_nobody_signed_does_not_reach_the_claims():
    evidence = Evidence(Tee.NITRO, NitroCase().evidence.quote, certificates=(b"CANARY",), event_log=b"CANARY")
    verdict = verify(evidence, collateral=verifier.Collateral.none(), at=AT, binding=Binding(NONCE),
                     roots=Roots.only_software([AWS.certificate("root")]))
    assert verdict.accepted
    assert b"CANARY".hex() not in str(verdict.to_dict())


# -- no bit unnoticed ------------------------------------------------------------------------------------------------


def judged(raw: bytes, prepared: Prepared) -> Any:
    return replace(NitroCase(), raw=raw).verdict(prepared)


def test_no_bit_of_a_document_can_be_turned_over():
    """Every bit of heads, protected header and signature, and some of the payload with its certificates."""
    size = len(NitroCase().evidence.quote)
    assert flipped_document(lambda position: range(8) if position < 12 or position >= size - 98 else (
        (position % 8,) if position % 13 == 0 else ())) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("bit", range(8))
def test_no_bit_at_all_of_a_document_can_be_turned_over(bit):
    assert flipped_document(lambda _: (bit,)) > 3_000


def flipped_document(bits: Callable[[int], Any]) -> int:
    prepared, data, turned = Prepared(), bytearray(NitroCase().evidence.quote), 0
    assert judged(bytes(data), prepared).authentic is True
    for position in range(len(data)):
        for bit in bits(position):
            data[position] ^= 1 << bit
            verdict = judged(bytes(data), prepared)
            assert (verdict.authentic, verdict.claims) == (False, None), (position, bit)
            assert verdict.error.id != "verifier.internal"
            data[position] ^= 1 << bit
            turned += 1
    return turned


def flipped_certificates(role: str, bits: range, step: int = 1) -> None:
    """The document is signed again around each damaged certificate, so that only the certificate can refuse."""
    prepared, case = Prepared(), NitroCase()
    assert case.verdict(prepared).authentic is True
    names = {name: case.maker.certificate(name) for name in LINKS}
    damaged = bytearray(names[role])
    for position in range(0, len(damaged), step):
        for bit in bits:
            damaged[position] ^= 1 << bit
            told = names | {role: bytes(damaged)}
            verdict = case.says(certificate=told["leaf"], cabundle=tuple(told[name] for name in CAS)).verdict(prepared)
            assert verdict.authentic is False, (role, position, bit)
            assert verdict.error.id != "verifier.internal"
            damaged[position] ^= 1 << bit


@pytest.mark.parametrize("role", LINKS)
def test_no_bit_of_a_certificate_can_be_turned_over(role):
    flipped_certificates(role, range(3, 4), step=9)


@pytest.mark.slow
@pytest.mark.parametrize("role", LINKS)
@pytest.mark.parametrize("bits", [range(4), range(4, 8)], ids=["low bits", "high bits"])
def test_no_bit_at_all_of_a_certificate_can_be_turned_over(role, bits):
    flipped_certificates(role, bits)


def test_every_truncation_is_refused():
    data = NitroCase().evidence.quote
    for size in range(len(data)):
        with pytest.raises(EvidenceError):
            NitroRecipe().parse(Evidence(Tee.NITRO, data[:size]))
    verdict = replace(NitroCase(), raw=data + b"\x00").verdict()
    assert (verdict.authentic, verdict.error.id) == (False, "format.nitro_document")


def test_the_other_signature_of_the_same_bytes_is_the_same_evidence():
    """(r, n - s) verifies as well, so nothing may take the bytes of evidence for its identity: both claim the same."""
    order = AWS.key("leaf").private.curve.group_order
    message = CoseSign1.from_bytes(NitroCase().evidence.quote, "nitro_document")
    s = order - int.from_bytes(message.signature[48:], "big")
    twin = replace(message, signature=message.signature[:48] + s.to_bytes(48, "big"))
    assert replace(NitroCase(), raw=twin.to_bytes()).verdict().to_dict() == NitroCase().verdict().to_dict()
    assert isinstance(AWS.key("leaf"), EcKey)
