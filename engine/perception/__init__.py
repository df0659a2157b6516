"""Landmark networks, tracking and semantic features: from a picture to an Observation."""
