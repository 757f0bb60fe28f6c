"""What to ask for, read from evidence before anybody believes it.

Rules of the room: a hint decides which object is fetched and nothing else. The recipe will compare it again with what
the makers' signatures say; a lying hint fetches something that does not fit. Evidence that cannot be read gives no
hints: refusing it is the recipe's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography import x509

from verifier.endorsements.amd_vek import SUBJECTS, resembles
from verifier.endorsements.chain import common_name, read_certificates
from verifier.endorsements.intel import CA_KINDS, PCK_LEAF
from verifier.endorsements.pck import PckExtensions
from verifier.errors import EvidenceError, MalformedCollateral
from verifier.evidence import Evidence, Tee
from verifier.formats import az_snp_json, az_tdx_json, nvidia_json
from verifier.formats.hcl_report import HclReport
from verifier.formats.nvidia_json import DeviceEvidence
from verifier.formats.quote import CertificationType, Quote
from verifier.formats.snp_report import Cpuid, ProductLine, SigningKey, SnpReport, product_line
from verifier.formats.spdm_report import SpdmReport

_QE_ID = 16  # bytes of the header's user data
_PPID_SIZES = {CertificationType.PPID_PLAIN: 16, CertificationType.PPID_RSA2048: 256,
               CertificationType.PPID_RSA3072: 384}


@dataclass(frozen=True, slots=True)
class Family:
    """Which platform family a PCK certificate belongs to, and whose it is. fmspc: 6 bytes. ca: ``platform`` …"""

    fmspc: bytes
    ca: str

    @classmethod
    def of_chain(cls, chain: bytes) -> Family | None:
        """From a PCK leaf among ``chain`` (PEM); None when there is none that can be read."""
        return _family(chain)


@lru_cache(maxsize=1024)
def _family(chain: bytes) -> Family | None:
    """Remembered, since a platform sends the same chain with every quote."""
    try:
        leaf = next((c for c in read_certificates(chain, "pck_chain") if common_name(c) == PCK_LEAF), None)
        names = [] if leaf is None else leaf.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        ca = CA_KINDS.get(str(names[0].value)) if names else None
        return None if leaf is None or ca is None else Family(PckExtensions.of(leaf).fmspc, ca)
    except MalformedCollateral:
        return None


@dataclass(frozen=True, slots=True)
class Reference:
    """By which a quote without its PCK certificate refers to it: 16, 16, 2, 2 bytes as in the quote.

    encrypted_ppid: 384 bytes where the quote has it in the one form that a caching service takes, else None.
    """

    qe_id: bytes
    cpu_svn: bytes
    pce_svn: bytes
    pce_id: bytes
    encrypted_ppid: bytes | None = field(repr=False)

    @property
    def words(self) -> tuple[str, str, str, str]:
        """Hexadecimal, as it is asked for."""
        return self.qe_id.hex(), self.cpu_svn.hex(), self.pce_svn.hex(), self.pce_id.hex()


@dataclass(frozen=True, slots=True)
class IntelHints:
    """One quote. ``family`` None: it has to be learned by ``reference``. leaf_only: the issuers are missing."""

    tee: Tee
    family: Family | None
    reference: Reference | None
    leaf_only: bool


@dataclass(frozen=True, slots=True)
class AmdHints:
    """One report. lines: which product lines it may be of, likeliest first. has_leaf: its certificate came along."""

    lines: tuple[ProductLine, ...]
    signing_key: SigningKey
    chip_id: bytes
    tcb: bytes
    has_leaf: bool


@dataclass(frozen=True, slots=True)
class Hints:
    """By maker; None where the evidence needs nothing of it."""

    intel: IntelHints | None = None
    amd: AmdHints | None = None
    nvidia: tuple[tuple[DeviceEvidence, SpdmReport], ...] = ()


def hints_of(evidence: Evidence, certificates: Sequence[bytes] = ()) -> Hints:
    """What ``evidence`` needs. certificates: AMD's that the caller has besides. Raises `EvidenceError`."""
    tee = evidence.tee
    if tee in (Tee.TDX, Tee.SGX):
        return Hints(intel=_of_quote(evidence.quote))
    if tee is Tee.AZ_TDX_VTPM:
        quote = az_tdx_json.parts_of(evidence).endorsement
        return Hints() if quote is None else Hints(intel=_of_quote(quote))
    if tee is Tee.SNP:
        return Hints(amd=_of_report(evidence.quote, (*evidence.certificates, *certificates)))
    if tee is Tee.AZ_SNP_VTPM:
        parts = az_snp_json.parts_of(evidence)
        own = () if parts.endorsement is None else (parts.endorsement,)
        report = HclReport.from_bytes(parts.hcl_report).hardware_report
        return Hints(amd=_of_report(report, (*own, *evidence.certificates, *certificates)))
    if tee is Tee.NVIDIA:
        return Hints(nvidia=_of_devices(evidence.quote))
    return Hints()


# -- Intel ------------------------------------------------------------------------------------------------------------


def _of_quote(data: bytes) -> IntelHints:
    quote = Quote.from_bytes(data)
    kind, told = quote.certification.certification_type, quote.certification.certification_data
    if kind in _PPID_SIZES:
        return IntelHints(quote.tee, None, _reference(quote, _PPID_SIZES[kind]), leaf_only=False)
    return IntelHints(quote.tee, Family.of_chain(told.rstrip(b"\x00")), None,
                      leaf_only=kind is CertificationType.PCK_LEAF)


def _reference(quote: Quote, size: int) -> Reference:
    """PPID, CPUSVN, PCESVN, PCEID; Intel's own sample leaves the last out, and only PCE 0 exists."""
    data = quote.certification.certification_data
    cpu_svn, pce_svn, pce_id = data[size : size + 16], data[size + 16 : size + 18], data[size + 18 : size + 20]
    encrypted = data[:size] if size == _PPID_SIZES[CertificationType.PPID_RSA3072] else None
    return Reference(quote.header.user_data[:_QE_ID], cpu_svn, pce_svn, pce_id or bytes(2), encrypted)


# -- AMD --------------------------------------------------------------------------------------------------------------


def _of_report(data: bytes, certificates: Sequence[bytes]) -> AmdHints | None:
    report = SnpReport.from_bytes(data)
    if report.signing_key not in (SigningKey.VCEK, SigningKey.VLEK):
        return None
    key = SigningKey(report.signing_key)
    leaves = [c for c in _readable(certificates) if SUBJECTS.get(common_name(c)) is key]
    leaf = next((c for c in leaves if resembles(c, report.reported_tcb, report.chip_id)), None)
    return AmdHints(_lines(report.cpuid, report.chip_id, leaf), key, report.chip_id, report.reported_tcb,
                    leaf is not None)


def _readable(certificates: Sequence[bytes]) -> list[x509.Certificate]:
    found: list[x509.Certificate] = []
    for data in certificates:
        try:
            found.extend(read_certificates(data, "certificate"))
        except MalformedCollateral:
            continue  # the recipe says what is wrong with it
    return found


def _lines(cpuid: Cpuid | None, chip_id: bytes, leaf: x509.Certificate | None) -> tuple[ProductLine, ...]:
    """By the report's processor, else by its certificate's issuer, else whichever a chip id of this form may be of."""
    if cpuid is not None:
        line = product_line(cpuid)
        return () if line is None else (line,)
    issuer = "" if leaf is None else leaf.issuer.rfc4514_string()
    named = tuple(line for line in ProductLine if f"-{line}" in issuer)
    if named:
        return named
    return (ProductLine.TURIN,) if any(chip_id[:8]) and not any(chip_id[8:]) else (ProductLine.MILAN, ProductLine.GENOA)


# -- NVIDIA -----------------------------------------------------------------------------------------------------------


def _of_devices(data: bytes) -> tuple[tuple[DeviceEvidence, SpdmReport], ...]:
    found = nvidia_json.read(data)
    if not isinstance(found, tuple):
        return ()
    return tuple((device, SpdmReport.from_bytes(device.report)) for device in found)


def hints_or_none(evidence: Evidence, certificates: Sequence[bytes] = ()) -> Hints:
    """`hints_of`, and no hints for evidence that cannot be read."""
    try:
        return hints_of(evidence, certificates)
    except EvidenceError:
        return Hints()
