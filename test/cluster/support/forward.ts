/** Ways into a test cluster from outside its pods. */
import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { kubectls, type TestCluster } from './cluster.ts';

export interface Forward {
  /** "http://127.0.0.1:PORT" */
  readonly url: string;
  close(): void;
}

/** `kubectl port-forward` to a pod or Service, once it listens. */
export async function forward(
  cluster: TestCluster,
  target: string,
  port: number,
  { binary = kubectls()[0]!, namespace = 'default' }: { readonly binary?: string; readonly namespace?: string } = {},
): Promise<Forward> {
  const env = { PATH: process.env['PATH'], HOME: join(cluster.folder, '..', 'home'), KUBECONFIG: cluster.kubeconfig };
  const child = spawn(binary, ['-n', namespace, 'port-forward', target, `:${port}`], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  const local = await new Promise<string>((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      const found = /127\.0\.0\.1:(\d+)/.exec(text)?.[1];
      if (found !== undefined) resolve(found);
    });
    child.on('exit', (code) => reject(new Error(`kubectl port-forward ${target} ended with ${code}: ${text}`)));
  });
  return { url: `http://127.0.0.1:${local}`, close: () => void child.kill('SIGTERM') };
}

export interface Load {
  /** How often each answer came; failures are counted by what went wrong. */
  readonly ended: Promise<Readonly<Record<string, number>>>;
  /** Ends it before its time, when the requests that are out have been answered. */
  finish(): void;
  kill(): void;
}

/** Stops by itself, at the latest after `seconds`. */
const program = `
const [url, rate, seconds] = process.argv.slice(1);
const http = require('http');
const counts = {};
const count = (what) => (counts[what] = (counts[what] ?? 0) + 1);
let open = 0;
const ask = () => {
  open += 1;
  const done = (what) => { count(what); open -= 1; };
  const request = http.get(url, { agent: false, timeout: 30000 }, (answer) => {
    let text = '';
    answer.on('data', (chunk) => (text += chunk));
    answer.on('end', () => done(answer.statusCode === 200 ? text.trim() : 'status ' + answer.statusCode));
    answer.on('error', (error) => done('error: ' + error.message));
  });
  request.on('timeout', () => request.destroy(new Error('no answer within 30 s')));
  request.on('error', (error) => done('error: ' + error.message));
};
const begun = performance.now();
let sent = 0;
const timer = setInterval(() => {
  const due = Math.floor(((performance.now() - begun) / 1000) * rate);
  // What a busy machine kept us from sending is not made up for in one burst.
  if (due - sent > rate) sent = due - rate;
  for (; sent < due; sent += 1) ask();
}, 5);
const finish = () => {
  clearInterval(timer);
  const wait = setInterval(() => {
    if (open > 0) return;
    clearInterval(wait);
    process.stdout.write(JSON.stringify(counts), () => process.exit(0));
  }, 20);
};
process.stdin.on('end', finish).resume();
setTimeout(finish, seconds * 1000);
`;

/** Asks `url` at a steady rate, each time on a new connection, from the network of the process `pid`. */
export function startLoad(
  pid: number,
  url: string,
  options: { readonly rate: number; readonly seconds: number },
): Load {
  const argv = ['--target', String(pid), '--net', process.execPath, '-e', program, url];
  const child: ChildProcess = spawn('nsenter', [...argv, String(options.rate), String(options.seconds)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout!.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
  const ended = new Promise<Record<string, number>>((resolve, reject) =>
    child.once('close', (code) =>
      code === 0
        ? resolve(JSON.parse(text) as Record<string, number>)
        : reject(new Error(`the load ended with ${code}`)),
    ),
  );
  return { ended, finish: () => void child.stdin!.end(), kill: () => void child.kill('SIGKILL') };
}
