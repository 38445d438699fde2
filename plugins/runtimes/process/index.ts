/** Plugin runtime/process: containers as plain processes in namespaces of their own. See README.md. */
import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { offlineRuntime } from './offline.ts';
import { ownFolder } from './own-folder.ts';
import { ProcessRuntime } from './process-runtime.ts';

const needed = [
  'dash',
  'unshare',
  'nsenter',
  'mount',
  'umount',
  'pivot_root',
  'setpriv',
  'env',
  'mkfifo',
  'mkdir',
  'script',
];

export default definePlugin({
  kind: 'runtime',
  name: 'process',
  api: 1,
  summary: 'Containers as processes in namespaces of their own: no daemon, no image download',
  config: z.strictObject({
    hide: z
      .array(z.string().startsWith('/'))
      .default([])
      .describe('Folders of the node that containers of image host must not see'),
  }),
  capabilities: ['images', 'limits', 'pids', 'tty', 'real', 'init', 'log-bound', 'exec-end', 'shared-pid'],
  preflight: async (host) => {
    const missing = needed.filter((name) => host.command(name) === undefined);
    if (missing.length > 0)
      return {
        ok: false,
        reason: `not on this host: ${missing.join(', ')}`,
        fix: 'apt-get install util-linux bsdutils coreutils dash',
      };
    if (!host.isPrivileged)
      return {
        ok: false,
        reason: 'making namespaces and mounts needs root, or a user namespace',
        fix: 'run as root, or under: unshare --user --map-root-user',
      };
    return { ok: true };
  },
  start: (context) =>
    ProcessRuntime.open({
      stateDir: context.stateDir,
      hidden: [...context.config.hide, ownFolder(context.stateDir)],
      log: context.log,
      clock: context.clock,
    }),
  offline: async ({ stateDir }) => offlineRuntime(stateDir),
});
