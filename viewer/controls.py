"""What keys and the mouse change: the viewer's settings as one immutable value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from viewer.orbit import pan, turn, zoom
from viewer.scene import View


@dataclass(frozen=True, slots=True)
class Controls:
    """Everything the user can change while looking."""

    view: View = field(default_factory=View)
    framing: str | None = "body"
    """Of ``viewer.scene.FRAMINGS``, to be applied to the next mesh; None: as the user left it."""
    show_camera: bool = True
    show_statistics: bool = False
    show_help: bool = False


FRAMING_KEYS = {"1": "body", "2": "face", "3": "side", "4": "back"}


def press(controls: Controls, key: str) -> Controls:
    """The controls after a character was typed; unknown keys change nothing."""
    view = controls.view
    match key.lower():
        case "c":
            return replace(controls, show_camera=not controls.show_camera)
        case "s":
            return replace(controls, show_statistics=not controls.show_statistics)
        case "h":
            return replace(controls, show_help=not controls.show_help)
        case "m":
            return replace(controls, view=replace(view, mirror=not view.mirror))
        case "w":
            return replace(controls, view=replace(view, wireframe=not view.wireframe))
        case "g":
            return replace(controls, view=replace(view, ground=not view.ground))
        case digit if digit in FRAMING_KEYS:
            return replace(controls, framing=FRAMING_KEYS[digit])
        case _:
            return controls


def drag(controls: Controls, dx: float, dy: float, *, move: bool) -> Controls:
    """Turn, or move sideways, by a drag of (dx, dy) window heights, y down."""
    view = controls.view
    across = -dx if view.mirror else dx
    camera = (pan if move else turn)(view.camera, across, dy)
    return replace(controls, view=replace(view, camera=camera))


def scroll(controls: Controls, steps: float) -> Controls:
    """Zoom by wheel steps, away from the user is nearer."""
    camera = zoom(controls.view.camera, steps)
    return replace(controls, view=replace(controls.view, camera=camera))
