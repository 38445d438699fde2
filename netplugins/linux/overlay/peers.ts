/** Which peers an overlay can use, and why not the others. Pure. */
import type { Peer } from '../../../kernel/contract/index.ts';
import type { Family } from './flannel-annotations.ts';

export interface SelectedPeers<T> {
  readonly names: readonly string[];
  readonly chosen: readonly T[];
  /** Reasons by peer name. */
  readonly refused: ReadonlyMap<string, string>;
}

export function noPeers<T>(): SelectedPeers<T> {
  return { names: [], chosen: [], refused: new Map() };
}

/**
 * Reads every peer in every family. What two peers claim (a pod range, a MAC) goes to the first by name, and never to a
 * peer when this node has it.
 */
export function selectPeers<T>(
  peers: readonly Peer[],
  rules: {
    readonly families: readonly Family[];
    /** What this node has. */
    readonly own: readonly string[];
    /** Undefined: the peer has nothing in this family. A text: why it cannot be used. */
    read(peer: Peer, family: Family): T | string | undefined;
    claims(one: T): readonly string[];
  },
): SelectedPeers<T> {
  const chosen: T[] = [];
  const refused = new Map<string, string>();
  const owners = new Map(rules.own.map((claim) => [claim, 'this node']));
  for (const peer of [...peers].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    for (const family of rules.families) {
      const read = rules.read(peer, family);
      if (read === undefined) continue;
      if (typeof read === 'string') {
        refused.set(peer.name, read);
        continue;
      }
      const claims = rules.claims(read);
      const taken = claims.find((claim) => owners.has(claim));
      if (taken !== undefined) {
        refused.set(peer.name, `its ${taken} is that of ${owners.get(taken)}`);
        continue;
      }
      for (const claim of claims) owners.set(claim, peer.name);
      chosen.push(read);
    }
  }
  return { names: peers.map(({ name }) => name), chosen, refused };
}

export function peerStatus<T>({ names, refused }: SelectedPeers<T>): {
  readonly name: string;
  readonly ready: boolean;
  readonly reason: string | undefined;
}[] {
  return names.map((name) => ({ name, ready: !refused.has(name), reason: refused.get(name) }));
}
