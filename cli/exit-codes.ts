/** What `pintle` exits with. Part of its interface. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  /** A check (config check, doctor) ran and did not hold. */
  checkFailed: 3,
  /** Ended in order by a signal before its work was done, as a shell counts it: 128 and the signal's number. */
  interrupted: 130,
  terminated: 143,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];
