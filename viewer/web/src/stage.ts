// Light, floor and camera around the avatar, and the drawing loop.

import {
  Box3,
  CircleGeometry,
  DirectionalLight,
  Group,
  HemisphereLight,
  Mesh,
  VSMShadowMap,
  PerspectiveCamera,
  Scene,
  ShadowMaterial,
  Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";

import type { Avatar } from "./avatar";

export type Framing = "body" | "face";

const FIELD_OF_VIEW_DEG = 30; // a portrait lens: a wider one makes noses long
const FACE_HEIGHT_M = 0.42;
const BODY_MARGIN_M = 0.35;
const TOOLBAR_SHARE = 0.06; // of the picture's height: the body moves up by it
const MAX_PIXEL_RATIO = 2;
const GROUND_RADIUS_M = 1.15; // inside of what the shadow's light sees
const FLOOR_RISE = 0.002; // per frame

export class Stage {
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(FIELD_OF_VIEW_DEG, 1, 0.05, 50);
  private readonly controls: OrbitControls;
  private readonly studio = new Group();
  private avatar: Avatar | null = null;
  private wanted: Framing | null = "body";
  private floor = NaN;

  /** Throws an Error with one sentence where there is no WebGL 2. */
  constructor(private readonly canvas: HTMLCanvasElement) {
    try {
      this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true });
    } catch {
      throw new Error("This browser cannot draw in 3D: WebGL 2 is switched off or missing.");
    }
    this.renderer.shadowMap.enabled = true;
    this.renderer.shadowMap.type = VSMShadowMap;
    this.controls = new OrbitControls(this.camera, canvas);
    this.controls.enableDamping = true;
    this.controls.minDistance = 0.2;
    this.controls.maxDistance = 15;
    this.buildStudio();
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.resize();
  }

  /** Calls `beforeDraw` and draws, once per screen refresh. */
  start(beforeDraw: () => void): void {
    this.renderer.setAnimationLoop(() => {
      beforeDraw();
      this.follow();
      this.controls.update();
      this.renderer.render(this.scene, this.camera);
    });
  }

  /** Uploads an avatar's skin before it is shown, so that no frame waits for it. */
  upload(avatar: Avatar): void {
    for (const texture of avatar.textures()) this.renderer.initTexture(texture);
  }

  /** Shows another avatar instead of the present one. */
  setAvatar(avatar: Avatar): void {
    if (this.avatar !== null) {
      this.scene.remove(this.avatar.root);
      this.avatar.dispose();
    }
    this.avatar = avatar;
    this.scene.add(avatar.root);
    this.floor = NaN;
  }

  /** Looks at the whole body or at the face as of the next frame. */
  frame(framing: Framing): void {
    this.wanted = framing;
  }

  /** Follows an avatar that was mirrored about x = 0: it stays where it was in the picture. */
  mirrorView(): void {
    this.controls.target.x *= -1;
    this.camera.position.x *= -1;
  }

  private buildStudio(): void {
    const key = directional(0xfff6ee, 2.4, 1.4, 1.9, 2.6);
    const fill = directional(0xeaf1ff, 0.9, -2.4, 0.7, 2.0);
    // From above, so that the shadow stays under the feet, and weak: it is there for the shadow.
    const top = directional(0xffffff, 0.5, 0.5, 3.2, 0.7);
    top.castShadow = true;
    top.shadow.mapSize.set(512, 512);
    top.shadow.radius = 5;
    top.shadow.blurSamples = 12;
    Object.assign(top.shadow.camera, { left: -1.4, right: 1.4, top: 1.4, bottom: -1.4, far: 5 });
    const disc = new CircleGeometry(GROUND_RADIUS_M, 32);
    const ground = new Mesh(disc, new ShadowMaterial({ opacity: 0.3 }));
    ground.rotation.x = -Math.PI / 2;
    ground.receiveShadow = true;
    this.studio.add(new HemisphereLight(0xf4f7fb, 0xa09890, 2.0), ground);
    for (const light of [key, fill, top]) this.studio.add(light, light.target);
    this.scene.add(this.studio);
  }

  /** Keeps floor and light under the avatar and answers a wish for a framing. */
  private follow(): void {
    const avatar = this.avatar;
    if (avatar === null || !avatar.root.visible) return;
    avatar.bounds(BOUNDS);
    const lowest = BOUNDS.min.y - 0.03;
    // Down at once, up slowly: a jump is not an earthquake.
    const falls = !(this.floor <= lowest);
    this.floor = falls ? lowest : this.floor + FLOOR_RISE * (lowest - this.floor);
    BOUNDS.getCenter(CENTRE);
    this.studio.position.set(CENTRE.x, this.floor, CENTRE.z);
    if (this.wanted === null) return;
    if (this.wanted === "face") this.look(avatar.eyes(CENTRE), FACE_HEIGHT_M, FACE_HEIGHT_M * 0.8);
    else this.lookAtBody();
    this.wanted = null;
  }

  private lookAtBody(): void {
    const size = BOUNDS.getSize(SIZE);
    const height = (size.y + BODY_MARGIN_M) * (1 + 2 * TOOLBAR_SHARE);
    CENTRE.y -= TOOLBAR_SHARE * height;
    this.look(CENTRE, height, size.x + BODY_MARGIN_M);
  }

  private look(target: Vector3, height: number, width: number): void {
    const tangent = Math.tan((FIELD_OF_VIEW_DEG * Math.PI) / 360);
    const distance = Math.max(height, width / this.camera.aspect) / (2 * tangent);
    this.controls.target.copy(target);
    this.camera.position.set(target.x, target.y + 0.05 * distance, target.z + distance);
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    if (clientWidth === 0 || clientHeight === 0) return;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, MAX_PIXEL_RATIO));
    this.renderer.setSize(clientWidth, clientHeight, false);
    this.camera.aspect = clientWidth / clientHeight;
    this.camera.updateProjectionMatrix();
  }
}

function directional(colour: number, intensity: number, x: number, y: number, z: number) {
  const light = new DirectionalLight(colour, intensity);
  light.position.set(x, y, z);
  return light;
}

const BOUNDS = new Box3();
const CENTRE = new Vector3();
const SIZE = new Vector3();
