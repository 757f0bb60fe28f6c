"""Encrypted OCI images: layouts on disk, layers in the ocicrypt format, the keys that open them.

Rules of the room:

- No plaintext leaves before its HMAC holds: a layer is authenticated as a whole, then decrypted into a private folder,
  and nothing appears under the target's name until every layer, digest and diff_id of the image has passed.
- What a layer's owner did not authenticate decides nothing: public cipher options are refused, key ids only select.
- One document, one reading: members that another parser would read differently (equal names, other letter case, both
  ``manifests`` and ``layers``) are refused, and no path is built from text that is not a checked digest.
- Encrypting a layer says nothing of the layers around it. Whoever needs the whole image to be the owner's pins the
  manifest's digest (``expected_digest``) from a measured policy or a verified signature.
- The target belongs in guest memory or on an encrypted disk: nothing here can tell whether the host shares the folder.
"""
