// The fused avatar as three.js draws it: a skinned mesh with 52 morph targets, posed by packets.

import {
  Box3,
  Group,
  type Bone,
  type BufferAttribute,
  type BufferGeometry,
  type MeshStandardMaterial,
  type SkinnedMesh,
  type Texture,
  Vector3,
} from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

import { useEightInfluences } from "./eight_influences";
import { addMorphNormals } from "./morph_normals";
import type { AvatarState } from "./protocol";

export class AvatarFileError extends Error {}

export class Avatar {
  /** Add this to the scene. */
  readonly root = new Group();
  private readonly rootRest = new Vector3();

  private constructor(
    readonly mesh: SkinnedMesh,
    private readonly bones: Bone[],
    private readonly influences: number[],
    scene: Group,
    private skin: Uint8Array, // its texture's file: two that are equal are uploaded once
  ) {
    this.root.add(scene);
    this.rootRest.copy(bones[0].position);
  }

  /** Reads the base avatar that the server sent; throws an AvatarFileError. */
  static async load(glb: ArrayBuffer): Promise<Avatar> {
    const { scene, parser } = await new GLTFLoader().parseAsync(glb, "").catch(() => {
      throw new AvatarFileError("The server sent an avatar that cannot be read.");
    });
    const mesh = scene.getObjectByProperty("isSkinnedMesh", true) as SkinnedMesh | undefined;
    if (mesh === undefined || mesh.morphTargetInfluences === undefined) {
      throw new AvatarFileError("The server sent an avatar without a skin or expressions.");
    }
    mesh.frustumCulled = false; // its bounds are those of the rest pose
    mesh.castShadow = true;
    useEightInfluences(mesh);
    const view: number | undefined = parser.json.images?.[0]?.bufferView;
    const skin = view === undefined ? [] : await parser.getDependency("bufferView", view);
    const { morphTargetInfluences: influences, skeleton } = mesh;
    return new Avatar(mesh, skeleton.bones, influences, scene as Group, new Uint8Array(skin));
  }

  /** Works out what only an avatar that is drawn needs; takes some tenths of a second. */
  finish(): void {
    addMorphNormals(this.mesh.geometry);
  }

  /**
   * Becomes another identity on the same topology: rest shape, skeleton and skin change, while the
   * expressions, by far the most of an avatar, stay on the GPU. False where `next` is not such a one.
   * How expressions turn normals stays the last identity's: a difference that nobody sees.
   */
  become(next: Avatar): boolean {
    const [mine, theirs] = [this.mesh.geometry, next.mesh.geometry];
    if (this.bones.length !== next.bones.length || !isSameTopology(mine, theirs)) return false;
    for (const name of ["position", "normal"]) {
      const attribute = mine.getAttribute(name) as BufferAttribute;
      attribute.copyArray(theirs.getAttribute(name).array);
      attribute.needsUpdate = true;
    }
    this.bones.forEach((bone, j) => {
      bone.position.copy(next.bones[j]!.position);
      this.mesh.skeleton.boneInverses[j]!.copy(next.mesh.skeleton.boneInverses[j]!);
    });
    this.rootRest.copy(next.rootRest);
    this.wear(next);
    return true;
  }

  /** Whether another avatar looks the same on its surface. */
  hasSkinOf(other: Avatar): boolean {
    return areEqual(this.skin, other.skin);
  }

  /** Takes over another avatar's skin; the material stays, for its shaders are compiled. */
  private wear(next: Avatar): void {
    if (this.hasSkinOf(next)) return next.dispose();
    this.skin = next.skin;
    const [mine, theirs] = [materialsOf(this.mesh), materialsOf(next.mesh)];
    mine.forEach((material, k) => {
      const map = theirs[k]?.map ?? null;
      material.map?.dispose();
      material.needsUpdate = (material.map === null) !== (map === null);
      material.map = map;
      theirs[k]?.dispose();
    });
  }

  /** Takes pose and expression; allocates nothing. */
  apply(state: AvatarState): void {
    const { rotations, expression, translation } = state;
    for (let j = 0; j < this.bones.length; j++) {
      this.bones[j].quaternion.fromArray(rotations, 4 * j);
    }
    this.bones[0].position.fromArray(translation).add(this.rootRest);
    for (let e = 0; e < this.influences.length; e++) this.influences[e] = expression[e];
  }

  /** Shows the avatar as in a mirror. */
  setMirrored(mirrored: boolean): void {
    this.root.scale.x = mirrored ? -1 : 1;
  }

  /** Bounds of all joints as posed now, a little smaller than the body. */
  bounds(into: Box3): Box3 {
    this.root.updateWorldMatrix(true, true);
    into.makeEmpty();
    for (const { matrixWorld } of this.bones) {
      into.expandByPoint(POINT.setFromMatrixPosition(matrixWorld));
    }
    return into;
  }

  /** The point between the eyes as posed now: the last two joints are the eyes. */
  eyes(into: Vector3): Vector3 {
    this.root.updateWorldMatrix(true, true);
    const [left, right] = this.bones.slice(-2);
    into.setFromMatrixPosition(left.matrixWorld);
    return into.add(POINT.setFromMatrixPosition(right.matrixWorld)).multiplyScalar(0.5);
  }

  /** Its skin. */
  textures(): Texture[] {
    return materialsOf(this.mesh).flatMap(({ map }) => map ?? []);
  }

  dispose(): void {
    this.mesh.geometry.dispose();
    this.mesh.skeleton.dispose();
    for (const texture of this.textures()) texture.dispose();
    for (const material of materialsOf(this.mesh)) material.dispose();
  }
}

function materialsOf(mesh: SkinnedMesh): MeshStandardMaterial[] {
  return [mesh.material].flat() as MeshStandardMaterial[];
}

const SHARED = ["uv", "skinIndex", "skinWeight", "joints_1", "weights_1", "_vertex"];

function isSameTopology(a: BufferGeometry, b: BufferGeometry): boolean {
  const arrays = (geometry: BufferGeometry) => [
    geometry.index?.array ?? [],
    ...SHARED.map((name) => geometry.getAttribute(name)?.array ?? []),
    ...(geometry.morphAttributes.position ?? []).map(({ array }) => array),
  ];
  const [one, other] = [arrays(a), arrays(b)];
  return one.length === other.length && one.every((array, k) => areEqual(array, other[k]!));
}

function areEqual(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

const POINT = new Vector3();
