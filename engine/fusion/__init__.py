"""Fusion of a face and a body in three modes: registration, stitching, normals."""
