/** What an image says about running it: the part of an OCI image configuration that the runtime uses. */
import { join } from 'node:path';
import { z } from 'zod';
import { PintleError } from '../../../../kernel/contract/index.ts';
import { readText } from '../layout.ts';
import { RootView } from '../root-view.ts';

export interface ImageConfig {
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  /** NAME=value. */
  readonly environment: readonly string[];
  readonly workingDir: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  /** Name or number: "SIGQUIT", "3". */
  readonly stopSignal: string | undefined;
}

/** Image `host`: the node's own file system has no opinion, except that its user is root. */
export const hostImageConfig: ImageConfig = {
  entrypoint: [],
  command: [],
  environment: [],
  workingDir: '/',
  uid: 0,
  gid: 0,
  home: '/root',
  stopSignal: undefined,
};

const ociConfig = z.object({
  config: z
    .object({
      Entrypoint: z.array(z.string()).nullish(),
      Cmd: z.array(z.string()).nullish(),
      Env: z.array(z.string()).nullish(),
      WorkingDir: z.string().nullish(),
      User: z.string().nullish(),
      StopSignal: z.string().nullish(),
    })
    .nullish(),
});

/** From an image's configuration (OCI image-spec, config.md). Names of users are looked up in the image's own files. */
export function configOf(document: unknown, rootfs: string): ImageConfig {
  const checked = ociConfig.safeParse(document);
  if (!checked.success)
    throw new PintleError(
      'BAD_REQUEST',
      `the image's configuration is not as OCI specifies it: ${z.prettifyError(checked.error)}`,
    );
  const config = checked.data.config ?? {};
  const passwd = table(rootfs, '/etc/passwd');
  const [user = '', group] = (config.User ?? '').split(':');
  const entry = passwd.find(([name, , uid]) => name === user || (/^\d+$/.test(user) && uid === user));
  if (user !== '' && entry === undefined && !/^\d+$/.test(user))
    throw new PintleError('BAD_REQUEST', `the image runs as user ${user}, which its /etc/passwd does not have`);
  const groupEntry =
    group === undefined
      ? undefined
      : table(rootfs, '/etc/group').find(([name, , gid]) => name === group || gid === group);
  const uid = user === '' ? 0 : Number(entry?.[2] ?? user);
  return {
    entrypoint: config.Entrypoint ?? [],
    command: config.Cmd ?? [],
    environment: config.Env ?? [],
    workingDir: config.WorkingDir === '' ? '/' : (config.WorkingDir ?? '/'),
    uid,
    gid: group === undefined ? Number(entry?.[3] ?? 0) : Number(groupEntry?.[2] ?? (/^\d+$/.test(group) ? group : 0)),
    home: (entry ?? passwd.find((row) => row[2] === String(uid)))?.[5] ?? (uid === 0 ? '/root' : '/'),
    stopSignal: config.StopSignal ?? undefined,
  };
}

/** Rows of a file such as /etc/passwd, found as the image itself would find it: links stay inside. */
function table(rootfs: string, path: string): readonly (readonly string[])[] {
  const inside = new RootView([{ prefix: '/', upper: undefined, lower: rootfs }]).resolve(path);
  return (readText(join(rootfs, inside)) ?? '').split('\n').map((line) => line.split(':'));
}
