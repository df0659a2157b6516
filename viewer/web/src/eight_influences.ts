// three.js skins with four joints per vertex. The avatar has eight, and dropping four would move
// some vertices by centimetres, so its shader is given the second set too.

import { type Material, MeshDepthMaterial, RGBADepthPacking, type SkinnedMesh } from "three";

const DECLARE = `#include <skinning_pars_vertex>
#ifdef USE_SKINNING
attribute vec4 joints_1;
attribute vec4 weights_1;
mat4 blendedBone() {
  // GLTFLoader scales the first set to sum to one: undo that.
  vec4 first = skinWeight * (1.0 - dot(weights_1, vec4(1.0)));
  mat4 m = first.x * getBoneMatrix(skinIndex.x) + first.y * getBoneMatrix(skinIndex.y)
         + first.z * getBoneMatrix(skinIndex.z) + first.w * getBoneMatrix(skinIndex.w);
  if (weights_1.x > 0.0) m += weights_1.x * getBoneMatrix(joints_1.x);
  if (weights_1.y > 0.0) m += weights_1.y * getBoneMatrix(joints_1.y);
  if (weights_1.z > 0.0) m += weights_1.z * getBoneMatrix(joints_1.z);
  if (weights_1.w > 0.0) m += weights_1.w * getBoneMatrix(joints_1.w);
  return bindMatrixInverse * m * bindMatrix;
}
#endif`;

const SKIN_BASE = `#ifdef USE_SKINNING
mat4 skinMatrix = blendedBone();
#endif`;

const SKIN_NORMAL = `#ifdef USE_SKINNING
objectNormal = mat3(skinMatrix) * objectNormal;
#endif`;

const SKIN_POSITION = `#ifdef USE_SKINNING
transformed = (skinMatrix * vec4(transformed, 1.0)).xyz;
#endif`;

/** Patches the mesh's materials; a mesh with one set of joints is left alone. */
export function useEightInfluences(mesh: SkinnedMesh): void {
  if (!mesh.geometry.hasAttribute("joints_1")) return;
  for (const material of [mesh.material].flat()) patch(material);
  mesh.customDepthMaterial = new MeshDepthMaterial({ depthPacking: RGBADepthPacking }); // shadows
  patch(mesh.customDepthMaterial, "#include <morphtarget_vertex>"); // a smile casts no shadow
}

/** Replaces three's skinning by the eightfold one in any built-in material; leaves out a chunk. */
function patch(material: Material, without = ""): void {
  material.onBeforeCompile = (shader) => {
    shader.vertexShader = shader.vertexShader
      .replace("#include <skinning_pars_vertex>", DECLARE)
      .replace("#include <skinbase_vertex>", SKIN_BASE)
      .replace("#include <skinnormal_vertex>", SKIN_NORMAL)
      .replace("#include <skinning_vertex>", SKIN_POSITION)
      .replace(without, "");
  };
}
