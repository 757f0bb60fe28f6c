"""Published ways in which verifiers failed, tried here: Nitro documents and CCA tokens (docs/attacks.md).

Whatever is altered is signed again with the keys that sign such things, so that only the rule under test can refuse.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.verifier.cose_cases import ARM, AT, AWS, CHALLENGE, NONCE, OTHER_ARM, OTHER_AWS, RPV, CcaCase, NitroCase
from verifier.appraisal.expectations import Expectations
from verifier.endorsements.roots import Roots
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats import cbor
from verifier.formats.cbor import Tagged, encode
from verifier.formats.cca_token import CcaToken
from verifier.formats.cose import CoseSign1
from verifier.software_tee.arm import CcaPlatform, Realm, collection
from verifier.software_tee.keys import EcKey

ES384, EMPTY = encode({1: -35}), encode({})
MINUTE = 60


def head(kind: int, argument: int) -> bytes:
    """Major type and argument of an item, to be put before whatever the test likes."""
    written = encode(argument)
    return bytes((written[0] | kind << 5,)) + written[1:]


def refusal(case: Any) -> str:
    verdict = case.verdict()
    assert verdict.authentic is False, verdict.error
    assert verdict.claims is None
    return verdict.error.id


def fresh() -> EcKey:
    return EcKey(ec.generate_private_key(ec.SECP384R1()), "sha384")


# -- V-01 the answer of a signature routine is thrown away -------------------------------------------------------------


@pytest.mark.parametrize(("artefact", "reason"), [
    ("region", "nitro.chain.region.signature"), ("zone", "nitro.chain.zone.signature"),
    ("instance", "nitro.chain.instance.signature"), ("leaf", "nitro.leaf.signature"),
    ("document", "nitro.document.signature")])
def test_v01_every_nitro_signature_by_a_fresh_key_of_the_right_kind_is_refused(artefact, reason):
    assert refusal(NitroCase().altered(**{artefact: lambda a: replace(a, signer=fresh())})) == reason


@pytest.mark.parametrize("artefact", ["platform", "realm"])
def test_v01_every_cca_signature_by_a_fresh_key_of_the_right_kind_is_refused(artefact):
    assert refusal(CcaCase().altered(**{artefact: lambda a: replace(a, signer=fresh())})) == f"cca.{artefact}.signature"


def test_v01_a_key_that_is_no_point_of_its_curve_has_signed_nothing():
    off = b"\x04" + bytes(95) + b"\x05"
    assert refusal(CcaCase().on(realm=Realm(profile=None)).realm_says(public_key=off)) == "cca.realm.public_key"
    spki = AWS.key("leaf").public_key
    bad = AWS.altered(leaf=lambda c: replace(c, public_key=spki[:-96] + off[1:]))
    assert refusal(NitroCase(maker=bad)) == "collateral.certificate"


# -- V-09 bytes verified differ from bytes interpreted -----------------------------------------------------------------

FIELDS = cbor.decode(AWS.body().to_bytes(), "document", max_size=1 << 16, indefinite_top=True)
GOOD_PCRS, OTHER_PCRS = FIELDS["pcrs"], dict.fromkeys(range(16), b"\x42" * 48)


def members(*pairs: tuple[Any, Any], is_open: bool = False) -> bytes:
    inside = b"".join(encode(key) + encode(value) for key, value in pairs)
    return b"\xbf" + inside + b"\xff" if is_open else head(5, len(pairs)) + inside


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("first", [True, False])
def test_v09_a_document_with_pcrs_twice_is_refused(is_open, first):
    pairs = [*FIELDS.items(), ("pcrs", OTHER_PCRS)]
    payload = members(*(pairs if first else pairs[::-1]), is_open=is_open)
    case = NitroCase().payload(lambda _: payload)
    assert case.verdict().error.detail == "a key occurs twice"
    assert refusal(case) == "format.nitro_document"


@pytest.mark.parametrize("name", FIELDS)
def test_v09_a_document_with_any_member_twice_is_refused(name):
    case = NitroCase().payload(lambda _: members(*FIELDS.items(), (name, FIELDS[name])))
    assert case.verdict().error.detail == "a key occurs twice"


def test_v09_a_register_twice_is_refused():
    twice = head(5, 17) + b"".join(encode(i) + encode(v) for i, v in (*GOOD_PCRS.items(), (0, b"\x42" * 48)))
    case = NitroCase().payload(lambda payload: encode(FIELDS).replace(encode(GOOD_PCRS), twice))
    assert case.verdict().error.detail == "a key occurs twice"


@pytest.mark.parametrize("half", ["platform", "realm"])
def test_v09_a_claim_twice_is_refused(half):
    def doubled(message: Any) -> Any:
        told = cbor.decode(message.payload, "claims", max_size=1 << 16)
        return replace(message, payload=members(*told.items(), (10, bytes(64))))

    case = CcaCase().altered(**{half: doubled})
    assert case.verdict().error.detail == "a key occurs twice"
    assert refusal(case) == "format.cca_token"


# -- O-05 the nonce ----------------------------------------------------------------------------------------------------

NOT_QUITE: list[Callable[[bytes], bytes]] = [
    lambda n: n[:-1], lambda n: n + b"\x00", lambda n: b"\x00" + n, lambda n: n[:32].ljust(len(n), b"\x00"),
    lambda n: n.ljust(128, b"\x00"), lambda n: hashlib.sha256(n).digest(), lambda n: hashlib.sha512(n).digest(),
    lambda n: n[::-1], lambda n: n.hex().encode(), lambda n: n[:1], lambda n: b"", lambda n: bytes(len(n)),
    lambda n: n[:-1] + bytes((n[-1] ^ 1,)),
]


@pytest.mark.parametrize("alter", NOT_QUITE)
def test_o05_the_nonce_is_compared_whole_and_as_it_is(alter):
    for case, nonce in ((NitroCase(), NONCE), (CcaCase(), CHALLENGE)):
        if alter(nonce) == nonce:
            continue
        assert replace(case, binding=Binding(nonce)).verdict().accepted
        verdict = replace(case, binding=Binding(alter(nonce))).verdict()
        assert (verdict.authentic, verdict.accepted) == (True, False)
        assert [check.id for check in verdict.mismatches] == [f"{case.tee}.binding.report_data"]


@pytest.mark.parametrize("byte", range(64))
def test_o05_every_bit_of_the_nonce_counts(byte):
    case = NitroCase().says(nonce=CHALLENGE)
    for subject in (case, CcaCase()):
        off = bytearray(CHALLENGE)
        off[byte] ^= 1 << byte % 8
        assert replace(subject, binding=Binding(bytes(off))).verdict().accepted is False


# -- O-10 Nitro: debug mode, bundle order, pinning ---------------------------------------------------------------------


def pcrs(**changes: Any) -> NitroCase:
    told = GOOD_PCRS | {int(name[1:]): value for name, value in changes.items()}
    return NitroCase().says(pcrs=tuple((index, value) for index, value in told.items() if value is not None))


@pytest.mark.parametrize("zero", [("p0",), ("p1",), ("p2",), ("p0", "p1", "p2")])
def test_o10_zero_registers_are_refused_unless_they_are_allowed_by_name(zero):
    case = pcrs(**dict.fromkeys(zero, bytes(48)))
    verdict = case.verdict()
    assert (verdict.accepted, verdict.flags) == (False, ("NITRO_DEBUG",))
    assert [check.id for check in verdict.mismatches] == ["nitro.accept.nitro_debug"]
    assert verdict.claims.body["pcrs"][zero[0][1:]] == bytes(48), "a zero register is told, not dropped"
    assert replace(case, expectations=Expectations(allowed_flags=("VMPL1",))).verdict().accepted is False


@pytest.mark.parametrize("index", [0, 1, 2])
def test_o10_a_missing_register_is_refused(index):
    assert refusal(pcrs(**{f"p{index}": None})) == "nitro.document.pcrs"


def test_o10_a_register_of_another_index_or_length_is_refused():
    assert refusal(pcrs(p32=bytes(48))) == "format.nitro_document"
    assert refusal(pcrs(p0=b"\x01" * 32)) == "nitro.document.pcr_size"
    assert refusal(pcrs(p15=b"\x01" * 64)) == "nitro.document.pcr_size"
    assert refusal(pcrs(p4=b"\x01" * 47)) == "format.nitro_document"
    assert refusal(NitroCase().says(pcrs=())) == "format.nitro_document"


@pytest.mark.parametrize(("bundle", "reason"), [
    (AWS.cabundle[::-1], "nitro.chain.root"), (AWS.cabundle * 2, "nitro.chain.length"),
    (AWS.cabundle[:1], "nitro.chain.length"), ((OTHER_AWS.certificate("root"), *AWS.cabundle), "nitro.chain.root"),
    ((OTHER_AWS.certificate("root"), *AWS.cabundle[1:]), "nitro.chain.root"), (OTHER_AWS.cabundle, "nitro.chain.root"),
    ((AWS.certificate("root"), *OTHER_AWS.cabundle[1:]), "nitro.chain.region.authority_key"),
    ((), "format.nitro_document"), ((*AWS.cabundle[1:], AWS.certificate("root")), "nitro.chain.root"),
])
def test_o10_a_bundle_of_another_order_or_root_is_refused(bundle, reason):
    assert refusal(NitroCase().says(cabundle=bundle)) == reason


def test_o10_a_document_of_nobodys_enclave_is_refused():
    assert refusal(NitroCase(maker=OTHER_AWS)) == "nitro.chain.root"
    assert refusal(replace(NitroCase(), roots=Roots.makers())) == "nitro.chain.root"


def test_o10_the_leaf_is_on_p384_and_the_digest_is_sha384():
    small = AWS.keys.p256("small")
    assert refusal(NitroCase().altered(leaf=lambda c: replace(c, public_key=small.public_key))) == (
        "nitro.document.signature.curve")
    for digest in ("SHA256", "SHA512", "sha384"):
        assert refusal(NitroCase().says(digest=digest)) == "nitro.document.digest"


@pytest.mark.parametrize("nonce", [None, b""])
def test_o10_a_caller_that_demands_a_nonce_is_not_content_with_none(nonce):
    for expected in (NONCE, b"", bytes(32)):
        verdict = replace(NitroCase().says(nonce=nonce), binding=Binding(expected)).verdict()
        assert verdict.accepted is False
        assert [check.id for check in verdict.mismatches] == ["nitro.binding.report_data"]


@pytest.mark.parametrize(("name", "size"), [("nonce", 513), ("nonce", 1025), ("user_data", 513), ("public_key", 1025)])
def test_o10_what_the_enclave_adds_is_bounded(name, size):
    assert refusal(NitroCase().says(**{name: bytes(size)})) == "format.nitro_document"
    assert NitroCase().says(**{name: bytes(512)}).verdict().accepted


def test_o10_an_old_document_is_told_by_its_nonce_and_a_time_outside_of_the_leafs_is_refused():
    """A document ten minutes old, or ahead, is as good as new for whoever demands no nonce; the leaf bounds it."""
    for shift in (-10 * MINUTE, 10 * MINUTE):
        assert replace(NitroCase(), at=max(AT + shift, AT - 3)).verdict().authentic is True
    assert refusal(NitroCase().says(timestamp=1000 * (AT - 10 * MINUTE))) == "nitro.document.timestamp"
    assert refusal(NitroCase().says(timestamp=1000 * (AT + 190 * MINUTE))) == "nitro.document.timestamp"
    assert refusal(replace(NitroCase(), at=AT + 180 * MINUTE + 1)) == "nitro.leaf.validity"
    stale = replace(NitroCase(), at=AT + 170 * MINUTE, binding=Binding(hashlib.sha256(b"a fresh nonce").digest()))
    assert stale.verdict().accepted is False


# -- O-11 COSE and CBOR traps ------------------------------------------------------------------------------------------


def framed(payload: bytes, signer: EcKey, *, protected: bytes = ES384, unprotected: bytes = EMPTY,
           shown: bytes | None = None, extra: tuple[bytes, ...] = (), drop: int = 0,
           signature: Callable[[bytes], bytes] = bytes) -> bytes:
    """A message part by part, signed over ``protected`` and ``payload``; ``shown`` stands where the payload should."""
    signed = signer.sign_raw(encode(("Signature1", protected, b"", payload)))
    parts = [encode(protected), unprotected, encode(payload) if shown is None else shown, encode(signature(signed))]
    parts = [*parts, *extra][: len(parts) + len(extra) - drop]
    return head(4, len(parts)) + b"".join(parts)


def der_signature(raw: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    return encode_dss_signature(int.from_bytes(raw[:48], "big"), int.from_bytes(raw[48:], "big"))


TRAPS: dict[str, dict[str, Any]] = {
    "algorithm in the unprotected header alone": {"protected": EMPTY, "unprotected": ES384},
    "no protected header at all, algorithm in the unprotected": {"protected": b"", "unprotected": ES384},
    "another algorithm in the unprotected header": {"unprotected": encode({1: -7})},
    "the same algorithm in the unprotected header": {"unprotected": ES384},
    "a key id in the unprotected header": {"unprotected": encode({4: b"kid"})},
    "crit": {"protected": encode({1: -35, 2: (1,)})},
    "crit and what it names": {"protected": encode({1: -35, 2: ("x",), "x": 1})},
    "another label": {"protected": encode({1: -35, 4: b"kid"})},
    "label 1 twice": {"protected": bytes.fromhex("a2013822013822")},
    "label 1 twice, differing": {"protected": bytes.fromhex("a20126013822")},
    "label 1 twice, once longer": {"protected": bytes.fromhex("a201382218013822")},
    "algorithm by name": {"protected": encode({1: "ES384"})},
    "algorithm in a longer form": {"protected": bytes.fromhex("a101390022")},
    "header of indefinite length": {"protected": bytes.fromhex("bf013822ff")},
    "header with a tag": {"protected": encode(Tagged(18, {1: -35}))},
    "bytes behind the header": {"protected": ES384 + b"\x00"},
    "payload null": {"shown": b"\xf6"}, "payload undefined": {"shown": b"\xf7"}, "payload text": {"shown": b"\x60"},
    "payload a map": {"shown": EMPTY}, "payload under a tag": {"shown": b"\xd8\x18\x40"},
    "payload missing": {"drop": 2}, "payload of indefinite length": {"shown": b"\x5f\x40\xff"},
    "payload length in a longer form": {"shown": b"\x59\x00\x00"}, "three parts": {"drop": 1},
    "five parts": {"extra": (EMPTY,)}, "a second signature": {"extra": (encode(bytes(96)),)},
    "signature in DER": {"signature": der_signature}, "signature longer": {"signature": lambda raw: raw + b"\x00"},
    "signature shorter": {"signature": lambda raw: raw[:-1]}, "signature empty": {"signature": lambda raw: b""},
    "signature of another curve's length": {"signature": lambda raw: raw[:64]},
    "unprotected header null": {"unprotected": b"\xf6"}, "unprotected header open": {"unprotected": b"\xbf\xff"},
}


@pytest.mark.parametrize("name", TRAPS)
def test_o11_a_trap_in_a_nitro_message_is_refused(name):
    case, trap = NitroCase(), TRAPS[name]
    assert replace(case, raw=framed(case.body.to_bytes(), AWS.key("leaf"))).verdict().accepted, "without the trap"
    raw = framed(case.body.to_bytes(), AWS.key("leaf"), **trap)
    for data in (raw, b"\xd2" + raw):
        assert refusal(replace(case, raw=data)) == "format.nitro_document"


@pytest.mark.parametrize("half", ["platform", "realm"])
@pytest.mark.parametrize("name", TRAPS)
def test_o11_a_trap_in_a_half_of_a_cca_token_is_refused(name, half):
    realm = ARM.realm_claims(CHALLENGE, RPV)
    payloads = {"platform": ARM.platform_claims(realm).to_bytes(), "realm": realm.to_bytes()}
    signers = {"platform": ARM.cpak, "realm": ARM.rak}
    for trap in ({}, TRAPS[name]):
        halves = [b"\xd2" + framed(payloads[one], signers[one], **(trap if one == half else {})) for one in payloads]
        case = replace(CcaCase(), raw=collection(*halves))
        if trap:
            assert refusal(case) == "format.cca_token"
        else:
            assert case.verdict().accepted, "without the trap"


@pytest.mark.parametrize("number", [-7, -36, -37, -8, -257, 5, 0])
def test_o11_another_algorithm_than_the_pinned_one_is_refused(number):
    case = NitroCase()
    raw = framed(case.body.to_bytes(), AWS.key("leaf"), protected=encode({1: number}))
    assert refusal(replace(case, raw=raw)) in ("format.nitro_document", "format.nitro_document.algorithm")


@pytest.mark.parametrize("tag", [16, 17, 19, 61, 98, 399, 55799])
def test_o11_another_tag_is_refused(tag):
    nitro, cca = NitroCase().evidence.quote, CcaCase().evidence.quote
    assert refusal(replace(NitroCase(), raw=head(6, tag) + nitro)) == "format.nitro_document"
    assert refusal(replace(CcaCase(), raw=head(6, tag) + cca)) == "format.cca_token"
    assert refusal(replace(CcaCase(), raw=cca[3:])) == "format.cca_token", "no tag at all"


BOMBS = {
    "arrays in arrays": b"\x81" * 100_000, "maps in maps": b"\xa1\x01" * 100_000, "tags on tags": b"\xd2" * 100_000,
    "open arrays": b"\x9f" * 100_000, "an array of 2^64": b"\x9b" + b"\xff" * 8,
    "a string of 2^64": b"\x5b" + b"\xff" * 8, "a map of 2^63": b"\xbb\x7f" + b"\xff" * 7,
    "text of 2^32": b"\x7a\xff\xff\xff\xff", "nothing": b"", "a break": b"\xff",
    "zeros": bytes(60_000), "an array of zeros": b"\x99\xff\xff" + bytes(65_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_o11_deep_and_long_input_is_refused(name):
    """As the whole, as the payload, as the protected header, and as a claim (D-01)."""
    bomb = BOMBS[name]
    assert refusal(replace(NitroCase(), raw=bomb)) == "format.nitro_document"
    assert refusal(replace(NitroCase(), raw=b"\x84\x44\xa1\x01\x38\x22\xa0" + bomb)) == "format.nitro_document"
    assert refusal(NitroCase().payload(lambda _: bomb)) == "format.nitro_document"
    assert refusal(NitroCase().altered(document=lambda m: replace(m, protected=bomb))) == "format.nitro_document"
    assert refusal(NitroCase().payload(lambda _: members(*FIELDS.items())[:-1] + bomb)) == "format.nitro_document"
    for raw in (bomb, b"\xd9\x01\x8f" + bomb, collection(bomb[:60_000], bomb[:1000])):
        assert refusal(replace(CcaCase(), raw=raw)) == "format.cca_token"
    for half in ("platform", "realm"):
        assert refusal(CcaCase().altered(**{half: lambda m: replace(m, payload=bomb)})) == "format.cca_token"
    assert refusal(CcaCase().realm_says(public_key=bomb[:256] or b"\x00")) == "format.cca_token"


@pytest.mark.parametrize("change", [
    lambda payload: payload.replace(encode("timestamp") + b"\x1b", encode("timestamp") + b"\x1c"),
    lambda payload: payload.replace(encode("digest") + b"\x66", encode("digest") + b"\x78\x06"),
    lambda payload: payload.replace(encode("nonce") + b"\x58\x20", encode("nonce") + b"\x59\x00\x20"),
    lambda payload: payload.replace(encode(GOOD_PCRS), cbor.encode_open_map(GOOD_PCRS)),
    lambda payload: payload.replace(encode("pcrs") + b"\xb0\x00", encode("pcrs") + b"\xb0\x18\x00"),
    lambda payload: payload.replace(encode("cabundle") + b"\x84", encode("cabundle") + b"\x98\x04"),
    lambda payload: payload + b"\x00", lambda payload: payload[:-1], lambda payload: b"\xd2" + payload,
    lambda payload: encode(tuple(FIELDS.items())), lambda payload: encode(payload),
])
def test_o11_a_document_in_any_other_encoding_is_refused(change):
    case = NitroCase().payload(change)
    assert case.maker.document(case.body) != NitroCase().evidence.quote
    assert refusal(case) == "format.nitro_document"


# -- O-12 CCA: realm and platform tokens not bound ---------------------------------------------------------------------


def grafted(platform: bytes, realm: bytes) -> str:
    return refusal(replace(CcaCase(), raw=collection(platform, realm), roots=Roots(()).with_software(
        [ARM.cpak_jwk(named=False), OTHER_ARM.cpak_jwk(named=False)])))


def test_o12_the_platform_of_one_realm_does_not_vouch_for_another():
    ours, theirs = ARM.halves(CHALLENGE, RPV), OTHER_ARM.halves(CHALLENGE, RPV)
    assert grafted(ours[0], theirs[1]) == "cca.platform.challenge"
    assert grafted(theirs[0], ours[1]) == "cca.platform.challenge"
    assert grafted(ours[1], ours[0]) == "format.cca_token.profile", "halves exchanged"
    assert grafted(ours[0], ours[0]) == "format.cca_token.profile"


def test_o12_a_later_token_of_the_same_realm_is_vouched_for_by_the_same_platform_half():
    platform, realm = ARM.halves(CHALLENGE, RPV)[0], ARM.halves(bytes(64), RPV)[1]
    verdict = replace(CcaCase(), raw=collection(platform, realm), binding=Binding(bytes(64), RPV)).verdict()
    assert verdict.accepted


@pytest.mark.parametrize("name", ["sha-1", "sha1", "md5", "sha-224", "sha3-256", "SHA-256", "sha256", "none"])
def test_o12_a_weak_or_unknown_hash_does_not_bind(name):
    def bound(case: CcaCase) -> CcaCase:
        key = ARM.realm_claims(CHALLENGE, RPV).public_key
        digest = hashlib.sha1(key).digest().ljust(32, b"\x00") if "1" in name else hashlib.sha256(key).digest()
        return case.realm_says(public_key_hash_algo_id=name).platform_says(challenge=digest)

    assert refusal(bound(CcaCase())) == "cca.platform.challenge.algorithm"


@pytest.mark.parametrize("name", ["sha-256", "sha-384", "sha-512"])
def test_o12_the_hash_is_that_of_the_realms_claim(name):
    """Not of the point within a COSE_Key, not of another length, and each bit counts."""
    case = CcaCase().on(realm=Realm(rak_hash=name))
    assert case.verdict().accepted
    point = b"\x04" + ARM.rak.public_xy
    digest = hashlib.new(name.replace("-", ""), point).digest()
    assert refusal(case.platform_says(challenge=digest)) == "cca.platform.challenge"
    good = ARM.on(realm=Realm(rak_hash=name)).platform_claims(
        ARM.on(realm=Realm(rak_hash=name)).realm_claims(CHALLENGE, RPV)).challenge
    for byte in (0, 1, len(good) // 2, len(good) - 1):
        off = bytearray(good)
        off[byte] ^= 1 << byte % 8
        assert refusal(case.platform_says(challenge=bytes(off))) == "cca.platform.challenge"
    for size in {32, 48, 64} - {len(good)}:
        other = good[:size].ljust(size, b"\x00")
        assert refusal(case.platform_says(challenge=other)) == "cca.platform.challenge"


def test_o12_a_key_in_the_form_of_the_other_profile_is_refused():
    point = b"\x04" + ARM.rak.public_xy
    key = ARM.realm_claims(CHALLENGE, RPV).public_key
    assert refusal(CcaCase().realm_says(public_key=point)) == "format.cca_token"
    assert refusal(CcaCase().on(realm=Realm(profile=None)).realm_says(public_key=key)) == "format.cca_token"
    both = CcaCase().on(realm=Realm(profile=None)).realm_says(public_key=point)
    assert both.verdict().accepted


@pytest.mark.parametrize("lifecycle", [0x0000, 0x1000, 0x2000, 0x2FFF, 0x3100, 0x5000, 0x5003, 0x6000, 0x7000, 0xFFFF])
def test_o12_a_platform_that_is_not_secured_is_refused(lifecycle):
    assert refusal(CcaCase().on(CcaPlatform(lifecycle=lifecycle))) == "cca.platform.lifecycle"


def test_o12_a_platform_that_is_debugged_outside_of_its_trusted_part_is_refused_by_default():
    verdict = CcaCase().on(CcaPlatform(lifecycle=0x4000)).verdict()
    assert (verdict.accepted, verdict.flags) == (False, ("CCA_NOT_SECURED",))


def test_o12_a_token_of_a_platform_that_nobody_vouches_for_is_not_accepted():
    case = replace(CcaCase(), roots=Roots.makers())
    assert (case.verdict().authentic, case.verdict().accepted) == (None, False)
    beside = replace(case, cpaks=(ARM.cpak_jwk(named=True),)).verdict()
    assert (beside.accepted, beside.flags, beside.claims.software) == (False, ("CPAK_UNPROVEN",), True)


def test_o12_a_realm_that_signs_with_a_key_of_its_own_choosing_is_refused():
    mine = fresh()
    key = encode({1: 2, -1: 2, -2: mine.public_xy[:48], -3: mine.public_xy[48:]})
    case = CcaCase().realm_says(public_key=key).altered(
        realm=lambda m: replace(m, signer=mine),
        platform_claims=lambda c: replace(c, challenge=ARM.platform_claims(ARM.realm_claims(CHALLENGE, RPV)).challenge))
    assert refusal(case) == "cca.platform.challenge"


# -- V-12, V-13 evidence of one kind for that of another ---------------------------------------------------------------


def test_v13_a_document_and_a_token_are_not_each_other():
    document, token = NitroCase().evidence.quote, CcaCase().evidence.quote
    assert refusal(replace(NitroCase(), raw=token)) == "format.nitro_document"
    assert refusal(replace(CcaCase(), raw=document)) == "format.cca_token"
    halves = CcaToken.from_bytes(token)
    for half in (halves.platform, halves.realm):
        assert refusal(replace(NitroCase(), raw=half.to_bytes())) == "format.nitro_document"
    tagged = replace(CoseSign1.from_bytes(document, "document"), tagged=True).to_bytes()
    assert refusal(replace(CcaCase(), raw=collection(tagged, tagged))) == "format.cca_token"
    for tee in (Tee.TDX, Tee.SNP, Tee.SGX):
        for data in (document, token):
            case = replace(NitroCase(), raw=data, tee=tee)
            assert Evidence(tee, data) == case.evidence
            assert case.verdict().authentic is False


# -- V-15 degenerate signatures ----------------------------------------------------------------------------------------

ORDER = ec.SECP384R1().group_order


def test_v15_degenerate_signatures_are_refused():
    for r in (0, 1, ORDER - 1, ORDER, ORDER + 1, (1 << 384) - 1):
        for s in (0, 1, ORDER - 1, ORDER, (1 << 384) - 1):
            pair = r.to_bytes(48, "big") + s.to_bytes(48, "big")
            proper = 0 < r < ORDER and 0 < s < ORDER
            tail = "signature" if proper else "signature.range"
            assert refusal(NitroCase().altered(document=lambda m, p=pair: replace(m, signature=p))) == (
                f"nitro.document.{tail}")
            for half in ("platform", "realm"):
                assert refusal(CcaCase().altered(**{half: lambda m, p=pair: replace(m, signature=p)})) == (
                    f"cca.{half}.{tail}")
