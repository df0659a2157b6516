"""Relief: its mathematics against references, and people whose wrinkles are known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from engine.avatar.topology import FusedAvatar, Region, Topology
from engine.errors import AvatarError
from engine.face.face_atlas import WINDOW
from engine.face.relief.displacement import Halves, agreement, displacement
from engine.face.relief.distance_field import (
    groove,
    line_field,
    pulled_onto_wrinkles,
    signed_distance,
    surface_gradient,
    wrinkled_skin,
)
from engine.face.relief.evidence import Accumulator, SlopeEvidence
from engine.face.relief.grid import FaceGrid
from engine.face.relief.groove_depth import fit_grooves
from engine.face.relief.height import differences, solve_height
from engine.face.relief.lighting import fit_light, harmonics, shading
from engine.face.relief.reflectance_map import ReflectanceMap
from engine.face.relief.relief import ANY_PAINT, NOISE, PAINT, Relief
from engine.face.relief.sampling import at_vertices, on_texels, seam_fade
from engine.face.relief.wrinkle_lines import WrinkleLines, valley_lines
from engine.face.relief.wrinkles import find_wrinkles
from engine.fusion.normals import vertex_normals
from engine.identity_edit import IdentityEdit
from engine.identity_keeper import IdentityKeeper
from engine.inference.store import ModelStore
from engine.relief_from_video import ReliefFromVideo
from engine.types import Camera, FusedMesh, Identity

SHAPE = (90, 100)
TEXEL_MM = np.full((*SHAPE, 2), 1.1, np.float32)
BARE = np.ones(SHAPE, np.float32)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, 0x4E11])


def _grid_positions() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    return x, y


def _line(row: int, first: int, last: int) -> WrinkleLines:
    labels = np.zeros(SHAPE, np.int32)
    labels[row, first:last] = 1
    return WrinkleLines(labels, 1, np.array([2.0], np.float32))


# --- the distance field and eq. (3) ---------------------------------------------------------------


def test_distances_are_those_of_brute_force() -> None:
    labels = np.zeros(SHAPE, np.int32)
    labels[20, 10:40], labels[60:80, 70] = 1, 2
    lines = WrinkleLines(labels, 2, np.ones(2, np.float32))
    field = line_field(lines, TEXEL_MM)
    points = np.argwhere(labels > 0)
    every = np.stack(np.mgrid[: SHAPE[0], : SHAPE[1]], axis=-1).reshape(-1, 2)
    apart = np.linalg.norm(every[:, None] - points[None], axis=2)
    assert np.allclose(field.distance_mm.ravel(), 1.1 * apart.min(axis=1), rtol=0.03, atol=0.02)
    owner = labels[tuple(points[apart.argmin(axis=1)].T)]
    clear = np.sort(
        np.stack([apart[:, labels[tuple(points.T)] == k].min(axis=1) for k in (1, 2)]), 0
    )
    sure = clear[1] - clear[0] > 2.0
    assert (field.nearest.ravel()[sure] == owner[sure]).all()


def test_without_lines_nothing_moves() -> None:
    none = WrinkleLines(np.zeros(SHAPE, np.int32), 0, np.zeros(0, np.float32))
    field = line_field(none, TEXEL_MM)
    skin = wrinkled_skin(field, np.zeros(0, np.float32), np.zeros(0, np.float32))
    assert not skin.any()
    assert not pulled_onto_wrinkles(skin, TEXEL_MM).any()


def test_the_field_is_signed_and_its_gradient_has_length_one() -> None:
    skin = wrinkled_skin(
        line_field(_line(45, 20, 80), TEXEL_MM), np.array([2.5]), np.array([0.8])
    ).astype(np.float32)
    assert (signed_distance(skin, TEXEL_MM, 0.3) > 0).all()
    assert (signed_distance(skin, TEXEL_MM, -1.5) < 0).all()
    step = 1e-2
    up, down = (signed_distance(skin, TEXEL_MM, z) for z in (step, -step))
    gu, gv = surface_gradient(signed_distance(skin, TEXEL_MM), TEXEL_MM)
    length = np.sqrt(((up - down) / (2 * step)) ** 2 + gu**2 + gv**2)
    assert np.abs(length - 1.0).max() < 0.08  # exact but for the groove's own curvature


def test_equation_3_brings_points_onto_the_wrinkled_skin() -> None:
    """The full vector form, against which the scalar along the normal is the projection."""
    depth, width = 0.8, 2.5

    def f(t: np.ndarray) -> np.ndarray:
        return -depth * np.exp(-0.5 * (t / width) ** 2)

    t = np.linspace(-6, 6, 41)
    slope = f(t) * -t / width**2
    distance = -f(t) / np.sqrt(1 + slope**2)
    gradient = np.stack([-slope, np.ones_like(t)]) / np.sqrt(1 + slope**2)
    moved = np.stack([t, np.zeros_like(t)]) - distance * gradient
    assert np.abs(moved[1] - f(moved[0])).max() < 0.04  # left of 0.8 mm
    skin = np.broadcast_to(f(_grid_positions()[0] * 0.25 - 12.5), SHAPE).astype(np.float32)
    fine = np.full((*SHAPE, 2), 0.25, np.float32)
    along_normal = pulled_onto_wrinkles(skin, fine)[40]
    expected = np.interp(np.arange(SHAPE[1]) * 0.25 - 12.5, t, moved[1])
    inner = slice(28, 72)
    assert np.abs(along_normal[inner] - expected[inner]).max() < 0.02


def test_lambda_scales_the_motion() -> None:
    skin = -groove(line_field(_line(45, 20, 80), TEXEL_MM), np.array([2.0], np.float32))
    full, half = (pulled_onto_wrinkles(skin, TEXEL_MM, step) for step in (1.0, 0.5))
    assert full.min() < -0.9
    assert np.allclose(half, full / 2, atol=1e-6)
    assert not full[:30].any()  # beyond the band


# --- lines ----------------------------------------------------------------------------------------


def test_valleys_are_found_and_pits_and_ridges_are_not() -> None:
    x, y = _grid_positions()
    valley = -np.exp(-0.5 * ((y - 30 - 0.1 * x) / 2.0) ** 2) * (np.abs(x - 50) < 30)
    ridge = np.exp(-0.5 * ((y - 65) / 2.0) ** 2) * (np.abs(x - 50) < 30)
    pit = -np.exp(-0.5 * (((x - 80) ** 2 + (y - 80) ** 2) / 2.0))
    lines = valley_lines((valley + ridge + pit).astype(np.float32), BARE > 0, 0.1, 13)
    rows, columns = np.nonzero(lines.labels)
    assert lines.count == 1
    whole = np.abs(columns - 50) < 25  # the valley's ends are cliffs
    assert np.abs(rows - 30 - 0.1 * columns)[whole].max() <= 1.5
    assert np.ptp(columns) > 50
    assert 1.5 < lines.width[0] < 2.9


def test_short_and_forbidden_lines_are_dropped() -> None:
    x, y = _grid_positions()
    short = -np.exp(-0.5 * ((y - 20) / 1.5) ** 2) * (np.abs(x - 50) < 3)
    long = -np.exp(-0.5 * ((y - 60) / 1.5) ** 2)
    picture = (short + long).astype(np.float32)
    assert valley_lines(picture, (y < 40), 0.1, 14).count == 0
    assert valley_lines(picture, BARE > 0, 0.1, 14).count == 1


# --- heights from slopes --------------------------------------------------------------------------


def _known_heights() -> np.ndarray:
    x, y = _grid_positions()
    bump = 0.8 * np.exp(-0.5 * (((x - 40) / 5) ** 2 + ((y - 40) / 6) ** 2))
    return (bump - 0.5 * np.exp(-0.5 * ((y - 65 - 0.1 * x) / 3) ** 2)).astype(np.float32)


def _evidence_of(heights: np.ndarray, strength: float) -> SlopeEvidence:
    precision = np.zeros((*SHAPE, 3), np.float32)
    precision[..., 0], precision[..., 2] = strength, strength
    return SlopeEvidence(precision, strength * differences(heights))


def test_a_known_height_comes_back() -> None:
    truth = _known_heights()
    screen = np.full(SHAPE, 1e-3, np.float32)
    found = solve_height(_evidence_of(truth, 1e4), screen, 1e-3)
    for _ in range(4):
        found = solve_height(_evidence_of(truth, 1e4), screen, 1e-3, found)
    error = (found - found.mean()) - (truth - truth.mean())
    assert np.abs(error).max() < 0.05


def test_the_solver_solves_the_normal_equations() -> None:
    """A dense reference on a small map, with precisions that couple both slopes."""
    rng, shape = _rng(), (7, 8)
    factors = rng.normal(size=(*shape, 2, 2))
    c = factors @ np.swapaxes(factors, -1, -2)
    moment = rng.normal(size=(*shape, 2))
    precision = np.stack([c[..., 0, 0], c[..., 0, 1], c[..., 1, 1]], axis=-1)
    screen = rng.uniform(0.5, 2.0, shape)
    unit = np.eye(56).reshape(56, *shape).astype(np.float32)
    d = np.stack([differences(e) for e in unit], axis=-1)
    laplace = np.zeros((56, 56))
    for k, e in enumerate(unit):
        inner = np.zeros(shape)
        inner[1:-1, 1:-1] = (
            e[1:-1, :-2] + e[1:-1, 2:] + e[:-2, 1:-1] + e[2:, 1:-1] - 4 * e[1:-1, 1:-1]
        )
        laplace[:, k] = inner.ravel()
    matrix = np.einsum("hwik,hwij,hwjl->kl", d, c, d) + np.diag(screen.ravel())
    matrix += 0.3 * laplace.T @ laplace
    expected = np.linalg.solve(matrix, np.einsum("hwik,hwi->k", d, moment)).reshape(shape)
    evidence = SlopeEvidence(precision.astype(np.float32), moment.astype(np.float32))
    found = solve_height(evidence, screen.astype(np.float32), 0.3)
    assert np.abs(found - expected).max() < 5e-3 * np.abs(expected).max()


def test_no_evidence_is_a_flat_map() -> None:
    nothing = SlopeEvidence(np.zeros((*SHAPE, 3), np.float32), np.zeros((*SHAPE, 2), np.float32))
    assert not solve_height(nothing, np.ones(SHAPE, np.float32), 1.0).any()


# --- light ----------------------------------------------------------------------------------------


def _normals(count: int = 4000) -> np.ndarray:
    normals = _rng().normal(size=(count, 3)) + np.array([0, 0, 1.5])
    normals[:, 2] = np.abs(normals[:, 2])
    return (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)


def test_light_is_fitted_and_its_slope_is_the_derivative() -> None:
    normals = _normals()
    true = np.array([1.0, 0.3, 0.4, 0.2, 0.05, -0.08, 0.1, 0.06, -0.04], np.float32)
    light = fit_light(normals, harmonics(normals) @ true, np.ones(len(normals), np.float32))
    assert light is not None
    value, slope = shading(light, normals)
    assert np.abs(value - np.log(harmonics(normals) @ true)).max() < 0.03
    tangent = np.cross(normals, (0.3, 0.5, -0.2))
    step = 1e-3
    turned = [normals + s * step * tangent for s in (1, -1)]
    ahead, behind = (
        shading(light, (t / np.linalg.norm(t, axis=1, keepdims=True)).astype(np.float32))[0]
        for t in turned
    )
    numeric = (ahead - behind) / (2 * step)
    assert np.abs((slope * tangent).sum(axis=1) - numeric).max() < 0.02


def test_too_little_skin_is_no_light() -> None:
    normals = _normals(20)
    assert fit_light(normals, np.ones(20, np.float32), np.ones(20, np.float32)) is None


def test_the_reflectance_map_learns_a_sheen_that_harmonics_cannot() -> None:
    def sheen(n: np.ndarray) -> np.ndarray:
        halfway = np.array([0.25, 0.35, 0.9]) / np.linalg.norm([0.25, 0.35, 0.9])
        return 0.4 * np.maximum(n @ halfway, 0) ** 16

    normals = _normals(30_000)
    learned = ReflectanceMap()
    for _ in range(8):
        learned.learn(normals, sheen(normals).astype(np.float32), np.ones(len(normals), np.float32))
    facing = normals[(normals[:, 2] > 0.6)][:3000][None]
    value, slope = learned.look_up(facing)
    assert np.abs(value - sheen(facing)).mean() < 0.02
    tangent = np.cross(facing[0], (0.1, -0.4, 0.3))
    ahead, behind = (sheen(facing[0] + s * 1e-3 * tangent) for s in (1, -1))
    numeric, read = (ahead - behind) / 2e-3, (slope[0] * tangent).sum(axis=1)
    assert np.corrcoef(numeric, read)[0, 1] > 0.95


# --- evidence: shape against paint ----------------------------------------------------------------


def _seen(
    heights: np.ndarray, paint: np.ndarray, *, turning: bool = True, views: int = 24
) -> Relief | tuple[Accumulator, Accumulator]:
    """What cameras see of relief and paint when the light's slope changes, or does not."""
    rng = _rng(3)
    halves = (Accumulator(SHAPE), Accumulator(SHAPE))
    g = differences(heights)
    for k in range(views):
        angle = 2 * np.pi * k / views if turning else 0.4
        c = 0.5 * np.array([np.cos(angle), np.sin(angle)]) + (0.1, 0.3)
        noise = cv2.GaussianBlur(rng.normal(0, 0.03, SHAPE), (0, 0), 1.0)
        detail = paint - g @ c + noise
        response = np.broadcast_to(c, (*SHAPE, 2)).astype(np.float32)
        halves[k % 2].add(detail.astype(np.float32), response, BARE)
    return halves


def _halves(accumulators: tuple[Accumulator, Accumulator], paint: float) -> Halves:
    both = Accumulator.sum_of(*accumulators)
    return Halves(*(a.evidence(NOISE, paint, 24.0) for a in (both, *accumulators)))


def _freckles() -> np.ndarray:
    rough = cv2.GaussianBlur(_rng(9).normal(size=SHAPE), (0, 0), 2.5)
    return (0.08 * rough / rough.std()).astype(np.float32)


def test_paint_has_no_slope_however_it_is_lit() -> None:
    seen = _seen(np.zeros(SHAPE, np.float32), _freckles())
    assert not displacement(_halves(seen, PAINT), BARE).heights_mm.any()


def test_shape_is_read_in_spite_of_paint() -> None:
    truth = _known_heights()
    found = displacement(_halves(_seen(truth, _freckles()), PAINT), BARE).heights_mm
    before, after = np.abs(truth).mean(), np.abs(found - truth).mean()
    assert after < 0.6 * before


def test_without_turning_paint_is_not_taken_for_shape() -> None:
    seen = _seen(np.zeros(SHAPE, np.float32), _freckles(), turning=False)
    assert np.abs(displacement(_halves(seen, PAINT), BARE).heights_mm).mean() < 0.01
    assert not displacement(_halves(seen, ANY_PAINT), BARE).heights_mm.any()


def _grooved(paint: np.ndarray, depth: float) -> tuple[np.ndarray, np.ndarray]:
    truth = wrinkled_skin(
        line_field(_line(45, 20, 80), TEXEL_MM), np.array([2.4]), np.array([depth])
    ).astype(np.float32)
    seen = _seen(truth, paint)
    mean = Accumulator.sum_of(*seen).mean_detail
    halves, moving = _halves(seen, PAINT), _halves(seen, ANY_PAINT)
    return truth, find_wrinkles(halves, moving, mean, BARE, TEXEL_MM).heights_mm


def test_a_wrinkle_gets_its_depth() -> None:
    truth, found = _grooved(np.zeros(SHAPE, np.float32), 0.8)
    assert np.abs(found - truth).mean() < 0.75 * np.abs(truth).mean()


def test_a_painted_line_gets_none() -> None:
    line = groove(line_field(_line(45, 20, 80), TEXEL_MM), np.array([2.4], np.float32))
    _, found = _grooved(-0.25 * line, 0.0)
    assert not found.any()


def test_groove_depth_is_least_squares() -> None:
    field = line_field(_line(45, 20, 80), TEXEL_MM)
    profile = groove(field, np.array([2.4], np.float32))
    fit = fit_grooves(profile, field.nearest, 1, _evidence_of(-0.7 * profile, 1e3))
    assert fit.depth_mm[0] == pytest.approx(0.7, abs=0.01)
    assert fit.flanks_mm == pytest.approx(np.full((2, 1), 0.7), abs=0.02)
    assert fit.explained[0] > 0.99


def test_halves_that_disagree_agree_on_nothing() -> None:
    rng = _rng(5)
    one, two = (cv2.GaussianBlur(rng.normal(0, 2.0, SHAPE), (0, 0), 3.0) for _ in range(2))
    apart = agreement(one.astype(np.float32), two.astype(np.float32), BARE)
    same = agreement(one.astype(np.float32), one.astype(np.float32), BARE)
    assert apart.mean() < 0.35 * same.mean()


# --- the mesh -------------------------------------------------------------------------------------


def _plate(side: int = 33) -> FusedAvatar:
    """A flat square "face", 240 mm wide, that fills the atlas' window; its outline is the seam."""
    axis = np.linspace(0.02, 0.98, side, dtype=np.float32)
    v, u = np.meshgrid(axis, axis, indexing="ij")
    at = np.arange(side * side, dtype=np.int32).reshape(side, side)
    a, b, c, d = (x.ravel() for x in (at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]))
    faces = np.concatenate([np.stack([a, c, b], 1), np.stack([a, d, c], 1)]).astype(np.int32)
    edge = np.zeros((side, side), bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    ring = at[edge]
    vertices = np.stack([0.24 * (u - 0.5), 0.24 * (0.5 - v), np.zeros_like(u)], -1).reshape(-1, 3)
    uvs = np.stack([u, v], -1).reshape(-1, 2) * (WINDOW.u1 - WINDOW.u0) + (WINDOW.u0, WINDOW.v0)
    regions = np.where(edge, Region.SEAM, Region.FACE).ravel().astype(np.uint8)
    empty = np.zeros(0, np.int32)
    topology = Topology(
        faces, regions, np.stack([ring, ring], 1), at.ravel(), uvs.astype(np.float32), faces
    )
    return FusedAvatar(
        topology, vertices.astype(np.float32), np.zeros((1, 3), np.float32), ("head",),
        np.array([-1], np.int32), np.zeros((side * side, 1), np.int32),
        np.ones((side * side, 1), np.float32), np.zeros(side * side + 1, np.int32), empty,
        np.zeros((0, 3), np.float32), None, 0,
    )  # fmt: skip


def _normals_of(avatar: FusedAvatar, vertices: np.ndarray) -> np.ndarray:
    normals = np.zeros_like(vertices)
    vertex_normals(vertices, avatar.topology.faces, normals)
    return normals


def test_slopes_say_how_relief_turns_normals() -> None:
    plate = _plate()
    grid = FaceGrid.of(plate.topology)
    flat = plate.rest_vertices_m
    bump_mm = 2.0 * np.exp(-0.5 * (np.linalg.norm(flat[:, :2], axis=1) / 0.03) ** 2)
    raised = flat.copy()
    raised[:, 2] += 1e-3 * bump_mm
    smooth = grid.pose(flat, _normals_of(plate, flat))
    rough = grid.pose(raised, _normals_of(plate, raised))
    g = differences(on_texels(grid, bump_mm.astype(np.float32)))
    turned = -(g[..., :1] * smooth.slopes[..., 0, :] + g[..., 1:] * smooth.slopes[..., 1, :])
    inner = (slice(40, -40), slice(40, -40))
    error = (rough.normals - smooth.normals - turned)[inner][..., :2]
    assert np.abs(turned[inner]).max() > 0.03
    assert np.abs(error).mean() < 0.1 * np.abs(turned[inner][..., :2]).mean()


def test_texel_sizes_are_the_surface_s() -> None:
    plate = _plate()
    grid = FaceGrid.of(plate.topology)
    sizes = grid.texel_mm(plate.rest_vertices_m)[grid.covered]
    assert sizes == pytest.approx(np.full_like(sizes, 240 / (0.96 * 256) * 0.96 / 0.96), rel=0.05)


def test_the_map_reaches_the_vertices_and_not_the_seam() -> None:
    plate = _plate()
    grid = FaceGrid.of(plate.topology)
    values = _rng(1).normal(size=grid.vertex_count).astype(np.float32)
    back = at_vertices(grid, on_texels(grid, values))
    inside = plate.topology.regions == Region.FACE
    assert np.abs(back - values)[inside].mean() < 0.2 * np.abs(values).mean()
    faded = at_vertices(
        grid, on_texels(grid, np.ones_like(values)) * seam_fade(grid, plate.topology)
    )
    assert np.abs(faded[plate.topology.seam_edges]).max() < 0.05


def test_a_face_nobody_saw_is_smooth_and_a_foreign_mesh_is_named() -> None:
    plate = _plate()
    relief = Relief(plate)
    mesh = FusedMesh(
        0, 0, plate.rest_vertices_m, _normals_of(plate, plate.rest_vertices_m), plate.topology
    )
    away = replace(mesh, vertices_m=mesh.vertices_m + np.float32([0, 0, 5]))
    picture = np.full((120, 160, 3), 128, np.uint8)
    assert not relief.observe(picture, away, Camera.from_size(160, 120))
    detail, confidence = relief.detail_m()
    assert relief.views == 0
    assert not detail.any()
    assert confidence == 0.0
    with pytest.raises(AvatarError, match="make a new Relief"):
        relief.observe(
            picture, replace(mesh, vertices_m=mesh.vertices_m[:5]), Camera.from_size(9, 9)
        )
    with pytest.raises(AvatarError, match="resize it"):
        relief.observe(picture, mesh, Camera.from_size(160, 120), np.ones((4, 4), np.float32))
    body = replace(plate.topology, regions=np.zeros_like(plate.topology.regions))
    with pytest.raises(AvatarError, match="no face region"):
        Relief(replace(plate, topology=body))


# --- rendered people ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("lines", "spots"), [(1.3, 0.0), (0.0, 0.8)])
def test_rendered_people_come_closer_never_further(
    model_cache: ModelStore, lines: float, spots: float
) -> None:
    pytest.importorskip("moderngl")
    from benchmarks.relief_truth import SIZE, Skin, Studio, wrinkled
    from engine.fusion.base_avatar import BaseAvatar
    from engine.rendering.light import Light
    from engine.rendering.offscreen import OffscreenRenderer
    from engine.types import Phenotypes

    base = BaseAvatar.load(model_cache)
    skin = Skin(lines=lines, spots=spots)
    person = wrinkled(base.model, base.fusion_map, Phenotypes(age=0.8), skin, seed=3)
    relief = Relief(person.smooth)
    with OffscreenRenderer(*SIZE) as renderer:
        for shot in Studio(renderer, 0.55).shots(person, Light.varied(3), 12, seed=3):
            assert relief.observe(shot.image, shot.mesh, shot.camera)
    face = person.smooth.topology.regions == Region.FACE
    truth = person.detail_mm[face]
    before = float(np.abs(truth).mean())
    after = before
    for relief.displacement, relief.wrinkles in ((True, False), (False, True), (True, True)):
        detail, _ = relief.detail_m()
        after = float(np.abs(1e3 * detail[face] - truth).mean())
        assert after <= before + 5e-4
        if lines:
            assert after < 0.985 * before
    if lines:  # both together
        assert after < 0.95 * before


def test_a_pinned_shape_uses_no_reading_up() -> None:
    """There are few of them, and who lets the shape go again wants them."""
    relief = ReliefFromVideo(SimpleNamespace(seen=None), lambda: None)  # type: ignore[arg-type, return-value]
    heights_m = np.full(9, 1e-3, np.float32)
    relief._relief = SimpleNamespace(views=24, readings=lambda: iter([None, heights_m]))  # type: ignore[assignment]
    keeper = IdentityKeeper(Identity(), IdentityEdit(pin=True))
    for _ in range(30):
        assert relief.tell(keeper) is None
    keeper.edit(IdentityEdit(pin=False))
    assert relief.tell(keeper) is None, "half-way"
    new = relief.tell(keeper)
    assert new is not None and new.detail_m is heights_m
