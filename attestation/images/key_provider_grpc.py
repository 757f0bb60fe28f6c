"""The key provider protocol over gRPC: ``keyprovider.KeyProviderService`` with ``WrapKey`` and ``UnWrapKey``.

Request and response are protobuf messages with one ``bytes`` field, number 1, which holds the JSON of `key_provider`.
That is little enough to be read and written here without generated code. The service has no authentication of its own,
so it listens on the loopback interface or a Unix socket only. Needs the extra ``grpc``.
"""

from __future__ import annotations

import importlib
import ipaddress
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from attestation.errors import AttestationError, MalformedImage, SetupError
from attestation.images.key_provider import KEY_UNWRAP, KEY_WRAP, MAX_REQUEST_BYTES, KeyProvider

SERVICE = "keyprovider.KeyProviderService"
METHODS = {"WrapKey": KEY_WRAP, "UnWrapKey": KEY_UNWRAP}
# Field number 1, wire type 2: length-delimited.
_FIELD = 0x0A
_MAX_VARINT_BYTES = 5


def serve(provider: KeyProvider, address: str, *, workers: int = 4) -> tuple[Any, int]:
    """Start a server on ``address`` (``127.0.0.1:port``, ``[::1]:port``; port 0 chooses one; or ``unix:/path``).

    Returns the running ``grpc.Server``, to be stopped by the caller, and its port (0 for a Unix socket). Raises
    `SetupError` for another address, or without grpcio.
    """
    _must_be_local(address)
    grpc = _grpc()
    handlers = {name: grpc.unary_unary_rpc_method_handler(_method(provider, operation, grpc))
                for name, operation in METHODS.items()}
    server = grpc.server(ThreadPoolExecutor(workers, thread_name_prefix="key-provider"),
                         options=[("grpc.max_receive_message_length", MAX_REQUEST_BYTES + 16),
                                  # Or another process of this user could take over part of the requests.
                                  ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        raise SetupError("image.key_provider.address", "cannot listen on this address", got=address) from None
    server.start()
    return server, int(port) if not address.startswith("unix:") else 0


def encode(data: bytes) -> bytes:
    """The protobuf message whose field 1 is ``data``."""
    length, varint = len(data), bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([_FIELD]) + bytes(varint) + bytes([length]) + data


def decode(message: bytes) -> bytes:
    """Field 1 of a message that holds nothing else. Raises `MalformedImage`."""
    length, start = _length(message)
    data = message[start:]
    if message[:1] != bytes([_FIELD]) or len(data) != length:
        raise _malformed(f"{length} bytes", f"{len(data)} bytes")
    return data


def _length(message: bytes) -> tuple[int, int]:
    """The varint after the field's tag, in its shortest form, and where the data begins."""
    length = 0
    for number, octet in enumerate(message[1:1 + _MAX_VARINT_BYTES]):
        length |= (octet & 0x7F) << 7 * number
        if octet < 0x80:
            if number and not octet:
                break
            return length, 2 + number
    raise _malformed("a length", "none")


def _malformed(expected: str, got: str) -> MalformedImage:
    return MalformedImage("image.key_provider.message", "not a message with exactly one bytes field 1",
                          expected=expected, got=got)


def _method(provider: KeyProvider, operation: str, grpc: Any) -> Callable[[bytes, Any], bytes]:
    def call(message: bytes, context: Any) -> bytes:
        try:
            return encode(provider.answer(decode(message), operation))
        except AttestationError as error:
            # The caller is the local image tool; which rule refused is what its user needs to read.
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
            raise  # abort has raised already

    return call


def _must_be_local(address: str) -> None:
    if address.startswith("unix:"):
        return
    host = address.rpartition(":")[0].strip("[]")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise SetupError("image.key_provider.address", "keys are given out to this machine only",
                         expected="127.0.0.1:PORT, [::1]:PORT or unix:PATH", got=address)


def _grpc() -> Any:
    try:
        return importlib.import_module("grpc")
    except ImportError:
        raise SetupError("image.key_provider.grpc", "the gRPC key provider needs the extra grpc: "
                                                    "pip install 'attestkit[grpc]'") from None
