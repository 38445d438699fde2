/**
 * Size and layout of a legacy iptables table, by getsockopt: a few microseconds, no copy of the rules. The legacy tables
 * give no notifications, so a change by somebody else is found by looking at this. Owns one raw socket a family.
 */
import { closeSync } from 'node:fs';
import { libc } from './libc.ts';
import { runInNetns } from './namespaces.ts';
import type { IpFamily } from './service-addresses.ts';

const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_RAW = 255;
/** IPT_SO_GET_INFO and IP6T_SO_GET_INFO. */
const GET_INFO = 64;
/** struct ipt_getinfo: char name[32]; u32 valid_hooks, hook_entry[5], underflow[5], num_entries, size. */
const infoBytes = 84;
const levels = { ip: { domain: 2, level: 0 }, ip6: { domain: 10, level: 41 } } as const;

/** Differs when rules were added or removed; undefined when the table cannot be seen. */
export function tableLayout(
  family: IpFamily,
  table: string,
  options: { readonly netns?: string | undefined },
): string | undefined {
  const { domain, level } = levels[family];
  const read = (): string | undefined => {
    const fd = libc().socket(domain, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    if (fd < 0) return undefined;
    try {
      const info = Buffer.alloc(infoBytes);
      info.write(table, 0, 31, 'latin1');
      const length = Buffer.alloc(4);
      length.writeUInt32LE(infoBytes);
      if (libc().getsockopt(fd, level, GET_INFO, info, length) !== 0) return undefined;
      return info.subarray(32).toString('hex');
    } finally {
      closeSync(fd);
    }
  };
  return options.netns === undefined ? read() : runInNetns(options.netns, read);
}
