"""Where the broker keeps what must outlive a request.

Rules of the room: `base` is the port and says what every adapter promises; adapters do not know each other; `sealed`
wraps any of them. Keys are names, never paths of a file system. What is acknowledged is durable as far as the adapter's
documentation says, and a value is seen whole or not at all.
"""
