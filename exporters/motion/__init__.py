"""A run's motion as files: GLB animation, AMASS-like ``.npz``, BVH and CSV."""
