/** Cases of the runtime kit about agents that stop, restart and crash. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerSpec } from '../../contract/index.ts';
import { readLog, until, type RuntimeCase, type RuntimeSubject } from './subject.ts';

/** Prints numbered lines until the file /kit/end is there, then ends with 9. */
const countingScript =
  'i=0; while [ ! -e /kit/end ]; do i=$((i+1)); echo "line $i"; sleep 0.005; done; echo "last $i"; exit 9';

function counting(subject: RuntimeSubject, sandboxId: string): ContainerSpec {
  return subject.scriptSpec(sandboxId, countingScript, {
    mounts: [{ hostPath: subject.folder, containerPath: '/kit', readOnly: false }],
  });
}

/** The lines that were printed, and whether each is there once, in order. */
function counted(logPath: string): { readonly count: number; readonly isWhole: boolean } {
  const lines = readLog(logPath)
    .text('stdout')
    .split('\n')
    .filter((line) => line.startsWith('line '));
  return { count: lines.length, isWhole: lines.every((line, index) => line === `line ${index + 1}`) };
}

export const recoveryCases: readonly RuntimeCase[] = [
  {
    title: 'disposing twice is harmless and leaves what runs alone',
    run: async (t, subject) => {
      const { spec, container } = await subject.started();
      await subject.runtime[Symbol.asyncDispose]();
      await subject.runtime[Symbol.asyncDispose]();
      const again = await subject.reopen();
      t.deepEqual(await again.listContainers(), [container]);
      await again.stopContainer(spec.id, 0);
      t.is((await subject.find(spec.id))?.state, 'exited');
    },
  },
  {
    title: 'after a restart everything is listed as before',
    run: async (t, subject) => {
      await subject.started();
      const { spec } = await subject.started({ exitCode: 5 });
      await subject.ended(spec.id);
      const stopped = await subject.started();
      await subject.runtime.stopSandbox(stopped.sandboxId);
      const before = [await subject.runtime.listSandboxes(), await subject.runtime.listContainers()];
      const again = await subject.reopen();
      const byId = <T extends { readonly id: string }>(list: readonly T[]): readonly T[] =>
        [...list].sort((a, b) => a.id.localeCompare(b.id));
      t.deepEqual(byId(await again.listSandboxes()), byId(before[0] as never[]));
      t.deepEqual(byId(await again.listContainers()), byId(before[1] as never[]));
    },
  },
  {
    title: 'after a restart the same ids are found, not made again',
    run: async (t, subject) => {
      const sandboxSpec = subject.sandboxSpec();
      const sandbox = await subject.runtime.ensureSandbox(sandboxSpec);
      const spec = subject.containerSpec(sandbox.id, { say: ['once'] });
      const container = await subject.runtime.startContainer(spec);
      // Something made anew must not pass for the same by bearing the same millisecond.
      while (Date.now() <= (container.startedMs ?? container.createdMs)) await new Promise((go) => setImmediate(go));
      const again = await subject.reopen();
      t.deepEqual(await again.ensureSandbox(sandboxSpec), sandbox);
      t.deepEqual(await again.startContainer(spec), container);
    },
  },
  {
    title: 'after a restart everything can be removed',
    run: async (t, subject) => {
      const { sandboxId } = await subject.started();
      await subject.started({ exitCode: 0 });
      const again = await subject.reopen();
      for (const { id } of await again.listSandboxes()) await again.removeSandbox(id);
      t.deepEqual([await again.listSandboxes(), await again.listContainers()], [[], []]);
      t.true(sandboxId.length > 0);
    },
  },
  {
    title: 'a container that ends while no agent is there keeps its exit code and its output',
    needs: ['real'],
    run: async (t, subject) => {
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = counting(subject, id);
      const { pid } = await subject.runtime.startContainer(spec);
      await until('it counts', () => counted(spec.logPath).count > 3 || undefined);
      await subject.runtime[Symbol.asyncDispose]();
      appendFileSync(join(subject.folder, 'end'), '');
      await until(
        'its process has gone',
        () => !existsSync(`/proc/${pid}/cmdline`) || readFileSync(`/proc/${pid}/cmdline`, 'utf8') === '' || undefined,
      );
      await subject.takeBack();
      const container = await subject.ended(spec.id);
      t.deepEqual([container.exitCode, container.reason], [9, 'Error']);
      const { count, isWhole } = counted(spec.logPath);
      t.true(isWhole, 'lines are missing');
      t.is(readLog(spec.logPath).text('stdout').trimEnd().split('\n').at(-1), `last ${count}`);
    },
  },
  {
    title: 'a killed agent loses no container, no exit code and no line',
    needs: ['real', 'crash'],
    run: async (t, subject) => {
      const agent = await subject.handOver();
      const { id } = await agent.ensureSandbox(subject.sandboxSpec());
      const spec = counting(subject, id);
      const started = await agent.startContainer(spec);
      const ending = subject.scriptSpec(id, 'sleep 0.3; echo done; exit 8');
      await agent.startContainer(ending);
      await until('it counts', () => counted(spec.logPath).count > 3 || undefined);
      await agent.kill();
      const before = counted(spec.logPath).count;
      await subject.takeBack();
      const found = await subject.find(spec.id);
      t.deepEqual([found?.state, found?.pid, found?.startedMs], ['running', started.pid, started.startedMs]);
      await until('it goes on counting', () => counted(spec.logPath).count > before + 3 || undefined);
      t.is((await subject.ended(ending.id)).exitCode, 8);
      t.is(readLog(ending.logPath).text('stdout'), 'done\n');
      appendFileSync(join(subject.folder, 'end'), '');
      t.is((await subject.ended(spec.id)).exitCode, 9);
      const { count, isWhole } = counted(spec.logPath);
      t.true(isWhole, 'lines are missing');
      t.is(readLog(spec.logPath).text('stdout').trimEnd().split('\n').at(-1), `last ${count}`);
    },
  },
  {
    title: 'an agent that is killed at any moment leaves only what the next one knows and can remove',
    needs: ['crash'],
    run: async (t, subject) => {
      const specs: ContainerSpec[] = [];
      for (let round = 0; round < 8; round++) {
        const agent = await subject.handOver();
        const work = Array.from({ length: 3 }, async () => {
          const { id } = await agent.ensureSandbox(subject.sandboxSpec());
          const spec = subject.containerSpec(id);
          specs.push(spec);
          await agent.startContainer(spec);
        });
        const settled = Promise.allSettled(work);
        await new Promise((resolve) => setTimeout(resolve, round * 12));
        await agent.kill();
        await settled;
        await subject.takeBack();
        for (const container of await subject.runtime.listContainers()) {
          const known = specs.find(({ id }) => id === container.id);
          t.true(known !== undefined, `${container.id} was never asked for`);
          if (known === undefined) continue;
          // Whatever came of it, asking again answers, and the container is running or has ended.
          const sandbox = (await subject.runtime.listSandboxes()).find(({ id }) => id === container.sandboxId);
          t.true(sandbox !== undefined, `the sandbox of ${container.id} is not on record`);
          const now = await subject.runtime.startContainer(known);
          t.true(
            now.state === 'running' || (now.state === 'exited' && now.exitCode !== undefined),
            `${now.id} is ${now.state}`,
          );
        }
        // An engine works off the calls that it had taken from the agent, also after its end.
        let emptyLooks = 0;
        await until('all is removed and nothing more comes', async () => {
          const sandboxes = await subject.runtime.listSandboxes();
          for (const { id } of sandboxes) await subject.runtime.removeSandbox(id);
          emptyLooks = sandboxes.length === 0 ? emptyLooks + 1 : 0;
          return emptyLooks > 20 || undefined;
        });
        t.deepEqual([await subject.runtime.listSandboxes(), await subject.runtime.listContainers()], [[], []]);
      }
    },
  },
];
