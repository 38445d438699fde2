/**
 * Debian's containerd, started privately: own socket, root, state and mount namespace (with a /run of its own, where shims
 * keep their sockets). Unless it is given a place, it shares the pid and network namespaces of the test, which must be
 * private ones.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { containerdConfig, type CniFolders } from '../../../bench/bed/containerd-config.ts';
import { makeImageArchive } from './image-archive.ts';
import { OwnRun, type EnginePlace } from './own-run.ts';

export const containerdProgram = '/usr/bin/containerd';
const sandboxImage = 'pintle.test/sandbox:1';
const execute = promisify(execFile);

export class ContainerRuntime {
  readonly folder: string;
  readonly socket: string;
  readonly cni: CniFolders;
  readonly #place: EnginePlace;
  #child: ChildProcess | undefined;

  private constructor(folder: string, place: EnginePlace) {
    this.#place = place;
    this.folder = folder;
    this.socket = join(folder, 'containerd.sock');
    this.cni = { confDir: join(folder, 'cni/net.d'), binDir: join(folder, 'cni/bin') };
  }

  static async start(folder: string, rootfsTar: string, place?: EnginePlace): Promise<ContainerRuntime> {
    const runtime = new ContainerRuntime(folder, place ?? (await OwnRun.make()));
    for (const path of [runtime.cni.confDir, runtime.cni.binDir]) mkdirSync(path, { recursive: true });
    const { socket, cni } = runtime;
    writeFileSync(join(folder, 'config.toml'), containerdConfig({ folder, socket, sandboxImage, cni }));
    await runtime.start();
    await runtime.import(makeImageArchive(rootfsTar, sandboxImage, { Entrypoint: ['/bin/sleep', '1000000'] }));
    return runtime;
  }

  async start(): Promise<void> {
    const log = openSync(join(this.folder, 'containerd.log'), 'a');
    const argv = [containerdProgram, '--config', join(this.folder, 'config.toml')];
    const [command, ...args] = this.#place.within(argv);
    const child = spawn(command, args, {
      stdio: ['ignore', log, log],
      env: { PATH: process.env['PATH'], HOME: this.folder },
    });
    closeSync(log);
    this.#child = child;
    for (;;) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`containerd ended: ${readFileSync(join(this.folder, 'containerd.log'), 'utf8').slice(-2000)}`);
      if (existsSync(this.socket) && (await this.ctr('version').catch(() => undefined)) !== undefined) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async ctr(...argv: readonly string[]): Promise<string> {
    const { stdout } = await execute('ctr', ['--address', this.socket, '--namespace', 'k8s.io', ...argv]);
    return stdout;
  }

  async import(archive: string): Promise<void> {
    await this.ctr('images', 'import', archive);
  }

  async push(name: string): Promise<void> {
    await this.ctr('images', 'push', '--plain-http', name);
  }

  /** As a crash would: what runs goes on. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM');
    await this.#place.end();
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    process.kill(this.#place.pidOf(child)!, signal);
    await ended;
  }
}
