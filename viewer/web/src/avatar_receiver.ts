// The base avatar arrives as one header and then binary chunks on an ordered channel.

import {
  AVATAR_MAX_BYTES,
  AVATAR_PROGRESS_BYTES,
  type AvatarHeader,
  ProtocolError,
} from "./protocol";

/** Puts chunks together and checks size and hash. */
export class AvatarReceiver {
  private header: AvatarHeader | null = null;
  private bytes = new Uint8Array(0);
  private filled = 0;
  private reported = 0;

  /** `progress` is told how many bytes have come whenever the server should hear of it. */
  constructor(private readonly progress: (received: number) => void) {}

  /** Takes the next message; a complete GLB comes back once, null until then. */
  async take(message: string | ArrayBuffer): Promise<ArrayBuffer | null> {
    if (typeof message === "string") {
      this.begin(JSON.parse(message) as AvatarHeader);
      return null;
    }
    const header = this.header;
    if (header === null) throw new ProtocolError("avatar data came before its header");
    if (this.filled + message.byteLength > header.size) {
      throw new ProtocolError("more avatar data came than announced");
    }
    this.bytes.set(new Uint8Array(message), this.filled);
    this.filled += message.byteLength;
    this.reportProgress(header.size);
    if (this.filled < header.size) return null;
    this.header = null;
    await check(this.bytes, header.sha256);
    return this.bytes.buffer;
  }

  private begin(header: AvatarHeader): void {
    if (header.type !== "avatar" || !(header.size > 0 && header.size <= AVATAR_MAX_BYTES)) {
      throw new ProtocolError("the avatar's header is invalid");
    }
    this.header = header;
    this.bytes = new Uint8Array(header.size);
    this.filled = this.reported = 0;
  }

  private reportProgress(size: number): void {
    if (this.filled < size && this.filled - this.reported < AVATAR_PROGRESS_BYTES) return;
    this.reported = this.filled;
    this.progress(this.filled);
  }
}

async function check(bytes: Uint8Array<ArrayBuffer>, expected: string): Promise<void> {
  if (globalThis.crypto?.subtle === undefined) return; // only https and localhost have it
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== expected) throw new ProtocolError("the avatar was damaged on its way");
}
