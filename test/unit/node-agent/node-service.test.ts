import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import type { Container, ContainerState, Runtime, Sandbox } from '../../../kernel/contract/index.ts';
import { systemClock } from '../../../kernel/machinery/clock.ts';
import { createNodeService } from '../../../plugins/components/node-agent/node-service.ts';

test('the log of a container that is about to start is followed from its first line to its last', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-logs-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const logPath = join(folder, '0.log');
  let state: ContainerState = 'created';
  const sandbox = { id: 's', podNamespace: 'default', podName: 'web', podUid: 'u', createdMs: 1 } as Sandbox;
  let looks = 0;
  const runtime = {
    listSandboxes: async () => [sandbox],
    listContainers: async () => {
      looks += 1;
      if (looks === 3) {
        writeFileSync(logPath, '2026-01-02T03:04:05.000000000Z stdout F first\n');
        state = 'running';
      }
      if (looks === 5) {
        appendFileSync(logPath, '2026-01-02T03:04:06.000000000Z stdout F last\n');
        state = 'exited';
      }
      return [{ id: 'c', sandboxId: 's', name: 'main', attempt: 0, createdMs: 1, logPath, state } as Container];
    },
  } as unknown as Runtime;
  const service = createNodeService({
    runtime,
    clock: systemClock,
    maxLogFiles: 3,
    usage: () => ({ cpuNanoCores: 0 }) as never,
    metrics: async () => '',
    pod: () => undefined,
    network: async () => t.fail() as never,
    connectIn: async () => t.fail() as never,
  });
  const request = { namespace: 'default', pod: 'web', podUid: 'u', container: 'main', follow: true };
  const chunks: Buffer[] = [];
  for await (const chunk of await service.logs(request, new AbortController().signal)) chunks.push(chunk as Buffer);
  t.is(Buffer.concat(chunks).toString(), 'first\nlast\n');
});
