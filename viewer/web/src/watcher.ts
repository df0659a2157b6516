// Receives an avatar by WHEP: the base avatar once, then motion packets; keeps the newest.

import { AvatarReceiver } from "./avatar_receiver";
import { RemoteClock } from "./clock";
import {
  type AvatarState,
  CHANNELS,
  type ControlMessage,
  decodeMotion,
  type Edit,
  type IdentityNews,
  PROTOCOL_VERSION,
  ProtocolError,
  type SourceNews,
} from "./protocol";
import { connect, type Endpoint, type Session } from "./signalling";

const PING_EVERY_MS = 2000;

export interface WatcherEvents {
  /** A whole base avatar, newer than all before. */
  avatar(glb: ArrayBuffer): void;
  /** A newer state than all before. */
  state(state: AvatarState): void;
  /** The server's own figures. */
  statistics(values: Record<string, number>): void;
  /** Where the frames come from, at first and whenever it changes. */
  source(state: SourceNews["state"]): void;
  /** Who the avatar is, at first and whenever it changes. */
  identity(news: IdentityNews): void;
  /** An edit was not done; one sentence why. */
  refused(reason: string): void;
  /** The connection has ended, with one sentence why; called at most once. */
  lost(reason: string): void;
}

/** What has been received so far. */
export interface Traffic {
  packets: number;
  lostPackets: number;
  bytes: number;
}

export class Watcher {
  readonly clock = new RemoteClock();
  readonly traffic: Traffic = { packets: 0, lostPackets: 0, bytes: 0 };
  private readonly peer = new RTCPeerConnection();
  private readonly avatar = new AvatarReceiver((received) => {
    this.say({ type: "progress", received });
  });
  private readonly control: RTCDataChannel;
  private session: Session | null = null;
  private newestSequence = -1;
  private pinging = 0;
  private ended = false;

  private constructor(private readonly events: WatcherEvents) {
    this.control = this.channel("control", (data) => this.takeControl(data));
    this.channel("avatar", (data) => void this.takeAvatar(data));
    this.channel("motion", (data) => this.takeMotion(data));
    this.control.addEventListener("open", () => this.greet());
    this.control.addEventListener("close", () => this.end("The server closed the connection."));
    this.peer.addEventListener("connectionstatechange", () => {
      if (this.peer.connectionState === "failed") this.end("The server is gone.");
    });
  }

  /** Connects to a WHEP endpoint; throws a SignallingError. */
  static async open(endpoint: Endpoint, events: WatcherEvents): Promise<Watcher> {
    const watcher = new Watcher(events);
    try {
      watcher.session = await connect(watcher.peer, endpoint);
    } catch (error) {
      watcher.ended = true; // closing ends the channels too: one failure must not be told twice
      watcher.peer.close();
      throw error;
    }
    return watcher;
  }

  /** Asks for a change of the avatar. */
  edit(edit: Edit): void {
    this.say(edit);
  }

  /** Ends the connection without calling `lost`. */
  async close(): Promise<void> {
    this.ended = true;
    clearInterval(this.pinging);
    await this.session?.close();
  }

  private channel(
    label: "control" | "avatar" | "motion",
    take: (data: string | ArrayBuffer) => void,
  ): RTCDataChannel {
    const spec = CHANNELS[label];
    const channel = this.peer.createDataChannel(label, spec.options);
    channel.binaryType = "arraybuffer";
    channel.addEventListener("message", ({ data }: MessageEvent<string | ArrayBuffer>) => {
      const size = typeof data === "string" ? data.length : data.byteLength;
      if (size > spec.maxMessageBytes) this.end("The server sent a message that is too long.");
      else this.guard(() => take(data));
    });
    return channel;
  }

  private say(message: ControlMessage): void {
    if (this.control.readyState === "open") this.control.send(JSON.stringify(message));
  }

  private greet(): void {
    this.say({ type: "hello", protocol: PROTOCOL_VERSION, agent: "browser", tiers: ["motion"] });
    const ping = () => this.say({ type: "ping", sent_at_us: RemoteClock.nowUs() });
    ping();
    this.pinging = setInterval(ping, PING_EVERY_MS);
  }

  private takeControl(data: string | ArrayBuffer): void {
    if (typeof data !== "string") return this.takeMotion(data); // the last state, sent reliably
    const message = JSON.parse(data) as ControlMessage;
    if (message.type === "pong") this.clock.answer(message);
    else if (message.type === "statistics") this.events.statistics(message.values);
    else if (message.type === "source") this.events.source(message.state);
    else if (message.type === "identity") this.events.identity(message);
    else if (message.type === "refused") this.events.refused(message.reason);
    else if (message.type === "error") this.end(message.reason);
  }

  private async takeAvatar(data: string | ArrayBuffer): Promise<void> {
    try {
      const glb = await this.avatar.take(data);
      if (glb !== null && !this.ended) this.events.avatar(glb);
    } catch (error) {
      this.fail(error);
    }
  }

  private takeMotion(data: string | ArrayBuffer): void {
    if (typeof data === "string") throw new ProtocolError("text on the motion channel");
    const packet = decodeMotion(new Uint8Array(data));
    this.traffic.packets++;
    this.traffic.bytes += data.byteLength;
    if (packet.sequence <= this.newestSequence) {
      this.traffic.lostPackets--; // late, and counted as lost before
      return;
    }
    if (this.newestSequence >= 0) {
      this.traffic.lostPackets += packet.sequence - this.newestSequence - 1;
    }
    this.newestSequence = packet.sequence;
    this.events.state(packet.state);
  }

  private guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.fail(error);
    }
  }

  private fail(error: unknown): void {
    const known = error instanceof ProtocolError || error instanceof SyntaxError;
    if (!known) throw error;
    this.end(`The server sent something unexpected: ${error.message}.`);
  }

  private end(reason: string): void {
    if (this.ended) return;
    void this.close();
    this.events.lost(reason);
  }
}
