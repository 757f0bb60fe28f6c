"""Claims against a caller's binding and expectations: every mismatch is listed, not only the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from verifier.appraisal.expectations import Expectations, Masked
from verifier.checks.binding import compare_binding, same_bytes
from verifier.claims import Claims
from verifier.evidence import Binding
from verifier.trail import Check


def appraise(claims: Claims, binding: Binding, expectations: Expectations) -> tuple[Check, ...]:
    """One check for each demand; the status and the flags are always judged."""
    checks = [*_standing(claims, expectations), *_demanded(claims, expectations), *compare_binding(claims, binding)]
    if expectations.pinned:
        named = claims.named()
        checks.extend(_pinned(str(claims.tee), name, meta, wanted, named)
                      for name, meta, wanted in expectations.pinned)
    return tuple(checks)


def _standing(claims: Claims, expectations: Expectations) -> tuple[Check, ...]:
    tee, status, accepted, allowed = (str(claims.tee), claims.status, expectations.accepted_statuses,
                                      expectations.allowed_flags)
    objections = tuple(flag for flag in claims.flags if flag not in allowed)
    if not objections and (status is None or status in accepted):
        return _good_standing(tee, status, claims.flags, accepted, allowed)
    flags = [Check(f"{tee}.accept.{flag.lower()}", False, "not set, or allowed by name", flag) for flag in objections]
    return (_status(tee, status, accepted), *(flags or [Check(f"{tee}.accept.flags", True, allowed, claims.flags)]))


@lru_cache(1024)
def _good_standing(tee: str, status: str | None, flags: tuple[str, ...], accepted: tuple[str, ...],
                   allowed: tuple[str, ...]) -> tuple[Check, ...]:
    """Platforms stand well in few ways: the same objects each time, by which whoever writes them down knows them."""
    return _status(tee, status, accepted), Check(f"{tee}.accept.flags", True, allowed, flags)


def _status(tee: str, status: str | None, accepted: tuple[str, ...]) -> Check:
    return Check(f"{tee}.accept.status", status is None or status in accepted, accepted, status,
                 "the maker states no TCB status" if status is None else None)


def _demanded(claims: Claims, expectations: Expectations) -> Iterator[Check]:
    """What is judged where somebody asks for it."""
    tee, known = claims.tee, expectations.accepted_advisory_ids
    if known is not None:
        unaccepted = tuple(a for a in claims.advisory_ids if a not in known)
        yield Check(f"{tee}.accept.advisories", not unaccepted, known, claims.advisory_ids)
    if expectations.refuse_software:
        yield Check(f"{tee}.accept.hardware", not claims.software, False, claims.software,
                    "evidence under a configured root is not hardware's")


def _pinned(tee: str, name: str, meta: Mapping[str, Any], wanted: Any, named: Mapping[str, Any]) -> Check:
    got = _devices(named, meta) if meta["kind"] == "devices" else _look_up(named, meta.get("claim") or name)
    return Check(f"{tee}.expect.{name}", got is not None and _MATCHES[meta["kind"]](wanted, got),
                 _shown(wanted), got, "the evidence has no such claim" if got is None else None)


def _look_up(named: Mapping[str, Any], paths: str | tuple[str, ...]) -> Any:
    """The first claim that is there."""
    for path in (paths,) if isinstance(paths, str) else paths:
        value: Any = named
        for step in path.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    return None


def _devices(named: Mapping[str, Any], meta: Mapping[str, Any]) -> list[Any] | None:
    """One claim of each device, None where a device does not have it; None without devices that it is about."""
    told, certified = named.get("devices"), named.get("certified")
    if not isinstance(told, list) or not isinstance(certified, list) or len(told) != len(certified):
        return None
    of = [{**device, **one} for device, one in zip(told, certified, strict=True)
          if one.get("arch") != meta["besides"]]
    return [device.get(meta["claim"]) for device in of] or None


def _is_one_of(wanted: tuple[bytes, ...], got: Any) -> bool:
    return isinstance(got, bytes) and sum(same_bytes(value, got) for value in wanted) > 0


def _is_masked(wanted: Masked, got: Any) -> bool:
    return isinstance(got, bytes) and len(got) == len(wanted.mask) and same_bytes(
        wanted.value, bytes(g & m for g, m in zip(got, wanted.mask, strict=True)))


def _is_listed(wanted: tuple[Any, ...], got: Any) -> bool:
    return any(type(value) is type(got) and value == got for value in wanted)


def _reaches(wanted: int | bytes, got: Any) -> bool:
    if isinstance(wanted, bytes):
        return isinstance(got, bytes) and len(got) == len(wanted) and all(
            have >= want for have, want in zip(got, wanted, strict=True))
    return type(got) is int and got >= wanted


def _has_bits(wanted: tuple[str, ...], got: Any) -> bool:
    return isinstance(got, Mapping) and all(got.get(name) is True for name in wanted)


def _reaches_components(wanted: Mapping[str, int], got: Any) -> bool:
    return isinstance(got, Mapping) and all(
        type(got.get(name)) is int and got[name] >= least for name, least in wanted.items())


def _are_all_listed(wanted: tuple[Any, ...], got: Any) -> bool:
    return isinstance(got, list) and bool(got) and all(_is_listed(wanted, value) for value in got)


def _hold_one_of(wanted: Mapping[int, tuple[bytes, ...]], got: Any) -> bool:
    """Every register that is asked for; a value that is not proved is no claim."""
    return isinstance(got, Mapping) and bool(wanted) and all(
        _is_one_of(values, got.get(str(number))) for number, values in wanted.items())


def _shown(wanted: Any) -> Any:
    return {"value": wanted.value, "mask": wanted.mask} if isinstance(wanted, Masked) else wanted


_MATCHES: dict[str, Callable[[Any, Any], bool]] = {
    "one_of": _is_one_of, "masked": _is_masked, "integers": _is_listed, "names": _is_listed,
    "minimum": _reaches, "components": _reaches_components, "devices": _are_all_listed,
    "registers": _hold_one_of, "set_bits": _has_bits,
}
