/**
 * The sandboxes and containers of one agent, as the engine has them. Keeps what it was last told of those that have not
 * changed, so that a list costs one call.
 */
import type { ContainerInspectInfo } from 'dockerode';
import type { Engine } from './engine.ts';
import {
  containerFacts,
  labelKeys,
  sandboxFacts,
  type ContainerFacts,
  type SandboxFacts,
} from '../../../kernel/machinery/engine/engine-labels.ts';

export interface Known<Facts> {
  readonly info: ContainerInspectInfo;
  readonly facts: Facts;
}

export const sandboxName = (owner: string, id: string): string => `pintle.${owner}.sandbox.${id}`;
export const containerName = (owner: string, id: string): string => `pintle.${owner}.${id}`;

export class Inventory {
  readonly #engine: Engine;
  readonly #owner: string;
  /** By the engine's id; holds as long as the engine lists the same state. */
  readonly #inspected = new Map<string, ContainerInspectInfo>();
  /** Told of as ended: the engine goes on to list them as running for a moment. */
  readonly #ended = new Set<string>();

  constructor(engine: Engine, owner: string) {
    this.#engine = engine;
    this.#owner = owner;
  }

  async list(): Promise<{
    readonly sandboxes: readonly Known<SandboxFacts>[];
    readonly containers: readonly Known<ContainerFacts>[];
  }> {
    const filters = JSON.stringify({ label: [`${labelKeys.owner}=${this.#owner}`] });
    const found = await this.#engine.call((docker) => docker.listContainers({ all: true, filters }));
    const infos = await Promise.all(found.map(({ Id, State }) => this.#inspect(Id, State)));
    const ids = new Set(found.map(({ Id }) => Id));
    for (const known of [this.#inspected, this.#ended])
      for (const id of known.keys()) if (!ids.has(id)) known.delete(id);
    const known = infos.filter((info) => info !== undefined);
    return {
      sandboxes: known.flatMap((info) => withFacts(info, sandboxFacts(info.Config.Labels))),
      containers: known.flatMap((info) => withFacts(info, containerFacts(info.Config.Labels))),
    };
  }

  async containersOf(sandboxId: string): Promise<readonly Known<ContainerFacts>[]> {
    return (await this.list()).containers.filter(({ facts }) => facts.sandboxId === sandboxId);
  }

  async sandbox(id: string): Promise<Known<SandboxFacts> | undefined> {
    const name = sandboxName(this.#owner, id);
    const info = await this.#engine.find((docker) => docker.getContainer(name).inspect());
    return info === undefined ? undefined : withFacts(info, sandboxFacts(info.Config.Labels))[0];
  }

  async container(id: string): Promise<Known<ContainerFacts> | undefined> {
    const name = containerName(this.#owner, id);
    const info = await this.#engine.find((docker) => docker.getContainer(name).inspect());
    return info === undefined ? undefined : withFacts(info, containerFacts(info.Config.Labels))[0];
  }

  /** The engine has told that this container of its ended. */
  ended(dockerId: string): void {
    this.#ended.add(dockerId);
  }

  /** What was learnt before holds while the state is the same: the engine starts nothing again by itself. */
  async #inspect(dockerId: string, state: string): Promise<ContainerInspectInfo | undefined> {
    const known = this.#inspected.get(dockerId);
    const isStale = known?.State.Running === true && this.#ended.has(dockerId);
    if (known?.State.Status === state && state !== 'created' && !isStale) return known;
    const info = await this.#engine.find((docker) => docker.getContainer(dockerId).inspect());
    if (info !== undefined) this.#inspected.set(dockerId, info);
    return info;
  }
}

function withFacts<Facts>(info: ContainerInspectInfo, facts: Facts | undefined): readonly Known<Facts>[] {
  return facts === undefined ? [] : [{ info, facts }];
}
