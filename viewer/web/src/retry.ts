// Keeps trying: 1, 2, 4, then every 5 seconds.

const DELAYS_MS = [1000, 2000, 4000, 5000];

/** Runs `attempt` again and again until it succeeds or `stopped()`; reports each failure. */
export async function retry<T>(
  attempt: () => Promise<T>,
  stopped: () => boolean,
  report: (error: Error, delayMs: number) => void,
): Promise<T | null> {
  for (let failures = 0; !stopped(); failures++) {
    try {
      return await attempt();
    } catch (error) {
      const delay = DELAYS_MS[Math.min(failures, DELAYS_MS.length - 1)];
      if (!stopped()) report(error instanceof Error ? error : new Error(String(error)), delay);
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }
  return null;
}
