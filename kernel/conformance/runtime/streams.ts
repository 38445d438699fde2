/** Cases of the runtime kit about exec, attach and stats. */
import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { readLog, until, type RuntimeCase } from './subject.ts';

async function textOf(stream: Readable | undefined): Promise<string> {
  let text = '';
  if (stream !== undefined) for await (const chunk of stream) text += String(chunk);
  return text;
}

export const streamCases: readonly RuntimeCase[] = [
  {
    title: 'exec runs in the container, with its environment, and tells output, errors and exit code apart',
    needs: ['real'],
    run: async (t, subject) => {
      const { spec } = await subject.started({
        command: ['sh', '-c', 'echo inside > /tmp/kit; exec sleep 1000000'],
        env: [{ name: 'KIT', value: 'yes' }],
        workingDir: '/usr',
      });
      const script =
        'while [ ! -s /tmp/kit ]; do sleep 0.02; done; cat /tmp/kit; echo $KIT; pwd; echo wrong >&2; exit 7';
      const streams = await subject.runtime.exec(spec.id, { command: ['sh', '-c', script], stdin: false, tty: false });
      t.is(streams.stdin, undefined);
      const [stdout, stderr, exit] = await Promise.all([
        textOf(streams.stdout),
        textOf(streams.stderr),
        streams.exited,
      ]);
      t.is(stdout, 'inside\nyes\n/usr\n');
      t.is(stderr, 'wrong\n');
      t.is(exit.exitCode, 7, exit.message);
      t.is(readLog(spec.logPath).text('stdout'), '', 'what was executed has written to the log');
    },
  },
  {
    title: 'exec is in all namespaces of the container',
    needs: ['real'],
    run: async (t, subject) => {
      const script = 'for n in net ipc uts pid mnt; do readlink /proc/self/ns/$n; done';
      const { spec } = await subject.started({ command: ['sh', '-c', `${script}; exec sleep 1000000`] });
      const lines = await until('it has told its namespaces', () => {
        const text = readLog(spec.logPath).text('stdout');
        return text.split('\n').length > 5 ? text : undefined;
      });
      const streams = await subject.runtime.exec(spec.id, { command: ['sh', '-c', script], stdin: false, tty: false });
      t.is(await textOf(streams.stdout), lines);
    },
  },
  {
    title: 'ending the input of exec leaves its output open',
    needs: ['real'],
    run: async (t, subject) => {
      const { spec } = await subject.started();
      const streams = await subject.runtime.exec(spec.id, {
        command: ['sh', '-c', 'cat; echo after'],
        stdin: true,
        tty: false,
      });
      const input = 'x'.repeat(200_000);
      streams.stdin?.end(input);
      t.is(await textOf(streams.stdout), `${input}after\n`);
      t.is((await streams.exited).exitCode, 0);
    },
  },
  {
    title: 'exec tells what could not be run by exit codes 127 and 126, and a signal by 128 and its number',
    needs: ['real'],
    run: async (t, subject) => {
      const { spec } = await subject.started();
      for (const [command, exitCode] of [
        [['no-such-command'], 127],
        [['/etc/hostname'], 126],
        [['sh', '-c', 'kill -9 $$'], 137],
      ] as const) {
        const streams = await subject.runtime.exec(spec.id, { command, stdin: false, tty: false });
        streams.stdout?.resume();
        streams.stderr?.resume();
        t.is((await streams.exited).exitCode, exitCode, command.join(' '));
      }
    },
  },
  {
    title: 'closing an exec ends its process, and the container goes on',
    needs: ['real', 'exec-end'],
    run: async (t, subject) => {
      const { spec } = await subject.started();
      const streams = await subject.runtime.exec(spec.id, {
        command: ['sh', '-c', 'echo up; exec sleep 1000001'],
        stdin: false,
        tty: false,
      });
      await new Promise((resolve) => streams.stdout?.once('data', resolve));
      streams.close();
      await streams.exited;
      const check = await subject.runtime.exec(spec.id, {
        // The container itself may still be on its way to its command.
        command: [
          'sh',
          '-c',
          'until cat /proc/[0-9]*/cmdline 2> /dev/null | tr "\\0" " " | grep -o "sleep 100000[01]"; do sleep 0.05; done',
        ],
        stdin: false,
        tty: false,
      });
      t.is(await textOf(check.stdout), 'sleep 1000000\n');
    },
  },
  {
    title: 'an exec that a container outlives is ended with it',
    needs: ['real'],
    run: async (t, subject) => {
      const { spec } = await subject.started();
      const streams = await subject.runtime.exec(spec.id, {
        command: ['sh', '-c', 'echo up; exec sleep 1000000'],
        stdin: false,
        tty: false,
      });
      await new Promise((resolve) => streams.stdout?.once('data', resolve));
      await subject.runtime.stopContainer(spec.id, 0);
      t.is((await streams.exited).exitCode, 137);
    },
  },
  {
    title: 'exec on a terminal has one, of the size asked for, and no separate errors',
    needs: ['real', 'tty'],
    run: async (t, subject) => {
      const { spec } = await subject.started();
      const streams = await subject.runtime.exec(spec.id, { command: ['sh'], stdin: true, tty: true });
      t.is(streams.stderr, undefined);
      let seen = '';
      streams.stdout?.on('data', (chunk: Buffer) => (seen += chunk.toString()));
      // At once, as clients do: most likely the terminal is not there yet.
      streams.resize({ columns: 77, rows: 31 });
      streams.stdin?.write('test -t 0 && echo is-"a"-terminal; until stty size | grep 77; do sleep 0.02; done\n');
      await until('it has a terminal of the first size', () => /is-a-terminal[^]*31 77/.test(seen) || undefined);
      streams.resize({ columns: 101, rows: 43 });
      streams.stdin?.write('until stty size | grep -q 101; do sleep 0.02; done; stty size; exit 6\n');
      t.is((await streams.exited).exitCode, 6);
      await until('its size is told', () => seen.includes('43 101') || undefined);
    },
  },
  {
    title: 'a client that attaches gets output from then on and its input arrives',
    needs: ['real'],
    run: async (t, subject) => {
      // It ends a moment after its last word: an engine may close a client's stream with the process.
      const { spec } = await subject.started({
        command: [
          'sh',
          '-c',
          'echo before; while read -r line; do echo "got $line"; [ "$line" != end ] || { sleep 1; exit 4; }; done',
        ],
        stdin: true,
      });
      await until('it has begun', () => readLog(spec.logPath).lines.length > 0 || undefined);
      const streams = await subject.runtime.attach(spec.id, { stdin: true, tty: false });
      streams.stdin?.write('one\nend\n');
      t.is(await textOf(streams.stdout), 'got one\ngot end\n');
      t.is((await streams.exited).exitCode, 4);
      t.is(readLog(spec.logPath).text('stdout'), 'before\ngot one\ngot end\n');
    },
  },
  {
    title: 'a client that detaches leaves the container running',
    needs: ['real'],
    run: async (t, subject) => {
      const { spec } = await subject.started({
        command: ['sh', '-c', 'while read -r line; do echo "got $line"; done'],
        stdin: true,
      });
      for (const word of ['one', 'two']) {
        const streams = await subject.runtime.attach(spec.id, { stdin: true, tty: false });
        streams.stdin?.write(`${word}\n`);
        await until('it has answered', () => readLog(spec.logPath).text('stdout').includes(word) || undefined);
        streams.close();
      }
      t.is((await subject.find(spec.id))?.state, 'running');
    },
  },
  {
    title: 'an input for one client ends when that client ends it, or goes away',
    needs: ['real'],
    run: async (t, subject) => {
      for (const end of ['end', 'close'] as const) {
        const { spec } = await subject.started({
          command: ['sh', '-c', 'cat; printf over; exit 5'],
          stdin: true,
          stdinOnce: true,
        });
        const streams = await subject.runtime.attach(spec.id, { stdin: true, tty: false });
        streams.stdin?.write('to the end\n');
        await until('it has read', () => readLog(spec.logPath).text('stdout').includes('to the end') || undefined);
        if (end === 'end') streams.stdin?.end();
        else streams.close();
        const ended = await subject.ended(spec.id);
        t.is(ended.exitCode, 5);
        t.true(readFileSync(spec.logPath, 'latin1').endsWith(' stdout P over\n'));
      }
    },
  },
  {
    title: 'a container on a terminal has one, and its input and size can be set',
    needs: ['real', 'tty'],
    run: async (t, subject) => {
      const { spec } = await subject.started({ command: ['sh'], tty: true, stdin: true });
      const streams = await subject.runtime.attach(spec.id, { stdin: true, tty: true });
      let seen = '';
      streams.stdout?.on('data', (chunk: Buffer) => (seen += chunk.toString()));
      streams.stdin?.write('test -t 1 && echo is-"a"-terminal\n');
      await until('it has a terminal', () => seen.includes('is-a-terminal') || undefined);
      streams.resize({ columns: 99, rows: 41 });
      streams.stdin?.write('until stty size | grep -q 99; do sleep 0.02; done; stty size; exit 3\n');
      t.is((await subject.ended(spec.id)).exitCode, 3);
      await until('its size is told', () => seen.includes('41 99') || undefined);
    },
  },
  {
    title: 'stats grow with what is used',
    needs: ['real'],
    run: async (t, subject) => {
      const { spec } = await subject.started({ command: ['sh', '-c', 'while :; do :; done'] });
      const first = await subject.runtime.stats(spec.id);
      t.true(first.memoryBytes > 0);
      await until(
        'it has used more',
        async () => (await subject.runtime.stats(spec.id)).cpuNanos > first.cpuNanos + 20_000_000 || undefined,
      );
    },
  },
];
