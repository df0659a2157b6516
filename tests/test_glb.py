from __future__ import annotations

import dataclasses
import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs import random_state, synthetic_avatar

from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.glb_reader import read_glb
from engine.body.blend_skinning import Poser
from engine.errors import ModelFileError
from engine.fusion.copy_paste import build_topology, fuse
from engine.types import ARKIT_NAMES, Identity
from exporters.glb import write_glb

LIMIT = 16 << 20
GLB = write_glb(synthetic_avatar())


def split(data):
    """The JSON document and the binary chunk."""
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def join(document, binary):
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text
    chunks += struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


def assert_same(one, other):
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "topology":
            assert_same(a, b)
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, err_msg=field.name)
            assert a.dtype == b.dtype, field.name
        else:
            assert a == b, field.name


def assert_poses_alike(one, other):
    state = random_state(len(one.parents), 5)
    a, b = Poser(one).pose(state), Poser(other).pose(state)
    np.testing.assert_allclose(a.vertices_m, b.vertices_m, atol=1e-6)
    np.testing.assert_allclose(a.normals, b.normals, atol=1e-4)


@pytest.mark.parametrize("influences", [4, 5])
def test_a_round_trip_gives_the_same_avatar(influences):
    avatar = synthetic_avatar(1, influences)
    again = read_glb(write_glb(avatar), LIMIT)
    assert_poses_alike(avatar, again)
    if influences % 4 == 0:
        assert_same(avatar, again)


def test_a_round_trip_of_the_real_avatar(model_cache):
    model = BodyModel.load(model_cache.path(FILE_NAME))
    avatar = fuse(model, build_topology(model), Identity(version=9))
    data = write_glb(avatar)
    assert len(data) < 6e6
    assert_same(avatar, read_glb(data, LIMIT))


def test_an_expression_that_moves_nothing_survives():
    avatar = synthetic_avatar()
    kept = avatar.morph_actions != 7
    counts = np.add.reduceat(kept, avatar.morph_starts[:-1])
    counts[np.diff(avatar.morph_starts) == 0] = 0
    without = dataclasses.replace(
        avatar,
        morph_starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        morph_actions=avatar.morph_actions[kept],
        morph_offsets_m=avatar.morph_offsets_m[kept],
    )
    assert_poses_alike(without, read_glb(write_glb(without), LIMIT))


def test_the_texture_comes_along():
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    texture = np.stack(
        [np.tile(ramp, (32, 1)), np.tile(ramp[::-1], (32, 1)), np.full((32, 64), 99, np.uint8)], -1
    )
    again = read_glb(write_glb(dataclasses.replace(synthetic_avatar(), texture=texture)), LIMIT)
    assert again.texture.shape == texture.shape
    assert np.abs(again.texture.astype(int) - texture).mean() < 3


def test_it_is_a_gltf_that_any_viewer_reads():
    """The parts of the specification that a careless writer gets wrong."""
    document, binary = split(GLB)
    avatar = synthetic_avatar()
    assert document["asset"]["version"] == "2.0"
    assert document["meshes"][0]["extras"]["targetNames"] == list(ARKIT_NAMES)
    primitive = document["meshes"][0]["primitives"][0]
    for name in (
        "POSITION",
        "NORMAL",
        "TEXCOORD_0",
        "JOINTS_0",
        "WEIGHTS_0",
        "JOINTS_1",
        "_VERTEX",
    ):
        accessor = document["accessors"][primitive["attributes"][name]]
        assert accessor["count"] == len(avatar.topology.render_vertices)
    position = document["accessors"][primitive["attributes"]["POSITION"]]
    np.testing.assert_allclose(position["min"], avatar.rest_vertices_m.min(axis=0), atol=1e-6)
    for target in primitive["targets"]:
        accessor = document["accessors"][target["POSITION"]]
        assert "bufferView" not in accessor and "byteOffset" not in accessor
        assert accessor["sparse"]["count"] >= 1 and "min" in accessor
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])
    assert document["buffers"] == [{"byteLength": len(binary)}]


def test_joint_nodes_add_up_to_the_rest_positions():
    document, _ = split(GLB)
    avatar = synthetic_avatar()
    place = np.zeros((len(avatar.parents), 3))
    for joint, parent in enumerate(avatar.parents):
        origin = place[parent] if parent >= 0 else 0
        place[joint] = origin + np.array(document["nodes"][joint]["translation"])
    np.testing.assert_allclose(place, avatar.joints_m, atol=1e-6)
    assert [n["name"] for n in document["nodes"][:-1]] == list(avatar.joint_names)


def test_a_file_over_the_limit_is_refused():
    with pytest.raises(ModelFileError, match="at most"):
        read_glb(GLB, len(GLB) - 1)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_refused(data):
    with pytest.raises(ModelFileError):
        read_glb(data, LIMIT)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GLB) - 1))
def test_a_file_cut_short_is_refused(length):
    with pytest.raises(ModelFileError):
        read_glb(GLB[:length], LIMIT)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GLB) - 1), st.binary(min_size=1, max_size=8))
def test_a_damaged_file_gives_an_avatar_that_can_be_posed_or_an_error(position, patch):
    """Whatever a peer changes: either it is refused, or every index is safe to follow."""
    data = GLB[:position] + patch + GLB[position + len(patch) :]
    try:
        avatar = read_glb(data, LIMIT)
    except ModelFileError:
        return
    if len(avatar.parents) == len(synthetic_avatar().parents):
        mesh = Poser(avatar).pose(random_state(len(avatar.parents)))
        assert mesh.vertices_m.shape == avatar.rest_vertices_m.shape


NUMBERS = st.one_of(st.integers(-5, 300), st.sampled_from([2**31, 2**63 - 1, -(2**40), 10**30]))


def _paths(node, prefix=()):
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from _paths(value, (*prefix, key))
        elif isinstance(value, int | float | str):
            yield (*prefix, key)


PATHS = sorted(_paths(split(GLB)[0]), key=str)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PATHS), st.one_of(NUMBERS, st.none(), st.text(max_size=5), st.just([])))
def test_a_forged_header_gives_an_avatar_that_can_be_posed_or_an_error(path, value):
    document, binary = split(GLB)
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    try:
        avatar = read_glb(join(document, binary), LIMIT)
    except ModelFileError:
        return
    Poser(avatar).pose(random_state(len(avatar.parents)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["buffers"][0].update(uri="http://example.com/a.bin"), "itself"),
        (lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"]), "extensions"),
        (lambda d: d["meshes"][0]["primitives"][0]["attributes"].pop("_VERTEX"), "_VERTEX"),
        (lambda d: d["meshes"][0]["primitives"][0]["targets"].pop(), "expressions"),
        (lambda d: d["meshes"].clear(), "one mesh"),
        (lambda d: d["nodes"][0].update(children=[]), "tree"),
        (lambda d: d["meshes"][0]["extras"].pop("seamEdges"), "seamEdges"),
        (lambda d: d.update(images=[{"uri": "file:///etc/passwd"}]), "inside"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(change, message):
    document, binary = split(GLB)
    change(document)
    with pytest.raises(ModelFileError, match=message) as caught:
        read_glb(join(document, binary), LIMIT)
    assert "\n" not in str(caught.value)


def hostile(vertices=0, entries=0):
    """A GLB whose attributes, or all of whose expressions, name the same long buffer views."""
    document, binary = split(GLB)
    primitive = document["meshes"][0]["primitives"][0]
    length = max(16 * vertices, 12 * entries)
    view = len(document["bufferViews"])
    place = {"buffer": 0, "byteOffset": len(binary), "byteLength": length}
    document["bufferViews"].append(place)
    document["buffers"][0]["byteLength"] = len(binary) + length
    for number in primitive["attributes"].values() if vertices else ():
        document["accessors"][number].update(bufferView=view, count=vertices)
    for target in primitive["targets"] if entries else ():
        accessor = document["accessors"][target["POSITION"]]
        accessor["count"] = accessor["sparse"]["count"] = entries
        accessor["sparse"]["indices"]["bufferView"] = view
        accessor["sparse"]["values"]["bufferView"] = view
    return join(document, binary + b"\0" * length)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (hostile(vertices=700_000), "elements"),
        (hostile(vertices=120_000), "120000 vertices"),
        (hostile(entries=500_000), "26000000 entries"),
    ],
)
def test_a_small_file_cannot_ask_for_much_memory(data, message):
    """A server that a viewer watches must not be able to fill the viewer's memory."""
    assert len(data) < LIMIT
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=message):
            read_glb(data, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_numbers_that_are_not_finite_are_refused():
    document, binary = split(GLB)
    position = document["accessors"][
        document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]
    ]
    offset = document["bufferViews"][position["bufferView"]]["byteOffset"]
    broken = binary[:offset] + struct.pack("<f", float("nan")) + binary[offset + 4 :]
    with pytest.raises(ModelFileError, match="finite"):
        read_glb(join(document, broken), LIMIT)
