import { Writable } from 'node:stream';
import { runCli } from '../../../cli/program.ts';

export interface Outcome {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** Runs one command line in this process. */
export async function pintle(...argv: readonly string[]): Promise<Outcome> {
  const chunks = { out: '', err: '' };
  const sink = (name: 'out' | 'err') =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        chunks[name] += chunk.toString();
        done();
      },
    });
  const exitCode = await runCli(argv, sink('out'), sink('err'), { PATH: process.env['PATH'], NO_COLOR: '1' });
  return { exitCode, ...chunks };
}
