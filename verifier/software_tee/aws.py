"""A small AWS: a root, a region, a zone, an instance, and one enclave on it that attests.

    aws = SmallAws.create(at=1_780_000_000)
    document = aws.document(replace(aws.body(), nonce=b"challenge"))
    roots = Roots.only_software(aws.roots().values())

Names, shapes and extensions are AWS's (P-384 throughout, path lengths 2, 1 and 0); keys and root are not. `altered`
works as in `verifier.software_tee.amd`:

    aws.altered(zone=lambda certificate: certificate.without(KEY_USAGE))
    aws.altered(document=lambda message: replace(message, tagged=True))
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypedDict, TypeVar, Unpack

from verifier.errors import SetupError
from verifier.evidence import Evidence, Tee
from verifier.formats.nitro_document import NitroDocument
from verifier.software_tee import certificates as x509
from verifier.software_tee.certificates import Alteration, Certificate, Extension
from verifier.software_tee.cose import Message
from verifier.software_tee.keys import EcKey, KeyRing, key_identifier

T = TypeVar("T")
Role = Literal["root", "region", "zone", "instance", "leaf"]

ROLES: tuple[Role, ...] = ("root", "region", "zone", "instance", "leaf")
HOUR, DAY = 3600, 24 * 3600
LEAF_SPAN = 3 * HOUR
AGE = 3  # a leaf is dated back by so many seconds
PCR_SIZE, PCR_COUNT = 48, 16

_SPANS: dict[Role, int] = {"region": 20 * DAY, "zone": 6 * DAY, "instance": DAY}
_PATH_LENGTHS: dict[Role, int | None] = {"root": None, "region": 2, "zone": 1, "instance": 0}
_CRL_URL = "http://software-tee.invalid/{}.crl"


class AwsAlterations(TypedDict, total=False):
    """What can be altered, each as a function from the artefact's parameters to other parameters."""

    root: Alteration[Certificate]
    region: Alteration[Certificate]
    zone: Alteration[Certificate]
    instance: Alteration[Certificate]
    leaf: Alteration[Certificate]
    document: Alteration[Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclave:
    """What runs, and where. pcrs: registers by index that are not all zero, 48 bytes each.

    public_key and user_data: what it asks to have signed besides the nonce. indefinite: its documents open with a map
    of indefinite length, as those of newer hypervisors.
    """

    region: str = "us-east-1"
    instance_id: str = "i-0123456789abcdef0"
    enclave_id: str = "enc0123456789abcdef"
    pcrs: Mapping[int, bytes] = field(default_factory=lambda: {
        index: hashlib.sha384(f"software PCR{index}".encode()).digest() for index in (0, 1, 2, 3, 4)})
    public_key: bytes | None = None
    user_data: bytes | None = None
    indefinite: bool = True

    @property
    def module_id(self) -> str:
        """As documents name it."""
        return f"{self.instance_id}-{self.enclave_id}"

    @property
    def registers(self) -> tuple[tuple[int, bytes], ...]:
        """All sixteen."""
        return tuple((index, self.pcrs.get(index, bytes(PCR_SIZE))) for index in range(PCR_COUNT))


@dataclass(frozen=True)
class SmallAws:
    """A maker with one enclave. ``issued``: when certificates and documents were made; ``valid_for``: the leaf's span.

    The authorities above are good for as long as AWS's, or for ``valid_for`` if that is longer.
    """

    keys: KeyRing = field(repr=False)
    issued: int
    valid_for: int = LEAF_SPAN
    enclave: Enclave = field(default_factory=Enclave)
    alterations: Mapping[str, Alteration[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def create(cls, seed: bytes | None = None, *, at: int, valid_for: int = LEAF_SPAN) -> SmallAws:
        """A maker at ``at``; ``seed`` as for `KeyRing`."""
        return cls(KeyRing(seed), at, valid_for)

    def altered(self, **alterations: Unpack[AwsAlterations]) -> SmallAws:
        """This maker with artefacts altered before they are signed; later alterations follow earlier ones."""
        return replace(self, alterations=x509.composed(self.alterations, alterations))

    def on(self, enclave: Enclave) -> SmallAws:
        """This maker with another enclave."""
        return replace(self, enclave=enclave)

    # -- certificates --------------------------------------------------------------------------------------------------

    def key(self, role: Role) -> EcKey:
        """The private key of a certificate; the leaf's signs documents."""
        return self.keys.p384(f"aws/{role}")

    def certificate(self, role: Role) -> bytes:
        """DER."""
        kept = self._issued.get(role)
        if kept is None:
            kept = self._issued[role] = self._certificate(role).issue()
        return kept

    @property
    def cabundle(self) -> tuple[bytes, ...]:
        """DER, the root first."""
        return tuple(self.certificate(role) for role in ROLES[:-1])

    @cached_property
    def _issued(self) -> dict[Role, bytes]:
        return {}

    def _certificate(self, role: Role) -> Certificate:
        above: Role = ROLES[max(ROLES.index(role) - 1, 0)]
        before, after = self._dates(role)
        return self._alter(role, Certificate(
            subject=self.name(role), issuer=self.name(above), serial=self._serial(role), signer=self.key(above),
            public_key=self.key(role).public_key, extensions=self._extensions(role, above), not_before=before,
            not_after=after))

    def _serial(self, role: Role) -> int:
        return int.from_bytes(hashlib.sha256(f"software {role} {self.issued}".encode()).digest()[:15], "big") | 1

    def _dates(self, role: Role) -> tuple[int, int]:
        if role == "root":
            return x509.NOT_BEFORE, x509.NOT_AFTER
        if role == "leaf":
            return self.issued - AGE, self.issued + self.valid_for
        return self.issued - HOUR, self.issued + max(_SPANS[role], self.valid_for)

    def _extensions(self, role: Role, above: Role) -> tuple[Extension, ...]:
        if role == "leaf":
            usage = x509.key_usage(x509.DIGITAL_SIGNATURE, x509.NON_REPUDIATION)
            return x509.basic_constraints(ca=False), usage._replace(critical=False)
        constraints = x509.basic_constraints(ca=True, path_length=_PATH_LENGTHS[role])
        own = x509.subject_key_identifier(key_identifier(self.key(role)))
        issuer = x509.authority_key_identifier(key_identifier(self.key(above)))
        if role == "instance":
            return constraints, x509.key_usage(x509.KEY_CERT_SIGN), own, issuer
        usage = x509.key_usage(x509.DIGITAL_SIGNATURE, x509.KEY_CERT_SIGN, x509.CRL_SIGN)
        if role == "root":
            return constraints, own, usage
        return constraints, issuer, own, usage, x509.crl_distribution_point(_CRL_URL.format(role))

    def name(self, role: Role) -> x509.Name:
        """The subject of a certificate."""
        region, enclave = self.enclave.region, self.enclave
        amazon = ((x509.COUNTRY, "US"), (x509.ORGANIZATION, "Amazon"), (x509.ORGANIZATIONAL_UNIT, "AWS"))
        place = ((x509.COUNTRY, "US"), (x509.STATE, "Washington"), (x509.LOCALITY, "Seattle"), *amazon[1:])
        common = {"root": "aws.nitro-enclaves", "region": f"0123456789abcdef.{region}.aws.nitro-enclaves",
                  "zone": f"fedcba9876543210.zonal.{region}.aws.nitro-enclaves",
                  "instance": f"{enclave.instance_id}.{region}.aws.nitro-enclaves",
                  "leaf": f"{enclave.module_id}.{region}.aws"}[role]
        return *(place if role in ("instance", "leaf") else amazon), (x509.COMMON_NAME, common)

    # -- documents -----------------------------------------------------------------------------------------------------

    def body(self) -> NitroDocument:
        """A document that nothing is wrong with, to be changed as wished and handed to `document`."""
        enclave = self.enclave
        return NitroDocument(
            module_id=enclave.module_id, digest="SHA384", timestamp=1000 * self.issued, pcrs=enclave.registers,
            certificate=self.certificate("leaf"), cabundle=self.cabundle, public_key=enclave.public_key,
            user_data=enclave.user_data, indefinite=enclave.indefinite)

    def document(self, body: NitroDocument) -> bytes:
        """``body``, signed by the leaf's key."""
        return self._alter("document", Message(payload=body.to_bytes(), signer=self.key("leaf"))).issue()

    def evidence(self, report_data: bytes, init_data: bytes = b"") -> Evidence:
        """A document with ``report_data`` as its nonce. Raises `SetupError` for init data: there is no place for it."""
        if init_data:
            raise SetupError("software_tee.init_data", "a Nitro document carries no init data", expected="0 bytes",
                             got=f"{len(init_data)} bytes")
        return Evidence(Tee.NITRO, self.document(replace(self.body(), nonce=report_data)))

    def roots(self) -> dict[str, bytes]:
        """What a verifier must be told to trust: file names and contents."""
        return {"aws.pem": x509.pem(self.certificate("root"))}

    def collateral_files(self) -> dict[str, bytes]:
        """Nothing: documents carry their certificates."""
        return {}

    def _alter(self, name: str, artefact: T) -> T:
        altered: T = self.alterations.get(name, x509.unchanged)(artefact)
        return altered
