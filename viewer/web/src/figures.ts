// The figures of the statistics card, counted here or told by the server.

import type { RemoteClock } from "./clock";
import type { Traffic } from "./watcher";

const SMOOTHING = 0.1;

export class Figures {
  private drawn = 0;
  private latencyMs = NaN;
  private lastMs = performance.now();
  private last = { drawn: 0, packets: 0, bytes: 0 };
  private server: Record<string, number> = {};

  /** Notes that a new state is about to be on the screen. */
  draw(ageMs: number): void {
    this.drawn++;
    if (!Number.isNaN(ageMs)) {
      const before = Number.isNaN(this.latencyMs) ? ageMs : this.latencyMs;
      this.latencyMs = before + SMOOTHING * (ageMs - before);
    }
  }

  setServer(values: Record<string, number>): void {
    this.server = values;
  }

  /** One "name value" line each, since the last call. */
  lines(traffic: Traffic, clock: RemoteClock): string[] {
    const now = performance.now();
    const seconds = Math.max((now - this.lastMs) / 1000, 1e-3);
    const all = traffic.packets + traffic.lostPackets;
    const values: Record<string, string> = {
      "drawn": `${((this.drawn - this.last.drawn) / seconds).toFixed(0)} per s`,
      "packets": `${((traffic.packets - this.last.packets) / seconds).toFixed(0)} per s`,
      "traffic": `${((8 * (traffic.bytes - this.last.bytes)) / seconds / 1000).toFixed(0)} kbit/s`,
      "lost": all === 0 ? "–" : `${((100 * traffic.lostPackets) / all).toFixed(1)} %`,
      "camera to screen": milliseconds(this.latencyMs),
      "round trip": milliseconds(clock.roundTripMs),
    };
    this.lastMs = now;
    this.last = { drawn: this.drawn, packets: traffic.packets, bytes: traffic.bytes };
    for (const [name, value] of Object.entries(this.server)) {
      values[name.replaceAll("_", " ")] = value.toFixed(1);
    }
    return Object.entries(values).map(([name, value]) => `${name}\t${value}`);
  }
}

function milliseconds(value: number): string {
  return Number.isFinite(value) ? `${value.toFixed(0)} ms` : "–";
}
