/**
 * Imports a root file system as an image: from a folder, a tarball of one, or a docker or OCI archive (file or folder).
 * Used by the runtime's owner and by the command line; the runtime sees a new image at once.
 *
 * Archives are foreign input. GNU tar is trusted with one tarball into one empty folder, where it keeps a member from
 * leaving through a link made by an earlier one; across layers it would follow such links, so layers are put together
 * here, by steps that follow none.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import { PintleError, type Image } from '../../../../kernel/contract/index.ts';
import { hostCommand, hostEnvironment } from '../host-command.ts';
import { layoutOf } from '../layout.ts';
import { readArchive } from './archive.ts';
import { digestOf } from './digest.ts';
import { configOf } from './image-config.ts';
import { ImageStore, describeImage, isHostImage } from './image-store.ts';
import { folderSize, mergeLayer } from './layers.ts';

export interface ImportRequest {
  /** State folder of the runtime. */
  readonly stateDir: string;
  /** Folder, tarball (also compressed), docker archive or OCI layout. */
  readonly source: string;
  /** What it is called; for archives, besides the names that they hold. At least one there must be. */
  readonly names: readonly string[];
}

export async function importImage({ stateDir, source, names }: ImportRequest): Promise<Image> {
  const stats = statSync(source, { throwIfNoEntry: false });
  if (stats === undefined) throw new PintleError('IMAGE_NOT_FOUND', `image source ${source} does not exist`);
  const taken = names.find(isHostImage);
  if (taken !== undefined)
    throw new PintleError('BAD_REQUEST', `image name ${taken} is the file system of the node: expected another name`);
  const store = new ImageStore(layoutOf(stateDir).images);
  const work = store.makeWorkFolder();
  try {
    const rootfs = join(work, 'rootfs');
    mkdirSync(rootfs, { mode: 0o755 });
    let built: { readonly id: string; readonly names: readonly string[]; readonly config: unknown };
    if (stats.isDirectory() ? isArchiveFolder(source) : await isArchiveFile(source))
      built = await importArchive(source, stats.isDirectory(), work, rootfs);
    else if (stats.isDirectory()) built = { id: await copyFolder(source, rootfs), names: [], config: {} };
    else {
      await unpack(source, rootfs);
      built = { id: await digestOf(source), names: [], config: {} };
    }
    const all = [...new Set([...names, ...built.names])].filter((name) => !isHostImage(name));
    if (all.length === 0)
      throw new PintleError('BAD_REQUEST', `image source ${source} holds no name: expected one to be given`);
    const record = {
      id: built.id,
      names: all,
      sizeBytes: await folderSize(rootfs),
      config: configOf(built.config, rootfs),
    };
    return describeImage(await store.add(work, record));
  } catch (error) {
    await rm(work, { recursive: true, force: true });
    throw error;
  }
}

async function importArchive(
  source: string,
  isFolder: boolean,
  work: string,
  rootfs: string,
): Promise<{ readonly id: string; readonly names: readonly string[]; readonly config: unknown }> {
  const folder = isFolder ? source : join(work, 'archive');
  if (!isFolder) {
    mkdirSync(folder);
    await hostCommand(['tar', '--extract', '--file', source, '--directory', folder, '--no-same-owner']);
  }
  const archive = await readArchive(folder);
  for (const [index, layer] of archive.layers.entries()) {
    const unpacked = join(work, `layer-${index}`);
    mkdirSync(unpacked, { mode: 0o755 });
    await unpack(layer, unpacked);
    await mergeLayer(unpacked, rootfs);
    await rm(unpacked, { recursive: true, force: true });
  }
  if (!isFolder) await rm(folder, { recursive: true, force: true });
  return archive;
}

const isArchiveFolder = (folder: string): boolean =>
  existsSync(join(folder, 'oci-layout')) ||
  (existsSync(join(folder, 'manifest.json')) && !existsSync(join(folder, 'usr')));

async function isArchiveFile(file: string): Promise<boolean> {
  let listing: string;
  try {
    listing = await hostCommand(['tar', '--list', '--file', file]);
  } catch (cause) {
    throw new PintleError(
      'BAD_REQUEST',
      `image source ${file} is no tarball that tar can read: expected a root file system, or a docker or OCI archive`,
      { cause },
    );
  }
  const members = new Set(listing.split('\n').map((name) => name.replace(/^\.\//, '')));
  return members.has('oci-layout') || (members.has('manifest.json') && !members.has('usr/') && !members.has('etc/'));
}

/** Ownership as real root only: a user namespace has no other owners. Devices come from the runtime. */
function extractOptions(): readonly string[] {
  const isRoot = process.getuid?.() === 0 && /^\s*0\s+0\s+4294967295/.test(readFileSync('/proc/self/uid_map', 'utf8'));
  return [
    ...(isRoot ? ['--numeric-owner', '--same-owner'] : ['--no-same-owner']),
    '--preserve-permissions',
    '--exclude=./dev/*',
    '--exclude=dev/*',
    '--warning=no-timestamp',
  ];
}

async function unpack(tarball: string, folder: string): Promise<void> {
  await hostCommand(['tar', '--extract', '--file', tarball, '--directory', folder, ...extractOptions()]);
}

/** Copies by way of a tar stream whose bytes, in name order, are the content's digest. */
async function copyFolder(source: string, rootfs: string): Promise<string> {
  const hash = createHash('sha256');
  const options = { env: { ...hostEnvironment } };
  const reader = spawn(
    'tar',
    ['--create', '--file=-', '--sort=name', '--directory', source, '--exclude=./dev/*', '.'],
    { ...options, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const writer = spawn('tar', ['--extract', '--file=-', '--directory', rootfs, ...extractOptions()], {
    ...options,
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  const codes = Promise.all([once(reader, 'close'), once(writer, 'close')]);
  reader.stdout.on('data', (chunk: Buffer) => hash.update(chunk));
  await pipeline(reader.stdout, writer.stdin);
  for (const [code] of (await codes) as readonly (readonly unknown[])[])
    if (code !== 0)
      throw new PintleError(
        'HOST_COMMAND_FAILED',
        `image source ${source} could not be copied: tar ended with ${code}`,
      );
  return `sha256:${hash.digest('hex')}`;
}
