"""From the claims of one piece of evidence to the parts of an attester that are judged: which class, how many.

    cpu             every TEE but NVIDIA's: one part
    gpu, switch     NVIDIA: one part for each device, GPU or NVSwitch as its certificate says

A device's part holds its own claims. Of the evidence as a whole it keeps the counts of devices, the end of validity,
``software``, and every objection that no single device causes: nothing that was objected to gets lost between parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from verifier.appraisal.inputs.nvidia import SWITCH
from verifier.claims import Claims
from verifier.evidence import Tee

CPU, GPU, SWITCH_CLASS = "cpu", "gpu", "switch"
CLASSES = (CPU, GPU, SWITCH_CLASS)
# Evidence of these is a device's: it attests beside a processor, never alone.
DEVICES = frozenset({Tee.NVIDIA})


def submodules(claims: Claims) -> tuple[tuple[str, Claims], ...]:
    """Each part's class and claims, devices in the order of the evidence."""
    if claims.tee not in DEVICES:
        return ((CPU, claims),)
    return tuple(_of_devices(claims))


def _of_devices(claims: Claims) -> Iterator[tuple[str, Claims]]:
    devices, certified = claims.body["devices"], claims.endorsement["certified"]
    counts = {name: claims.endorsement[name] for name in ("gpu_count", "switch_count")}
    single = {flag for device in certified for flag in device["flags"]}
    common = tuple(flag for flag in claims.flags if flag not in single)
    for device, told in zip(devices, certified, strict=True):
        part = replace(claims, body={"devices": [device], **device},
                       endorsement={"certified": [told], **counts, **told}, flags=(*told["flags"], *common))
        yield (SWITCH_CLASS if told["arch"] == SWITCH else GPU), part
