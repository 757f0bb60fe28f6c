"""What a small Azure is made of: the virtual TPM's keys, the VM, the runtime claims, a quote and a TDREPORT to be.

Each is a frozen value in which one thing can be changed before it is hashed or signed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from verifier.formats.az_json import VtpmQuote
from verifier.formats.strict import base64url
from verifier.formats.td_report import BASE_FIELDS, TdReport
from verifier.formats.tdreport import TYPE_TDX, VERSION, VERSION_SERVICE_TD, TdreportStruct, part_hash
from verifier.formats.tpm import PCR_COUNT, HashAlg, PcrSelection
from verifier.formats.tpm_attest import QuoteInfo, TpmAttest
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.certificates import Alteration
from verifier.software_tee.guest import GuestImage
from verifier.software_tee.keys import RsaKey

INIT_DATA_PCR = 8

_SHA256_WITH_RSA = "1.2.840.113549.1.1.11"
# PC Client Platform TPM Profile, section 4.6.3: 17 to 22 are all ones until a DRTM starts, the rest begin at zero.
_DRTM = range(17, 23)


@dataclass(frozen=True, eq=False)
class Pkcs1Key:
    """An RSA key that signs by RSASSA-PKCS1-v1_5 with SHA-256."""

    key: RsaKey

    @property
    def algorithm(self) -> bytes:
        """sha256WithRSAEncryption (RFC 4055)."""
        return der.sequence(der.oid(_SHA256_WITH_RSA), der.NULL)

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.key.public_key

    @property
    def modulus(self) -> bytes:
        """Big-endian, as long as the key."""
        numbers = self.key.private.public_key().public_numbers()
        return numbers.n.to_bytes(self.key.private.key_size // 8, "big")

    def sign(self, message: bytes) -> bytes:
        """As long as the modulus."""
        return self.key.private.sign(message, padding.PKCS1v15(), hashes.SHA256())


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureVm:
    """What runs: the hardware's view of it, its configuration, and its PCRs (SHA-256 bank, 24 values).

    user_data: 64 bytes that the guest had the paravisor state; empty leaves the member out, as early releases did.
    """

    image: GuestImage = field(default_factory=lambda: GuestImage(rtmr0=bytes(48), rtmr1=bytes(48), rtmr2=bytes(48)))
    configuration: tuple[tuple[str, Any], ...] = (
        ("console-enabled", True), ("secure-boot", True), ("tpm-enabled", True), ("tpm-persisted", True),
        ("vmUniqueId", "50F7A3E0-0000-4000-8000-000000000000"))
    user_data: bytes = bytes(64)
    pcrs: tuple[bytes, ...] = tuple(
        b"\xff" * 32 if index in _DRTM else bytes(32) if index >= INIT_DATA_PCR
        else hashlib.sha256(b"software PCR %d" % index).digest() for index in range(PCR_COUNT))


@dataclass(frozen=True, slots=True)
class Jwk:
    """An RSA key as the claims state it."""

    kid: str
    modulus: bytes
    exponent: bytes = b"\x01\x00\x01"
    operation: str = "sign"

    def to_members(self) -> dict[str, Any]:
        """For JSON."""
        return {"kid": self.kid, "key_ops": [self.operation], "kty": "RSA", "e": base64url(self.exponent),
                "n": base64url(self.modulus)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The runtime claims to be; ``mutate`` sees the JSON text before it is hashed."""

    keys: tuple[Jwk, ...]
    configuration: tuple[tuple[str, Any], ...]
    user_data: bytes
    mutate: Alteration[bytes] = x509.unchanged

    def with_key(self, key: Jwk) -> Claims:
        """The same with one key more."""
        return replace(self, keys=(*self.keys, key))

    def to_bytes(self) -> bytes:
        """JSON."""
        members: dict[str, Any] = {"keys": [key.to_members() for key in self.keys],
                                   "vm-configuration": dict(self.configuration)}
        if self.user_data:
            members["user-data"] = self.user_data.hex()
        return self.mutate(json.dumps(members, separators=(",", ":")).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedTpmQuote:
    """A quote to be. pcrs: the values that travel beside it; those that the attestation covers are digested when it is
    made. ``mutate`` sees TPMS_ATTEST before it is signed."""

    attest: TpmAttest
    pcrs: tuple[bytes, ...]
    signer: Pkcs1Key
    mutate: Alteration[bytes] = x509.unchanged

    def selecting(self, *selections: PcrSelection) -> UnsignedTpmQuote:
        """The same over other PCRs; their digest is computed from the values that travel."""
        joined = b"".join(self.pcrs[index] for selection in selections for index in selection.pcrs
                          if index < len(self.pcrs))
        return replace(self, attest=replace(self.attest, attested=QuoteInfo(
            selections, hashlib.sha256(joined).digest())))

    def issue(self) -> VtpmQuote:
        """The quote, signed."""
        message = self.mutate(self.attest.to_bytes())
        return VtpmQuote(message, self.signer.sign(message), self.pcrs)


def select(pcrs: Iterable[int], alg: HashAlg = HashAlg.SHA256) -> PcrSelection:
    """PCRs of one bank."""
    return PcrSelection(alg, tuple(pcrs))


def tdreport_of(body: TdReport, cpu_svn: bytes) -> TdreportStruct:
    """The TDREPORT from which a quoting enclave makes a TD quote with ``body``. Nobody here can check the MAC."""
    later = body.v15
    version = VERSION_SERVICE_TD if later and any(later.mr_service_td) else VERSION
    blank = TdreportStruct(
        report_type=bytes((TYPE_TDX, 0, version, 0)), cpu_svn=cpu_svn, tee_tcb_info_hash=bytes(48),
        td_info_hash=bytes(48), mac=hashlib.sha256(b"software MAC" + body.to_bytes()).digest(),
        valid=bytes.fromhex("ff01030000000000"), tee_tcb_svn2=later.tee_tcb_svn2 if later else body.tee_tcb_svn,
        mr_service_td=later.mr_service_td if later else bytes(48),
        **{name: getattr(body, name) for name in BASE_FIELDS})
    return hashed(blank)


def hashed(report: TdreportStruct) -> TdreportStruct:
    """``report`` with the hashes of its parts as they are now."""
    return replace(report, tee_tcb_info_hash=part_hash(report.tee_tcb_info), td_info_hash=part_hash(report.td_info))
