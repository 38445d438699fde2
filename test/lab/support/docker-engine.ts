/**
 * Debian's dockerd, started privately: own socket, data, exec root and mount namespace (with a /run of its own, where
 * containerd's shims keep their sockets), no network of its own, no packet filter. It shares the pid and network
 * namespaces of the test, which must be private ones.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createReadStream, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Docker from 'dockerode';
import { progressLines } from '../../../plugins/runtimes/docker/images.ts';

export const dockerProgram = '/usr/sbin/dockerd';

const enter = 'mkdir -p /run && mount -t tmpfs tmpfs /run && exec "$@"';

export class DockerEngine {
  readonly folder: string;
  readonly socket: string;
  readonly docker: Docker;
  #child: ChildProcess | undefined;

  private constructor(folder: string) {
    this.folder = folder;
    this.socket = join(folder, 'docker.sock');
    this.docker = new Docker({ socketPath: this.socket, host: undefined });
  }

  static async start(folder: string): Promise<DockerEngine> {
    const engine = new DockerEngine(folder);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'daemon.json'), '{}');
    await engine.start();
    return engine;
  }

  async start(): Promise<void> {
    const log = openSync(join(this.folder, 'dockerd.log'), 'a');
    const argv = [
      ...[dockerProgram, '--config-file', join(this.folder, 'daemon.json'), '--host', `unix://${this.socket}`],
      ...['--data-root', join(this.folder, 'data'), '--exec-root', join(this.folder, 'exec')],
      ...['--pidfile', join(this.folder, 'docker.pid'), '--live-restore'],
      ...['--iptables=false', '--ip6tables=false', '--bridge=none', '--ip-forward=false', '--ip-masq=false'],
    ];
    const child = spawn('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', enter, 'engine', ...argv], {
      stdio: ['ignore', log, log],
      env: { PATH: process.env['PATH'], HOME: this.folder },
    });
    closeSync(log);
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
    await this.#end('SIGKILL');
  }

  async stop(): Promise<void> {
    const all = await this.docker.listContainers({ all: true });
    await Promise.all(all.map(({ Id }) => this.docker.getContainer(Id).remove({ force: true, v: true })));
    await this.#end('SIGTERM');
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

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }
}
