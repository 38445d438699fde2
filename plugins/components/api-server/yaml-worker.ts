/** A thread that parses one YAML text and ends: decode-yaml.ts starts it, with bounds on memory and time. */
import { parentPort, workerData } from 'node:worker_threads';
import { parseYaml } from './parse-yaml.ts';

export type YamlAnswer =
  { readonly json: string; readonly duplicates: readonly string[] } | { readonly problem: string };

function answer(): YamlAnswer {
  try {
    const { value, duplicates } = parseYaml(String(workerData));
    return { json: JSON.stringify(value ?? null), duplicates };
  } catch (error) {
    return { problem: String((error as Error).message) };
  }
}

parentPort?.postMessage(answer());
