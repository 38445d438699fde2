/** Whole clusters for tests: `pintle up` as a user would run it, in a folder and on a port of its own. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../free-port.ts';

export const program = fileURLToPath(new URL('../../../cli/main.js', import.meta.url));

export interface Output {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function run(
  command: string,
  argv: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly input?: string; readonly timeoutMs?: number } = {},
): Promise<Output> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, argv, { env: options.env ?? process.env, stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString('utf8')));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString('utf8')));
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 170_000);
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
}

/** kubectl binaries at hand: the newest one, and the oldest (Debian's) when there are two. */
export function kubectls(): readonly string[] {
  const named = (process.env['PINTLE_TEST_KUBECTL'] ?? '').split(':').filter((path) => path !== '' && existsSync(path));
  const found = named.length > 0 ? named : ['/usr/bin/kubectl'].filter((path) => existsSync(path));
  return found;
}

const checkout = fileURLToPath(new URL('../../../..', import.meta.url)).replace(/\/$/, '');

/** The command as this user, who sees the checkout in `folder` even when it lies where only root may look. */
function asUser(uid: number, folder: string, command: readonly string[]): readonly string[] {
  const view = join(folder, 'checkout');
  const seen = command.map((word) => (word.startsWith(`${checkout}/`) ? view + word.slice(checkout.length) : word));
  const enter = 'mkdir "$1" && mount --bind "$2" "$1" && shift 2 && exec "$@"';
  const drop = [
    'setpriv',
    '--reuid',
    String(uid),
    '--regid',
    String(uid),
    '--clear-groups',
    '--pdeathsig',
    'INT',
    '--',
  ];
  return [
    'unshare',
    '--mount',
    '--propagation',
    'private',
    'sh',
    '-c',
    enter,
    'view',
    view,
    checkout,
    ...drop,
    ...seen,
  ];
}

export interface ClusterOptions {
  readonly nodes?: number;
  readonly flags?: readonly string[];
  /** Run as this ordinary user instead of the test's own. */
  readonly uid?: number;
  /** Puts the command line into another place. */
  readonly within?: (argv: readonly string[]) => readonly string[];
  /** Done while it starts, to what is there already. */
  readonly meanwhile?: (cluster: TestCluster) => Promise<void>;
}

export class TestCluster {
  readonly folder: string;
  readonly up: ChildProcess;
  readonly printed: () => string;

  private constructor(folder: string, up: ChildProcess, printed: () => string) {
    this.folder = folder;
    this.up = up;
    this.printed = printed;
  }

  static async start(options: ClusterOptions = {}): Promise<TestCluster> {
    const parent = mkdtempSync(join(tmpdir(), 'pintle-cluster-'));
    const folder = join(parent, 'c');
    if (options.uid !== undefined) chmodSync(parent, 0o777);
    const port = await freePort();
    const argv = [
      program,
      'up',
      '--state-dir',
      folder,
      '--listen',
      `127.0.0.1:${port}`,
      '--nodes',
      String(options.nodes ?? 3),
      ...(options.flags ?? []),
    ];
    // A cluster does not outlive the test that started it, however that ends.
    const place = options.within ?? ((words: readonly string[]) => words);
    const plain = ['setpriv', '--pdeathsig', 'INT', '--', ...place([process.execPath, ...argv])];
    const [command, ...args] =
      options.uid === undefined ? plain : asUser(options.uid, parent, [process.execPath, ...argv]);
    const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, HOME: parent } });
    let text = '';
    const ready = new Promise<void>((resolve, reject) => {
      const onData = (chunk: Buffer) => {
        text += chunk.toString('utf8');
        if (text.includes('Ctrl-C takes everything down')) resolve();
      };
      child.stdout.on('data', onData);
      child.stderr.on('data', onData);
      child.on('exit', (code) => reject(new Error(`pintle up ended with ${code}:\n${text}`)));
    });
    const cluster = new TestCluster(folder, child, () => text);
    try {
      await Promise.all([ready, options.meanwhile?.(cluster)]);
      return cluster;
    } catch (error) {
      cluster.forget();
      throw error;
    }
  }

  get kubeconfig(): string {
    return join(this.folder, 'kubeconfig');
  }

  get socket(): string {
    return join(this.folder, 'server', 'api.sock');
  }

  kubectl(binary: string, argv: readonly string[], input?: string, timeoutMs?: number): Promise<Output> {
    const home = join(this.folder, '..', 'home');
    return run(binary, argv, {
      env: { PATH: process.env['PATH'], HOME: home, KUBECONFIG: this.kubeconfig },
      input,
      timeoutMs,
    });
  }

  record(): {
    up: { pid: number };
    server: { pid: number };
    lab: { pid: number };
    nodes: { name: string; address: string }[];
  } {
    return JSON.parse(readFileSync(join(this.folder, 'up.json'), 'utf8')) as ReturnType<TestCluster['record']>;
  }

  /** Ctrl-C, and waits for the end. Resolves to the exit code. */
  async interrupt(): Promise<number | null> {
    if (this.up.exitCode !== null || this.up.signalCode !== null) return this.up.exitCode;
    const ended = new Promise<number | null>((resolve) => this.up.once('exit', resolve));
    this.up.kill('SIGINT');
    return ended;
  }

  async stop(): Promise<void> {
    await this.interrupt();
    this.forget();
  }

  forget(): void {
    rmSync(join(this.folder, '..'), { recursive: true, force: true });
  }
}

/** What a run must leave as it found it: every link, address, route, rule, and all packet filter tables of the host. */
export function hostNetwork(): string {
  const commands: readonly (readonly string[])[] = [
    ['ip', '-o', 'link'],
    ['ip', '-o', 'addr'],
    ['ip', 'route', 'show', 'table', 'all'],
    ['ip', '-6', 'route', 'show', 'table', 'all'],
    ['ip', 'rule'],
    ['ip', 'netns', 'list'],
    ['nft', 'list', 'ruleset'],
    ['iptables-legacy-save'],
    ['iptables-nft-save'],
  ];
  return commands
    .map(([command, ...argv]) => {
      const { stdout, error } = spawnSync(command!, argv, { encoding: 'utf8' });
      // iptables-save prints the time, and addresses that were given for a time say how much is left.
      return `$ ${command} ${argv.join(' ')}\n${error ? 'not installed' : stdout.replaceAll(/^# .*$/gm, '').replaceAll(/\[\d+:\d+\]|(valid_lft|preferred_lft|expires) \d+sec/g, '')}`;
    })
    .join('\n');
}
