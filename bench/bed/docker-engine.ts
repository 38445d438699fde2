/**
 * A Docker engine of the benchmark's own on one of its nodes: Debian's dockerd with its containerd, in the node's network
 * namespace and a mount namespace with a /run of its own. Nothing of an engine that the host may have is used or seen.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type Docker from 'dockerode';
import { PintleError } from '../../kernel/contract/errors.ts';
import { sandboxArchive, sandboxProgram } from '../../plugins/runtimes/docker/sandbox-image.ts';
import { coreOf, endChild, Place } from './place.ts';
import { hasTool } from './tools.ts';

/** An image with one program, which waits for ever: nothing is downloaded. */
export const waitingImage = 'pintle-bench:1';
export const waitingProgram = sandboxProgram;

/** `exec`: so that the child is dockerd itself, and its signals are dockerd's. */
const script = 'mount -t tmpfs tmpfs /run && exec dockerd "$@" 2>"$0"';
const startLimitMs = 30_000;

/** Why no engine of one's own can be started here; undefined when one can. */
export function ownEngineProblem(programs: readonly string[], name: string, installation: string): string | undefined {
  if (!programs.every((program) => hasTool(program))) return `${name} is not installed; ${installation}`;
  // Inside a user namespace of an ordinary user the map is another one.
  if (!/^\s*0\s+0\s+4294967295\s*$/m.test(readFileSync('/proc/self/uid_map', 'utf8')))
    return `${name} of one's own needs root`;
  return undefined;
}

export const dockerProblem = (): string | undefined =>
  ownEngineProblem(['dockerd', 'containerd'], 'a Docker engine', 'apt-get install docker.io');

export class DockerEngine {
  readonly docker: Docker;
  readonly socket: string;
  readonly #child: ChildProcess;
  readonly #log: string;

  private constructor(docker: Docker, socket: string, child: ChildProcess, log: string) {
    this.docker = docker;
    this.socket = socket;
    this.#child = child;
    this.#log = log;
  }

  static async start(place: Place, folder: string): Promise<DockerEngine> {
    const { default: Engine } = await import('dockerode');
    mkdirSync(folder, { recursive: true });
    const [log, socket] = [join(folder, 'log'), join(folder, 'docker.sock')];
    writeFileSync(join(folder, 'daemon.json'), '{}');
    const child = place.spawn('unshare', [
      ...['--mount', '--propagation', 'private', 'sh', '-c', script, log],
      ...['--config-file', join(folder, 'daemon.json'), '--host', `unix://${socket}`, '--pidfile', join(folder, 'pid')],
      ...['--data-root', join(folder, 'data'), '--exec-root', join(folder, 'x'), '--bridge=none'],
      ...['--iptables=false', '--ip6tables=false', '--ip-forward=false', '--ip-masq=false'],
    ]);
    child.stdout?.resume();
    child.stderr?.resume();
    const engine = new DockerEngine(new Engine({ socketPath: socket, host: undefined }), socket, child, log);
    const until = performance.now() + startLimitMs;
    while ((await engine.docker.ping().catch(() => undefined)) === undefined) {
      if (child.exitCode !== null || performance.now() > until) throw engine.failure('the Docker engine did not start');
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    return engine;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** With the engine's own last words. */
  failure(what: string, cause?: unknown): PintleError {
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    let said = '';
    try {
      said = readFileSync(this.#log, 'utf8').trim().split('\n').slice(-3).join(' ');
    } catch {
      // It did not come to write one.
    }
    return new PintleError('BENCH_FAILED', `${what}${why}; the engine said: ${said.slice(-600)}`);
  }

  async importImage(): Promise<void> {
    const [repo, tag] = waitingImage.split(':');
    const stream = await this.docker.importImage(Readable.from(sandboxArchive()), { repo, tag });
    await new Promise((resolve, reject) => {
      stream.on('end', resolve).on('error', reject).resume();
    });
  }

  /** A container of the imported image, which waits for ever, with its network namespace as a place. */
  async place(name: string, network: string): Promise<Place> {
    try {
      const container = await this.docker.createContainer({
        ...{ name, Image: waitingImage, Cmd: [waitingProgram], HostConfig: { NetworkMode: network } },
      });
      await container.start();
      const { State } = await container.inspect();
      return new Place(name, `/proc/${State.Pid}/ns/net`, coreOf(name === 'client' ? 'asks' : 'answers'));
    } catch (error) {
      throw this.failure(`container ${name} could not be started in network ${network}`, error);
    }
  }

  async stop(): Promise<void> {
    const all = await this.docker.listContainers({ all: true }).catch(() => []);
    await Promise.all(
      all.map(({ Id }) =>
        this.docker
          .getContainer(Id)
          .remove({ force: true, v: true })
          .catch(() => undefined),
      ),
    );
    // Its containers are gone; its containerd goes with it (a signal at its parent's death), and what both had mounted with
    // their namespace. To be asked, the leader of a swarm would take seconds.
    await endChild(this.#child);
  }
}
