// Asking again when something has changed, without asking too often: as often as is useful, as rarely as it is dear.

/** Of the time, at most this share is spent on asking: where the server is busy, and answers late, it is asked less. */
const SHARE = 1 / 25;
/** But never less often than this: one slow answer, or a browser that was busy, must not make the page stand still. */
const PAUSE_MS_MAX = 4_000;
/** Rest that a quiet time pays in advance, at most: what changes after it is seen at once, and not after a rest. */
const PAID_MS = 3_000;

/** Runs one task at a time; calls while it runs, and shortly after, become one more. The first runs at once. */
export class Pacer {
  private isWanted = false;
  private isBusy = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private paidUntil = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly task: () => Promise<void>,
    private readonly gapMs: number,
  ) {}

  /** Let the task run soon. */
  ask() {
    this.isWanted = true;
    if (!this.isBusy) void this.run();
  }

  stop() {
    clearTimeout(this.timer);
    this.isWanted = false;
    this.isBusy = true;
  }

  private async run() {
    this.isBusy = true;
    this.isWanted = false;
    const startedAt = performance.now();
    try {
      await this.task();
    } catch {
      // The page shows what it has; the next change asks again, and a lost connection brings a reset.
    }
    const now = performance.now();
    const owed = Math.max(this.paidUntil, now - PAID_MS) + (now - startedAt) / SHARE;
    this.paidUntil = Math.min(owed, now + PAUSE_MS_MAX);
    this.timer = setTimeout(
      () => {
        this.isBusy = false;
        if (this.isWanted) void this.run();
      },
      Math.max(this.gapMs, this.paidUntil - now),
    );
  }
}
