// Keeps the avatar on the stage up to date with the server, for as long as the page is open.

import { Avatar } from "./avatar";
import { Figures } from "./figures";
import type { AvatarState, Edit, IdentityNews, SourceNews } from "./protocol";
import { retry } from "./retry";
import type { Endpoint } from "./signalling";
import type { Stage } from "./stage";
import { Watcher, type WatcherEvents } from "./watcher";

const QUIET_MS = 3000;
const NOBODY_YET = "Waiting for someone in front of the camera…";
const NO_FRAMES: Record<SourceNews["state"], string> = {
  live: "No new pictures from the camera.",
  waiting: "Waiting for a camera…",
  ended: "The source has ended.",
};
const REFUSAL_MS = 6000; // long enough to be read

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
  private sourceState: SourceNews["state"] = "live";
  private refusedMs = -Infinity;

  constructor(
    private readonly stage: Stage,
    private readonly endpoint: Endpoint,
    /** Told one sentence whenever it changes; empty while the avatar moves. */
    private readonly say: (sentence: string) => void,
    /** Told who the avatar is; null while that is not known. */
    private readonly identify: (news: IdentityNews | null) => void,
  ) {}

  /** Connects, and connects again whenever the server was away. */
  async start(): Promise<void> {
    if (this.wanted) return;
    this.wanted = true;
    await this.connect("Connecting…");
  }

  /** Asks the server for a change of the avatar. */
  edit(edit: Edit): void {
    this.watcher?.edit(edit);
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
    const nobodyYet = this.sourceState === "live" && this.shown === null;
    if (quiet) this.status(nobodyYet ? NOBODY_YET : NO_FRAMES[this.sourceState]);
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
    if (this.modelConnection === this.connection) this.status(this.ending());
  }

  source(state: SourceNews["state"]): void {
    this.sourceState = state;
    if (this.shown !== null) this.status(this.ending());
  }

  identity(news: IdentityNews): void {
    this.identify(news);
  }

  refused(reason: string): void {
    this.refusedMs = -Infinity;
    this.status(`Not changed: ${reason}.`);
    this.refusedMs = performance.now();
  }

  statistics(values: Record<string, number>): void {
    this.figures.setServer(values);
  }

  lost(reason: string): void {
    this.watcher = null;
    this.connection++;
    this.waiting = this.newest = null;
    this.sourceState = "live";
    this.identify(null);
    void this.connect(`${reason} Connecting again…`);
  }

  /** What to say of a last frame: nothing if more are to come. */
  private ending(): string {
    return this.sourceState === "live" ? "" : NO_FRAMES[this.sourceState];
  }

  private status(sentence: string): void {
    if (performance.now() - this.refusedMs > REFUSAL_MS) this.say(sentence);
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
      const next = await Avatar.load(glb);
      if (connection !== this.connection) return next.dispose();
      if (!this.model?.hasSkinOf(next)) this.stage.upload(next);
      const isSame = this.modelConnection === connection && this.model?.become(next);
      if (!isSame) this.show(next, connection);
      this.shown = null;
    } catch (error) {
      this.status((error as Error).message);
    }
  }

  private show(model: Avatar, connection: number): void {
    model.finish();
    model.setMirrored(this.mirrored);
    model.root.visible = false; // until it is posed: nobody wants to see the rest pose flash by
    this.stage.setAvatar(model);
    this.model = model;
    this.modelConnection = connection;
  }
}
