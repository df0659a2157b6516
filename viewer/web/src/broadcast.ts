// Sends the visitor's camera for as long as they want, over new connections where one breaks.

import { openCamera, publish } from "./camera";
import { retry } from "./retry";
import type { Endpoint, Session } from "./signalling";

export class Broadcast {
  private stream: MediaStream | null = null;
  private session: Session | null = null;

  constructor(
    private readonly endpoint: Endpoint,
    /** Shows the camera picture, or null when it has ended. */
    private readonly show: (stream: MediaStream | null) => void,
    private readonly status: (sentence: string) => void,
  ) {}

  /** Proof to the server that this page sends the camera; null while it does not. */
  get key(): string | null {
    return this.session?.id ?? null;
  }

  /** Asks for the camera and sends it; throws a CameraError. */
  async start(): Promise<void> {
    if (this.stream !== null) return;
    const stream = await openCamera();
    this.stream = stream;
    this.show(stream);
    for (const track of stream.getVideoTracks()) {
      track.addEventListener("ended", () => {
        this.status("The camera was unplugged or taken away.");
        void this.stop();
      });
    }
    await this.send(stream);
  }

  async stop(): Promise<void> {
    const session = this.session;
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = this.session = null;
    this.show(null);
    await session?.close();
  }

  private async send(stream: MediaStream): Promise<void> {
    const stopped = () => this.stream !== stream;
    const session = await retry(
      () => publish(stream, this.endpoint, () => void this.again(stream)),
      stopped,
      (error, delay) => this.status(`${error.message} Trying again in ${delay / 1000} s.`),
    );
    if (stopped()) await session?.close();
    else this.session = session;
  }

  private async again(stream: MediaStream): Promise<void> {
    const session = this.session;
    if (session === null || this.stream !== stream) return;
    this.session = null;
    await session.close();
    await this.send(stream);
  }
}
