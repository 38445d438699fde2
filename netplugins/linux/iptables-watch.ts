/**
 * Notices when somebody else changes an owner's iptables chains. With the nft back end by nftables notifications; with the
 * legacy one, for which the kernel sends none, by a look at the tables' size every second.
 */
import type { IptablesBackend } from './iptables.ts';
import { tables } from './iptables-picture.ts';
import { monitorNft } from './nft-monitor.ts';
import type { OwnedChains } from './owned-chains.ts';

const pollMs = 1_000;

/** Calls `onDamage` after chains were marked damaged or in doubt. Returns the way to stop. */
export function watchChains(
  prefix: string,
  options: {
    readonly backend: IptablesBackend;
    readonly netns?: string | undefined;
    readonly chains: readonly OwnedChains[];
    /** Whether a netlink port is that of a command of ours. */
    isOwn(port: number): boolean;
    onDamage(): void;
  },
): () => void {
  const { backend, netns, chains, isOwn, onDamage } = options;
  if (backend === 'legacy') {
    const timer = setInterval(() => {
      const touched = chains.filter((each) => each.looksTouched());
      for (const each of touched) each.markInDoubt();
      if (touched.length > 0) onDamage();
    }, pollMs);
    timer.unref();
    return () => clearInterval(timer);
  }
  return monitorNft(
    (change) => {
      if (change === 'overflow') {
        for (const each of chains) each.markInDoubt();
        return onDamage();
      }
      // Others use these tables too: only what concerns our chains, or leads into them, matters.
      if (isOwn(change.port) || !tables.some((table) => table === change.table)) return;
      if (!change.isTableDeleted && !change.mentions(prefix)) return;
      for (const each of chains.filter(({ family }) => family === change.family)) {
        each.markDamaged();
        onDamage();
      }
    },
    { netns },
  );
}
