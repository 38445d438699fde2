/** Chooses the means of redirection that this host has, and watches over it. */
import { isPintleError, type Logger } from '../../../kernel/contract/index.ts';
import { chooseBackend, installedBackends } from '../../linux/iptables.ts';
import { watchChains } from '../../linux/iptables-watch.ts';
import { nftTry } from '../../linux/nft.ts';
import { monitorNft } from '../../linux/nft-monitor.ts';
import { OwnedChains } from '../../linux/owned-chains.ts';
import { OwnPorts } from '../../linux/own-ports.ts';
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
  /** Calls `onDamage` when somebody else changed what redirects. Returns the way to stop. */
  watch(onDamage: () => void): () => void;
  /** Reads what may have been changed. */
  check(): Promise<void>;
}

interface Options {
  readonly families: readonly IpFamily[];
  readonly redirect: Means | 'auto';
  readonly lockFile?: string | undefined;
  readonly log: Logger;
}

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
  const own = new OwnPorts();
  log.info('Service proxy redirects traffic to its listeners', { by: means });
  if (means === 'nft') return openNft(options, own);
  if (means === 'iptables') return openIptables(options, own);
  return {
    means,
    note: 'neither nft nor iptables redirects traffic here: only NodePorts answer, at the addresses of the node',
    redirectors: [],
    watch: () => () => undefined,
    check: async () => undefined,
  };
}

function openNft({ families }: Options, own: OwnPorts): OpenRedirection {
  const redirectors = families.map((family) => new NftRedirector(family, { onPort: (port) => own.add(port) }));
  return {
    means: 'nft',
    note: 'traffic is redirected by nft',
    redirectors,
    watch: (onDamage) =>
      monitorNft((change) => {
        if (change !== 'overflow' && (change.table !== tableName || own.has(change.port))) return;
        for (const each of redirectors) if (change === 'overflow' || each.family === change.family) each.markDamaged();
        onDamage();
      }),
    check: async () => undefined,
  };
}

async function openIptables({ families, lockFile }: Options, own: OwnPorts): Promise<OpenRedirection> {
  const { backend, why } = await chooseBackend(families, prefix, 'auto', { lockFile });
  const onPort = (port: number): void => own.add(port);
  const chains = families.map((family) => new OwnedChains(prefix, { family, backend, lockFile, onPort }));
  return {
    means: 'iptables',
    note: `traffic is redirected by iptables, back end ${backend} (${why})`,
    redirectors: chains.map((each) => new IptablesRedirector(each)),
    watch: (onDamage) => watchChains(prefix, { backend, chains, isOwn: (port) => own.has(port), onDamage }),
    check: async () => {
      for (const each of chains) await each.check();
    },
  };
}
