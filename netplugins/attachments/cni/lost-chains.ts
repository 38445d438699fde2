/**
 * Notices when somebody else removes the iptables chains of chained CNI plugins that make nothing but rules (portmap, firewall),
 * by the kernel's notifications: `iptables -F`, `nft flush ruleset`, a firewall's reload. CNI has no verb for "make it again":
 * these plugins are called with DEL and ADD, they alone. Of iptables' legacy back end the kernel tells nothing.
 */
import type { Logger } from '../../../kernel/contract/index.ts';
import { AF_INET, familyOf } from '../../linux/ip-address.ts';
import { monitorNft } from '../../linux/nft-monitor.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';
import type { PluginConf } from './network-list.ts';
import type { AttachmentRecord } from './records.ts';
import { addressesOf } from './result.ts';

/** Removals are gathered for this long, so that a flush of many rules is one repair. */
const settleMs = 100;
const retryMs = 1_000;
const maxRetries = 30;

/** Plugins whose whole work for this pod is rules, with the table that they are in. */
const tablesOf = { portmap: 'nat', firewall: 'filter' } as const;
type RulesTable = (typeof tablesOf)[keyof typeof tablesOf];

export function rulesTable({ hostPorts }: AttachmentRecord, { type }: PluginConf): RulesTable | undefined {
  if (type === 'firewall') return tablesOf.firewall;
  return type === 'portmap' && hostPorts.length > 0 ? tablesOf.portmap : undefined;
}

/** Whether the rules of a plugin for this pod are in `save` (iptables-save's text of a table of one family), and are reached. */
function hasRules(save: string, family: IpFamily, table: RulesTable, record: AttachmentRecord): boolean {
  const ips = addressesOf(record.result ?? {}, record.ifName)
    .map(({ ip }) => ip)
    .filter((ip) => (familyOf(ip) === AF_INET) === (family === 'ip'));
  if (ips.length === 0) return true;
  if (table === 'filter')
    return / -j CNI-FORWARD$/m.test(save) && ips.every((ip) => save.includes(`\n-A CNI-FORWARD -d ${ip}/`));
  const jump = save
    .split('\n')
    .find((line) => line.startsWith('-A CNI-HOSTPORT-DNAT ') && line.includes(`id: \\"${record.containerId}\\"`));
  const chain = / -j (CNI-DN-\S+)/.exec(jump ?? '')?.[1];
  const isReached = ['PREROUTING', 'OUTPUT'].every((from) =>
    new RegExp(`^-A ${from} .*-j CNI-HOSTPORT-DNAT$`, 'm').test(save),
  );
  return isReached && chain !== undefined && save.includes(`\n-A ${chain} `);
}

type Lost = ReadonlyMap<string, ReadonlySet<RulesTable>>;

/** Sandboxes some of whose plugins have lost their rules, with the tables of these. One that is just being removed has too. */
export async function podsWithoutRules(
  records: readonly AttachmentRecord[],
  save: (family: IpFamily, table: RulesTable) => Promise<string>,
): Promise<Lost> {
  const tables = (record: AttachmentRecord): readonly RulesTable[] =>
    record.result === undefined ? [] : record.list.plugins.flatMap((plugin) => rulesTable(record, plugin) ?? []);
  const lost = new Map<string, Set<RulesTable>>();
  for (const table of new Set(records.flatMap(tables)))
    for (const family of ['ip', 'ip6'] as const) {
      const text = await save(family, table);
      for (const record of records)
        if (tables(record).includes(table) && !hasRules(text, family, table, record))
          lost.set(record.sandboxId, (lost.get(record.sandboxId) ?? new Set()).add(table));
    }
  return lost;
}

/** Each is tried, also after one has failed. `renew` resolves to whether the pod was still there. */
export async function renewAll(
  lost: Lost,
  renew: (sandboxId: string, isLost: (table: RulesTable | undefined) => boolean) => Promise<boolean>,
): Promise<number> {
  const outcomes = await Promise.allSettled(
    [...lost].map(([sandboxId, tables]) => renew(sandboxId, (table) => table !== undefined && tables.has(table))),
  );
  const failure = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
  return outcomes.filter((outcome) => outcome.status === 'fulfilled' && outcome.value).length;
}

export interface LostChainsOptions {
  readonly log: Logger;
  readonly netns?: string | undefined;
  /** Looks, and makes the rules of the pods anew that have lost theirs; resolves to their number. */
  renew(): Promise<number>;
}

export class LostChains {
  readonly #options: LostChainsOptions;
  #stop: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #work: Promise<void> = Promise.resolve();

  constructor(options: LostChainsOptions) {
    this.#options = options;
  }

  watch(): void {
    this.#stop ??= monitorNft((change) => {
      // Removals of our own are seen too, and the look after them finds nothing.
      if (change === 'overflow' || (change.isRemoval && (change.isTableDeleted || change.mentions('CNI-'))))
        this.#schedule(settleMs, maxRetries);
    }, this.#options);
  }

  unwatch(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#stop?.();
    this.#stop = undefined;
  }

  /** Resolves when nothing is being made anew. */
  async idle(): Promise<void> {
    await this.#work;
  }

  #schedule(afterMs: number, retries: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#work = this.#work.then(() => this.#renew(retries));
    }, afterMs);
  }

  async #renew(retries: number): Promise<void> {
    const { log, renew } = this.#options;
    try {
      const pods = await renew();
      if (pods > 0) log.warn('Rules of CNI plugins had been removed by somebody else: made anew', { pods });
    } catch (error) {
      if (this.#stop === undefined) return;
      log.error('Rules of CNI plugins had been removed by somebody else, and could not be made anew', {
        error: String(error),
        isTriedAgain: retries > 0,
      });
      if (retries > 0) this.#schedule(retryMs, retries - 1);
    }
  }
}
