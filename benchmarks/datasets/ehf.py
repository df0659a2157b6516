"""``sars eval ehf``: Expressive Hands and Faces (Pavlakos et al. 2019) as distributed.

    01_img.png  01_align.ply  ...  100_img.png  100_align.ply

The truth is SMPL-X meshes; ours is Anny, so what is compared is SMPL-X fitted to our mesh by
:class:`engine.body.model_conversion.ModelConverter`: its own error, a millimetre or two on
stand-ins, is in the figures, and reported beside them.

As evaluations of SMPL-X do it (Moon et al., *Hand4Whole* 2022): V2V after moving a regressed joint
onto the truth's, the pelvis for the whole and the body, the neck for the face, each wrist for its
hand, whose two errors are averaged; PA-V2V after the best similarity of just what is compared.
Table V is in :mod:`benchmarks.datasets.ehf_fusion`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from benchmarks.datasets.ehf_fusion import fusion_errors
from benchmarks.datasets.paper import TABLE_4_EHF_MM, TABLE_5_EHF_MM, beside
from benchmarks.datasets.pictures import PictureFrames
from benchmarks.datasets.watching import Watched, watch_person
from benchmarks.similarity import aligned
from engine import quaternions
from engine.avatar.joint_names import SMPL_FAMILY
from engine.avatar.parametric_body import ParametricBody, avatar_as_body
from engine.body.model_conversion import BodyMotion, ModelConverter
from engine.body.parametric_forward import BodyPoser
from engine.engine import EngineOptions
from engine.errors import AvatarError, ModelFileError, SourceError
from engine.sources.picture import read_picture
from engine.types import F64
from exporters.body_models.smpl import read_joint_regressor, read_smpl
from exporters.face_models.pickle_reader import read_pickle
from exporters.face_models.pickled_arrays import as_array

VERTICES = 10475
FOCAL_PX, PICTURE_SIDE = 1498.22426237, 1600
AXIS_PX = (790.263706, 578.90334)
TURN = np.array([-2.98747896, 0.01172457, -0.05704687])
PLACE_M = np.array([-0.03609917, 0.43416458, 2.37101226])
"""EHF's one camera, as published: where its axis meets the picture, and rotation vector and
translation from the meshes' axes."""
LOOKS = 8
"""How often the same still is shown: the fit and the filters come to rest."""
MAX_BYTES = 64 << 20
_CURE = "give the folder of EHF's 01_img.png and 01_align.ply"
FACE_FILE, HANDS_FILE = "SMPL-X__FLAME_vertex_ids.npy", "MANO_SMPLX_vertex_ids.pkl"
Rows = NDArray[np.int64]
PIVOTS = {
    "body": "pelvis", "face": "neck", "left_hand": "left_wrist", "right_hand": "right_wrist",
}  # fmt: skip
"""Which joint of a part is moved onto the truth's."""


def pictures_of(folder: Path) -> list[Path]:
    """EHF's pictures, in order, each once: it is distributed as PNG and as JPEG.

    Raises:
        SourceError: there are none.
    """
    kinds = (folder.glob(f"*_img.{kind}") for kind in ("jpg", "png"))
    found = {path.stem: path for paths in kinds for path in paths}
    if not found:
        raise SourceError(f"expected pictures such as 01_img.png in {folder}; {_CURE}")
    return [found[name] for name in sorted(found)]


def read_alignment(picture: Path) -> F64:
    """(10475, 3) the true mesh of a picture, metres, in glTF's axes of EHF's camera.

    Raises:
        SourceError: it is missing, damaged, or no SMPL-X mesh.
    """
    path = picture.with_name(picture.stem.removesuffix("_img") + "_align.ply")
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise SourceError(f"expected the mesh {path}; {_CURE}")
    try:
        mesh = trimesh.load_mesh(path, file_type="ply", process=False)
        vertices = np.asarray(mesh.vertices, np.float64)
    except Exception as error:  # trimesh lets whatever a parser trips over through
        raise SourceError(f"{path} is not a whole PLY file ({error}); {_CURE}") from error
    if vertices.shape != (VERTICES, 3) or not np.isfinite(vertices).all():
        raise SourceError(f"expected {VERTICES} vertices in {path}, found {vertices.shape}")
    turn = quaternions.to_matrix(quaternions.from_rotation_vector(TURN))
    seen = vertices @ np.asarray(turn, np.float64).T + PLACE_M
    return np.asarray(seen * np.array([1.0, -1.0, -1.0]), np.float64)


def parts_of(folder: Path | None) -> dict[str, Rows]:
    """Which vertices are face, each hand, and body without them; none without their files.

    Raises:
        ModelFileError: a file is there and is not what it should be.
    """
    if folder is None:
        return {}
    try:
        face = np.load(folder / FACE_FILE, allow_pickle=False).astype(np.int64).ravel()
        hands = read_pickle(folder / HANDS_FILE)
        left, right = (
            as_array(hands[f"{side}_hand"]).astype(np.int64).ravel() for side in ("left", "right")
        )
    except (OSError, ValueError, TypeError, LookupError, EOFError) as error:
        raise ModelFileError(
            f"expected {FACE_FILE} and {HANDS_FILE} in {folder}, found {error!r}"
        ) from error
    for rows in (face, left, right):
        if not len(rows) or rows.min() < 0 or rows.max() >= VERTICES:
            raise ModelFileError(f"the vertex numbers in {folder} are not SMPL-X's")
    body = np.setdiff1d(np.arange(VERTICES), np.concatenate([face, left, right]))
    return {"body": body, "face": face, "left_hand": left, "right_hand": right}


def shift_of(part: str, found: F64, true: F64, regressor: F64) -> F64:
    """(3,) what brings a part's joint (PIVOTS) onto the truth's.

    Args:
        part: of PIVOTS.
        found: (V, 3).
        true: (V, 3).
        regressor: (J, V) from vertices to SMPL-X's joints.
    """
    row = regressor[SMPL_FAMILY["SMPL-X"].index(PIVOTS[part])]
    return np.asarray(row @ true - row @ found, np.float64)


def mesh_errors(
    found: F64, true: F64, regressor: F64, parts: Mapping[str, Rows]
) -> dict[str, float]:
    """V2V and PA-V2V in millimetres, of the whole and of each part; of hands the mean of both.

    Args:
        found: (V, 3).
        true: (V, 3), vertex for vertex the same.
        regressor: (J, V) from vertices to SMPL-X's joints.
        parts: by name (PIVOTS), rows.
    """
    errors = {
        "v2v_mm": _apart_mm(found + shift_of("body", found, true, regressor), true),
        "pa_v2v_mm": _apart_mm(aligned(found, true, scaled=True), true),
    }
    hands: list[tuple[float, float]] = []
    for name, rows in parts.items():
        own, there = found[rows], true[rows]
        v2v = _apart_mm(own + shift_of(name, found, true, regressor), there)
        pa_v2v = _apart_mm(aligned(own, there, scaled=True), there)
        if name.endswith("_hand"):
            hands.append((v2v, pa_v2v))
        else:
            errors |= {f"{name}_v2v_mm": v2v, f"{name}_pa_v2v_mm": pa_v2v}
    if hands:
        v2v, pa_v2v = np.mean(hands, axis=0).tolist()
        errors |= {"hands_v2v_mm": v2v, "hands_pa_v2v_mm": pa_v2v}
    return errors


def _apart_mm(a: F64, b: F64) -> float:
    return 1e3 * float(np.linalg.norm(a - b, axis=1).mean())


async def eval_ehf(
    folder: Path,
    model: Path,
    parts: Path | None,
    options: EngineOptions,
    on_picture: Callable[[int, str], None] = lambda _done, _name: None,
) -> dict[str, Any]:
    """Reconstruct every picture and compare: Tables IV and V.

    Args:
        folder: of the data set.
        model: the user's SMPL-X file.
        parts: folder of the vertex numbers of face and hands.
        options: of the engine.
        on_picture: told how many are done, and the next one's name.

    Raises:
        SourceError: the folder is not EHF's, or not one picture of it could be compared.
        ModelFileError: the model or the vertex numbers are not SMPL-X's.
    """
    body, regressor, rows = read_smplx(model), read_joint_regressor(model), parts_of(parts)
    found: dict[str, dict[str, float]] = {}
    modes: list[dict[str, dict[str, float]]] = []
    failed: dict[str, str] = {}
    for done, picture in enumerate(pictures_of(folder)):
        on_picture(done, picture.name)
        try:
            true = read_alignment(picture)
            seen = await _seen(picture, options)
            mesh, fitted_mm = as_smplx(seen, body)
        except AvatarError as error:
            failed[picture.stem] = str(error)
            continue
        found[picture.stem] = mesh_errors(mesh, true, regressor, rows)
        found[picture.stem]["conversion_mm"] = fitted_mm
        shifts = {part: shift_of(part, mesh, true, regressor) for part in ("body", "face")}
        modes.append(fusion_errors(seen, true, body.faces, shifts, rows))
    if not found:
        raise SourceError(next(iter(failed.values())))
    ours = _means(list(found.values()))
    return ours | {
        "aspd_mm": _means([mode["copy-paste"] for mode in modes])["v2v_mm"],
        "ran": f"{len(found)} pictures",
        "not_measured": {} if rows else {"table_4": "no vertex numbers of parts"},
        "pictures": len(found),
        "table_4": beside(TABLE_4_EHF_MM, ours),
        "table_5": {
            mode: beside(paper, {}, ours_aspd=_means([one[mode] for one in modes]))
            for mode, paper in TABLE_5_EHF_MM.items()
        },
        "failed": failed,
    }


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {n: round(float(np.mean([one[n] for one in rows])), 2) for n in rows[0]}


def read_smplx(path: Path) -> ParametricBody:
    """The user's SMPL-X.

    Raises:
        ModelFileError: it is missing, damaged, or another model.
    """
    body = read_smpl(path)
    if len(body.template_m) != VERTICES:
        raise ModelFileError(f"expected SMPL-X's {VERTICES} vertices in {path}, found {body.name}")
    return body


async def _seen(picture: Path, options: EngineOptions) -> Watched:
    """Who is seen in a picture."""
    height, width, _ = read_picture(picture).shape
    scale = max(height, width) / PICTURE_SIDE
    centre = scale * AXIS_PX[0], scale * AXIS_PX[1]
    longer = 2.0 * max(max(c, n - c) for c, n in zip(centre, (width, height), strict=True))
    view = float(np.degrees(2.0 * np.arctan(0.5 * longer / (scale * FOCAL_PX))))
    frames = partial(PictureFrames, [picture] * LOOKS, 30.0, view, centre=centre)
    seen = await watch_person(options, frames)
    if seen.state.body_confidence <= 0.0:
        raise SourceError(f"nobody is seen in {picture}")
    return seen


def as_smplx(seen: Watched, body: ParametricBody) -> tuple[F64, float]:
    """(10475, 3) our person as SMPL-X, and the conversion's own error in mm."""
    state, avatar = seen.state, seen.base.fitted_of(seen.identity)
    turns = quaternions.to_rotation_vector(state.rotations_xyzw.astype(np.float64))
    own = BodyMotion(
        np.zeros(0, np.float32),
        np.asarray(turns[None], np.float32),
        state.translation_m[None].astype(np.float32),
    )
    converted = ModelConverter(avatar_as_body(avatar), body).convert(own)
    poser, motion = BodyPoser(body), converted.motion
    poser.shape(motion.betas)
    mesh = poser.pose(motion.rotations[0], motion.translation_m[0]).astype(np.float64)
    return mesh, converted.error.vertices_mm["all"].mean
