"""Published ways in which verifiers of SEV-SNP failed, tried here (docs/attacks.md, S).

Everything is signed again by the small AMD after it was altered, so that only the rule under attack can refuse.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifier import Binding, Collateral, Evidence, Expectations, Tee
from verifier.checks.prepared import Prepared
from verifier.endorsements.collateral import AmdCollateral
from verifier.endorsements.roots import Roots
from verifier.errors import SetupError
from verifier.formats.snp_report import VMPL_HOST, SigningKey
from verifier.results.verdict import Verdict
from verifier.software_tee import der
from verifier.software_tee.amd import (
    BL_SPL,
    CSP_ID,
    FMC_SPL,
    HWID,
    PRODUCT_NAME,
    SNP_SPL,
    SPL_4,
    SPL_5,
    SPL_6,
    SPL_7,
    TEE_SPL,
    UCODE_SPL,
)
from verifier.software_tee.certificates import Extension
from verifier.verify import verify

VCEK, VLEK = SigningKey.VCEK, SigningKey.VLEK
POLICY = 0x30000
LINES = ("Milan", "Genoa", "Turin")
LEGACY = {"bootloader": BL_SPL, "tee": TEE_SPL, "byte2": SPL_4, "byte3": SPL_5, "byte4": SPL_6, "byte5": SPL_7,
          "snp": SNP_SPL, "microcode": UCODE_SPL}
TURIN = {"fmc": FMC_SPL, "bootloader": BL_SPL, "tee": TEE_SPL, "snp": SNP_SPL, "byte4": SPL_5, "byte5": SPL_6,
         "byte6": SPL_7, "microcode": UCODE_SPL}


def verdict(case: Any, binding: Binding | None = None, **demands: Any) -> Verdict:
    """What the whole verifier says; ``demands`` are expectations."""
    leaf = "vlek" if case.body.signing_key == VLEK else "vcek"
    amd = AmdCollateral(**case.maker.collateral(leaf)) if case.amd is None else case.amd
    roots = trusting(case.maker.certificate("ark")) if case.roots is None else case.roots
    report = case.maker.report(case.body) if case.report is None else case.report
    return verify(Evidence(Tee.SNP, report, case.certificates), collateral=Collateral(amd=amd), roots=roots, at=case.at,
                  binding=binding or Binding.insecure_unbound(), expectations=Expectations(**demands),
                  prepared=case.prepared)


@cache
def trusting(ark: bytes) -> Roots:
    """This root alone."""
    return Roots.only_software([ark])


def refusal(case: Any) -> str:
    """The rule that refuses; nothing is claimed then."""
    found = verdict(case)
    assert (found.authentic, found.accepted, found.claims) == (False, False, None), found.error
    return found.error.id.removeprefix("snp.")


def mismatches(found: Verdict) -> list[str]:
    """The demands that authentic evidence does not meet."""
    assert (found.authentic, found.accepted) == (True, False), found.error
    return [check.id.removeprefix("snp.") for check in found.mismatches]


def vcek(maker: Any, *extensions: Extension) -> Any:
    """The maker with these extensions in its VCEK."""
    def change(certificate: Any) -> Any:
        for extension in extensions:
            certificate = certificate.changed(extension)
        return certificate
    return maker.altered(vcek=change)


# -- S-01 a forged or replaced ARK -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3, 5])
@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("signing_key", [VCEK, VLEK])
def test_s01_a_whole_chain_under_amds_names_is_nobodys(snp_case, version, line, signing_key):
    """Names, sizes and extensions are AMD's, all of it signed; version 2 does not even name a processor."""
    case = snp_case(version=version, line=line, signing_key=signing_key)
    case.roots = Roots.makers()
    assert refusal(case) == "chain.root"
    leaf, ca, _ = case.maker.certificates("vlek" if signing_key == VLEK else "vcek")
    case.amd = AmdCollateral((leaf, ca))
    assert refusal(case) == ("vlek.signature" if signing_key == VLEK else "vcek.signature")
    case.amd, case.certificates = AmdCollateral(), case.maker.certificates("vlek" if signing_key == VLEK else "vcek")
    assert refusal(case) == "chain.root"


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(("product", "reason"), [
    ("Milan-B1", "chain.root"), ("", "vcek.extension.product_name"), ("Venice", "vcek.extension.product_name"),
    ("milan", "vcek.extension.product_name"), ("Milan\x00", "vcek.extension.product_name")])
def test_s01_an_unknown_product_has_no_roots_and_that_refuses(snp_maker, snp_case, version, product, reason):
    maker = vcek(snp_maker, Extension(PRODUCT_NAME, der.ia5(product)))
    for roots in (Roots.makers(), Roots(())):
        case = snp_case(version=version, maker=maker)
        case.roots = roots
        assert refusal(case) == reason


@pytest.mark.parametrize("version", [2, 3])
def test_s01_no_anchor_at_all_refuses(snp_case, version):
    case = snp_case(version=version)
    case.roots = Roots(())
    assert refusal(case) == "chain.root"


def replaced_ark(corpus: Any, maker: Any) -> bytes:
    """AMD's own key under AMD's name, with other dates and extensions and a signature by somebody else."""
    genuine = library.load_der_x509_certificate((corpus.root / "anchors" / "amd-ark-milan.der").read_bytes())
    spki = genuine.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return maker.altered(ark=lambda c: replace(c, public_key=spki, serial=genuine.serial_number,
                                               not_after=c.not_after + 1)).certificate("ark")


def test_s01_amds_key_in_another_certificate_is_no_anchor(corpus, snp_maker, snp_case):
    folder = corpus.folder("snp/milan-v3-vcek-oak")
    ark = replaced_ark(corpus, snp_maker)
    case = snp_case()
    case.report, case.roots = (folder / "report.bin").read_bytes(), Roots.makers()
    case.amd = AmdCollateral(((folder / "vcek.der").read_bytes(), ark))
    assert refusal(case) == "chain.root"
    case.amd, case.certificates = AmdCollateral(((folder / "vcek.der").read_bytes(),)), (ark,)
    assert refusal(case) == "chain.root"
    case.certificates = ()
    assert verdict(case).authentic is True
    with pytest.raises(SetupError) as caught:
        Roots.only_software([ark])
    assert caught.value.id == "roots.self_signed"


# -- S-02 VCEK and VLEK mixed up ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["Milan", "Turin"])
@pytest.mark.parametrize(("signing_key", "leaf"), [(VCEK, "vlek"), (VLEK, "vcek")])
def test_s02_a_report_of_one_kind_under_a_chain_of_the_other_is_refused(snp_case, line, signing_key, leaf):
    case = snp_case(line=line, signing_key=signing_key)
    case.amd = AmdCollateral(**case.maker.collateral(leaf))
    assert refusal(case) == "report.signing_key.certificate"
    other = "vlek" if leaf == "vcek" else "vcek"
    signed = case.maker.altered(report=lambda r: replace(r, signer=case.maker.leaf_key(leaf)))
    case = snp_case(maker=signed, line=line, signing_key=signing_key)
    case.amd = AmdCollateral(signed.certificates(other), (signed.crl,))
    assert refusal(case) == "report.signature", "the right chain, the wrong key"


@pytest.mark.parametrize("key", range(8))
def test_s02_each_signing_key_is_used_or_refused(snp_case, key):
    case = snp_case(flags=key << 2)
    case.amd = AmdCollateral(**case.maker.collateral("vcek"))
    if key == VCEK:
        assert verdict(case).accepted
    else:
        assert refusal(case) == ("report.signing_key.certificate" if key == VLEK else "report.signing_key")


def test_s02_a_vcek_issued_by_the_vlek_authority_is_refused(snp_maker, snp_case):
    wrong = snp_maker.altered(vcek=lambda c: replace(c, issuer=snp_maker.name("asvk"), signer=snp_maker.ca_key("asvk")))
    case = snp_case(maker=wrong)
    case.amd = AmdCollateral((wrong.certificate("vcek"), wrong.certificate("asvk"), wrong.certificate("ark")))
    assert refusal(case) == "chain.ask.name"
    named = snp_maker.altered(vcek=lambda c: replace(c, signer=snp_maker.ca_key("asvk")))
    assert refusal(snp_case(maker=named)) == "vcek.signature"


def test_s02_a_vlek_issued_by_the_vcek_authority_is_refused(snp_maker, snp_case):
    wrong = snp_maker.altered(vlek=lambda c: replace(c, issuer=snp_maker.name("ask"), signer=snp_maker.ca_key("ask")))
    case = snp_case(maker=wrong, signing_key=VLEK)
    case.amd = AmdCollateral((wrong.certificate("vlek"), wrong.certificate("ask"), wrong.certificate("ark")))
    assert refusal(case) == "chain.asvk.name"


@pytest.mark.parametrize("line", ["Milan", "Turin"])
def test_s02_the_hardware_id_binds_the_chip_and_is_never_skipped(snp_maker_of, snp_case, line):
    maker = snp_maker_of(line)
    size = len(maker.chip.hwid)
    other = bytes((maker.chip.hwid[0] ^ 1,)) + maker.chip.hwid[1:]
    assert refusal(snp_case(maker=vcek(maker, Extension(HWID, other)))) == "vcek.chip_id"
    for wrong in (size - 1, size + 1, 0):
        assert refusal(snp_case(maker=vcek(maker, Extension(HWID, bytes(wrong))))) == "vcek.extension.hwid"
    without = maker.altered(vcek=lambda c: c.without(HWID))
    assert refusal(snp_case(maker=without)) == "vcek.extension.hwid"
    assert refusal(snp_case(maker=without, chip_id=bytes(64))) == "vcek.extension.hwid"


def test_s02_a_provider_is_named_and_can_be_demanded(snp_maker, snp_case):
    case = snp_case(signing_key=VLEK)
    name = "CN=software-tee.invalid"
    assert verdict(case, csp_ids=(name,)).accepted
    assert mismatches(verdict(case, csp_ids=("CN=cc-us-east-2.amazonaws.com",))) == ["expect.csp_ids"]
    assert mismatches(verdict(case, csp_ids=())) == ["expect.csp_ids"]
    assert mismatches(verdict(snp_case(), csp_ids=(name,))) == ["expect.csp_ids"], "a VCEK names nobody"
    nameless = snp_case(maker=snp_maker.altered(vlek=lambda c: c.without(CSP_ID)), signing_key=VLEK)
    assert refusal(nameless) == "vlek.extension.csp_id"
    chip = snp_case(maker=snp_maker.altered(vlek=lambda c: c.changed(Extension(HWID, bytes(64)))), signing_key=VLEK)
    assert refusal(chip) == "vlek.extension.hwid"


# -- S-03 TCB in the certificate against TCB in the report -------------------------------------------------------------


@pytest.mark.parametrize("signing_key", [VCEK, VLEK])
@pytest.mark.parametrize(("line", "spls"), [("Milan", LEGACY), ("Genoa", LEGACY), ("Turin", TURIN)])
@pytest.mark.parametrize("by", [1, -1])
def test_s03_every_spl_equals_its_byte_of_the_reported_tcb(snp_maker_of, snp_case, line, spls, by, signing_key):
    maker, role = snp_maker_of(line), "vlek" if signing_key == VLEK else "vcek"
    tcb = maker.chip.tcb.to_bytes()
    for (name, oid), have in zip(spls.items(), tcb, strict=True):
        if have + by < 0:
            continue
        other = maker.altered(**{role: lambda c, oid=oid, n=have + by: c.changed(Extension(oid, der.integer(n)))})
        assert refusal(snp_case(maker=other, line=line, signing_key=signing_key)) == f"{role}.tcb.{name}"


@pytest.mark.parametrize("which", ["reported", "committed", "launch", "current"])
@pytest.mark.parametrize("part", ["bootloader", "tee", "snp", "microcode"])
def test_s03_each_tcb_has_its_own_floor_for_each_part(snp_case, which, part):
    """A TCB that is newer elsewhere, or another TCB that is newer, makes up for nothing."""
    case = snp_case(line="Genoa")
    newest = bytes((0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF))
    own = case.body.reported_tcb
    tcbs = {name: newest for name in ("current_tcb", "committed_tcb", "launch_tcb") if name != f"{which}_tcb"}
    case.body = replace(case.body, **tcbs, **({} if which == "reported" else {f"{which}_tcb": own}))
    have = getattr(case.maker.chip.tcb, part)
    demand = f"minimum_{which}_tcb"
    assert verdict(case, **{demand: {part: have}}).accepted
    assert mismatches(verdict(case, **{demand: {part: have + 1}})) == [f"expect.{demand}"]


def test_s03_the_certificate_is_the_reported_tcbs_and_no_others(snp_maker, snp_case):
    """A VCEK for the current TCB, which is newer, does not sign a report of the older one."""
    newer = snp_maker.on(replace(snp_maker.chip, tcb=replace(snp_maker.chip.tcb, microcode=220)))
    case = snp_case(current_tcb=newer.chip.tcb.to_bytes())
    case.amd = AmdCollateral(newer.certificates(), (newer.crl,))
    assert refusal(case) == "vcek.tcb.microcode"
    case.amd = None
    assert verdict(case).accepted


def test_s03_encodings_that_genuine_certificates_have_are_read(snp_maker, snp_case):
    """SPLs from 128 up take two octets, the hardware id is raw, and every leaf's serial number is 0."""
    maker = snp_maker.on(replace(snp_maker.chip, tcb=replace(snp_maker.chip.tcb, microcode=0xD9)))
    leaf = library.load_der_x509_certificate(maker.certificate("vcek"))
    values = {extension.oid.dotted_string: extension.value for extension in leaf.extensions}
    assert values[UCODE_SPL].value == bytes.fromhex("020200d9")
    assert values[HWID].value == maker.chip.hwid
    assert leaf.serial_number == 0
    assert verdict(snp_case(maker=maker)).accepted
    minus = vcek(maker, Extension(UCODE_SPL, bytes.fromhex("0201d9")))
    assert refusal(snp_case(maker=minus)) == "vcek.extension.ucode_spl"


# -- S-04 Turin's layout -----------------------------------------------------------------------------------------------


SAME_BYTES = bytes((1, 2, 3, 4, 0, 0, 0, 8))


def test_s04_the_same_bytes_are_read_by_the_processors_layout(snp_maker_of, snp_case):
    """Signed by a certificate whose SPLs are these bytes in the layout of its own line."""
    for line in LINES:
        spls = TURIN if line == "Turin" else LEGACY
        maker = vcek(snp_maker_of(line), *(Extension(oid, der.integer(count)) for oid, count in zip(
            spls.values(), SAME_BYTES, strict=True)))
        case = snp_case(maker=maker, line=line, reported_tcb=SAME_BYTES)
        if line == "Turin":
            told = verdict(case).claims.body["reported_tcb_decoded"]
            assert told == {"fmc": 1, "bootloader": 2, "tee": 3, "snp": 4, "microcode": 8, "reserved": bytes(3)}
        else:
            assert refusal(case) == "report.reported_tcb.reserved", "bytes 2 to 5 count nothing before Turin"


@pytest.mark.parametrize(("line", "demand", "ok"), [
    ("Turin", {"fmc": 1, "bootloader": 1, "tee": 2, "snp": 4}, True), ("Turin", {"bootloader": 2}, False),
    ("Turin", {"snp": 5}, False), ("Milan", {"bootloader": 4, "snp": 24}, True), ("Milan", {"tee": 1}, False),
    ("Milan", {"fmc": 0}, False),
])
def test_s04_a_floor_is_compared_in_the_right_layout(snp_case, line, demand, ok):
    """Turin's bytes 1 1 2 4 would be boot loader 1, TEE 1 before it; Milan has no FMC to be new enough."""
    found = verdict(snp_case(line=line), minimum_reported_tcb=demand)
    assert found.accepted is ok
    if not ok:
        assert mismatches(found) == ["expect.minimum_reported_tcb"]


@pytest.mark.parametrize("position", range(8, 64))
def test_s04_a_turin_chip_id_has_eight_bytes(snp_maker_of, snp_case, position):
    chip_id = bytearray(snp_maker_of("Turin").chip.hwid.ljust(64, b"\x00"))
    chip_id[position] = 1
    assert refusal(snp_case(line="Turin", chip_id=bytes(chip_id))) == "vcek.chip_id"
    assert refusal(snp_case(line="Turin", signing_key=VLEK, chip_id=bytes(chip_id))) == "report.chip_id.reserved"


def test_s04_fmc_is_demanded_on_turin_and_foreign_before(snp_maker_of, snp_case):
    without = snp_maker_of("Turin").altered(vcek=lambda c: c.without(FMC_SPL))
    assert refusal(snp_case(line="Turin", maker=without)) == "vcek.extension.fmc_spl"
    for line in ("Milan", "Genoa"):
        for count in (0, 1):
            maker = vcek(snp_maker_of(line), Extension(FMC_SPL, der.integer(count)))
            assert refusal(snp_case(line=line, maker=maker)) == "vcek.extension.fmc_spl"


# -- S-05 VMPL ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3, 5])
@pytest.mark.parametrize(("vmpl", "flag"), [(1, "VMPL1"), (2, "VMPL2"), (3, "VMPL3"), (VMPL_HOST, "VMPL_HOST")])
def test_s05_only_the_highest_privilege_speaks_for_the_guest_by_default(snp_case, version, vmpl, flag):
    case = snp_case(version=version, vmpl=vmpl)
    assert mismatches(verdict(case)) == [f"accept.{flag.lower()}"]
    assert verdict(case, allowed_flags=(flag,)).accepted
    for other in ("VMPL0", "VMPL", flag.lower(), "DEBUG_ALLOWED"):
        assert mismatches(verdict(case, allowed_flags=(other,))) == [f"accept.{flag.lower()}"]
    assert mismatches(verdict(case, allowed_flags=(flag,), vmpl=(0,))) == ["expect.vmpl"]


@pytest.mark.parametrize("vmpl", [4, 5, 0x100, 0x7FFFFFFF, 0xFFFFFFFE])
def test_s05_a_privilege_that_does_not_exist_is_refused(snp_case, vmpl):
    assert refusal(snp_case(vmpl=vmpl)) == "report.vmpl"


def test_s05_the_default_is_not_relaxed_for_a_genuine_report(corpus):
    """A public VLEK report was asked for at VMPL 1."""
    found = [case for case in corpus.of("snp") if "vlek" in case["case"]
             and (case["expected"].get("claims") or {}).get("vmpl") == 1]
    assert found
    for case in found:
        folder = corpus.folder(case)
        supplied = tuple(path.read_bytes() for pattern in ("*.der", "*.pem") for path in sorted(folder.glob(pattern)))
        result = verify(Evidence(Tee.SNP, (folder / "report.bin").read_bytes()), roots=Roots.makers(), at=1_750_000_000,
                        collateral=Collateral(amd=AmdCollateral(supplied)), binding=Binding.insecure_unbound())
        assert result.accepted is False
        if result.authentic:
            assert "snp.accept.vmpl1" in {check.id for check in result.mismatches}


# -- S-06 the guest's policy -------------------------------------------------------------------------------------------

# What a policy word may have: bits 0 to 15 are an ABI version; the rest one by one.
TOLERATED = {16: "smt_allowed", 20: "single_socket", 21: "cxl_allow", 22: "mem_aes_256_xts", 23: "rapl_dis",
             24: "ciphertext_hiding_dram", 25: "page_swap_disable"}
OBJECTED = {18: "accept.migrate_ma_allowed", 19: "accept.debug_allowed"}


@pytest.mark.parametrize("bit", range(64))
@pytest.mark.parametrize("version", [2, 5])
def test_s06_each_bit_is_tolerated_objected_to_demanded_or_unknown(snp_case, version, bit):
    case = snp_case(version=version, policy=POLICY ^ 1 << bit)
    if bit == 17:
        assert refusal(case) == "report.policy.bit17"
    elif bit > 25:
        assert refusal(case) == "report.policy.reserved"
    elif bit in OBJECTED:
        assert mismatches(verdict(case)) == [OBJECTED[bit]]
    else:
        found = verdict(case)
        assert found.accepted
        if bit in TOLERATED:
            assert found.claims.body["policy_bits"][TOLERATED[bit]] is bool(case.body.policy >> bit & 1)


def test_s06_debugging_is_of_the_report_and_not_of_the_measurement(snp_case):
    """The host starts the pinned image with debugging on: the measurement is the same."""
    case = snp_case(policy=POLICY | 1 << 19)
    found = verdict(case, measurement=(case.body.measurement,))
    assert mismatches(found) == ["accept.debug_allowed"]
    both = snp_case(policy=POLICY | 3 << 18)
    assert mismatches(verdict(both, allowed_flags=("DEBUG_ALLOWED",))) == ["accept.migrate_ma_allowed"]
    assert verdict(both, allowed_flags=("DEBUG_ALLOWED", "MIGRATE_MA_ALLOWED")).accepted


# -- S-07 guessing the processor ---------------------------------------------------------------------------------------

KNOWN = ([(0x19, model, "Milan") for model in range(0x10)] + [(0x19, model, "Genoa") for model in (
    *range(0x10, 0x20), *range(0xA0, 0xB0))] + [(0x1A, model, "Turin") for model in range(0x12)])


def test_s07_every_processor_belongs_to_its_line_and_no_other(snp_case):
    """Bergamo and Siena (0x19, 0xA0 …) are certified as Genoa."""
    known = {(family, model): line for family, model, line in KNOWN}
    prepared = {line: Prepared() for line in LINES}
    for family in (0x17, 0x18, 0x19, 0x1A, 0x1B):
        for model in range(0, 256, 1 if family in (0x19, 0x1A) else 17):
            line = known.get((family, model))
            case = snp_case(line=line or "Milan", cpuid_family=family, cpuid_model=model)
            case.prepared = prepared[line or "Milan"]
            if line is None:
                assert refusal(case) == "report.cpuid"
            else:
                assert verdict(case).claims.endorsement["product_line"] == line


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("other", LINES)
def test_s07_the_chain_is_of_the_reports_line(snp_case, snp_maker_of, version, line, other):
    case = snp_case(version=version, line=line)
    maker = snp_maker_of(other)
    case.amd = AmdCollateral(maker.certificates(), (maker.crl,))
    case.roots = Roots.only_software([snp_maker_of(name).certificate("ark") for name in LINES])
    if line == other:
        assert verdict(case).accepted
    else:
        assert refusal(case) == "report.cpuid.certificate"


@pytest.mark.parametrize("line", LINES)
def test_s07_version_2_has_the_line_of_its_verified_certificate_and_no_default(snp_case, snp_maker_of, line):
    case = snp_case(version=2, line=line)
    found = verdict(case)
    assert found.claims.endorsement["product_line"] == line
    assert "product" not in found.claims.body
    wanted = {name: verdict(case, products=(name,)).accepted for name in LINES}
    assert wanted == {name: name == line for name in LINES}
    for other in LINES:
        if other != line:
            case.roots = Roots.only_software([snp_maker_of(other).certificate("ark")])
            assert refusal(case) == "chain.root"


# -- S-08 identity block, host data, author key ------------------------------------------------------------------------

PINNED = {"host_data": 32, "family_id": 16, "image_id": 16, "id_key_digest": 48, "author_key_digest": 48,
          "report_id_ma": 32, "measurement": 48}


@pytest.mark.parametrize("name", PINNED)
def test_s08_each_field_can_be_demanded_and_every_bit_of_it_counts(snp_case, name):
    size = PINNED[name]
    wanted = bytes(range(1, size + 1))
    case = snp_case(**{name: wanted}, flags=1)
    case.prepared = Prepared()
    assert verdict(case, **{name: (wanted,)}).accepted
    for bit in range(8 * size):
        other = bytearray(wanted)
        other[bit // 8] ^= 1 << bit % 8
        case.body = replace(case.body, **{name: bytes(other)})
        if bit % 8 == bit // 8 % 8:  # one bit of each byte is signed anew and judged
            assert mismatches(verdict(case, **{name: (wanted,)})) == [f"expect.{name}"]
    case.body = replace(case.body, **{name: wanted})
    for never in ((), (wanted[:-1],), (wanted + b"\x00",), (bytes(size),)):
        assert mismatches(verdict(case, **{name: never})) == [f"expect.{name}"]


def test_s08_host_data_is_the_init_data_that_was_bound(snp_case):
    wanted = bytes(range(32))
    case = snp_case(host_data=wanted)
    assert verdict(case, Binding(bytes(64), wanted)).accepted
    for other in (bytes(32), wanted[:31], wanted + bytes(32), wanted[:31] + b"\x00"):
        assert mismatches(verdict(case, Binding(bytes(64), other))) == ["binding.init_data"]


def test_s08_an_author_key_digest_needs_its_flag(snp_case):
    digest = bytes(range(48))
    assert refusal(snp_case(author_key_digest=digest)) == "report.author_key_digest"
    assert verdict(snp_case(author_key_digest=digest, flags=1), author_key_digest=(digest,)).accepted
    assert mismatches(verdict(snp_case(flags=1), author_key_digest=(digest,))) == ["expect.author_key_digest"]
    assert mismatches(verdict(snp_case(), author_key_digest=(digest,))) == ["expect.author_key_digest"]


def test_s08_no_migration_agent_is_all_ones(snp_case):
    none = b"\xff" * 32
    assert verdict(snp_case(), report_id_ma=(none,)).accepted
    assert mismatches(verdict(snp_case(report_id_ma=bytes(32)), report_id_ma=(none,))) == ["expect.report_id_ma"]


# -- S-09 version, reserved bytes, masked chip id ----------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 6, 7, 0x100, 0xFFFFFFFF])
def test_s09_versions_are_a_closed_list(snp_case, version):
    case = snp_case()
    word = version.to_bytes(4, "little")
    signed = case.maker.altered(report=lambda r: replace(r, mutate=lambda body: word + body[4:]))
    case.report = signed.report(case.body)
    assert refusal(case) == "snp_report.version"


RESERVED = {"reserved_04c": 4, "reserved_18b": 21, "reserved_1eb": 1, "reserved_1ef": 1, "reserved_208": 152,
            "reserved_330": 368}


@pytest.mark.parametrize("name", RESERVED)
@pytest.mark.parametrize("version", [2, 5])
def test_s09_every_reserved_byte_is_zero(snp_case, version, name):
    case, size = snp_case(version=version), RESERVED[name]
    case.prepared, good = Prepared(), case.body
    for position in range(size):
        case.body = replace(good, **{name: bytes(position) + b"\x01" + bytes(size - position - 1)})
        assert refusal(case) == f"report.{name}"
    case.body = good
    assert verdict(case).accepted


@pytest.mark.parametrize(("name", "reason", "versions"), [
    ("cpuid_family", "report.reserved_188", (2,)), ("cpuid_model", "report.reserved_188", (2,)),
    ("cpuid_stepping", "report.reserved_188", (2,)), ("launch_mit_vector", "report.reserved_1f8", (2, 3, 4)),
    ("current_mit_vector", "report.reserved_1f8", (2, 3, 4))])
def test_s09_each_version_has_its_own_reserved_bytes(snp_case, name, reason, versions):
    for version in versions:
        assert refusal(snp_case(version=version, **{name: 1})) == reason
    if name.endswith("vector"):
        assert verdict(snp_case(version=5, **{name: 1})).accepted


@pytest.mark.parametrize("algorithm", [0, 2, 3, 0x101, 0xFFFFFFFF])
def test_s09_there_is_one_signature_algorithm(snp_case, algorithm):
    assert refusal(snp_case(signature_algo=algorithm)) == "report.signature_algo"


@pytest.mark.parametrize("size", [0, 1, 671, 672, 1183, 1185, 1216, 2368, 4096])
def test_s09_a_report_is_never_cut_or_padded(snp_case, size):
    case = snp_case()
    case.report = case.maker.report(case.body).ljust(size, b"\x00")[:size]
    assert refusal(case) == "format.snp_report"


@pytest.mark.parametrize("line", ["Milan", "Turin"])
def test_s09_a_masked_chip_is_told_and_meets_no_demand_on_a_chip(snp_case, line):
    case = snp_case(line=line, chip_id=bytes(64))
    found = verdict(case)
    assert found.accepted
    assert found.claims.endorsement["chip_id_masked"] is True
    chip_id = case.maker.chip.hwid.ljust(64, b"\x00")
    assert mismatches(verdict(case, chip_id=(chip_id,))) == ["expect.chip_id"]
    assert verdict(snp_case(line=line), chip_id=(chip_id,)).accepted


def test_s09_the_mask_of_the_chip_key_says_nothing_of_the_chip_id(snp_case):
    masked_key = verdict(snp_case(flags=1 << 1)).claims
    assert (masked_key.body["mask_chip_key"], masked_key.endorsement["chip_id_masked"]) == (True, False)
    other = bytearray(snp_case().body.chip_id)
    other[5] ^= 1
    assert refusal(snp_case(flags=1 << 1, chip_id=bytes(other))) == "vcek.chip_id"
