"""The makers' services as a function from a request to an answer, backed by makers in miniature.

The paths, parameters, encodings and headers are those of Intel's PCS and PCCS (API version 4), AMD's KDS, NVIDIA's
manifest service and an OCSP responder; see `verifier.collateral.pcs`, `.kds`, `.rim`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from cryptography import x509
from cryptography.x509 import ocsp

from verifier.formats.snp_report import ProductLine, TcbLayout, TcbVersion
from verifier.software_tee.amd import SmallAmd
from verifier.software_tee.intel import CertificateRole, SmallIntel
from verifier.software_tee.intel_documents import SignedDocument
from verifier.software_tee.intel_platform import PckCa
from verifier.software_tee.nvidia import DEVICE_ROLES, RIM_ROLES, SmallNvidia
from verifier.testing.faults import Reply

_NOT_FOUND = Reply(404, {"Content-Type": "text/plain"}, b"not found")
_BAD = Reply(400, {"Content-Type": "text/plain"}, b"bad request")
_JSON, _DER, _PEM = "application/json", "application/pkix-crl", "application/x-pem-file"
_INTEL = re.compile(r"/(sgx|tdx)/certification/v4/(tcb|qe/identity|pckcrl|pckcert|rootcacrl)")
_KDS = re.compile(r"/(vcek|vlek)/v1/(Milan|Genoa|Turin)/(cert_chain|crl|[0-9a-f]{16,128})")
_RIM = re.compile(r"/v1/rim/([A-Za-z0-9._-]+)")
_CAS: dict[str, tuple[CertificateRole, PckCa]] = {
    "platform": ("platform_ca", "platform"), "processor": ("processor_ca", "processor")}
_ANSWERED = (*DEVICE_ROLES[1:-1], *RIM_ROLES[:-1])
_EVALUATION_NUMBER = re.compile(rb'"tcbEvaluationDataNumber":(\d+)')


@dataclass(frozen=True)
class Services:
    """Everything that is served.

    intel: None serves nothing of Intel's. early: who serves Intel's early evaluation set, None the same as standard.
    amd: one maker per product line. nvidia: makers whose manifests and answers are served. rims: further manifests by
    id. any_family, any_chip: documents and certificates are made for whichever FMSPC or chip is asked for. as_hex:
    lists as a caching service of old writes them.
    """

    intel: SmallIntel | None = None
    early: SmallIntel | None = None
    amd: tuple[SmallAmd, ...] = ()
    nvidia: tuple[SmallNvidia, ...] = ()
    rims: Mapping[str, bytes] = field(default_factory=dict)
    any_family: bool = False
    any_chip: bool = False
    as_hex: bool = False

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        """The answer to one request; ``query`` holds the first of each parameter."""
        if method == "POST":
            return self._status(body)
        if path == "/IntelSGXRootCA.der" and self.intel is not None:
            return Reply(200, {"Content-Type": _DER}, self.intel.root_crl)
        intel, kds, rim = _INTEL.fullmatch(path), _KDS.fullmatch(path), _RIM.fullmatch(path)
        if intel is not None and self.intel is not None:
            return self._intel(intel.group(1), intel.group(2), query)
        if kds is not None:
            return self._kds(kds.group(1), kds.group(2), kds.group(3), query)
        return _NOT_FOUND if rim is None else self._rim(rim.group(1))

    # -- Intel ---------------------------------------------------------------------------------------------------------

    def _intel(self, tee: str, what: str, query: Mapping[str, str]) -> Reply:
        maker = self._of_set(tee, query)
        if maker is None:
            return _NOT_FOUND
        if what == "tcb":
            return self._tcb(maker, tee, query.get("fmspc", ""))
        if what == "qe/identity":
            return _document(maker, "enclaveIdentity", "SGX-Enclave-Identity-Issuer-Chain", maker.qe_identity(tee))
        if what == "pckcrl":
            return self._pck_crl(maker, query.get("ca", ""))
        if what == "rootcacrl":
            return Reply(200, {"Content-Type": "text/plain"}, maker.root_crl.hex().encode())
        return _pck_cert(maker, query)

    def _of_set(self, tee: str, query: Mapping[str, str]) -> SmallIntel | None:
        """The maker of the evaluation set that is asked for."""
        if "tcbEvaluationDataNumber" in query:
            makers = [maker for maker in (self.intel, self.early) if maker is not None]
            return next((maker for maker in makers
                         if _number(maker.tcb_info(tee)) == query["tcbEvaluationDataNumber"]), None)
        return self.early or self.intel if query.get("update") == "early" else self.intel

    def _tcb(self, maker: SmallIntel, tee: str, fmspc: str) -> Reply:
        if not re.fullmatch(r"[0-9a-fA-F]{12}", fmspc):
            return _BAD
        asked = bytes.fromhex(fmspc)
        if asked != maker.platform.fmspc:
            if not self.any_family:
                return _NOT_FOUND
            maker = maker.on(replace(maker.platform, fmspc=asked))
        return _document(maker, "tcbInfo", "TCB-Info-Issuer-Chain", maker.tcb_info(tee))

    def _pck_crl(self, maker: SmallIntel, ca: str) -> Reply:
        if ca not in _CAS:
            return _BAD
        role, kind = _CAS[ca]
        of_ca = maker.on(replace(maker.platform, ca=kind))
        body = of_ca.pck_crl.hex().encode() if self.as_hex else of_ca.pck_crl
        return Reply(200, {"Content-Type": _DER, "SGX-PCK-CRL-Issuer-Chain": _chain(maker.chain(role, "root"))}, body)

    # -- AMD -----------------------------------------------------------------------------------------------------------

    def _kds(self, leaf: str, line: str, what: str, query: Mapping[str, str]) -> Reply:
        maker = next((maker for maker in self.amd if maker.chip.line == line), None)
        if maker is None:
            return _NOT_FOUND
        if what == "crl":
            return Reply(200, {"Content-Type": _DER}, maker.crl)
        if what == "cert_chain":
            return Reply(200, {"Content-Type": _PEM}, maker.chain("ask" if leaf == "vcek" else "asvk", "ark"))
        return self._vcek(maker, bytes.fromhex(what), query) if leaf == "vcek" else _NOT_FOUND

    def _vcek(self, maker: SmallAmd, hwid: bytes, query: Mapping[str, str]) -> Reply:
        turin = maker.chip.line is ProductLine.TURIN
        names = ("fmcSPL", "blSPL", "teeSPL", "snpSPL", "ucodeSPL") if turin else ("blSPL", "teeSPL", "snpSPL",
                                                                                   "ucodeSPL")
        if set(query) != set(names) or not all(value.isdigit() for value in query.values()):
            return _BAD
        spls = [int(query[name]) for name in names]
        fmc, (bootloader, tee, snp, microcode) = (spls[0] if turin else None), spls[-4:]
        tcb = TcbVersion(fmc, bootloader, tee, snp, microcode)
        own = TcbVersion.from_bytes(maker.chip.tcb.to_bytes(), TcbLayout.of(maker.chip.line))
        if (hwid, tcb.to_bytes()) != (maker.chip.hwid, own.to_bytes()):
            if not self.any_chip or len(hwid) != len(maker.chip.hwid):
                return _NOT_FOUND
            maker = maker.on(replace(maker.chip, hwid=hwid, tcb=tcb))
        return Reply(200, {"Content-Type": "application/pkix-cert"}, maker.certificate("vcek"))

    # -- NVIDIA --------------------------------------------------------------------------------------------------------

    def _rim(self, manifest_id: str) -> Reply:
        document = self.rims.get(manifest_id) or self._manifest(manifest_id)
        if document is None:
            return _NOT_FOUND
        told = {"id": manifest_id, "rim": base64.b64encode(document).decode(), "rim_format": "TCG",
                "sha256": hashlib.sha256(document).hexdigest(), "last_updated": "2026-01-01T00:00:00",
                "request_id": "00000000-0000-0000-0000-000000000000"}
        return Reply(200, {"Content-Type": _JSON}, json.dumps(told).encode())


    def _manifest(self, manifest_id: str) -> bytes | None:
        """By the version that an id of NVIDIA's ends with: the driver's with dots, the VBIOS's without."""
        for maker in self.nvidia:
            image = maker.image
            if image.driver_version is not None and manifest_id.endswith(f"DRIVER_{image.chip}_{image.driver_version}"):
                return maker.manifest("driver")
            if manifest_id.endswith("_" + image.vbios_version.replace(".", "")):
                return maker.manifest("vbios")
        return None

    def _status(self, body: bytes) -> Reply:
        """The answer about the certificate with the serial number that is asked for."""
        try:
            serial = ocsp.load_der_ocsp_request(body).serial_number
        except ValueError:
            return _BAD
        for maker in self.nvidia:
            for role in _ANSWERED:
                if x509.load_der_x509_certificate(maker.certificate(role)).serial_number == serial:
                    return Reply(200, {"Content-Type": "application/ocsp-response"}, maker.answer(role))
        return _NOT_FOUND


def _document(maker: SmallIntel, member: str, header: str, document: SignedDocument) -> Reply:
    body = b'{"%s":%s,"signature":"%s"}' % (member.encode(), document.text, document.signature.hex().encode())
    return Reply(200, {"Content-Type": _JSON, header: _chain(maker.chain("tcb_signing", "root"))}, body)


def _pck_cert(maker: SmallIntel, query: Mapping[str, str]) -> Reply:
    """What a caching service has of the maker's one platform."""
    platform = maker.platform
    own = {"cpusvn": platform.cpu_svn.hex(), "pcesvn": platform.pce_svn.to_bytes(2, "little").hex(),
           "pceid": platform.pce_id.hex()}
    if not re.fullmatch(r"[0-9a-fA-F]{32}", query.get("qeid", "")):
        return _BAD
    if any(query.get(name, "").lower() != value for name, value in own.items()):
        return _NOT_FOUND
    role = _CAS[platform.ca][0]
    headers = {"Content-Type": _PEM, "SGX-PCK-Certificate-Issuer-Chain": _chain(maker.chain(role, "root")),
               "SGX-TCBm": (platform.cpu_svn + platform.pce_svn.to_bytes(2, "little")).hex(),
               "SGX-FMSPC": platform.fmspc.hex().upper(), "SGX-PCK-Certificate-CA-Type": platform.ca}
    return Reply(200, headers, maker.chain("pck"))


def _chain(pem: bytes) -> str:
    return quote(pem.decode(), safe="")


def _number(document: SignedDocument) -> str:
    found = _EVALUATION_NUMBER.search(document.text)
    return found.group(1).decode() if found else ""
