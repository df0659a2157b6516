// The avatar's file holds where each expression moves vertices, not how it turns their normals.
// Without those a smile would be lit like a neutral face, so they are worked out once at loading.

import { BufferAttribute, type BufferGeometry } from "three";

/** Adds morph normals to a geometry that has relative morph positions. */
export function addMorphNormals(geometry: BufferGeometry): void {
  const targets = geometry.morphAttributes.position;
  if (targets === undefined || geometry.index === null) return;
  const surface = new Surface(geometry);
  const rest = surface.normals(null);
  geometry.morphAttributes.normal = targets.map((target) => {
    const turned = surface.normals(target.array as Float32Array);
    for (let i = 0; i < turned.length; i++) turned[i] -= rest[i];
    return new BufferAttribute(turned, 3);
  });
}

/** Triangles over welded vertices: drawn vertices on a texture seam share their normal. */
class Surface {
  private readonly positions: Float32Array;
  private readonly moved: Float32Array;
  private readonly index: ArrayLike<number>;
  private readonly welded: ArrayLike<number>;

  constructor(geometry: BufferGeometry) {
    this.positions = geometry.getAttribute("position").array as Float32Array;
    this.moved = new Float32Array(this.positions.length);
    this.index = (geometry.index as BufferAttribute).array;
    const count = this.positions.length / 3;
    const own = Uint32Array.from({ length: count }, (_, v) => v);
    this.welded = geometry.hasAttribute("_vertex") ? geometry.getAttribute("_vertex").array : own;
  }

  /** Area-weighted unit normals of the surface after `offsets` are added, three per vertex. */
  normals(offsets: Float32Array | null): Float32Array {
    this.moved.set(this.positions);
    if (offsets !== null) for (let i = 0; i < offsets.length; i++) this.moved[i] += offsets[i];
    const sums = new Float32Array(this.moved.length);
    for (let f = 0; f < this.index.length; f += 3) this.addFace(f, sums);
    return this.spread(sums);
  }

  private addFace(f: number, sums: Float32Array): void {
    const p = this.moved;
    const a = 3 * this.index[f];
    const b = 3 * this.index[f + 1];
    const c = 3 * this.index[f + 2];
    const ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2];
    const vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
    const nx = uy * vz - uz * vy, ny = uz * vx - ux * vz, nz = ux * vy - uy * vx;
    for (let corner = 0; corner < 3; corner++) {
      const at = 3 * this.welded[this.index[f + corner]];
      sums[at] += nx;
      sums[at + 1] += ny;
      sums[at + 2] += nz;
    }
  }

  private spread(sums: Float32Array): Float32Array {
    const normals = new Float32Array(sums.length);
    for (let v = 0; v < this.welded.length; v++) {
      const at = 3 * this.welded[v];
      const length = Math.hypot(sums[at], sums[at + 1], sums[at + 2]) || 1;
      for (let axis = 0; axis < 3; axis++) normals[3 * v + axis] = sums[at + axis] / length;
    }
    return normals;
  }
}
