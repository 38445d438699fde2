/** Tries everything that the proxy uses in a network namespace that vanishes with the probe. */
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isPintleError } from '../../../kernel/contract/index.ts';
import type { IptablesBackend } from '../../linux/iptables.ts';
import { openIpSets } from '../../linux/ipset.ts';
import { openIpvs } from '../../linux/ipvs.ts';
import { isRefused } from '../../linux/libc.ts';
import { withScratchNetns } from '../../linux/namespaces.ts';
import { OwnedChains } from '../../linux/owned-chains.ts';
import { openRtnetlink } from '../../linux/rtnetlink.ts';
import { sampleAddresses } from '../../linux/sample-addresses.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';
import { prefix, rulesPicture } from './rules.ts';
import { definitionOf, setNames } from './sets.ts';
import { missingSetting } from './settings.ts';

export interface Missing {
  readonly reason: string;
  readonly fix: string;
}

/** Each part of the kernel with the module that has it. */
function probeKernel(netns: string, families: readonly IpFamily[], schedulers: readonly string[]): Missing | undefined {
  const attempt = (what: string, module: string, act: () => void): Missing | undefined => {
    try {
      act();
      return undefined;
    } catch (error) {
      if (!isPintleError(error)) throw error;
      const isAbsent = isRefused(error, 'ENOENT', 'EOPNOTSUPP', 'IPSET_NO_SUCH_TYPE', 'EINVAL', 'EPROTONOSUPPORT');
      return {
        reason: isAbsent ? `this kernel has no ${what} (module ${module})` : error.message,
        fix: `modprobe ${module}; where the kernel was built without it, use another proxy`,
      };
    }
  };
  const ipvs = attempt('IP virtual server', 'ip_vs', () => openIpvs({ netns }).close());
  if (ipvs !== undefined) return ipvs;
  const setting = missingSetting({ netns });
  if (setting !== undefined)
    return {
      reason: `the setting ${setting} is missing: this kernel keeps it from user namespaces, or was built without connection tracking in IPVS`,
      fix: 'run as root of the host, or use another proxy',
    };
  for (const scheduler of schedulers) {
    const missing = attempt(`IPVS scheduler ${scheduler}`, `ip_vs_${scheduler}`, () => {
      const handle = openIpvs({ netns });
      const service = { key: { mark: 1, family: 2 } as const, scheduler, persistenceSeconds: undefined };
      try {
        handle.apply([
          { verb: 'addService', service },
          { verb: 'deleteService', key: service.key },
        ]);
      } finally {
        handle.close();
      }
    });
    if (missing !== undefined) return missing;
  }
  const dummy = attempt('dummy links', 'dummy', () => {
    const links = openRtnetlink({ netns });
    try {
      links.createDummy({ name: 'probe' });
    } finally {
      links.close();
    }
  });
  if (dummy !== undefined) return dummy;
  return attempt('sets of addresses and ports', 'ip_set_hash_ipport', () => {
    const sets = openIpSets({ netns });
    try {
      for (const family of families) for (const set of setNames) sets.create(definitionOf(family, set));
    } finally {
      sets.close();
    }
  });
}

/** Undefined: works, with one of the iptables back ends. */
export async function probeIpvs(
  families: readonly IpFamily[],
  backends: readonly IptablesBackend[],
  schedulers: readonly string[],
): Promise<Missing | undefined> {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-probe-'));
  let fd: number | undefined;
  try {
    fd = withScratchNetns((path) => openSync(path, 'r'));
    const netns = `/proc/self/fd/${fd}`;
    const missing = probeKernel(netns, families, schedulers);
    if (missing !== undefined) return missing;
    const reasons: string[] = [];
    for (const backend of backends) {
      try {
        for (const family of families) {
          const { pods, services } = sampleAddresses[family];
          const options = { family, backend, netns, lockFile: join(folder, 'lock') };
          const chains = new OwnedChains(prefix, { ...options, tables: ['mangle', 'filter', 'nat'] });
          await chains.apply(
            rulesPicture({ family, nodeAddresses: [], clusterCidrs: [pods], serviceCidrs: [services] }, 12),
          );
        }
        return undefined;
      } catch (error) {
        if (!isPintleError(error)) throw error;
        reasons.push(error.message);
      }
    }
    const fix = 'Linux with xt_set, xt_connmark, xt_conntrack, NAT and REJECT; apt-get install iptables';
    return { reason: reasons.join('; '), fix };
  } catch (error) {
    return { reason: error instanceof Error ? error.message : String(error), fix: 'run as root' };
  } finally {
    if (fd !== undefined) closeSync(fd);
    rmSync(folder, { recursive: true, force: true });
  }
}
