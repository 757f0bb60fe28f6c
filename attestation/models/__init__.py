"""Sealed model weights: files encrypted in chunks, opened only with a key that the broker released.

Rules of the room:

- The header is authenticated before anything it says is used, each chunk before any byte of it is handed out. A read
  that fails leaves zeros in the caller's buffer, never plaintext that nobody vouched for.
- Ciphertext is copied out of the file once and both authenticated and decrypted from that copy, so a file that changes
  while it is read can only make the read fail.
- A chunk belongs to one place in one sealing: header digest, index and count are bound to its tag. Every sealing has a
  salt of its own and with it a key of its own, so counters can serve as nonces.
- What was decrypted is still parsed strictly: the sealer is trusted with the weights, not with our memory.
- Keys are 32 bytes from a `KeySource`; they appear in no argument, message or repr. Python cannot wipe them from
  memory.
- Plaintext belongs in guest memory: whoever opens a model into a folder chooses one that the host cannot read.

The format is described in docs/formats/sealed-file.md.
"""
