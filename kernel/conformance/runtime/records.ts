/** Cases of the runtime kit: records, identity, idempotency, errors, events. Every runtime runs them. */
import { existsSync, readdirSync } from 'node:fs';
import { readLog, until, type RuntimeCase } from './subject.ts';

const ten = Array.from({ length: 10 }, (_, index) => index);

export const recordCases: readonly RuntimeCase[] = [
  {
    title: 'status is ready and names a version of the form NAME://VERSION',
    run: async (t, { runtime }) => {
      const { ready, version } = runtime.status();
      t.true(ready);
      t.true(/^[a-z][a-z0-9-]*:\/\/\S+$/.test(version), version);
    },
  },
  {
    title: 'a sandbox is listed as it was asked for',
    run: async (t, subject) => {
      const before = Date.now();
      const { hostname: _, ...spec } = subject.sandboxSpec({ labels: { a: 'b' } });
      const sandbox = await subject.runtime.ensureSandbox({ ...spec, hostname: 'x' });
      t.is(sandbox.id, spec.id);
      t.deepEqual(
        [sandbox.podNamespace, sandbox.podName, sandbox.podUid, sandbox.labels, sandbox.ready],
        [spec.podNamespace, spec.podName, spec.podUid, spec.labels, true],
      );
      t.true(sandbox.createdMs >= before && sandbox.createdMs <= Date.now());
      t.deepEqual(await subject.runtime.listSandboxes(), [sandbox]);
      t.deepEqual(await subject.runtime.listSandboxes(spec.podUid), [sandbox]);
      t.deepEqual(await subject.runtime.listSandboxes('of-no-pod'), []);
    },
  },
  {
    title: 'ensuring a sandbox ten times makes one',
    run: async (t, subject) => {
      const spec = subject.sandboxSpec();
      const all = await Promise.all(ten.map(() => subject.runtime.ensureSandbox(spec)));
      for (const one of all) t.deepEqual(one, all[0]);
      t.is((await subject.runtime.listSandboxes()).length, 1);
    },
  },
  {
    title: 'stopping a sandbox ends its containers and keeps both on record',
    run: async (t, subject) => {
      const { sandboxId, spec } = await subject.started();
      for (const _ of ten) await subject.runtime.stopSandbox(sandboxId);
      t.is((await subject.find(spec.id))?.state, 'exited');
      const [sandbox] = await subject.runtime.listSandboxes();
      t.deepEqual([sandbox?.id, sandbox?.ready, sandbox?.netns], [sandboxId, false, undefined]);
    },
  },
  {
    title: 'a stopped sandbox stays stopped when it is ensured again',
    run: async (t, subject) => {
      const spec = subject.sandboxSpec();
      await subject.runtime.ensureSandbox(spec);
      await subject.runtime.stopSandbox(spec.id);
      t.false((await subject.runtime.ensureSandbox(spec)).ready);
    },
  },
  {
    title: 'removing a sandbox removes its containers, ten times over',
    run: async (t, subject) => {
      const { sandboxId, spec } = await subject.started({ say: ['x'] });
      await until('the log is written', () => existsSync(spec.logPath) || undefined);
      for (const _ of ten) await subject.runtime.removeSandbox(sandboxId);
      t.deepEqual(await subject.runtime.listSandboxes(), []);
      t.deepEqual(await subject.runtime.listContainers(), []);
      t.false(existsSync(spec.logPath), 'its log is left');
    },
  },
  {
    title: 'stopping and removing what is not there succeeds',
    run: async (t, { runtime }) => {
      await runtime.stopSandbox('no-such');
      await runtime.removeSandbox('no-such');
      await runtime.stopContainer('no-such', 1000);
      await runtime.removeContainer('no-such');
      t.pass();
    },
  },
  {
    title: 'a running container is listed as it was asked for',
    run: async (t, subject) => {
      const { sandboxId, spec, container } = await subject.started();
      t.is(container.state, 'running');
      t.deepEqual(
        [
          container.id,
          container.sandboxId,
          container.name,
          container.attempt,
          container.image,
          container.labels,
          container.logPath,
        ],
        [spec.id, sandboxId, spec.name, spec.attempt, spec.image, spec.labels, spec.logPath],
      );
      t.true(container.imageId.length > 0);
      t.true((container.startedMs ?? 0) >= container.createdMs, 'it was started before it was created');
      t.is(container.exitCode, undefined);
      t.is(container.finishedMs, undefined);
      t.deepEqual(await subject.runtime.listContainers(sandboxId), [container]);
      t.deepEqual(await subject.runtime.listContainers('another'), []);
    },
  },
  {
    title: 'starting a container ten times, at once and later, starts one',
    run: async (t, subject) => {
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = subject.containerSpec(id, { say: ['once'] });
      const all = await Promise.all(ten.map(() => subject.runtime.startContainer(spec)));
      const again = await subject.runtime.startContainer(spec);
      for (const one of [...all, again])
        t.deepEqual([one.id, one.startedMs, one.pid], [spec.id, again.startedMs, again.pid]);
      t.is((await subject.runtime.listContainers()).length, 1);
      await until('it has said its line', () => readLog(spec.logPath).lines.length > 0 || undefined);
      await subject.runtime.stopContainer(spec.id, 0);
      t.is(readLog(spec.logPath).text('stdout'), 'once\n', 'it ran more than once');
      t.is((await subject.runtime.startContainer(spec)).state, 'exited', 'an id that has ended was started again');
    },
  },
  {
    title: 'two containers of one sandbox are told apart',
    run: async (t, subject) => {
      const { sandboxId, spec } = await subject.started();
      const other = subject.containerSpec(sandboxId, { exitCode: 4 });
      await subject.runtime.startContainer(other);
      t.is((await subject.ended(other.id)).exitCode, 4);
      t.is((await subject.find(spec.id))?.state, 'running');
      t.is((await subject.runtime.listContainers(sandboxId)).length, 2);
    },
  },
  {
    title: 'an exit code of 0 is Completed, another is Error',
    run: async (t, subject) => {
      for (const [exitCode, reason] of [
        [0, 'Completed'],
        [3, 'Error'],
      ] as const) {
        const { spec } = await subject.started({ exitCode });
        const container = await subject.ended(spec.id);
        t.deepEqual([container.exitCode, container.reason], [exitCode, reason]);
        t.true(
          (container.finishedMs ?? 0) >= (container.startedMs ?? Number.POSITIVE_INFINITY),
          'it ended before it started',
        );
      }
    },
  },
  {
    title: 'standard output is in the log, in the form of the CRI',
    run: async (t, subject) => {
      const { spec } = await subject.started({ say: ['first line', '', ' spaced  line '], exitCode: 0 });
      await subject.ended(spec.id);
      const { lines } = readLog(spec.logPath);
      t.deepEqual(
        lines.map(({ stream, text }) => [stream, text]),
        [
          ['stdout', 'first line'],
          ['stdout', ''],
          ['stdout', ' spaced  line '],
        ],
      );
      t.deepEqual(
        lines.map(({ time }) => time),
        lines.map(({ time }) => time).sort(),
      );
    },
  },
  {
    title: 'stopping a container ends it, ten times over',
    run: async (t, subject) => {
      const { spec } = await subject.started({ say: ['up'] });
      await until('it is up', () => readLog(spec.logPath).lines.length > 0 || undefined);
      await Promise.all(ten.map(() => subject.runtime.stopContainer(spec.id, 30_000)));
      const first = await subject.find(spec.id);
      t.is(first?.state, 'exited');
      t.is(first?.exitCode, 143);
      for (const _ of ten) await subject.runtime.stopContainer(spec.id, 0);
      t.deepEqual(await subject.find(spec.id), first);
    },
  },
  {
    title: 'removing a container stops it and removes its log, ten times over',
    run: async (t, subject) => {
      const { sandboxId, spec } = await subject.started({ say: ['x'] });
      await until('the log is written', () => existsSync(spec.logPath) || undefined);
      for (const _ of ten) await subject.runtime.removeContainer(spec.id);
      t.deepEqual(await subject.runtime.listContainers(sandboxId), []);
      t.false(existsSync(spec.logPath), 'its log is left');
      t.is((await subject.runtime.listSandboxes()).length, 1, 'its sandbox has gone too');
    },
  },
  {
    title: 'a container needs a sandbox that is there and not stopped',
    run: async (t, subject) => {
      await t.throwsAsync(subject.runtime.startContainer(subject.containerSpec('no-such')), {
        code: 'SANDBOX_NOT_FOUND',
      });
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      await subject.runtime.stopSandbox(id);
      await t.throwsAsync(subject.runtime.startContainer(subject.containerSpec(id)), { code: 'SANDBOX_NOT_FOUND' });
    },
  },
  {
    title: 'an image that is nowhere is refused by name',
    run: async (t, subject) => {
      const image = subject.options.absentImage ?? 'absent/image:1';
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      await t.throwsAsync(subject.runtime.startContainer({ ...subject.containerSpec(id), image }), {
        code: 'IMAGE_NOT_FOUND',
        message: /image:1/,
      });
      await t.throwsAsync(subject.runtime.pullImage(image), { code: 'IMAGE_NOT_FOUND', message: /image:1/ });
      t.is(await subject.runtime.imageStatus(image), undefined);
    },
  },
  {
    title: 'an image that is here is found, pulled and listed',
    needs: ['images'],
    run: async (t, subject) => {
      const { container } = await subject.started();
      const image = await subject.runtime.imageStatus(subject.options.image);
      t.is(image?.id, container.imageId);
      t.deepEqual(await subject.runtime.pullImage(subject.options.image), image);
      t.true((await subject.runtime.listImages()).some(({ id }) => id === container.imageId));
    },
  },
  {
    title: 'a call for a container that is not there or not running says so',
    run: async (t, subject) => {
      const request = { command: ['true'], stdin: false, tty: false };
      await t.throwsAsync(subject.runtime.exec('no-such', request), { code: 'CONTAINER_NOT_FOUND' });
      await t.throwsAsync(subject.runtime.attach('no-such', request), { code: 'CONTAINER_NOT_FOUND' });
      await t.throwsAsync(subject.runtime.stats('no-such'), { code: 'CONTAINER_NOT_FOUND' });
      const { spec } = await subject.started({ exitCode: 0 });
      await subject.ended(spec.id);
      await t.throwsAsync(subject.runtime.exec(spec.id, request), { code: 'CONTAINER_NOT_RUNNING' });
      await t.throwsAsync(subject.runtime.attach(spec.id, request), { code: 'CONTAINER_NOT_RUNNING' });
      await t.throwsAsync(subject.runtime.stats(spec.id), { code: 'CONTAINER_NOT_RUNNING' });
    },
  },
  {
    title: 'a runtime in which nothing runs refuses exec and attach',
    run: async (t, subject) => {
      if (subject.options.capabilities.includes('real')) return void t.pass('processes run here');
      const { spec } = await subject.started();
      await t.throwsAsync(subject.runtime.exec(spec.id, { command: ['true'], stdin: false, tty: false }), {
        code: 'UNSUPPORTED',
      });
      await t.throwsAsync(subject.runtime.attach(spec.id, { stdin: false, tty: false }), { code: 'UNSUPPORTED' });
    },
  },
  {
    title: 'the end of a container is an event',
    run: async (t, subject) => {
      const aborted = new AbortController();
      const seen: string[] = [];
      const reading = (async () => {
        // Who looks because of it must see that it has ended.
        for await (const event of subject.runtime.events(aborted.signal))
          if (event.type === 'container-exited')
            for (const { id, state } of await subject.runtime.listContainers()) if (state === 'exited') seen.push(id);
      })();
      const { spec } = await subject.started();
      t.is((await subject.runtime.listContainers()).find(({ id }) => id === spec.id)?.state, 'running');
      await subject.runtime.stopContainer(spec.id, 0);
      await until('the event has come', () => seen.includes(spec.id) || undefined);
      aborted.abort();
      await reading;
      t.pass();
    },
  },
  {
    title: 'sandboxes work side by side',
    run: async (t, subject) => {
      const all = await Promise.all(
        Array.from({ length: 6 }, (_, exitCode) => subject.started({ say: [`number ${exitCode}`], exitCode })),
      );
      for (const [exitCode, { spec }] of all.entries()) {
        t.is((await subject.ended(spec.id)).exitCode, exitCode);
        t.is(readLog(spec.logPath).text('stdout'), `number ${exitCode}\n`);
      }
    },
  },
  {
    title: 'purge leaves no record and no file',
    run: async (t, subject) => {
      await subject.started({ say: ['x'] });
      await subject.started({ exitCode: 1 });
      await subject.runtime.ensureSandbox(subject.sandboxSpec());
      await subject.runtime.purge();
      t.deepEqual(existsSync(subject.stateDir) ? readdirSync(subject.stateDir) : [], []);
      const again = await subject.reopen();
      t.deepEqual([await again.listSandboxes(), await again.listContainers()], [[], []]);
    },
  },
];
