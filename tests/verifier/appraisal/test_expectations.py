"""Expectations: each member accepts what it names and refuses everything else; the defaults; files."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.appraisal.compare import appraise
from verifier.appraisal.expectations import ACCEPTABLE_STATUSES, DEFAULT_STATUSES, Expectations, Masked
from verifier.claims import Claims
from verifier.endorsements.tcb_status import TcbStatus
from verifier.errors import SetupError
from verifier.evidence import Binding, Tee
from verifier.trail import Check

UNBOUND = Binding.insecure_unbound()
PINNED = {member.name: member.metadata for member in fields(Expectations) if "kind" in member.metadata}


def fill(seed: int, size: int) -> bytes:
    return bytes((seed * 31 + index * 7) % 254 + 1 for index in range(size))


def first_path(name: str, meta: Any) -> str:
    """The claim that a member is about; of several, the first."""
    claim = meta["claim"] or name
    return claim if isinstance(claim, str) else claim[0]


# A value for every claim that can be pinned; no TEE has them all.
PATHS = {name: first_path(name, meta) for name, meta in PINNED.items()}
SIZED = {name: fill(number, meta["sizes"][0]) for number, (name, meta) in enumerate(PINNED.items())
         if meta["kind"] in ("one_of", "masked")}
TCB = {"fmc": 3, "bootloader": 4, "tee": 5, "snp": 22, "microcode": 213}
DEVICES = [{"vbios_version": "96.00.A", "driver_version": "580.10"},
           {"vbios_version": "96.00.B", "driver_version": "580.20"}, {"vbios_version": "96.10.C"}]
CERTIFIED = [{"arch": "HOPPER", "ueid": "11"}, {"arch": "BLACKWELL", "ueid": "22"}, {"arch": "LS10", "ueid": "33"}]
OF_DEVICES = {"ueids": ["11", "22", "33"], "vbios_versions": ["96.00.A", "96.00.B", "96.10.C"],
              "driver_versions": ["580.10", "580.20"]}
REGISTERS = {bank: {str(number): fill(number + 50, size) for number in (0, 4, 11)}
             for bank, size in (("sha256", 32), ("sha384", 48))}
NAMED: dict[str, Any] = {
    **{PATHS[name]: value for name, value in SIZED.items()},
    "tee_tcb_svn": fill(90, 16), "tee_tcb_svn2": fill(91, 16), "isv_svn": 7, "config_svn": 8, "isv_prod_id": 1,
    "vmpl": 1, "guest_svn": 3, "product_line": "Genoa", "csp_id": "a provider", "tcb.evaluation_number": 18,
    "tcb.qe_evaluation_number": 17, "ak_trust": "certificate", "cpak_trust": "provisioned", "build": 2000,
    "platform_info_bits": {"ecc_en": True, "alias_check_complete": True, "smt_en": False},
    "gpu_count": 2, "switch_count": 1, "devices": DEVICES, "certified": CERTIFIED,
    **{f"pcrs.{bank}": values for bank, values in REGISTERS.items()},
    **{f"{which}_tcb_decoded": TCB for which in ("reported", "committed", "current", "launch")},
}


def nested(named: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for path, value in named.items():
        outer, _, inner = path.partition(".")
        if inner:
            body.setdefault(outer, {})[inner] = value
        else:
            body[path] = value
    return body


def named_for(name: str) -> dict[str, Any]:
    """All claims; registers of the size that this member is about, where two TEEs call theirs alike."""
    return NAMED | ({PATHS[name]: SIZED[name]} if name in SIZED else {})


def claims(**changes: Any) -> Claims:
    made = Claims(tee=Tee.TDX, body=nested(NAMED), endorsement={}, software=False, report_data=bytes(64),
                  init_data=bytes(48), valid_until=0, status="UpToDate")
    return replace(made, **changes)


def failed(expectations: Expectations, of: Claims | None = None) -> list[Check]:
    return [check for check in appraise(of or claims(), UNBOUND, expectations) if not check.ok]


def value_of(name: str) -> Any:
    """What the evidence says of it."""
    return OF_DEVICES[name] if name in OF_DEVICES else named_for(name)[PATHS[name]]


def odd_body(name: str, odd: Any) -> dict[str, Any]:
    """The claims with that one replaced; of several devices, the first one's."""
    if name not in OF_DEVICES:
        return nested(NAMED | {PATHS[name]: odd})
    claim = PINNED[name]["claim"]
    return nested(NAMED | {list_: [{**devices[0], claim: odd} if claim in devices[0] else devices[0], *devices[1:]]
                           for list_, devices in (("devices", DEVICES), ("certified", CERTIFIED))})


def turned(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")


def right(name: str) -> list[Any]:
    value = value_of(name)
    match PINNED[name]["kind"]:
        case "one_of":
            return [(value,), (bytes(len(value)), value), (value[:-1], value)]
        case "masked":
            size = len(value)
            masks = [b"\xff" * size, bytes(size), b"\x0f" * size, bytes(size - 1) + b"\x80"]
            return [Masked(bytes(v & m for v, m in zip(value, mask, strict=True)), mask) for mask in masks]
        case "minimum" if isinstance(value, bytes):
            return [value, bytes(len(value)), *(value[:i] + bytes((value[i] - 1,)) + value[i + 1 :]
                                                for i in range(len(value)))]
        case "minimum":
            return [value, value - 1, 0]
        case "integers":
            return [(value,), (0, value)]
        case "names":
            return [(value,), ("other", value)]
        case "devices":
            return [tuple(value), ("other", *value)]
        case "set_bits":
            return [("ecc_en",), ("ecc_en", "alias_check_complete")]
        case "registers":
            whole = {int(number): (item,) for number, item in value.items()}
            return [whole, {4: (value["4"],)}, {0: (bytes(len(value["0"])), value["0"])}]
        case "components":
            return [value, {"snp": 22}, {name: svn - 1 for name, svn in value.items()}]
    raise AssertionError(name)


def wrong(name: str) -> list[Any]:
    value = value_of(name)
    match PINNED[name]["kind"]:
        case "one_of":
            size = len(value)
            return [(), (b"",), (value[:-1],), (value + b"\x00",), (bytes(size),), (bytes(size - 1), value + b"\x00"),
                    *((turned(value, bit),) for bit in range(8 * size))]
        case "masked":
            size = len(value)
            return [*(Masked(turned(value, bit), b"\xff" * size) for bit in range(8 * size)),
                    Masked(value[:-1], b"\xff" * (size - 1)), Masked(value + b"\x00", b"\xff" * size + b"\x00"),
                    Masked(b"", b"")]
        case "minimum" if isinstance(value, bytes):
            raised = [value[:i] + bytes((value[i] + 1,)) + value[i + 1 :] for i in range(len(value))]
            return [*raised, value[:-1], value + b"\x00", b"", 0, b"\xff" * 16]
        case "minimum":
            return [value + 1, 1 << 63, b"", bytes(16)]
        case "integers":
            return [(), (value + 1,), (value - 1,), (True,), (float(value),), (str(value),)]
        case "names":
            return [(), ("",), (value.upper(),), (value + " ",), (value.encode(),)]
        case "set_bits":
            return [("smt_en",), ("ecc_en", "smt_en"), ("tsme_en",), ("",)]
        case "devices":
            return [(), ("",), *(tuple(item for item in value if item != left_out) for left_out in value),
                    tuple(item.encode() for item in value)]
        case "registers":
            good, size = {int(number): (item,) for number, item in value.items()}, len(value["0"])
            return [{}, {4: ()}, {5: (bytes(size),)}, good | {4: (value["11"],)}, good | {11: (value["11"][:-1],)},
                    good | {0: (value["0"] + b"\x00",)}, *(good | {0: (turned(value["0"], bit),)} for bit in range(64))]
        case "components":
            return [*(value | {part: svn + 1} for part, svn in value.items()), {"ucode": 0},
                    {"snp": 23, "microcode": 0}]
    raise AssertionError(name)


@pytest.mark.parametrize("name", PINNED)
def test_each_member_accepts_what_it_names(name):
    for value in right(name):
        assert failed(Expectations(**{name: value}), claims(body=nested(named_for(name)))) == [], value


@pytest.mark.parametrize("name", PINNED)
def test_each_member_refuses_everything_else_and_alone(name):
    for value in wrong(name):
        found = failed(Expectations(**{name: value}), claims(body=nested(named_for(name))))
        assert [check.id for check in found] == [f"tdx.expect.{name}"], value
        assert found[0].got == value_of(name)


@pytest.mark.parametrize("name", PINNED)
def test_a_demand_on_a_claim_that_is_not_there_is_a_mismatch(name):
    for value in right(name):
        found = failed(Expectations(**{name: value}), claims(body={}))
        assert [(check.id, check.got) for check in found] == [(f"tdx.expect.{name}", None)]
        assert "no such claim" in found[0].detail


@pytest.mark.parametrize("name", PINNED)
def test_a_claim_of_another_type_never_matches(name):
    for odd in (b"", "", -1, True, [], {}, 1.5):
        body = odd_body(name, odd)
        for value in right(name):
            found = failed(Expectations(**{name: value}), claims(body=body))
            assert [check.id for check in found] == [f"tdx.expect.{name}"], (odd, value)


def test_every_mismatch_is_listed_and_not_only_the_first():
    demands = {name: wrong(name)[0] for name in PINNED}
    assert sorted(check.id for check in failed(Expectations(**demands))) == sorted(
        f"tdx.expect.{name}" for name in PINNED)


def test_without_demands_only_status_and_flags_are_judged():
    assert [check.id for check in appraise(claims(), UNBOUND, Expectations())] == [
        "tdx.accept.status", "tdx.accept.flags"]


# -- defaults ----------------------------------------------------------------------------------------------------------

EVERY_STATUS = [status.value for status in TcbStatus] + ["NotSupported", "", "uptodate", "UpToDate "]


@pytest.mark.parametrize("status", EVERY_STATUS)
def test_the_default_statuses_are_two(status):
    found = failed(Expectations(), claims(status=status))
    assert [check.id for check in found] == ([] if status in ("UpToDate", "SWHardeningNeeded") else [
        "tdx.accept.status"])


@pytest.mark.parametrize("status", [status.value for status in TcbStatus])
def test_other_statuses_are_accepted_by_name_but_never_revoked(status):
    if status == "Revoked":
        with pytest.raises(SetupError) as caught:
            Expectations(accepted_statuses=("UpToDate", status))
        assert caught.value.id == "expect.accepted_statuses"
        assert failed(Expectations(accepted_statuses=ACCEPTABLE_STATUSES), claims(status=status))
    else:
        assert failed(Expectations(accepted_statuses=(status,)), claims(status=status)) == []
        others = tuple(name for name in ACCEPTABLE_STATUSES if name != status)
        assert failed(Expectations(accepted_statuses=others), claims(status=status))


@pytest.mark.parametrize("statuses", [("NotSupported",), ("",), ("uptodate",), ("UpToDate ",), (None,), (5,),
                                      "UpToDate", ("UpToDate", "Revoked")])
def test_a_status_that_nobody_defined_cannot_be_accepted(statuses):
    with pytest.raises(SetupError) as caught:
        Expectations(accepted_statuses=statuses)
    assert caught.value.id == "expect.accepted_statuses"


def test_an_empty_tuple_of_statuses_accepts_none():
    for status in DEFAULT_STATUSES:
        assert failed(Expectations(accepted_statuses=()), claims(status=status))


def test_a_maker_without_statuses_is_not_judged_by_them():
    """AMD has none; that it has none is told."""
    checks = appraise(claims(status=None), UNBOUND, Expectations(accepted_statuses=()))
    assert (checks[0].id, checks[0].ok, checks[0].detail) == (
        "tdx.accept.status", True, "the maker states no TCB status")


FLAGS = ("TD_DEBUG", "MIGRATABLE", "SOMETHING_NEW")


def test_every_flag_refuses_under_its_own_name_until_it_is_allowed_by_it():
    assert [check.id for check in failed(Expectations(), claims(flags=FLAGS))] == [
        "tdx.accept.td_debug", "tdx.accept.migratable", "tdx.accept.something_new"]
    for flag in FLAGS:
        rest = tuple(other for other in FLAGS if other != flag)
        assert failed(Expectations(allowed_flags=(flag,)), claims(flags=(flag,))) == []
        assert [check.got for check in failed(Expectations(allowed_flags=rest), claims(flags=FLAGS))] == [flag]
    assert failed(Expectations(allowed_flags=FLAGS), claims(flags=FLAGS)) == []


@pytest.mark.parametrize("allowed", [("TD_DEBU",), ("td_debug",), ("TD_DEBUG ",), ("",), ("TD_DEBUGS",), ("*",)])
def test_a_flag_is_allowed_by_its_whole_name(allowed):
    assert failed(Expectations(allowed_flags=allowed), claims(flags=("TD_DEBUG",)))


@pytest.mark.parametrize("name", ["accepted_statuses", "allowed_flags", "accepted_advisory_ids", "mr_td", "chip_id",
                                  "isv_prod_id", "products"])
@pytest.mark.parametrize("value", ["TD_DEBUG,MIGRATABLE", b"\x00" * 48])
def test_one_text_or_byte_string_is_not_a_list(name, value):
    """``flag in "TD_DEBUG,…"`` would allow every part of it."""
    with pytest.raises(SetupError) as caught:
        Expectations(**{name: value})
    assert caught.value.id == f"expect.{name}"


@pytest.mark.parametrize(("accepted", "found", "ok"), [
    (None, ("A", "B"), True), (("A", "B", "C"), ("A", "B"), True), (("A",), ("A", "B"), False), ((), ("A",), False),
    ((), (), True), (("A",), (), True),
])
def test_advisories_are_judged_where_a_list_is_given(accepted, found, ok):
    failing = failed(Expectations(accepted_advisory_ids=accepted), claims(advisory_ids=found))
    assert [check.id for check in failing] == ([] if ok else ["tdx.accept.advisories"])


@pytest.mark.parametrize(("refuse", "software", "ok"), [(False, True, True), (True, False, True), (True, True, False)])
def test_software_is_refused_where_that_is_demanded(refuse, software, ok):
    failing = failed(Expectations(refuse_software=refuse), claims(software=software))
    assert [check.id for check in failing] == ([] if ok else ["tdx.accept.hardware"])


# -- version vectors and masks, against oracles ------------------------------------------------------------------------

vectors = st.binary(min_size=16, max_size=16)


@settings(max_examples=300)
@given(vectors, vectors | st.binary(max_size=20))
def test_version_vectors_are_compared_component_by_component(have, want):
    expected = len(have) == len(want)
    for index in range(min(len(have), len(want))):
        expected = expected and have[index] >= want[index]
    found = failed(Expectations(minimum_tee_tcb_svn=want), claims(body={"tee_tcb_svn": have}))
    assert (not found) is expected


svns = st.dictionaries(st.sampled_from(["fmc", "bootloader", "tee", "snp", "microcode"]), st.integers(0, 255))


@settings(max_examples=300)
@given(svns, svns.filter(bool))
def test_named_components_are_compared_each_with_its_own(have, want):
    expected = all(name in have and have[name] >= least for name, least in want.items())
    found = failed(Expectations(minimum_reported_tcb=want), claims(body={"reported_tcb_decoded": have}))
    assert (not found) is expected


@settings(max_examples=300)
@given(st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8))
def test_masked_values_are_compared_where_the_mask_is_set(have, want, mask):
    value = bytes(w & m for w, m in zip(want, mask, strict=True))
    expected = all((h ^ w) & m == 0 for h, w, m in zip(have, want, mask, strict=True))
    found = failed(Expectations(xfam=Masked(value, mask)), claims(body={"xfam": have}))
    assert (not found) is expected


@pytest.mark.parametrize("value", [(), (b"",), b"", {"4": (bytes(32),)}, {4: bytes(32)}, {4: [bytes(32)]},
                                   {True: (bytes(32),)}])
def test_registers_are_numbers_with_tuples_of_values(value):
    with pytest.raises(SetupError) as caught:
        Expectations(pcrs=value)
    assert caught.value.id == "expect.pcrs"


def test_a_driver_is_demanded_of_every_gpu_and_of_no_switch():
    switch_only = claims(body={"devices": DEVICES[2:], "certified": CERTIFIED[2:]})
    expectations = Expectations(driver_versions=("580.10", "580.20"))
    assert failed(expectations) == []
    assert failed(expectations, switch_only)[0].got is None  # there is no GPU that could have one
    silent = [{**DEVICES[0], "driver_version": None}, *DEVICES[1:]]
    assert failed(expectations, claims(body=nested(NAMED | {"devices": silent})))[0].got == [None, "580.20"]


@pytest.mark.parametrize("body", [
    {"devices": DEVICES}, {"certified": CERTIFIED}, {"devices": DEVICES[:2], "certified": CERTIFIED},
    {"devices": [], "certified": []}, {"devices": "x", "certified": "x"},
])
def test_devices_without_their_certificates_are_no_claim(body):
    (check,) = failed(Expectations(vbios_versions=("96.00.A", "96.00.B", "96.10.C")), claims(body=body))
    assert check.got is None


def test_nitros_registers_and_azures_are_those_of_no_bank():
    registers = {"0": fill(1, 48), "4": fill(2, 48)}
    of_nitro = claims(tee=Tee.NITRO, body={"pcrs": registers})
    assert failed(Expectations(pcrs={0: (registers["0"],)}), of_nitro) == []
    assert [check.id for check in failed(Expectations(pcrs={0: (registers["4"],)}), of_nitro)] == ["nitro.expect.pcrs"]
    assert failed(Expectations(pcrs_sha384={0: (registers["0"],)}), of_nitro)
    assert failed(Expectations(attestation_key=(fill(3, 32),)), claims(body={"ak_modulus_sha256": fill(3, 32)})) == []


@pytest.mark.parametrize(("value", "mask"), [(b"\x01", b"\x00"), (b"\x01\x00", b"\x01"), (b"", b"\x01"),
                                             (b"\xff", b"\xfe")])
def test_a_value_lies_within_its_mask(value, mask):
    with pytest.raises(SetupError) as caught:
        Masked(value, mask)
    assert caught.value.id == "expect.masked"


# -- files -------------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Masked):
        return {"value": value.value.hex(), "mask": value.mask.hex()}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml(item)}" for name, item in value.items()) + " }"
    return json.dumps(value)


DEFAULTS = {"accepted_statuses": ("OutOfDate",), "allowed_flags": ("TD_DEBUG",), "accepted_advisory_ids": ("A", "B"),
            "refuse_software": True}


@pytest.mark.parametrize("name", [*PINNED, *DEFAULTS])
def test_each_member_is_read_from_json_and_from_toml(name):
    value = DEFAULTS[name] if name in DEFAULTS else right(name)[0]
    expected = Expectations(**{name: value})
    assert Expectations.from_file(json.dumps({name: plain(value)}).encode()) == expected
    assert Expectations.from_file(f"{name} = {toml(plain(value))}".encode()) == expected
    if isinstance(value, tuple) and len(value) == 1:
        assert Expectations.from_file(json.dumps({name: plain(value)[0]}).encode()) == expected


@pytest.mark.parametrize("data", [b"", b"{}", b" \n", b"# nothing\n"])
def test_an_empty_file_is_the_defaults(data):
    assert Expectations.from_file(data) == Expectations()


@pytest.mark.parametrize("data", [
    b"{", b"[]", b"x", b"\xff", b"{}{}", b'{"mr_td":1,"mr_td":2}', b"mr_td = ", b"a = [" + b"[" * 5000, b"{\"a\":NaN}",
    b"minimum_isv_svn = " + b"1" * 5000, b"isv_prod_id = 1\nisv_prod_id = 2", b"\x00", b"vmpl = 1979-13-01",
])
def test_what_is_neither_json_nor_toml_is_refused(data):
    with pytest.raises(SetupError) as caught:
        Expectations.from_file(data)
    assert caught.value.id == "expect.file"


@pytest.mark.parametrize("name", ["mrtd", "MR_TD", "mr-td", "__init__", "from_file", "accepted", "x" * 1000, ""])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(SetupError) as caught:
        Expectations.from_file(json.dumps({name: 1}).encode())
    assert caught.value.id == "expect.unknown"


ODD_VALUES = [None, True, -1, 1.5, "", "zz", "0", [None], [[]], {"a": 1}, {"value": "00"}, {"value": 1, "mask": 2},
              ["value", "mask"], "valuemask", {"snp": -1}, {"snp": 1.0}, {"ucode": 1}, 1 << 64]
LISTS_OF_NAMES = [*(name for name, meta in PINNED.items() if meta["kind"] in ("names", "devices", "set_bits")),
                  "accepted_advisory_ids", "allowed_flags"]


def is_right(name: str, value: Any) -> bool:
    """Some of the odd values are right for some of the members."""
    if name in LISTS_OF_NAMES:
        return isinstance(value, str) or value == ["value", "mask"]
    return name == "refuse_software" and value is True


@pytest.mark.parametrize("name", [*PINNED, *DEFAULTS])
def test_a_value_of_another_form_is_refused_and_named(name):
    for value in (value for value in ODD_VALUES if not is_right(name, value)):
        with pytest.raises(SetupError) as caught:
            Expectations.from_file(json.dumps({name: value}).encode())
        assert caught.value.id in (f"expect.{name}", "expect.masked"), value


@pytest.mark.parametrize("text", [
    "minimum_isv_svn = 0x" + "f" * 5000, "mr_td = 0x" + "f" * 5000, "isv_prod_id = [0x" + "f" * 5000 + "]",
    "mr_td = 1979-05-27", "minimum_reported_tcb = {}", "minimum_reported_tcb = \"\"", "minimum_reported_tcb = []",
    "vmpl = -1", "vmpl = true", "pcrs = {}", "pcrs = []", "[pcrs]\n32 = \"\"", "[pcrs]\n04 = \"\"", "[pcrs]\nx = 1",
    "pcrs = { 4 = \"00\" }", "realm_initial_measurement = \"00\"", "[mr_td]", "[[mr_td]]", "mr_td.x = 1", "xfam = []",
])
def test_what_toml_can_say_and_json_cannot_is_refused_too(text):
    with pytest.raises(SetupError) as caught:
        Expectations.from_file(text.encode())
    assert caught.value.id.startswith("expect.")


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("00" * 48),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["value", "mask", "snp", "x"]), inner, max_size=3), max_leaves=6)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from([*PINNED, *DEFAULTS]) | st.text(max_size=4), JSON, max_size=3).map(
    lambda value: json.dumps(value).encode()) | st.binary(max_size=60)
    | st.text(alphabet='mr_td=["0a"]{}\n.#x1-:T', max_size=40).map(str.encode))
def test_any_file_is_expectations_or_refused(data):
    try:
        Expectations.from_file(data)
    except SetupError:
        return
