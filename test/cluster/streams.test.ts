/** Streams to containers through the whole way, client to process: many at once, and kubectl's commands that make them. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { WebSocket } from 'ws';
import { attachCases } from './support/attach-cases.ts';
import { kubectls, run, TestCluster } from './support/cluster.ts';
import { eventually, Pods, shell } from './support/pods.ts';

let folder: string;
let cluster: TestCluster;
let pods: Pods;
test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pintle-streams-'));
  cluster = await TestCluster.start({ nodes: 1 });
  pods = new Pods(cluster);
});
test.after.always(async () => {
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const base = '/api/v1/namespaces/default/pods';
const digest = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');
/** Listens on `count` ports from `first` on and sends back what comes. */
const echo = (first: number, count: number) => [
  process.execPath,
  '-e',
  `for (let i = 0; i < ${count}; i++) require('net').createServer({ allowHalfOpen: true }, (s) => s.on('error', () => {}).pipe(s)).listen(${first} + i)`,
];

/** Ready when it listens: the last port of several comes last. */
const listens = (port: number) => ({ tcpSocket: { port }, periodSeconds: 1, timeoutSeconds: 10 });

/** Answers once, and ends the connection. */
const sayer = (port: number) => [
  process.execPath,
  '-e',
  `require('net').createServer((s) => s.on('error', () => {}).once('data', () => s.end('said'))).listen(${port})`,
];

function openSocket(path: string, protocol: string): WebSocket {
  return new WebSocket(`ws+unix:${cluster.socket}:${base}/${path}`, [protocol]);
}

const channel = (number: number, bytes: Uint8Array = Buffer.alloc(0)) => Buffer.concat([Buffer.from([number]), bytes]);

/** Sends bytes through `cat` in the container; resolves to what came back. */
async function throughExec(pod: string, bytes: Buffer): Promise<Buffer> {
  const socket = openSocket(`${pod}/exec?command=cat&stdin=1&stdout=1&container=c`, 'v5.channel.k8s.io');
  const back: Buffer[] = [];
  socket.on('message', (data: Buffer) => data[0] === 1 && back.push(data.subarray(1)));
  await once(socket, 'open');
  for (let from = 0; from < bytes.length; from += 32_768) {
    await new Promise<void>((resolve, reject) => {
      socket.send(channel(0, bytes.subarray(from, from + 32_768)), (error) => (error ? reject(error) : resolve()));
    });
  }
  socket.send(channel(255, Buffer.from([0])));
  await once(socket, 'close');
  return Buffer.concat(back);
}

/** Sends bytes through a forwarded port. */
async function throughPort(pod: string, port: number, bytes: Buffer): Promise<Buffer> {
  const socket = openSocket(`${pod}/portforward?ports=${port}`, 'v4.channel.k8s.io');
  const back: Buffer[] = [];
  let length = -2;
  const isWhole = new Promise<void>((resolve, reject) => {
    socket.on('message', (data: Buffer) => {
      if (data[0] === 1 && data.length > 3) reject(new Error(data.toString('latin1', 1)));
      if (data[0] !== 0) return;
      back.push(data.subarray(1));
      if ((length += data.length - 1) === bytes.length) resolve();
    });
    socket.on('close', () => reject(new Error(`closed after ${length} of ${bytes.length} bytes`)));
  });
  await once(socket, 'open');
  for (let from = 0; from < bytes.length; from += 32_768) socket.send(channel(0, bytes.subarray(from, from + 32_768)));
  await isWhole;
  socket.terminate();
  return Buffer.concat(back).subarray(2);
}

/** The whole log, followed to the end of the container. */
function followedLog(pod: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request(
      { socketPath: cluster.socket, path: `${base}/${pod}/log?follow=true&container=c`, agent: false },
      (answer) => {
        let text = '';
        answer.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
        answer.on('end', () => resolve(text)).on('error', reject);
      },
    )
      .on('error', reject)
      .end();
  });
}

test.serial('200 streams at once lose nothing: 80 commands, 60 ports, 60 logs', async (t) => {
  await pods.create('many', {
    containers: [
      shell('c', 'sleep infinity'),
      { name: 'web', image: 'host', command: echo(8000, 4), readinessProbe: listens(8003) },
    ],
  });
  await pods.create('talker', {
    restartPolicy: 'Never',
    containers: [
      shell(
        'c',
        'until [ -e /go/now ]; do sleep 0.1; done; i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo "line $i"; done',
        {
          volumeMounts: [{ name: 'go', mountPath: '/go' }],
        },
      ),
    ],
    volumes: [{ name: 'go', hostPath: { path: join(folder, 'go'), type: 'DirectoryOrCreate' } }],
  });
  await Promise.all(['many', 'talker'].map((name) => pods.ready(name)));
  const lines = Array.from({ length: 5000 }, (_, index) => `line ${index + 1}\n`).join('');
  const logs = Array.from({ length: 60 }, () => followedLog('talker'));
  const sent = Array.from({ length: 140 }, () => randomBytes(200_000 + Math.floor(Math.random() * 100_000)));
  const back = sent.map((bytes, index) =>
    index < 80 ? throughExec('many', bytes) : throughPort('many', 8000 + (index % 4), bytes),
  );
  writeFileSync(join(folder, 'go/now'), '');
  for (const [index, bytes] of (await Promise.all(back)).entries())
    t.is(digest(bytes), digest(sent[index]!), `stream ${index}: ${bytes.length} of ${sent[index]!.length} bytes`);
  for (const text of await Promise.all(logs)) t.is(digest(text), digest(lines), `a log of ${text.length} bytes`);
  await Promise.all(['many', 'talker'].map((name) => pods.delete(name)));
});

for (const [index, binary] of kubectls().entries()) {
  const kubectl = (...argv: string[]) => pods.kubectl(argv, undefined, binary);

  test.serial(
    `run -i, --attach, -it: all output, standard input to its end, exit codes (kubectl ${index})`,
    async (t) => {
      const one = (flags: string[], command: string[], input?: string) =>
        pods.kubectl(
          ['run', `one-${index}`, ...flags, '--rm', '--restart=Never', '--image=host', '--command', '--', ...command],
          input,
          binary,
        );
      const quick = await one(['-i'], ['sh', '-c', 'echo out; echo err >&2; exit 3']);
      t.is(quick.code, 3, quick.stderr);
      t.regex(quick.stdout, /^out\n/);
      t.regex(quick.stderr, /^err$/m);
      t.notRegex(quick.stderr, /falling back/);
      await pods.gone(`one-${index}`);

      const through = await one(['-i'], ['cat'], 'all of it, no end of line');
      t.is(through.code, 0, through.stderr);
      t.regex(through.stdout, /^all of it, no end of line(pod|$)/);
      await pods.gone(`one-${index}`);

      const attached = await one(['--attach'], ['sh', '-c', 'echo 1; echo 2; sleep 1; echo 3']);
      t.is(attached.code, 0, attached.stderr);
      t.regex(attached.stdout, /^1\n2\n3\n/);
      await pods.gone(`one-${index}`);

      const words = [
        binary,
        'run',
        `one-${index}`,
        '-it',
        '--rm',
        '--restart=Never',
        '--image=host',
        '--command',
        '--',
      ];
      const env = { PATH: process.env['PATH'], HOME: folder, KUBECONFIG: cluster.kubeconfig, SHELL: '/bin/sh' };
      const screen = await run('script', ['-qec', `${words.join(' ')} sh -c 'tty; exit 7'`, '/dev/null'], { env });
      t.is(screen.code, 7, screen.stdout);
      t.regex(screen.stdout, /\/dev\/pts\/\d+/);
      await pods.gone(`one-${index}`);
    },
  );

  test.serial(`port-forward to many ports, cp of folders, logs of many containers (kubectl ${index})`, async (t) => {
    const name = `streams-${index}`;
    await pods.create(
      name,
      {
        restartPolicy: 'Never',
        containers: [
          { name: 'c', image: 'host', command: echo(9000, 12), readinessProbe: listens(9011) },
          { name: 'says', image: 'host', command: sayer(9012), readinessProbe: listens(9012) },
          shell('talks', 'i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo "line $i"; done; printf end; exit 0'),
        ],
      },
      { app: name },
    );
    await pods.until(name, (pod) =>
      [0, 1].every((container) => pod.status?.containerStatuses?.[container]?.ready === true),
    );

    const ports = Array.from({ length: 13 }, (_, port) => `:${9000 + port}`);
    const env = { PATH: process.env['PATH'], HOME: folder, KUBECONFIG: cluster.kubeconfig };
    const forward = spawn(binary, ['port-forward', `pod/${name}`, ...ports], { env });
    t.teardown(() => forward.kill('SIGKILL'));
    let printed = '';
    forward.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString('utf8')));
    const local = await eventually(() => {
      const found = [...printed.matchAll(/127\.0\.0\.1:(\d+) ->/g)].map((match) => Number(match[1]));
      return found.length === 13 ? found : undefined;
    });
    for (let round = 0; round < 20; round++) {
      const socket = connect(local[12]!, '127.0.0.1', () => socket.write('?'));
      let said = '';
      socket.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')));
      await once(socket, 'end');
      t.is(said, 'said');
    }
    const answers = local.slice(0, 12).map(async (port, at) => {
      const bytes = randomBytes(100_000 + at);
      const socket: Socket = connect(port, '127.0.0.1');
      const back: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => back.push(chunk));
      socket.end(bytes);
      await once(socket, 'end');
      t.is(digest(Buffer.concat(back)), digest(bytes), `port ${at}`);
    });
    await Promise.all(answers);
    forward.kill('SIGKILL');

    const source = join(folder, `tree-${index}`);
    mkdirSync(join(source, 'a/b'), { recursive: true });
    writeFileSync(join(source, 'a/b/file'), randomBytes(500_000));
    writeFileSync(join(source, 'empty'), '');
    symlinkSync('a', join(source, 'link'));
    t.like(await kubectl('cp', '-c', 'c', source, `${name}:/tmp/tree`), { code: 0 });
    t.like(await kubectl('cp', '-c', 'c', `${name}:/tmp/tree`, `${source}-back`), { code: 0 });
    t.deepEqual(readFileSync(`${source}-back/a/b/file`), readFileSync(join(source, 'a/b/file')));
    t.is(readFileSync(`${source}-back/empty`, 'utf8'), '');

    const told = await eventually(async () => {
      const { stdout } = await kubectl('logs', name, '-c', 'talks');
      return stdout.endsWith('end') ? stdout : undefined;
    });
    t.is(told.split('\n').length, 401);
    t.is((await kubectl('logs', name, '-c', 'talks', '--tail=2')).stdout, 'line 400\nend');
    t.is((await kubectl('logs', name, '-c', 'talks', '--limit-bytes=9')).stdout, 'line 1\nli');
    t.is((await kubectl('logs', name, '-c', 'talks', '-f', '--tail=1')).stdout, 'end');
    const labelled = await kubectl('logs', '-l', `app=${name}`, '--all-containers', '--prefix', '--tail=2');
    t.is(labelled.stdout, `[pod/${name}/talks] line 400\n[pod/${name}/talks] end`);
    t.regex((await kubectl('logs', name, '-c', 'talks', '--previous')).stderr, /previous terminated container "talks"/);
    await pods.delete(name);
  });
}

for (const [index, binary] of kubectls().entries())
  test.serial(`attach: ended containers, an input for one client and for many (kubectl ${index})`, (t) =>
    attachCases(t, pods, { image: 'host', suffix: String(index), binary }),
  );

test.serial('what is said of a container that has not started, or has ended', async (t) => {
  await pods.create('no-image', { containers: [{ name: 'c', image: 'nobody/knows:1', command: ['true'] }] });
  await pods.create('waits', {
    initContainers: [shell('i', 'sleep infinity')],
    containers: [shell('c', 'true')],
  });
  await pods.create('over', { restartPolicy: 'Never', containers: [shell('c', 'echo done')] });
  await pods.until(
    'no-image',
    (pod) => pod.status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ImagePullBackOff',
  );
  await pods.until('waits', (pod) => pod.status?.initContainerStatuses?.[0]?.state?.running !== undefined);
  await pods.phase('over', 'Succeeded');
  const says = async (...argv: string[]) => (await pods.kubectl(argv)).stderr;
  t.regex(
    await says('logs', 'no-image'),
    /\(BadRequest\): container "c" in pod "no-image" is waiting to start: trying and failing to pull image\n$/,
  );
  t.regex(
    await says('logs', 'waits', '-c', 'c'),
    /\(BadRequest\): container "c" in pod "waits" is waiting to start: PodInitializing\n$/,
  );
  t.is((await pods.kubectl(['logs', 'over', '-f'])).stdout, 'done\n');
  t.not((await pods.kubectl(['exec', 'over', '--', 'true'])).code, 0);
  t.not((await pods.kubectl(['attach', 'over'])).code, 0);
  await Promise.all(['no-image', 'waits', 'over'].map((name) => pods.delete(name)));
});
