/** What `pintle` exits with. Part of its interface. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  /** A check (config check, doctor) ran and did not hold. */
  checkFailed: 3,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];
