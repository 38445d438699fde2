/**
 * YAML bodies. Parsing costs a second a megabyte and much memory, more for hostile text: what is larger than a manifest
 * written by hand is parsed by a thread of its own, one at a time, so that other clients never wait for it.
 */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { ParsedYaml } from './parse-yaml.ts';
import type { YamlAnswer } from './yaml-worker.ts';

const inlineCharacters = 16 * 1024;
const threadTimeoutMs = 20_000;
const threadLimits = { maxOldGenerationSizeMb: 512, stackSizeMb: 4 };

let lastThread: Promise<unknown> = Promise.resolve();

/** Rejects with an Error whose message is fit for the client. */
export async function decodeYaml(text: string): Promise<ParsedYaml> {
  if (text.length <= inlineCharacters) return (await import('./parse-yaml.ts')).parseYaml(text);
  const mine = lastThread.then(() => inThread(text));
  // Its caller hears of a failure; the next one only waits for its turn.
  lastThread = mine.catch(() => undefined);
  return mine;
}

function inThread(text: string): Promise<ParsedYaml> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(`./yaml-worker${extname(import.meta.url)}`, import.meta.url), {
      workerData: text,
      resourceLimits: threadLimits,
    });
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      void worker.terminate();
      act();
    };
    const timer = setTimeout(
      () => settle(() => reject(new Error('the document takes too long to parse: send JSON'))),
      threadTimeoutMs,
    );
    worker.once('message', (answer: YamlAnswer) =>
      settle(() => {
        if ('problem' in answer) reject(new Error(answer.problem));
        else resolve({ value: JSON.parse(answer.json), duplicates: answer.duplicates });
      }),
    );
    worker.once('error', () =>
      settle(() => reject(new Error('the document needs too much memory to parse: send JSON'))),
    );
  });
}
