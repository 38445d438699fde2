/**
 * Service proxy by iptables. Owns the chains PINTLE-* of the tables nat and filter, the rules that lead into them, and the
 * UDP connection-tracking entries of flows to service addresses whose endpoint is gone.
 * Repairs its chains when somebody else changes them.
 */
import type { Clock, Logger, ProxyState, ServiceVerdict } from '../../../kernel/contract/index.ts';
import { chooseBackend, type BackendChoice, type IptablesBackend } from '../../linux/iptables.ts';
import type { Picture } from '../../linux/iptables-picture.ts';
import { watchChains } from '../../linux/iptables-watch.ts';
import { OwnedChains } from '../../linux/owned-chains.ts';
import { OwnPorts } from '../../linux/own-ports.ts';
import { PortFragments } from '../../linux/port-fragments.ts';
import { RepairingProxy } from '../../linux/repairing-proxy.ts';
import { canonicalIp } from '../../linux/ip-address.ts';
import { flowFamily, type Decision, type ServiceFlow } from '../../linux/service-decision.ts';
import { contextOf, type Context, type IpFamily } from '../../linux/service-addresses.ts';
import { UdpFlows } from '../../linux/udp-flows.ts';
import { compose, prefix, renderPort, unknownRule, type Fragment } from './render.ts';

export interface IptablesProxyOptions {
  readonly families: readonly IpFamily[];
  readonly backend: IptablesBackend | 'auto';
  /** Bit of the packet mark that asks for masquerade. */
  readonly markBit: number;
  readonly lockFile?: string | undefined;
  readonly log: Logger;
  readonly clock: Pick<Clock, 'now'>;
  readonly netns?: string | undefined;
}

interface FamilyState {
  readonly family: IpFamily;
  readonly chains: OwnedChains;
  picture: Picture | undefined;
  readonly fragments: PortFragments<Fragment>;
  readonly flows: UdpFlows;
  context: Context | undefined;
}

export class IptablesProxy extends RepairingProxy {
  readonly #options: IptablesProxyOptions;
  readonly #ownPorts = new OwnPorts();
  #choice: BackendChoice | undefined;
  #families: readonly FamilyState[] = [];

  constructor(options: IptablesProxyOptions) {
    super({ ...options, name: 'iptables' });
    this.#options = options;
  }

  protected override async bring(desired: ProxyState): Promise<number> {
    const { backend, other } = await this.#begin();
    this.watch(() => this.#monitor(backend));
    let changed = 0;
    for (const state of this.#families) changed += await this.#syncFamily(state, desired);
    if (other !== undefined) await this.#leave(other);
    return changed;
  }

  /** Which back end is used and why. */
  protected override note(): string | undefined {
    const choice = this.#choice;
    return choice === undefined ? undefined : `iptables back end ${choice.backend} (${choice.why})`;
  }

  protected override async objectsOf(
    decision: Decision,
    flow: ServiceFlow,
  ): Promise<ServiceVerdict['objects'] | undefined> {
    const state = this.#families.find(({ family }) => family === flowFamily(flow));
    if (state === undefined) return undefined;
    const found = new Set((await state.chains.text()).split('\n'));
    const look = (shown: string) => ({ shown, isPresent: found.has(shown) });
    if (decision.of === undefined) return [look(`-A ${unknownRule(decision, state.family)}`)];
    const { chains, rules } = state.fragments.of(decision.of) ?? { chains: new Map<string, string>(), rules: [] };
    const meets = rules.filter(
      ({ key }) => key.includes(`-d ${canonicalIp(flow.destination)}/`) && key.endsWith(` --dport ${flow.port}`),
    );
    const wanted = [
      ...meets.map(({ list, rule }) => `-A ${list} ${rule}`),
      ...[...chains].flatMap(([name, text]) => text.split('\n').map((rule) => `-A ${name} ${rule}`)),
    ];
    return wanted.map(look);
  }

  protected override async remove(): Promise<void> {
    const { other } = await this.#begin();
    for (const { chains, flows } of this.#families) {
      await chains.remove();
      flows.forgetAll();
    }
    if (other !== undefined) await this.#leave(other);
    this.#choice = undefined;
  }

  protected override async mend(): Promise<void> {
    for (const { chains, picture, family } of this.#families) {
      await chains.check();
      if (chains.isSound || picture === undefined) continue;
      await chains.apply(picture);
      this.mended(family);
    }
  }

  async #begin(): Promise<BackendChoice> {
    if (this.#choice !== undefined) return this.#choice;
    const { families, backend, netns, lockFile, log } = this.#options;
    const choice = await chooseBackend(families, prefix, backend, { netns, lockFile });
    log.info('Service proxy uses one iptables back end', { backend: choice.backend, why: choice.why });
    this.#choice = choice;
    this.#families = families.map((family) => ({
      family,
      chains: this.#chainsOf(family, choice.backend),
      picture: undefined,
      fragments: new PortFragments(this.comparison),
      flows: new UdpFlows(family, this.#options),
      context: undefined,
    }));
    return choice;
  }

  #chainsOf(family: IpFamily, backend: IptablesBackend): OwnedChains {
    const { netns, lockFile } = this.#options;
    const onPort = (port: number): void => this.#ownPorts.add(port);
    return new OwnedChains(prefix, { family, backend, netns, lockFile, onPort });
  }

  /** Takes our rules out of the back end that is not used any more. */
  async #leave(other: IptablesBackend): Promise<void> {
    for (const family of this.#options.families) await this.#chainsOf(family, other).remove();
    if (this.#choice !== undefined) this.#choice = { ...this.#choice, other: undefined };
  }

  async #syncFamily(state: FamilyState, desired: ProxyState): Promise<number> {
    const context = contextOf(desired, state.family);
    const { chains, fragments, flows } = state;
    const before = state.context ?? context;
    const basis = JSON.stringify(context);
    const change = fragments.update(desired.ports, basis, (port) => renderPort(port, context));
    flows.note(change, context, before);
    const isSame = change.came.length + change.gone.length === 0 && JSON.stringify(before) === basis;
    const known = isSame ? state.picture : undefined;
    state.context = context;
    state.picture = known ?? compose(fragments.list, context, this.#options.markBit);
    const changed = await chains.apply(state.picture);
    flows.settle();
    return changed;
  }

  #monitor(backend: IptablesBackend): () => void {
    return watchChains(prefix, {
      backend,
      netns: this.#options.netns,
      chains: this.#families.map(({ chains }) => chains),
      isOwn: (port) => this.#ownPorts.has(port),
      onDamage: () => this.damaged(),
    });
  }
}
