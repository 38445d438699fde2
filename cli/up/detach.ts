/** `up --detach`: runs `up` again in the background, shows what it prints, and returns when its cluster is ready. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { identify, isAlive, signalProcess } from '../../lab/index.ts';
import { exitCodes, type ExitCode } from '../exit-codes.ts';
import type { Cli } from '../terminal.ts';
import { openFolder, clusterFiles, readRecord } from './cluster-files.ts';

/** `argv`: the command line of the `up` to run. */
export async function detach(cli: Cli, folder: string, argv: readonly string[]): Promise<ExitCode> {
  const files = clusterFiles(folder);
  openFolder(files);
  for (const file of [files.log, files.errorLog]) rmSync(file, { force: true });
  const [outputLog, errorLog] = [openSync(files.log, 'a', 0o600), openSync(files.errorLog, 'a', 0o600)];
  const log = openSync(files.log, 'r');
  const main = fileURLToPath(new URL('../main.js', import.meta.url));
  const child = spawn(process.execPath, [main, ...argv], { stdio: ['ignore', outputLog, errorLog], detached: true });
  closeSync(outputLog);
  closeSync(errorLog);
  child.unref();
  const self = child.pid === undefined ? undefined : identify(child.pid);
  // The background process is not in the terminal's group: Ctrl-C while it starts has to be handed on.
  const onSignal = (): void => {
    if (self !== undefined) signalProcess(self, 'SIGTERM');
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    for (;;) {
      const alive = self !== undefined && isAlive(self);
      const record = alive && existsSync(files.record) ? readRecord(files) : undefined;
      // until it has written its own, the record is that of a cluster that was killed
      const isReady = record?.up.pid === self?.pid && record?.ready === true;
      cli.terminal.write(readNew(log));
      if (isReady) return exitCodes.done;
      if (!alive) {
        const reason = existsSync(files.errorLog) ? readFileSync(files.errorLog, 'utf8').trimEnd() : '';
        const silence = `the background process ended before its cluster was ready, and could not write down why: is there room for ${files.errorLog}?`;
        cli.terminal.errorLine(reason === '' ? silence : reason);
        return exitCodes.failed;
      }
      await new Promise((done) => setTimeout(done, 50));
    }
  } finally {
    closeSync(log);
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

/** What was appended since the last call: the descriptor's own position moves on. */
function readNew(descriptor: number): string {
  const buffer = Buffer.alloc(64 * 1024);
  return buffer.toString('utf8', 0, readSync(descriptor, buffer));
}
