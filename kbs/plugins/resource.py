"""Stored secrets: ``/kbs/v0/resource/<repository>/<type>/<tag>``."""

from __future__ import annotations

from kbs.errors import MalformedRequest, ResourceNotFound
from kbs.plugins.base import Located
from kbs.protocol.resource_uri import RESOURCE_PLUGIN, ResourcePath
from kbs.storage.base import Storage

SPACE = "resource"


class ResourcePlugin:
    """What administrators stored under three segments; always the newest version."""

    name = RESOURCE_PLUGIN

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def locate(self, path: tuple[str, ...], query: str) -> Located:
        """See `Plugin.locate`."""
        if query:
            raise MalformedRequest("resource.query", "a stored resource takes no query")
        name = ResourcePath.from_segments(path).path
        versions = self._storage.versions(SPACE, name)
        if not versions:
            raise ResourceNotFound("resource.absent", "nothing is stored under this name")
        return Located(name, versions[-1].version)

    def open(self, located: Located) -> bytes:
        """See `Plugin.open`."""
        record = self._storage.get(SPACE, located.name, located.version)
        if record is None:
            raise ResourceNotFound("resource.absent", "nothing is stored under this name")
        return record.value
