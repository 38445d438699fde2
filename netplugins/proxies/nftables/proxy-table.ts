/**
 * One nft table (`ip pintle-proxy` or `ip6 pintle-proxy`). Owns the table. Never lists it on the hot path: reads it only when
 * it begins (what a predecessor left) and when somebody else changed it. Changes of elements, which is what Services mostly
 * are, go straight to the kernel; all else is text for nft.
 */
import { setImmediate } from 'node:timers/promises';
import { isPintleError, PintleError } from '../../../kernel/contract/index.ts';
import { nftHas, nftList, nftTransaction, nftTry, type NftOptions } from '../../linux/nft.ts';
import { openNftElements, readNumber, type NftElements } from '../../linux/nft-elements.ts';
import type { NftFamily } from './render-port.ts';
import {
  clientSet,
  elementChanges,
  hookNames,
  otherGeneration,
  renderDeletions,
  renderDifference,
  renderFlushes,
  renderRemoval,
  renderSets,
  renderSwitch,
  renderTableRemoval,
  standInName,
  tableName,
  type Generation,
  type Leftovers,
  type TableName,
} from './render-table.ts';
import { numberText } from './shapes.ts';
import { isElementsOnly, parts, sizeOf, steps, type Chain, type Difference, type Element } from './table-change.ts';
import type { TableWishes } from './table-wishes.ts';

/**
 * Elements in one transaction: few enough that the kernel's lock is held for milliseconds and that the notifications fit in
 * the buffer of an ordinary user's socket.
 */
const chunkElements = 1_500;

const nothing: Leftovers = { chains: [], sets: [], maps: [] };

export class ProxyTable {
  readonly family: NftFamily;
  readonly #options: NftOptions;
  readonly #wishes: TableWishes;
  #elements: NftElements | undefined;
  #generation: Generation = '-a';
  /** False until built by this instance, and after damage or a failure: then the next `apply` builds anew. */
  #isSound = false;
  /** What was told of so far: damage during a write may have come after what it hit was written. */
  #damages = 0;
  /** Emptied, to be deleted when the kernel lets us. */
  #leftovers: Leftovers = nothing;

  constructor(family: NftFamily, wishes: TableWishes, options: NftOptions) {
    this.family = family;
    this.#wishes = wishes;
    this.#options = options;
  }

  get isSound(): boolean {
    return this.#isSound;
  }

  /** Somebody else changed the table. */
  markDamaged(): void {
    this.#damages += 1;
    this.#isSound = false;
  }

  /** Brings the kernel to what is wished. Returns how many objects were added, changed or deleted. */
  async apply(): Promise<number> {
    if (!this.#isSound) return this.#build();
    const change = this.#wishes.takeChange();
    const changed = sizeOf(change);
    if (changed === 0) {
      await this.#tidy();
      return 0;
    }
    const damages = this.#damages;
    // Until all parts are in, the kernel does not have what was taken for it.
    this.#isSound = false;
    await this.#bring(change, this.#generation);
    this.#isSound = damages === this.#damages;
    const staleChains = change.staleChains.map((name) => this.#named(name));
    this.#leftovers = { ...this.#leftovers, chains: [...this.#leftovers.chains, ...staleChains] };
    if (this.#wishes.takeForgotten()) this.#forgetClients();
    await this.#tidy();
    return changed;
  }

  close(): void {
    this.#elements?.close();
    this.#elements = undefined;
  }

  /** Removes the table, whoever made it. */
  async remove(): Promise<void> {
    await this.#run(renderRemoval(this.family));
    this.#isSound = false;
    this.#leftovers = nothing;
  }

  /** Whether the hooks and all maps are still there; the elements are not looked at. */
  async looksWhole(): Promise<boolean> {
    const present = await this.#list();
    const names = new Set([...present.chains, ...present.sets, ...present.maps]);
    return [...this.#names()].every((name) => names.has(name)) && present.live === this.#generation;
  }

  /** A fragment's objects by the names that they have now, each looked for in the kernel. */
  async look(
    elements: readonly Element[],
    chains: readonly Chain[],
  ): Promise<readonly { readonly shown: string; readonly isPresent: boolean }[]> {
    const has = (what: readonly string[]) => nftHas(what, this.#options);
    const table = [this.family, tableName];
    return Promise.all([
      ...elements.map(async ({ set, key, data }) => {
        const name = this.#named(`${set}%`);
        const shown = `${table.join(' ')} ${name} { ${key}${data === '' ? '' : ` : ${this.#named(data)}`} }`;
        return { shown, isPresent: await has(['get', 'element', ...table, name, `{ ${key} }`]) };
      }),
      ...chains.map(async ({ name, rules }) => {
        const shown = `${table.join(' ')} chain ${this.#named(name)} { ${this.#named(rules.join('; '))} }`;
        return { shown, isPresent: await has(['list', 'chain', ...table, this.#named(name)]) };
      }),
    ]);
  }

  #named(name: string): string {
    return name.replaceAll('%', this.#generation);
  }

  /** All that the table should have, by the names of the live generation. */
  #names(): Set<string> {
    return new Set([...hookNames, clientSet, ...[...this.#wishes.names()].map((name) => this.#named(name))]);
  }

  async #bring(change: Difference, generation: Generation, table: TableName = tableName): Promise<void> {
    for (const part of parts(change, chunkElements)) {
      for (const step of steps(part)) await this.#take(step, generation, table);
      if (part !== change) await setImmediate();
    }
  }

  async #take(step: Difference, generation: Generation, table: TableName): Promise<void> {
    if (!isElementsOnly(step)) {
      for (const text of renderDifference(step, this.family, generation, table)) await this.#run(text);
      return;
    }
    this.#open().apply(this.family, table, elementChanges(step, generation));
  }

  #open(): NftElements {
    this.#elements ??= openNftElements(this.#options);
    this.#options.onPort?.(this.#elements.port);
    return this.#elements;
  }

  /** An endpoint that comes back is new to all clients. */
  #forgetClients(): void {
    // A key is the endpoint's own number and the client's address.
    this.#open().prune(this.family, tableName, clientSet, (key) => !this.#wishes.hasId(numberText(readNumber(key))));
  }

  #run(text: string): Promise<void> {
    return nftTransaction(text, this.#options);
  }

  /**
   * Builds everything under the generation that is not live, then switches the hooks to it in one transaction: traffic
   * meets the old rules or the new ones, never none. The clients of affinity have no generation, so they are kept.
   */
  async #build(): Promise<number> {
    this.#isSound = false;
    const damages = this.#damages;
    const whole = this.#wishes.takeWhole();
    const found = await this.#list();
    let generation: Generation = found.live === undefined ? '-a' : otherGeneration(found.live);
    try {
      await this.#discard(pick(found, (name) => name.endsWith(generation)));
      await this.#raise(whole, generation, tableName);
    } catch (error) {
      // What is there cannot be built upon: another version's hooks, a half-deleted generation.
      if (!isPintleError(error, 'HOST_COMMAND_FAILED', 'KERNEL_REFUSED')) throw error;
      generation = '-a';
      await this.#replace(whole, generation, error);
    }
    this.#generation = generation;
    this.#isSound = damages === this.#damages;
    const keep = this.#names();
    this.#leftovers = pick(await this.#list(), (name) => !keep.has(name));
    for (const text of renderFlushes(this.#leftovers, this.family)) await nftTry(text, this.#options);
    this.#wishes.takeForgotten();
    this.#forgetClients();
    await this.#tidy();
    return sizeOf(whole);
  }

  /** In transactions that each are small; packets meet nothing of it before the last. */
  async #raise(whole: Difference, generation: Generation, table: TableName): Promise<void> {
    await this.#run(renderSets(this.family, generation, table));
    await this.#bring(whole, generation, table);
    await this.#run(renderSwitch(this.family, generation, table));
  }

  /** Whatever the table is like: a second one takes over, and hands over to the first, which is made anew meanwhile. */
  async #replace(whole: Difference, generation: Generation, cause: PintleError): Promise<void> {
    try {
      await this.#run(renderTableRemoval(this.family, standInName));
      await this.#raise(whole, generation, standInName);
      await this.#raise(whole, generation, tableName);
    } catch (error) {
      if (!isPintleError(error)) throw error;
      throw new PintleError('HOST_COMMAND_FAILED', error.message, { details: error.details, cause });
    }
  }

  async #discard(old: Leftovers): Promise<void> {
    for (const text of renderFlushes(old, this.family)) await this.#run(text);
    for (const text of renderDeletions(old, this.family)) await this.#run(text);
  }

  /** Deletes leftovers; what the kernel still holds on to is tried again with the next call. */
  async #tidy(): Promise<void> {
    const { chains, sets, maps } = this.#leftovers;
    if (chains.length + sets.length + maps.length === 0) return;
    // A chain that went and came back meanwhile is in use again.
    const inUse = this.#names();
    this.#leftovers = pick(this.#leftovers, (name) => !inUse.has(name));
    for (const text of renderDeletions(this.#leftovers, this.family)) if (!(await nftTry(text, this.#options))) return;
    this.#leftovers = nothing;
  }

  async #list(): Promise<Leftovers & { readonly live: Generation | undefined }> {
    const objects = (await nftList(['table', this.family, tableName], { ...this.#options, terse: true })) ?? [];
    const names = (kind: string): string[] =>
      objects.flatMap((object) => (object[kind] === undefined ? [] : [String(object[kind]['name'])]));
    const dispatch = objects.filter((object) => object['rule']?.['chain'] === 'nat-prerouting');
    const text = JSON.stringify(dispatch);
    const live = text.includes('"draw-a"') ? '-a' : text.includes('"draw-b"') ? '-b' : undefined;
    return { chains: names('chain'), sets: names('set'), maps: names('map'), live };
  }
}

function pick(from: Leftovers, wanted: (name: string) => boolean): Leftovers {
  return { chains: from.chains.filter(wanted), sets: from.sets.filter(wanted), maps: from.maps.filter(wanted) };
}
