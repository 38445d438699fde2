/**
 * Debian's dockerd with a containerd of its own, started privately: own socket, data, exec root and mount namespace, no
 * network of its own, no packet filter. They share the pid and network namespaces of the test, which must be private ones.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, createReadStream, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Docker from 'dockerode';
import { progressLines } from '../../../plugins/runtimes/docker/images.ts';
import { OwnRun } from './own-run.ts';

export const dockerProgram = '/usr/sbin/dockerd';

export class DockerEngine {
  readonly folder: string;
  readonly socket: string;
  readonly docker: Docker;
  readonly #run: OwnRun;
  #containerd: ChildProcess | undefined;
  #child: ChildProcess | undefined;

  private constructor(folder: string, run: OwnRun) {
    this.#run = run;
    this.folder = folder;
    this.socket = join(folder, 'docker.sock');
    this.docker = new Docker({ socketPath: this.socket, host: undefined });
  }

  static async start(folder: string): Promise<DockerEngine> {
    const engine = new DockerEngine(folder, await OwnRun.make());
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'daemon.json'), '{}');
    const containerd = join(folder, 'containerd');
    const settings = [
      ...['version = 2', `root = "${containerd}/root"`, `state = "${containerd}/state"`],
      ...['disabled_plugins = ["io.containerd.grpc.v1.cri"]', `[grpc]`, `address = "${containerd}.sock"`],
      ...['[plugins."io.containerd.internal.v1.opt"]', `path = "${containerd}/opt"`],
    ];
    writeFileSync(`${containerd}.toml`, settings.join('\n'));
    // Not left to dockerd: killed, dockerd would take it along.
    engine.#containerd = engine.#spawn('containerd', ['containerd', '--config', `${containerd}.toml`]);
    await engine.start();
    return engine;
  }

  async start(): Promise<void> {
    const child = this.#spawn('dockerd', [
      ...[dockerProgram, '--config-file', join(this.folder, 'daemon.json'), '--host', `unix://${this.socket}`],
      ...['--data-root', join(this.folder, 'data'), '--exec-root', join(this.folder, 'exec')],
      ...['--containerd', join(this.folder, 'containerd.sock')],
      ...['--pidfile', join(this.folder, 'docker.pid'), '--live-restore'],
      ...['--iptables=false', '--ip6tables=false', '--bridge=none', '--ip-forward=false', '--ip-masq=false'],
    ]);
    this.#child = child;
    for (;;) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`dockerd ended: ${readFileSync(join(this.folder, 'dockerd.log'), 'utf8').slice(-2000)}`);
      if (existsSync(this.socket) && (await this.docker.ping().catch(() => undefined)) !== undefined) return;
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  }

  /** As a crash would: what runs goes on (live restore). */
  async kill(): Promise<void> {
    await end(this.#child, 'SIGKILL');
  }

  async stop(): Promise<void> {
    const all = await this.docker.listContainers({ all: true }).catch(() => []);
    await Promise.all(all.map(({ Id }) => this.docker.getContainer(Id).remove({ force: true, v: true })));
    await end(this.#child, 'SIGTERM');
    await end(this.#containerd, 'SIGTERM');
    await this.#run.end();
  }

  async import(tar: string, name: string): Promise<void> {
    const [repo, tag] = [name.slice(0, name.lastIndexOf(':')), name.slice(name.lastIndexOf(':') + 1)];
    const stream = await this.docker.importImage(createReadStream(tar), { repo, tag });
    for await (const line of progressLines(stream)) if (line.error !== undefined) throw new Error(line.error);
  }

  async push(name: string, authconfig: Docker.AuthConfig | object = {}): Promise<void> {
    const stream = await this.docker.getImage(name).push({ authconfig: authconfig as Docker.AuthConfig });
    for await (const line of progressLines(stream)) if (line.error !== undefined) throw new Error(line.error);
  }

  #spawn(name: string, argv: readonly string[]): ChildProcess {
    const log = openSync(join(this.folder, `${name}.log`), 'a');
    const [command, ...args] = this.#run.within(argv);
    const child = spawn(command, args, {
      stdio: ['ignore', log, log],
      env: { PATH: process.env['PATH'], HOME: this.folder },
    });
    closeSync(log);
    return child;
  }
}

async function end(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill(signal);
  await ended;
}
