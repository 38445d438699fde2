/**
 * The nft tables of attachment cni on the node: masquerade of what leaves the cluster (`pintle-cni`), and for host ports of the
 * built-in list the way back of answers (`pintle-cni-ports`). Watches them, and puts back what somebody else removes.
 */
import type { Logger } from '../../../kernel/contract/index.ts';
import { monitorNft } from '../../linux/nft-monitor.ts';
import { nftTransaction } from '../../linux/nft.ts';
import { forwardingWarning } from '../../linux/pods/forwarding-warning.ts';
import { renderHostPorts, type PortHolder } from '../../linux/pods/host-ports.ts';
import { renderMasquerade, renderRemovals } from '../../linux/pods/masquerade.ts';

const table = 'pintle-cni';
const portsTable = 'pintle-cni-ports';
/** Names of the links that the standard executables make, as iptables matches them. */
const linkPattern = 'veth+';
/** Repairs are gathered for this long, so that a flush of many objects is one repair. */
const settleMs = 50;
const retryMs = 1_000;

export interface Wanted {
  /** Ranges to masquerade, undefined: none. */
  readonly masquerade?: { readonly podCidrs: readonly string[]; readonly clusterCidrs: readonly string[] } | undefined;
  readonly ports: readonly PortHolder[];
}

export interface NodeTablesOptions {
  readonly log: Logger;
  readonly netns?: string | undefined;
  /** What is wanted now; undefined: nothing is known yet. */
  wanted(): Wanted | undefined;
}

export class NodeTables {
  readonly #options: NodeTablesOptions;
  readonly #ownPorts = new Set<number>();
  #stop: (() => void) | undefined;
  #repair: NodeJS.Timeout | undefined;
  #turn: Promise<void> = Promise.resolve();
  #warning: string | undefined;

  constructor(options: NodeTablesOptions) {
    this.#options = options;
  }

  get warning(): string | undefined {
    return this.#warning;
  }

  /** Brings the tables to what is wanted, and watches them from then on. */
  async apply(): Promise<void> {
    await this.inTurn(() => this.#write());
    this.#stop ??= monitorNft((change) => {
      if (change === 'overflow') return this.#schedule();
      const isOurs = change.table === table || change.table === portsTable;
      if (change.table === 'filter' || (isOurs && !this.#ownPorts.has(change.port))) this.#schedule();
    }, this.#options);
  }

  async remove(): Promise<void> {
    this.unwatch();
    await this.inTurn(() => this.#nft(renderRemovals(table) + renderRemovals(portsTable)));
  }

  /** One after the other with all other changes of the node's tables. */
  inTurn(act: () => Promise<void>): Promise<void> {
    const run = this.#turn.catch(() => undefined).then(act);
    this.#turn = run;
    return run;
  }

  /** Resolves when nothing is being changed. */
  async idle(): Promise<void> {
    await this.#turn.catch(() => undefined);
  }

  unwatch(): void {
    clearTimeout(this.#repair);
    this.#repair = undefined;
    this.#stop?.();
    this.#stop = undefined;
  }

  async #write(): Promise<void> {
    const wanted = this.#options.wanted();
    if (wanted === undefined) return;
    const { masquerade, ports } = wanted;
    const nat = masquerade === undefined ? renderRemovals(table) : renderMasquerade({ table, ...masquerade });
    await this.#nft(nat + renderHostPorts(portsTable, ports, { translates: false }));
    const before = this.#warning;
    this.#warning = await forwardingWarning(linkPattern, this.#options);
    if (this.#warning !== undefined && this.#warning !== before) this.#options.log.warn(this.#warning);
  }

  #nft(text: string): Promise<void> {
    return nftTransaction(text, {
      netns: this.#options.netns,
      onPort: (port) => {
        this.#ownPorts.add(port);
        if (this.#ownPorts.size > 64) this.#ownPorts.delete([...this.#ownPorts][0] ?? port);
      },
    });
  }

  #schedule(afterMs = settleMs): void {
    this.#repair ??= setTimeout(() => {
      this.#repair = undefined;
      this.inTurn(() => this.#write()).catch((error: unknown) => {
        if (this.#stop === undefined) return;
        this.#options.log.error("The node's tables could not be repaired; trying again", { error: String(error) });
        this.#schedule(retryMs);
      });
    }, afterMs);
  }
}
