"""What was fetched or remembered is judged here, by the makers' rules, before anybody keeps it or hands it on.

Rules of the room: an object is judged at a moment, under roots, against the name it goes by: signature, chain, dates,
and that it is about what was asked for. Intel's documents are judged with the root's revocation list beside them, so
that a revoked signer is not remembered either. None of this replaces a recipe: it will verify all of it again, with the
evidence in hand.

A rule that does not hold raises `MalformedCollateral` with the rule's id under ``collateral`` (as in
``collateral.tcb_info.signature``): whatever is wrong with fetched bytes says nothing about the evidence.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from verifier.collateral.item import Item, Kind
from verifier.collateral.rim import ocsp_name
from verifier.endorsements import amd, intel
from verifier.endorsements.amd_vek import SUBJECTS, EndorsementKey
from verifier.endorsements.chain import Issuer, check_link, common_name, read_certificates
from verifier.endorsements.crl import RevocationList, read_crl, verify_crl
from verifier.endorsements.intel import CA_KINDS, TcbSigner
from verifier.endorsements.nvidia_rim import RejectedRim, judge_rim
from verifier.endorsements.ocsp import OcspAnswer, read_answer, verify_answer
from verifier.endorsements.qe_identity import QeIdentity
from verifier.endorsements.roots import Anchor, Roots
from verifier.endorsements.schemes import P384
from verifier.endorsements.tcb_info import TcbInfo
from verifier.endorsements.window import Window, unix
from verifier.errors import CheckFailed, CollateralError, EvidenceError, MalformedCollateral
from verifier.formats.rim import SignedRim
from verifier.formats.snp_report import ProductLine
from verifier.trail import Trail

_COMMON_NAME = re.compile(r"CN=([^,+]+)")
_QE_IDS = {"sgx": "QE", "tdx": "TD_QE"}


@dataclass(frozen=True, slots=True)
class Beside:
    """What is judged along: ``root_crl`` for what Intel's root stands above, ``ca`` (PEM) for AMD's leaves."""

    root_crl: bytes | None = None
    ca: bytes | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """An object that held.

    window: when all that it was judged by holds. own: the object's own dates, with its signer's. issuer: who vouches,
    for people. anchor: SHA-256 of the root's key, hexadecimal. number: evaluation or CRL number, None where the kind
    has none. guarded: whether an older one may never follow (`verifier.collateral.floors`).
    """

    window: Window
    own: Window
    issuer: str
    anchor: str
    number: int | None = None
    guarded: bool = False


def judge(item: Item, roots: Roots, at: int, beside: Beside = Beside()) -> Judged:
    """``item`` at ``at``. Raises `MalformedCollateral`."""
    trail = Trail("collateral")
    try:
        return _RULES[item.name.kind](trail, item, roots, at, beside)
    except (CheckFailed, EvidenceError, CollateralError) as error:
        raise MalformedCollateral(error.id, f"{item.name} from {item.source}: {error.detail}",
                                  expected=error.expected, got=error.got) from None


# -- Intel ------------------------------------------------------------------------------------------------------------


def _tcb_info(trail: Trail, item: Item, roots: Roots, at: int, beside: Beside) -> Judged:
    tee, fmspc, update = item.name.about
    signer, listed = _signer(trail, "tcb_info", item, roots, at, beside)
    info = TcbInfo.from_json(item.parts["document"])
    trail.equal("tcb_info.id", expected=tee, got=info.tee.value)
    trail.equal("tcb_info.fmspc", expected=bytes.fromhex(fmspc), got=info.fmspc)
    return _of_document(trail, "tcb_info", signer, listed, info.window, info.evaluation_number, update, at)


def _qe_identity(trail: Trail, item: Item, roots: Roots, at: int, beside: Beside) -> Judged:
    tee, update = item.name.about
    signer, listed = _signer(trail, "qe_identity", item, roots, at, beside)
    identity = QeIdentity.from_json(item.parts["document"])
    trail.equal("qe_identity.id", expected=_QE_IDS.get(tee), got=identity.id)
    return _of_document(trail, "qe_identity", signer, listed, identity.window, identity.evaluation_number, update, at)


def _signer(trail: Trail, rule: str, item: Item, roots: Roots, at: int,
            beside: Beside) -> tuple[TcbSigner, RevocationList | None]:
    signer = intel.verify_tcb_signer(trail, rule, item.parts["issuer_chain"], roots, at)
    intel.check_document_signature(trail, rule, item.parts["document"], item.parts["signature"], signer)
    if beside.root_crl is None:
        return signer, None
    listed = intel.verify_root_crl(trail, beside.root_crl, signer.anchor, signer.root, at)
    listed.check_not_listed(trail, f"{rule}.issuer_chain.leaf", signer.certificate)
    return signer, listed


def _of_document(trail: Trail, rule: str, signer: TcbSigner, listed: RevocationList | None, window: Window, number: int,
                 update: str, at: int) -> Judged:
    trail.require(f"{rule}.issue_date", window.not_before <= at, "the issue date lies ahead",
                  expected=f">= {window.not_before}", got=at)
    trail.require(f"{rule}.next_update", at <= window.not_after, "the document has expired",
                  expected=f"<= {window.not_after}", got=at)
    if update.isdigit():
        trail.equal(f"{rule}.evaluation_number", expected=int(update), got=number)
    own = window.meet(signer.window)
    return Judged(own.meet(listed.window) if listed else own, own, common_name(signer.certificate),
                  _anchor(signer.anchor), number, guarded=True)


def _root_crl(trail: Trail, item: Item, roots: Roots, at: int, _: Beside) -> Judged:
    crl = read_crl(item.parts["crl"], "root_ca_crl")
    anchors = [anchor for anchor in roots.anchors if anchor.maker in ("intel", None)]
    return _of_list(*_by_one_of(trail, "root_ca_crl", crl, anchors, _intel_root, at))


def _intel_root(anchor: Anchor) -> Issuer:
    """Intel's key identifier is written in the root certificate alone, which is not pinned whole: its key decides."""
    return Issuer(anchor.subject, anchor.public_key) if anchor.certificate is None else Issuer.of(anchor.certificate)


def _pck_crl(trail: Trail, item: Item, roots: Roots, at: int, beside: Beside) -> Judged:
    chain = read_certificates(item.parts["issuer_chain"], "pck_crl_issuer_chain")
    trail.equal("pck_crl.issuer_chain.length", expected=2, got=len(chain))
    ca, root = chain
    anchor = intel.find_anchor(trail, "pck_crl.issuer_chain.root", root, roots, at)
    trail.equal("pck_crl.issuer_chain.name", expected=item.name.about[0], got=CA_KINDS.get(common_name(ca)))
    window = check_link(trail, "pck_crl.issuer_chain", ca, Issuer.of(root), at, ca_depth=0)
    own = window.meet(Window(anchor.not_before, anchor.not_after))
    if beside.root_crl is not None:
        above = intel.verify_root_crl(trail, beside.root_crl, anchor, root, at)
        above.check_not_listed(trail, "pck_crl.issuer_chain", ca)
        window = window.meet(above.window)
    crl = read_crl(item.parts["crl"], "pck_crl")
    found = verify_crl(trail, "pck_crl", crl, Issuer.of(ca), at)
    own = own.meet(found.window)
    return Judged(own.meet(window), own, common_name(ca), _anchor(anchor), found.number, guarded=True)


def _pck_chain(trail: Trail, item: Item, roots: Roots, at: int, _: Beside) -> Judged:
    chain = intel.verify_pck_chain(trail, item.parts["chain"], roots, at)
    trail.equal("pck_chain.pce_id", expected=bytes.fromhex(item.name.about[3]), got=chain.extensions.pce_id)
    return Judged(chain.window, chain.window, common_name(chain.intermediate), _anchor(chain.anchor))


# -- AMD --------------------------------------------------------------------------------------------------------------


def _vcek(trail: Trail, item: Item, roots: Roots, at: int, beside: Beside) -> Judged:
    line, hwid, tcb = item.name.about
    certificates = read_certificates(item.parts["certificate"], "vcek")
    trail.equal("vcek.count", expected=1, got=len(certificates))
    trail.equal("vcek.subject", expected="SEV-VCEK", got=_subject(certificates[0]))
    key = EndorsementKey.of(trail, certificates[0])
    trail.equal("vcek.line", expected=line, got=key.line.value)
    trail.equal("vcek.hwid", expected=bytes.fromhex(hwid), got=key.hwid)
    trail.equal("vcek.tcb", expected=bytes.fromhex(tcb), got=key.tcb)
    above = read_certificates(beside.ca, "ca") if beside.ca else ()
    chain = amd.verify_chain(trail, key, above, roots, (), at)
    return Judged(chain.window, chain.window, f"SEV-{line}", _anchor(chain.anchor))


def _subject(certificate: x509.Certificate) -> str:
    return common_name(certificate) if common_name(certificate) in SUBJECTS else "another certificate"


def _amd_ca(trail: Trail, item: Item, roots: Roots, at: int, _: Beside) -> Judged:
    line, leaf = item.name.about
    chain = read_certificates(item.parts["chain"], "ca")
    trail.equal("ca.length", expected=2, got=len(chain))
    ca, ark = chain
    anchor = roots.by_certificate(ark.public_bytes(Encoding.DER), "amd")
    if anchor is None or common_name(ark) != f"ARK-{line}":
        raise trail.fail("ca.root", "the chain does not end in a trusted root of this line", expected=f"ARK-{line}",
                         got=common_name(ark))
    trail.equal("ca.name", expected=f"SEV-{line}" if leaf == "vcek" else f"SEV-VLEK-{line}", got=common_name(ca))
    link = check_link(trail, "ca", ca, Issuer.of(ark), at, ca_depth=0)
    own = link.meet(Window(anchor.not_before, anchor.not_after))
    return Judged(own, own, common_name(ark), _anchor(anchor))


def _amd_crl(trail: Trail, item: Item, roots: Roots, at: int, _: Beside) -> Judged:
    crl = read_crl(item.parts["crl"], "crl")
    anchors = amd_roots(roots, ProductLine(item.name.about[0]))
    return _of_list(*_by_one_of(trail, "crl", crl, anchors, amd.ark_issuer, at))


def amd_roots(roots: Roots, line: ProductLine) -> list[Anchor]:
    """The ARKs trusted for a product line: AMD's own, and those added by configuration."""
    pinned = roots.of_role("amd", "ark", line)
    added = [anchor for anchor in roots.anchors if anchor.certificate is not None
             and anchor.software and common_name(anchor.certificate) == f"ARK-{line}"]
    return [*([pinned] if pinned else []), *added]


# -- NVIDIA -----------------------------------------------------------------------------------------------------------


def _rim(trail: Trail, item: Item, roots: Roots, at: int, _: Beside) -> Judged:
    """A manifest that verifies. Whether its signers are revoked is asked by their OCSP answers, not here."""
    found = judge_rim(trail.prefix, SignedRim.from_bytes(item.parts["document"]), (), roots, at)
    if isinstance(found, RejectedRim):
        raise MalformedCollateral(found.reason, found.detail)
    version = found.rim.version
    trail.require("rim.id", item.name.about[0].endswith((version, version.replace(".", ""))),
                  "the manifest must be of the version that was asked for", expected=item.name.about[0], got=version)
    return Judged(found.window, found.window, common_name(found.chain.certificates[0]), _anchor(found.chain.anchor))


def _ocsp(trail: Trail, item: Item, _: Roots, at: int, __: Beside) -> Judged:
    """A genuine answer about the certificate that it goes by, whatever it says: obeying it is the recipe's.

    The issuer is not chained to a root here; the name holds the digest of its key, and whoever asks by that name has
    verified the issuer.
    """
    certificate, issuer = (_single(trail, name, item) for name in ("certificate", "issuer"))
    trail.equal("ocsp.name", expected=ocsp_name(certificate, issuer).text, got=item.name.text)
    answer = read_answer(item.parts["answer"], "OCSP answer")
    trail.require("ocsp.about", answer.is_about(certificate, issuer), "the answer is about another certificate")
    try:
        window = verify_answer(trail, "ocsp", answer, issuer, at, scheme=P384).window
    except CheckFailed as error:
        if error.id != f"{trail.prefix}.ocsp.status":
            raise
        window = _span(answer)  # genuine, in force, and against the certificate: that must not be lost
    return Judged(window, _span(answer), common_name(issuer), item.name.about[0], None, guarded=True)


def _span(answer: OcspAnswer) -> Window:
    end = answer.single.next_update_utc
    return Window(unix(answer.single.this_update_utc), unix(end) - 1 if end else 0)


def _single(trail: Trail, name: str, item: Item) -> x509.Certificate:
    found = read_certificates(item.parts[name], name)
    trail.equal(f"ocsp.{name}.count", expected=1, got=len(found))
    return found[0]


# -- what they share --------------------------------------------------------------------------------------------------


def _by_one_of(trail: Trail, rule: str, crl: x509.CertificateRevocationList, anchors: list[Anchor],
               issuer: Callable[[Anchor], Issuer], at: int) -> tuple[RevocationList, Anchor]:
    """The list under the first root that signed it; roots of one name are told apart by their keys only."""
    last: CheckFailed | None = None
    for anchor in anchors:
        if anchor.subject == crl.issuer.rfc4514_string():
            try:
                return verify_crl(trail.branch(), rule, crl, issuer(anchor), at), anchor
            except CheckFailed as error:
                last = error
    if last is not None:
        raise last
    raise trail.fail(f"{rule}.issuer", "the list is not a trusted root's", expected=[a.subject for a in anchors],
                     got=crl.issuer.rfc4514_string())


def _of_list(found: RevocationList, anchor: Anchor) -> Judged:
    named = _COMMON_NAME.search(anchor.subject)
    return Judged(found.window, found.window, named.group(1) if named else anchor.subject, _anchor(anchor),
                  found.number, guarded=True)


def _anchor(anchor: Anchor) -> str:
    return anchor.sha256_public_key.hex()


_Rule = Callable[[Trail, Item, Roots, int, Beside], Judged]
_RULES: dict[Kind, _Rule] = {
    Kind.TCB_INFO: _tcb_info, Kind.QE_IDENTITY: _qe_identity, Kind.ROOT_CRL: _root_crl, Kind.PCK_CRL: _pck_crl,
    Kind.PCK_CHAIN: _pck_chain, Kind.VCEK: _vcek, Kind.AMD_CA: _amd_ca, Kind.AMD_CRL: _amd_crl, Kind.RIM: _rim,
    Kind.OCSP: _ocsp,
}
