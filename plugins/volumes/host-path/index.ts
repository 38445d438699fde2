import { z } from 'zod';
import { definePlugin } from '../../../kernel/contract/index.ts';
import { hostPathVolumes } from './host-path-volumes.ts';

export default definePlugin({
  kind: 'volume',
  name: 'host-path',
  api: 1,
  role: 'node',
  summary: 'PersistentVolumes that are a path of whichever node the pod is on (source hostPath)',
  config: z.strictObject({}),
  start: async () => ({ ...hostPathVolumes, [Symbol.asyncDispose]: async () => undefined }),
});
