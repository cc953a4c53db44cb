"""Gives generated tests their rules: the same examples in every run, and none fails for being slow."""

from hypothesis import settings

settings.load_profile("ci")  # its deadline of 200 ms is off: a pause of the machine is no failure
