"""The errors the engine raises on purpose: one sentence each, naming the cause and the cure.

Anything that a user, a file or a peer can cause is an :class:`AvatarError`; the command line
prints it as one line and exits. Every other exception is a defect of ours.
"""


class AvatarError(Exception):
    """Base of every error that bad input can cause. The message says what was expected."""


class ModelFileError(AvatarError):
    """A model file is missing, damaged, or not of the expected shape."""


class SourceError(AvatarError):
    """A camera, video or picture cannot be opened or read."""


class GraphicsError(AvatarError):
    """No usable OpenGL context."""


class SetupError(AvatarError):
    """Set-up cannot finish: no network, no disk space, a download that fails its checksum."""


class PeerError(AvatarError):
    """A remote peer sent something that the protocol does not allow, or went away."""
