"""The owner's rules, and the engine that runs them.

Rules of the room: a policy is text from an administrator and never trusted with more than its answer. It has no clock,
no randomness, no network, no environment; it is bounded in size, as is its input. What it leaves undefined is None,
and None is never a yes. The room knows neither TEEs nor checks nor results: it is used for the appraisal of evidence
here and for the release of secrets by the broker.

    engine.py     the port: compile, evaluate, and the one error
    rego.py       the adapter: Rego policies, compiled, pooled for threads
    native.py     the door to rego-cpp; native_input.py hands values through it
    source.py     Rego text as tokens: bounds before it is parsed, and what is read under `data`
    builtins.py   the functions that a policy may call
    plan.py       what a compiled policy calls; reads.py: what it can read of its input
    review.py     what an administrator should hear about a policy before it is stored; lint.py finds names that lead
                  nowhere; sandbox.py runs it all in a child process
    defaults/     the policies that hold where the owner sets none; examples/ those that an owner must choose by name
"""
