"""Copy-paste fusion: a denser face stitched into the body, and its normals."""
