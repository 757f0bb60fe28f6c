"""Who may have which secret?

The key broker service: the relying party that releases a secret to a pod only after the pod's evidence was verified and
a policy allowed it. `kbs.protocol` is the treaty with the guest and is used by both ends; the rest is the broker alone.
Importing this package loads nothing else.
"""
