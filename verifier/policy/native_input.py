"""JSON values on their way into rego-cpp.

regopy's own `Input` takes strings as they are, although the engine keeps them in their escaped form, and cuts integers
to 64 bits. Both would let a value change its meaning on the way; here strings are escaped, and what the quick way
cannot carry exactly (floats, longer integers) takes the exact one, as JSON text.

The functions are those of rego-cpp's C API (``rego_c.h``). They are called with the interpreter lock held, unlike
regopy's: a value takes a hundred calls of half a microsecond, and giving the lock away at each would let every other
thread in between.
"""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

from verifier.policy.engine import PolicyError
from verifier.policy.native import rego as rego_shared

MAX_INPUT_BYTES = 1024 * 1024
MAX_DEPTH = 64
# What a value counts beside its text, so that a million empty lists are not free.
_NODE_BYTES = 32
# The exact way costs the square of these; at the bounds about ten milliseconds.
MAX_EXACT_VALUES = 1000
MAX_EXACT_BYTES = 32 * 1024

_INT64 = range(-(1 << 63), 1 << 63)
_POINTER = ctypes.c_void_p
_library = ctypes.PyDLL(rego_shared.path)


def _function(name: str, *arguments: Any, result: Any = ctypes.c_uint32) -> Any:
    function = getattr(_library, name)
    function.argtypes, function.restype = arguments, result
    return function


_new = _function("regoNewInput", result=_POINTER)
_free = _function("regoFreeInput", _POINTER, result=None)
_set = _function("regoSetInput", _POINTER, _POINTER)
_set_text = _function("regoSetInputTerm", _POINTER, ctypes.c_char_p)
_string = _function("regoInputString", _POINTER, ctypes.c_char_p)
_integer = _function("regoInputInt", _POINTER, ctypes.c_int64)
_boolean = _function("regoInputBoolean", _POINTER, ctypes.c_bool)
_null = _function("regoInputNull", _POINTER)
_item = _function("regoInputObjectItem", _POINTER)
_object = _function("regoInputObject", _POINTER, ctypes.c_uint32)
_array = _function("regoInputArray", _POINTER, ctypes.c_uint32)


class NativeInput:
    """A JSON value as the engine takes it.

    Raises `PolicyError` (``policy.input``) for what is no JSON value, is larger than `MAX_INPUT_BYTES` or nests deeper
    than `MAX_DEPTH`.
    """

    __slots__ = ("_handle", "_text")

    def __init__(self, value: Mapping[str, Any]) -> None:
        self._handle = _new()
        writer = _Writer(self._handle)
        writer.put(value, 0)
        self._text = None if writer.exact else _exact(value, writer.count)

    def __del__(self) -> None:
        _free(self._handle)

    def hand_to(self, interpreter: int) -> None:
        """Make this the interpreter's ``input``. Raises `PolicyError`."""
        if self._text is None:
            _taken(_set(interpreter, self._handle))
        else:
            _taken(_set_text(interpreter, self._text))


def _exact(value: Mapping[str, Any], count: int) -> bytes:
    text = json_text(value).encode()
    if count > MAX_EXACT_VALUES or len(text) > MAX_EXACT_BYTES:
        raise PolicyError("policy.input", "fractions and numbers beyond 64 bits are taken in small inputs only",
                          expected=f"<= {MAX_EXACT_VALUES} values and {MAX_EXACT_BYTES} bytes",
                          got=f"{count} values and {len(text)} bytes")
    return text


def json_text(value: Any) -> str:
    """``value`` as JSON, escaped as in `_Writer`. Raises `PolicyError` for what JSON does not have."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise PolicyError("policy.input", f"not a JSON value: {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


class _Writer:
    """Puts values on the stack of one native input, within bounds; a container takes its elements off it again.

    ``exact`` is False once a number came that this way cannot carry; a null then stands in its place. ``count`` is the
    number of values so far, keys included.
    """

    __slots__ = ("_handle", "_left", "count", "exact")

    def __init__(self, handle: int) -> None:
        self._handle = _POINTER(handle)
        self._left = MAX_INPUT_BYTES
        self.count = 0
        self.exact = True

    def put(self, value: Any, depth: int) -> None:
        """``value``, which lies ``depth`` containers deep. Raises `PolicyError`."""
        if isinstance(value, str):
            self._put_text(value)
        elif isinstance(value, Mapping):
            self._put_mapping(value, depth)
        elif isinstance(value, list | tuple):
            self._put_sequence(value, depth)
        elif not self._put_plain(value):
            raise PolicyError("policy.input", "not a JSON value", got=type(value).__name__)

    def _put_text(self, value: str) -> None:
        try:
            text = encode_basestring(value)[1:-1].encode("utf-8")
        except UnicodeEncodeError:
            raise PolicyError("policy.input", "text must be Unicode") from None
        self._spend(len(text))
        _taken(_string(self._handle, text))

    def _put_mapping(self, value: Mapping[Any, Any], depth: int) -> None:
        self._enter(depth)
        for key, item in value.items():
            if not isinstance(key, str):
                raise PolicyError("policy.input", "keys must be text", got=type(key).__name__)
            self._put_text(key)
            self.put(item, depth + 1)
            _taken(_item(self._handle))
        _taken(_object(self._handle, len(value)))

    def _put_sequence(self, value: list[Any] | tuple[Any, ...], depth: int) -> None:
        self._enter(depth)
        for item in value:
            self.put(item, depth + 1)
        _taken(_array(self._handle, len(value)))

    def _put_plain(self, value: Any) -> bool:
        """A value without elements; False for what JSON does not have."""
        self._spend(0)
        if isinstance(value, bool):
            _taken(_boolean(self._handle, value))
        elif isinstance(value, int) and value in _INT64:
            _taken(_integer(self._handle, value))
        elif value is None:
            _taken(_null(self._handle))
        elif isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
            self.exact = False
            _taken(_null(self._handle))
        else:
            return False
        return True

    def _enter(self, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise PolicyError("policy.input", "the input nests too deeply", expected=f"<= {MAX_DEPTH}")
        self._spend(0)

    def _spend(self, size: int) -> None:
        """Count one value with ``size`` bytes of text."""
        self.count += 1
        self._left -= size + _NODE_BYTES
        if self._left < 0:
            raise PolicyError("policy.input", "the input is too large", expected=f"<= {MAX_INPUT_BYTES} bytes")


def _taken(failed: int) -> None:
    if failed:
        raise PolicyError("policy.input", "the engine did not take the input")
