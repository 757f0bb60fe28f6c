"""What users test their own setups with: a stand-in for the makers' services, able to be as bad as services can be.

Rules of the room: for tests. What is served here is signed by makers that nobody trusts until told to.
"""
