/** `pintle bench` as users run it, in a folder of the test's own. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { hasTool } from '../../../bench/bed/tools.ts';

const program = fileURLToPath(new URL('../../../cli/main.js', import.meta.url));

export interface Run {
  readonly code: number | null;
  readonly output: string;
}

/** Why cells have no figure, first; then how the output ends. The whole of it would be cut where it is read. */
export const troubles = ({ output }: Run): string =>
  [
    ...output.split('\n').filter((line) => / has no figure: |is tried once more: | not measured: /.test(line)),
    '...',
    ...output.trimEnd().split('\n').slice(-20),
  ].join('\n');

/** In a folder of its own, which is also the run's place for temporary files. */
export function folderOf(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-bench-test-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function bench(
  folder: string,
  argv: readonly string[],
  onLine?: (line: string, stop: () => void) => void,
): Promise<Run> {
  const child = spawn(process.execPath, [program, 'bench', ...argv], {
    ...{ cwd: folder, env: { ...process.env, TMPDIR: folder }, stdio: ['ignore', 'pipe', 'pipe'] },
  });
  let output = '';
  const take = (chunk: Buffer): void => {
    output += chunk.toString();
    for (const line of chunk.toString().split('\n')) onLine?.(line, () => child.kill('SIGINT'));
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })));
}

export const needing = (tool: string): typeof test.skip | typeof test => (hasTool(tool) ? test : test.skip);
/** With iperf3 (apt-get install iperf3): CI has it. */
export const trafficTest = needing('iperf3');
