"""The policies that come with attestkit, as text.

`shipped` ones hold where the owner sets none; `example` ones are never in force unless an owner stores them.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from verifier.errors import SetupError

SHIPPED = ("tdx", "sgx", "snp", "az-snp-vtpm", "az-tdx-vtpm", "tpm", "nitro", "cca", "csv", "nvidia", "sample",
           "release")
EXAMPLES = ("software_tee",)


@cache
def shipped(name: str) -> str:
    """The default policy of a TEE (by its name on the wire), or ``release``. Raises `SetupError` for another name."""
    return _read("defaults", name, SHIPPED)


@cache
def example(name: str) -> str:
    """A policy that an owner may choose by name. Raises `SetupError` for an unknown one."""
    return _read("examples", name, EXAMPLES)


def _read(folder: str, name: str, known: tuple[str, ...]) -> str:
    if name not in known:
        raise SetupError("policy.shipped", "no such policy comes with attestkit", expected=known, got=name[:40])
    return files("verifier.policy").joinpath(folder, f"{name}.rego").read_text("utf-8")
