/** The settings without which a node does not route for its pods. Owns nothing: what they were before is the holder's to keep. */
import type { Logger } from '../../../kernel/contract/index.ts';
import type { HeldSettings } from '../held-settings.ts';
import { AF_INET, parseCidr } from '../ip-address.ts';
import { readSysctl, writeSysctl, type SysctlOptions } from '../sysctl.ts';

/**
 * The node routes for its pods. It must not tell a pod "ask your neighbour directly": packets of two pods may enter and leave
 * by the same interface, and a redirect would take them past the proxy. Returns the names of those that were otherwise.
 */
export function holdForwarding(settings: HeldSettings, podCidrs: readonly string[]): readonly string[] {
  const wanted: readonly (readonly [string, number])[] = [
    ['net.ipv4.conf.all.send_redirects', 0],
    ['net.ipv4.ip_forward', 1],
    ...(podCidrs.some((range) => parseCidr(range).family !== AF_INET)
      ? [['net.ipv6.conf.all.forwarding', 1] as const]
      : []),
  ];
  return wanted.filter(([name, value]) => settings.hold(name, value)).map(([name]) => name);
}

/**
 * The same of a link that only pods' packets pass; it takes its settings along when it goes. True when one had been changed: a
 * link that is made while forwarding is held has them.
 */
export function holdLinkForwarding(link: string, podCidrs: readonly string[], options: SysctlOptions = {}): boolean {
  const conf = link.replaceAll('.', '/');
  const wanted: readonly (readonly [string, string])[] = [
    [`net.ipv4.conf.${conf}.send_redirects`, '0'],
    [`net.ipv4.conf.${conf}.forwarding`, '1'],
    ...(podCidrs.some((range) => parseCidr(range).family !== AF_INET)
      ? [[`net.ipv6.conf.${conf}.disable_ipv6`, '0'] as const, [`net.ipv6.conf.${conf}.forwarding`, '1'] as const]
      : []),
  ];
  const wrong = wanted.filter(([name, value]) => ![undefined, value].includes(readSysctl(name, options)));
  for (const [name, value] of wrong) writeSysctl(name, value, options);
  return wrong.length > 0;
}

/** Nobody tells of a setting that changes, and pods have no network without these: to be called now and then. */
export function keepForwarding(settings: HeldSettings, podCidrs: readonly string[], log: Logger): void {
  try {
    const changed = holdForwarding(settings, podCidrs);
    if (changed.length > 0)
      log.warn('Settings that pods need had been changed by somebody else: put right', {
        settings: changed.join(', '),
      });
  } catch (error) {
    log.warn('Settings that pods need have been changed by somebody else, and cannot be put right', {
      error: error instanceof Error ? error.message : String(error),
    });
  }
}
