"""Answers that a policy has given, to be given again.

Rules: only the answer to the very same text of the very same members is taken; nothing is kept of a policy that came to
no answer; a caller gets a value of its own; memory is bounded.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

from verifier.policy.native_input import json_text

MAX_ANSWERS = 1024
# Larger ones are given again by running the policy.
MAX_ANSWER_CHARACTERS = 16 * 1024


class Answers:
    """Of one query of one policy under one set of reference values: the last ``capacity`` of them.

    Safe to share between threads.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[bytes, str] = OrderedDict()
        self._lock = Lock()

    def of(self, read: Any, ask: Callable[[], Any]) -> Any:
        """The answer to ``read``, all that the query can read of its input; ``ask`` runs the policy.

        Raises `PolicyError` as ``ask`` does, and for what is no JSON value.
        """
        key = hashlib.sha256(json_text(read).encode("utf-8", "surrogatepass")).digest()
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        if kept is not None:
            return json.loads(kept)
        answer = ask()
        self._keep(key, json.dumps(answer))
        return answer

    def _keep(self, key: bytes, text: str) -> None:
        if len(text) > MAX_ANSWER_CHARACTERS:
            return
        with self._lock:
            self._kept[key] = text
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
