"""The parametric body, its fused topology, its skin, and the base avatar's file."""
