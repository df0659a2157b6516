// The page's own elements: buttons, camera inset, status and statistics.

import { IdentityPanel } from "./identity_panel";
import type { Framing } from "./stage";

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`index.html has no element #${id}`);
  return found as T;
}

export class Page {
  readonly canvas = element<HTMLCanvasElement>("stage");
  readonly identity = new IdentityPanel(element("identity"));
  private readonly welcome = element("welcome");
  private readonly problemLine = element("problem");
  private readonly inset = element<HTMLVideoElement>("camera");
  private readonly statusLine = element("status");
  private readonly statisticsCard = element("statistics");
  private readonly toolbar = element("toolbar");
  private readonly mirror = element<HTMLButtonElement>("mirror");

  constructor() {
    element("show-identity").addEventListener("click", (event) => {
      element("identity").hidden = !toggle(event.currentTarget as HTMLElement);
    });
    element("show-statistics").addEventListener("click", (event) => {
      this.statisticsCard.hidden = !toggle(event.currentTarget as HTMLElement);
    });
  }

  onSendCamera(action: () => void): void {
    for (const id of ["send-camera", "start-camera"]) element(id).addEventListener("click", action);
  }

  onStopCamera(action: () => void): void {
    element("stop-camera").addEventListener("click", action);
  }

  onWatch(action: () => void): void {
    element("watch-only").addEventListener("click", action);
  }

  onFraming(action: (framing: Framing) => void): void {
    for (const framing of ["body", "face"] as const) {
      element(framing).addEventListener("click", () => action(framing));
    }
  }

  onMirror(action: (mirrored: boolean) => void): void {
    this.mirror.addEventListener("click", () => {
      const mirrored = toggle(this.mirror);
      this.inset.classList.toggle("mirrored", mirrored);
      action(mirrored);
    });
  }

  /** Mirrors without a click: a selfie looks wrong otherwise. */
  setMirrored(mirrored: boolean): void {
    if ((this.mirror.getAttribute("aria-pressed") === "true") !== mirrored) this.mirror.click();
  }

  /** Replaces the welcome card by the toolbar. */
  enter(): void {
    this.welcome.hidden = true;
    this.toolbar.hidden = false;
  }

  /** Shows the visitor's camera in the corner, or hides it. */
  showCamera(stream: MediaStream | null): void {
    this.inset.srcObject = stream;
    this.inset.hidden = stream === null;
    element("stop-camera").hidden = stream === null;
    element("start-camera").hidden = stream !== null;
  }

  /** One sentence at the bottom; empty hides it. */
  status(sentence: string): void {
    if (this.statusLine.textContent === sentence) return;
    this.statusLine.textContent = sentence;
    this.statusLine.hidden = sentence === "";
  }

  /** Something the visitor has to act upon; empty when it is settled. */
  problem(sentence: string): void {
    this.problemLine.textContent = sentence;
    this.problemLine.hidden = sentence === "";
    if (this.welcome.hidden) this.status(sentence);
  }

  /** Lines of "name, tab, value". */
  statistics(lines: string[]): void {
    if (!this.statisticsCard.hidden) this.statisticsCard.textContent = lines.join("\n");
  }
}

/** Flips a toggle button and returns whether it is on now. */
function toggle(button: HTMLElement): boolean {
  const pressed = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(pressed));
  return pressed;
}
