/** What preflights may ask of this host: reads of /proc and PATH, no effects. */
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import type { Host } from '../contract/index.ts';

const CAP_NET_ADMIN = 12n;
const CAP_SYS_ADMIN = 21n;

export function hostFacts(): Host {
  const status = readText('/proc/self/status') ?? '';
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0'}`);
  const has = (capability: bigint): boolean => (effective & (1n << capability)) !== 0n;
  const isRootUser = process.geteuid?.() === 0;
  return {
    kernelRelease: release(),
    isPrivileged: has(CAP_NET_ADMIN) && has(CAP_SYS_ADMIN),
    isRoot: isRootUser && isInitialUserNamespace(),
    command,
    exists: existsSync,
    readText,
  };
}

/** The initial user namespace maps every id to itself. */
function isInitialUserNamespace(): boolean {
  return /^\s*0\s+0\s+4294967295\s*$/.test(readText('/proc/self/uid_map') ?? '');
}

function command(name: string): string | undefined {
  if (name.includes('/')) return isExecutable(name) ? name : undefined;
  // npm puts the commands of packages first, and one of them is called nft.
  const folders = (process.env['PATH'] ?? '')
    .split(':')
    .filter((folder) => folder.startsWith('/') && !folder.endsWith('/node_modules/.bin'));
  return [...new Set([...folders, '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'])]
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
