/**
 * The size of a client's terminal on its way to a process. A client tells the first size with its request, before the
 * process has its terminal, and another one only when the user changes it: one that comes to nothing has to be kept.
 */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

const firstPauseMs = 10;
const longestPauseMs = 200;
/** A process that has no terminal by then has given it up. */
const limitMs = 20_000;

/**
 * `apply` sets a size, and resolves to whether there was a terminal to set it on. Sizes are applied one after the other,
 * the newest last, each until it holds or the process has `ended`.
 */
export function terminalResizer(
  apply: (size: TerminalSize) => Promise<boolean>,
  ended: Promise<unknown>,
): (size: TerminalSize) => void {
  let wanted: TerminalSize | undefined;
  let isAtWork = false;
  let hasEnded = false;
  const end = (): void => {
    hasEnded = true;
  };
  ended.then(end, end);
  const work = async (): Promise<void> => {
    const until = performance.now() + limitMs;
    for (
      let pauseMs = firstPauseMs;
      wanted !== undefined && !hasEnded;
      pauseMs = Math.min(2 * pauseMs, longestPauseMs)
    ) {
      const size: TerminalSize = wanted;
      const isSet = await apply(size).catch(() => false);
      if (isSet && wanted === size) wanted = undefined;
      else if (performance.now() > until) return;
      else if (!isSet) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  };
  return (size) => {
    wanted = size;
    if (isAtWork || hasEnded) return;
    isAtWork = true;
    void work().finally(() => {
      isAtWork = false;
    });
  };
}
