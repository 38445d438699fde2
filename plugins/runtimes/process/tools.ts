/**
 * The few host programs that run inside a container's file system with more rights than the container has: they leave
 * the node's root, drop capabilities, change the user. They must be the node's own, whatever the image or a process of
 * the container has put in place of them, so copies with their libraries are mounted read-only at /.pintle and started
 * through the copied dynamic linker.
 *
 * glibc reads files by fixed names that an image controls: /etc/ld.so.preload would put the image's code into them, and
 * setpriv looks numbers up as names through /etc/nsswitch.conf (which may load libraries) and /etc/passwd. In the copies
 * those names are replaced by others of the same length that do not exist.
 */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { PintleError } from '../../../kernel/contract/index.ts';
import { hostCommand, hostEnvironment } from './host-command.ts';
import { readText, writeRecord, type Layout } from './layout.ts';

const programs = ['setpriv', 'env', 'umount', 'mkdir', 'dash', 'script', 'sleep'] as const;

/** The mount point of the tools in every container. */
export const toolsPath = '/.pintle';

/** How a tool is started inside a container. */
export const toolLoader: readonly string[] = [`${toolsPath}/ld.so`, '--inhibit-cache', '--library-path', toolsPath];

export function tool(name: (typeof programs)[number]): readonly string[] {
  return [...toolLoader, `${toolsPath}/${name}`];
}

const fixedNames: readonly { readonly name: string; readonly required: boolean; readonly file: 'linker' | 'libc' }[] = [
  { name: '/etc/ld.so.preload', required: true, file: 'linker' },
  { name: '/etc/nsswitch.conf', required: true, file: 'libc' },
  { name: '/etc/passwd', required: true, file: 'libc' },
  { name: '/etc/group', required: true, file: 'libc' },
  { name: '/var/run/nscd/socket', required: false, file: 'libc' },
];

/** Copies the tools unless the copies are of the programs that the node has now. */
export async function prepareTools(layout: Layout): Promise<void> {
  const paths = programs.map(findProgram);
  const stamp = JSON.stringify(paths.map((path) => [path, statSync(path).mtimeMs, statSync(path).size]));
  const stampFile = join(layout.tools, 'stamp.json');
  if (existsSync(stampFile) && readText(stampFile) === JSON.stringify(stamp)) return;
  // Where a process that has these tools for its root puts the old one, and what umount wants to read.
  for (const name of ['old', 'proc']) mkdirSync(join(layout.tools, name), { recursive: true });
  chmodSync(layout.tools, 0o755);
  const linker = realpathSync(interpreterOf(paths[0] ?? ''));
  const listed = await Promise.all(paths.map((path) => hostCommand([linker, '--list', path])));
  const libraries = new Set(
    listed.flatMap((text) => [...text.matchAll(/=> (\/\S+) \(/g)].map((match) => match[1] ?? '')),
  );
  for (const path of [...paths, ...libraries]) {
    const target = join(layout.tools, basename(path));
    if (basename(path) === 'libc.so.6') copyWithoutNames(path, target, 'libc');
    else copyFileSync(path, target);
    chmodSync(target, 0o755);
  }
  copyWithoutNames(linker, join(layout.tools, 'ld.so'), 'linker');
  chmodSync(join(layout.tools, 'ld.so'), 0o755);
  writeRecord(stampFile, stamp);
}

function findProgram(name: string): string {
  const found = (hostEnvironment['PATH'] ?? '')
    .split(':')
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
  if (found !== undefined) return realpathSync(found);
  throw new PintleError(
    'HOST_COMMAND_FAILED',
    `${name} is not on this host: expected it from coreutils, dash, util-linux or bsdutils`,
  );
}

function copyWithoutNames(source: string, target: string, file: 'linker' | 'libc'): void {
  const bytes = readFileSync(source);
  for (const { name, required } of fixedNames.filter((one) => one.file === file)) {
    const needle = Buffer.from(`\0${name}\0`);
    let at = bytes.indexOf(needle);
    if (at < 0 && required)
      throw new PintleError('UNSUPPORTED', `${source} does not hold the name ${name}: expected GNU libc, as on Debian`);
    for (; at >= 0; at = bytes.indexOf(needle, at))
      bytes.write(`${toolsPath}/none`.padEnd(name.length, '_').slice(0, name.length), at + 1);
  }
  writeFileSync(target, bytes);
}

/** PT_INTERP of a 64-bit little-endian ELF file. */
function interpreterOf(path: string): string {
  const bytes = readFileSync(path);
  if (bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1)
    throw new PintleError('UNSUPPORTED', `${path} is no 64-bit little-endian ELF program`);
  const table = Number(bytes.readBigUInt64LE(32));
  const size = bytes.readUInt16LE(54);
  const count = bytes.readUInt16LE(56);
  for (let index = 0; index < count; index++) {
    const header = table + index * size;
    if (bytes.readUInt32LE(header) !== 3) continue;
    const start = Number(bytes.readBigUInt64LE(header + 8));
    return bytes.toString('utf8', start, bytes.indexOf(0, start));
  }
  throw new PintleError('UNSUPPORTED', `${path} is statically linked: its dynamic linker cannot be found`);
}
