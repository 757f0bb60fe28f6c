"""``verifier verify``: the verdict on evidence, with collateral from wherever it is to be had.

    given with --collateral, or in the folder      used, and nothing else
    nothing given, and something is missing        fetched, unless --offline
    --online                                       everything its makers publish is fetched; what cannot be had, a
                                                   revocation list for instance, leaves the verdict open
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verifier.cli.options import FILE, PATH, Moment, Octets, json_option, read_evidence, tee_option
from verifier.errors import MissingCollateral, VerifierError
from verifier.evidence import Tee
from verifier.presentation import print_verdict
from verifier.results.verdict import Verdict, undecided

if TYPE_CHECKING:
    from verifier.collateral.item import Item
    from verifier.collateral.sources import Sources
    from verifier.endorsements.collateral import Collateral
    from verifier.recording import Recording
    from verifier.verify import Verifier


@click.command()
@click.argument("path", type=PATH)
@tee_option
@click.option("--collateral", "collateral", type=PATH, multiple=True, help="A folder, certificates or CRLs (DER or "
              "PEM), keys, manifests, a JSON bundle, or a file of verifier collateral export; may be repeated.")
@click.option("--at", type=Moment(), help="The moment of judgement; now when left out (a recording has its own).")
@click.option("--expect", type=FILE, help="Expectations, as JSON or TOML: measurements, masks, minimum TCB, platforms.")
@click.option("--report-data", type=Octets(), help="What must have been bound: report data of 64 bytes, or a nonce.")
@click.option("--init-data", type=Octets(), help="The init data field that must have been bound (32, 48 or 64 bytes).")
@click.option("--roots", type=FILE, multiple=True, help="Trust these roots as well; results are marked software.")
@click.option("--provisioned", type=FILE, multiple=True, help="A key that hardware of ours is known to hold, where the "
              "maker publishes no root: a CCA platform's (CPAK) or a TPM's (AK), as PEM or JWK.")
@click.option("--offline", is_flag=True, envvar="ATTESTKIT_OFFLINE", show_envvar=True, help="Fetch nothing.")
@click.option("--online", is_flag=True, help="Fetch everything the makers publish, not only what is missing.")
@click.option("--sources", type=FILE, help="Where to fetch from (TOML; see docs/collateral.md).")
@click.option("--pccs", metavar="URL", help="Fetch Intel's collateral from this caching service.")
@click.option("--explain", is_flag=True, help="Print every check, not only those that failed.")
@json_option
def verify(path: Path, tee: str | None, as_json: bool, explain: bool, **options: Any) -> None:
    """Is the evidence authentic, and is it within expectations?

    PATH is raw evidence, evidence JSON, a recording folder, or a folder of captured evidence. Exit status: 0 accepted,
    1 rejected, 2 could not be decided.
    """
    if options["offline"] and (options["online"] or options["sources"] or options["pccs"]):
        raise click.UsageError("--offline fetches nothing: leave out --online, --sources and --pccs")
    try:
        verdict = _judge(path, Tee(tee) if tee else None, options)
    except VerifierError as error:
        verdict = undecided(tee or "unknown", error)
    if as_json:
        click.echo(json.dumps(verdict.to_dict(), indent=2))
    else:
        print_verdict(verdict, explain=explain)
    sys.exit(verdict.exit_code)


def _judge(path: Path, tee: Tee | None, options: dict[str, Any]) -> Verdict:
    """The verdict on ``path``; what the options leave open comes from the recording, if it is one."""
    from verifier.appraisal.expectations import Expectations
    from verifier.collateral.files import read_bounded
    from verifier.endorsements.collateral import Collateral
    from verifier.recording import Recording
    from verifier.verify import Verifier

    recording = Recording.load(path, tee) if path.is_dir() else Recording(read_evidence(path, tee), Collateral.none())
    at = options["at"] if options["at"] is not None else recording.at
    given = {name: options[name] for name in ("report_data", "init_data") if options[name] is not None}
    expectations = recording.expectations
    if options["expect"]:
        expectations = Expectations.from_file(read_bounded(options["expect"]))
    roots = recording.roots.with_software([read_bounded(item) for item in options["roots"]])
    roots = roots.with_provisioned([read_bounded(item) for item in options["provisioned"]])
    case = _Case(Verifier(roots, expectations), replace(recording, binding=replace(recording.binding, **given)),
                 int(time.time()) if at is None else at)
    collateral, items = _given(options["collateral"])
    own = collateral if options["collateral"] else recording.collateral
    wanted = options["online"] or options["sources"] is not None or options["pccs"] is not None
    alone = not path.is_dir() and not options["collateral"] and not options["offline"]
    return case.judge(own, items, _sources(options) if wanted or alone else None, always=wanted)


@dataclass(frozen=True)
class _Case:
    """Evidence, who judges it, and when."""

    verifier: Verifier
    recording: Recording
    at: int

    def judge(self, own: Collateral, items: Iterable[Item], sources: Sources | None, *, always: bool) -> Verdict:
        """With ``own`` collateral; ``items`` and ``sources`` are asked where something is missing, or ``always``."""
        if not always:
            verdict = self._verify(own)
            missing = verdict.authentic is None and isinstance(verdict.error, MissingCollateral)
            if not missing or (sources is None and not items):
                return verdict
        from verifier.collateral.cache import Cache
        from verifier.collateral.conductor import gather

        gathered = gather(self.recording.evidence, self.at, sources, None if sources is None else Cache.default(),
                          roots=self.verifier.roots, have=own, items=tuple(items))
        return gathered.settle(self._verify(gathered.collateral))

    def _verify(self, collateral: Collateral) -> Verdict:
        return self.verifier.verify(self.recording.evidence, binding=self.recording.binding, collateral=collateral,
                                    at=self.at)


def _given(paths: tuple[Path, ...]) -> tuple[Collateral, tuple[Item, ...]]:
    """Loose collateral, and what is in exported files."""
    from verifier.collateral.bundle_file import MAX_BYTES, SUFFIX, Bundle
    from verifier.collateral.files import load, read_bounded

    bundles = [path for path in paths if path.name.endswith(SUFFIX)]
    loose = load([path for path in paths if path not in bundles])
    return loose, tuple(item for path in bundles for item in Bundle.from_bytes(read_bounded(path, MAX_BYTES)).items)


def _sources(options: dict[str, Any]) -> Sources:
    from verifier.collateral.files import read_bounded
    from verifier.collateral.sources import Sources

    sources = Sources.from_file(read_bounded(options["sources"])) if options["sources"] else Sources()
    return replace(sources, pccs=options["pccs"]) if options["pccs"] else sources
