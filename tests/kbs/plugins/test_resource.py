"""Stored secrets under three segments."""

from __future__ import annotations

import pytest

from kbs.errors import MalformedRequest, ResourceNotFound
from kbs.plugins.resource import SPACE, ResourcePlugin
from kbs.storage.memory import MemoryStorage


@pytest.fixture
def storage():
    return MemoryStorage()


@pytest.fixture
def plugin(storage):
    return ResourcePlugin(storage)


def test_newest_version_is_located_and_that_very_version_opened(storage, plugin):
    storage.put(SPACE, "a/b/c", b"1")
    storage.put(SPACE, "a/b/c", b"2")
    located = plugin.locate(("a", "b", "c"), "")
    assert (located.name, located.version) == ("a/b/c", 2)
    storage.put(SPACE, "a/b/c", b"3")
    assert plugin.open(located) == b"2"


def test_absent_resource_is_not_found(storage, plugin):
    with pytest.raises(ResourceNotFound) as refused:
        plugin.locate(("a", "b", "c"), "")
    assert refused.value.id == "resource.absent"
    storage.put(SPACE, "a/b/c", b"1")
    located = plugin.locate(("a", "b", "c"), "")
    storage.delete(SPACE, "a/b/c")
    with pytest.raises(ResourceNotFound):
        plugin.open(located)


@pytest.mark.parametrize("path", [
    (), ("a",), ("a", "b"), ("a", "b", "c", "d"), ("a", "b", ""), ("..", "b", "c"), ("a", ".", "c"), (".a", "b", "c"),
    ("a/b", "c", "d"), ("a", "b", "c\n"), ("a", "b", "c\x00"), ("a", "b\\", "c"), ("a", "b", "%2e"),
    ("a", "b", "\uff43"), ("a", "b", "x" * 256), ("a b", "c", "d"),
])
def test_what_is_no_path_is_refused(storage, plugin, path):
    with pytest.raises(MalformedRequest) as refused:
        plugin.locate(path, "")
    assert refused.value.id.startswith("protocol.resource.")


def test_query_is_refused(plugin):
    with pytest.raises(MalformedRequest) as refused:
        plugin.locate(("a", "b", "c"), "x=1")
    assert refused.value.id == "resource.query"
