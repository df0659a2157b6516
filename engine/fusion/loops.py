"""Open boundaries of a mesh as closed loops of vertices."""

from __future__ import annotations

import numpy as np

from engine.errors import ModelFileError
from engine.types import I32


def closed_loops(edges: I32) -> list[I32]:
    """Directed boundary edges (E, 2) strung together, the longest loop first.

    Raises:
        ModelFileError: a vertex where two boundaries touch, or an end that leads nowhere.
    """
    following = dict(edges.tolist())
    if len(following) != len(edges) or set(following.values()) != set(following):
        raise ModelFileError(
            "the boundary of a region is not made of simple closed loops, so nothing can be "
            "stitched to it; take away triangles that touch the rest at one vertex only"
        )
    loops = []
    while following:
        loop = [next(iter(following))]
        while loop[-1] in following:
            loop.append(following.pop(loop[-1]))
        loops.append(np.array(loop[:-1], np.int32))
    return sorted(loops, key=len, reverse=True)
