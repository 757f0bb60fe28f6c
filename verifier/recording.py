"""Evidence frozen with its collateral, its moment and its verdict; replayed at any moment.

A recording is a folder that people can look into:

    recording.json   {"format": "attestkit-recording/1", "tee", "at", "binding", "expect", "verdict"}
    quote.bin | report.bin | evidence.bin | evidence.json     what the guest sent
    collateral.json, *.der, *.pem, *.crl                      the endorsements it was judged with
    roots.pem, roots/*   roots and bare keys that were trusted by name, if any

Replaying is verifying: there is no second code path. What a recording trusts by name is marked ``software``, whatever
it was trusted as when the recording was made: a folder that somebody hands over cannot vouch for hardware. A folder
without ``recording.json`` is loose evidence with its collateral beside it, and has neither a moment nor an expected
verdict of its own.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from verifier.appraisal.expectations import Expectations
from verifier.collateral.files import load as load_collateral
from verifier.collateral.files import read_bounded
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.errors import MalformedEvidence, SetupError, VerifierError
from verifier.evidence import Binding, Evidence, Tee
from verifier.formats.strict import hex_bytes, json_object
from verifier.loose import folder as loose
from verifier.results.verdict import Verdict
from verifier.verify import Verifier

FORMAT = "attestkit-recording/1"
MAX_ROOTS = 64

_MEMBERS = {"format", "tee", "at", "binding", "expect", "verdict"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What of a verdict a recording holds: ``error`` is an id or None, ``failed`` the ids of the checks that failed."""

    authentic: bool | None
    accepted: bool
    status: str | None
    error: str | None
    failed: tuple[str, ...]

    @classmethod
    def of(cls, verdict: Verdict) -> Outcome:
        """The outcome that ``verdict`` is."""
        return cls(verdict.authentic, verdict.accepted, verdict.status, verdict.error.id if verdict.error else None,
                   tuple(check.id for check in verdict.mismatches))

    def to_dict(self) -> dict[str, Any]:
        """As written into ``recording.json``."""
        return {"authentic": self.authentic, "accepted": self.accepted, "status": self.status, "error": self.error,
                "failed": list(self.failed)}


@dataclass(frozen=True)
class Recording:
    """``at`` and ``outcome`` are None for loose evidence; ``expectations`` None means the defaults."""

    evidence: Evidence
    collateral: Collateral
    at: int | None = None
    binding: Binding = field(default_factory=Binding.insecure_unbound)
    roots: Roots = field(default_factory=Roots.makers)
    expectations: Expectations | None = None
    outcome: Outcome | None = None

    @classmethod
    def load(cls, folder: Path, tee: Tee | None = None) -> Recording:
        """From a folder; ``tee`` overrides what the evidence says of its kind. Raises `VerifierError`.

        Roots in the folder count only in a recording, which says that somebody trusted them; loose evidence does not
        bring roots of its own.
        """
        described = _description(folder)
        told = Tee(described["tee"]) if described else None
        evidence = loose.read(folder, tee or told)
        recording = cls(evidence, load_collateral([folder]))
        return recording if described is None else _described(recording, described, _roots(folder))

    def replay(self, at: int | None = None) -> Verdict:
        """The verdict at its own moment, or at another."""
        moment = self.at if at is None else at
        if moment is None:
            raise SetupError("recording.at", "this evidence has no moment of its own: say at which to judge it")
        return Verifier(self.roots, self.expectations).verify(self.evidence, binding=self.binding,
                                                              collateral=self.collateral, at=moment)


@dataclass(frozen=True, slots=True)
class Replay:
    """One recording replayed. ``now`` is None when it could not be read; ``compared`` False when at another moment."""

    folder: Path
    recorded: Outcome | None
    now: Outcome | None
    compared: bool
    trouble: str | None = None

    @property
    def exit_code(self) -> int:
        """0 as recorded (or not compared), 1 different, 2 unreadable."""
        if self.now is None:
            return 2
        return int(self.compared and self.now != self.recorded)

    @property
    def told(self) -> str:
        """In words."""
        if self.now is None:
            return self.trouble or "unreadable"
        return _words(self.now) if self.exit_code == 0 or not self.recorded else (
            f"recorded {_words(self.recorded)}, now {_words(self.now)}")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"folder": str(self.folder), "same": self.exit_code == 0 if self.compared else None,
                "recorded": self.recorded.to_dict() if self.recorded else None,
                "now": self.now.to_dict() if self.now else None, "error": self.trouble}


def replay_folder(folder: Path, at: int | None = None) -> Replay:
    """Replay one recording, at its own moment and compared, or at ``at`` and only told."""
    try:
        recording = Recording.load(folder)
        now = Outcome.of(recording.replay(at))
    except VerifierError as error:
        return Replay(folder, None, None, compared=False, trouble=str(error))
    return Replay(folder, recording.outcome, now, compared=at is None)


def _words(outcome: Outcome) -> str:
    word = "accepted" if outcome.accepted else "undecided" if outcome.authentic is None else "refused"
    reasons = [outcome.error] if outcome.error else list(outcome.failed)
    return " ".join(part for part in (word, outcome.status, ", ".join(reasons)) if part)


def _description(folder: Path) -> dict[str, Any] | None:
    path = folder / "recording.json"
    if not path.exists():
        return None
    try:
        members = json_object(read_bounded(path), "recording.json")
    except MalformedEvidence as error:
        raise SetupError("recording.json", error.detail) from None
    if set(members) != _MEMBERS or members["format"] != FORMAT or members["tee"] not in list(Tee):
        raise SetupError("recording.json", "not a recording", expected=sorted(_MEMBERS), got=sorted(members)[:8])
    return members


def _roots(folder: Path) -> Roots:
    path = folder / "roots.pem"
    named = [read_bounded(path)] if path.exists() else []
    return Roots.makers().with_software([*named, *_contents(folder / "roots")])


def _contents(folder: Path) -> list[bytes]:
    """Every file in ``folder``, which need not be there."""
    files = sorted(islice(folder.iterdir(), MAX_ROOTS + 1)) if folder.is_dir() else []
    if len(files) > MAX_ROOTS:
        raise SetupError("recording.roots", f"{folder} has too many files", expected=f"<= {MAX_ROOTS}")
    return [read_bounded(path) for path in files]


def _described(recording: Recording, members: Mapping[str, Any], roots: Roots) -> Recording:
    try:
        binding, verdict, expect = members["binding"], members["verdict"], members["expect"]
        if type(members["at"]) is not int:
            raise TypeError("at must be Unix seconds")
        return Recording(
            recording.evidence, recording.collateral, members["at"],
            Binding(_hex(binding["report_data"]), _hex(binding["init_data"])), roots,
            None if expect is None else Expectations.from_file(json.dumps(expect).encode()),
            Outcome(verdict["authentic"], verdict["accepted"], verdict["status"], verdict["error"],
                    tuple(verdict["failed"])),
        )
    except (KeyError, TypeError, MalformedEvidence) as error:
        raise SetupError("recording.json", f"a member is missing or mistyped: {error}") from None


def _hex(value: Any) -> bytes | None:
    return None if value is None else hex_bytes(value, "binding")


def save(folder: Path, files: Mapping[str, bytes], *, tee: Tee, at: int, binding: Binding,
         expect: Mapping[str, Any] | None = None) -> Recording:
    """Write a new recording of ``files`` with the verdict that they give now, and load it.

    files: contents by name, which may be in a folder (``roots/aws.pem``). The recording's folder must not exist; it
    appears complete or not at all. Raises `SetupError`.
    """
    if folder.exists():
        raise SetupError("recording.exists", f"{folder} exists already")
    building = folder.with_name(f".{folder.name}.{os.getpid()}")
    building.mkdir(parents=True)
    try:
        _fill(building, files, tee, at, binding, expect)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return Recording.load(folder)


def _fill(folder: Path, files: Mapping[str, bytes], tee: Tee, at: int, binding: Binding,
          expect: Mapping[str, Any] | None) -> None:
    for name, contents in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(contents)
    description: dict[str, Any] = {
        "format": FORMAT, "tee": tee.value, "at": at,
        "binding": {"report_data": binding.report_data.hex() if binding.report_data is not None else None,
                    "init_data": binding.init_data.hex() if binding.init_data is not None else None},
        "expect": expect, "verdict": Outcome(None, False, None, None, ()).to_dict(),
    }
    _write(folder, description)
    description["verdict"] = Outcome.of(Recording.load(folder).replay()).to_dict()
    _write(folder, description)


def _write(folder: Path, description: Mapping[str, Any]) -> None:
    (folder / "recording.json").write_text(json.dumps(description, indent=2) + "\n", "utf-8")
