/** A root file system as a docker archive of one layer, which `ctr images import` and `docker load` take. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export function makeImageArchive(
  rootfsTar: string,
  name: string,
  config: { readonly Entrypoint?: readonly string[]; readonly Cmd?: readonly string[] } = {},
): string {
  const folder = `${rootfsTar}.${createHash('sha256').update(name).digest('hex').slice(0, 8)}`;
  mkdirSync(folder);
  copyFileSync(rootfsTar, join(folder, 'layer.tar'));
  const layer = createHash('sha256').update(readFileSync(rootfsTar)).digest('hex');
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const image = {
    ...{ architecture, os: 'linux', config: { Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'], ...config } },
    rootfs: { type: 'layers', diff_ids: [`sha256:${layer}`] },
  };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(image));
  const manifest = [{ Config: 'config.json', RepoTags: [name], Layers: ['layer.tar'] }];
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest));
  const archive = `${folder}.archive`;
  execFileSync('tar', [
    '--create',
    '--file',
    archive,
    '--directory',
    folder,
    'manifest.json',
    'config.json',
    'layer.tar',
  ]);
  rmSync(folder, { recursive: true });
  return archive;
}
