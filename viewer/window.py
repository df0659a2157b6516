"""The desktop viewer: a window that shows the newest moment of a feed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import moderngl_window

from engine.errors import GraphicsError
from engine.types import FusedMesh
from viewer.controls import Controls, drag, press, scroll
from viewer.draw_recorder import DrawRecorder
from viewer.feed import Feed, Moment
from viewer.identity_editor import IdentityEditor, summary
from viewer.overlay import HELP, TextPanel, statistics_lines
from viewer.panel import Panel
from viewer.scene import FRAMINGS, Scene, frame_mesh

TITLE = "SARS avatar"
INSET_SHARE = 0.26
"""Height of the camera picture over the window's."""
EDGE = 16
IDLE_S = 0.03
"""Without a new moment the window still answers the mouse this often."""
RECENT_FRAMES = 120


def run_viewer(feed: Feed, size: tuple[int, int] = (960, 720), *, mirror: bool = False) -> None:
    """Show the feed until the window is closed or the feed fails; closes the feed.

    Args:
        feed: where moments come from.
        size: of the window, pixels.
        mirror: start mirrored, as a selfie.

    Raises:
        GraphicsError: there is no display or no OpenGL 3.3.
        AvatarError: the feed has failed.
    """
    try:
        window = open_window(size)
        viewer = WindowViewer(window, feed, mirror=mirror)
        try:
            while not window.is_closing:
                viewer.step()
        finally:
            window.destroy()  # and the OpenGL context with everything in it
    finally:
        feed.close()


def open_window(size: tuple[int, int]) -> Any:
    """A moderngl-window window.

    Raises:
        GraphicsError: there is no display or no OpenGL 3.3.
    """
    try:
        window_class = moderngl_window.get_local_window_cls("pyglet")
        return window_class(title=TITLE, gl_version=(3, 3), size=size, samples=4, vsync=True)
    except Exception as error:  # pyglet, GLX and the driver each raise their own kinds
        reason = str(error) or type(error).__name__
        raise GraphicsError(
            f"no window can be opened here ({reason}): run it on a desktop, or use --snapshot "
            "or --headless, which need no display"
        ) from error


class WindowViewer:
    """Draws into a window and listens to it. Belongs to the window's thread.

    The window itself closes on Escape.
    """

    def __init__(self, window: Any, feed: Feed, *, mirror: bool = False) -> None:
        self._window, self._feed = window, feed
        self._scene = Scene(window.ctx)
        self._inset = Panel(window.ctx)
        self._statistics = TextPanel(Panel(window.ctx))
        self._help = TextPanel(Panel(window.ctx))
        self._status = TextPanel(Panel(window.ctx))
        self._identity = TextPanel(Panel(window.ctx))
        self._recorder = DrawRecorder(RECENT_FRAMES)
        self._moment: Moment | None = None
        self._mesh: FusedMesh | None = None
        controls = Controls()
        self.controls = replace(controls, view=replace(controls.view, mirror=mirror))
        """What the user has set."""
        self.editor = IdentityEditor()
        """What the user has changed of the avatar."""
        self._title = TITLE
        self._listen()

    def step(self) -> None:
        """Wait a moment for something new, draw it, and handle the window's events.

        Raises:
            AvatarError: the feed has failed.
        """
        moment = self._feed.wait(self._moment, IDLE_S)
        if moment is not None:
            self._take(moment)
        self.draw()
        self._window.swap_buffers()
        if moment is not None:
            self._recorder.record(moment.captured_at_ns, time.monotonic_ns())

    def draw(self) -> None:
        """Draw scene and overlays into the window's framebuffer."""
        self._apply_framing()
        self._scene.draw(self._window.fbo, self._mesh, self.controls.view)
        self._draw_overlays(time.monotonic())

    def _take(self, moment: Moment) -> None:
        self._moment = moment
        self._mesh = self._scene.mesh_of(moment)
        if moment.frame is not None and self.controls.show_camera:
            self._inset.set_picture(moment.frame.image)

    def _apply_framing(self) -> None:
        if self._mesh is None or self.controls.framing is None:
            return
        width, height = self._window.fbo.size
        camera = frame_mesh(self._mesh, FRAMINGS[self.controls.framing], width / height)
        view = replace(self.controls.view, camera=camera)
        self.controls = replace(self.controls, view=view, framing=None)

    def _draw_overlays(self, now_s: float) -> None:
        target, scale = self._window.fbo.size, self._window.pixel_ratio
        edge = round(EDGE * scale)
        if self.controls.show_camera:
            self._draw_inset(target, edge)
        if self.controls.show_statistics:
            self._statistics.set_lines(self._statistics_lines(), now_s, scale)
            self._statistics.draw(target, (edge, edge))
        if self.controls.show_help:
            self._help.set_lines(HELP, now_s, scale)
            self._help.draw(target, (edge, -edge))
        self._draw_identity(target, edge, now_s, scale)
        status = self._feed.status()
        self._status.set_lines((status,) if status else (), now_s, scale)
        self._status.draw(target, (edge, target[1] // 2))

    def _draw_identity(
        self, target: tuple[int, int], edge: int, now_s: float, scale: float
    ) -> None:
        """The title says how sure the estimates are, the card what can be changed."""
        identity = self._feed.identity()
        title = TITLE if identity is None else f"{TITLE}: {summary(identity)}"
        if title != self._title:
            self._title = self._window.title = title
        self._identity.set_lines(self.editor.lines(identity, now_s), now_s, scale)
        self._identity.draw(target, (-edge, -edge))

    def _draw_inset(self, target: tuple[int, int], edge: int) -> None:
        width, height = self._inset.size
        if not height:
            return
        shown = round(target[1] * INSET_SHARE)
        size = (round(shown * width / height), shown)
        corner = (target[0] - size[0] - edge, edge)
        self._inset.draw(target, corner, size, mirror=self.controls.view.mirror)

    def _statistics_lines(self) -> tuple[str, ...]:
        values = {"drawn_fps": self._recorder.frames_per_s()}
        if self._recorder.count:
            values["capture_to_draw_ms"] = self._recorder.percentiles_ms()["p50"]
        return statistics_lines(values | self._feed.statistics())

    def _listen(self) -> None:
        window = self._window
        window.unicode_char_entered_func = self._on_character
        window.mouse_drag_event_func = self._on_drag
        window.mouse_scroll_event_func = self._on_scroll

    def _on_character(self, character: str) -> None:
        if character.lower() == "f":
            self._window.fullscreen = not self._window.fullscreen
        self.controls = press(self.controls, character)
        identity = self._feed.identity()
        self.editor, edit = self.editor.press(character.lower(), identity, time.monotonic())
        if edit is not None:
            self._feed.edit(edit)

    def _on_drag(self, _x: int, _y: int, dx: int, dy: int) -> None:
        height = self._window.height
        move = bool(self._window.mouse_states.right or self._window.mouse_states.middle)
        self.controls = drag(self.controls, dx / height, dy / height, move=move)

    def _on_scroll(self, _dx: float, dy: float) -> None:
        self.controls = scroll(self.controls, dy)
