"""Init data: exact bytes, one algorithm, one placement per TEE, and no document that takes long to refuse."""

from __future__ import annotations

import hashlib
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbs.errors import MalformedRequest, TooLarge, UnsupportedTee
from kbs.protocol import init_data

DOCUMENT = b'''# the pod's configuration
version = "0.1.0"
algorithm = "sha-384"

[data]
"aa.toml" = \'\'\'
[token_configs.kbs]
url = "https://kbs.example"
\'\'\'
"policy.rego" = """
package policy  # it's "quoted"
default allow = false
"""
'''


def refused(body: bytes) -> str:
    with pytest.raises(MalformedRequest) as caught:
        init_data.parse(body)
    return caught.value.id


def test_document_is_read_and_digested_over_its_exact_bytes() -> None:
    read = init_data.parse(DOCUMENT)
    assert read.data["aa.toml"].startswith("[token_configs.kbs]\n")
    assert set(read.data) == {"aa.toml", "policy.rego"}
    assert read.digest == hashlib.sha384(DOCUMENT).digest()


@pytest.mark.parametrize("spelling", ["sha256", "sha-256", "sha384", "sha-384", "sha512", "sha-512"])
def test_algorithm_and_its_alias_select_the_hash(spelling: str) -> None:
    body = f'version="0.1.0"\nalgorithm="{spelling}"\n[data]\n'.encode()
    assert init_data.parse(body).digest == hashlib.new(spelling.replace("-", ""), body).digest()


@pytest.mark.parametrize("change", [lambda body: body + b"\n", lambda body: body.replace(b"\n", b"\r\n"),
                                    lambda body: body.replace(b"# the", b"# The")])
def test_change_without_meaning_changes_the_digest(change: object) -> None:
    changed = change(DOCUMENT)  # type: ignore[operator]
    assert init_data.parse(changed).digest != init_data.parse(DOCUMENT).digest


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "SHA384", "sha3-384", "", "sha--384"])
def test_other_algorithm_is_refused(algorithm: str) -> None:
    assert refused(f'version="0.1.0"\nalgorithm="{algorithm}"\n'.encode()) == "protocol.init_data.algorithm"


@pytest.mark.parametrize(("body", "id"), [
    (b'algorithm="sha384"\n', "version"),
    (b'version="0.2.0"\nalgorithm="sha384"\n', "version"),
    (b'version=1\nalgorithm="sha384"\n', "version"),
    (b'version="0.1.0"\n', "algorithm"),
    (b'version="0.1.0"\nalgorithm=["sha384"]\n', "algorithm"),
    (b'version="0.1.0"\nalgorithm="sha384"\nextra="x"\n', "members"),
    (b'version="0.1.0"\nalgorithm="sha384"\n[other]\n', "members"),
    (b'version="0.1.0"\nalgorithm="sha384"\ndata="x"\n', "data"),
    (b'version="0.1.0"\nalgorithm="sha384"\n[data]\na=1\n', "data"),
    (b'version="0.1.0"\nalgorithm="sha384"\n[data]\na.b="x"\n', "data"),
    (b'version="0.1.0"\nalgorithm="sha384"\n[data]\n[data]\n', "toml"),
    (b'version="0.1.0"\nalgorithm="sha384"\n[data]\na="x"\na="y"\n', "toml"),
    (b'version="0.1.0"\nversion="0.1.0"\nalgorithm="sha384"\n', "toml"),
    (b'\xff', "toml"),
    (b'{"version":"0.1.0"}', "toml"),
    (b'version="0.1.0', "toml"),
    (b'x=' + b"[" * 900 + b"]" * 900, "structure"),
])
def test_other_documents_are_refused(body: bytes, id: str) -> None:
    assert refused(body) == f"protocol.init_data.{id}"


@pytest.mark.parametrize("name", ["../aa.toml", "/etc/passwd", ".", "..", "", "a b", "a\\n"])
def test_entry_that_is_no_file_name_is_refused(name: str) -> None:
    assert refused(f'version="0.1.0"\nalgorithm="sha384"\n[data]\n"{name}"="x"\n'.encode()) == (
        "protocol.resource.init_data_name")


def test_size_is_bounded() -> None:
    with pytest.raises(TooLarge) as caught:
        init_data.parse(b"#" * (init_data.MAX_INIT_DATA_BYTES + 1))
    assert caught.value.id == "protocol.init_data.size"


@pytest.mark.parametrize(("tee", "size"), [("tdx", 48), ("snp", 32), ("sgx", 64), ("cca", 64), ("csv", 64)])
@pytest.mark.parametrize("digest_size", [32, 48, 64])
def test_digest_is_cut_at_its_end_or_followed_by_zeros(tee: str, size: int, digest_size: int) -> None:
    digest = bytes(range(1, digest_size + 1))
    field = init_data.field_for(tee, digest)
    assert len(field) == size
    assert field == (digest + bytes(64))[:size]


@pytest.mark.parametrize("tee", ["tpm", "az-snp-vtpm", "az-tdx-vtpm"])
def test_a_tpms_register_is_extended_once_from_zero(tee: str) -> None:
    # SHA-256 (by OpenSSL) over 32 zeros and the SHA-256 of nothing.
    digest = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    assert init_data.field_for(tee, digest).hex() == (
        "1c9ecec90e28d2461650418635878a5c91e49f47586ecf75f2b0cbb94e897112")


@pytest.mark.parametrize("tee", ["tpm", "az-snp-vtpm", "az-tdx-vtpm"])
@pytest.mark.parametrize("size", [0, 31, 33, 48, 64])
def test_a_digest_that_no_register_takes_is_refused(tee: str, size: int) -> None:
    with pytest.raises(MalformedRequest) as caught:
        init_data.field_for(tee, bytes(size))
    assert caught.value.id == "protocol.init_data.algorithm"


@pytest.mark.parametrize("tee", ["sample", "nitro", "nvidia", "se", ""])
def test_tee_without_a_field_is_refused_rather_than_skipped(tee: str) -> None:
    with pytest.raises(UnsupportedTee) as caught:
        init_data.parse(DOCUMENT).field_for(tee)
    assert caught.value.id == "protocol.init_data.tee"


MIB = init_data.MAX_INIT_DATA_BYTES


@pytest.mark.parametrize("body", [
    b"a." * (MIB // 2 - 8) + b"b='x'", b"[" + b"a." * (MIB // 2 - 8) + b"b]", b"x=" + b"[" * 2000,
    b'\\"""\n' * (MIB // 5), b'"""\\' * (MIB // 4), b"'''x" * (MIB // 4), b"'x\n" * (MIB // 3), b"[a]\n" * (MIB // 4),
    b"".join(b"k%d=1\n" % number for number in range(MIB // 10)), b"x = " + b"{a=" * 2000,
    b'version="0.1.0"\nalgorithm="sha384"\n[data]\n' + b"''=''\n" * 100,
], ids=range(11))
def test_document_built_to_take_long_is_refused_before_it_is_read(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(tomllib, "loads", lambda text: seen.append(text) or {})
    assert refused(body) in ("protocol.init_data.structure", "protocol.init_data.toml", "protocol.init_data.version")
    assert all(len(text) < 2048 for text in seen)


TOML_TEXT = st.lists(st.sampled_from(
    ['"', "'", '"""', "'''", "\\", "\n", "#", "=", "[", "]", ".", "a", "data", "version", ' = "0.1.0"', "x='y'", "\r"],
), max_size=30).map("".join)


@given(TOML_TEXT)
def test_no_document_is_refused_for_its_structure_that_toml_would_take(text: str) -> None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    init_data._bound_structure(text)


@given(st.binary(max_size=200) | TOML_TEXT.map(str.encode))
def test_no_bytes_raise_anything_undocumented(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        init_data.parse(body)


def test_largest_document_of_one_long_text_is_read() -> None:
    head = b'version="0.1.0"\nalgorithm="sha256"\n[data]\n"policy.rego" = """'
    body = head + b'a.b["c"] # \\"\n' * ((MIB - len(head) - 3) // 14) + b'"""'
    assert len(init_data.parse(body).data["policy.rego"]) > MIB // 2
