"""The visible table of TEEs. A recipe's module is loaded when its TEE is first asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from verifier.errors import UnsupportedEvidence
from verifier.evidence import Tee
from verifier.tees.base import Recipe

RECIPES = {
    Tee.TDX: "verifier.tees.tdx:TdxRecipe",
    Tee.SGX: "verifier.tees.sgx:SgxRecipe",
    Tee.SNP: "verifier.tees.snp:SnpRecipe",
    Tee.AZ_SNP_VTPM: "verifier.tees.az_snp_vtpm:AzSnpVtpmRecipe",
    Tee.AZ_TDX_VTPM: "verifier.tees.az_tdx_vtpm:AzTdxVtpmRecipe",
    Tee.TPM: "verifier.tees.tpm:TpmRecipe",
    Tee.NITRO: "verifier.tees.nitro:NitroRecipe",
    Tee.CCA: "verifier.tees.cca:CcaRecipe",
    Tee.CSV: "verifier.tees.csv:CsvRecipe",
    Tee.NVIDIA: "verifier.tees.nvidia:NvidiaRecipe",
    Tee.SAMPLE: "verifier.tees.sample:SampleRecipe",
}


@cache
def recipe_for(tee: Tee) -> Recipe[Any]:
    """The recipe of ``tee``. Raises `UnsupportedEvidence` for a TEE that has none."""
    home = RECIPES.get(tee)
    if home is None:
        raise UnsupportedEvidence("evidence.tee", "no recipe for this TEE", expected=sorted(RECIPES), got=tee.value)
    module, name = home.split(":")
    recipe: Recipe[Any] = getattr(import_module(module), name)()
    return recipe
