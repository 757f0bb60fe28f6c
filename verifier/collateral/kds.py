"""AMD's Key Distribution System: certificates of chips, of the CAs above them, and revocation lists.

VLEK certificates are handed out to cloud providers only and come with the evidence; their CA is served here. The
service answers few requests at a time: what it once gave is kept for the seven years that it is good for.

Source: AMD "VCEK Certificate and KDS Interface Specification" (57230), chapter 4.
"""

from __future__ import annotations

from typing import Literal

from verifier.collateral.http import Door, Origin
from verifier.collateral.item import Item, Kind, Name
from verifier.collateral.sources import Sources
from verifier.errors import MissingCollateral
from verifier.formats.snp_report import ProductLine, TcbLayout, TcbVersion

HWID_SIZES = {ProductLine.MILAN: 64, ProductLine.GENOA: 64, ProductLine.TURIN: 8}


def vcek_name(line: ProductLine, chip_id: bytes, tcb: bytes) -> Name:
    """The name of a chip's certificate at one TCB. chip_id: the report's 64 bytes; tcb: its 8 bytes of REPORTED_TCB."""
    return Name(Kind.VCEK, (line.value, chip_id[:HWID_SIZES[line]].hex(), tcb.hex()))


def ca_name(line: ProductLine, leaf: Literal["vcek", "vlek"]) -> Name:
    """The name of the chain above one kind of leaf."""
    return Name(Kind.AMD_CA, (line.value, leaf))


def crl_name(line: ProductLine) -> Name:
    """The name of a product line's revocation list."""
    return Name(Kind.AMD_CRL, (line.value,))


def vcek(door: Door, sources: Sources, name: Name, at: int) -> Item:
    """The certificate of one chip at one TCB, DER."""
    line, hwid, tcb = name.about
    parts = TcbVersion.from_bytes(bytes.fromhex(tcb), TcbLayout.of(ProductLine(line)))
    spls = {"blSPL": parts.bootloader, "teeSPL": parts.tee, "snpSPL": parts.snp, "ucodeSPL": parts.microcode}
    if parts.fmc is not None:
        spls = {"fmcSPL": parts.fmc} | spls
    query = [(spl, f"{count:02d}") for spl, count in spls.items()]
    answer = door.get(_service(sources), f"/vcek/v1/{line}/{hwid}", query)
    return Item(name, {"certificate": answer.body}, answer.url, at)


def ca(door: Door, sources: Sources, name: Name, at: int) -> Item:
    """ASK or ASVK, then the ARK, PEM."""
    line, leaf = name.about
    answer = door.get(_service(sources), f"/{leaf}/v1/{line}/cert_chain")
    return Item(name, {"chain": answer.body}, answer.url, at)


def crl(door: Door, sources: Sources, name: Name, at: int) -> Item:
    """The ARK's list, DER; one for both kinds of leaves."""
    answer = door.get(_service(sources), f"/vcek/v1/{name.about[0]}/crl")
    return Item(name, {"crl": answer.body}, answer.url, at)


def _service(sources: Sources) -> Origin:
    if not sources.kds:
        raise MissingCollateral("collateral.source", "no source of AMD's collateral is configured")
    return Origin.parse(sources.kds)
