"""Collateral from what people have lying around: folders, certificates, CRLs, JSON.

Files are told by what they are, not by their names. A folder is every file in it that is collateral; others are left
alone. A file named by itself must be collateral. Names inside certificates only sort them into place: the recipes
verify every one again.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from verifier.collateral import hygon_files, nvidia_files
from verifier.collateral.bundle import from_json
from verifier.endorsements.chain import common_name, read_certificates
from verifier.endorsements.collateral import (
    AmdCollateral,
    ArmCollateral,
    Collateral,
    IntelCollateral,
    TpmCollateral,
)
from verifier.endorsements.crl import read_crl
from verifier.endorsements.intel import CA_KINDS, PCK_LEAF, TCB_SIGNING
from verifier.errors import MalformedCollateral, SetupError

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_FOLDER_ENTRIES = 1000

_SUFFIXES = (".der", ".pem", ".crt", ".cer", ".crl", ".json", ".cert", ".jwk", *nvidia_files.SUFFIXES)
_JWK = re.compile(rb'"kty"\s*:')
_PEM_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,32})-----")


def load(paths: Iterable[Path | str]) -> Collateral:
    """Everything in ``paths`` (folders or files) together: a set for each of Intel's documents, loose pieces shared.

    Raises `SetupError` for what cannot be read and `MalformedCollateral` for a named file that is no collateral.
    """
    found: list[Collateral] = []
    for path in map(Path, paths):
        found.extend(_from_folder(path) if path.is_dir() else [_from_file(path)])
    together = Collateral.none().joined(found)
    certificates = together.amd.certificates if together.amd else ()
    return together.joined([Collateral(intel=_intel_chains(certificates))])


def read_bounded(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The whole of a regular file of at most ``limit`` bytes. Raises `SetupError`."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SetupError("files.kind", f"{path} is not a regular file")
            data = file.read(limit + 1)
    except OSError as error:
        raise SetupError("files.read", f"{path} cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise SetupError("files.size", f"{path} is too large", expected=f"<= {limit} bytes")
    return data


def _without_waiting(path: str, flags: int) -> int:
    """An opener that does not wait for a writer where ``path`` is a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _from_file(path: Path) -> Collateral:
    collateral = recognise(read_bounded(path))
    if collateral is None:
        raise MalformedCollateral("collateral.kind", f"{path} is neither a certificate, a CRL nor collateral JSON")
    return collateral


def _from_folder(folder: Path) -> list[Collateral]:
    try:
        entries = [entry for entry in folder.iterdir() if entry.suffix.lower() in _SUFFIXES and entry.is_file()]
    except OSError as error:
        raise SetupError("files.read", f"{folder} cannot be read: {error.strerror}") from None
    if len(entries) > MAX_FOLDER_ENTRIES:
        raise SetupError("files.folder", f"{folder} has too many files", expected=f"<= {MAX_FOLDER_ENTRIES}")
    found = []
    for entry in sorted(entries, key=lambda entry: (entry.name != "collateral.json", entry.name)):
        try:
            collateral = recognise(read_bounded(entry))
        except MalformedCollateral:
            continue  # some other file of that suffix; a recipe says what it misses
        if collateral is not None:
            found.append(collateral)
    return found


def recognise(data: bytes) -> Collateral | None:
    """JSON's brace, XML's bracket, a PEM label or DER's SEQUENCE tag tell the kind; None when it is none of these."""
    if data.lstrip()[:1] == b"{":
        return _key(data) if _JWK.search(data) else from_json(data)
    nvidia = nvidia_files.recognise(data)
    if nvidia is not None:
        return Collateral(nvidia=nvidia)
    label = _PEM_LABEL.search(data)
    if label is not None:
        read = _BY_LABEL.get(label.group(1))
        return read(data) if read else None
    hygon = hygon_files.recognise(data)
    if hygon is not None:
        return Collateral(hygon=hygon)
    return _der(data) if data[:1] == b"0" else None


def _der(data: bytes) -> Collateral:
    try:
        return _certificates(data)
    except MalformedCollateral:
        return _crl(data)


def _certificates(data: bytes) -> Collateral:
    """Whose they are is told by the recipes, which take what they need."""
    found = tuple(certificate.public_bytes(Encoding.DER) for certificate in read_certificates(data, "certificates"))
    return Collateral(amd=AmdCollateral(certificates=found), tpm=TpmCollateral(certificates=found))


def _key(data: bytes) -> Collateral:
    """A bare public key beside evidence: a TPM's, or a CCA platform's. It proves nothing by lying there."""
    return Collateral(tpm=TpmCollateral(keys=(data,)), arm=ArmCollateral((data,)))


def _crl(data: bytes) -> Collateral:
    issuer = read_crl(data, "CRL").issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    name = issuer[0].value if issuer else ""
    if name == "Intel SGX Root CA":
        return Collateral(intel=IntelCollateral(root_ca_crl=data))
    if name in CA_KINDS:
        return Collateral(intel=IntelCollateral(pck_crl=data))
    # To AMD's recipe a list of a stranger is a mistake, and refuses; a TPM's passes over it.
    if str(name).startswith("ARK-"):
        return Collateral(amd=AmdCollateral(crls=(data,)))
    return Collateral(tpm=TpmCollateral(crls=(data,)))


_BY_LABEL: dict[bytes, Callable[[bytes], Collateral]] = {
    b"CERTIFICATE": _certificates, b"X509 CRL": _crl, b"PUBLIC KEY": _key}


def _intel_chains(certificates: Sequence[bytes]) -> IntelCollateral | None:
    """Loose Intel certificates put into their chains; None when there are none."""
    by_name: dict[str, x509.Certificate] = {}
    for der in certificates:
        certificate = read_certificates(der, "certificates")[0]
        by_name.setdefault(common_name(certificate), certificate)
    root = by_name.get("Intel SGX Root CA")
    ca = next((by_name[name] for name in CA_KINDS if name in by_name), None)
    tcb_chain = _pem(by_name.get(TCB_SIGNING), root)
    pck_chain = _pem(by_name.get(PCK_LEAF), ca, root)
    if tcb_chain is None and pck_chain is None:
        return None
    return IntelCollateral(tcb_info_issuer_chain=tcb_chain, qe_identity_issuer_chain=tcb_chain, pck_chain=pck_chain)


def _pem(*chain: x509.Certificate | None) -> bytes | None:
    if any(certificate is None for certificate in chain):
        return None
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain if certificate is not None)
