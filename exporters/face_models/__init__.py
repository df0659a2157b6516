"""Morphable heads of other makers, read into :mod:`engine.avatar.morphable_model`."""
