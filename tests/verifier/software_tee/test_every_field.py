"""Every extension that a verifier relies on, missing, doubled and mistyped in turn, in certificates that are signed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from verifier import Binding, Collateral, Evidence, Roots, Tee, Verdict
from verifier.endorsements.collateral import AmdCollateral, IntelCollateral
from verifier.software_tee import certificates as x509
from verifier.software_tee import der
from verifier.software_tee.amd import FMC_SPL, HWID, Chip, SmallAmd
from verifier.software_tee.certificates import CRL_REASON, DELTA_CRL, ISSUING_POINT, Extension, Revoked
from verifier.software_tee.intel import SmallIntel
from verifier.software_tee.intel_platform import SGX_EXTENSION, Platform
from verifier.software_tee.intel_quotes import TD_REPORT
from verifier.verify import verify

AT = 1_780_000_000
INTEL = SmallIntel.create(bytes(16), at=AT)
REQUIRED = [field.oid for field in Platform(ca="processor").sgx_extension()]
OPTIONAL = [field.oid for field in Platform().sgx_extension() if field.oid not in REQUIRED]
AMD_EXTENSIONS = [extension.oid for extension in Chip.of("Milan").extensions("vcek")]

Edit = Callable[[tuple[Any, ...], str], tuple[Any, ...]]
EDITS: dict[str, Edit] = {
    "missing": x509.without, "doubled": x509.doubled,
    "mistyped": lambda parts, oid: tuple(
        part._replace(value=der.utf8("?")) if part.oid == oid else part for part in parts),
}


def judge_tdx(maker: SmallIntel) -> Verdict:
    return verify(Evidence(Tee.TDX, maker.quote(TD_REPORT)), roots=Roots.only_software([maker.chain("root")]), at=AT,
                  collateral=Collateral(intel=IntelCollateral(**maker.collateral())), binding=Binding(bytes(64)))


def judge_snp(maker: SmallAmd, **alterations: Any) -> Verdict:
    altered = maker.altered(**alterations)
    evidence = Evidence(Tee.SNP, altered.report(altered.body()), altered.certificates())
    return verify(evidence, roots=Roots.only_software([altered.chain("ark")]), at=AT, binding=Binding(bytes(64)),
                  collateral=Collateral(amd=AmdCollateral(crls=(altered.crl,))))


def refused_by(verdict: Verdict) -> str:
    assert not verdict.accepted
    assert verdict.error is not None
    return verdict.error.id


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("oid", REQUIRED, ids=lambda oid: oid.removeprefix(SGX_EXTENSION))
def test_sgx_extension_is_read_strictly(oid: str, edit: str) -> None:
    maker = INTEL.altered(sgx_extension=lambda fields: EDITS[edit](fields, oid))
    assert refused_by(judge_tdx(maker)) == "pck.sgx_extensions"


@pytest.mark.parametrize("edit", ["doubled", "mistyped"])
@pytest.mark.parametrize("oid", OPTIONAL, ids=lambda oid: oid.removeprefix(SGX_EXTENSION))
def test_optional_sgx_extension_is_read_strictly(oid: str, edit: str) -> None:
    maker = INTEL.altered(sgx_extension=lambda fields: EDITS[edit](fields, oid))
    assert refused_by(judge_tdx(maker)) == "pck.sgx_extensions"


@pytest.mark.parametrize("edit", EDITS)
def test_the_whole_sgx_extension_is_read_strictly(edit: str) -> None:
    maker = INTEL.altered(pck=lambda c: replace(c, extensions=EDITS[edit](c.extensions, SGX_EXTENSION)))
    expected = "collateral.certificate.extension_twice" if edit == "doubled" else "pck.sgx_extensions"
    assert refused_by(judge_tdx(maker)) == expected


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("oid", AMD_EXTENSIONS)
def test_vcek_extension_is_read_strictly(amd: SmallAmd, oid: str, edit: str) -> None:
    found = refused_by(judge_snp(amd, vcek=lambda c: replace(c, extensions=EDITS[edit](c.extensions, oid))))
    if edit == "doubled":
        assert found == "snp.certificates.extension_twice"
    else:
        assert found.startswith("snp.vcek.extension.")


@pytest.mark.parametrize("size", [8, 63, 65])
def test_hwid_has_its_lines_length(amd: SmallAmd, size: int) -> None:
    found = refused_by(judge_snp(amd, vcek=lambda c: c.changed(Extension(HWID, bytes(range(1, size + 1))))))
    assert found == "snp.vcek.extension.hwid"


def test_turins_extension_is_foreign_before(amd: SmallAmd) -> None:
    found = refused_by(judge_snp(amd, vcek=lambda c: c.changed(Extension(FMC_SPL, der.integer(0)))))
    assert found.startswith("snp.vcek.extension.")


@pytest.mark.parametrize("extension", [
    Extension(DELTA_CRL, der.integer(1), critical=True), Extension(DELTA_CRL, der.integer(1)),
    Extension(ISSUING_POINT, der.sequence(der.implicit(1, b"\xff")), critical=True),
    Extension("1.2.3.4", der.NULL, critical=True),
], ids=["delta", "delta-uncritical", "partial", "unknown"])
@pytest.mark.parametrize("which", ["root_crl", "pck_crl"])
def test_a_list_of_narrower_scope_is_refused(which: str, extension: Extension) -> None:
    maker = INTEL.altered(**{which: lambda c: c.changed(extension)})  # type: ignore[misc]
    rule = {"root_crl": "root_ca_crl", "pck_crl": "pck_crl"}[which]
    assert refused_by(judge_tdx(maker)) == f"tdx.{rule}.scope"


def test_an_entry_with_a_critical_extension_refuses() -> None:
    entry = Revoked(5, AT, None, (Extension(CRL_REASON, der.enumerated(1), critical=True),))
    maker = INTEL.altered(pck_crl=lambda c: replace(c, revoked=(entry,)))
    assert refused_by(judge_tdx(maker)) == "tdx.pck_crl.entry"
