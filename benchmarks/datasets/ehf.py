"""``sars eval ehf``: Expressive Hands and Faces (Pavlakos et al. 2019) as distributed.

    01_img.png  01_align.ply  ...  100_img.png  100_align.ply

The truth is SMPL-X meshes; ours is Anny, so what is compared is SMPL-X fitted to our mesh by
:class:`engine.body.model_conversion.ModelConverter`: its own error, a millimetre or two on
stand-ins, is in the figures, and reported beside them. V2V is after moving the pelvis onto the
truth's, PA-V2V after Procrustes; a part by itself is moved by itself. Table V compares ways of
joining a finer face to the body, which the converted mesh does not carry: it is not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from benchmarks.datasets.paper import TABLE_4_EHF_MM, TABLE_5_EHF_MM, beside
from benchmarks.datasets.pictures import PictureFrames
from benchmarks.similarity import aligned
from engine import quaternions
from engine.avatar.parametric_body import ParametricBody, avatar_as_body
from engine.body.model_conversion import BodyMotion, ModelConverter
from engine.body.parametric_forward import BodyPoser
from engine.engine import Engine, EngineOptions
from engine.errors import AvatarError, ModelFileError, SourceError
from engine.slot import Policy
from engine.types import F64, AvatarState
from exporters.body_models.smpl import read_smpl
from exporters.face_models.pickle_reader import read_pickle
from exporters.face_models.pickled_arrays import as_array

VERTICES = 10475
FOCAL_PX, PICTURE_SIDE = 1498.22426237, 1600
TURN = np.array([-2.98747896, 0.01172457, -0.05704687])
PLACE_M = np.array([-0.03609917, 0.43416458, 2.37101226])
"""EHF's one camera, as published: rotation vector and translation from the meshes' axes."""
LOOKS = 8
"""How often the same still is shown: the fit and the filters come to rest."""
MAX_BYTES = 64 << 20
_CURE = "give the folder of EHF's 01_img.png and 01_align.ply"
FACE_FILE, HANDS_FILE = "SMPL-X__FLAME_vertex_ids.npy", "MANO_SMPLX_vertex_ids.pkl"
Rows = NDArray[np.int64]


def pictures_of(folder: Path) -> list[Path]:
    """EHF's pictures, in order.

    Raises:
        SourceError: there are none.
    """
    found = sorted([*folder.glob("*_img.png"), *folder.glob("*_img.jpg")])
    if not found:
        raise SourceError(f"expected pictures such as 01_img.png in {folder}; {_CURE}")
    return found


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
    """Which vertices are face, hands, and body without them; none without their files.

    Raises:
        ModelFileError: a file is there and is not what it should be.
    """
    if folder is None:
        return {}
    try:
        face = np.load(folder / FACE_FILE, allow_pickle=False).astype(np.int64).ravel()
        hands = read_pickle(folder / HANDS_FILE)
        both = np.concatenate(
            [as_array(hands[f"{side}_hand"]).astype(np.int64) for side in ("left", "right")]
        )
    except (OSError, ValueError, TypeError, LookupError, EOFError) as error:
        raise ModelFileError(
            f"expected {FACE_FILE} and {HANDS_FILE} in {folder}, found {error!r}"
        ) from error
    for rows in (face, both):
        if not len(rows) or rows.min() < 0 or rows.max() >= VERTICES:
            raise ModelFileError(f"the vertex numbers in {folder} are not SMPL-X's")
    body = np.setdiff1d(np.arange(VERTICES), np.concatenate([face, both]))
    return {"body": body, "face": face, "hands": both}


def mesh_errors(found: F64, true: F64, pelvis: F64, parts: Mapping[str, Rows]) -> dict[str, float]:
    """V2V and PA-V2V in millimetres, of the whole and of each part.

    Args:
        found: (V, 3).
        true: (V, 3), vertex for vertex the same.
        pelvis: (V,) weights that give the pelvis.
        parts: by name, rows; each is moved by its own middle.
    """
    moved = found - pelvis @ found + pelvis @ true
    errors = {"v2v_mm": _apart_mm(moved, true)}
    errors["pa_v2v_mm"] = _apart_mm(aligned(found, true, scaled=True), true)
    for name, rows in parts.items():
        own, there = found[rows], true[rows]
        centred = moved[rows] if name == "body" else own - own.mean(axis=0) + there.mean(axis=0)
        errors[f"{name}_v2v_mm"] = _apart_mm(centred, there)
        errors[f"{name}_pa_v2v_mm"] = _apart_mm(aligned(own, there, scaled=True), there)
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
    body = read_smpl(model)
    if len(body.template_m) != VERTICES:
        raise ModelFileError(f"expected SMPL-X's {VERTICES} vertices in {model}, found {body.name}")
    rows, pelvis = parts_of(parts), _pelvis(body)
    found: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    for done, picture in enumerate(pictures_of(folder)):
        on_picture(done, picture.name)
        try:
            true = read_alignment(picture)
            mesh, fitted_mm = await _reconstructed(picture, body, options)
            found[picture.stem] = mesh_errors(mesh, true, pelvis, rows)
            found[picture.stem]["conversion_mm"] = fitted_mm
        except AvatarError as error:
            failed[picture.stem] = str(error)
    if not found:
        raise SourceError(next(iter(failed.values())))
    names = list(next(iter(found.values())))
    ours = {n: round(float(np.mean([one[n] for one in found.values()])), 2) for n in names}
    return ours | {
        "pictures": len(found),
        "table_4": beside(TABLE_4_EHF_MM, ours),
        "table_5": {mode: beside(paper, {}) for mode, paper in TABLE_5_EHF_MM.items()},
        "failed": failed,
    }


def _pelvis(body: ParametricBody) -> F64:
    """(V,) weights whose sum of the template's vertices is the pelvis: those around it."""
    template = body.template_m.astype(np.float64)
    near = np.argsort(np.linalg.norm(template - body.joint_template_m[0], axis=1))[:200]
    system = np.vstack([template[near].T, np.ones(len(near))])
    weights = np.zeros(len(template))
    weights[near] = np.linalg.pinv(system) @ np.append(body.joint_template_m[0], 1.0)
    return weights


async def _reconstructed(
    picture: Path, body: ParametricBody, options: EngineOptions
) -> tuple[F64, float]:
    """(10475, 3) our person of a picture as SMPL-X, and the conversion's own error in mm."""
    view = float(np.degrees(2.0 * np.arctan(0.5 * PICTURE_SIDE / FOCAL_PX)))
    frames = PictureFrames([picture] * LOOKS, 30.0, view)
    state: AvatarState | None = None
    with Engine.open(options) as engine, frames:
        async with engine.pipeline.run(frames, Policy.BLOCK, pose=False) as results:
            async for result in results:
                state = result.state
        avatar = engine.reconstructor.fitted_avatar
    if state is None or state.body_confidence <= 0.0:
        raise SourceError(f"nobody is seen in {picture}")
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
