"""Names of resources.

A `ResourcePath` is what storage and policies see: three validated segments. A `ResourceUri` is what guests are given:
``kbs:///repository/type/tag``, ``kbs://host:port/…``, ``kbs+<plugin>:///path?query``, or the bare path with or without
its leading slash. Nothing here is percent-decoded: whoever holds an encoded form decodes it once before it comes here,
and a ``%`` is in no segment's alphabet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kbs.errors import MalformedRequest

MAX_SEGMENT_BYTES = 255
MAX_URI_BYTES = 2048
RESOURCE_PLUGIN = "resource"

_SEGMENT = re.compile(r"[a-zA-Z0-9_-][a-zA-Z0-9_.-]{0,254}\Z", re.ASCII)
_PLUGIN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z", re.ASCII)
_URI = re.compile(r"kbs(?:\+(?P<plugin>[^:/]*))?://(?P<host>[^/?]*)(?P<path>/[^?]*)(?:\?(?P<query>.*))?\Z", re.DOTALL)
_HOST = re.compile(r"(?:[a-zA-Z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?\Z", re.ASCII)
_QUERY = re.compile(r"[a-zA-Z0-9._~!$'()*,;:@/?%&=+-]*\Z", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class ResourcePath:
    """One stored secret. Each segment matches ``[a-zA-Z0-9_-][a-zA-Z0-9_.-]*`` whole and has at most 255 bytes.

    Making one from anything else raises `MalformedRequest`, id ``protocol.resource.<segment>``.
    """

    repository: str
    type: str
    tag: str

    def __post_init__(self) -> None:
        for name in ("repository", "type", "tag"):
            require_segment(getattr(self, name), name)

    @property
    def path(self) -> str:
        """``repository/type/tag``."""
        return f"{self.repository}/{self.type}/{self.tag}"

    def __str__(self) -> str:
        return f"kbs:///{self.path}"

    @classmethod
    def parse(cls, text: str) -> ResourcePath:
        """From any of the forms of a `ResourceUri` of the plugin ``resource``; a host in it is dropped."""
        uri = ResourceUri.parse(text)
        if uri.plugin != RESOURCE_PLUGIN or uri.query:
            raise MalformedRequest("protocol.resource.plugin", "names no stored resource", expected=RESOURCE_PLUGIN,
                                   got=uri.plugin)
        return cls.from_segments(uri.segments)

    @classmethod
    def from_segments(cls, segments: tuple[str, ...]) -> ResourcePath:
        """From exactly three segments."""
        if len(segments) != 3:
            raise MalformedRequest("protocol.resource.path", "a resource has exactly three segments", expected=3,
                                   got=len(segments))
        return cls(*segments)


@dataclass(frozen=True, slots=True)
class ResourceUri:
    """What a guest asks a broker for: a plugin, one to eight path segments, a query (without ``?``, may be empty).

    host: the ``host[:port]`` of the URI or an empty string. It decides nothing: a guest talks to the broker it was
    configured with.
    """

    plugin: str
    segments: tuple[str, ...]
    query: str = ""
    host: str = ""

    @classmethod
    def parse(cls, text: str) -> ResourceUri:
        """Raises `MalformedRequest`, id ``protocol.resource.uri`` or of the segment at fault."""
        if len(text) > MAX_URI_BYTES:
            raise MalformedRequest("protocol.resource.uri", "the name is too long", expected=f"<= {MAX_URI_BYTES}",
                                   got=len(text))
        if not text.startswith(("kbs:", "kbs+")):
            return cls(RESOURCE_PLUGIN, _segments(text.removeprefix("/")))
        match = _URI.match(text)
        if match is None:
            raise MalformedRequest("protocol.resource.uri", "is no resource URI",
                                   expected="kbs[+plugin]://[host]/path[?query]")
        plugin, host, query = match["plugin"] or "", match["host"], match["query"] or ""
        if match["plugin"] is None:
            plugin = RESOURCE_PLUGIN
        if not _PLUGIN.match(plugin) or (host and not _HOST.match(host)) or not _QUERY.match(query):
            raise MalformedRequest("protocol.resource.uri", "plugin, host or query has characters it may not have")
        return cls(plugin, _segments(match["path"][1:]), query, host)

    @property
    def target(self) -> str:
        """The path and query below ``/kbs/v0``, without leading slash."""
        path = "/".join((self.plugin, *self.segments))
        return f"{path}?{self.query}" if self.query else path


def require_segment(text: str, name: str) -> None:
    """Raises `MalformedRequest` unless ``text`` is a segment. None begins with a dot, so ``.`` and ``..`` are not."""
    if not _SEGMENT.match(text):
        raise MalformedRequest(f"protocol.resource.{name}", f"{name} is no valid segment",
                               expected="[a-zA-Z0-9_-][a-zA-Z0-9_.-]*, at most 255 bytes")


def _segments(path: str) -> tuple[str, ...]:
    segments = tuple(path.split("/"))
    if len(segments) > 8:
        raise MalformedRequest("protocol.resource.path", "the path has too many segments", expected="<= 8",
                               got=len(segments))
    for segment in segments:
        require_segment(segment, "segment")
    return segments
