from verifier.trail import Check, Trail  # moved; removed once nobody imports it from here

__all__ = ["Check", "Trail"]
