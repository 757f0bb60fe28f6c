"""TCB info: which TCB levels of a platform family (FMSPC) Intel has published, and how each stands.

Source: Intel "PCS API v4", TCB info version 3, and version 2 as older PCS served it for SGX. Levels are ordered here as
Intel's library orders them, never as the document does.
"""

from __future__ import annotations

from dataclasses import dataclass

from verifier.endorsements.document import Document
from verifier.endorsements.tcb_status import OF_COMPONENTS, STATED, SvnLevel, TcbStatus
from verifier.endorsements.window import Window
from verifier.evidence import Tee

_IDS = {"SGX": Tee.SGX, "TDX": Tee.TDX}


@dataclass(frozen=True, slots=True)
class TcbLevel:
    """One level: 16 SGX component SVNs, PCESVN, for TDX 16 TDX component SVNs (else empty), and how it stands."""

    sgx_components: tuple[int, ...]
    pce_svn: int
    tdx_components: tuple[int, ...]
    status: TcbStatus
    date: str
    advisory_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TdxModuleIdentity:
    """What a TDX module must look like. ``id`` is ``TDX_XX``; empty for the document's plain ``tdxModule``."""

    id: str
    mr_signer: bytes
    attributes: bytes
    attributes_mask: bytes
    levels: tuple[SvnLevel, ...] = ()


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """A parsed document. ``tee`` is SGX or TDX; ``levels`` in descending order; ``window`` issueDate to nextUpdate."""

    tee: Tee
    version: int
    fmspc: bytes
    pce_id: bytes
    evaluation_number: int
    window: Window
    levels: tuple[TcbLevel, ...]
    tdx_module: TdxModuleIdentity | None = None
    tdx_module_identities: tuple[TdxModuleIdentity, ...] = ()

    @classmethod
    def from_json(cls, data: bytes) -> TcbInfo:
        """From the exact bytes that were signed. Raises `MalformedCollateral`."""
        document = Document.from_json(data, "tcb_info")
        version = document.integer("version", 3)
        if version == 3:
            return _version3(document)
        if version == 2:
            return _version2(document)
        raise document.error("unknown version", expected=[2, 3], got=version)

    def module_identity(self, module_version: int) -> TdxModuleIdentity | None:
        """The identity ``TDX_XX`` for a TDX module's major version, or None."""
        wanted = f"TDX_{module_version:02X}"
        return next((i for i in self.tdx_module_identities if i.id == wanted), None)


def _version3(document: Document) -> TcbInfo:
    document.only("id", "version", "issueDate", "nextUpdate", "fmspc", "pceId", "tcbType", "tcbEvaluationDataNumber",
                  "tdxModule", "tdxModuleIdentities", "tcbLevels")
    tee = _IDS.get(document.text("id"))
    if tee is None:
        raise document.error("unknown id", expected=sorted(_IDS), got=document.text("id")[:16])
    levels = [_level3(item, tee) for item in document.objects("tcbLevels")]
    if tee is Tee.SGX:
        return _assemble(document, tee, 3, levels)
    identities: tuple[TdxModuleIdentity, ...] = ()
    if "tdxModuleIdentities" in document:
        identities = tuple(_module(item, identified=True) for item in document.objects("tdxModuleIdentities"))
    if len({identity.id for identity in identities}) != len(identities):
        raise document.error("a TDX module identity occurs twice")
    return _assemble(document, tee, 3, levels, _module(document.object("tdxModule"), identified=False), identities)


def _version2(document: Document) -> TcbInfo:
    document.only("version", "issueDate", "nextUpdate", "fmspc", "pceId", "tcbType", "tcbEvaluationDataNumber",
                  "tcbLevels")
    return _assemble(document, Tee.SGX, 2, [_level2(item) for item in document.objects("tcbLevels")])


def _assemble(document: Document, tee: Tee, version: int, levels: list[TcbLevel],
              module: TdxModuleIdentity | None = None, identities: tuple[TdxModuleIdentity, ...] = ()) -> TcbInfo:
    document.integer("tcbType", 0)
    keys = [(level.sgx_components, level.pce_svn, level.tdx_components) for level in levels]
    if len(set(keys)) != len(keys):
        raise document.error("two TCB levels are the same")
    ordered = sorted(levels, key=lambda level: (level.sgx_components, level.pce_svn, level.tdx_components),
                     reverse=True)
    return TcbInfo(
        tee, version, document.octets("fmspc", 6), document.octets("pceId", 2),
        document.integer("tcbEvaluationDataNumber", 2**31), Window(document.moment("issueDate"),
                                                                  document.moment("nextUpdate")),
        tuple(ordered), module, identities,
    )


def _level3(item: Document, tee: Tee) -> TcbLevel:
    tcb = item.object("tcb")
    names = ("sgxtcbcomponents", "pcesvn") + (("tdxtcbcomponents",) if tee is Tee.TDX else ())
    tcb.only(*names)
    tdx = _components(tcb, "tdxtcbcomponents") if tee is Tee.TDX else ()
    return _level(item, tcb, _components(tcb, "sgxtcbcomponents"), tdx)


def _level2(item: Document) -> TcbLevel:
    tcb = item.object("tcb")
    names = tuple(f"sgxtcbcomp{number:02d}svn" for number in range(1, 17))
    tcb.only(*names, "pcesvn")
    return _level(item, tcb, tuple(tcb.integer(name, 0xFF) for name in names), ())


def _level(item: Document, tcb: Document, sgx: tuple[int, ...], tdx: tuple[int, ...]) -> TcbLevel:
    item.only("tcb", "tcbDate", "tcbStatus", "advisoryIDs")
    item.moment("tcbDate")
    return TcbLevel(sgx, tcb.integer("pcesvn", 0xFFFF), tdx, item.status(STATED), item.text("tcbDate"),
                    item.advisory_ids())


def _components(tcb: Document, name: str) -> tuple[int, ...]:
    components = tcb.objects(name, 16)
    if len(components) != 16:
        raise tcb.error(f"{name} must have 16 components", expected=16, got=len(components))
    for component in components:
        component.only("svn", "category", "type")
    return tuple(component.integer("svn", 0xFF) for component in components)


def _module(item: Document, *, identified: bool) -> TdxModuleIdentity:
    names = ("mrsigner", "attributes", "attributesMask")
    item.only(*names, *(("id", "tcbLevels") if identified else ()))
    return TdxModuleIdentity(
        item.text("id") if identified else "", item.octets("mrsigner", 48), item.octets("attributes", 8),
        item.octets("attributesMask", 8), item.svn_levels(OF_COMPONENTS) if identified else (),
    )
