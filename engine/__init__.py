"""Frames in, fused meshes out. Knows nothing of networks, windows or the wire."""

import os

# The cores belong to the trackers' own threads. Small products shared out among threads that wait
# for a busy core take fifty times as long as on one. Read when NumPy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
