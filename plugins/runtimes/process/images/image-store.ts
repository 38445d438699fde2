/** The images of this node: `host`, and root file systems imported into the state folder. */
import type { Image } from '../../../../kernel/contract/index.ts';
import { hostImageConfig, type ImageConfig } from './image-config.ts';

export interface LocalImage {
  readonly id: string;
  readonly names: readonly string[];
  readonly sizeBytes: number;
  readonly config: ImageConfig;
  /** Folder of its files; undefined: the node's own. */
  readonly rootfs: string | undefined;
}

export const hostImage: LocalImage = {
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
  }

  find(name: string): LocalImage | undefined {
    return this.list().find((image) => image.names.includes(name) || image.id === name);
  }

  list(): readonly LocalImage[] {
    void this.#folder;
    return [hostImage];
  }
}

export function describeImage({ id, names, sizeBytes }: LocalImage): Image {
  return { id, names, sizeBytes };
}
