/** subPath and subPathExpr: a part of a volume, which a pod must not be able to point out of the volume. */
import { chmod, mkdir, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, sep } from 'node:path';
import type { VolumeMount } from '../../../kernel/contract/kubernetes.ts';
import { PintleError } from '../../../kernel/contract/index.ts';
import { expandVariables } from './container-spec.ts';
import { notMountable } from './volume-files.ts';

/** The relative path that a mount asks for, or undefined. A variable that is not there is an error, as in Kubernetes. */
export async function subPathText(
  { name, subPath, subPathExpr }: VolumeMount,
  environment: () => Promise<ReadonlyMap<string, string>>,
): Promise<string | undefined> {
  if (!subPathExpr) return subPath || undefined;
  const values = await environment();
  const missing = [...subPathExpr.matchAll(/\$\$|\$\(([^()]*)\)/g)].find(
    ([whole, variable]) => whole !== '$$' && !values.has(variable!),
  );
  if (missing)
    throw new PintleError(
      'CONTAINER_INVALID',
      `failed to prepare subPath for volumeMount "${name}": missing value for "${missing[1]}"`,
    );
  return expandVariables(subPathExpr, values);
}

/** The real path of a subPath, made when it is missing. Links are followed before anything is made: a pod may have left some. */
export async function subPathOf(base: string, volume: string, subPath: string): Promise<string> {
  if (isAbsolute(subPath) || subPath.split('/').includes('..'))
    throw notMountable(volume, `subPath "${subPath}" must be relative and must not use ".."`);
  const inside = await realpath(base);
  const { mode } = await stat(inside);
  let real = inside;
  for (const part of subPath.split('/').filter((each) => each !== '' && each !== '.')) {
    const next = join(real, part);
    real = await realpath(next).catch(async () => {
      await mkdir(next);
      // Whoever may write into the volume may write here.
      await chmod(next, mode & 0o7777);
      return next;
    });
    if (real !== inside && !real.startsWith(inside + sep))
      throw notMountable(volume, `subPath "${subPath}" leads out of the volume`);
  }
  return real;
}
