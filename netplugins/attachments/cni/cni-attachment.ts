/**
 * Attachment by CNI executables. Owns in its state folder: records of attachments (`results`), leases of host-local
 * (`networks`), the former kernel settings, and notes of what the executables leave behind; on the node: two nft tables.
 * All else on the node is the executables', and goes with their DEL.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  PintleError,
  type Attached,
  type Attachment,
  type AttachmentCapability,
  type AttachmentRequest,
  type HostPort,
  type Logger,
  type NodeNetwork,
} from '../../../kernel/contract/index.ts';
import { bootId as currentBootId, HeldSettings } from '../../linux/held-settings.ts';
import { isNetns } from '../../linux/namespaces.ts';
import { holdForwarding, keepForwarding } from '../../linux/pods/hold-forwarding.ts';
import { forgetUdpFlows } from '../../linux/pods/host-port-flows.ts';
import { doCollide, hasLoopback } from '../../linux/pods/host-ports.ts';
import { openRtnetlink, type Rtnetlink } from '../../linux/rtnetlink.ts';
import { capabilityArgs, cniArgs, type ClusterDns } from './call-arguments.ts';
import { endFormerExecutables } from './end-former.ts';
import { LeftChains } from './left-chains.ts';
import {
  builtInList,
  capabilitiesOf,
  readList,
  withOwnLeases,
  type ListSource,
  type NetworkList,
} from './network-list.ts';
import {
  addToNetwork,
  agreeOnVersion,
  checkInNetwork,
  collectInNetwork,
  networkProblem,
  removeFromNetwork,
  renewInNetwork,
} from './network.ts';
import { LostChains, podsWithoutRules, renewAll, rulesTable } from './lost-chains.ts';
import { MadeLinks } from './made-links.ts';
import { NodeTables } from './node-tables.ts';
import { prepareNamespace, carrier, lookAtPod, nodeEndOf, openLocalnet, setMtu, settleRouted } from './pod-link.ts';
import { Records, type AttachmentRecord } from './records.ts';
import { attachedOf, nodeLinksOf } from './result.ts';
import type { ExecutableOptions } from './run-executable.ts';
import { isSame, validate } from './request-rules.ts';
import { removeStrayLeases } from './stray-leases.ts';
import { Turns } from './turns.ts';

export interface CniOptions extends ListSource {
  readonly stateDir: string;
  readonly log: Logger;
  readonly binDirs: readonly string[];
  readonly timeLimitMs: number;
  /** Whether pod traffic that leaves the cluster takes the node's address by our own rules. */
  readonly masquerade: boolean;
  /** Whether this kernel has what plugin bandwidth needs: the built-in list has it then. */
  readonly bandwidth: boolean;
  readonly dns: ClusterDns;
  /** Path of the node's network namespace; undefined: the process's own. */
  readonly netns?: string | undefined;
  readonly bootId?: string | undefined;
  /** How long executables that a killed agent left running may go on. */
  readonly formerGraceMs?: number | undefined;
}

const ifName = 'eth0';
/** Executables of so many sandboxes run at once. */
const concurrency = 6;
const settingsPeriodMs = 1_000;
const statusPeriodMs = 10_000;
/** What a killed agent left running ends by itself in moments. */
const formerGraceMs = 10_000;

interface Configured {
  readonly network: NodeNetwork;
  readonly list: NetworkList;
  readonly isBuiltIn: boolean;
}

export class CniAttachment implements Attachment, AsyncDisposable {
  readonly capabilities: readonly AttachmentCapability[];
  readonly #options: CniOptions;
  readonly #executables: ExecutableOptions;
  readonly #host: Rtnetlink;
  readonly #bootId: string;
  readonly #records: Records;
  readonly #settings: HeldSettings;
  readonly #tables: NodeTables;
  readonly #left: LeftChains;
  readonly #lost: LostChains;
  readonly #madeLinks: MadeLinks;
  readonly #turns = new Turns(concurrency);
  #configured: Configured | undefined;
  #problem: string | undefined;
  readonly #leases: string;
  #former: Promise<void> | undefined;
  #statusTimer: NodeJS.Timeout | undefined;
  #settingsTimer: NodeJS.Timeout | undefined;
  #disposed = false;

  constructor(options: CniOptions) {
    this.#options = options;
    const { stateDir, netns, log } = options;
    mkdirSync(stateDir, { recursive: true });
    const lockFile = join(stateDir, 'xtables.lock');
    this.#leases = join(stateDir, 'networks');
    this.#bootId = options.bootId ?? currentBootId();
    this.#executables = { ...options, lockFile, mark: stateDir };
    this.#host = openRtnetlink(options);
    this.#records = new Records(join(stateDir, 'results'));
    this.#settings = new HeldSettings(join(stateDir, 'settings.json'), this.#bootId, options);
    this.#tables = new NodeTables({ log, netns, wanted: () => this.#wanted() });
    this.#left = new LeftChains({ file: join(stateDir, 'nat.json'), bootId: this.#bootId, lockFile, netns });
    this.#lost = new LostChains({ log, netns, renew: () => this.#renewRules() });
    this.#madeLinks = new MadeLinks(join(stateDir, 'links.json'), this.#host);
    this.capabilities = capabilitiesOf(options, options.bandwidth);
  }

  async configure(network: NodeNetwork): Promise<void> {
    await this.#begin();
    validate(network);
    try {
      const given = readList(this.#options);
      const isBuiltIn = given === undefined;
      const { podCidrs, mtuBytes } = network;
      const list = given ?? builtInList({ podCidrs, mtuBytes, bandwidth: this.#options.bandwidth });
      const own = withOwnLeases(list, this.#leases);
      this.#configured = { network, isBuiltIn, list: await agreeOnVersion(own, this.#executables) };
    } catch (error) {
      this.#problem = (error as Error).message;
      throw error;
    }
    await this.#askStatus();
    this.#left.note();
    holdForwarding(this.#settings, network.podCidrs);
    this.#settingsTimer ??= setInterval(() => this.#lookAtSettings(), settingsPeriodMs).unref();
    for (const record of this.#records.list()) if (this.#ownsMtu(record)) setMtu(this.#host, record, network.mtuBytes);
    await this.#writeTables();
    this.#lost.watch();
  }

  async add(request: AttachmentRequest): Promise<Attached> {
    const { sandboxId, hostPorts, bandwidth } = request;
    const what = `Attaching pod ${request.podNamespace}/${request.podName}`;
    if (this.#configured === undefined)
      throw new PintleError('UNAVAILABLE', `${what}: the node's pod network is not configured yet; try again`);
    if (hostPorts.length > 0) this.#insist('host-ports', what);
    if (bandwidth !== undefined) this.#insist('bandwidth', what);
    const configured = this.#configured;
    return this.#turns.run(sandboxId, async () => {
      this.#refuseTakenPorts(sandboxId, hostPorts);
      const known = this.#records.get(sandboxId);
      if (known !== undefined) {
        const isCurrent = this.#isOfThisBoot(known) && known.netns === request.netns && isSame(known, request);
        if (isCurrent && known.result !== undefined && (await this.#check(known, known.netns)).length === 0)
          return attachedOf(sandboxId, known.ifName, known.result);
        // Left by a crash, a reboot or somebody's hand: begin again.
        await this.#forget(known);
        this.#refuseTakenPorts(sandboxId, hostPorts);
      }
      const record = this.#recordOf(request, configured);
      this.#records.put(record);
      try {
        return await this.#attach(record, configured);
      } catch (error) {
        await this.#forget(this.#records.get(sandboxId) ?? record).catch((second: unknown) =>
          this.#options.log.warn(`${what} failed, and so did undoing it; it is tried again by gc`, {
            error: String(second),
          }),
        );
        throw error;
      }
    });
  }

  async remove({ sandboxId }: { readonly sandboxId: string }): Promise<void> {
    await this.#begin();
    await this.#turns.run(sandboxId, async () => {
      const record = this.#records.get(sandboxId);
      if (record !== undefined) await this.#forget(record);
    });
  }

  async check({
    sandboxId,
    netns,
  }: {
    readonly sandboxId: string;
    readonly netns: string;
  }): Promise<readonly string[]> {
    return this.#turns.run(sandboxId, async () => {
      const record = this.#records.get(sandboxId);
      return record === undefined ? [`sandbox ${sandboxId} is not attached`] : this.#check(record, netns);
    });
  }

  async list(): Promise<readonly Attached[]> {
    return this.#records
      .list()
      .flatMap((record) =>
        record.result !== undefined && this.#isOfThisBoot(record)
          ? [attachedOf(record.sandboxId, record.ifName, record.result)]
          : [],
      );
  }

  /** Each is tried, also after one has failed; then rejects with the first failure. */
  async gc(valid: ReadonlySet<string>): Promise<readonly string[]> {
    await this.#begin();
    const gone = this.#records
      .list()
      .filter((record) => !valid.has(record.sandboxId) || !this.#isOfThisBoot(record))
      .map(({ sandboxId }) => sandboxId);
    const outcomes = await Promise.allSettled(gone.map((sandboxId) => this.remove({ sandboxId })));
    if (this.#configured !== undefined)
      await collectInNetwork(this.#configured.list, this.#records.list(), this.#executables);
    await this.#clearLeft();
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure !== undefined) throw failure.reason;
    return gone;
  }

  status(): { readonly ready: boolean; readonly reason?: string | undefined } {
    if (this.#problem !== undefined) return { ready: false, reason: this.#problem };
    if (this.#configured === undefined) return { ready: false, reason: 'the node has no pod range yet' };
    return { ready: true, reason: this.#tables.warning };
  }

  async purge(): Promise<void> {
    await this.#begin();
    this.#configured = undefined;
    this.#lost.unwatch();
    await this.#lost.idle();
    clearInterval(this.#statusTimer);
    clearInterval(this.#settingsTimer);
    this.#settingsTimer = undefined;
    for (const { sandboxId } of this.#records.list())
      await this.remove({ sandboxId }).catch((error: unknown) => this.#forceOut(sandboxId, error));
    await this.#tables.remove();
    await this.#clearLeft();
    this.#left.forget();
    this.#madeLinks.remove();
    this.#settings.restore();
    this.#records.purge();
    for (const path of [this.#leases, this.#executables.lockFile]) rmSync(path, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    clearInterval(this.#statusTimer);
    clearInterval(this.#settingsTimer);
    this.#tables.unwatch();
    this.#lost.unwatch();
    await this.#lost.idle();
    await this.#turns.idle();
    await this.#tables.idle();
    this.#host.close();
  }

  #begin(): Promise<void> {
    return (this.#former ??= this.#takeOver());
  }

  async #takeOver(): Promise<void> {
    await endFormerExecutables(this.#executables.mark, this.#options.formerGraceMs ?? formerGraceMs);
    removeStrayLeases(this.#leases, new Set(this.#records.list().map(({ containerId }) => containerId)));
  }

  #insist(capability: AttachmentCapability, what: string): void {
    if (this.capabilities.includes(capability)) return;
    const name = capability === 'host-ports' ? 'portMappings' : capability;
    throw new PintleError(
      'UNSUPPORTED',
      `${what}: it asks for ${capability}, and no plugin of the CNI list declares the capability ${name}; ` +
        'expected one that does. Add it to the list, or use another attachment',
    );
  }

  #recordOf(request: AttachmentRequest, { network, list, isBuiltIn }: Configured): AttachmentRecord {
    const { sandboxId, netns, hostPorts, bandwidth } = request;
    const containerId = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/.test(sandboxId)
      ? sandboxId
      : createHash('sha256').update(sandboxId).digest('hex');
    const args = cniArgs(request, containerId);
    const given = capabilityArgs(request, network, this.#options.dns);
    return {
      ...{ sandboxId, containerId, netns, ifName, bootId: this.#bootId, list, isBuiltIn, args, capabilityArgs: given },
      ...{ hostPorts, bandwidth },
    };
  }

  async #attach(record: AttachmentRecord, { network }: Configured): Promise<Attached> {
    const { sandboxId, netns, hostPorts, isBuiltIn } = record;
    // What portmap left may just be being cleared away.
    await this.#tables.idle();
    const before = new Set(this.#host.listLinks().map(({ name }) => name));
    prepareNamespace(netns);
    const result = await addToNetwork(record, this.#executables);
    const attached = attachedOf(sandboxId, ifName, result);
    this.#madeLinks.remember(nodeLinksOf(result).filter((name) => !before.has(name)));
    if (attached.ips.length === 0)
      throw new PintleError(
        'HOST_COMMAND_FAILED',
        `CNI list ${record.list.name} gave pod interface ${ifName} no address; expected one a family. Give its first plugin an ipam`,
        { details: { argv: [], exitCode: 0, stderr: '' } },
      );
    if (this.#ownsMtu(record)) setMtu(this.#host, record, network.mtuBytes);
    const end = nodeEndOf(this.#host, record);
    if (end !== undefined && isBuiltIn) settleRouted(this.#host, end, this.#options.netns);
    if (end !== undefined) await carrier(this.#host, end.index);
    this.#records.put({ ...record, result });
    if (hostPorts.length > 0) {
      await this.#writeTables();
      forgetUdpFlows(this.#host, attached.ips, hostPorts, this.#options);
    }
    return attached;
  }

  async #check(record: AttachmentRecord, netns: string): Promise<readonly string[]> {
    const mtuBytes = this.#ownsMtu(record) ? this.#configured?.network.mtuBytes : undefined;
    const seen = lookAtPod(record, netns, mtuBytes);
    return seen.length > 0 ? seen : checkInNetwork({ ...record, netns }, this.#executables);
  }

  async #forget(record: AttachmentRecord): Promise<void> {
    const netns = isNetns(record.netns) ? record.netns : '';
    await removeFromNetwork({ ...record, netns }, this.#executables);
    this.#records.remove(record);
    if (record.hostPorts.length > 0) {
      await this.#writeTables();
      const ips = record.result === undefined ? [] : attachedOf('', record.ifName, record.result).ips;
      forgetUdpFlows(this.#host, ips, record.hostPorts, this.#options);
    }
    await this.#clearLeft();
  }

  async #renewRules(): Promise<number> {
    const records = this.#records.list().filter((record) => this.#isOfThisBoot(record));
    const lost = await podsWithoutRules(records, (family, table) => this.#left.save(family, table));
    return renewAll(lost, (sandboxId, isLost) =>
      this.#turns.run(sandboxId, async () => {
        const record = this.#records.get(sandboxId);
        if (record?.result === undefined || !isNetns(record.netns)) return false;
        await renewInNetwork(record, (plugin) => isLost(rulesTable(record, plugin)), this.#executables);
        return true;
      }),
    );
  }

  /** The executables could not undo it: what can be found without them goes. */
  #forceOut(sandboxId: string, error: unknown): void {
    const record = this.#records.get(sandboxId);
    if (record === undefined) return;
    this.#options.log.warn(
      `CNI could not remove sandbox ${sandboxId}; its interface and leases are removed without it`,
      {
        error: String(error),
      },
    );
    const end = nodeEndOf(this.#host, record);
    if (end !== undefined) this.#host.deleteLink(end.index);
    this.#records.remove(record);
  }

  #clearLeft(): Promise<void> {
    return this.#tables.inTurn(async () => {
      const isInUse = this.#records.list().some(({ hostPorts }) => hostPorts.length > 0);
      if (!isInUse) await this.#left.clear();
    });
  }

  #wanted() {
    if (this.#configured === undefined) return undefined;
    return { masquerade: this.#options.masquerade ? this.#configured.network : undefined, ports: this.#portHolders() };
  }

  /** Of pods whose host ports need our help to find their way back. */
  #portHolders() {
    return this.#records.list().flatMap((record) => {
      const { hostPorts, isBuiltIn, result } = record;
      if (!isBuiltIn || hostPorts.length === 0 || result === undefined || !this.#isOfThisBoot(record)) return [];
      return [{ record, hostPorts, ips: attachedOf('', record.ifName, result).ips }];
    });
  }

  /** Packets between 127.0.0.1 and a pod pass once the table that keeps forged ones out is there. */
  async #writeTables(): Promise<void> {
    await this.#tables.apply();
    for (const holder of this.#portHolders().filter(hasLoopback)) {
      const end = nodeEndOf(this.#host, holder.record);
      if (end !== undefined) openLocalnet(this.#host, end, this.#options.netns);
    }
  }

  #refuseTakenPorts(sandboxId: string, hostPorts: readonly HostPort[]): void {
    for (const other of this.#records.list()) {
      if (other.sandboxId === sandboxId || !this.#isOfThisBoot(other)) continue;
      const taken = hostPorts.find((port) => other.hostPorts.some((one) => doCollide(port, one)));
      if (taken !== undefined)
        throw new PintleError(
          'UNAVAILABLE',
          `Host port ${taken.hostPort}/${taken.protocol} for sandbox ${sandboxId}: sandbox ${other.sandboxId} of this node ` +
            'has it; expected it to be free. Try again when that pod is gone',
        );
    }
  }

  #isOfThisBoot({ bootId }: AttachmentRecord): boolean {
    return bootId === this.#bootId;
  }

  /** A list that names an MTU keeps it. */
  #ownsMtu({ isBuiltIn, list }: AttachmentRecord): boolean {
    return isBuiltIn || list.plugins.every((plugin) => plugin['mtu'] === undefined);
  }

  #lookAtSettings(): void {
    if (this.#configured === undefined) return;
    keepForwarding(this.#settings, this.#configured.network.podCidrs, this.#options.log);
  }

  async #askStatus(): Promise<void> {
    const list = this.#configured?.list;
    if (list === undefined) return;
    this.#problem = await networkProblem(list, this.#executables);
    clearInterval(this.#statusTimer);
    if (this.#problem !== undefined && !this.#disposed)
      this.#statusTimer = setInterval(() => void this.#askStatus(), statusPeriodMs).unref();
  }
}
