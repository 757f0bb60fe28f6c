"""Intel's services: the Provisioning Certification Service (PCS) and a site's caching service (PCCS), API version 4.

Both answer the same paths. They differ in the root's revocation list, which Intel serves as DER on another host and a
PCCS as hexadecimal text; in PCK certificates, which here only a PCCS is asked for; and in how a PCCS writes lists (DER,
PEM or hexadecimal, by its version). Issuer chains arrive in headers, percent-encoded PEM, under names that changed with
the API; they are as little believed as the rest.

Source: Intel "PCS API v4"; Intel "PCCS Design Guide", version 4 of its API.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from verifier.collateral.bundle import from_json
from verifier.collateral.http import Answer, Door, FetchFailed, Origin
from verifier.collateral.item import Item, Kind, Name
from verifier.collateral.sources import STANDARD, Sources
from verifier.errors import MalformedCollateral, MissingCollateral
from verifier.evidence import Tee

_API = "/{}/certification/v4"
_TCB_CHAINS = ("tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain")
_QE_CHAINS = ("sgx-enclave-identity-issuer-chain", "enclave-identity-issuer-chain")
_CRL_CHAINS = ("sgx-pck-crl-issuer-chain",)
_PCK_CHAINS = ("sgx-pck-certificate-issuer-chain",)
_HEX = re.compile(rb"\s*((?:[0-9a-fA-F]{2})+)\s*")


def tcb_info(door: Door, sources: Sources, name: Name, at: int) -> Item:
    """TCB info of one platform family: ``name`` says TEE, FMSPC and evaluation set."""
    tee, fmspc, update = name.about
    answer = door.get(_service(sources), f"{_API.format(tee)}/tcb", [("fmspc", fmspc.upper()), *_update(update)])
    return _document(answer, name, "tcb_info", _TCB_CHAINS, at)


def qe_identity(door: Door, sources: Sources, name: Name, at: int) -> Item:
    """The identity of the quoting enclave for a TEE (``QE`` for SGX, ``TD_QE`` for TDX)."""
    tee, update = name.about
    answer = door.get(_service(sources), f"{_API.format(tee)}/qe/identity", _update(update))
    return _document(answer, name, "qe_identity", _QE_CHAINS, at)


def pck_crl(door: Door, sources: Sources, name: Name, at: int) -> Item:
    """The revocation list of the Platform or the Processor CA."""
    answer = door.get(_service(sources), f"{_API.format('sgx')}/pckcrl", [("ca", name.about[0]), ("encoding", "der")])
    return Item(name, {"crl": _list(answer.body), "issuer_chain": _chain(answer, _CRL_CHAINS)}, answer.url, at)


def root_crl(door: Door, sources: Sources, name: Name, at: int) -> Item:
    """The root's revocation list."""
    if sources.pccs:
        answer = door.get(_service(sources), f"{_API.format('sgx')}/rootcacrl")
    elif sources.root_crl:
        where = urlsplit(sources.root_crl)
        answer = door.get(Origin.parse(f"{where.scheme}://{where.netloc}"), where.path)
    else:
        raise MissingCollateral("collateral.source", "no source of Intel's root revocation list is configured")
    return Item(name, {"crl": _list(answer.body)}, answer.url, at)


def pck_chain(door: Door, sources: Sources, name: Name, at: int, encrypted_ppid: bytes | None = None) -> Item:
    """The PCK certificate and its issuers for quotes that only refer to theirs (certification data types 1 to 3).

    ``name`` says QE id, CPUSVN, PCESVN and PCEID, hexadecimal as in the quote. encrypted_ppid: 384 bytes, or None.
    """
    if not sources.pccs:
        raise MissingCollateral("collateral.source", "the quote only refers to its PCK certificate, which a caching "
                                "service (PCCS) of the site that runs the platform has; none is configured")
    query = list(zip(("qeid", "cpusvn", "pcesvn", "pceid"), name.about, strict=True))
    if encrypted_ppid is not None:
        query.append(("encrypted_ppid", encrypted_ppid.hex()))
    answer = door.get(_service(sources), f"{_API.format('sgx')}/pckcert", query)
    chain = answer.body.strip() + b"\n" + _chain(answer, _PCK_CHAINS)
    return Item(name, {"chain": chain}, answer.url, at)


def tcb_info_name(tee: Tee, fmspc: bytes, update: str) -> Name:
    """The name of a family's TCB info."""
    return Name(Kind.TCB_INFO, (tee.value, fmspc.hex(), update))


def _service(sources: Sources) -> Origin:
    url = sources.pccs or sources.pcs
    if not url:
        raise MissingCollateral("collateral.source", "no source of Intel's collateral is configured")
    return Origin.parse(url)


def _update(update: str) -> list[tuple[str, str]]:
    """``standard`` is what is served unasked, also by services that know of nothing else."""
    if update == STANDARD:
        return []
    return [("tcbEvaluationDataNumber", update) if update.isdigit() else ("update", update)]


def _document(answer: Answer, name: Name, member: str, chains: Sequence[str], at: int) -> Item:
    found = from_json(answer.body).intel
    document = getattr(found, member)
    signature = getattr(found, f"{member}_signature")
    if document is None or signature is None:
        raise MalformedCollateral("collateral.fetch.document", f"{answer.url} does not answer with {member}")
    return Item(name, {"document": document, "signature": signature, "issuer_chain": _chain(answer, chains)},
                answer.url, at)


def _chain(answer: Answer, names: Sequence[str]) -> bytes:
    value = next((answer.headers[name] for name in names if name in answer.headers), None)
    if value is None:
        raise FetchFailed("broken", f"{answer.url} answers without an issuer chain", expected=list(names))
    try:
        return unquote(value, errors="strict").encode("ascii")
    except UnicodeError:
        raise MalformedCollateral("collateral.fetch.issuer_chain",
                                  f"{answer.url}: the issuer chain is not PEM") from None


def _list(body: bytes) -> bytes:
    """A revocation list as DER or PEM; hexadecimal text, which DER can never be, is decoded."""
    text = _HEX.fullmatch(body)
    return bytes.fromhex(text.group(1).decode()) if text else body
