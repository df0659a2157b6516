"""Frames in, fused meshes out. Knows nothing of networks, windows or the wire."""
