// Keeps the avatar on the stage up to date with the server, for as long as the page is open.

import { Avatar } from "./avatar";
import { Figures } from "./figures";
import type { AvatarState } from "./protocol";
import { retry } from "./retry";
import type { Endpoint } from "./signalling";
import type { Stage } from "./stage";
import { Watcher, type WatcherEvents } from "./watcher";

const QUIET_MS = 3000;
const NOBODY_YET = "Waiting for someone in front of the camera…";
const NOTHING_NEW = "No new pictures from the camera.";

export class LiveAvatar implements WatcherEvents {
  private readonly figures = new Figures();
  private watcher: Watcher | null = null;
  private wanted = false;
  private model: Avatar | null = null;
  private modelConnection = 0; // which connection brought the model
  private connection = 1;
  private waiting: ArrayBuffer | null = null; // of avatars that wait only the newest is read
  private mirrored = false;
  private newest: AvatarState | null = null;
  private shown: AvatarState | null = null;
  private lastStateMs = 0;
  private loading = Promise.resolve();

  constructor(
    private readonly stage: Stage,
    private readonly endpoint: Endpoint,
    /** Told one sentence whenever it changes; empty while the avatar moves. */
    private readonly status: (sentence: string) => void,
  ) {}

  /** Connects, and connects again whenever the server was away. */
  async start(): Promise<void> {
    if (this.wanted) return;
    this.wanted = true;
    await this.connect("Connecting…");
  }

  setMirrored(mirrored: boolean): void {
    if (mirrored !== this.mirrored) this.stage.mirrorView();
    this.mirrored = mirrored;
    this.model?.setMirrored(mirrored);
  }

  /**
   * Poses the avatar by the newest state, if that is a new one; called before every drawing. While
   * a new identity's avatar is on the way the one before goes on moving: a pose fits both.
   */
  beforeDraw(): void {
    const state = this.newest;
    if (state === null || state === this.shown || this.model === null) return;
    if (this.modelConnection !== this.connection) return; // another server, perhaps somebody else
    this.model.apply(state);
    this.model.root.visible = true;
    this.shown = state;
    this.figures.draw(this.watcher?.clock.ageMs(state.capturedAtMs) ?? NaN);
  }

  /** Called about once a second: notices silence, and returns the lines of the statistics card. */
  review(): string[] {
    const watcher = this.watcher;
    if (watcher === null) return [];
    const quiet = performance.now() - this.lastStateMs > QUIET_MS;
    if (quiet) this.status(this.shown === null ? NOBODY_YET : NOTHING_NEW);
    return this.figures.lines(watcher.traffic, watcher.clock);
  }

  // --- what the watcher tells

  avatar(glb: ArrayBuffer): void {
    this.waiting = glb;
    this.loading = this.loading.then(() => this.loadNewest());
  }

  state(state: AvatarState): void {
    this.newest = state;
    this.lastStateMs = performance.now();
    if (this.modelConnection === this.connection) this.status("");
  }

  statistics(values: Record<string, number>): void {
    this.figures.setServer(values);
  }

  lost(reason: string): void {
    this.watcher = null;
    this.connection++;
    this.waiting = this.newest = null;
    void this.connect(`${reason} Connecting again…`);
  }

  private async connect(sentence: string): Promise<void> {
    this.status(sentence);
    this.watcher = await retry(
      () => Watcher.open(this.endpoint, this),
      () => !this.wanted,
      (error, delay) => this.status(`${error.message} Trying again in ${delay / 1000} s.`),
    );
    this.lastStateMs = performance.now();
    this.status("Waiting for the avatar…");
  }

  private async loadNewest(): Promise<void> {
    const { connection, waiting: glb } = this;
    this.waiting = null;
    if (glb === null) return;
    try {
      const model = await Avatar.load(glb);
      if (connection !== this.connection) return model.dispose();
      model.setMirrored(this.mirrored);
      model.root.visible = false; // until it is posed: nobody wants to see the rest pose flash by
      this.stage.setAvatar(model);
      this.model = model;
      this.modelConnection = connection;
      this.shown = null;
    } catch (error) {
      this.status((error as Error).message);
    }
  }
}
