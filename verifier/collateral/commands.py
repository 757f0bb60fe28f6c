"""``verifier collateral``: fetch, show, carry across an air gap, and look ahead.

Rules of the room: thin; parse, call, print. Results on stdout, talk on stderr. Exit status: 0 all well, 1 something was
refused (not genuine, expired, older than what was accepted before; a forecast: something would stop passing), 2
something could not be had or decided, or the call was wrong.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from verifier.collateral import floors as floor_files
from verifier.collateral.bundle_file import MAX_BYTES, SUFFIX, Bundle
from verifier.collateral.cache import Cache, default_folder
from verifier.collateral.conductor import Conductor, Gathered, Trouble
from verifier.collateral.files import load, read_bounded
from verifier.collateral.floors import RolledBack
from verifier.collateral.forecast import PASSING, Forecast, forecast
from verifier.collateral.imports import Standing, import_all, judge_all
from verifier.collateral.item import Item
from verifier.collateral.loose_files import loose_files, write_files
from verifier.collateral.sources import EARLY, STANDARD, Sources
from verifier.collateral.tables import print_forecasts, print_standings, standing_object
from verifier.endorsements.collateral import Collateral
from verifier.endorsements.roots import Roots
from verifier.endorsements.tcb_status import TcbStatus
from verifier.errors import MalformedCollateral, VerifierError
from verifier.evidence import Evidence, Tee
from verifier.formats.strict import hex_bytes

ReadEvidence = Callable[[Path], Evidence]

_PATH = click.Path(path_type=Path, exists=True)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_NEW = click.Path(path_type=Path)


def collateral_commands(read_evidence: ReadEvidence, moment: click.ParamType[int]) -> click.Group:
    """The group. ``read_evidence`` reads a file or folder; ``moment`` is how moments are given on a command line."""
    made = _Commands(read_evidence)
    group = click.Group("collateral", help="What evidence is judged with: fetch, show, export, import, look ahead.")
    at = click.Option(["--at"], type=moment, help="The moment of judgement; now when left out.")
    for command in (made.fetch, made.show, made.export, made.import_, made.floors, made.forecast):
        group.add_command(command([at]))
    return group


# -- options ----------------------------------------------------------------------------------------------------------


def _evidence(required: bool = False) -> click.Argument:
    return click.Argument(["evidence"], type=_PATH, nargs=-1, required=required)


def _common() -> list[click.Parameter]:
    return [
        click.Option(["--cache"], type=_NEW, help="Where collateral is remembered. Default: ATTESTKIT_COLLATERAL, or "
                     "attestkit/collateral in the user's state."),
        click.Option(["--roots"], type=_FILE, multiple=True, help="Trust these roots as well, as software."),
        click.Option(["--json", "as_json"], is_flag=True, help="One JSON document on stdout."),
    ]


def _asked() -> list[click.Parameter]:
    return [
        click.Option(["--sources"], type=_FILE, help="Who is asked, as TOML or JSON. Default: the makers."),
        click.Option(["--pccs"], metavar="URL", help="Ask this caching service for all of Intel's."),
        click.Option(["--proxy"], metavar="URL", envvar="HTTPS_PROXY", show_envvar=True,
                     help="Ask through this HTTP proxy."),
    ]


def _families() -> list[click.Parameter]:
    return [
        click.Option(["--fmspc"], metavar="HEX", multiple=True, help="An Intel platform family, 6 bytes."),
        click.Option(["--tee"], type=click.Choice(["tdx", "sgx"]), multiple=True,
                     help="Of these TEEs, for --fmspc. Default: both."),
        click.Option(["--ca"], type=click.Choice(["platform", "processor"]), multiple=True,
                     help="Which CA certifies them, for --fmspc. Default: both."),
    ]


class _Commands:
    """Each method makes one command from the parameters that all have."""

    def __init__(self, read_evidence: ReadEvidence) -> None:
        self._read = read_evidence

    def fetch(self, shared: list[click.Parameter]) -> click.Command:
        """``fetch``."""
        update = click.Option(["--update"], metavar="SET", default=STANDARD, show_default=True,
                              help="Intel's evaluation set: standard, early, or a tcbEvaluationDataNumber.")
        out = click.Option(["--out"], type=_NEW, help="Write plain files into this folder, too.")
        return click.Command(
            "fetch", callback=self._fetch, help="Fetch what EVIDENCE, or a platform family, needs, and remember it.",
            params=[_evidence(), *_families(), update, out, *_asked(), *shared, *_common()])

    def show(self, shared: list[click.Parameter]) -> click.Command:
        """``show``."""
        bundle = click.Argument(["bundle"], type=_FILE, required=False)
        return click.Command("show", callback=_show, params=[bundle, *shared, *_common()],
                             help="What there is, and what expires when. BUNDLE is an exported file; the cache when "
                                  "left out.")

    def export(self, shared: list[click.Parameter]) -> click.Command:
        """``export``."""
        out = click.Argument(["out"], type=_NEW, metavar=f"FILE{SUFFIX}")
        only = click.Option(["--for", "evidence"], type=_PATH, multiple=True,
                            help="Only what this evidence needs. Default: everything that is good.")
        return click.Command("export", callback=self._export, params=[out, only, *shared, *_common()],
                             help="Write what is remembered and good into one file, for a site without a network.")

    def import_(self, shared: list[click.Parameter]) -> click.Command:
        """``import``."""
        bundle = click.Argument(["bundle"], type=_FILE)
        floors = click.Option(["--floors"], is_flag=True, help="Raise the floors here to those in the file, too. They "
                              "are not signed: only from somebody you trust.")
        return click.Command("import", callback=_import, params=[bundle, floors, *shared, *_common()],
                             help="Judge every object in BUNDLE, and remember those that hold.")

    def floors(self, shared: list[click.Parameter]) -> click.Command:
        """``floors``."""
        return click.Command("floors", callback=_floors, params=[*shared, *_common()],
                             help="The lowest numbers that are still accepted.")

    def forecast(self, shared: list[click.Parameter]) -> click.Command:
        """``forecast``."""
        now = click.Option(["--collateral"], type=_PATH, multiple=True, help="Today's set, instead of fetching it.")
        later = click.Option(["--next", "next_set"], type=_PATH, multiple=True,
                             help="The next set, instead of fetching the early one.")
        allow = click.Option(["--allow"], type=click.Choice([status.value for status in TcbStatus]), multiple=True,
                             help=f"A status that passes. Default: {', '.join(sorted(PASSING))}.")
        return click.Command(
            "forecast", callback=self._forecast, params=[_evidence(required=True), now, later, allow, *_asked(),
                                                         *shared, *_common()],
            help="Which EVIDENCE would stop passing when Intel's early evaluation set becomes the standard one.")

    # -- what they do --------------------------------------------------------------------------------------------------

    def _fetch(self, evidence: tuple[Path, ...], fmspc: tuple[str, ...], tee: tuple[str, ...], ca: tuple[str, ...],
               update: str, out: Path | None, at: int | None, **given: Any) -> None:
        cas = ca or ("platform", "processor")
        if not evidence and not fmspc:
            raise click.UsageError("say what for: EVIDENCE or --fmspc")
        if out is not None and fmspc and len(cas) != 1:
            raise click.UsageError("plain files for a family hold the list of one CA: choose with --ca")
        now = _now(at)
        with _told():
            conductor = Conductor(_roots(given), _sources(given, update), _cache(given))
            jobs = [partial(conductor.gather, self._read(path), now) for path in evidence]
            jobs += [partial(conductor.family, Tee(kind), family, now, cas)
                     for family in map(_fmspc, fmspc) for kind in (tee or ("tdx", "sgx"))]
            done: list[Gathered] = _with_progress(jobs, "fetching")
            if out is not None:
                write_files(out, {name: data for one in done for name, data in loose_files(one.collateral).items()})
            items = {item.name: item for one in done for item in one.items}
            standings = judge_all(items.values(), conductor.supply.roots, now)
        _tell(standings, now, given["as_json"])
        _end(standings, [trouble for one in done for trouble in one.troubles])

    def _export(self, out: Path, evidence: tuple[Path, ...], at: int | None, **given: Any) -> None:
        now = _now(at)
        with _told():
            roots, cache = _roots(given), _cache(given)
            troubles: list[Trouble] = []
            items: Iterable[Item] = cache.items()
            if evidence:
                conductor = Conductor(roots, None, cache)
                done = [conductor.gather(self._read(path), now) for path in evidence]
                items = {item.name: item for one in done for item in one.items}.values()
                troubles = [trouble for one in done for trouble in one.troubles]
            standings = judge_all(items, roots, now)
            good = [(one.item, one.judged) for one in standings if one.judged is not None]
            write_files(out.parent, {out.name: Bundle.of(good, cache.floors.export()).to_bytes()})
        _tell(standings, now, given["as_json"])
        _end([], troubles)

    def _forecast(self, evidence: tuple[Path, ...], collateral: tuple[Path, ...], next_set: tuple[Path, ...],
                  allow: tuple[str, ...], at: int | None, **given: Any) -> None:
        now = _now(at)
        with _told():
            roots = _roots(given)
            sets = [_set(paths, roots, given, update) for paths, update in ((collateral, STANDARD), (next_set, EARLY))]
            jobs = [partial(_look, self._read(path), sets, roots, now, allow) for path in evidence]
            rows = list(zip(map(str, evidence), _with_progress(jobs, "judging"), strict=True))
        if given["as_json"]:
            click.echo(json.dumps([{"evidence": name} | row.to_dict() for name, row in rows], indent=2))
        else:
            print_forecasts(rows)
        stops, decided = any(row.stops_passing for _, row in rows), all(row.decided for _, row in rows)
        sys.exit(1 if stops else 0 if decided else 2)


def _look(evidence: Evidence, sets: Sequence[Callable[[Evidence, int], Collateral]], roots: Roots, at: int,
          allow: Sequence[str]) -> Forecast:
    today, later = (take(evidence, at) for take in sets)
    return forecast(evidence, today, later, roots, at, passing=allow or PASSING)


def _set(paths: Sequence[Path], roots: Roots, given: dict[str, Any],
         update: str) -> Callable[[Evidence, int], Collateral]:
    """How one set is had for a piece of evidence: from files, or fetched."""
    if paths:
        loaded = load(paths)
        return lambda *_: loaded
    conductor = Conductor(roots, _sources(given, update), _cache(given))

    def fetched(evidence: Evidence, at: int) -> Collateral:
        found = conductor.gather(evidence, at)
        for trouble in found.troubles:
            click.echo(f"{update}: {trouble.error}", err=True)
        return found.collateral

    return fetched


def _show(bundle: Path | None, at: int | None, **given: Any) -> None:
    now = _now(at)
    with _told():
        items = _cache(given).items() if bundle is None else Bundle.from_bytes(read_bounded(bundle, MAX_BYTES)).items
        standings = judge_all(items, _roots(given), now)
    _tell(standings, now, given["as_json"])
    sys.exit(1 if any(one.judged is None for one in standings) else 0)


def _import(bundle: Path, floors: bool, at: int | None, **given: Any) -> None:
    now = _now(at)
    with _told():
        read = Bundle.from_bytes(read_bounded(bundle, MAX_BYTES))
        supply = Conductor(_roots(given), None, _cache(given)).supply
        standings = import_all(read.items, supply, now)
        for name, floor in read.floors.items() if floors else ():
            supply.floors.raise_to(name, floor)
    _tell(standings, now, given["as_json"])
    _end(standings, [])


def _floors(at: int | None, **given: Any) -> None:  # noqa: ARG001 - all commands have the same options
    with _told():
        found = _cache(given).floors.export()
    if given["as_json"]:
        click.echo(json.dumps({"format": floor_files.FORMAT, "floors": floor_files.to_object(found)}, indent=2))
        return
    for name, floor in found.items():
        what, _, anchor = name.partition("@")
        click.echo(f"{what}  number {floor.number}  under {anchor[:16]}…")


# -- what they share --------------------------------------------------------------------------------------------------


def _tell(standings: Sequence[Standing], at: int, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([standing_object(one, at) for one in standings], indent=2))
    elif standings:
        print_standings(standings, at)
    else:
        click.echo("no collateral at hand", err=True)


def _end(standings: Sequence[Standing], troubles: Sequence[Trouble]) -> None:
    """Troubles on stderr, each once, and the exit status."""
    for told in dict.fromkeys(str(trouble.error) for trouble in troubles):
        click.echo(f"error: {told}", err=True)
    refused = [one for one in standings if one.judged is None]
    refused_here = [t for t in troubles if isinstance(t.error, MalformedCollateral | RolledBack)]
    sys.exit(1 if refused or refused_here else 2 if troubles else 0)


def _with_progress(jobs: Sequence[Callable[[], Any]], label: str) -> list[Any]:
    with click.progressbar(jobs, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as shown:
        return [job() for job in shown]


def _now(at: int | None) -> int:
    return int(time.time()) if at is None else at


def _cache(given: dict[str, Any]) -> Cache:
    return Cache(given["cache"] or default_folder())


def _roots(given: dict[str, Any]) -> Roots:
    return Roots.makers().with_software([read_bounded(path) for path in given["roots"]])


def _sources(given: dict[str, Any], update: str) -> Sources:
    told = Sources.from_file(read_bounded(given["sources"])) if given["sources"] else Sources()
    changes: dict[str, Any] = {"update": update} if update != STANDARD else {}
    changes |= {name: given[name] for name in ("pccs", "proxy") if given[name]}
    return replace(told, **changes)


def _fmspc(text: str) -> bytes:
    return hex_bytes(text, "--fmspc", 6)


@contextmanager
def _told() -> Iterator[None]:
    """A `VerifierError` becomes one line on stderr and exit status 2."""
    try:
        yield
    except VerifierError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
