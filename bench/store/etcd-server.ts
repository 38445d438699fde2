/** Debian's etcd on random loopback ports, over a folder of ours; ended when closed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { residentBytesOf } from '../bed/processes.ts';

export interface EtcdServer {
  readonly url: string;
  readonly residentBytes: () => number;
  /** kill -9. */
  readonly kill: () => Promise<void>;
  /** Over what is there; resolves when it answers. */
  readonly restart: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export async function startEtcd(folder: string): Promise<EtcdServer> {
  const [clientPort, peerPort] = await freePorts(2);
  const url = `http://127.0.0.1:${clientPort}`;
  const peerUrl = `http://127.0.0.1:${peerPort}`;
  const argv = [
    ...['--name', 'bench', '--data-dir', folder, '--quota-backend-bytes', String(8 * 2 ** 30)],
    ...['--logger', 'zap', '--log-level', 'error'],
    ...['--listen-client-urls', url, '--advertise-client-urls', url],
    ...[
      '--listen-peer-urls',
      peerUrl,
      '--initial-advertise-peer-urls',
      peerUrl,
      '--initial-cluster',
      `bench=${peerUrl}`,
    ],
  ];
  let running = run(argv);
  const healthy = async (): Promise<void> => {
    const ended = running.ended.then(() => Promise.reject(new Error('etcd ended')));
    await Promise.race([untilHealthy(`${url}/health`), ended]);
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    running.child.kill(signal);
    await running.ended;
  };
  try {
    await healthy();
  } catch (error) {
    running.child.kill('SIGKILL');
    throw error;
  }
  return {
    url,
    residentBytes: () => residentBytesOf(running.child.pid ?? 0),
    kill: () => end('SIGKILL'),
    restart: async () => {
      running = run(argv);
      await healthy();
    },
    close: () => end('SIGTERM'),
  };
}

function run(argv: readonly string[]): { readonly child: ChildProcess; readonly ended: Promise<void> } {
  const child = spawn('etcd', argv, { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = new Promise<void>((resolve, reject) => {
    child.once('exit', () => resolve());
    child.once('error', () => reject(new Error('etcd could not be run; install it: apt-get install etcd-server')));
  });
  ended.catch(() => undefined);
  return { child, ended };
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve) => {
          server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

async function untilHealthy(url: string): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (performance.now() < deadline) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok === true && (await answer.text()).includes('true')) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('etcd did not become healthy within 20 s');
}
