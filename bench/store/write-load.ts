/** Clients that write one after the other each, and how long each write took. */
export interface LoadShape {
  /** Numbers of the clients: each has keys of its own. */
  readonly clients: readonly number[];
  readonly warmUpMs: number;
  readonly seconds: number;
}

const keysPerClient = 100;
const valueBytes = 1_024;

/** Resolves to the latencies in ms of the writes that began after the warm-up. */
export async function writeLoad(
  write: (key: string, value: Buffer) => Promise<unknown>,
  { clients, warmUpMs, seconds }: LoadShape,
): Promise<Float64Array> {
  const value = Buffer.alloc(valueBytes, 'v');
  const start = performance.now() + warmUpMs;
  const end = start + seconds * 1_000;
  const latencies: number[] = [];
  const client = async (number: number): Promise<void> => {
    for (let count = 0; ; count++) {
      const began = performance.now();
      if (began >= end) return;
      await write(`/bench/client-${number}/${count % keysPerClient}`, value);
      if (began >= start) latencies.push(performance.now() - began);
    }
  };
  await Promise.all(clients.map((number) => client(number)));
  return Float64Array.from(latencies);
}
