"""Other people's morphable heads, turned into :class:`engine.avatar.MorphableModel`."""
