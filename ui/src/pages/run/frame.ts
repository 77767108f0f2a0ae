// The time that the waterfall shows, outside React: bars are placed by CSS from four custom properties of their container,
// so that zooming, and bars that grow, cost no render. All times are ms from the run's start.
import { isWhole, type Window } from "./window";

/** A bar that grows by less than a pixel isn't drawn anew. */
const FRAME_MS_MIN = 16;
const FRAME_MS_MAX = 1_000;
const EDGE = 1.02; // room at the right for bars that grow

export class Frame {
  /** What the user zoomed to; null for all of it. */
  chosen: Window | null = null;
  private origin = 0;
  private end: number | null = 0;
  private lastBar = 0;
  private behindMs = 0; // of this machine's clock, against the server's
  private elements = new Map<HTMLElement, boolean>();
  private listeners = new Set<() => void>();
  private timer: number | undefined;
  private width = 800;

  /** Take over what the server said. `lastBar` is where the last bar ends: a wait can outlast its run's last answer. */
  update(origin: number, end: number | null, serverNow: number, lastBar: number) {
    this.origin = origin;
    this.end = end;
    this.lastBar = lastBar;
    this.behindMs = origin + serverNow - Date.now();
    this.draw();
    this.tick();
  }

  get now(): number {
    return this.end ?? Math.max(0, Date.now() + this.behindMs - this.origin);
  }

  /** How long the run took, or takes so far. */
  get whole(): number {
    return Math.max(1, this.end === null ? this.now * EDGE : Math.max(this.end, this.lastBar) * 1.004);
  }

  get window(): Window {
    return this.chosen ?? { from: 0, to: this.whole };
  }

  /** What Unix ms an offset is. */
  instant(offset: number): number {
    return this.origin + offset;
  }

  choose(window: Window | null) {
    this.chosen = window && !isWhole(window, this.whole) ? window : null;
    this.draw();
  }

  /** Keep an element's properties true: of the window, or (`isWhole`) of all of it. Returns what ends it. */
  attach(element: HTMLElement, isWhole = false): () => void {
    this.elements.set(element, isWhole);
    if (!isWhole) this.width = element.clientWidth || this.width;
    this.place(element, isWhole);
    this.tick();
    return () => {
      this.elements.delete(element);
      if (this.elements.size === 0) this.stop();
    };
  }

  /** Hear of each change of what is shown. */
  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  private draw() {
    for (const [element, isWhole] of this.elements) this.place(element, isWhole);
    for (const listener of this.listeners) listener();
  }

  private place(element: HTMLElement, isWhole: boolean) {
    const { from, to } = isWhole ? { from: 0, to: this.whole } : this.window;
    element.style.setProperty("--t0", String(from));
    element.style.setProperty("--span", String(to - from));
    element.style.setProperty("--now", String(this.now));
    if (isWhole) {
      const { from, to } = this.window;
      element.style.setProperty("--from", String(from));
      element.style.setProperty("--to", String(to));
    }
  }

  private tick() {
    this.stop();
    if (this.end !== null || this.elements.size === 0) return;
    const perPixel = (this.window.to - this.window.from) / this.width;
    const wait = Math.min(FRAME_MS_MAX, Math.max(FRAME_MS_MIN, perPixel));
    this.timer = window.setTimeout(() => {
      requestAnimationFrame(() => {
        this.draw();
        this.tick();
      });
    }, wait);
  }

  private stop() {
    window.clearTimeout(this.timer);
    this.timer = undefined;
  }
}
