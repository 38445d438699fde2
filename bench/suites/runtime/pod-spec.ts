import { join } from 'node:path';
import type { ContainerSpec, SandboxSpec } from '../../../kernel/contract/index.ts';

export const sandboxSpec = (id: string): SandboxSpec => ({
  ...{ id, podNamespace: 'default', podName: id, podUid: id, hostname: id, labels: {} },
  ...{ hostNetwork: false, hostIpc: false, hostPid: false, sysctls: {} },
  ...{ resolvConf: 'nameserver 10.96.0.10\n', etcHosts: '127.0.0.1 localhost\n' },
});

export interface Program {
  readonly image: string;
  readonly command: readonly string[];
}

export const containerSpec = (sandboxId: string, { image, command }: Program, folder: string): ContainerSpec => ({
  ...{ id: `${sandboxId}-main`, sandboxId, name: 'main', attempt: 0, image, labels: {} },
  ...{ command, args: [], env: [], mounts: [], readOnlyRoot: false, privileged: false },
  ...{ noNewPrivileges: false, addCapabilities: [], dropCapabilities: [], tty: false, stdin: false },
  ...{ logPath: join(folder, `${sandboxId}.log`), maxLogBytes: 2 ** 20, maxLogFiles: 2 },
});
