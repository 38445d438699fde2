/**
 * Kernels that write a wrong outer checksum when a packet is masqueraded and then encapsulated with checksum offload: each
 * connection through a service address stalls for 1, 3 or 63 s (kubernetes#88986). Fixed in 5.7 and in the stable releases
 * below.
 */
const fixedIn: readonly (readonly [major: number, minor: number, patch: number])[] = [
  [4, 14, 181],
  [4, 19, 123],
  [5, 4, 41],
  [5, 6, 13],
];

/** By the kernel's release ("5.4.0-26-generic"). Distributions backport: a false "yes" costs speed, never packets. */
export function hasChecksumBug(release: string): boolean {
  const [, major = 0, minor = 0, patch = 0] = (/^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release) ?? []).map(Number);
  if (major === 0 || major > 5 || (major === 5 && minor >= 7)) return false;
  const series = fixedIn.find(([one, two]) => one === major && two === minor);
  return series === undefined || patch < series[2];
}
