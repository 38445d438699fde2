/**
 * The images of this node: `host`, and root file systems imported into the state folder. An image is a folder named
 * after its content, with the files in `rootfs` and, written last, `image.json`.
 */
import { existsSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PintleError, type Image } from '../../../../kernel/contract/index.ts';
import { readRecord, writeRecord } from '../layout.ts';
import { hostImageConfig, type ImageConfig } from './image-config.ts';

export interface ImageRecord {
  /** "sha256:..." of its content. */
  readonly id: string;
  readonly names: readonly string[];
  readonly sizeBytes: number;
  readonly config: ImageConfig;
}

export interface LocalImage extends ImageRecord {
  /** Folder of its files; undefined: the node's own. */
  readonly rootfs: string | undefined;
}

const hostImage: LocalImage = {
  id: 'host',
  names: ['host'],
  sizeBytes: 0,
  config: hostImageConfig,
  rootfs: undefined,
};

export class ImageStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  find(name: string): LocalImage | undefined {
    const wanted = canonicalName(name);
    return this.list().find((image) => image.id === name || image.names.some((one) => canonicalName(one) === wanted));
  }

  list(): readonly LocalImage[] {
    const imported = readdirSync(this.#folder).flatMap((folder): LocalImage[] => {
      const record = readRecord<ImageRecord>(join(this.#folder, folder, 'image.json'));
      return record === undefined ? [] : [{ ...record, rootfs: join(this.#folder, folder, 'rootfs') }];
    });
    return [hostImage, ...imported];
  }

  /** A folder to build an image in, gone with the process that makes it: `sweep` removes what was left. */
  makeWorkFolder(): string {
    const folder = join(this.#folder, `work-${process.pid}-${Math.random().toString(36).slice(2)}`);
    mkdirSync(folder, { mode: 0o700 });
    return folder;
  }

  /** Takes what was built in `work`/rootfs. An image of the same content only gains the names; other images lose them. */
  async add(work: string, record: ImageRecord): Promise<LocalImage> {
    const folder = join(this.#folder, record.id.replace(':', '-'));
    const existing = readRecord<ImageRecord>(join(folder, 'image.json'));
    const names = [...new Set([...(existing?.names ?? []), ...record.names])];
    for (const name of record.names) await this.#dropName(name, record.id);
    if (existing === undefined) {
      writeRecord(join(work, 'image.json'), { ...record, names });
      await rm(folder, { recursive: true, force: true });
      renameSync(work, folder);
    } else {
      writeRecord(join(folder, 'image.json'), { ...existing, names });
      await rm(work, { recursive: true, force: true });
    }
    return { ...(existing ?? record), names, rootfs: join(folder, 'rootfs') };
  }

  /** Removes the name, and with the last name the image. */
  async remove(name: string): Promise<void> {
    const image = this.find(name);
    if (image === undefined) return;
    if (image.rootfs === undefined)
      throw new PintleError('UNSUPPORTED', 'image host is the file system of the node and cannot be removed');
    if (name === image.id) await rm(this.#folderOf(image.id), { recursive: true, force: true });
    else await this.#dropName(name, undefined);
  }

  /** Removes work folders of processes that are gone. */
  async sweep(): Promise<void> {
    for (const name of readdirSync(this.#folder)) {
      const pid = /^work-(\d+)-/.exec(name)?.[1];
      if (pid !== undefined && !existsSync(`/proc/${pid}`))
        await rm(join(this.#folder, name), { recursive: true, force: true });
    }
  }

  async #dropName(name: string, keptBy: string | undefined): Promise<void> {
    const wanted = canonicalName(name);
    for (const image of this.list()) {
      if (image.rootfs === undefined || image.id === keptBy) continue;
      const { rootfs: _, ...record } = image;
      const names = image.names.filter((one) => canonicalName(one) !== wanted);
      if (names.length === image.names.length) continue;
      if (names.length === 0) await rm(this.#folderOf(image.id), { recursive: true, force: true });
      else writeRecord(join(this.#folderOf(image.id), 'image.json'), { ...record, names });
    }
  }

  #folderOf(id: string): string {
    return join(this.#folder, id.replace(':', '-'));
  }
}

export function describeImage({ id, names, sizeBytes, config }: LocalImage): Image {
  return { id, names, sizeBytes, user: config.uid };
}

/** Docker's reading of short names: "busybox" is docker.io/library/busybox:latest. "host" is no registry's, however written. */
export function canonicalName(name: string): string {
  if (name.startsWith('sha256:')) return name;
  const [first = ''] = name.split('/');
  const hasRegistry = name.includes('/') && /[.:]|^localhost$/.test(first);
  const full = hasRegistry ? name : `docker.io/${name.includes('/') ? name : `library/${name}`}`;
  const whole = /@|:[^/]*$/.test(full) ? full : `${full}:latest`;
  return whole === 'docker.io/library/host:latest' ? hostImage.id : whole;
}

/** Whether the name means the node's own file system: "host", and what tools make of it ("host:latest"). */
export const isHostImage = (name: string): boolean => canonicalName(name) === hostImage.id;
