"""The functions that a policy may call: a list of what is allowed, never of what is forbidden.

Allowed are pure functions. Left out on purpose: what reaches the network, the environment, the clock or randomness
(``http.send``, ``opa.runtime``, ``net.lookup_ip_addr``, ``time.now_ns``, ``rand.intn``, ``uuid.rfc4122``), what prints
(``print``, ``trace``), what signs or handles keys (``io.jwt.*``, ``crypto.x509.*``), and what makes much out of little
(``numbers.range``, ``bits.lsh``, ``net.cidr_expand``, ``yaml.unmarshal``).

Left out as well is what rego-cpp does without a bound, or not at all, for arguments that a guest may choose:
``regex.*`` backtracks for ever and overflows the stack on long text, ``json.unmarshal`` and ``time.parse_ns`` take time
that grows with the square, ``object.subset`` ends the process for an empty list. Use ``startswith``, ``glob.match`` or
``in`` instead.
"""

from __future__ import annotations

ALLOWED = frozenset({
    "abs", "ceil", "div", "floor", "minus", "mul", "plus", "rem", "round",
    "equal", "gt", "gte", "lt", "lte", "neq", "internal.member_2", "internal.member_3",
    "and", "intersection", "or", "union",
    "count", "max", "min", "product", "sort", "sum",
    "array.concat", "array.reverse", "array.slice",
    "object.filter", "object.get", "object.keys", "object.remove", "object.union", "object.union_n",
    "concat", "contains", "endswith", "format_int", "indexof", "indexof_n", "lower", "replace", "split", "sprintf",
    "startswith",
    "strings.any_prefix_match", "strings.any_suffix_match", "strings.count", "strings.replace_n", "strings.reverse",
    "substring",
    "trim", "trim_left", "trim_prefix", "trim_right", "trim_space", "trim_suffix", "upper",
    "glob.match", "glob.quote_meta",
    "is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string", "to_number", "type_name",
    "base64.decode", "base64.encode", "base64.is_valid", "base64url.decode", "base64url.encode",
    "base64url.encode_no_pad",
    "hex.decode", "hex.encode",
    "json.filter", "json.marshal", "json.patch", "json.remove",
    "urlquery.decode", "urlquery.encode",
    "crypto.sha256",
    "bits.and", "bits.negate", "bits.or", "bits.rsh", "bits.xor",
    "time.add_date", "time.clock", "time.date", "time.diff", "time.format", "time.parse_duration_ns",
    "time.parse_rfc3339_ns", "time.weekday",
    "semver.compare", "semver.is_valid", "units.parse", "units.parse_bytes", "uuid.parse",
    "graph.reachable", "walk",
})
