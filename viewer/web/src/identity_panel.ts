// The card with which a visitor changes the avatar: sliders, a pin, "estimate again".

import { type Edit, EDIT_RANGES, type IdentityNews } from "./protocol";

type Name = keyof typeof EDIT_RANGES;

const SEND_EVERY_MS = 200; // while a slider is dragged; the server takes no more than four a second
const HANDS_OFF_MS = 1500; // so long a slider that was moved by hand is not moved by the server
const STEPS = 100;
const ENDS: Record<Name, [string, string, string]> = {
  age_years: ["Age", "young", "old"],
  gender: ["Gender", "male", "female"],
  weight: ["Weight", "light", "heavy"],
  muscle: ["Muscle", "little", "much"],
  height: ["Height", "short", "tall"],
  proportions: ["Proportions", "unusual", "ideal"],
  caricature: ["Own face", "average", "exaggerated"],
};

export class IdentityPanel {
  private readonly sliders = new Map<Name, HTMLInputElement>();
  private readonly values = new Map<Name, HTMLOutputElement>();
  private readonly touchedMs = new Map<Name, number>();
  private readonly summary: HTMLElement;
  private readonly hint: HTMLElement;
  private readonly pin: HTMLButtonElement;
  private readonly again: HTMLButtonElement;
  private waiting: Edit | null = null;
  private timer = 0;
  private news: IdentityNews | null = null;
  private owns = false;
  private send: (edit: Edit) => void = () => undefined;

  /** Fills `card`, which is in the page already. */
  constructor(card: HTMLElement) {
    const made = <K extends keyof HTMLElementTagNameMap>(tag: K, text = "") => {
      const element = document.createElement(tag);
      element.textContent = text;
      card.append(element);
      return element;
    };
    this.summary = made("p", "Nobody has been seen yet.");
    this.summary.id = "identity-summary";
    for (const name of Object.keys(EDIT_RANGES) as Name[]) this.addSlider(card, name);
    this.pin = made("button", "Pin");
    this.pin.id = "pin";
    this.pin.title = "Keep this shape, whatever is estimated";
    this.pin.addEventListener("click", () => this.change({ pin: !(this.news?.pinned ?? false) }));
    this.again = made("button", "Estimate again");
    this.again.id = "estimate-again";
    this.again.addEventListener("click", () => {
      this.touchedMs.clear();
      this.change({ reset: true });
    });
    this.hint = made("p", "Send your camera to change the avatar.");
    this.hint.className = "hint";
    this.refresh();
  }

  /** Calls `action` with every change that the visitor makes. */
  onEdit(action: (edit: Edit) => void): void {
    this.send = action;
  }

  /** Who the avatar is, as the server says; null while there is none. */
  show(news: IdentityNews | null): void {
    this.news = news;
    if (news !== null) {
      const now = performance.now();
      for (const [name, slider] of this.sliders) {
        if (now - (this.touchedMs.get(name) ?? -Infinity) < HANDS_OFF_MS) continue;
        slider.value = String(news[name]);
        this.label(name);
      }
    }
    this.refresh();
  }

  /** Whether the visitor sends the camera, and so may change the avatar. */
  setOwner(owns: boolean): void {
    this.owns = owns;
    this.refresh();
  }

  private addSlider(card: HTMLElement, name: Name): void {
    const [title, low, high] = ENDS[name];
    const [least, greatest] = EDIT_RANGES[name];
    const label = document.createElement("label");
    const value = document.createElement("output");
    const slider = document.createElement("input");
    slider.type = "range";
    slider.id = `edit-${name}`;
    [slider.min, slider.max] = [String(least), String(greatest)];
    slider.step = String((greatest! - least!) / STEPS);
    slider.title = `${low} to ${high}`;
    slider.addEventListener("input", () => {
      this.touchedMs.set(name, performance.now());
      this.label(name);
      this.change({ [name]: slider.valueAsNumber });
    });
    label.append(title, value, slider);
    card.append(label);
    this.sliders.set(name, slider);
    this.values.set(name, value);
  }

  private label(name: Name): void {
    const value = this.sliders.get(name)!.valueAsNumber;
    const unit = name === "gender" ? "% female" : "%";
    const text = name === "age_years" ? value.toFixed(0) : `${(100 * value).toFixed(0)} ${unit}`;
    this.values.get(name)!.textContent = text;
  }

  private refresh(): void {
    const { news } = this;
    const may = news !== null && (news.open || this.owns);
    for (const slider of this.sliders.values()) slider.disabled = !may;
    this.pin.disabled = this.again.disabled = !may;
    this.pin.setAttribute("aria-pressed", String(news?.pinned ?? false));
    this.hint.hidden = may || news === null;
    if (news !== null) this.summary.textContent = sentence(news);
  }

  /** Sends a change; those that follow one another quickly go together. */
  private change(change: Omit<Edit, "type">): void {
    this.waiting = { type: "edit", ...(change.reset ? {} : this.waiting), ...change };
    if (this.timer !== 0) return;
    this.flush();
    this.timer = setInterval(() => this.flush(), SEND_EVERY_MS);
  }

  private flush(): void {
    if (this.waiting !== null) {
      this.send(this.waiting);
      this.waiting = null;
    } else {
      clearInterval(this.timer);
      this.timer = 0;
    }
  }
}

function sentence({ confidence, locked, pinned }: IdentityNews): string {
  const state = pinned ? "pinned" : locked ? "locked" : "still estimating";
  return `${(100 * confidence).toFixed(0)} % sure, ${state}.`;
}
