"""What the owner says that genuine evidence looks like.

Rules of the room: a reference value is a name with the values an attester may show under it. Nothing here decides; a
policy asks by name. A value that has expired is not there, and nothing that is not there ever matches. The room knows
neither TEEs nor policies.

    model.py        `ReferenceValue`, and `ReferenceValues`: the frozen set that an appraisal reads
    extractors.py   from what a provider sends (sample, plain JSON) to reference values
    provider.py     the message that registers them, and a store of them in memory
"""
