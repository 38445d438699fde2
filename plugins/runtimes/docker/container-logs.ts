/** The relays that take the output of containers over into their logs, one for each that has run. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerInspectInfo } from 'dockerode';
import type { Logger } from '../../../kernel/contract/index.ts';
import { removeLogFiles } from '../../../kernel/machinery/engine/log-files.ts';
import { hasStarted } from './container-state.ts';
import type { ContainerFacts } from '../../../kernel/machinery/engine/engine-labels.ts';
import { LogRelay } from './log-relay.ts';

/** How often logs are looked at without a hint. */
const sweepMs = 2_000;

export class ContainerLogs {
  readonly #folder: string;
  readonly #sourceFiles: number;
  readonly #log: Logger;
  readonly #relays = new Map<string, LogRelay>();
  readonly #sweep: NodeJS.Timeout;

  /** `folder` keeps how far each log has been taken over. */
  constructor(folder: string, sourceFiles: number, log: Logger) {
    this.#folder = folder;
    this.#sourceFiles = sourceFiles;
    this.#log = log;
    this.#sweep = setInterval(() => {
      for (const relay of this.#relays.values()) relay.look();
    }, sweepMs);
    this.#sweep.unref();
  }

  /** Undefined for a container that has never run. */
  of(info: ContainerInspectInfo, facts: ContainerFacts): LogRelay | undefined {
    const existing = this.#relays.get(facts.id);
    if (existing !== undefined) return existing;
    if (!hasStarted(info) || info.LogPath === '') return undefined;
    const relay = new LogRelay({
      source: info.LogPath,
      sourceFiles: this.#sourceFiles,
      target: { path: facts.logPath, maxBytes: facts.maxLogBytes, maxFiles: facts.maxLogFiles },
      positionFile: join(this.#folder, facts.id),
      onLoss: () => this.#log.warn('output of a container was gone before it was in its log', { container: facts.id }),
    });
    this.#relays.set(facts.id, relay);
    return relay;
  }

  async finish(containerId: string): Promise<void> {
    await this.#relays.get(containerId)?.finish();
  }

  /** Removes the log files too. */
  remove(facts: ContainerFacts): void {
    this.#relays.get(facts.id)?.close();
    this.#relays.delete(facts.id);
    rmSync(join(this.#folder, facts.id), { force: true });
    removeLogFiles(facts.logPath, facts.maxLogFiles);
  }

  close(): void {
    clearInterval(this.#sweep);
    for (const relay of this.#relays.values()) relay.close();
    this.#relays.clear();
  }
}
