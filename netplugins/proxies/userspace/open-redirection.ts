/** Chooses the means of redirection that this host has, and watches over it. */
import { isPintleError, type Logger } from '../../../kernel/contract/index.ts';
import { chooseBackend, installedBackends } from '../../linux/iptables.ts';
import { watchChains } from '../../linux/iptables-watch.ts';
import { nftTry } from '../../linux/nft.ts';
import { monitorNft } from '../../linux/nft-monitor.ts';
import { OwnedChains } from '../../linux/owned-chains.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';
import type { Redirector } from './redirect.ts';
import { IptablesRedirector, prefix } from './redirect-iptables.ts';
import { NftRedirector, tableName } from './redirect-nft.ts';

/** `none`: NodePorts only, by listeners at the node's addresses. */
export type Means = 'nft' | 'iptables' | 'none';

export interface OpenRedirection {
  readonly means: Means;
  /** For people. */
  readonly note: string;
  /** One a family; none with `none`. */
  readonly redirectors: readonly Redirector[];
  readonly isWatching: boolean;
  watch(): void;
  unwatch(): void;
  /** Reads what may have been changed. */
  check(): Promise<void>;
}

interface Options {
  readonly families: readonly IpFamily[];
  readonly redirect: Means | 'auto';
  readonly lockFile?: string | undefined;
  readonly log: Logger;
  onDamage(): void;
}

const rememberedPorts = 64;

async function hasNft(): Promise<boolean> {
  try {
    return await nftTry('', {});
  } catch (error) {
    if (isPintleError(error, 'HOST_COMMAND_FAILED')) return false;
    throw error;
  }
}

export async function openRedirection(options: Options): Promise<OpenRedirection> {
  const { families, redirect, log } = options;
  const means: Means =
    redirect !== 'auto'
      ? redirect
      : (await hasNft())
        ? 'nft'
        : installedBackends(families).length > 0
          ? 'iptables'
          : 'none';
  const own = new Set<number>();
  const onPort = (port: number): void => {
    own.add(port);
    for (const oldest of own) {
      if (own.size <= rememberedPorts) break;
      own.delete(oldest);
    }
  };
  log.info('Service proxy redirects traffic to its listeners', { by: means });
  if (means === 'nft') return openNft(options, onPort, (port) => own.has(port));
  if (means === 'iptables') return openIptables(options, onPort, (port) => own.has(port));
  return {
    means,
    note: 'neither nft nor iptables redirects traffic here: only NodePorts answer, at the addresses of the node',
    redirectors: [],
    isWatching: false,
    watch: () => undefined,
    unwatch: () => undefined,
    check: async () => undefined,
  };
}

type Own = (port: number) => boolean;

function openNft({ families, onDamage }: Options, onPort: (port: number) => void, isOwn: Own): OpenRedirection {
  const redirectors = families.map((family) => new NftRedirector(family, { onPort }));
  return watched('nft', 'traffic is redirected by nft', redirectors, {
    start: () =>
      monitorNft((change) => {
        if (change !== 'overflow' && (change.table !== tableName || isOwn(change.port))) return;
        for (const each of redirectors) if (change === 'overflow' || each.family === change.family) each.markDamaged();
        onDamage();
      }),
    check: async () => undefined,
  });
}

async function openIptables(
  { families, lockFile, onDamage }: Options,
  onPort: (port: number) => void,
  isOwn: Own,
): Promise<OpenRedirection> {
  const { backend, why } = await chooseBackend(families, prefix, 'auto', { lockFile });
  const chains = families.map((family) => new OwnedChains(prefix, { family, backend, lockFile, onPort }));
  const note = `traffic is redirected by iptables, back end ${backend} (${why})`;
  return watched(
    'iptables',
    note,
    chains.map((each) => new IptablesRedirector(each)),
    {
      start: () => watchChains(prefix, { backend, chains, isOwn, onDamage }),
      check: async () => {
        for (const each of chains) await each.check();
      },
    },
  );
}

function watched(
  means: Means,
  note: string,
  redirectors: readonly Redirector[],
  { start, check }: { start(): () => void; check(): Promise<void> },
): OpenRedirection {
  let stop: (() => void) | undefined;
  return {
    means,
    note,
    redirectors,
    get isWatching() {
      return stop !== undefined;
    },
    watch: () => {
      stop ??= start();
    },
    unwatch: () => {
      stop?.();
      stop = undefined;
    },
    check,
  };
}
