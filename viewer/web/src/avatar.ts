// The fused avatar as three.js draws it: a skinned mesh with 52 morph targets, posed by packets.

import {
  Box3,
  Group,
  type Bone,
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
  ) {
    this.root.add(scene);
    this.rootRest.copy(bones[0].position);
  }

  /** Reads the base avatar that the server sent; throws an AvatarFileError. */
  static async load(glb: ArrayBuffer): Promise<Avatar> {
    const { scene } = await new GLTFLoader().parseAsync(glb, "").catch(() => {
      throw new AvatarFileError("The server sent an avatar that cannot be read.");
    });
    const mesh = scene.getObjectByProperty("isSkinnedMesh", true) as SkinnedMesh | undefined;
    if (mesh === undefined || mesh.morphTargetInfluences === undefined) {
      throw new AvatarFileError("The server sent an avatar without a skin or expressions.");
    }
    mesh.frustumCulled = false; // its bounds are those of the rest pose
    mesh.castShadow = true;
    useEightInfluences(mesh);
    addMorphNormals(mesh.geometry);
    return new Avatar(mesh, mesh.skeleton.bones, mesh.morphTargetInfluences, scene as Group);
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
    const materials = [this.mesh.material].flat() as MeshStandardMaterial[];
    return materials.flatMap(({ map }) => map ?? []);
  }

  dispose(): void {
    this.mesh.geometry.dispose();
    this.mesh.skeleton.dispose();
    for (const texture of this.textures()) texture.dispose();
    for (const material of [this.mesh.material].flat()) material.dispose();
  }
}

const POINT = new Vector3();
