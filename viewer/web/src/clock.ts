// The server's clock as seen from here: offset and round trip of pings (RFC 5905, section 8).

import type { Pong } from "./protocol";

/** Keeps the estimate of the quickest ping, because its way was the most symmetric. */
export class RemoteClock {
  /** Milliseconds; Infinity before the first answer. */
  roundTripMs = Infinity;
  private offsetMs = 0;

  /** Now in microseconds, for a Ping. */
  static nowUs(): number {
    return Math.round(performance.now() * 1000);
  }

  answer(pong: Pong): void {
    const sent = pong.sent_at_us / 1000;
    const received = performance.now();
    const roundTrip = received - sent;
    if (roundTrip < 0 || roundTrip > this.roundTripMs) return;
    this.roundTripMs = roundTrip;
    this.offsetMs = pong.received_at_us / 1000 - (sent + received) / 2;
  }

  /** How long ago it was `remoteMs` on the server's clock; NaN before the first answer. */
  ageMs(remoteMs: number): number {
    return this.roundTripMs === Infinity ? NaN : performance.now() + this.offsetMs - remoteMs;
  }
}
