/**
 * A containerd of the benchmark's own, with folders, a mount namespace and a /run of its own, where its shims keep their
 * sockets. Nothing of a containerd that the host may have is used or seen.
 */
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PintleError } from '../../kernel/contract/errors.ts';
import { sandboxArchive, sandboxProgram } from '../../plugins/runtimes/docker/sandbox-image.ts';
import { containerdConfig, type CniFolders } from './containerd-config.ts';
import { ownEngineProblem, waitingImage } from './docker-engine.ts';
import type { Place } from './place.ts';

/** `exec`: so that the child is containerd itself, and its signals are containerd's. */
const script = 'mount -t tmpfs tmpfs /run && exec containerd --config "$1" 2>"$0"';
const startLimitMs = 30_000;

/** Why none can be started here; undefined when one can. */
export const containerdProblem = (): string | undefined =>
  ownEngineProblem(['containerd', 'ctr', 'runc'], 'containerd', 'apt-get install containerd runc');

export class Containerd {
  readonly socket: string;
  /** Folders for its CNI network. */
  readonly cni: CniFolders;
  readonly #folder: string;
  readonly #place: Place;
  readonly #child: ChildProcess;

  private constructor(place: Place, folder: string) {
    this.#place = place;
    this.#folder = folder;
    this.socket = join(folder, 'socket');
    this.cni = { confDir: join(folder, 'cni/net.d'), binDir: join(folder, 'cni/bin') };
    for (const path of Object.values(this.cni)) mkdirSync(path, { recursive: true });
    const sandboxImage = `docker.io/library/${waitingImage}`;
    const config = containerdConfig({ folder, socket: this.socket, sandboxImage, cni: this.cni });
    writeFileSync(join(folder, 'config.toml'), config);
    this.#child = place.spawn('unshare', [
      ...['--mount', '--propagation', 'private', 'sh', '-c', script],
      ...[join(folder, 'log'), join(folder, 'config.toml')],
    ]);
    this.#child.stdout?.resume();
    this.#child.stderr?.resume();
  }

  static async start(place: Place, folder: string): Promise<Containerd> {
    const engine = new Containerd(place, folder);
    try {
      for (const until = performance.now() + startLimitMs; !(await engine.#answers());) {
        const hasEnded = engine.#child.exitCode !== null || engine.#child.signalCode !== null;
        if (hasEnded || performance.now() > until) throw engine.#failure('containerd did not start');
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
      await engine.#importImage();
      return engine;
    } catch (error) {
      await engine.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
    this.#child.kill('SIGTERM');
    await ended;
  }

  #ctr(...argv: readonly string[]): Promise<string> {
    return this.#place.run('ctr', ['--address', this.socket, '--namespace', 'k8s.io', ...argv]);
  }

  #answers(): Promise<boolean> {
    return this.#ctr('version').then(
      () => true,
      () => false,
    );
  }

  /** The image of one program that waits, for sandboxes and containers: nothing is downloaded. */
  async #importImage(): Promise<void> {
    const folder = join(this.#folder, 'image');
    const layer = sandboxArchive();
    const digest = createHash('sha256').update(layer).digest('hex');
    const files = {
      'layer.tar': layer,
      'config.json': JSON.stringify({
        ...{ architecture: process.arch === 'x64' ? 'amd64' : process.arch, os: 'linux' },
        ...{ config: { Entrypoint: [sandboxProgram] }, rootfs: { type: 'layers', diff_ids: [`sha256:${digest}`] } },
      }),
      'manifest.json': JSON.stringify([
        { Config: 'config.json', RepoTags: [`docker.io/library/${waitingImage}`], Layers: ['layer.tar'] },
      ]),
    };
    mkdirSync(folder);
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
    const archive = `${folder}.tar`;
    await this.#place.run('tar', ['--create', '--file', archive, '--directory', folder, ...Object.keys(files)]);
    try {
      await this.#ctr('images', 'import', archive);
    } catch (error) {
      throw this.#failure('containerd took no image', error);
    }
    rmSync(folder, { recursive: true });
  }

  /** With its own last words. */
  #failure(what: string, cause?: unknown): PintleError {
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    let said = '';
    try {
      said = readFileSync(join(this.#folder, 'log'), 'utf8').trim().split('\n').slice(-3).join(' ');
    } catch {
      // It did not come to write one.
    }
    return new PintleError('BENCH_FAILED', `${what}${why}; it said: ${said.slice(-600)}`);
  }
}
