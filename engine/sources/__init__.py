"""Where frames come from: webcams, videos, pictures, and the performer with its exact truth."""

from __future__ import annotations

from engine.sources.opening import open_source
from engine.sources.source import Source

__all__ = ["Source", "open_source"]
