/** Cases of the runtime kit about container logs, for runtimes that run processes. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readLog, until, type RuntimeCase } from './subject.ts';

export const logCases: readonly RuntimeCase[] = [
  {
    title: 'standard error is in the log beside standard output',
    needs: ['real'],
    run: async (t, subject) => {
      const { stdout, stderr } = await subject.run('echo out; echo err >&2; echo more');
      t.is(stdout, 'out\nmore\n');
      t.is(stderr, 'err\n');
    },
  },
  {
    title: 'a last line without a newline is in the log, and gets none',
    needs: ['real'],
    run: async (t, subject) => {
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = subject.scriptSpec(id, 'printf "a\\nend"');
      await subject.runtime.startContainer(spec);
      await subject.ended(spec.id);
      const { lines } = readLog(spec.logPath);
      t.is(lines.map(({ text, tag }) => (tag === 'F' ? `${text}\n` : text)).join(''), 'a\nend');
    },
  },
  {
    title: 'a long line is cut into pieces that give it back',
    needs: ['real'],
    run: async (t, subject) => {
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const spec = subject.scriptSpec(id, 'head -c 100000 /dev/zero | tr "\\0" x; echo; echo next');
      await subject.runtime.startContainer(spec);
      await subject.ended(spec.id);
      const { lines, text } = readLog(spec.logPath);
      t.is(text('stdout'), `${'x'.repeat(100_000)}\nnext\n`);
      t.true(lines.some(({ tag }) => tag === 'P'));
      t.true(
        lines.every((line) => line.text.length <= 16_384),
        'a piece is longer than 16 KiB',
      );
    },
  },
  {
    title: 'a log is rotated at its full size and keeps its newest lines in order',
    needs: ['real', 'log-bound'],
    run: async (t, subject) => {
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const script =
        'i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo "line $i of a log that is long enough to be rotated"; done';
      const spec = subject.scriptSpec(id, script, { maxLogBytes: 20_000, maxLogFiles: 3 });
      await subject.runtime.startContainer(spec);
      await subject.ended(spec.id);
      const folder = dirname(spec.logPath);
      t.deepEqual(readdirSync(folder).sort(), ['0.log', '0.log.1', '0.log.2']);
      for (const name of readdirSync(folder))
        t.true(statSync(join(folder, name)).size < 20_000 + 17_000, `${name} is too large`);
      const kept = ['0.log.2', '0.log.1', '0.log'].flatMap((name) =>
        readLog(join(folder, name)).lines.map(({ text }) => Number(text.split(' ')[1])),
      );
      t.is(kept.at(-1), 2000);
      t.deepEqual(
        kept,
        kept.map((_, index) => (kept[0] ?? 0) + index),
        'lines are missing or out of order',
      );
      await subject.runtime.removeContainer(spec.id);
      t.deepEqual(
        readdirSync(dirname(folder)).includes(spec.id) ? readdirSync(folder) : [],
        [],
        'rotated files are left',
      );
    },
  },
  {
    title: 'the log of a container that goes on writing is rotated, and no line is lost in between',
    needs: ['real'],
    run: async (t, subject) => {
      const { id } = await subject.runtime.ensureSandbox(subject.sandboxSpec());
      const script = 'i=0; while :; do i=$((i+1)); echo "line $i of a log that grows and grows"; sleep 0.002; done';
      const spec = subject.scriptSpec(id, script, { maxLogBytes: 10_000, maxLogFiles: 3 });
      await subject.runtime.startContainer(spec);
      await until('it was rotated twice', () => existsSync(`${spec.logPath}.2`) || undefined);
      await subject.runtime.stopContainer(spec.id, 0);
      await subject.ended(spec.id);
      const folder = dirname(spec.logPath);
      t.deepEqual(readdirSync(folder).sort(), ['0.log', '0.log.1', '0.log.2']);
      const kept = ['0.log.2', '0.log.1', '0.log'].flatMap((name) =>
        readLog(join(folder, name)).lines.map(({ text }) => Number(text.split(' ')[1])),
      );
      t.deepEqual(
        kept,
        kept.map((_, index) => (kept[0] ?? 0) + index),
        'lines are missing or out of order',
      );
    },
  },
];
