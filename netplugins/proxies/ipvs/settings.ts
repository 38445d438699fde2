/**
 * The kernel settings of IPVS that the proxy holds, each of its network namespace:
 *   conntrack                   connection tracking follows the translation, so that iptables can masquerade it
 *   expire_nodest_conn          a flow whose destination is gone finds another one with its next packet
 *   expire_quiescent_template   a client with affinity leaves a destination that takes no new connections
 */
import type { HeldSettings } from '../../linux/held-settings.ts';
import { readSysctl } from '../../linux/sysctl.ts';

const settings = ['conntrack', 'expire_nodest_conn', 'expire_quiescent_template'].map((name) => `net.ipv4.vs.${name}`);

export function holdSettings(held: HeldSettings): void {
  for (const name of settings) held.hold(name, 1);
}

export function areHeld(options: { readonly netns?: string | undefined }): boolean {
  return settings.every((name) => readSysctl(name, options) === '1');
}

/** The first that this kernel does not let us have; undefined when all are there. */
export function missingSetting(options: { readonly netns?: string | undefined } = {}): string | undefined {
  return settings.find((name) => readSysctl(name, options) === undefined);
}
