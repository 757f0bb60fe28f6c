"""HTTP: parse, call a service, serialise.

Rules of the room: no decision is taken here but who may call what (`access`), how much of a body is read (`reading`),
how often (`rate_limit`) and which status an error becomes (`problems`). A route without a declared access class cannot
be registered.
"""
