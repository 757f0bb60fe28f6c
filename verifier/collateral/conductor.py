"""Gathers what one piece of evidence has to be judged with.

    hints       which objects                      `verifier.collateral.hints`
    supply      each of them, judged               `verifier.collateral.supply`
    Gathered    all of them as `Collateral`, and what could not be had

Rules of the room: `verify` stays a function of what is gathered here; it believes none of it. What could not be had is
not silently done without: `Gathered.settle` says the reason in the verdict, and turns an acceptance that would rest on
a revocation list nobody could get into "cannot be decided".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Literal

from verifier.checks.nvidia import MAX_ANSWERS
from verifier.collateral import kds, pcs, rim
from verifier.collateral.cache import Cache
from verifier.collateral.floors import RolledBack
from verifier.collateral.hints import AmdHints, Family, IntelHints, Reference, hints_or_none
from verifier.collateral.http import Door
from verifier.collateral.item import Item, Kind, Name
from verifier.collateral.judge import Beside, amd_roots
from verifier.collateral.nvidia_wants import RimIds, device_chain, rim_chain, to_be_asked
from verifier.collateral.sources import STANDARD, Sources
from verifier.collateral.supply import Good, Policy, Supply, Want
from verifier.endorsements.collateral import AmdCollateral, Collateral, IntelCollateral, NvidiaCollateral
from verifier.endorsements.roots import Roots
from verifier.endorsements.window import rfc3339
from verifier.errors import CollateralError, MissingCollateral, SetupError, VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats.nvidia_json import DeviceEvidence
from verifier.formats.snp_report import ProductLine, SigningKey
from verifier.formats.spdm_report import SpdmReport
from verifier.results.verdict import Verdict, undecided

_AT_ONCE = 4
_MAX_SETS = 1024
# Without these a recipe would not refuse: it only says that revocation was not checked.
_REVOCATION = (Kind.AMD_CRL, Kind.OCSP)


@dataclass(frozen=True, slots=True)
class Trouble:
    """An object that could not be had, and why."""

    name: Name
    error: VerifierError

    @property
    def prevents(self) -> bool:
        """Whether acceptance must wait for it: lists that would be done without, where they were asked for."""
        asked = self.error.id != "collateral.offline"
        return isinstance(self.error, RolledBack) or (asked and self.name.kind in _REVOCATION)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What there is, and what could not be had."""

    collateral: Collateral
    troubles: tuple[Trouble, ...] = ()
    items: tuple[Item, ...] = ()

    def settle(self, verdict: Verdict) -> Verdict:
        """``verdict``, which was reached with this collateral, with the reason why something was missing.

        Undecided for want of collateral tells what became of the attempt to get it. Authentic in spite of a trouble
        that prevents acceptance becomes undecided.
        """
        if verdict.authentic is None and isinstance(verdict.error, MissingCollateral) and self.troubles:
            return replace(verdict, error=self._first.error)
        preventing = next((trouble for trouble in self.troubles if trouble.prevents), None)
        if verdict.authentic is True and preventing is not None:
            return undecided(verdict.tee, preventing.error, verdict.checks,
                             unverified=verdict.claims.named() if verdict.claims else None)
        return verdict

    @property
    def _first(self) -> Trouble:
        """The trouble to tell: a rollback before anything else, being at hand is nobody's fault."""
        return min(self.troubles, key=lambda trouble: (not isinstance(trouble.error, RolledBack),
                                                       trouble.error.id == "collateral.offline"))


def gather(evidence: Evidence, at: int, sources: Sources | None = None, cache: Cache | None = None, *,
           roots: Roots | None = None, have: Collateral | None = None, items: Sequence[Item] = (),
           policy: Policy | None = None) -> Gathered:
    """Collateral for one piece of evidence at ``at`` (Unix seconds), for programs that judge one and end.

    sources None: nothing is fetched. cache None: nothing is remembered. roots None: the makers'. have: what the caller
    has already, which is used as it is and not asked for again. items: as from a bundle.
    """
    conductor = Conductor(roots or Roots.makers(), sources, cache, policy=policy, items=items)
    return conductor.gather(evidence, at, have)


class Conductor:
    """Gathers for any number of evidences. Safe to share between threads."""

    def __init__(self, roots: Roots, sources: Sources | None = None, cache: Cache | None = None, *,
                 policy: Policy | None = None, items: Sequence[Item] = (), door: Door | None = None) -> None:
        self.supply = Supply(roots, sources, cache, policy=policy, items=tuple(items), door=door)
        self._update = STANDARD if sources is None else sources.update
        self._sets: OrderedDict[tuple[bytes, ...], IntelCollateral] = OrderedDict()
        self._lock = Lock()

    def gather(self, evidence: Evidence, at: int, have: Collateral | None = None) -> Gathered:
        """What ``evidence`` needs. Never raises for what evidence, sources or cache contain."""
        mine = have or Collateral.none()
        hints = hints_or_none(evidence, mine.amd.certificates if mine.amd else ())
        basket = _Basket(self.supply, at)
        found = Collateral.none()
        if hints.intel is not None and not _complete(hints.intel, mine, at):
            found = replace(found, intel=self._intel(basket, hints.intel))
        if hints.amd is not None:
            found = replace(found, amd=self._amd(basket, hints.amd, mine.amd))
        if hints.nvidia:
            found = replace(found, nvidia=self._nvidia(basket, hints.nvidia, mine.nvidia))
        joined = found if have is None else found.joined([mine])
        return Gathered(joined, tuple(basket.troubles), tuple(basket.items))

    # -- Intel ---------------------------------------------------------------------------------------------------------

    def family(self, tee: Tee, fmspc: bytes, at: int, cas: Sequence[str] = ("platform", "processor")) -> Gathered:
        """Everything about one platform family, for nobody's evidence in particular."""
        basket = _Basket(self.supply, at)
        root = basket.one(_root_crl())
        found = None
        if root is not None:
            beside = Beside(root.item.parts["crl"])
            documents = basket.all([*self._documents(tee, fmspc, beside), *(_pck_crl(ca, beside) for ca in cas)])
            found = self._set(root, *documents, None)
        return Gathered(Collateral(intel=found), tuple(basket.troubles), tuple(basket.items))

    def _intel(self, basket: _Basket, hints: IntelHints) -> IntelCollateral | None:
        root = basket.one(_root_crl())
        if root is None:
            return None  # nothing of Intel's is believed without it
        beside, chain, family = Beside(root.item.parts["crl"]), None, hints.family
        if hints.reference is not None:
            chain = basket.one(_pck_chain(hints.reference))
            family = None if chain is None else Family.of_chain(chain.item.parts["chain"])
        if family is None:
            return self._set(root, None, None, None, None)
        wanted = [*self._documents(hints.tee, family.fmspc, beside), _pck_crl(family.ca, beside)]
        info, identity, listed = basket.all(wanted)
        found = self._set(root, info, identity, listed, chain)
        if hints.leaf_only and listed is not None:  # the quote brings its leaf, the list of its CA what stands above it
            return replace(found, pck_chain=listed.item.parts["issuer_chain"])
        return found

    def _documents(self, tee: Tee, fmspc: bytes, beside: Beside) -> list[Want]:
        return [Want(pcs.tcb_info_name(tee, fmspc, self._update), pcs.tcb_info, beside),
                Want(Name(Kind.QE_IDENTITY, (tee.value, self._update)), pcs.qe_identity, beside)]

    def _set(self, root: Good, info: Good | None, identity: Good | None, listed: Good | None,
             *rest: Good | None) -> IntelCollateral:
        """The same object for the same pieces, so that what is prepared under its digest is found at once."""
        pieces = (root, info, identity, listed, *rest)
        key = tuple(b"" if piece is None else piece.item.digest for piece in pieces)
        with self._lock:
            found = self._sets.get(key)
            if found is None:
                found = self._sets[key] = _intel_collateral(piece.item for piece in pieces if piece is not None)
            self._sets.move_to_end(key)
            while len(self._sets) > _MAX_SETS:
                self._sets.popitem(last=False)
        return found

    # -- AMD -----------------------------------------------------------------------------------------------------------

    def _amd(self, basket: _Basket, hints: AmdHints, have: AmdCollateral | None) -> AmdCollateral | None:
        found: list[Good] = []
        line = hints.lines[0] if hints.lines else None
        for candidate in hints.lines:
            pieces = self._chain(basket, hints, candidate)
            if pieces is not None:
                line, found = candidate, pieces
                basket.forgive(Kind.VCEK)  # tried lines that it is not of
                break
        if line is not None and not (have and have.crls):
            listed = basket.one(Want(kds.crl_name(line), kds.crl))
            found += [listed] if listed is not None else []
        return _amd_collateral(piece.item for piece in found) if found else None

    def _chain(self, basket: _Basket, hints: AmdHints, line: ProductLine) -> list[Good] | None:
        """What stands below the root; None when the leaf is not to be had on this line."""
        leaf: Literal["vcek", "vlek"] = "vcek" if hints.signing_key is SigningKey.VCEK else "vlek"
        above = None
        if any(anchor.software for anchor in amd_roots(self.supply.roots, line)):
            above = basket.one(Want(kds.ca_name(line, leaf), kds.ca))  # AMD's own is pinned and never asked for
        found = [] if above is None else [above]
        if hints.has_leaf or leaf == "vlek":
            return found
        if not any(hints.chip_id):
            basket.lacks(Name(Kind.VCEK, (line.value,)),
                         "the report does not tell its chip: its certificate has to come along")
            return None
        beside = Beside(ca=None if above is None else above.item.parts["chain"])
        mine = basket.one(Want(kds.vcek_name(line, hints.chip_id, hints.tcb), kds.vcek, beside))
        return None if mine is None else [*found, mine]

    # -- NVIDIA --------------------------------------------------------------------------------------------------------

    def _nvidia(self, basket: _Basket, devices: Iterable[tuple[DeviceEvidence, SpdmReport]],
                have: NvidiaCollateral | None) -> NvidiaCollateral:
        """Manifests for the versions that the reports state, then the status of every certificate involved."""
        roots, at = self.supply.roots, basket.at
        chains = [(chain, report) for device, report in devices
                  if (chain := device_chain(device.chain, roots, at)) is not None]
        names = dict.fromkeys(name for chain, report in chains for name in RimIds.of(chain, report).names)
        wanted = [Want(name, rim.manifest) for name in names] if not (have and have.rims) else []
        manifests = [good for good in basket.all(wanted) if good is not None]
        signers = [rim_chain(good.item.parts["document"], roots, at) for good in manifests]
        asked = {} if have and have.ocsp_answers else to_be_asked(
            [chain for chain, _ in chains], [chain for chain in signers if chain is not None])
        answers = basket.all([Want(name, partial(rim.status, certificate=certificate, issuer=issuer))
                              for name, (certificate, issuer) in list(asked.items())[:MAX_ANSWERS]])
        return NvidiaCollateral(rims=tuple(good.item.parts["document"] for good in manifests),
                                ocsp_answers=tuple(good.item.parts["answer"] for good in answers if good is not None))


class _Basket:
    """What was had for one gathering, and what was not."""

    def __init__(self, supply: Supply, at: int) -> None:
        self._supply, self.at = supply, at
        self.items: list[Item] = []
        self.troubles: list[Trouble] = []

    def one(self, want: Want) -> Good | None:
        """The object, or None and a trouble."""
        return self._put(want, self._get(want))

    def all(self, wants: Sequence[Want]) -> list[Good | None]:
        """All of them: those at hand at once, the others fetched side by side."""
        found: list[Good | VerifierError | None] = [self._supply.ready(want, self.at) for want in wants]
        lacking = [place for place, good in enumerate(found) if good is None]
        if lacking:
            with ThreadPoolExecutor(min(_AT_ONCE, len(lacking)), "collateral") as pool:
                for place, result in zip(lacking, pool.map(self._get, [wants[i] for i in lacking]), strict=True):
                    found[place] = result
        return [self._put(want, result) for want, result in zip(wants, found, strict=True)]

    def lacks(self, name: Name, detail: str) -> None:
        """Note what cannot even be asked for."""
        self.troubles.append(Trouble(name, MissingCollateral(f"collateral.{name.kind}", detail)))

    def forgive(self, kind: Kind) -> None:
        """Forget troubles of that kind: what was wanted was found elsewhere."""
        self.troubles = [trouble for trouble in self.troubles if trouble.name.kind is not kind]

    def _get(self, want: Want) -> Good | VerifierError:
        try:
            return self._supply.get(want, self.at)
        except (CollateralError, SetupError) as error:
            return error

    def _put(self, want: Want, result: Good | VerifierError | None) -> Good | None:
        if isinstance(result, Good):
            self.items.append(result.item)
            return result
        if result is not None:
            self.troubles.append(Trouble(want.name, result))
        return None


def _root_crl() -> Want:
    return Want(Name(Kind.ROOT_CRL), pcs.root_crl)


def _pck_crl(ca: str, beside: Beside) -> Want:
    return Want(Name(Kind.PCK_CRL, (ca,)), pcs.pck_crl, beside)


def _pck_chain(reference: Reference) -> Want:
    fetch = partial(pcs.pck_chain, encrypted_ppid=reference.encrypted_ppid)
    return Want(Name(Kind.PCK_CHAIN, reference.words), fetch)


def _complete(hints: IntelHints, have: Collateral, at: int) -> bool:
    """Whether the caller has a whole set for this platform family."""
    family = hints.family or (Family.of_chain(have.pck_chain) if have.pck_chain else None)
    if family is None or (hints.leaf_only and not have.pck_chain):
        return False
    found = have.intel_for(hints.tee.value.upper(), family.fmspc, rfc3339(at))
    return found is not None and None not in (
        found.tcb_info, found.tcb_info_signature, found.tcb_info_issuer_chain, found.qe_identity,
        found.qe_identity_signature, found.qe_identity_issuer_chain, found.root_ca_crl, found.pck_crl)


def _intel_collateral(items: Iterable[Item]) -> IntelCollateral:
    """One set from its pieces; of several lists of PCK CAs the first."""
    members: dict[str, bytes] = {}
    for item in items:
        for member, part in _MEMBERS.get(item.name.kind, ()):
            members.setdefault(member, item.parts[part])
    return IntelCollateral(**members)


_MEMBERS: dict[Kind, tuple[tuple[str, str], ...]] = {
    Kind.TCB_INFO: (("tcb_info", "document"), ("tcb_info_signature", "signature"),
                    ("tcb_info_issuer_chain", "issuer_chain")),
    Kind.QE_IDENTITY: (("qe_identity", "document"), ("qe_identity_signature", "signature"),
                       ("qe_identity_issuer_chain", "issuer_chain")),
    Kind.ROOT_CRL: (("root_ca_crl", "crl"),),
    Kind.PCK_CRL: (("pck_crl", "crl"), ("pck_crl_issuer_chain", "issuer_chain")),
    Kind.PCK_CHAIN: (("pck_chain", "chain"),),
}


def _amd_collateral(items: Iterable[Item]) -> AmdCollateral:
    certificates, lists = [], []
    for item in items:
        certificates += [item.parts[part] for part in ("certificate", "chain") if part in item.parts]
        lists += [item.parts["crl"]] if "crl" in item.parts else []
    return AmdCollateral(certificates=tuple(certificates), crls=tuple(lists))
