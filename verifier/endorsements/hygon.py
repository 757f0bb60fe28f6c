"""Hygon's endorsements, verified: PEK under CEK under HSK under the pinned HRK.

Rules of the room: the chain has Hygon's one shape. The HRK is pinned; a supplied one is only compared with the pin.
Each certificate is read in the same straight line: version, usage, algorithm, curve, name, reserved bytes, key; then
its signature under the key above. The certificates carry no dates and Hygon publishes no revocation, so what holds
once holds always.

A CEK and a PEK have two places for signatures. Exactly one must name the usage of the key above, and that one must
verify. In the other a CEK has nothing; a PEK may have its owner's (OCA), which nobody here can verify and on which
nothing rests: it must be well-formed.

Source: Hygon's published certificate structures and its verification order; SM2 as in `verifier.endorsements.sm2`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature

from verifier.endorsements.roots import Roots
from verifier.endorsements.roots.hygon import HygonRoot
from verifier.endorsements.sm2 import N, Sm2PublicKey
from verifier.errors import MalformedCollateral, MalformedEvidence, MissingCollateral
from verifier.formats.hygon_cert import (
    ALGORITHM_SM2_SIGNATURE,
    CA_VERSIONS,
    CERTIFICATE_VERSIONS,
    CURVE_SM2_256,
    SIGNIFICANT,
    CaCertificate,
    CsvCertificate,
    Slot,
    Usage,
    split_certificates,
)
from verifier.trail import Trail

MAX_SUPPLIED = 16  # items that may come with one piece of evidence

USER_IDS = {Usage.HSK: b"HYGON-SSD-HSK", Usage.CEK: b"HYGON-SSD-CEK", Usage.PEK: b"HYGON-SSD-PEK"}


@dataclass(frozen=True, slots=True)
class HygonKey:
    """A key whose certificate is in order, not yet one that anybody vouches for.

    rule: its name in check ids. signature_r, signature_s: of the key above it, 72 bytes each.
    """

    rule: str
    certificate: CaCertificate | CsvCertificate
    public_key: Sm2PublicKey
    signature_r: bytes
    signature_s: bytes

    @property
    def user_id(self) -> bytes:
        """The name that goes into its signatures."""
        return self.certificate.user_id


@dataclass(frozen=True, slots=True)
class Chain:
    """A verified chain above a PEK."""

    root: HygonRoot
    hsk: HygonKey
    cek: HygonKey


def read_supplied(trail: Trail, with_evidence: Sequence[bytes],
                  as_collateral: Sequence[bytes]) -> tuple[CaCertificate | CsvCertificate, ...]:
    """Every supplied certificate, the evidence's own first, each item one or several in a row.

    What came with the evidence is the attester's fault (`MalformedEvidence`), the rest `MalformedCollateral`.
    """
    trail.require("certificates.count", len(with_evidence) <= MAX_SUPPLIED,
                  "evidence may bring only so many certificates", expected=f"<= {MAX_SUPPLIED}", got=len(with_evidence))
    own = tuple(certificate for item in with_evidence for certificate in split_certificates(item))
    try:
        return own + tuple(certificate for item in as_collateral for certificate in split_certificates(item))
    except MalformedEvidence as error:
        raise MalformedCollateral("collateral.hygon.certificate", error.detail, expected=error.expected,
                                  got=error.got) from None


def read_pek(trail: Trail, certificate: CsvCertificate) -> HygonKey:
    """The PEK's certificate in order, and its key. Who vouches for it is for `verify_chain`."""
    public_key = _read(trail, "pek", certificate, Usage.PEK)
    signed, other = _slots(trail, "pek", certificate, Usage.CEK)
    if not other.empty:
        trail.require("pek.slots.owner", (other.usage, other.algorithm) == (Usage.OCA, ALGORITHM_SM2_SIGNATURE)
                      and not any(other.reserved), "besides the CEK only an owner's key may have signed",
                      expected=hex(Usage.OCA), got=hex(other.usage))
        _check_encoding(trail, "pek.owner_signature", other.signature_r, other.signature_s)
    return HygonKey("pek", certificate, public_key, signed.signature_r, signed.signature_s)


def verify_chain(trail: Trail, pek: HygonKey, supplied: Sequence[CaCertificate | CsvCertificate],
                 roots: Roots) -> Chain:
    """``pek`` under a CEK and an HSK among ``supplied`` under a trusted HRK.

    Raises `MissingCollateral` when there is no CEK at all, or no HSK that the CEK names.
    """
    chosen = _choose_cek(pek, supplied)
    found = next((c for c in supplied if isinstance(c, CaCertificate) and c.key_id == chosen.signer_key_id), None)
    if found is None:
        raise MissingCollateral("collateral.hygon.hsk", "the HSK that the CEK names was not supplied",
                                expected=chosen.signer_key_id)
    root = _root(trail, found, supplied, roots)
    hsk = HygonKey("hsk", found, _read(trail, "hsk", found, Usage.HSK), found.signature_r, found.signature_s)
    _check_link(trail, root.public_key, root.user_id, hsk)
    public_key = _read(trail, "cek", chosen, Usage.CEK)
    signed, other = _slots(trail, "cek", chosen, Usage.HSK)
    trail.require("cek.slots.other", other.empty, "nobody but the HSK signs a CEK", got=hex(other.usage))
    cek = HygonKey("cek", chosen, public_key, signed.signature_r, signed.signature_s)
    _check_link(trail, hsk.public_key, hsk.user_id, cek)
    _check_link(trail, cek.public_key, cek.user_id, pek)
    return Chain(root, hsk, cek)


def _choose_cek(pek: HygonKey, supplied: Sequence[CaCertificate | CsvCertificate]) -> CsvCertificate:
    """The CEK that most likely signed the PEK: a hint and no more, since the chosen one goes through every rule.

    Nothing in a PEK names its CEK, so where there are several their keys are tried.
    """
    others = [c for c in supplied if isinstance(c, CsvCertificate) and c.usage != Usage.PEK]
    ceks = [c for c in others if c.usage == Usage.CEK] or others
    if not ceks:
        raise MissingCollateral("collateral.hygon.cek", "no CEK came with the evidence and none was supplied")
    return ceks[0] if len(ceks) == 1 else next((cek for cek in ceks if _seems_to_sign(cek, pek)), ceks[0])


def _seems_to_sign(cek: CsvCertificate, pek: HygonKey) -> bool:
    r, s = _number(pek.signature_r), _number(pek.signature_s)
    try:
        Sm2PublicKey(_number(cek.x), _number(cek.y)).verify(r, s, pek.certificate.signed_bytes, cek.user_id)
    except (ValueError, InvalidSignature):
        return False
    return True


def _root(trail: Trail, hsk: CaCertificate, supplied: Sequence[CaCertificate | CsvCertificate],
          roots: Roots) -> HygonRoot:
    """The trusted HRK that the HSK names. Whatever else goes by its key id among ``supplied`` must be trusted too."""
    root = next((root for root in roots.hygon if root.key_id == hsk.signer_key_id), None)
    if root is None:
        raise trail.fail("chain.root", "the chain does not end in a trusted root",
                         expected=[root.name for root in roots.hygon], got=hsk.signer_key_id)
    trusted = {known.sha256_certificate for known in roots.hygon}
    for certificate in supplied:
        if isinstance(certificate, CaCertificate) and certificate.usage == Usage.HRK and (
                certificate.key_id == root.key_id):
            digest = hashlib.sha256(certificate.to_bytes()).digest()
            trail.require("chain.root", digest in trusted, "a supplied root must be a trusted one",
                          expected=root.sha256_certificate, got=digest)
    trail.passed("chain.root", "a root added by configuration" if root.software else None, got=root.name)
    return root


def _read(trail: Trail, rule: str, certificate: CaCertificate | CsvCertificate, usage: Usage) -> Sm2PublicKey:
    """What every certificate must say; gives its key."""
    versions = CA_VERSIONS if isinstance(certificate, CaCertificate) else CERTIFICATE_VERSIONS
    trail.require(f"{rule}.version", certificate.version in versions, "must be of a known version",
                  expected=list(versions), got=certificate.version)
    trail.equal(f"{rule}.usage", expected=int(usage), got=certificate.usage)
    if isinstance(certificate, CsvCertificate):
        trail.equal(f"{rule}.algorithm", expected=ALGORITHM_SM2_SIGNATURE, got=certificate.algorithm)
    trail.equal(f"{rule}.curve", expected=CURVE_SM2_256, got=certificate.curve)
    trail.equal(f"{rule}.user_id", expected=USER_IDS[usage], got=certificate.user_id)
    trail.require(f"{rule}.reserved", not any(certificate.reserved), "reserved bytes must be zero")
    return _read_key(trail, rule, certificate.x, certificate.y)


def _read_key(trail: Trail, rule: str, x: bytes, y: bytes) -> Sm2PublicKey:
    trail.require(f"{rule}.key.encoding", not any(x[SIGNIFICANT:] + y[SIGNIFICANT:]),
                  "coordinates must fit into 32 bytes")
    try:
        key = Sm2PublicKey(_number(x), _number(y))
    except ValueError:
        raise trail.fail(f"{rule}.key", "the key is not a point of its curve", got=x[:SIGNIFICANT]) from None
    trail.passed(f"{rule}.key")
    return key


def _slots(trail: Trail, rule: str, certificate: CsvCertificate, issuer: Usage) -> tuple[Slot, Slot]:
    """The slot that ``issuer`` signed and the other one."""
    first, second = certificate.slots
    trail.require(f"{rule}.slots", (first.usage == issuer) != (second.usage == issuer),
                  "exactly one signature must name the key above", expected=hex(issuer),
                  got=[hex(first.usage), hex(second.usage)])
    signed, other = (first, second) if first.usage == issuer else (second, first)
    trail.equal(f"{rule}.slots.algorithm", expected=ALGORITHM_SM2_SIGNATURE, got=signed.algorithm)
    trail.require(f"{rule}.slots.reserved", not any(signed.reserved), "reserved bytes must be zero")
    return signed, other


def _check_link(trail: Trail, issuer: Sm2PublicKey, issuer_id: bytes, key: HygonKey) -> None:
    check_signature(trail, f"{key.rule}.signature", issuer, issuer_id, key.certificate.signed_bytes, key.signature_r,
                    key.signature_s)


def check_signature(trail: Trail, rule: str, key: Sm2PublicKey, user_id: bytes, signed: bytes, signature_r: bytes,
                    signature_s: bytes) -> None:
    """SM2 with SM3 over ``signed``; r and s are little-endian in 1..n-1, 32 bytes of 72.

    Notes ``<rule>.encoding``, ``<rule>.range`` and ``<rule>``.
    """
    r, s = _check_encoding(trail, rule, signature_r, signature_s)
    try:
        key.verify(r, s, signed, user_id)
    except InvalidSignature:
        raise trail.fail(rule, "the signature does not verify") from None
    trail.passed(rule)


def _check_encoding(trail: Trail, rule: str, signature_r: bytes, signature_s: bytes) -> tuple[int, int]:
    trail.require(f"{rule}.encoding", not any(signature_r[SIGNIFICANT:] + signature_s[SIGNIFICANT:]),
                  "r and s must fit into 32 bytes")
    r, s = _number(signature_r), _number(signature_s)
    trail.require(f"{rule}.range", 0 < r < N and 0 < s < N, "r and s must lie in 1..n-1")
    return r, s


def _number(field: bytes) -> int:
    return int.from_bytes(field, "little")
