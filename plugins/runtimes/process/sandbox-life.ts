/**
 * One sandbox: its record, and the namespaces that bind mounts under its folder keep alive without a process.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PintleError, type Sandbox, type SandboxSpec } from '../../../kernel/contract/index.ts';
import { hostCommand, tryHostCommand } from './host-command.ts';
import { readRecord, writeRecord, type Layout } from './layout.ts';
import { isMountPoint, isNamespaceFile } from './mount-table.ts';
import { isAlive, recordedProcess, signalProcess } from './procfs.ts';
import { pidNamespaceScript, sandboxScript } from './scripts.ts';

export interface SandboxRecord {
  readonly spec: SandboxSpec;
  readonly createdMs: number;
}

export class SandboxLife {
  readonly record: SandboxRecord;
  readonly folder: string;
  readonly #tools: string;

  constructor(layout: Layout, record: SandboxRecord) {
    this.record = record;
    this.#tools = layout.tools;
    this.folder = join(layout.sandboxes, record.spec.id);
  }

  static read(layout: Layout, id: string): SandboxLife | undefined {
    const record = readRecord<SandboxRecord>(join(layout.sandboxes, id, 'sandbox.json'));
    return record === undefined ? undefined : new SandboxLife(layout, record);
  }

  get spec(): SandboxSpec {
    return this.record.spec;
  }

  persist(): void {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
    writeRecord(join(this.folder, 'sandbox.json'), this.record);
  }

  /** Makes the namespaces, from nothing: what a crash left of an earlier attempt goes first. */
  async build(): Promise<void> {
    await this.#release();
    const { spec } = this;
    const kinds = this.#kinds();
    mkdirSync(join(this.folder, 'ns'), { recursive: true });
    for (const kind of kinds) writeFileSync(this.#file(kind), '');
    const memory = join(this.folder, 'shm');
    if (!spec.hostIpc) mkdirSync(memory, { recursive: true });
    const sysctls = Object.entries(spec.sysctls).flatMap(([name, value]) => [sysctlPath(name), value]);
    // It dies with the agent: a builder that outlived it would mount over what the next agent builds.
    await hostCommand([
      'setpriv',
      '--pdeathsig=KILL',
      'unshare',
      ...kinds.map((kind) => `--${kind}=${this.#file(kind)}`),
      '--',
      'dash',
      '-c',
      sandboxScript,
      'pintle-sandbox',
      spec.hostname,
      spec.hostIpc ? '' : memory,
      ...sysctls,
    ]);
    if (spec.sharedPid === true) await this.#makePidNamespace();
    writeFileSync(join(this.folder, 'built'), '');
  }

  async #makePidNamespace(): Promise<void> {
    const root = join(this.folder, 'pause-root');
    mkdirSync(root, { recursive: true });
    writeFileSync(this.#file('pid'), '');
    const script = ['dash', '-c', pidNamespaceScript, 'pintle-pid-namespace'];
    const files = [this.#file('pid'), this.#pauseFile, this.#tools, root];
    await hostCommand(['setpriv', '--pdeathsig=KILL', 'unshare', '--pid', '--', ...script, ...files]);
    if (!this.#isPausing)
      throw new PintleError(
        'HOST_COMMAND_FAILED',
        `sandbox ${this.spec.id}: the first process of its pid namespace ended at once`,
      );
  }

  get #pauseFile(): string {
    return join(this.folder, 'pause');
  }

  get #isPausing(): boolean {
    return isAlive(recordedProcess(this.#pauseFile)) && isNamespaceFile(this.#file('pid'));
  }

  get isReady(): boolean {
    if (!existsSync(join(this.folder, 'built'))) return false;
    if (this.spec.sharedPid === true && !this.#isPausing) return false;
    return this.#kinds().every((kind) => isNamespaceFile(this.#file(kind)));
  }

  /** True once it has been stopped; it is not built again then. */
  get isStopped(): boolean {
    return existsSync(join(this.folder, 'stopped'));
  }

  describe(): Sandbox {
    const { id, podNamespace, podName, podUid, labels, hostNetwork } = this.spec;
    const ready = this.isReady;
    return {
      id,
      podNamespace,
      podName,
      podUid,
      labels,
      ready,
      netns: ready && !hostNetwork ? this.#file('net') : undefined,
      createdMs: this.record.createdMs,
    };
  }

  /** Options of nsenter that lead into it. */
  get nsenter(): readonly string[] {
    const kinds = [...this.#kinds(), ...(this.spec.sharedPid === true ? ['pid'] : [])];
    return kinds.map((kind) => `--${kind}=${this.#file(kind)}`);
  }

  get sharedMemory(): string {
    return join(this.folder, 'shm');
  }

  async stop(): Promise<void> {
    writeFileSync(join(this.folder, 'stopped'), '');
    await this.#release();
  }

  async remove(): Promise<void> {
    for (let tries = 0; ; tries++) {
      await this.#release();
      try {
        for (const name of await readdir(this.folder).catch(() => []))
          if (name !== 'sandbox.json') await rm(join(this.folder, name), { recursive: true, force: true });
        break;
      } catch (error) {
        // A mount that an earlier, killed agent had begun came after the release.
        if ((error as NodeJS.ErrnoException).code !== 'EBUSY' || tries === 10) throw error;
      }
    }
    await rm(join(this.folder, 'sandbox.json'), { force: true });
    // Empty by now, and unknown without its record.
    await rmdir(this.folder).catch(() => undefined);
  }

  #kinds(): readonly ('net' | 'ipc' | 'uts')[] {
    return ['uts', ...(this.spec.hostNetwork ? [] : ['net' as const]), ...(this.spec.hostIpc ? [] : ['ipc' as const])];
  }

  #file(kind: string): string {
    return join(this.folder, 'ns', kind);
  }

  async #release(): Promise<void> {
    rmSync(join(this.folder, 'built'), { force: true });
    signalProcess(recordedProcess(this.#pauseFile), 'SIGKILL');
    // More than one layer is there when a crash came between a mount and the note that it was made.
    for (let round = 0; round < 10; round++) {
      const mounted = ['net', 'ipc', 'uts', 'pid'].map((kind) => this.#file(kind)).filter(isNamespaceFile);
      if (isMountPoint(this.sharedMemory)) mounted.push(this.sharedMemory);
      if (mounted.length === 0) return;
      const { exitCode, stderr } = await tryHostCommand(['umount', '--lazy', '--', ...mounted]);
      if (exitCode !== 0 && round === 9)
        throw new PintleError(
          'HOST_COMMAND_FAILED',
          `sandbox ${this.spec.id}: its namespaces could not be released: ${stderr.trim()}`,
        );
    }
  }
}

function sysctlPath(name: string): string {
  if (/^[a-z0-9][a-zA-Z0-9_.\-/]*$/.test(name) && !name.includes('..'))
    return name.includes('/') ? name : name.replaceAll('.', '/');
  throw new PintleError(
    'CONTAINER_INVALID',
    `sysctl ${JSON.stringify(name)} is not a name: expected one such as net.ipv4.ip_unprivileged_port_start`,
  );
}
