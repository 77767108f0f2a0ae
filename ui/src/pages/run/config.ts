interface Config {
  steps?: Record<string, { retries?: { attempts?: number } }>;
  retries?: number;
}

/** What its app leaves open: 4 retries. */
const RETRIES_DEFAULT = 4;

/** How often each step of a function, as its app registered it, is tried at most. */
export function maxAttempts(raw: unknown): number {
  const config = (raw ?? {}) as Config;
  const step = Object.values(config.steps ?? {})[0];
  return 1 + (step?.retries?.attempts ?? config.retries ?? RETRIES_DEFAULT);
}
