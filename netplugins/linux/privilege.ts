/** What to tell whoever lacks the privileges over the network namespace that a plugin works in. */
import type { Preflight } from '../../kernel/contract/index.ts';

export const privilegedBy = 'run as root, or inside "unshare --user --map-root-user --net --mount"';

/** `what`, in the plural: what it is that needs them. */
export const needsRoot = (what: string): Preflight => ({
  ok: false,
  reason: `${what} need root of the network namespace`,
  fix: privilegedBy,
});
