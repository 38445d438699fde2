import type { Version } from '../../../kernel/machinery/store/keyspace.ts';

/** Keeps the values of the newest versions in memory, up to a number of bytes; watches mostly want those. */
export class ValueRing {
  readonly #capacityBytes: number;
  #versions: Version[] = [];
  #start = 0;
  #bytes = 0;

  constructor(capacityBytes: number) {
    this.#capacityBytes = capacityBytes;
  }

  /** The version has its value; it loses it when it leaves the ring. */
  add(version: Version): void {
    this.#versions.push(version);
    this.#bytes += version.value?.byteLength ?? 0;
    while (this.#bytes > this.#capacityBytes) {
      const oldest = this.#versions[this.#start]!;
      this.#versions[this.#start++] = undefined as never;
      this.#bytes -= oldest.value?.byteLength ?? 0;
      oldest.value = undefined;
    }
    if (this.#start > 1_024 && this.#start * 2 > this.#versions.length) {
      this.#versions = this.#versions.slice(this.#start);
      this.#start = 0;
    }
  }
}
