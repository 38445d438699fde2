/** PersistentVolumes of source hostPath. Nothing is made on the node but what the path's type asks for. */
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { PintleError, type VolumeDriver } from '../../../kernel/contract/index.ts';

const refuse = (code: 'VOLUME_NOT_FOUND' | 'VOLUME_INVALID', message: string) => new PintleError(code, message);

export const hostPathVolumes: VolumeDriver = {
  capabilities: [],
  serves: (spec) => spec.hostPath !== undefined,
  async publish({ volume }) {
    const { path = '', type = '' } = volume.spec.hostPath ?? {};
    if (!isAbsolute(path)) throw refuse('VOLUME_INVALID', `hostPath "${path}" is not absolute`);
    let found = await stat(path).catch(() => undefined);
    if (found === undefined && type === 'DirectoryOrCreate') await mkdir(path, { recursive: true, mode: 0o755 });
    else if (found === undefined && type === 'FileOrCreate') await writeFile(path, '', { flag: 'a', mode: 0o644 });
    found ??= await stat(path).catch(() => undefined);
    if (found === undefined) throw refuse('VOLUME_NOT_FOUND', `hostPath "${path}" does not exist on this node`);
    if (type.startsWith('Directory') && !found.isDirectory())
      throw refuse('VOLUME_INVALID', `hostPath type check failed: ${path} is not a directory`);
    if (type.startsWith('File') && !found.isFile())
      throw refuse('VOLUME_INVALID', `hostPath type check failed: ${path} is not a file`);
    if (type === 'Socket' && !found.isSocket())
      throw refuse('VOLUME_INVALID', `hostPath type check failed: ${path} is not a socket`);
    return { path };
  },
  unpublish: async () => undefined,
};
