"""Avatars over the wire: protocol and codecs, WebRTC server and client."""
