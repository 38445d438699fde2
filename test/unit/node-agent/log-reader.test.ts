import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import test, { type ExecutionContext } from 'ava';
import type { LogRequest } from '../../../kernel/contract/index.ts';
import { parseLogLine, readLogs } from '../../../plugins/components/node-agent/log-reader.ts';

function open(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-logs-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return join(folder, '0.log');
}

const line = (second: number, text: string, stream = 'stdout', tag = 'F') =>
  `2026-01-02T03:04:${String(second).padStart(2, '0')}.000000000Z ${stream} ${tag} ${text}\n`;
const request = (more: Partial<LogRequest>): LogRequest => ({ namespace: 'd', pod: 'p', container: 'c', ...more });

async function all(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

const read = (path: string, more: Partial<LogRequest>) =>
  all(readLogs({ path, maxLogFiles: 5, isRunning: async () => false }, request(more), new AbortController().signal));

const content =
  line(1, 'one') +
  line(2, 'err', 'stderr') +
  line(3, 'pa', 'stdout', 'P') +
  line(3, 'rt') +
  line(4, '') +
  line(5, 'five');

for (const [title, more, expected] of [
  ['everything', {}, 'one\nerr\npart\n\nfive\n'],
  ['tail', { tailLines: 2 }, '\nfive\n'],
  ['tail over a split line', { tailLines: 3 }, 'part\n\nfive\n'],
  ['tail 0', { tailLines: 0 }, ''],
  ['tail more than there is', { tailLines: 99 }, 'one\nerr\npart\n\nfive\n'],
  ['since', { sinceMs: Date.parse('2026-01-02T03:04:04Z') }, '\nfive\n'],
  ['limit', { limitBytes: 5 }, 'one\ne'],
  ['stderr only', { stream: 'Stderr' }, 'err\n'],
  [
    'timestamps',
    { tailLines: 3, timestamps: true, stream: 'Stdout' },
    '2026-01-02T03:04:03.000000000Z part\n2026-01-02T03:04:04.000000000Z \n2026-01-02T03:04:05.000000000Z five\n',
  ],
  ['timestamps of the last', { tailLines: 1, timestamps: true }, '2026-01-02T03:04:05.000000000Z five\n'],
] as const) {
  test(`logs: ${title}`, async (t) => {
    const path = open(t);
    writeFileSync(path, content);
    t.is(await read(path, more), expected);
  });
}

test('a last line without its end is a line, and gets none', async (t) => {
  const path = open(t);
  writeFileSync(path, content + line(6, 'no', 'stdout', 'P') + line(7, 'end', 'stdout', 'P'));
  t.is(await read(path, { tailLines: 1 }), 'noend');
  t.is(await read(path, { tailLines: 2 }), 'five\nnoend');
  t.is(await read(path, { tailLines: 0 }), '');
  t.is(await read(path, { tailLines: 1, timestamps: true }), '2026-01-02T03:04:06.000000000Z noend');
});

test('rotated files are read oldest first', async (t) => {
  const path = open(t);
  writeFileSync(`${path}.2`, line(1, 'a'));
  writeFileSync(`${path}.1`, line(2, 'b'));
  writeFileSync(path, line(3, 'c'));
  t.is(await read(path, {}), 'a\nb\nc\n');
  t.is(await read(path, { tailLines: 2 }), 'b\nc\n');
});

test('lines longer than a read buffer stay whole', async (t) => {
  const path = open(t);
  const long = 'x'.repeat(200_000);
  writeFileSync(path, line(1, long) + line(2, 'end'));
  t.is(await read(path, {}), `${long}\nend\n`);
});

test('follow sees appended lines, survives rotation, and ends with the container', async (t) => {
  const path = open(t);
  writeFileSync(path, line(1, 'a'));
  let isRunning = true;
  const stream = readLogs(
    { path, maxLogFiles: 5, isRunning: async () => isRunning },
    request({ follow: true }),
    new AbortController().signal,
  );
  let text = '';
  let wake = () => {};
  stream.on('data', (chunk: Buffer) => {
    text += chunk.toString('utf8');
    wake();
  });
  const until = async (expected: string) => {
    while (text !== expected) await new Promise<void>((resolve) => (wake = resolve));
  };
  await until('a\n');
  appendFileSync(path, line(2, 'b'));
  await until('a\nb\n');
  renameSync(path, `${path}.1`);
  writeFileSync(path, line(3, 'c'));
  await until('a\nb\nc\n');
  const ended = new Promise<void>((resolve) => stream.on('end', resolve));
  appendFileSync(path, line(4, 'd'));
  isRunning = false;
  await ended;
  t.is(text, 'a\nb\nc\nd\n');
});

test('follow loses nothing when the log is rotated twice between two looks', async (t) => {
  const path = open(t);
  writeFileSync(path, line(1, 'a'));
  let looks = 0;
  const isRunning = async () => {
    looks += 1;
    if (looks === 1) {
      appendFileSync(path, line(2, 'b'));
      renameSync(path, `${path}.1`);
      writeFileSync(path, line(3, 'c'));
      renameSync(`${path}.1`, `${path}.2`);
      renameSync(path, `${path}.1`);
      writeFileSync(path, line(4, 'd'));
    }
    return false;
  };
  const stream = readLogs({ path, maxLogFiles: 5, isRunning }, request({ follow: true }), new AbortController().signal);
  t.is(await all(stream), 'a\nb\nc\nd\n');
});

test('follow ends when the reader goes', async (t) => {
  const path = open(t);
  writeFileSync(path, line(1, 'a'));
  const abort = new AbortController();
  const stream = readLogs(
    { path, maxLogFiles: 5, isRunning: async () => true },
    request({ follow: true }),
    abort.signal,
  );
  stream.once('data', () => abort.abort());
  await new Promise<void>((resolve) => stream.on('end', resolve).on('close', resolve));
  t.pass();
});

test('lines that are not in CRI form are left out', (t) => {
  t.is(parseLogLine(Buffer.from('nonsense')), undefined);
  t.like(parseLogLine(Buffer.from('T stdout F')), { time: 'T', stream: 'stdout', isFull: true });
});
